//! A certificate as it was received: the octets, their hash, and what is decided by, parsed once.
//!
//! Applies RFC 5280 §4 for the fields that are read here and RFC 8705 §3.1 for the thumbprint. Strict where
//! it decides: trailing octets, an extension that occurs twice, or one of basicConstraints, keyUsage,
//! extendedKeyUsage and subjectAltName that does not decode makes the whole certificate malformed. Version 1
//! parses. Whether it is trusted is left to `trust`, whether a name fits to `subject`, whether the usages
//! suffice to whoever asks.

mod extensions;
mod public_key;

#[cfg(test)]
pub(in crate::pki) mod sample;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::error::X509Error;
use x509_parser::nom::{self, Parser as _};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use self::extensions::Extensions;
use super::der::{self, DerError, Reader};
use super::name::DistinguishedName;
use super::trust::key_fault;
use crate::clock::Timestamp;

/// A certificate, parsed once and owned; share it by `Arc`.
pub struct Certificate {
    der: Box<[u8]>,
    thumbprint: Thumbprint,
    version: u8,
    serial: Box<[u8]>,
    issuer: DistinguishedName,
    subject: DistinguishedName,
    not_before: Timestamp,
    not_after: Timestamp,
    public_key: Box<[u8]>,
    extensions: Extensions,
}

/// Why these octets are no certificate that can be judged.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct CertificateError(pub String);

impl CertificateError {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl Certificate {
    /// Parses the DER of exactly one certificate of at most [`Chain::MAX_BYTES`].
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > Chain::MAX_BYTES {
            return Err(CertificateError::new("the certificate is longer than 64 KiB"));
        }
        let parsed = read_frame(der)?;
        let tbs = &parsed.tbs_certificate;
        let name = |which: &str, raw: &[u8]| {
            DistinguishedName::from_der(raw)
                .map_err(|error| CertificateError(format!("the {which} of the certificate: {error}")))
        };
        let version = match tbs.version.0 {
            0 => 1,
            1 => 2,
            2 => 3,
            _ => return Err(CertificateError::new("the certificate is of an unknown version")),
        };
        if version < 3 && !tbs.extensions().is_empty() {
            return Err(CertificateError::new("the certificate has extensions but is not of version 3"));
        }
        if tbs.raw_serial().is_empty() {
            return Err(CertificateError::new("the serial number of the certificate is empty"));
        }
        Ok(Self {
            thumbprint: Thumbprint::of(der),
            version,
            serial: tbs.raw_serial().into(),
            issuer: name("issuer", tbs.issuer.as_raw())?,
            subject: name("subject", tbs.subject.as_raw())?,
            not_before: Timestamp::from_unix(tbs.validity.not_before.timestamp()),
            not_after: Timestamp::from_unix(tbs.validity.not_after.timestamp()),
            public_key: tbs.subject_pki.raw.into(),
            extensions: Extensions::read(tbs.extensions())?,
            der: der.into(),
        })
    }

    /// The octets as received.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 over [`Certificate::der`], RFC 8705 §3.1.
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// SHA-1 over [`Certificate::der`], as JWKs may name a certificate in `x5t` (RFC 7517 §4.8). Nothing is decided by it
    /// alone.
    pub fn sha1_thumbprint(&self) -> [u8; 20] {
        openssl::sha::sha1(&self.der)
    }

    /// The subject; it may be empty.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// The issuer.
    pub fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    /// The entries of subjectAltName in their order, none if there is no such extension.
    pub fn alt_names(&self) -> &[AltName] {
        &self.extensions.alt_names
    }

    /// The first second of its validity.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second of its validity, itself included (RFC 5280 §4.1.2.5).
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The content octets of the INTEGER as encoded: big-endian two's complement, zero and negative ones too.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// 1, 2 or 3.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Whether basicConstraints says `CA:TRUE`.
    pub fn is_ca(&self) -> bool {
        self.extensions.is_ca
    }

