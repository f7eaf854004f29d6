//! Makes certificates with any flaw that is asked for.

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time, Asn1Type};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name};

use super::NOW;

/// A certificate and its key.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) certificate: X509,
    pub(super) key: PKey<Private>,
}

impl Made {
    pub(super) fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }
}

/// What to make; the issuer of a certificate is the last argument of [`Plan::by`].
pub(super) struct Plan {
    subject: X509Name,
    /// Of the issuer, unless it is to be written differently.
    issuer: Option<X509Name>,
    key: PKey<Private>,
    /// Of somebody else, who is certified in place of `key`.
    public: Option<PKey<Public>>,
    version: i32,
    serial: BigNum,
    from: i64,
    to: i64,
    digest: MessageDigest,
    extensions: Vec<Addition>,
}

/// Adds an extension; it may depend on the issuer.
type Addition = Box<dyn Fn(&mut X509Builder, Option<&Made>)>;

/// A version 3 certificate without extensions, an hour before and after [`NOW`].
pub(super) fn make(cn: &'static str) -> Plan {
    Plan {
        subject: common_name(cn, Asn1Type::UTF8STRING),
        issuer: None,
        key: ec_key(Nid::X9_62_PRIME256V1),
        public: None,
        version: 2,
        serial: BigNum::from_u32(4711).unwrap(),
        from: NOW.as_unix() - 3600,
        to: NOW.as_unix() + 3600,
        digest: MessageDigest::sha256(),
        extensions: Vec::new(),
    }
}

/// A name of one attribute, in this string type.
pub(super) fn common_name(value: &str, kind: Asn1Type) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid_with_type(Nid::COMMONNAME, value, kind).unwrap();
    name.build()
}

pub(super) fn ec_key(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// What `openssl req -new -x509` makes: identifiers and basicConstraints, no keyUsage.
pub(super) fn plain_ca(cn: &'static str) -> Plan {
    make(cn).ca().identifiers()
}

impl Plan {
    pub(super) fn key(mut self, key: PKey<Private>) -> Self {
        self.key = key;
        self
    }

    /// A key of which only the public half is known.
    pub(super) fn certifies(mut self, key: PKey<Public>) -> Self {
        self.public = Some(key);
        self
    }

    pub(super) fn subject(mut self, name: X509Name) -> Self {
        self.subject = name;
        self
    }

    /// Whatever the issuer calls itself.
    pub(super) fn issuer(mut self, name: X509Name) -> Self {
        self.issuer = Some(name);
        self
    }

    pub(super) fn version_1(mut self) -> Self {
        self.version = 0;
        self
    }

    pub(super) fn serial(mut self, serial: BigNum) -> Self {
        self.serial = serial;
        self
    }

    /// Seconds relative to [`NOW`], both included.
    pub(super) fn valid(mut self, from: i64, to: i64) -> Self {
        (self.from, self.to) = (NOW.as_unix() + from, NOW.as_unix() + to);
        self
    }

    pub(super) fn digest(mut self, digest: MessageDigest) -> Self {
        self.digest = digest;
        self
    }

    fn with(mut self, add: impl Fn(&mut X509Builder, Option<&Made>) + 'static) -> Self {
        self.extensions.push(Box::new(add));
        self
    }

    pub(super) fn ca(self) -> Self {
        self.extension(BasicConstraints::new().critical().ca().build().unwrap())
    }

    pub(super) fn path_length(self, length: u32) -> Self {
        self.extension(BasicConstraints::new().critical().ca().pathlen(length).build().unwrap())
    }

    pub(super) fn key_usage(self, usage: &KeyUsage) -> Self {
        self.extension(usage.build().unwrap())
    }

    pub(super) fn purposes(self, oids: &[&str]) -> Self {
        let mut usage = ExtendedKeyUsage::new();
        for oid in oids {
            usage.other(oid);
        }
        self.extension(usage.build().unwrap())
    }

    pub(super) fn identifiers(self) -> Self {
        self.with(|builder, issuer| {
            let issuer = issuer.map(|issuer| issuer.certificate.as_ref());
            let own = SubjectKeyIdentifier::new().build(&builder.x509v3_context(issuer, None)).unwrap();
            builder.append_extension(own).unwrap();
            let of_issuer = AuthorityKeyIdentifier::new()
                .keyid(issuer.is_some())
                .build(&builder.x509v3_context(issuer, None));
            builder.append_extension(of_issuer.unwrap()).unwrap();
        })
    }

    pub(super) fn dns(self, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.with(move |builder, _| {
            let mut extension = SubjectAlternativeName::new();
            for name in &names {
                extension.dns(name);
            }
            let extension = extension.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(extension).unwrap();
        })
    }

    pub(super) fn email(self, name: &'static str) -> Self {
        self.alt_name(move |names| names.email(name))
    }

    pub(super) fn uri(self, name: &'static str) -> Self {
        self.alt_name(move |names| names.uri(name))
    }

    pub(super) fn ip(self, address: &'static str) -> Self {
        self.alt_name(move |names| names.ip(address))
    }

    fn alt_name(
        self,
        add: impl Fn(&mut SubjectAlternativeName) -> &mut SubjectAlternativeName + 'static,
    ) -> Self {
        self.with(move |builder, _| {
            let mut names = SubjectAlternativeName::new();
            add(&mut names);
            let extension = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(extension).unwrap();
        })
    }

    /// An extension by its octets.
    pub(super) fn raw(self, oid: &str, criticality: Criticality, der: &[u8]) -> Self {
        let oid = Asn1Object::from_str(oid).unwrap();
        let contents = Asn1OctetString::new_from_bytes(der).unwrap();
        let critical = criticality == Criticality::Critical;
        self.extension(X509Extension::new_from_der(&oid, critical, &contents).unwrap())
    }

    pub(super) fn extension(self, extension: X509Extension) -> Self {
        self.with(move |builder, _| builder.append_extension2(&extension).unwrap())
    }

    pub(super) fn self_signed(self) -> Made {
        self.sign(None)
    }

    pub(super) fn by(self, issuer: &Made) -> Made {
        self.sign(Some(issuer))
    }

    fn sign(self, issuer: Option<&Made>) -> Made {
        let mut builder = X509::builder().unwrap();
        builder.set_version(self.version).unwrap();
        builder.set_serial_number(&self.serial.to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&self.subject).unwrap();
        let own_name = issuer.map_or(&*self.subject, |issuer| issuer.certificate.subject_name());
        builder.set_issuer_name(self.issuer.as_deref().unwrap_or(own_name)).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(self.from).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(self.to).unwrap()).unwrap();
        match &self.public {
            Some(public) => builder.set_pubkey(public).unwrap(),
            None => builder.set_pubkey(&self.key).unwrap(),
        }
        for add in &self.extensions {
            add(&mut builder, issuer);
        }
        let signer = issuer.map_or(&self.key, |issuer| &issuer.key);
        let digest = if signer.id() == Id::ED25519 { MessageDigest::null() } else { self.digest };
        builder.sign(signer, digest).unwrap();
        Made { certificate: builder.build(), key: self.key }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Criticality {
    Critical,
    NonCritical,
}
