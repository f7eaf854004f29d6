//! Who signed a response, and whether they may (RFC 6960 §4.2.2.2): the issuer of the certificate with its own
//! key, or a delegate that this key certified for it.
//!
//! The signature is verified over the octets as received; algorithms with SHA-1 are refused. A delegate's
//! certificate comes with the response, is issued directly by the issuer's key, holds now (path
//! validation of `trust` sees to dates, keys and signature), has id-kp-OCSPSigning by name, and
//! digitalSignature if it has a keyUsage. Whether the delegate itself was revoked is not asked, with or
//! without id-pkix-ocsp-nocheck: §4.2.2.2.1 leaves it to local policy, and the one who would be asked is the
//! delegate. A CA that wants one to end sooner gives it a short life.

use super::request::{OCTET_STRING, key_hash};
use crate::clock::Timestamp;
use crate::pki::certificate::{Certificate, Chain};
use crate::pki::der::{self, DerError, Element, Reader};
use crate::pki::name::DistinguishedName;
use crate::pki::revocation::signature::Algorithm;
use crate::pki::trust::{AnchorSet, Profile, Purpose};

/// A response names its signer; more certificates than these only cost time.
const MAX_CERTIFICATES: usize = 8;

/// id-kp-OCSPSigning, RFC 6960 §4.2.2.2.
const OCSP_SIGNING: &str = "1.3.6.1.5.5.7.3.9";

/// `BasicOCSPResponse`: what is signed, and the signature.
pub(super) struct Signed<'d> {
    /// `tbsResponseData` as received.
    pub(super) data: &'d [u8],
    algorithm: &'d [u8],
    signature: &'d [u8],
    certificates: Vec<&'d [u8]>,
}

impl<'d> Signed<'d> {
    pub(super) fn read(basic: &'d [u8]) -> Result<Self, DerError> {
        let mut fields = Reader::new(der::only(basic, der::SEQUENCE)?);
        let data = fields.element()?.raw;
        let algorithm = fields.expect(der::SEQUENCE)?;
        let Some((0, signature)) = fields.expect(der::BIT_STRING)?.split_first() else {
            return Err(DerError);
        };
        let mut certificates = Vec::new();
        if let Some(wrapped) = fields.optional(0xa0)? {
            let mut list = Reader::new(der::only(wrapped, der::SEQUENCE)?);
            while !list.is_empty() {
                certificates.push(list.element()?.raw);
            }
        }
        fields.finish()?;
        Ok(Self { data, algorithm, signature, certificates })
    }
}

/// `ResponderID`: which key to look for. It proves nothing.
pub(super) enum ResponderId<'d> {
    Name(DistinguishedName),
    /// SHA-1 of the key.
    Key(&'d [u8]),
}

impl<'d> ResponderId<'d> {
    pub(super) fn read(element: Element<'d>) -> Result<Self, DerError> {
        match element.tag {
            0xa1 => DistinguishedName::from_der(element.content).map(Self::Name).map_err(|_| DerError),
            0xa2 => der::only(element.content, OCTET_STRING).map(Self::Key),
            _ => Err(DerError),
        }
    }

    fn is(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Name(name) => name == certificate.subject(),
            Self::Key(hash) => key_hash(certificate).is_ok_and(|own| own == *hash),
        }
    }
}

/// Why nobody who may speak for the issuer signed this.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum SignerError {
    #[error("its response is signed by an algorithm that is not trusted: {0}")]
    Algorithm(String),
    #[error("its response carries more than {MAX_CERTIFICATES} certificates")]
    TooMany,
    #[error("its response is signed by nobody whose certificate is known here or comes with it")]
    Unknown,
    #[error("the signature of its response does not hold")]
    Forged,
    #[error("whoever signed its response ({name}) may not do so for this issuer: {why}")]
    NotAuthorized {
        /// RFC 4514.
        name: String,
        why: String,
    },
}

/// Refuses what was not signed on behalf of `issuer`.
pub(super) fn check(
    signed: &Signed<'_>,
    responder: &ResponderId<'_>,
    issuer: &Certificate,
    now: Timestamp,
) -> Result<(), SignerError> {
    let algorithm = Algorithm::read(signed.algorithm).map_err(SignerError::Algorithm)?;
    if signed.certificates.len() > MAX_CERTIFICATES {
        return Err(SignerError::TooMany);
    }
    let message = algorithm.message(signed.data);
    let mut verdict = SignerError::Unknown;
    if responder.is(issuer) {
        if algorithm.verifies(issuer, signed.signature, &message) {
            return Ok(());
        }
        verdict = SignerError::Forged;
    }
    // A delegate may bear the name of its issuer, so the issuer's key may not be the one that was meant.
    for der in &signed.certificates {
        let Ok(certificate) = Certificate::parse(der) else { continue };
        if !responder.is(&certificate) || certificate.public_key() == issuer.public_key() {
            continue;
        }
        if algorithm.verifies(&certificate, signed.signature, &message) {
            let name = certificate.subject().to_string();
            return check_delegate(certificate, issuer, now)
                .map_err(|why| SignerError::NotAuthorized { name, why });
        }
        verdict = SignerError::Forged;
    }
    Err(verdict)
}

fn check_delegate(delegate: Certificate, issuer: &Certificate, now: Timestamp) -> Result<(), String> {
    let purposes = delegate.extended_key_usage().unwrap_or_default();
    if !purposes.iter().any(|purpose| purpose == OCSP_SIGNING) {
        return Err("its certificate does not have the extended key usage OCSPSigning".into());
    }
    if delegate.key_usage().is_some_and(|usage| !usage.digital_signature()) {
        return Err("its certificate has a key usage without digitalSignature".into());
    }
    // The issuer is the only anchor and nothing stands between: this is what "directly" means.
    let anchor = Certificate::parse(issuer.der()).map_err(|error| error.to_string())?;
    let anchors = AnchorSet::unchecked(vec![anchor], Vec::new(), Profile::Compatible);
    let chain = Chain { leaf: delegate, intermediates: Vec::new() };
    anchors.verify_path(&chain, Purpose::Any, now).map(|_| ()).map_err(|error| error.detail)
}
