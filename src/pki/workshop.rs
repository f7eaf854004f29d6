//! Makes CAs, certificates and revocation lists, for `cert new-ca|issue|self-signed`, `init`, `demo` and the tests.
//!
//! Whatever leaves this room follows RFC 5280 §4 to the letter, so that it passes `profile: strict`: random
//! positive serials of 20 octets, subject and authority key identifiers, critical basicConstraints and
//! keyUsage, a critical subjectAltName where the subject is empty. Odd certificates are made elsewhere.

pub(in crate::pki) mod crl;
mod issuance;
mod request;

use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::x509::{X509, X509Ref};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
pub use crl::{CrlTemplate, RevokedCertificate};
use issuance::{Issuance, Role, Subject};

/// What kind of key to make.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyKind {
    /// ECDSA on NIST P-256.
    #[default]
    P256,
    /// ECDSA on NIST P-384.
    P384,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RFC 8410.
    Ed25519,
}

/// What the extended key usage of an end-entity certificate says (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeafPurpose {
    /// clientAuth.
    Client,
    /// serverAuth.
    Server,
    /// No such extension.
    Unsaid,
}

/// What to put in a certificate.
#[derive(Clone, Debug)]
pub struct Template {
    /// Short name such as CN, O or C, and value, in encoding order: the last one stands first in RFC 4514.
    pub subject: Vec<(String, String)>,
    /// dNSName entries of subjectAltName.
    pub dns: Vec<String>,
    /// uniformResourceIdentifier entries.
    pub uri: Vec<String>,
    /// iPAddress entries.
    pub ip: Vec<std::net::IpAddr>,
    /// rfc822Name entries.
    pub email: Vec<String>,
    /// First second of validity.
    pub not_before: Timestamp,
    /// Last second of validity.
    pub not_after: Timestamp,
    /// Ignored for a CA.
    pub purpose: LeafPurpose,
    /// Ignored for a request, which brings its key.
    pub key: KeyKind,
}

impl Template {
    /// A client on P-256, with a common name and nothing else. An empty `cn` is an empty subject.
    pub fn new(cn: &str, not_before: Timestamp, not_after: Timestamp) -> Self {
        let subject = if cn.is_empty() { Vec::new() } else { vec![("CN".into(), cn.into())] };
        Self {
            subject,
            dns: Vec::new(),
            uri: Vec::new(),
            ip: Vec::new(),
            email: Vec::new(),
            not_before,
            not_after,
            purpose: LeafPurpose::Client,
            key: KeyKind::P256,
        }
    }

    fn has_alt_names(&self) -> bool {
        !(self.dns.is_empty() && self.uri.is_empty() && self.ip.is_empty() && self.email.is_empty())
    }
}

/// Why a certificate cannot be made: what the template asks, or what OpenSSL says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WorkshopError(pub String);

impl From<ErrorStack> for WorkshopError {
    fn from(errors: ErrorStack) -> Self {
        let reason = errors.errors().first().and_then(openssl::error::Error::reason);
        Self(reason.unwrap_or("OpenSSL refuses without a reason").into())
    }
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Identity {
    certificate: X509,
    certificate_der: Vec<u8>,
    key: PKey<Private>,
    key_der: Zeroizing<Vec<u8>>,
    key_pem: Zeroizing<String>,
}

impl Identity {
    /// Issued by nobody but itself, and no CA.
    pub fn self_signed(template: &Template) -> Result<Self, WorkshopError> {
        let key = make_key(template.key)?;
        let issuance = Issuance { template, subject: Subject::Template, role: Role::EndEntity };
        Self::of(issuance.sign(&key, None, &key)?, key)
    }

    /// DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate_der
    }

    /// PEM.
    pub fn certificate_pem(&self) -> String {
        super::files::to_pem(&self.certificate_der)
    }

    /// PKCS#8 DER.
    pub fn key_der(&self) -> Zeroizing<Vec<u8>> {
        self.key_der.clone()
    }

