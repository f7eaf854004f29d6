//! The public key of a JWK (RFC 7518 §6, RFC 8037 §2), written as a certificate would have it, to compare the
//! two.
//!
//! The comparison of RFC 7517 §4.7 is one of keys, not of encodings: each `SubjectPublicKeyInfo` (RFC 5280
//! §4.1.2.7) that could hold the key is written out, and the certificate's has to be among them. Nothing is
//! computed with the key; that it lies on its curve follows from being that of the certificate.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::document::{Fields, Node, Problems};

/// Members that only private and symmetric keys have (RFC 7518 §6.2.2, §6.3.2, §6.4).
pub(super) const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const NULL: u8 = 0x05;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

const EC_PUBLIC_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const RSA_ENCRYPTION: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
const RSASSA_PSS: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A];

/// `crv`, its object identifier (RFC 5480 §2.1.1.1, RFC 8812 §3), octets of a coordinate.
const CURVES: [(&str, &[u8], usize); 4] = [
    ("P-256", &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07], 32),
    ("P-384", &[0x2B, 0x81, 0x04, 0x00, 0x22], 48),
    ("P-521", &[0x2B, 0x81, 0x04, 0x00, 0x23], 66),
    ("secp256k1", &[0x2B, 0x81, 0x04, 0x00, 0x0A], 32),
];

/// `crv`, its object identifier (RFC 8410 §3), octets of a key.
const EDWARDS_CURVES: [(&str, &[u8], usize); 2] =
    [("Ed25519", &[0x2B, 0x65, 0x70], 32), ("Ed448", &[0x2B, 0x65, 0x71], 57)];

/// Every DER that the key can have in a certificate.
pub(super) fn public_key_infos(key: &mut Fields, problems: &mut Problems) -> Option<Vec<Vec<u8>>> {
    let kind = key.require("kty", "kty: EC", problems)?;
    match kind.text(problems)? {
        "EC" => {
            let (curve, size) = curve(&CURVES, key, problems)?;
            let x = octets("x", Some(size), key, problems)?;
            let y = octets("y", Some(size), key, problems)?;
            let algorithm = [object_identifier(EC_PUBLIC_KEY), object_identifier(curve)].concat();
            let sign = 2 + (y.last().copied().unwrap_or_default() & 1);
            let points = [[&[4][..], &x, &y].concat(), [&[sign][..], &x].concat()];
            Some(points.iter().map(|point| public_key_info(&algorithm, point)).collect())
        }
        "RSA" => {
            let modulus = octets("n", None, key, problems)?;
            let exponent = octets("e", None, key, problems)?;
            let numbers = der(SEQUENCE, &[integer(&modulus), integer(&exponent)].concat());
            let encryption = [object_identifier(RSA_ENCRYPTION), der(NULL, &[])].concat();
            let infos = [encryption, object_identifier(RSASSA_PSS)];
            Some(infos.iter().map(|algorithm| public_key_info(algorithm, &numbers)).collect())
        }
        "OKP" => {
            let (curve, size) = curve(&EDWARDS_CURVES, key, problems)?;
            let x = octets("x", Some(size), key, problems)?;
            Some(vec![public_key_info(&object_identifier(curve), &x)])
        }
        _ => {
            problems.error(
                &kind.at,
                "this is not a type of key that the server knows",
                "write EC, RSA or OKP",
            );
            None
        }
    }
}

fn curve(
    known: &[(&str, &'static [u8], usize)],
    key: &mut Fields,
    problems: &mut Problems,
) -> Option<(&'static [u8], usize)> {
    let node = key.require("crv", "crv: P-256", problems)?;
    let name = node.text(problems)?;
    let found = known.iter().find(|(curve, ..)| *curve == name);
    if found.is_none() {
        let names: Vec<_> = known.iter().map(|(curve, ..)| *curve).collect();
        problems.error(
            &node.at,
            "this is not a curve of this type of key",
            format!("write {}", names.join(", ")),
        );
    }
    found.map(|(_, identifier, size)| (*identifier, *size))
}

fn octets(name: &str, size: Option<usize>, key: &mut Fields, problems: &mut Problems) -> Option<Vec<u8>> {
    let node: Node = key.require(name, &format!("{name}: …"), problems)?;
    let decoded = URL_SAFE_NO_PAD.decode(node.text(problems)?).ok();
    let found = decoded.filter(|octets| size.is_none_or(|size| octets.len() == size));
    if found.is_none() {
        let what = format!("`{name}` is not base64url without padding, or not of the right length");
        problems.error(&node.at, what, "copy it from the JWK (RFC 7518 §6)");
    }
    found
}

fn public_key_info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let key = der(BIT_STRING, &[&[0], key].concat());
    der(SEQUENCE, &[der(SEQUENCE, algorithm), key].concat())
}

fn object_identifier(content: &[u8]) -> Vec<u8> {
    der(OBJECT_IDENTIFIER, content)
}

/// A number that is not negative, in as few octets as possible (X.690 §8.3), whatever zeros the JWK put
/// before it.
fn integer(octets: &[u8]) -> Vec<u8> {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    let significant = octets.get(zeros..).unwrap_or_default();
    let sign: &[u8] = if significant.first().is_none_or(|first| *first >= 0x80) { &[0] } else { &[] };
    der(INTEGER, &[sign, significant].concat())
}

/// Tag, length and content (X.690 §10.1).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|octet| *octet == 0).collect();
    let length = match *significant.as_slice() {
        [] => vec![0],
        [short] if short < 0x80 => vec![short],
        _ => [&[0x80 | u8::try_from(significant.len()).unwrap_or_default()], &*significant].concat(),
    };
    [&[tag], &*length, content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_der_wants_them() {
        assert_eq!(der(4, &[]), [4, 0]);
        assert_eq!(der(4, &[7; 127]).get(..2), Some(&[4, 127][..]));
        assert_eq!(der(4, &[7; 128]).get(..3), Some(&[4, 0x81, 128][..]));
        assert_eq!(der(4, &[7; 300]).get(..4), Some(&[4, 0x82, 1, 44][..]));
    }

    #[test]
    fn a_number_has_one_encoding_whatever_zeros_precede_it() {
        assert_eq!(integer(&[0, 0, 1, 0, 1]), integer(&[1, 0, 1]));
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[]), [2, 1, 0]);
    }
}
