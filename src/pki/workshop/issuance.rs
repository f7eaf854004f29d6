//! One certificate, put together and signed (RFC 5280 §4.1 and §4.2).

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameRef, X509Ref};

use super::{LeafPurpose, Template, WorkshopError};
use crate::clock::Timestamp;

/// What the certificate is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Authority,
    EndEntity,
}

/// Where the subject comes from.
pub(super) enum Subject<'a> {
    Template,
    /// Of a request, as encoded there.
    Given(&'a X509NameRef),
}

/// A certificate to be.
pub(super) struct Issuance<'a> {
    pub(super) template: &'a Template,
    pub(super) subject: Subject<'a>,
    pub(super) role: Role,
}

impl Issuance<'_> {
    /// For `public`, by `issuer` (none: by itself) with the issuer's `key`.
    pub(super) fn sign<T: HasPublic>(
        &self,
        public: &PKeyRef<T>,
        issuer: Option<&X509Ref>,
        key: &PKey<Private>,
    ) -> Result<X509, WorkshopError> {
        let template = self.template;
        let mut builder = X509::builder()?;
        builder.set_version(2)?; // encoded as 2, called version 3
        builder.set_serial_number(&*random_serial()?)?;
        let written;
        let subject: &X509NameRef = match self.subject {
            Subject::Given(name) => name,
            Subject::Template => {
                written = name(&template.subject)?;
                &written
            }
        };
        builder.set_subject_name(subject)?;
        builder.set_issuer_name(issuer.map_or(subject, X509Ref::subject_name))?;
        builder.set_not_before(&*time(template.not_before)?)?;
        builder.set_not_after(&*time(template.not_after)?)?;
        builder.set_pubkey(public)?;
        self.add_usages(&mut builder)?;
        let nameless = subject.entries().next().is_none();
        self.add_alt_names(&mut builder, nameless)?;
        add_key_identifiers(&mut builder, issuer)?;
        builder.sign(key, digest_for(key))?;
        Ok(builder.build())
    }

    fn add_usages(&self, builder: &mut X509Builder) -> Result<(), WorkshopError> {
        let mut constraints = BasicConstraints::new();
        constraints.critical();
        let mut usage = KeyUsage::new();
        usage.critical();
        match self.role {
            Role::Authority => {
                constraints.ca();
                usage.key_cert_sign().crl_sign();
            }
            Role::EndEntity => {
                usage.digital_signature();
                let mut extended = ExtendedKeyUsage::new();
                match self.template.purpose {
                    LeafPurpose::Client => builder.append_extension(extended.client_auth().build()?)?,
                    LeafPurpose::Server => builder.append_extension(extended.server_auth().build()?)?,
                    LeafPurpose::Unsaid => {}
                }
            }
        }
        builder.append_extension(constraints.build()?)?;
        builder.append_extension(usage.build()?)?;
        Ok(())
    }

    /// Critical exactly if the subject is empty (RFC 5280 §4.2.1.6), which only an end entity's may be.
    fn add_alt_names(&self, builder: &mut X509Builder, nameless: bool) -> Result<(), WorkshopError> {
        let template = self.template;
        if nameless && self.role == Role::Authority {
            return Err(WorkshopError("a CA needs a subject".into()));
        }
        if !template.has_alt_names() {
            return if nameless {
                Err(WorkshopError("a certificate needs a subject or a subject alternative name".into()))
            } else {
                Ok(())
            };
        }
        let mut names = SubjectAlternativeName::new();
        if nameless {
            names.critical();
        }
        for value in &template.dns {
            names.dns(ia5(value)?);
        }
        for value in &template.uri {
            names.uri(ia5(value)?);
        }
        for value in &template.ip {
            names.ip(&value.to_string());
        }
        for value in &template.email {
            names.email(ia5(value)?);
        }
        let extension = names.build(&builder.x509v3_context(None, None))?;
        builder.append_extension(extension)?;
        Ok(())
    }
}

fn add_key_identifiers(builder: &mut X509Builder, issuer: Option<&X509Ref>) -> Result<(), WorkshopError> {
    let own = SubjectKeyIdentifier::new().build(&builder.x509v3_context(issuer, None))?;
    builder.append_extension(own)?;
    if issuer.is_some() {
        let of_issuer =
            AuthorityKeyIdentifier::new().keyid(true).build(&builder.x509v3_context(issuer, None))?;
        builder.append_extension(of_issuer)?;
    }
    Ok(())
}

/// 20 octets, positive, never short (RFC 5280 §4.1.2.2).
fn random_serial() -> Result<Asn1Integer, WorkshopError> {
    let mut octets = [0_u8; 20];
    openssl::rand::rand_bytes(&mut octets)?;
    let [first, ..] = &mut octets;
    *first = (*first & 0x7f) | 0x40;
    Ok(BigNum::from_slice(&octets)?.to_asn1_integer()?)
}

fn name(attributes: &[(String, String)]) -> Result<X509Name, WorkshopError> {
    let mut builder = X509Name::builder()?;
    for (attribute, value) in attributes {
        if attribute.contains('\0') || value.is_empty() {
            return Err(WorkshopError(format!("the subject attribute {attribute:?} has no value")));
        }
        builder.append_entry_by_text(attribute, value).map_err(|errors| {
            let WorkshopError(reason) = errors.into();
            WorkshopError(format!("the subject cannot have {attribute}={value:?}: {reason}"))
        })?;
    }
    Ok(builder.build())
}

/// The string type of three of the four alternative names.
fn ia5(value: &str) -> Result<&str, WorkshopError> {
    if value.is_empty() || !value.chars().all(|c| c.is_ascii_graphic()) {
        return Err(WorkshopError(format!(
            "{value:?} is no alternative name: visible ASCII only, international names as A-labels"
        )));
    }
    Ok(value)
}

fn time(at: Timestamp) -> Result<Asn1Time, WorkshopError> {
    Ok(Asn1Time::from_unix(at.as_unix())?)
}

pub(super) fn digest_for(key: &PKey<Private>) -> MessageDigest {
    match key.id() {
        Id::ED25519 | Id::ED448 => MessageDigest::null(),
        Id::EC if key.bits() > 256 => MessageDigest::sha384(),
        _ => MessageDigest::sha256(),
    }
}
