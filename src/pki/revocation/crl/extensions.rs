//! What a list says about itself and about its entries in extensions (RFC 5280 §5.2, §5.3), and which certificates it
//! speaks of.
//!
//! Understood are the CRL number, the authority key identifier, and of issuingDistributionPoint what can be answered
//! certificate by certificate: end entities only, CAs only, a distribution point that the certificate names too.
//! Deltas, indirect lists, lists for some reasons or for attribute certificates are refused, as is everything critical
//! that is not known here.

use super::list::Number;
use super::{CrlError, RevocationReason};
use crate::pki::certificate::Certificate;
use crate::pki::der::{self, DerError, Reader};

const OCTET_STRING: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;

// Below id-ce, 2.5.29.
const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 14];
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];
const REASON_CODE: &[u8] = &[0x55, 0x1d, 21];
const DELTA_CRL_INDICATOR: &[u8] = &[0x55, 0x1d, 27];
const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 28];
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 29];
const CRL_DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1d, 31];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 35];

const MAX_EXTENSIONS: usize = 32;

/// `CRLReason` of an entry that only a delta may have.
const REMOVE_FROM_CRL: u8 = 8;

/// What a list says.
pub(super) struct Said {
    pub(super) number: Number,
    pub(super) key_identifier: Option<Box<[u8]>>,
    pub(super) scope: Scope,
}

/// Which certificates of its issuer a list speaks of (RFC 5280 §5.2.5).
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Scope {
    kind: Kind,
    /// The DER of each `GeneralName` of the distribution point; none: the list is complete.
    names: Names,
}

type Names = Box<[Box<[u8]>]>;

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Kind {
    #[default]
    All,
    EndEntities,
    Authorities,
}

/// Reads `crlExtensions`.
pub(super) fn read(content: &[u8]) -> Result<Said, CrlError> {
    let mut reader = Reader::new(der::only(content, der::SEQUENCE)?);
    let (mut number, mut key_identifier, mut scope) = (None, None, None);
    let mut seen = Vec::new();
    while !reader.is_empty() {
        let Extension { oid, critical, value } = Extension::next(&mut reader)?;
        if seen.len() == MAX_EXTENSIONS {
            return Err(malformed("it has more than 32 extensions"));
        }
        if seen.contains(&oid) {
            return Err(malformed("it has an extension twice"));
        }
        seen.push(oid);
        match oid {
            // RFC 5280 §5.2.3; in both profiles, because readers differ in what they make of a critical one
            CRL_NUMBER if critical => return Err(malformed("its CRL number is critical")),
            CRL_NUMBER => number = Some(Number::read(der::only(value, der::INTEGER)?)?),
            AUTHORITY_KEY_IDENTIFIER => key_identifier = read_key_identifier(value)?.map(Box::from),
            ISSUING_DISTRIBUTION_POINT => scope = Some(Scope::read(value)?),
            DELTA_CRL_INDICATOR => return Err(unsupported("it is a delta CRL; configure the complete one")),
            _ if critical => return Err(unknown_critical(oid)),
            _ => {}
        }
    }
    let number = number.ok_or_else(|| malformed("it has no CRL number"))?;
    Ok(Said { number, key_identifier, scope: scope.unwrap_or_default() })
}

/// Reads `crlEntryExtensions`; gives `reasonCode`.
pub(super) fn read_of_entry(content: &[u8]) -> Result<Option<RevocationReason>, CrlError> {
    let mut reader = Reader::new(content);
    let mut reason = None;
    while !reader.is_empty() {
        let Extension { oid, critical, value } = Extension::next(&mut reader)?;
        match oid {
            REASON_CODE if reason.is_some() => return Err(malformed("an entry has an extension twice")),
            REASON_CODE => reason = Some(read_reason(value)?),
            CERTIFICATE_ISSUER => {
                return Err(unsupported("it is an indirect CRL: an entry names another issuer"));
            }
            _ if critical => return Err(unknown_critical(oid)),
            _ => {}
        }
    }
    Ok(reason)
}

/// `keyIdentifier` of authorityKeyIdentifier.
fn read_key_identifier(value: &[u8]) -> Result<Option<&[u8]>, DerError> {
    Reader::new(der::only(value, der::SEQUENCE)?).optional(0x80)
}

fn read_reason(value: &[u8]) -> Result<RevocationReason, CrlError> {
    match *der::only(value, ENUMERATED)? {
        [REMOVE_FROM_CRL] => {
            Err(malformed("an entry has the reason removeFromCRL, which only a delta CRL may have"))
        }
        [code] => {
            RevocationReason::from_code(code).ok_or_else(|| malformed("an entry has an unknown reason"))
        }
        _ => Err(DerError.into()),
    }
}

