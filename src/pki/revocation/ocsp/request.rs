//! The question as it is sent (RFC 6960 §4.1.1), and the identifier by which an answer is recognised.
//!
//! One certificate per request, hashes by SHA-1 as RFC 5019 §2.1.1 has it and every responder understands it:
//! the hashes name an issuer that is known already and prove nothing. No extensions, so no nonce: answers may
//! be made ahead and come from a cache, and it is their time that counts.

use openssl::sha::sha1;

use crate::pki::certificate::Certificate;
use crate::pki::der::{self, DerError, Oid, Reader};

/// `CertID` (RFC 6960 §4.1.1).
pub(super) struct CertId {
    issuer_name_hash: [u8; 20],
    issuer_key_hash: [u8; 20],
    serial: Box<[u8]>,
}

impl CertId {
    pub(super) fn new(certificate: &Certificate, issuer: &Certificate) -> Result<Self, DerError> {
        Ok(Self {
            issuer_name_hash: sha1(issuer_name(certificate)?),
            issuer_key_hash: key_hash(issuer)?,
            serial: certificate.serial().into(),
        })
    }

    /// `OCSPRequest` with this one certificate.
    pub(super) fn request(&self) -> Vec<u8> {
        let algorithm =
            der::encode(der::SEQUENCE, &[der::encode(der::OBJECT_IDENTIFIER, SHA1), NULL.to_vec()].concat());
        let fields = [
            algorithm,
            der::encode(OCTET_STRING, &self.issuer_name_hash),
            der::encode(OCTET_STRING, &self.issuer_key_hash),
            der::encode(der::INTEGER, &self.serial),
        ];
        // CertID, Request, requestList, TBSRequest, OCSPRequest
        (0..5).fold(fields.concat(), |content, _| der::encode(der::SEQUENCE, &content))
    }

    /// Whether the `CertID` with this content names the same certificate.
    pub(super) fn is_encoded_as(&self, content: &[u8]) -> Result<bool, DerError> {
        let mut fields = Reader::new(content);
        let mut algorithm = Reader::new(fields.expect(der::SEQUENCE)?);
        let hash = algorithm.expect(der::OBJECT_IDENTIFIER)?;
        Oid::from_content(hash)?;
        // NULL or nothing (RFC 4055 §2.1)
        if algorithm.optional(0x05)?.is_some_and(|null| !null.is_empty()) {
            return Err(DerError);
        }
        algorithm.finish()?;
        let name = fields.expect(OCTET_STRING)?;
        let key = fields.expect(OCTET_STRING)?;
        let serial = fields.expect(der::INTEGER)?;
        fields.finish()?;
        Ok(hash == SHA1
            && name == self.issuer_name_hash
            && key == self.issuer_key_hash
            && serial == &*self.serial)
    }
}

/// The DER of the issuer's name as the certificate has it (RFC 5280 §4.1.2.4): responders hash these octets.
pub(super) fn issuer_name(certificate: &Certificate) -> Result<&[u8], DerError> {
    let mut fields =
        Reader::new(Reader::new(der::only(certificate.der(), der::SEQUENCE)?).expect(der::SEQUENCE)?);
    fields.optional(VERSION)?;
    fields.expect(der::INTEGER)?;
    fields.expect(der::SEQUENCE)?;
    let name = fields.element()?;
    if name.tag == der::SEQUENCE { Ok(name.raw) } else { Err(DerError) }
}

/// SHA-1 over the key alone, without its algorithm: `issuerKeyHash` and `KeyHash` of a `ResponderID`.
pub(super) fn key_hash(certificate: &Certificate) -> Result<[u8; 20], DerError> {
    let mut fields = Reader::new(der::only(certificate.public_key(), der::SEQUENCE)?);
    fields.expect(der::SEQUENCE)?;
    let (_unused, key) = fields.expect(der::BIT_STRING)?.split_first().ok_or(DerError)?;
    Ok(sha1(key))
}

pub(super) const OCTET_STRING: u8 = 0x04;

const NULL: &[u8] = &[0x05, 0x00];

/// id-sha1, 1.3.14.3.2.26.
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];

/// `[0] EXPLICIT` of `TBSCertificate`.
const VERSION: u8 = 0xa0;