    /// PKCS#8 PEM.
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.key_pem.clone()
    }

    /// PKCS#12 of certificate, key and `chain` (DER). An empty password is allowed.
    pub fn to_pkcs12(&self, chain: &[Vec<u8>], password: &str) -> Result<Vec<u8>, WorkshopError> {
        if password.contains('\0') {
            return Err(WorkshopError("a PKCS#12 password cannot have a NUL in it".into()));
        }
        let mut others = Stack::new()?;
        for der in chain {
            others.push(X509::from_der(der)?)?;
        }
        let mut builder = Pkcs12::builder();
        builder.cert(&self.certificate).pkey(&self.key).ca(others);
        Ok(builder.build2(password)?.to_der()?)
    }

    fn of(certificate: X509, key: PKey<Private>) -> Result<Self, WorkshopError> {
        let certificate_der = certificate.to_der()?;
        let key_der = Zeroizing::new(key.private_key_to_pkcs8()?);
        let pem = Zeroizing::new(key.private_key_to_pem_pkcs8()?);
        let key_pem = Zeroizing::new(String::from_utf8_lossy(&pem).into_owned());
        Ok(Self { certificate, certificate_der, key, key_der, key_pem })
    }
}

/// A CA: an identity that may issue.
#[derive(Clone)]
pub struct Authority {
    identity: Identity,
}

impl Authority {
    /// A root.
    pub fn new(template: &Template) -> Result<Self, WorkshopError> {
        let key = make_key(template.key)?;
        let issuance = Issuance { template, subject: Subject::Template, role: Role::Authority };
        Ok(Self { identity: Identity::of(issuance.sign(&key, None, &key)?, key)? })
    }

    /// A CA made earlier, here or elsewhere: PEM of its certificate and of its unencrypted key.
    pub fn load(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, WorkshopError> {
        let unreadable = |error: super::files::FileError| WorkshopError(error.to_string());
        let parsed = super::files::one_certificate(certificate_pem).map_err(unreadable)?;
        if !parsed.is_ca() {
            return Err(WorkshopError("this certificate is not one of a CA".into()));
        }
        let pkcs8 = super::files::read(key_pem, None)
            .map_err(unreadable)?
            .key
            .ok_or_else(|| WorkshopError("there is no private key in the key file".into()))?;
        if !super::files::key_matches(parsed.der(), &pkcs8) {
            return Err(WorkshopError("the key does not belong to the certificate".into()));
        }
        let certificate = X509::from_der(parsed.der())?;
        Ok(Self { identity: Identity::of(certificate, PKey::private_key_from_pkcs8(&pkcs8)?)? })
    }

    /// Its certificate and key.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A CA below this one.
    pub fn intermediate(&self, template: &Template) -> Result<Self, WorkshopError> {
        Ok(Self { identity: self.issue_as(template, Role::Authority)? })
    }

    /// An end-entity certificate with a new key.
    pub fn issue(&self, template: &Template) -> Result<Identity, WorkshopError> {
        self.issue_as(template, Role::EndEntity)
    }

    /// A certificate for a request (PKCS#10, PEM or DER). Its subject and names are kept where the template
    /// has none; its key must have signed it. Gives DER.
    pub fn sign_request(&self, csr: &[u8], template: &Template) -> Result<Vec<u8>, WorkshopError> {
        let request = request::Request::parse(csr)?;
        let mut template = template.clone();
        if !template.has_alt_names() {
            request.copy_alt_names(&mut template)?;
        }
        let subject =
            if template.subject.is_empty() { Subject::Given(request.subject()) } else { Subject::Template };
        let issuance = Issuance { template: &template, subject, role: Role::EndEntity };
        let certificate =
            issuance.sign(&*request.public_key()?, Some(self.certificate()), &self.identity.key)?;
        Ok(certificate.to_der()?)
    }

    fn issue_as(&self, template: &Template, role: Role) -> Result<Identity, WorkshopError> {
        let key = make_key(template.key)?;
        let issuance = Issuance { template, subject: Subject::Template, role };
        Identity::of(issuance.sign(&key, Some(self.certificate()), &self.identity.key)?, key)
    }

    fn certificate(&self) -> &X509Ref {
        &self.identity.certificate
    }
}

fn make_key(kind: KeyKind) -> Result<PKey<Private>, WorkshopError> {
    use openssl::ec::{EcGroup, EcKey};
    use openssl::nid::Nid;
    let ec = |curve| PKey::from_ec_key(EcKey::generate(EcGroup::from_curve_name(curve)?.as_ref())?);
    Ok(match kind {
        KeyKind::P256 => ec(Nid::X9_62_PRIME256V1)?,
        KeyKind::P384 => ec(Nid::SECP384R1)?,
        KeyKind::Rsa2048 => PKey::from_rsa(openssl::rsa::Rsa::generate(2048)?)?,
        KeyKind::Ed25519 => PKey::generate_ed25519()?,
    })
}

#[cfg(test)]
mod tests;
