//! DER as X.690 §10 has it, for what is compared: names and extensions.
//!
//! One reader over borrowed octets that takes definite, minimal lengths and single-octet tags and nothing
//! else, and object identifiers (X.690 §8.19). It never recurses, so depth cannot hurt it. The frame of a
//! certificate is read by `x509-parser`, which forgives trailing octets inside a SEQUENCE; whatever decides
//! is read again here, where they are an error.

use std::fmt;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const NUMERIC_STRING: u8 = 0x12;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const IA5_STRING: u8 = 0x16;
pub(super) const VISIBLE_STRING: u8 = 0x1a;
pub(super) const UNIVERSAL_STRING: u8 = 0x1c;
pub(super) const BMP_STRING: u8 = 0x1e;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The octets are not what DER allows, or not what was expected here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not well-formed DER")]
pub(super) struct DerError;

/// One tag, length and value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'d> {
    pub(super) tag: u8,
    pub(super) content: &'d [u8],
    /// With tag and length.
    pub(super) raw: &'d [u8],
}

/// Elements one after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    pub(super) fn new(octets: &'d [u8]) -> Self {
        Self(octets)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is.
    pub(super) fn element(&mut self) -> Result<Element<'d>, DerError> {
        let whole = self.0;
        let (&tag, after_tag) = whole.split_first().ok_or(DerError)?;
        if tag & 0x1f == 0x1f {
            return Err(DerError);
        }
        let (length, after_length) = read_length(after_tag)?;
        let (content, rest) = after_length.split_at_checked(length).ok_or(DerError)?;
        let raw = whole.get(..whole.len() - rest.len()).ok_or(DerError)?;
        self.0 = rest;
        Ok(Element { tag, content, raw })
    }

    /// The content of the next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<&'d [u8], DerError> {
        let element = self.element()?;
        if element.tag == tag { Ok(element.content) } else { Err(DerError) }
    }

    /// The content of the next element, if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<&'d [u8]>, DerError> {
        if self.0.first() == Some(&tag) { self.expect(tag).map(Some) } else { Ok(None) }
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), DerError> {
        if self.is_empty() { Ok(()) } else { Err(DerError) }
    }
}

/// The content of the one element that `octets` must be.
pub(super) fn only(octets: &[u8], tag: u8) -> Result<&[u8], DerError> {
    let mut reader = Reader::new(octets);
    let content = reader.expect(tag)?;
    reader.finish()?;
    Ok(content)
}

/// Length octets (X.690 §8.1.3, §10.1): definite, in as few octets as can be, at most four.
fn read_length(octets: &[u8]) -> Result<(usize, &[u8]), DerError> {
    let (&first, rest) = octets.split_first().ok_or(DerError)?;
    if first < 0x80 {
        return Ok((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    let (digits, rest) = rest.split_at_checked(count).ok_or(DerError)?;
    if count > 4 || digits.first().is_none_or(|&digit| digit == 0) {
        return Err(DerError);
    }
    let length = digits.iter().fold(0_usize, |length, &digit| (length << 8) | usize::from(digit));
    if length < 0x80 { Err(DerError) } else { Ok((length, rest)) }
}

/// Tag, length and `content`.
pub(super) fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out.push(short);
    } else {
        let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|&digit| digit == 0).collect();
        out.push(0x80 | u8::try_from(digits.len()).unwrap_or(0x7f));
        out.extend(digits);
    }
    out.extend_from_slice(content);
    out
}

/// An object identifier, kept as its content octets; arcs of up to 128 bits (`2.25.` and a UUID fits).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Oid(Box<[u8]>);

impl Oid {
    /// From the content octets of an OBJECT IDENTIFIER.
    pub(super) fn from_content(content: &[u8]) -> Result<Self, DerError> {
        read_arcs(content)?;
        Ok(Self(content.into()))
    }

    /// From `2.5.4.3`; leading zeros and missing arcs are errors (RFC 4512 §1.4, `numericoid`).
    pub(super) fn from_dotted(text: &str) -> Option<Self> {
        let mut arcs = Vec::new();
        for digits in text.split('.') {
            let canonical = digits.bytes().all(|digit| digit.is_ascii_digit())
                && (digits.len() == 1 || !digits.starts_with('0'));
            arcs.push(if canonical { digits.parse::<u128>().ok()? } else { return None });
        }
        let [root @ 0..=2, second, rest @ ..] = arcs.as_slice() else { return None };
        if *root < 2 && *second > 39 {
            return None;
        }
        let mut content = Vec::new();
        write_arc(&mut content, second.checked_add(root * 40)?);
        for &arc in rest {
            write_arc(&mut content, arc);
        }
        Some(Self(content.into()))
    }

