//! Lists with any flaw that is asked for, signed all the same.

use openssl::pkey::{PKey, Private};

use super::{FROM, TO};
use crate::clock::Timestamp;
use crate::pki::der::{self, Oid, encode};
use crate::pki::workshop::Authority;
use crate::pki::workshop::crl::{algorithm_of, sign, time};

pub(super) const NUMBER: &str = "2.5.29.20";
pub(super) const REASON: &str = "2.5.29.21";
pub(super) const INVALIDITY_DATE: &str = "2.5.29.24";
pub(super) const DELTA: &str = "2.5.29.27";
pub(super) const DISTRIBUTION_POINT: &str = "2.5.29.28";
pub(super) const CERTIFICATE_ISSUER: &str = "2.5.29.29";
pub(super) const KEY_IDENTIFIER: &str = "2.5.29.35";

/// Every field in DER; what is left alone is that of a good list with the number 7 and without entries.
#[derive(Clone)]
pub(super) struct Odd {
    pub(super) version: Vec<u8>,
    pub(super) inner_algorithm: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) times: Vec<Vec<u8>>,
    pub(super) revoked: Vec<u8>,
    pub(super) extensions: Vec<Vec<u8>>,
    pub(super) trailing: Vec<u8>,
    pub(super) outer_algorithm: Vec<u8>,
    pub(super) key: PKey<Private>,
}

impl Odd {
    pub(super) fn of(ca: &Authority) -> Self {
        let key = PKey::private_key_from_pkcs8(&ca.identity().key_der()).unwrap();
        let certificate = openssl::x509::X509::from_der(ca.identity().certificate_der()).unwrap();
        let algorithm = algorithm_of(&key).unwrap();
        Self {
            version: encode(der::INTEGER, &[1]),
            inner_algorithm: algorithm.clone(),
            issuer: certificate.subject_name().to_der().unwrap(),
            times: vec![at(FROM), at(TO)],
            revoked: Vec::new(),
            extensions: vec![extension(NUMBER, &encode(der::INTEGER, &[7]))],
            trailing: Vec::new(),
            outer_algorithm: algorithm,
            key,
        }
    }

    /// Besides those that are there.
    pub(super) fn with(mut self, extension: Vec<u8>) -> Self {
        self.extensions.push(extension);
        self
    }

    pub(super) fn number(mut self, content: &[u8]) -> Self {
        self.extensions = vec![extension(NUMBER, &encode(der::INTEGER, content))];
        self
    }

    pub(super) fn revoking(mut self, entries: &[Vec<u8>]) -> Self {
        self.revoked = encode(der::SEQUENCE, &entries.concat());
        self
    }

    /// The `TBSCertList`.
    pub(super) fn tbs(&self) -> Vec<u8> {
        let extensions = match self.extensions.as_slice() {
            [] => Vec::new(),
            some => encode(0xa0, &encode(der::SEQUENCE, &some.concat())),
        };
        let fields = [
            self.version.clone(),
            self.inner_algorithm.clone(),
            self.issuer.clone(),
            self.times.concat(),
            self.revoked.clone(),
            extensions,
            self.trailing.clone(),
        ];
        encode(der::SEQUENCE, &fields.concat())
    }

    pub(super) fn der(&self) -> Vec<u8> {
        sign(&self.tbs(), &self.outer_algorithm, &self.key).unwrap()
    }

    /// With a signature that was made elsewhere.
    pub(super) fn signed_by(&self, signature: &[u8]) -> Vec<u8> {
        let signature = encode(der::BIT_STRING, &[&[0], signature].concat());
        encode(der::SEQUENCE, &[self.tbs(), self.outer_algorithm.clone(), signature].concat())
    }
}

pub(super) fn at(at: Timestamp) -> Vec<u8> {
    time(at).unwrap()
}

/// One that is not critical.
pub(super) fn extension(dotted: &str, value: &[u8]) -> Vec<u8> {
    encode(der::SEQUENCE, &[oid(dotted), encode(0x04, value)].concat())
}

pub(super) fn critical(dotted: &str, value: &[u8]) -> Vec<u8> {
    encode(der::SEQUENCE, &[oid(dotted), vec![der::BOOLEAN, 1, 0xff], encode(0x04, value)].concat())
}

/// A revoked certificate, with these `crlEntryExtensions`.
pub(super) fn entry(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = match extensions {
        [] => Vec::new(),
        some => encode(der::SEQUENCE, &some.concat()),
    };
    encode(der::SEQUENCE, &[encode(der::INTEGER, serial), at(FROM), extensions].concat())
}

pub(super) fn reason(code: u8) -> Vec<u8> {
    extension(REASON, &[0x0a, 1, code])
}

pub(super) fn oid(dotted: &str) -> Vec<u8> {
    encode(der::OBJECT_IDENTIFIER, Oid::from_dotted(dotted).unwrap().content())
}

/// An `AlgorithmIdentifier`.
pub(super) fn algorithm(dotted: &str, parameters: &[u8]) -> Vec<u8> {
    encode(der::SEQUENCE, &[oid(dotted).as_slice(), parameters].concat())
}
