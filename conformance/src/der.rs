//! DER (X.690) as far as certificates need it: written by hand, so that what no library would write can be written too.

/// One element: tag, length, contents.
#[must_use]
pub fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = contents.len();
    if let Ok(short) = u8::try_from(length)
        && short < 0x80
    {
        out.push(short);
    } else {
        let octets: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
        out.push(0x80 | u8::try_from(octets.len()).unwrap_or(8));
        out.extend(octets);
    }
    out.extend_from_slice(contents);
    out
}

/// A SEQUENCE of these elements.
#[must_use]
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// A SET of these elements, in the order of DER.
#[must_use]
pub fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut parts = parts.to_vec();
    parts.sort();
    element(0x31, &parts.concat())
}

/// An INTEGER that is not negative.
#[must_use]
pub fn integer(octets: &[u8]) -> Vec<u8> {
    let mut contents: Vec<u8> = octets.iter().copied().skip_while(|octet| *octet == 0).collect();
    if contents.first().is_none_or(|first| first & 0x80 != 0) {
        contents.insert(0, 0);
    }
    element(0x02, &contents)
}

/// An OBJECT IDENTIFIER from its dotted form.
#[must_use]
pub fn oid(dotted: &str) -> Vec<u8> {
    let mut arcs = dotted.split('.').map(|arc| arc.parse::<u64>().unwrap_or_default());
    let first = arcs.next().unwrap_or_default() * 40 + arcs.next().unwrap_or_default();
    let mut contents = Vec::new();
    for arc in std::iter::once(first).chain(arcs) {
        let mut octets = vec![arc & 0x7f];
        let mut rest = arc >> 7;
        while rest > 0 {
            octets.push(rest & 0x7f | 0x80);
            rest >>= 7;
        }
        contents.extend(octets.into_iter().rev().map(|octet| u8::try_from(octet).unwrap_or_default()));
    }
    element(0x06, &contents)
}

/// A BIT STRING without unused bits.
#[must_use]
pub fn bit_string(octets: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], octets].concat())
}

/// An OCTET STRING.
#[must_use]
pub fn octet_string(octets: &[u8]) -> Vec<u8> {
    element(0x04, octets)
}

/// A `UTF8String`.
#[must_use]
pub fn utf8(text: &str) -> Vec<u8> {
    element(0x0c, text.as_bytes())
}

/// A `PrintableString`, whether or not the characters are allowed there.
#[must_use]
pub fn printable(text: &str) -> Vec<u8> {
    element(0x13, text.as_bytes())
}

/// An `IA5String`.
#[must_use]
pub fn ia5(text: &str) -> Vec<u8> {
    element(0x16, text.as_bytes())
}

/// BOOLEAN TRUE.
pub const TRUE: &[u8] = &[0x01, 0x01, 0xff];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_identifiers_are_those_of_x690() {
        assert_eq!(oid("2.5.4.3"), [6, 3, 0x55, 4, 3]);
        assert_eq!(oid("1.2.840.113549.1.1.11"), [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b]);
        assert_eq!(element(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[]), [2, 1, 0]);
    }
}
