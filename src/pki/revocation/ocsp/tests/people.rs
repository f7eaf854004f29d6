//! Certificates with keys, as odd as they have to be.

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name};

use super::{HOUR, Timestamp};
use crate::pki::certificate::Certificate;

/// Somebody with a certificate and its key.
#[derive(Clone)]
pub(super) struct Person {
    pub(super) x509: X509,
    pub(super) key: PKey<Private>,
}

/// A certificate to be.
pub(super) struct Plan {
    name: &'static str,
    key: PKey<Private>,
    serial: u32,
    from: Timestamp,
    to: Timestamp,
    digest: MessageDigest,
    extensions: Vec<X509Extension>,
}

pub(super) fn named(name: &'static str, now: Timestamp) -> Plan {
    let (from, to) = (now.minus(HOUR), now.plus(HOUR));
    Plan { name, key: ec_key(), serial: 1, from, to, digest: MessageDigest::sha256(), extensions: Vec::new() }
}

/// What may sign responses for its issuer.
pub(super) fn delegate(name: &'static str, now: Timestamp) -> Plan {
    named(name, now).serial(7).purpose("OCSPSigning").usage(KeyUsage::new().critical().digital_signature())
}

pub(super) fn ec_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub(super) fn rsa_key(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

impl Person {
    pub(super) fn ca(name: &'static str, now: Timestamp) -> Self {
        Self::ca_with(name, ec_key(), now)
    }

    pub(super) fn ca_with(name: &'static str, key: PKey<Private>, now: Timestamp) -> Self {
        let mut usage = KeyUsage::new();
        usage.critical().key_cert_sign().crl_sign();
        let plan = named(name, now).key(key).usage(&usage);
        plan.extension(BasicConstraints::new().critical().ca().build().unwrap()).sign(None)
    }

    pub(super) fn certificate(&self) -> Certificate {
        Certificate::parse(&self.der()).unwrap()
    }

    pub(super) fn der(&self) -> Vec<u8> {
        self.x509.to_der().unwrap()
    }
}

impl Plan {
    pub(super) fn key(mut self, key: PKey<Private>) -> Self {
        self.key = key;
        self
    }

    pub(super) fn serial(mut self, serial: u32) -> Self {
        self.serial = serial;
        self
    }

    pub(super) fn valid(mut self, from: Timestamp, to: Timestamp) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    pub(super) fn digest(mut self, digest: MessageDigest) -> Self {
        self.digest = digest;
        self
    }

    pub(super) fn usage(self, usage: &KeyUsage) -> Self {
        let extension = usage.build().unwrap();
        self.extension(extension)
    }

    pub(super) fn purpose(self, purpose: &str) -> Self {
        self.extension(ExtendedKeyUsage::new().other(purpose).build().unwrap())
    }

    fn extension(mut self, extension: X509Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    pub(super) fn issued_by(self, issuer: &Person) -> Person {
        self.sign(Some(issuer))
    }

    fn sign(self, issuer: Option<&Person>) -> Person {
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, self.name).unwrap();
        let name = name.build();
        let mut builder: X509Builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let serial: Asn1Integer = BigNum::from_u32(self.serial).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(issuer.map_or(&*name, |issuer| issuer.x509.subject_name())).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(self.from.as_unix()).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(self.to.as_unix()).unwrap()).unwrap();
        builder.set_pubkey(&self.key).unwrap();
        for extension in &self.extensions {
            builder.append_extension2(extension).unwrap();
        }
        let of_issuer = issuer.map(|issuer| issuer.x509.as_ref());
        let own = SubjectKeyIdentifier::new().build(&builder.x509v3_context(of_issuer, None)).unwrap();
        builder.append_extension(own).unwrap();
        if of_issuer.is_some() {
            let context = builder.x509v3_context(of_issuer, None);
            let identifier = AuthorityKeyIdentifier::new().keyid(true).build(&context).unwrap();
            builder.append_extension(identifier).unwrap();
        }
        let signing = issuer.map_or(&self.key, |issuer| &issuer.key);
        let digest = if signing.id() == Id::ED25519 { MessageDigest::null() } else { self.digest };
        builder.sign(signing, digest).unwrap();
        Person { x509: builder.build(), key: self.key }
    }
}
