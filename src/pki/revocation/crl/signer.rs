//! Whether an issuer made a list: its name, its key identifier, its right to do so, and the signature (RFC 5280 §6.3.3
//! (f) and (g)), by the keys and algorithms that path validation accepts and no others.

use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::extensions::subject_key_identifier;
use super::list::{List, Signed};
use crate::pki::certificate::Certificate;
use crate::pki::revocation::signature::Algorithm;
use crate::pki::trust::key_fault;

/// Why a list is not this issuer's.
#[derive(Debug)]
pub(super) enum Mismatch {
    /// It does not say so: another name, another key identifier.
    AnotherIssuer,
    /// It says so, and it does not hold; for people.
    Fault(String),
}

/// Whether `issuer` signed the list and may.
pub(super) fn verify(list: &List, signed: &Signed<'_>, issuer: &Certificate) -> Result<(), Mismatch> {
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
    let algorithm = Algorithm::read(signed.algorithm).map_err(|algorithm| {
        Mismatch::Fault(format!("it is signed by an algorithm that is not trusted: {algorithm}"))
    })?;
    match signed.signature.split_first() {
        Some((0, signature)) if algorithm.verifies(issuer, signature, signed.tbs) => Ok(()),
        _ => fault(format!("its signature does not verify with the key of {name}")),
    }
}