impl Scope {
    /// `IssuingDistributionPoint`.
    fn read(value: &[u8]) -> Result<Self, CrlError> {
        let mut fields = Reader::new(der::only(value, der::SEQUENCE)?);
        if fields.is_empty() {
            return Err(malformed("its issuingDistributionPoint is empty"));
        }
        let names = match fields.optional(0xa0)? {
            Some(point) => full_name(point)?.ok_or_else(|| {
                unsupported("its distribution point is named relative to its issuer, which is not supported")
            })?,
            None => Box::default(),
        };
        let end_entities = flag(&mut fields, 0x81)?;
        let authorities = flag(&mut fields, 0x82)?;
        if fields.optional(0x83)?.is_some() {
            return Err(unsupported("it has revocations for some reasons only"));
        }
        if flag(&mut fields, 0x84)? {
            return Err(unsupported("it is an indirect CRL"));
        }
        if flag(&mut fields, 0x85)? {
            return Err(unsupported("it is about attribute certificates"));
        }
        fields.finish()?;
        let kind = match (end_entities, authorities) {
            (false, false) => Kind::All,
            (true, false) => Kind::EndEntities,
            (false, true) => Kind::Authorities,
            (true, true) => {
                return Err(malformed("it is about end entities only and about CAs only, at the same time"));
            }
        };
        Ok(Self { kind, names })
    }

    /// RFC 5280 §6.3.3 (b) (2).
    pub(super) fn covers(&self, certificate: &Certificate) -> bool {
        let is_of_kind = match self.kind {
            Kind::All => true,
            Kind::EndEntities => !certificate.is_ca(),
            Kind::Authorities => certificate.is_ca(),
        };
        // a certificate whose own distribution points cannot be read names none
        is_of_kind && (self.names.is_empty() || self.is_named_in(certificate.der()).unwrap_or(false))
    }

    /// Whether a distribution point of the certificate, one for all reasons and of its own issuer, has a name of ours.
    fn is_named_in(&self, certificate: &[u8]) -> Result<bool, DerError> {
        let Some(value) = extension_of(certificate, CRL_DISTRIBUTION_POINTS)? else { return Ok(false) };
        let mut points = Reader::new(der::only(value, der::SEQUENCE)?);
        while !points.is_empty() {
            let mut fields = Reader::new(points.expect(der::SEQUENCE)?);
            let name = fields.optional(0xa0)?;
            let is_whole = fields.is_empty(); // neither `reasons` nor `cRLIssuer`
            let Some(mut name) = name.filter(|_| is_whole).map(Reader::new) else { continue };
            let Some(names) = name.optional(0xa0)? else { continue };
            let mut names = Reader::new(names);
            while !names.is_empty() {
                let name = names.element()?.raw;
                if self.names.iter().any(|own| **own == *name) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// `fullName` of a `DistributionPointName`; none if it is the other one.
fn full_name(point: &[u8]) -> Result<Option<Names>, DerError> {
    let mut choice = Reader::new(point);
    let Some(names) = choice.optional(0xa0)? else { return Ok(None) };
    choice.finish()?;
    let mut reader = Reader::new(names);
    let mut names = Vec::new();
    while !reader.is_empty() {
        names.push(reader.element()?.raw.into());
    }
    if names.is_empty() { Err(DerError) } else { Ok(Some(names.into())) }
}

/// An implicitly tagged BOOLEAN with the default FALSE.
fn flag(fields: &mut Reader<'_>, tag: u8) -> Result<bool, DerError> {
    match fields.optional(tag)? {
        None | Some([0x00]) => Ok(false),
        Some([0xff]) => Ok(true),
        Some(_) => Err(DerError),
    }
}

/// `keyIdentifier` of the certificate's subjectKeyIdentifier.
pub(super) fn subject_key_identifier(certificate: &Certificate) -> Option<&[u8]> {
    let value = extension_of(certificate.der(), SUBJECT_KEY_IDENTIFIER).ok()??;
    der::only(value, OCTET_STRING).ok()
}

/// The value of an extension of a certificate.
fn extension_of<'d>(certificate: &'d [u8], wanted: &[u8]) -> Result<Option<&'d [u8]>, DerError> {
    let mut outer = Reader::new(Reader::new(certificate).expect(der::SEQUENCE)?);
    let mut fields = Reader::new(outer.expect(der::SEQUENCE)?);
    while !fields.is_empty() {
        let field = fields.element()?;
        if field.tag != 0xa3 {
            continue;
        }
        let mut extensions = Reader::new(der::only(field.content, der::SEQUENCE)?);
        while !extensions.is_empty() {
            let Extension { oid, value, .. } = Extension::next(&mut extensions)?;
            if oid == wanted {
                return Ok(Some(value));
            }
        }
    }
    Ok(None)
}

/// `Extension` (RFC 5280 §4.1).
struct Extension<'d> {
    oid: &'d [u8],
    critical: bool,
    value: &'d [u8],
}

impl<'d> Extension<'d> {
    fn next(reader: &mut Reader<'d>) -> Result<Self, DerError> {
        let mut fields = Reader::new(reader.expect(der::SEQUENCE)?);
        let oid = fields.expect(der::OBJECT_IDENTIFIER)?;
        let critical = flag(&mut fields, der::BOOLEAN)?;
        let value = fields.expect(OCTET_STRING)?;
        fields.finish()?;
        Ok(Self { oid, critical, value })
    }
}

fn unknown_critical(oid: &[u8]) -> CrlError {
    let oid = der::Oid::from_content(oid).map_or_else(|_| "unreadable".to_owned(), |oid| oid.to_string());
    CrlError::Unsupported(format!("it has a critical extension that is not known here ({oid})"))
}

fn malformed(what: &str) -> CrlError {
    CrlError::Malformed(what.to_owned())
}

fn unsupported(what: &str) -> CrlError {
    CrlError::Unsupported(what.to_owned())
}
