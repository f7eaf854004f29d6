//! Makes certificate revocation lists as RFC 5280 §5 asks of conforming CAs: version 2, with thisUpdate, nextUpdate, an
//! authority key identifier and a CRL number. OpenSSL's crate has nothing that makes one, so the octets are put
//! together here.

use openssl::pkey::{Id, PKey, Private};
use openssl::sign::Signer;
use openssl::x509::X509Ref;
use time::OffsetDateTime;
use time::macros::format_description;

use super::{Authority, WorkshopError, issuance};
use crate::clock::Timestamp;
use crate::pki::der::{self, Oid, encode};
use crate::pki::revocation::crl::RevocationReason;

const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const ENUMERATED: u8 = 0x0a;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// What to put in a list.
#[derive(Clone, Debug)]
pub struct CrlTemplate {
    /// Each list has a higher one than the last.
    pub number: u64,
    /// When it is made.
    pub this_update: Timestamp,
    /// When there will be a newer one; until then, and then included, it holds.
    pub next_update: Timestamp,
    /// In any order.
    pub revoked: Vec<RevokedCertificate>,
}

/// One entry of a list.
#[derive(Clone, Debug)]
pub struct RevokedCertificate {
    /// As [`Certificate::serial`](crate::pki::Certificate::serial) has it.
    pub serial: Vec<u8>,
    /// Since when.
    pub at: Timestamp,
    /// None is how `unspecified` is said (RFC 5280 §5.3.1).
    pub reason: Option<RevocationReason>,
}

impl Authority {
    /// A list of this CA, in DER.
    pub fn crl(&self, template: &CrlTemplate) -> Result<Vec<u8>, WorkshopError> {
        let revoked: Vec<u8> = template.revoked.iter().map(entry).collect::<Result<Vec<_>, _>>()?.concat();
        let extensions = [self.authority_key_identifier()?, crl_number(template.number)?].concat();
        let algorithm = algorithm_of(&self.identity.key)?;
        let tbs = [
            encode(der::INTEGER, &[1]), // called version 2
            algorithm.clone(),
            self.certificate().subject_name().to_der()?,
            time(template.this_update)?,
            time(template.next_update)?,
            if revoked.is_empty() { Vec::new() } else { encode(der::SEQUENCE, &revoked) },
            encode(0xa0, &encode(der::SEQUENCE, &extensions)),
        ];
        sign(&encode(der::SEQUENCE, &tbs.concat()), &algorithm, &self.identity.key)
    }

    /// Nothing for a CA that was made elsewhere, without a subject key identifier.
    fn authority_key_identifier(&self) -> Result<Vec<u8>, WorkshopError> {
        let certificate: &X509Ref = self.certificate();
        let Some(identifier) = certificate.subject_key_id() else { return Ok(Vec::new()) };
        let value = encode(der::SEQUENCE, &encode(0x80, identifier.as_slice()));
        extension("2.5.29.35", &value)
    }
}

/// Wraps a `TBSCertList`; also for tests, which put odd ones together themselves.
pub(in crate::pki) fn sign(
    tbs: &[u8],
    algorithm: &[u8],
    key: &PKey<Private>,
) -> Result<Vec<u8>, WorkshopError> {
    let mut signer = match key.id() {
        Id::ED25519 | Id::ED448 => Signer::new_without_digest(key)?,
        _ => Signer::new(issuance::digest_for(key), key)?,
    };
    let signature = signer.sign_oneshot_to_vec(tbs)?;
    let signature = encode(der::BIT_STRING, &[&[0], signature.as_slice()].concat());
    Ok(encode(der::SEQUENCE, &[tbs, algorithm, &signature].concat()))
}

/// The `AlgorithmIdentifier` that [`sign`] signs by.
pub(in crate::pki) fn algorithm_of(key: &PKey<Private>) -> Result<Vec<u8>, WorkshopError> {
    let (dotted, parameters) = match key.id() {
        Id::ED25519 => ("1.3.101.112", Vec::new()),
        Id::ED448 => ("1.3.101.113", Vec::new()),
        Id::EC if key.bits() > 256 => ("1.2.840.10045.4.3.3", Vec::new()),
        Id::EC => ("1.2.840.10045.4.3.2", Vec::new()),
        Id::RSA => ("1.2.840.113549.1.1.11", encode(NULL, &[])),
        _ => return Err(WorkshopError("lists are not signed with a key of this kind here".into())),
    };
    Ok(encode(der::SEQUENCE, &[oid(dotted)?, parameters].concat()))
}

fn entry(revoked: &RevokedCertificate) -> Result<Vec<u8>, WorkshopError> {
    if revoked.serial.is_empty() {
        return Err(WorkshopError("a serial number has at least one octet".into()));
    }
    let extensions = match revoked.reason {
        Some(reason) => {
            encode(der::SEQUENCE, &extension("2.5.29.21", &encode(ENUMERATED, &[reason.code()]))?)
        }
        None => Vec::new(),
    };
    let fields = [encode(der::INTEGER, &revoked.serial), time(revoked.at)?, extensions];
    Ok(encode(der::SEQUENCE, &fields.concat()))
}

fn crl_number(number: u64) -> Result<Vec<u8>, WorkshopError> {
    let octets = number.to_be_bytes();
    let zeros = octets.iter().take(7).take_while(|&&octet| octet == 0).count();
    let significant = octets.get(zeros..).unwrap_or_default();
    let sign = significant.first().is_some_and(|&first| first & 0x80 != 0);
    let content = if sign { [&[0], significant].concat() } else { significant.to_vec() };
    extension("2.5.29.20", &encode(der::INTEGER, &content))
}

fn extension(dotted: &str, value: &[u8]) -> Result<Vec<u8>, WorkshopError> {
    Ok(encode(der::SEQUENCE, &[oid(dotted)?, encode(OCTET_STRING, value)].concat()))
}

fn oid(dotted: &str) -> Result<Vec<u8>, WorkshopError> {
    let oid = Oid::from_dotted(dotted).ok_or_else(|| WorkshopError(format!("{dotted} is no identifier")))?;
    Ok(encode(der::OBJECT_IDENTIFIER, oid.content()))
}

/// RFC 5280 §5.1.2.4: `UTCTime` through 2049, `GeneralizedTime` from then on.
pub(in crate::pki) fn time(at: Timestamp) -> Result<Vec<u8>, WorkshopError> {
    let out_of_range = || WorkshopError(format!("{at} is not a time for a certificate"));
    let at = OffsetDateTime::from_unix_timestamp(at.as_unix()).map_err(|_| out_of_range())?;
    let in_year =
        at.format(format_description!("[month][day][hour][minute][second]Z")).map_err(|_| out_of_range())?;
    match at.year() {
        year @ 1950..2050 => Ok(encode(UTC_TIME, format!("{:02}{in_year}", year % 100).as_bytes())),
        year @ 2050..10_000 => Ok(encode(GENERALIZED_TIME, format!("{year}{in_year}").as_bytes())),
        _ => Err(out_of_range()),
    }
}
