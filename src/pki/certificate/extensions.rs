//! The extensions that certbound itself decides by: basicConstraints, keyUsage, extendedKeyUsage and
//! subjectAltName (RFC 5280 §4.2.1.3, .6, .9, .12). Each occurs at most once (§4.2) and decodes completely,
//! or the certificate is malformed. Extensions not named here, critical ones too, are path validation's.

use std::collections::HashSet;
use std::net::IpAddr;

use x509_parser::extensions::X509Extension;

use super::{AltName, CertificateError, KeyUsage};
use crate::pki::der::{self, DerError, Oid, Reader};

const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];

/// What the extensions said; the defaults are those of a certificate without any.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) is_ca: bool,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) extended_key_usage: Option<Vec<String>>,
    pub(super) alt_names: Vec<AltName>,
}

impl Extensions {
    pub(super) fn read(extensions: &[X509Extension<'_>]) -> Result<Self, CertificateError> {
        let mut read = Self::default();
        let mut seen = HashSet::new();
        for extension in extensions {
            if !seen.insert(extension.oid.as_bytes()) {
                return Err(CertificateError(format!("the extension {} occurs twice", extension.oid)));
            }
            let malformed = |name: &str| {
                let error = CertificateError(format!("the extension {name} is malformed"));
                move |DerError| error
            };
            match extension.oid.as_bytes() {
                BASIC_CONSTRAINTS => {
                    read.is_ca = is_ca(extension.value).map_err(malformed("basicConstraints"))?;
                }
                KEY_USAGE => {
                    read.key_usage = Some(key_usage(extension.value).map_err(malformed("keyUsage"))?);
                }
                EXTENDED_KEY_USAGE => {
                    let purposes = extended_key_usage(extension.value);
                    read.extended_key_usage = Some(purposes.map_err(malformed("extendedKeyUsage"))?);
                }
                SUBJECT_ALT_NAME => {
                    read.alt_names = alt_names(extension.value).map_err(malformed("subjectAltName"))?;
                }
                _ => {}
            }
        }
        Ok(read)
    }
}

/// An encoded `FALSE`, though DER leaves a default out, is what many CAs write.
fn is_ca(value: &[u8]) -> Result<bool, DerError> {
    let mut fields = Reader::new(der::only(value, der::SEQUENCE)?);
    let is_ca = match fields.optional(der::BOOLEAN)? {
        None | Some([0x00]) => false,
        Some([0xff]) => true,
        Some(_) => return Err(DerError),
    };
    if fields.optional(der::INTEGER)?.is_some_and(<[u8]>::is_empty) {
        return Err(DerError);
    }
    fields.finish()?;
    Ok(is_ca)
}

fn key_usage(value: &[u8]) -> Result<KeyUsage, DerError> {
    let (&unused, octets) = der::only(value, der::BIT_STRING)?.split_first().ok_or(DerError)?;
    let (first, second) = match *octets {
        [] => (0, 0),
        [first] => (first, 0),
        [first, second] => (first, second),
        _ => return Err(DerError),
    };
    let last = octets.last().copied().unwrap_or(0);
    if unused > 7 || (octets.is_empty() && unused != 0) || last.trailing_zeros() < u32::from(unused) {
        return Err(DerError);
    }
    // Bit 0 of a BIT STRING is the highest of its first octet.
    Ok(KeyUsage(u16::from_be_bytes([first, second]).reverse_bits()))
}

fn extended_key_usage(value: &[u8]) -> Result<Vec<String>, DerError> {
    let mut purposes = Reader::new(der::only(value, der::SEQUENCE)?);
    let mut read = Vec::new();
    while !purposes.is_empty() {
        read.push(Oid::from_content(purposes.expect(der::OBJECT_IDENTIFIER)?)?.to_string());
    }
    if read.is_empty() { Err(DerError) } else { Ok(read) }
}

fn alt_names(value: &[u8]) -> Result<Vec<AltName>, DerError> {
    let mut names = Reader::new(der::only(value, der::SEQUENCE)?);
    let mut read = Vec::new();
    while !names.is_empty() {
        let element = names.element()?;
        read.push(alt_name(element.tag, element.content)?);
    }
    if read.is_empty() { Err(DerError) } else { Ok(read) }
}

/// `GeneralName`, a CHOICE with implicit context tags; primitive ones are `0x80 + n`, constructed `0xa0 + n`.
fn alt_name(tag: u8, content: &[u8]) -> Result<AltName, DerError> {
    Ok(match tag {
        0xa0 => {
            let mut fields = Reader::new(content);
            Oid::from_content(fields.expect(der::OBJECT_IDENTIFIER)?)?;
            fields.expect(0xa0)?;
            fields.finish()?;
            AltName::Other("otherName")
        }
        0x81 => comparable(content).map_or(AltName::Other("malformed rfc822Name"), AltName::Email),
        0x82 => comparable(content).map_or(AltName::Other("malformed dNSName"), AltName::Dns),
        0xa3 => AltName::Other("x400Address"),
        0xa4 => {
            der::only(content, der::SEQUENCE)?;
            AltName::Other("directoryName")
        }
        0xa5 => AltName::Other("ediPartyName"),
        0x86 => {
            comparable(content).map_or(AltName::Other("malformed uniformResourceIdentifier"), AltName::Uri)
        }
        // Eight and thirty-two octets are an address with a mask, for name constraints only.
        0x87 => ip(content).map_or(AltName::Other("malformed iPAddress"), AltName::Ip),
        0x88 => {
            Oid::from_content(content)?;
            AltName::Other("registeredID")
        }
        _ => return Err(DerError),
    })
}

/// An `IA5String` that may be compared. A NUL, a blank, a control or an octet above 0x7f would be read
/// differently by different readers (RFC 8705 §7.5), so that an entry with one is equal to nothing.
fn comparable(content: &[u8]) -> Option<String> {
    if content.is_empty() || !content.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    String::from_utf8(content.to_vec()).ok()
}

fn ip(content: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(content) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(content).ok().map(IpAddr::from)
}
