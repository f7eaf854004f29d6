//! Certificates field by field, for tests: also those that no tool would make. The signature is none, and
//! nothing in this room looks at it.

use super::Certificate;
use crate::pki::der::{self, Oid, encode};

pub(in crate::pki) const CN: &str = "2.5.4.3";
pub(in crate::pki) const O: &str = "2.5.4.10";
pub(in crate::pki) const OU: &str = "2.5.4.11";
pub(in crate::pki) const C: &str = "2.5.4.6";
pub(in crate::pki) const EMAIL: &str = "1.2.840.113549.1.9.1";

pub(in crate::pki) const TELETEX_STRING: u8 = 0x14;

pub(in crate::pki) const OTHER_NAME: u8 = 0xa0;
pub(in crate::pki) const RFC822_NAME: u8 = 0x81;
pub(in crate::pki) const DNS_NAME: u8 = 0x82;
pub(in crate::pki) const DIRECTORY_NAME: u8 = 0xa4;
pub(in crate::pki) const URI: u8 = 0x86;
pub(in crate::pki) const IP_ADDRESS: u8 = 0x87;

pub(in crate::pki) const SUBJECT_ALT_NAME: &str = "2.5.29.17";

/// An attribute: type, string type and content.
pub(in crate::pki) type Attribute<'a> = (&'a str, u8, &'a [u8]);

/// The DER of a `Name`, RDN by RDN in the order of the encoding.
pub(in crate::pki) fn name(rdns: &[&[Attribute<'_>]]) -> Vec<u8> {
    let attribute = |&(oid, tag, content): &Attribute<'_>| {
        encode(der::SEQUENCE, &[object_identifier(oid), encode(tag, content)].concat())
    };
    let set = |rdn: &&[Attribute<'_>]| encode(der::SET, &rdn.iter().flat_map(attribute).collect::<Vec<u8>>());
    encode(der::SEQUENCE, &rdns.iter().flat_map(set).collect::<Vec<u8>>())
}

/// `CN=…` in a `UTF8String`.
pub(in crate::pki) fn common_name(text: &str) -> Vec<u8> {
    name(&[&[(CN, der::UTF8_STRING, text.as_bytes())]])
}

pub(in crate::pki) fn object_identifier(dotted: &str) -> Vec<u8> {
    encode(der::OBJECT_IDENTIFIER, Oid::from_dotted(dotted).unwrap().content())
}

/// The fields of a certificate; one that is left alone is that of a plain version 3 certificate.
#[derive(Clone)]
pub(in crate::pki) struct Sample {
    pub(in crate::pki) version: Option<u8>,
    pub(in crate::pki) serial: Vec<u8>,
    pub(in crate::pki) subject: Vec<u8>,
    pub(in crate::pki) validity: [Vec<u8>; 2],
    pub(in crate::pki) extensions: Vec<(&'static str, Vec<u8>)>,
    /// After the last field of the `TBSCertificate`.
    pub(in crate::pki) trailing: Vec<u8>,
}

impl Sample {
    pub(in crate::pki) fn new() -> Self {
        Self {
            version: Some(2),
            serial: vec![1],
            subject: common_name("sample"),
            validity: [encode(0x17, b"260101000000Z"), encode(0x18, b"20500101000000Z")],
            extensions: Vec::new(),
            trailing: Vec::new(),
        }
    }

    pub(in crate::pki) fn subject(subject: Vec<u8>) -> Self {
        Self { subject, ..Self::new() }
    }

    /// With these entries of subjectAltName.
    pub(in crate::pki) fn alt_names(entries: &[(u8, &[u8])]) -> Self {
        let entries: Vec<u8> = entries.iter().flat_map(|&(tag, content)| encode(tag, content)).collect();
        Self::new().with(SUBJECT_ALT_NAME, encode(der::SEQUENCE, &entries))
    }

    pub(in crate::pki) fn with(mut self, oid: &'static str, value: Vec<u8>) -> Self {
        self.extensions.push((oid, value));
        self
    }

    pub(in crate::pki) fn der(&self) -> Vec<u8> {
        let ecdsa_with_sha256 = encode(der::SEQUENCE, &object_identifier("1.2.840.10045.4.3.2"));
        let key_type = [object_identifier("1.2.840.10045.2.1"), object_identifier("1.2.840.10045.3.1.7")];
        let point = [&[0, 4][..], &[7; 64]].concat();
        let key = [encode(der::SEQUENCE, &key_type.concat()), encode(der::BIT_STRING, &point)];
        let extensions: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(oid, value)| {
                encode(der::SEQUENCE, &[object_identifier(oid), encode(0x04, value)].concat())
            })
            .collect();
        let tbs = [
            self.version.map_or(Vec::new(), |version| encode(0xa0, &encode(der::INTEGER, &[version]))),
            encode(der::INTEGER, &self.serial),
            ecdsa_with_sha256.clone(),
            common_name("issuer"),
            encode(der::SEQUENCE, &self.validity.concat()),
            self.subject.clone(),
            encode(der::SEQUENCE, &key.concat()),
            if extensions.is_empty() {
                Vec::new()
            } else {
                encode(0xa3, &encode(der::SEQUENCE, &extensions))
            },
            self.trailing.clone(),
        ];
        let fields =
            [encode(der::SEQUENCE, &tbs.concat()), ecdsa_with_sha256, encode(der::BIT_STRING, &[0, 1, 2, 3])];
        encode(der::SEQUENCE, &fields.concat())
    }

    pub(in crate::pki) fn certificate(&self) -> Certificate {
        Certificate::parse(&self.der()).unwrap()
    }
}
