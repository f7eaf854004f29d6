//! One list, from its octets (RFC 5280 §5.1): read once by our own strict reader, kept as sorted serial numbers.
//!
//! An entry costs 16 octets and its serial number, so a list of 100,000 takes about four megabytes. What is odd makes
//! the whole list unusable, because a list read in part would call revoked certificates good. Left to others: the
//! signature, and whether the list is in force.

use std::fmt;

use openssl::bn::BigNum;
use time::{Date, Month, Time};

use super::extensions::{self, Scope};
use super::{CrlError, CrlSummary, RevocationReason};
use crate::clock::Timestamp;
use crate::pki::certificate::Certificate;
use crate::pki::der::{self, DerError, Reader};
use crate::pki::name::DistinguishedName;

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXTENSIONS: u8 = 0xa0;

/// What is decided by, without the octets.
pub(super) struct List {
    pub(super) issuer: DistinguishedName,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
    /// `keyIdentifier` of authorityKeyIdentifier.
    pub(super) key_identifier: Option<Box<[u8]>>,
    number: Number,
    scope: Scope,
    /// One after another, in the order of the list.
    serials: Vec<u8>,
    /// Sorted by serial number; of two with one number a hold comes last.
    entries: Box<[Entry]>,
}

/// What the signature is over, and the signature.
pub(super) struct Signed<'d> {
    pub(super) tbs: &'d [u8],
    /// The content of the `AlgorithmIdentifier`, the same inside and outside of what is signed.
    pub(super) algorithm: &'d [u8],
    /// The content of the BIT STRING.
    pub(super) signature: &'d [u8],
}

/// A revoked certificate.
pub(super) struct Entry {
    at: Timestamp,
    /// Where in the serials.
    begin: u32,
    length: u8,
    reason: Option<RevocationReason>,
}

/// The CRL number (RFC 5280 §5.2.3): up to 20 octets, without leading zeros.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Number(Box<[u8]>);

/// Reads one `CertificateList`, all of `der`.
pub(super) fn parse(der: &[u8]) -> Result<(List, Signed<'_>), CrlError> {
    let mut outer = Reader::new(der::only(der, der::SEQUENCE)?);
    let tbs = outer.element()?;
    let algorithm = outer.expect(der::SEQUENCE)?;
    let signature = outer.expect(der::BIT_STRING)?;
    outer.finish()?;
    let signed = Signed { tbs: tbs.raw, algorithm, signature };
    let list = parse_tbs(der::only(tbs.raw, der::SEQUENCE)?, algorithm)?;
    Ok((list, signed))
}

/// `TBSCertList`.
fn parse_tbs(content: &[u8], outer_algorithm: &[u8]) -> Result<List, CrlError> {
    let mut fields = Reader::new(content);
    match fields.optional(der::INTEGER)? {
        Some([1]) => {}
        None => {
            fields.expect(der::SEQUENCE)?; // a certificate is no list at all
            return Err(unsupported("it is of version 1, which has neither a CRL number nor any extension"));
        }
        Some(_) => return Err(malformed("its version is unknown")),
    }
    if fields.expect(der::SEQUENCE)? != outer_algorithm {
        return Err(malformed("its signature algorithm differs inside and outside of what is signed"));
    }
    let issuer = DistinguishedName::from_der(fields.element()?.raw)
        .map_err(|error| CrlError::Malformed(format!("its issuer: {error}")))?;
    if issuer.is_empty() {
        return Err(malformed("its issuer has no name"));
    }
    let this_update = time(&mut fields)?.ok_or(DerError)?;
    let next_update = time(&mut fields)?
        .ok_or_else(|| malformed("it has no nextUpdate, so nobody knows how long it holds"))?;
    if next_update < this_update {
        return Err(malformed("its nextUpdate is before its thisUpdate"));
    }
    let (serials, entries) = match fields.optional(der::SEQUENCE)? {
        // RFC 5280 §5.1.2.6
        Some([]) => return Err(malformed("its revokedCertificates is there and empty")),
        Some(revoked) => entries(revoked)?,
        None => (Vec::new(), Vec::new()),
    };
    let extensions = fields
        .optional(EXTENSIONS)?
        .ok_or_else(|| malformed("it has no extensions, and so no CRL number"))?;
    fields.finish()?;
    let extensions::Said { number, key_identifier, scope } = extensions::read(extensions)?;
    let entries = entries.into_boxed_slice();
    Ok(List { issuer, this_update, next_update, key_identifier, number, scope, serials, entries })
}

/// `revokedCertificates`, sorted.
fn entries(content: &[u8]) -> Result<(Vec<u8>, Vec<Entry>), CrlError> {
    let mut reader = Reader::new(content);
    let (mut serials, mut entries) = (Vec::new(), Vec::new());
    while !reader.is_empty() {
        let mut fields = Reader::new(reader.expect(der::SEQUENCE)?);
        let serial = significant(fields.expect(der::INTEGER)?);
        let at = time(&mut fields)?.ok_or(DerError)?;
        let reason = fields.optional(der::SEQUENCE)?.map(extensions::read_of_entry).transpose()?.flatten();
        fields.finish()?;
        let begin = u32::try_from(serials.len()).map_err(|_| malformed("it is too long"))?;
        let length = u8::try_from(serial.len())
            .ok()
            .filter(|&length| length > 0)
            .ok_or_else(|| malformed("a serial number in it is empty or longer than 255 octets"))?;
        serials.extend_from_slice(serial);
        entries.push(Entry { at, begin, length, reason });
    }
    serials.shrink_to_fit();
    entries.sort_unstable_by(|one, other| {
        (one.serial(&serials), one.is_on_hold()).cmp(&(other.serial(&serials), other.is_on_hold()))
    });
    Ok((serials, entries))
}

