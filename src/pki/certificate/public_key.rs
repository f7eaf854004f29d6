//! A `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7) put into words. Nothing is decided by these: whether a key is
//! good enough is path validation's to say.

use crate::pki::der::{self, DerError, Oid, Reader};

/// `EC P-256`, `RSA 2048`, `Ed25519`, the object identifier of an unknown algorithm, or `unreadable`.
pub(super) fn describe(public_key: &[u8]) -> String {
    try_describe(public_key).unwrap_or_else(|DerError| "unreadable".to_owned())
}

fn try_describe(public_key: &[u8]) -> Result<String, DerError> {
    let mut fields = Reader::new(der::only(public_key, der::SEQUENCE)?);
    let mut algorithm = Reader::new(fields.expect(der::SEQUENCE)?);
    let key = fields.expect(der::BIT_STRING)?;
    let oid = Oid::from_content(algorithm.expect(der::OBJECT_IDENTIFIER)?)?.to_string();
    Ok(match oid.as_str() {
        "1.2.840.10045.2.1" => curve(algorithm)?,
        "1.2.840.113549.1.1.1" => format!("RSA {}", modulus_bits(key)?),
        "1.2.840.113549.1.1.10" => format!("RSA-PSS {}", modulus_bits(key)?),
        "1.2.840.10040.4.1" => dsa(algorithm)?,
        "1.3.101.110" => "X25519".to_owned(),
        "1.3.101.111" => "X448".to_owned(),
        "1.3.101.112" => "Ed25519".to_owned(),
        "1.3.101.113" => "Ed448".to_owned(),
        "2.16.840.1.101.3.4.3.17" => "ML-DSA-44".to_owned(),
        "2.16.840.1.101.3.4.3.18" => "ML-DSA-65".to_owned(),
        "2.16.840.1.101.3.4.3.19" => "ML-DSA-87".to_owned(),
        _ => oid,
    })
}

/// The named curve (RFC 5480 §2.1.1, RFC 5639 §4.1) among the parameters.
fn curve(mut parameters: Reader<'_>) -> Result<String, DerError> {
    let Some(curve) = parameters.optional(der::OBJECT_IDENTIFIER)? else {
        return Ok("EC with explicit parameters".to_owned());
    };
    let oid = Oid::from_content(curve)?.to_string();
    let name = match oid.as_str() {
        "1.2.840.10045.3.1.1" => "P-192",
        "1.3.132.0.33" => "P-224",
        "1.2.840.10045.3.1.7" => "P-256",
        "1.3.132.0.34" => "P-384",
        "1.3.132.0.35" => "P-521",
        "1.3.132.0.10" => "secp256k1",
        "1.3.36.3.3.2.8.1.1.1" => "brainpoolP160r1",
        "1.3.36.3.3.2.8.1.1.3" => "brainpoolP192r1",
        "1.3.36.3.3.2.8.1.1.5" => "brainpoolP224r1",
        "1.3.36.3.3.2.8.1.1.7" => "brainpoolP256r1",
        "1.3.36.3.3.2.8.1.1.9" => "brainpoolP320r1",
        "1.3.36.3.3.2.8.1.1.11" => "brainpoolP384r1",
        "1.3.36.3.3.2.8.1.1.13" => "brainpoolP512r1",
        other => other,
    };
    Ok(format!("EC {name}"))
}

/// Of an `RSAPublicKey` (RFC 8017 §A.1.1) in a BIT STRING.
fn modulus_bits(bit_string: &[u8]) -> Result<usize, DerError> {
    let (_unused, key) = bit_string.split_first().ok_or(DerError)?;
    Ok(bits(Reader::new(der::only(key, der::SEQUENCE)?).expect(der::INTEGER)?))
}

/// The size of the prime in `Dss-Parms` (RFC 3279 §2.3.2), which may be inherited and so absent.
fn dsa(mut parameters: Reader<'_>) -> Result<String, DerError> {
    let Some(parameters) = parameters.optional(der::SEQUENCE)? else { return Ok("DSA".to_owned()) };
    Ok(format!("DSA {}", bits(Reader::new(parameters).expect(der::INTEGER)?)))
}

fn bits(integer: &[u8]) -> usize {
    let mut significant = integer.iter().skip_while(|&&octet| octet == 0);
    let Some(first) = significant.next() else { return 0 };
    significant.count() * 8 + (u8::BITS - first.leading_zeros()) as usize
}
