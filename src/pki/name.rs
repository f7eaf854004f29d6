//! Distinguished names as structures: read from RFC 4514 text and from DER, compared by RFC 5280 §7.1.
//!
//! A name is a sequence of RDNs, each a set of attribute types and values; two names are equal if the
//! sequences have the same length and order and the sets the same members (RFC 4517 §4.2.15), where strings
//! are equal after the preparation of RFC 4518, whatever ASN.1 type they came in. Text is never compared with
//! text: the text form is neither unique nor reversible (RFC 4514 §5.2). What a string may not contain is in
//! `prepare`, the text form in `text`, the words for a mismatch in `difference`. Which name is expected of
//! whom is left to `subject`.

mod attribute;
mod difference;
mod prepare;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{Hash, Hasher};

use super::der::{self, DerError, Element, Oid, Reader};

pub use self::difference::RdnDifference;
use self::prepare::Prohibited;

/// A distinguished name (X.501 `Name`). Equality is that of RFC 5280 §7.1; [`Display`](fmt::Display) is the
/// RFC 4514 text, for people and for pasting back.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct DistinguishedName {
    /// In the order of the encoding, which is the reverse of the text (RFC 4514 §2.1).
    rdns: Vec<Rdn>,
}

/// Why a name was refused, and what to write.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

impl NameError {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl DistinguishedName {
    /// The longest DER of a name that is read.
    const MAX_DER: usize = 4 * 1024;
    /// The longest text: escapes and `#` forms are longer than what they stand for.
    const MAX_TEXT: usize = 8 * 1024;
    const MAX_RDNS: usize = 64;
    const MAX_AVAS: usize = 16;

    /// Reads RFC 4514 text as registered. The empty name, anything outside the grammar (a blank after a
    /// comma, quotes, a form that some tool prints), unknown attribute names and characters that could hide
    /// (`U+0000`, controls, zero-width and bidi marks, unassigned ones) are refused, with what to write.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        text::parse(text)
    }

    /// Reads the DER of a `Name` as found in a certificate; it may be empty. A value that is no comparable
    /// string (a `TeletexString`, a text with a NUL) is kept as octets, and equal to no text.
    pub fn from_der(name: &[u8]) -> Result<Self, NameError> {
        if name.len() > Self::MAX_DER {
            return Err(NameError::new("the name is longer than 4 KiB"));
        }
        let rdns = read_rdns(name).map_err(|DerError| NameError::new("the name is not well-formed DER"))?;
        if rdns.len() > Self::MAX_RDNS {
            return Err(NameError::new("the name has more than 64 RDNs"));
        }
        if rdns.iter().any(|rdn| rdn.0.len() > Self::MAX_AVAS) {
            return Err(NameError::new("an RDN of the name has more than 16 values"));
        }
        Ok(Self { rdns })
    }

    /// Whether this is the name without any RDN, which certificates with nothing but SANs have.
    pub fn is_empty(&self) -> bool {
        self.rdns.is_empty()
    }

    /// How `seen` differs from this expected name, RDN by RDN in the order of the text, for `explain`.
    /// Differences that the comparison forgives (case, space, encoding) are listed too.
    pub fn difference(&self, seen: &Self) -> Vec<RdnDifference> {
        difference::difference(self, seen)
    }

    /// The RDNs in the order of the text.
    fn in_text_order(&self) -> Vec<&Rdn> {
        self.rdns.iter().rev().collect()
    }
}

/// RFC 4514, reading back to an equal name unless a value cannot be compared.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_joined(f, ",", self.rdns.iter().rev())
    }
}

/// The text, because the structure says nothing more to a reader.
impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DistinguishedName({self})")
    }
}

/// A relative distinguished name: a set, kept sorted, so that equal sets are equal vectors and every member
/// of one is matched by a member of its own in the other.
#[derive(Clone, Eq, Hash, PartialEq)]
struct Rdn(Vec<Ava>);

impl Rdn {
    fn new(mut avas: Vec<Ava>) -> Self {
        avas.sort_by(|a, b| a.compared().cmp(&b.compared()));
        Self(avas)
    }
}

impl fmt::Display for Rdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_joined(f, "+", &self.0)
    }
}

/// An attribute type and value.
#[derive(Clone)]
struct Ava {
    oid: Oid,
    value: Value,
}

#[derive(Clone)]
enum Value {
    /// Registered as text, of no ASN.1 type.
    Text(Text),
    /// A string in a type that has a safe decoding.
    Encoded { der: Box<[u8]>, text: Text },
    /// Not a string, a `TeletexString`, or one that may not be compared: equal to the same octets only.
    Opaque(Box<[u8]>),
}

#[derive(Clone)]
struct Text {
    written: String,
    /// After RFC 4518 §2.
    prepared: String,
}