    /// The keyUsage extension, if there is one.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.extensions.key_usage
    }

    /// The purposes in extendedKeyUsage as dotted object identifiers, `None` without such an extension.
    pub fn extended_key_usage(&self) -> Option<&[String]> {
        self.extensions.extended_key_usage.as_deref()
    }

    /// The extended key usages by the names of RFC 5280 §4.2.1.12; others stay dotted numbers. None if there is no such
    /// extension.
    pub fn purposes(&self) -> Option<Vec<String>> {
        self.extended_key_usage().map(|usages| usages.iter().map(|oid| purpose(oid).to_owned()).collect())
    }

    /// Whether nothing in extendedKeyUsage speaks against a TLS client: no such extension, or one that has
    /// `clientAuth` by name. `anyExtendedKeyUsage` alone is not enough (RFC 5280 §4.2.1.12 leaves it open).
    pub fn allows_client_auth(&self) -> bool {
        self.extended_key_usage().is_none_or(|purposes| purposes.iter().any(|oid| oid == CLIENT_AUTH))
    }

    /// The DER of the `SubjectPublicKeyInfo`.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Why its key proves too little, if it does: one that no path would be trusted with.
    pub fn key_fault(&self) -> Option<String> {
        match SubjectPublicKeyInfo::from_der(&self.public_key) {
            Ok((_, key)) => key_fault(&key),
            Err(_) => Some("its key cannot be read".to_owned()),
        }
    }

    /// SHA-256 over [`Certificate::public_key`]: a CA is its key, whatever it calls itself.
    pub fn key_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.public_key).into()
    }

    /// The key for people: `EC P-256`, `RSA 2048`, `Ed25519`; an unknown algorithm by its object identifier.
    pub fn key_description(&self) -> String {
        public_key::describe(&self.public_key)
    }
}

/// Who it is, not its kilobyte of octets.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &format_args!("{}", self.subject))
            .field("thumbprint", &format_args!("{}", self.thumbprint))
            .finish_non_exhaustive()
    }
}

/// The names that RFC 5280 §4.2.1.12 gives; others stay numbers.
fn purpose(oid: &str) -> &str {
    match oid {
        "2.5.29.37.0" => "anyExtendedKeyUsage",
        "1.3.6.1.5.5.7.3.1" => "serverAuth",
        "1.3.6.1.5.5.7.3.2" => "clientAuth",
        "1.3.6.1.5.5.7.3.3" => "codeSigning",
        "1.3.6.1.5.5.7.3.4" => "emailProtection",
        "1.3.6.1.5.5.7.3.8" => "timeStamping",
        "1.3.6.1.5.5.7.3.9" => "OCSPSigning",
        other => other,
    }
}

/// id-kp-clientAuth, RFC 5280 §4.2.1.12.
const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";

/// The fields, by `x509-parser`; and then that it left nothing over. Its containers ignore what follows the
/// last field they know and hand out raw octets that end there, so those no longer fill their own length.
fn read_frame(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    let no_certificate =
        |error: &dyn fmt::Display| CertificateError(format!("this is no certificate: {error}"));
    let (rest, parsed) = X509CertificateParser::new().with_deep_parse_extensions(false).parse(der).map_err(
        |error| match error {
            nom::Err::Incomplete(_)
            | nom::Err::Error(X509Error::NomError(_))
            | nom::Err::Failure(X509Error::NomError(_)) => no_certificate(&"it is not DER, or ends early"),
            nom::Err::Error(error) | nom::Err::Failure(error) => no_certificate(&error),
        },
    )?;
    if !rest.is_empty() {
        return Err(CertificateError(format!("{} octets follow the certificate", rest.len())));
    }
    let nothing_left_over = || -> Result<(), DerError> {
        let mut fields = Reader::new(der::only(der, der::SEQUENCE)?);
        fields.expect(der::SEQUENCE)?;
        fields.expect(der::SEQUENCE)?;
        fields.expect(der::BIT_STRING)?;
        fields.finish()?;
        der::only(parsed.tbs_certificate.as_ref(), der::SEQUENCE)?;
        der::only(parsed.tbs_certificate.subject_pki.raw, der::SEQUENCE)?;
        Ok(())
    };
    nothing_left_over().map_err(|error| no_certificate(&error))?;
    Ok(parsed)
}

/// One entry of subjectAltName (RFC 5280 §4.2.1.6) as found. A text is one that can be compared: not empty,
/// and printable ASCII without blanks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AltName {
    /// `dNSName`, in the case in which it was written.
    Dns(String),
    /// `uniformResourceIdentifier`, as written.
    Uri(String),
    /// `iPAddress` of 4 or of 16 octets.
    Ip(IpAddr),
    /// `rfc822Name`, as written.
    Email(String),
    /// Any other kind, or an entry of the kinds above that can match nothing, such as one with a NUL.
    Other(&'static str),
}

/// The bits of keyUsage (RFC 5280 §4.2.1.3): bit *n* there is `1 << n` here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyUsage(pub u16);

