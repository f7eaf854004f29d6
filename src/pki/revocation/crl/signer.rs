//! Whether an issuer made a list: its name, its key identifier, its right to do so, and the signature (RFC 5280 §6.3.3
//! (f) and (g)), by the keys and algorithms that path validation accepts and no others.

use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::CrlError;
use super::extensions::subject_key_identifier;
use super::list::{List, Signed};
use crate::pki::certificate::Certificate;
use crate::pki::revocation::signature::{Algorithm, Message};
use crate::pki::trust::key_fault;

/// Why a list is not this issuer's.
#[derive(Debug)]
pub(super) enum Mismatch {
    /// It does not say so: another name, another key identifier.
    AnotherIssuer,
    /// It says so, and it does not hold; for people.
    Fault(String),
}

/// The signature of a list and what it is over, read once, so that the list itself need not be kept to be verified.
pub(super) struct Seal {
    algorithm: Algorithm,
    message: Message,
    /// The content of the BIT STRING.
    signature: Box<[u8]>,
}

impl Seal {
    /// Reads all that is signed.
    pub(super) fn of(signed: &Signed<'_>) -> Result<Self, CrlError> {
        let algorithm = Algorithm::read(signed.algorithm).map_err(|algorithm| {
            CrlError::Forged(format!("it is signed by an algorithm that is not trusted: {algorithm}"))
        })?;
        let message = algorithm.message(signed.tbs);
        Ok(Self { algorithm, message, signature: signed.signature.into() })
    }

    /// How many octets of what is signed each key has to read: none where there is a digest.
    pub(super) fn octets(&self) -> usize {
        match &self.message {
            Message::Digest(_) => 0,
            Message::Whole(data) => data.len(),
        }
    }

    /// One signature over one thing.
    pub(super) fn is_that_of(&self, other: &Self) -> bool {
        self.message == other.message && self.signature == other.signature
    }
}

/// Whether `issuer` signed the list and may: one check of a signature, whatever the length of the list.
pub(super) fn verify(list: &List, seal: &Seal, issuer: &Certificate) -> Result<(), Mismatch> {
    let name = issuer.subject();
    if list.issuer != *name {
        return Err(Mismatch::AnotherIssuer);
    }
    if let (Some(named), Some(own)) = (list.key_identifier.as_deref(), subject_key_identifier(issuer))
        && named != own
    {
        return Err(Mismatch::AnotherIssuer);
    }
    let fault = |what: String| Err(Mismatch::Fault(what));
    if issuer.key_usage().is_some_and(|usage| !usage.crl_sign()) {
        return fault(format!("{name} may not sign CRLs: its key usage does not have cRLSign"));
    }
    let key = SubjectPublicKeyInfo::from_der(issuer.public_key());
    if let Some(what) = key.map_or_else(|_| Some("its key cannot be read".into()), |(_, key)| key_fault(&key))
    {
        return fault(format!("the issuer {name}: {what}"));
    }
    match seal.signature.split_first() {
        Some((0, signature)) if seal.algorithm.verifies(issuer, signature, &seal.message) => Ok(()),
        _ => fault(format!("its signature does not verify with the key of {name}")),
    }
}
