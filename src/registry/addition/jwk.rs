//! A certificate as the JWK that registers it (RFC 7517 §4.7, RFC 8705 §2.2.2), for people to paste: `x5c`, and the key
//! in the members of its type (RFC 7518 §6, RFC 8037 §2).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::pki::Certificate;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// `None` for a key that has no JWK, or whose JWK takes more than copying.
pub(super) fn of(certificate: &Certificate) -> Option<Value> {
    let key = bits(certificate.public_key())?;
    let mut jwk = match certificate.key_description().as_str() {
        "EC P-256" => ec("P-256", key, 32)?,
        "EC P-384" => ec("P-384", key, 48)?,
        "EC P-521" => ec("P-521", key, 66)?,
        "Ed25519" => json!({ "kty": "OKP", "crv": "Ed25519", "x": text(key) }),
        name if name.starts_with("RSA ") => rsa(key)?,
        _ => return None,
    };
    jwk.as_object_mut()?.insert("x5c".to_owned(), json!([STANDARD.encode(certificate.der())]));
    Some(jwk)
}

/// An uncompressed point (SEC 1 §2.3.3).
fn ec(curve: &str, key: &[u8], size: usize) -> Option<Value> {
    let (x, y) = key.strip_prefix(&[4])?.split_at_checked(size)?;
    (y.len() == size).then(|| json!({ "kty": "EC", "crv": curve, "x": text(x), "y": text(y) }))
}

/// `RSAPublicKey` (RFC 8017 §A.1.1).
fn rsa(key: &[u8]) -> Option<Value> {
    let (modulus, rest) = element(INTEGER, element(SEQUENCE, key)?.0)?;
    let (exponent, _) = element(INTEGER, rest)?;
    let unsigned = |number: &[u8]| text(number.strip_prefix(&[0]).unwrap_or(number));
    Some(json!({ "kty": "RSA", "n": unsigned(modulus), "e": unsigned(exponent) }))
}

fn text(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

/// The key in a `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).
fn bits(public_key: &[u8]) -> Option<&[u8]> {
    let (_, after_algorithm) = element(SEQUENCE, element(SEQUENCE, public_key)?.0)?;
    element(BIT_STRING, after_algorithm)?.0.strip_prefix(&[0])
}

/// Content and rest of a DER element; its certificate was parsed before, so this need not be strict.
fn element(tag: u8, octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = octets.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match length.checked_sub(0x80) {
        None => (usize::from(*length), rest),
        Some(count) => {
            let (length, rest) = rest.split_at_checked(usize::from(count))?;
            (
                length
                    .iter()
                    .try_fold(0_usize, |sum, octet| sum.checked_mul(256)?.checked_add(usize::from(*octet)))?,
                rest,
            )
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::clock::Timestamp;
    use crate::pki::TrustStore;
    use crate::pki::workshop::{Identity, KeyKind, Template};
    use crate::registry::{Credential, Registry, RegistrySettings};

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    #[test]
    fn a_jwk_of_every_kind_of_key_registers_its_certificate() {
        for key in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048, KeyKind::Ed25519] {
            let template = Template { key, ..Template::new("edge", NOW, Timestamp::MAX) };
            let made = Identity::self_signed(&template).unwrap();
            let certificate = Certificate::parse(made.certificate_der()).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let document = format!(
                "client_id: edge\ntoken_endpoint_auth_method: self_signed_tls_client_auth\ngrant_types: []\n\
                 jwks: {{keys: [{}]}}\n",
                of(&certificate).unwrap()
            );
            std::fs::write(directory.path().join("edge.yaml"), document).unwrap();
            let directory = directory.path().to_owned();
            let settings = RegistrySettings { directory, max_certificates: 5, default_resource: None };
            let trust = TrustStore::new([].into());
            let (registry, problems) = Registry::load(&settings, None, &trust, &BTreeSet::new(), NOW);
            assert!(!problems.has_errors(), "{key:?}: {problems:?}");
            let client = registry.clients().next().unwrap();
            let Credential::SelfSignedTlsClientAuth { pins, .. } = &client.credential else {
                panic!("{key:?}")
            };
            assert!(pins.contains_key(&certificate.thumbprint()), "{key:?}");
        }
    }
}