impl Text {
    fn new(written: String) -> Result<Self, Prohibited> {
        let prepared = prepare::prepare(&written)?;
        Ok(Self { written, prepared })
    }
}

/// What equality is over.
#[derive(Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Compared<'v> {
    Text(&'v str),
    Octets(&'v [u8]),
}

impl Ava {
    fn compared(&self) -> (&Oid, Compared<'_>) {
        let value = match &self.value {
            Value::Text(text) | Value::Encoded { text, .. } => Compared::Text(&text.prepared),
            Value::Opaque(der) => Compared::Octets(der),
        };
        (&self.oid, value)
    }
}

impl PartialEq for Ava {
    fn eq(&self, other: &Self) -> bool {
        self.compared() == other.compared()
    }
}

impl Eq for Ava {}

impl Hash for Ava {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.compared().hash(state);
    }
}

/// RFC 4514 §2.3 and §2.4. Types without a name that reads back are written as numbers, and their values,
/// like those that are no comparable string, as `#` and the octets of the encoding.
impl fmt::Display for Ava {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = attribute::name_of(&self.oid);
        match name {
            Some(name) => write!(f, "{name}=")?,
            None => write!(f, "{}=", self.oid)?,
        }
        match (&self.value, name) {
            (Value::Text(text) | Value::Encoded { text, .. }, Some(_)) => {
                f.write_str(&text::escape(&text.written))
            }
            (Value::Text(text), None) => {
                write_octets(f, &der::encode(der::UTF8_STRING, text.written.as_bytes()))
            }
            (Value::Encoded { der, .. } | Value::Opaque(der), _) => write_octets(f, der),
        }
    }
}

fn write_octets(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    f.write_str("#")?;
    octets.iter().try_for_each(|octet| write!(f, "{octet:02X}"))
}

fn write_joined<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    separator: &str,
    items: impl IntoIterator<Item = T>,
) -> fmt::Result {
    items.into_iter().enumerate().try_for_each(|(index, item)| {
        f.write_str(if index == 0 { "" } else { separator })?;
        item.fmt(f)
    })
}

/// `RDNSequence`, RFC 5280 §4.1.2.4.
fn read_rdns(name: &[u8]) -> Result<Vec<Rdn>, DerError> {
    let mut sets = Reader::new(der::only(name, der::SEQUENCE)?);
    let mut rdns = Vec::new();
    while !sets.is_empty() {
        let mut members = Reader::new(sets.expect(der::SET)?);
        let mut avas = Vec::new();
        while !members.is_empty() {
            let mut fields = Reader::new(members.expect(der::SEQUENCE)?);
            let oid = Oid::from_content(fields.expect(der::OBJECT_IDENTIFIER)?)?;
            let value = read_value(fields.element()?);
            fields.finish()?;
            avas.push(Ava { oid, value });
        }
        if avas.is_empty() {
            return Err(DerError);
        }
        rdns.push(Rdn::new(avas));
    }
    Ok(rdns)
}

/// As found: what cannot be compared as text is kept as octets.
fn read_value(element: Element<'_>) -> Value {
    let der = element.raw.into();
    match read_text(element) {
        Some(Ok(text)) => Value::Encoded { der, text },
        Some(Err(_)) | None => Value::Opaque(der),
    }
}

/// The text of a string type that has one decoding, or why that text cannot be compared. `None` for anything
/// else; a `TeletexString` is among them, because it has several decodings.
fn read_text(element: Element<'_>) -> Option<Result<Text, String>> {
    let content = element.content;
    let written = match element.tag {
        der::UTF8_STRING => String::from_utf8(content.to_vec()).ok(),
        // CAs write `*`, `@` or `&` into a PrintableString; ASCII it must be.
        der::PRINTABLE_STRING | der::IA5_STRING | der::NUMERIC_STRING | der::VISIBLE_STRING => {
            content.is_ascii().then(|| content.iter().copied().map(char::from).collect())
        }
        der::BMP_STRING => decode_characters::<2>(content),
        der::UNIVERSAL_STRING => decode_characters::<4>(content),
        _ => return None,
    };
    let Some(written) = written else {
        return Some(Err("its octets are none of its string type".to_owned()));
    };
    Some(Text::new(written).map_err(|prohibited| prohibited.to_string()))
}

/// Big-endian code points of `WIDTH` octets each; surrogates are none.
fn decode_characters<const WIDTH: usize>(content: &[u8]) -> Option<String> {
    let (characters, rest) = content.as_chunks::<WIDTH>();
    if !rest.is_empty() {
        return None;
    }
    let code_point =
        |octets: &[u8; WIDTH]| octets.iter().fold(0, |point, &octet| point << 8 | u32::from(octet));
    characters.iter().map(|octets| char::from_u32(code_point(octets))).collect()
}