    /// The content octets of an OBJECT IDENTIFIER.
    pub(super) fn content(&self) -> &[u8] {
        &self.0
    }
}

/// Dotted decimal.
impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arcs = read_arcs(&self.0).map_err(|DerError| fmt::Error)?;
        let mut arcs = arcs.into_iter();
        let first = arcs.next().ok_or(fmt::Error)?;
        let root = (first / 40).min(2);
        write!(f, "{root}.{}", first - root * 40)?;
        arcs.try_for_each(|arc| write!(f, ".{arc}"))
    }
}

/// The subidentifiers; the first one still holds two arcs.
fn read_arcs(content: &[u8]) -> Result<Vec<u128>, DerError> {
    let mut arcs = Vec::new();
    let mut arc = None::<u128>;
    for &octet in content {
        if arc.is_none() && octet == 0x80 {
            return Err(DerError);
        }
        let digit = u128::from(octet & 0x7f);
        let value = arc.unwrap_or(0).checked_mul(128).ok_or(DerError)? | digit;
        arc = Some(value);
        if octet & 0x80 == 0 {
            arcs.push(value);
            arc = None;
        }
    }
    if arc.is_some() || arcs.is_empty() { Err(DerError) } else { Ok(arcs) }
}

fn write_arc(out: &mut Vec<u8>, arc: u128) {
    let groups = (1..19).rev().filter(|group| arc >> (7 * group) != 0);
    for group in groups {
        out.push(0x80 | low_seven_bits(arc >> (7 * group)));
    }
    out.push(low_seven_bits(arc));
}

fn low_seven_bits(value: u128) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_definite_and_minimal_lengths_are_read() {
        for refused in [
            &b"\x04"[..],
            b"\x04\x80\x00\x00",
            b"\x04\x81\x01a",
            b"\x04\x82\x00\x80",
            b"\x04\x85\x00\x00\x00\x00\x01a",
            b"\x04\x02a",
            b"\x1f\x81\x00\x00",
        ] {
            assert!(Reader::new(refused).element().is_err(), "{refused:02x?}");
        }
        assert_eq!(only(b"\x04\x01a", 0x04), Ok(&b"a"[..]));
        assert_eq!(only(b"\x04\x01ab", 0x04), Err(DerError));
        assert_eq!(only(b"\x04\x01a", 0x05), Err(DerError));
    }

    #[test]
    fn object_identifiers_read_and_print_in_dotted_form() {
        for dotted in ["2.5.4.3", "0.0", "1.39", "2.999.1", "1.2.840.113549.1.9.1"] {
            let oid = Oid::from_dotted(dotted).unwrap();
            assert_eq!(oid.to_string(), dotted);
            assert_eq!(Oid::from_content(oid.content()), Ok(oid));
        }
        let uuid = format!("2.25.{}", u128::MAX - 80);
        assert_eq!(Oid::from_dotted(&uuid).unwrap().to_string(), uuid);
        assert_eq!(Oid::from_dotted("2.5.4.3").unwrap().content(), b"\x55\x04\x03");
    }

    #[test]
    fn what_is_no_object_identifier_is_refused() {
        for dotted in ["", "2", "3.1", "1.40", "2..1", "2.05", ".2.5", "2.5.", "2.5.+4", "2.5.a"] {
            assert_eq!(Oid::from_dotted(dotted), None, "{dotted}");
        }
        for content in [&b""[..], b"\x80\x01", b"\x55\x84", b"\x55\x80\x01", &[0xff; 40]] {
            assert!(Oid::from_content(content).is_err(), "{content:02x?}");
        }
    }

    proptest! {
        #[test]
        fn an_encoded_element_reads_back(content in prop::collection::vec(any::<u8>(), 0..700)) {
            let encoded = encode(0x04, &content);
            prop_assert_eq!(only(&encoded, 0x04), Ok(content.as_slice()));
        }

        #[test]
        fn any_octets_are_read_without_a_panic(octets in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&octets);
            while reader.element().is_ok() {}
            if let Ok(oid) = Oid::from_content(&octets) {
                prop_assert_eq!(Oid::from_dotted(&oid.to_string()), Some(oid));
            }
        }
    }
}