impl List {
    /// Whether it speaks of this certificate, if that is one of its issuer's key (RFC 5280 §6.3.3 (b)).
    pub(super) fn covers(&self, certificate: &Certificate) -> bool {
        self.issuer == *certificate.issuer() && self.scope.covers(certificate)
    }

    /// Within thisUpdate and nextUpdate, both included.
    pub(super) fn is_current(&self, now: Timestamp) -> bool {
        self.this_update <= now && now <= self.next_update
    }

    /// For people.
    pub(super) fn why_not_current(&self, now: Timestamp) -> String {
        let Self { issuer, this_update, next_update, .. } = self;
        if now < *this_update {
            return format!("the CRL of {issuer} is from the future: thisUpdate is {this_update}");
        }
        format!("the CRL of {issuer} ran out on {next_update}")
    }

    /// The entry with the serial number of these content octets of an INTEGER.
    pub(super) fn find(&self, serial: &[u8]) -> Option<&Entry> {
        let wanted = significant(serial);
        let index = self.entries.partition_point(|entry| entry.serial(&self.serials) < wanted);
        self.entries.get(index).filter(|entry| entry.serial(&self.serials) == wanted)
    }

    /// Whether newer and older ones of the two replace each other (RFC 5280 §5.2.3), given that one key signed both.
    pub(super) fn is_of_the_series_of(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.scope == other.scope
    }

    /// The greater, the newer.
    pub(super) fn rank(&self) -> (&Number, Timestamp, usize) {
        (&self.number, self.this_update, self.entries.len())
    }

    pub(super) fn number(&self) -> &Number {
        &self.number
    }

    pub(super) fn summary(&self, issuer_key: Option<[u8; 32]>) -> CrlSummary {
        CrlSummary {
            issuer: self.issuer.to_string(),
            issuer_key,
            number: self.number.to_string(),
            this_update: self.this_update,
            next_update: self.next_update,
            entries: self.entries.len(),
        }
    }
}

impl Entry {
    /// `revocationDate`.
    pub(super) fn at(&self) -> Timestamp {
        self.at
    }

    pub(super) fn reason(&self) -> Option<RevocationReason> {
        self.reason
    }

    pub(super) fn is_on_hold(&self) -> bool {
        self.reason == Some(RevocationReason::CertificateHold)
    }

    fn serial<'s>(&self, serials: &'s [u8]) -> &'s [u8] {
        let begin = self.begin as usize;
        serials.get(begin..begin + usize::from(self.length)).unwrap_or_default()
    }
}

impl Number {
    /// From the content octets of an INTEGER.
    pub(super) fn read(content: &[u8]) -> Result<Self, CrlError> {
        let number = significant(content);
        if number.first().is_none_or(|&first| first & 0x80 != 0) {
            return Err(malformed("its CRL number is empty or negative"));
        }
        if number.len() > 20 {
            return Err(malformed("its CRL number is longer than 20 octets"));
        }
        Ok(Self(number.strip_prefix(&[0]).unwrap_or(number).into()))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Decimal.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = BigNum::from_slice(&self.0).map_err(|_| fmt::Error)?;
        f.write_str(&number.to_dec_str().map_err(|_| fmt::Error)?)
    }
}

/// An INTEGER without the octets that say nothing, so that numbers are equal if their octets are.
fn significant(mut content: &[u8]) -> &[u8] {
    while let [0x00, 0x00..0x80, ..] | [0xff, 0x80..=0xff, ..] = content {
        content = content.get(1..).unwrap_or_default();
    }
    content
}

/// `Time` (RFC 5280 §5.1.2.4), if that is what comes next: in UTC, with seconds, without fractions.
fn time(fields: &mut Reader<'_>) -> Result<Option<Timestamp>, CrlError> {
    let (year, rest) = if let Some(content) = fields.optional(UTC_TIME)? {
        let (year, rest) = two_digits(content)?;
        (if year < 50 { 2000 } else { 1900 } + year, rest)
    } else if let Some(content) = fields.optional(GENERALIZED_TIME)? {
        let (century, rest) = two_digits(content)?;
        let (year, rest) = two_digits(rest)?;
        (century * 100 + year, rest)
    } else {
        return Ok(None);
    };
    let mut parts = [0_u8; 5];
    let mut rest = rest;
    for part in &mut parts {
        let (digits, after) = two_digits(rest)?;
        *part = u8::try_from(digits).map_err(|_| DerError)?;
        rest = after;
    }
    let [month, day, hour, minute, second] = parts;
    let moment = || {
        let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
        let time = Time::from_hms(hour, minute, second).ok()?;
        Some(date.with_time(time).assume_utc().unix_timestamp())
    };
    match (moment(), rest) {
        (Some(moment), b"Z") => Ok(Some(Timestamp::from_unix(moment))),
        _ => Err(DerError.into()),
    }
}

fn two_digits(text: &[u8]) -> Result<(i32, &[u8]), DerError> {
    match text {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => {
            Ok((i32::from(tens - b'0') * 10 + i32::from(ones - b'0'), rest))
        }
        _ => Err(DerError),
    }
}

impl From<DerError> for CrlError {
    fn from(error: DerError) -> Self {
        Self::Malformed(error.to_string())
    }
}

fn malformed(what: &str) -> CrlError {
    CrlError::Malformed(what.to_owned())
}

fn unsupported(what: &str) -> CrlError {
    CrlError::Unsupported(what.to_owned())
}
