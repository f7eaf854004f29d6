//! Which keys may be in a path. OpenSSL's security level sees to the strength; this sees to the kinds,
//! because a key that one implementation reads as something else, or takes seconds over, is not worth its
//! compatibility.

use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

const RSA: &str = "1.2.840.113549.1.1.1";
const RSA_PSS: &str = "1.2.840.113549.1.1.10";
const EC: &str = "1.2.840.10045.2.1";
const DSA: &str = "1.2.840.10040.4.1";
const ED25519: &str = "1.3.101.112";
const ED448: &str = "1.3.101.113";

/// P-256, P-384, P-521 and the verifiably random Brainpool curves of the same sizes (RFC 5639).
const CURVES: [&str; 6] = [
    "1.2.840.10045.3.1.7",
    "1.3.132.0.34",
    "1.3.132.0.35",
    "1.3.36.3.3.2.8.1.1.7",
    "1.3.36.3.3.2.8.1.1.11",
    "1.3.36.3.3.2.8.1.1.13",
];

/// RSA moduli in bits. A larger one costs its verifier more than it protects.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What is wrong with this key, if anything.
pub(in crate::pki) fn fault(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let algorithm = key.algorithm.algorithm.to_id_string();
    match algorithm.as_str() {
        RSA | RSA_PSS => rsa_fault(&key.subject_public_key.data),
        EC => curve_fault(key),
        ED25519 | ED448 => None,
        DSA => Some("it has a DSA key, which is not trusted any more".into()),
        other => Some(format!("the algorithm of its key ({other}) is not supported")),
    }
}

fn rsa_fault(key: &[u8]) -> Option<String> {
    let Ok(([], parsed)) = RSAPublicKey::from_der(key) else {
        return Some("its RSA key cannot be read".into());
    };
    let bits = bit_length(parsed.modulus);
    if !RSA_BITS.contains(&bits) {
        let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
        return Some(format!("its RSA key has {bits} bits, and {least} to {most} are trusted"));
    }
    if parsed.modulus.last().is_none_or(|octet| octet & 1 == 0) {
        return Some("its RSA modulus is even".into());
    }
    match parsed.try_exponent() {
        Ok(exponent) if exponent >= 3 && exponent & 1 == 1 => None,
        _ => Some("its RSA exponent is even, less than 3 or longer than 63 bits".into()),
    }
}

/// RFC 5480 §2.1.1: a named curve, never parameters of its own.
fn curve_fault(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.clone().oid().ok());
    let Some(curve) = curve.map(|curve| curve.to_id_string()) else {
        return Some("its elliptic curve is given by parameters, not by name".into());
    };
    (!CURVES.contains(&curve.as_str())).then(|| format!("its elliptic curve ({curve}) is not supported"))
}

fn bit_length(number: &[u8]) -> usize {
    let mut octets = number.iter().skip_while(|&&octet| octet == 0);
    match octets.next() {
        Some(first) => octets.count() * 8 + (8 - first.leading_zeros() as usize),
        None => 0,
    }
}