impl KeyUsage {
    const NAMES: [&'static str; 9] = [
        "digitalSignature",
        "nonRepudiation",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
        "keyCertSign",
        "cRLSign",
        "encipherOnly",
        "decipherOnly",
    ];

    /// May sign something else than certificates and CRLs: a TLS handshake, for one.
    pub fn digital_signature(self) -> bool {
        self.0 & 1 != 0
    }

    /// May sign certificates.
    pub fn key_cert_sign(self) -> bool {
        self.0 & (1 << 5) != 0
    }

    /// May sign CRLs.
    pub fn crl_sign(self) -> bool {
        self.0 & (1 << 6) != 0
    }

    /// The set bits by the names of RFC 5280 §4.2.1.3.
    pub fn names(self) -> Vec<&'static str> {
        let set = |&(bit, _): &(usize, &str)| self.0 & (1 << bit) != 0;
        Self::NAMES.into_iter().enumerate().filter(set).map(|(_, name)| name).collect()
    }
}

/// SHA-256 over the DER of a certificate (RFC 8705 §3.1). The only place that hashes one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Of these octets.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// The hash itself.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash that was computed before.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// base64url without padding, 43 characters: the value of `x5t#S256`.
impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Base64Display::new(&self.0, &URL_SAFE_NO_PAD).fmt(f)
    }
}

/// Reads 43 characters of canonical base64url, or 64 hexadecimal digits of either case, and nothing else.
impl FromStr for Thumbprint {
    type Err = ThumbprintError;

    fn from_str(text: &str) -> Result<Self, ThumbprintError> {
        let octets = match text.len() {
            // This engine refuses padding and set bits after the last octet: one text per thumbprint.
            43 => URL_SAFE_NO_PAD.decode(text).ok(),
            64 => decode_hex(text),
            _ => None,
        };
        octets.and_then(|octets| octets.try_into().ok()).map(Self).ok_or(ThumbprintError)
    }
}

/// The text is no thumbprint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a thumbprint is 43 characters of base64url or 64 hexadecimal digits")]
pub struct ThumbprintError;

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    digits?
        .chunks(2)
        .map(|pair| u8::try_from(pair.iter().fold(0, |octet, digit| octet * 16 + digit)).ok())
        .collect()
}

/// What a peer presented: the leaf, and what came with it, unjudged.
#[derive(Debug)]
pub struct Chain {
    /// The certificate that the handshake was signed with.
    pub leaf: Certificate,
    /// The DER of the rest, in the order received, not parsed.
    pub intermediates: Vec<Vec<u8>>,
}

impl Chain {
    /// The most octets of DER in a chain, in a handshake, in headers and on the command line.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Leaf first. None, more than `max` certificates, or more than [`Chain::MAX_BYTES`] is an error.
    pub fn parse(certificates: &[Vec<u8>], max: usize) -> Result<Self, CertificateError> {
        let (leaf, intermediates) =
            certificates.split_first().ok_or_else(|| CertificateError::new("the chain is empty"))?;
        if certificates.len() > max {
            return Err(CertificateError(format!("the chain has more than {max} certificates")));
        }
        if certificates.iter().map(Vec::len).sum::<usize>() > Self::MAX_BYTES {
            return Err(CertificateError::new("the chain is longer than 64 KiB"));
        }
        Ok(Self { leaf: Certificate::parse(leaf)?, intermediates: intermediates.to_vec() })
    }
}

/// The DER of the public key in what may be a certificate, for checking a signature that its holder made. Reads past
/// everything that [`Certificate::parse`] would refuse: possession is one question and the certificate another.
pub fn public_key_of(der: &[u8]) -> Option<Vec<u8>> {
    if der.len() > Chain::MAX_BYTES {
        return None;
    }
    public_key_in(der).ok().map(<[u8]>::to_vec)
}

/// `subjectPublicKeyInfo` of `TBSCertificate` (RFC 5280 §4.1), past fields that are odd.
fn public_key_in(der: &[u8]) -> Result<&[u8], DerError> {
    let mut certificate = Reader::new(Reader::new(der).expect(der::SEQUENCE)?);
    let mut fields = Reader::new(certificate.expect(der::SEQUENCE)?);
    fields.optional(VERSION)?;
    for _ in ["serialNumber", "signature", "issuer", "validity", "subject"] {
        fields.element()?;
    }
    let key = fields.element()?;
    if key.tag == der::SEQUENCE { Ok(key.raw) } else { Err(DerError) }
}

/// `[0] EXPLICIT` of `TBSCertificate`.
const VERSION: u8 = 0xa0;
