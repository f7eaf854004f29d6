//! JSON Web Tokens (RFC 7515, RFC 7519) by OpenSSL: taken apart, verified with a published key, and made, wrong ones too.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer, Verifier};
use serde_json::Value;

use crate::pki::Key;

/// A compact JWS.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// The JOSE header.
    pub header: Value,
    /// The payload.
    pub claims: Value,
    /// The octets of the signature.
    pub signature: Vec<u8>,
    /// What is signed.
    pub signed: String,
}

impl Jwt {
    /// Takes a token apart, without judging it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json = |text: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
        Some(Self {
            header: json(header)?,
            claims: json(claims)?,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            signed: signed.to_owned(),
        })
    }

    /// A member of the header that is a string.
    #[must_use]
    pub fn header_text(&self, name: &str) -> &str {
        self.header.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The key of the set that has the `kid` of the header.
    #[must_use]
    pub fn key_of<'set>(&self, set: &'set Value) -> Option<&'set Value> {
        let keys = set.get("keys")?.as_array()?;
        keys.iter().find(|key| key.get("kid").is_some() && key.get("kid") == self.header.get("kid"))
    }

    /// Whether the signature is by this key, by the algorithm of the header.
    #[must_use]
    pub fn is_signed_by(&self, jwk: &Value) -> bool {
        self.verify(jwk).unwrap_or(false)
    }

    fn verify(&self, jwk: &Value) -> Option<bool> {
        let key = public(jwk)?;
        let octets = self.signed.as_bytes();
        let by = |digest: MessageDigest| Verifier::new(digest, &key).ok();
        match self.header_text("alg") {
            "ES256" => {
                let (r, s) = self.signature.split_at_checked(32)?;
                let signature = EcdsaSig::from_private_components(
                    BigNum::from_slice(r).ok()?,
                    BigNum::from_slice(s).ok()?,
                );
                let der = signature.ok()?.to_der().ok()?;
                by(MessageDigest::sha256())?.verify_oneshot(&der, octets).ok()
            }
            "RS256" => by(MessageDigest::sha256())?.verify_oneshot(&self.signature, octets).ok(),
            "PS256" => {
                let mut verifier = by(MessageDigest::sha256())?;
                verifier.set_rsa_padding(Padding::PKCS1_PSS).ok()?;
                verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).ok()?;
                verifier.verify_oneshot(&self.signature, octets).ok()
            }
            "EdDSA" | "Ed25519" => {
                Verifier::new_without_digest(&key).ok()?.verify_oneshot(&self.signature, octets).ok()
            }
            _ => None,
        }
    }
}

/// The public key of a JWK.
#[must_use]
pub fn public(jwk: &Value) -> Option<PKey<Public>> {
    let octets = |name: &str| URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_str()?).ok();
    let number = |name: &str| BigNum::from_slice(&octets(name)?).ok();
    match (jwk.get("kty")?.as_str()?, jwk.get("crv").and_then(Value::as_str)) {
        ("RSA", _) => PKey::from_rsa(Rsa::from_public_components(number("n")?, number("e")?).ok()?).ok(),
        ("EC", Some("P-256")) => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).ok()?;
            let key = EcKey::from_public_key_affine_coordinates(
                &group,
                number("x")?.as_ref(),
                number("y")?.as_ref(),
            );
            PKey::from_ec_key(key.ok()?).ok()
        }
        ("OKP", Some("Ed25519")) => PKey::public_key_from_raw_bytes(&octets("x")?, Id::ED25519).ok(),
        _ => None,
    }
}

/// A token with this header and these claims, signed by the algorithm in the header: ES256, RS256, PS256, `EdDSA` by `key`,
/// anything else without a signature. What the key cannot do is an error.
///
/// # Errors
/// OpenSSL cannot sign so with this key.
pub fn sign(header: &Value, claims: &Value, key: &Key) -> Result<String, ErrorStack> {
    let signed = unsigned(header, claims);
    let signature =
        signature(header.get("alg").and_then(Value::as_str).unwrap_or_default(), &signed, key.openssl())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A token with this header and these claims and an HMAC-SHA256 by `secret` for a signature.
///
/// # Errors
/// OpenSSL cannot compute it.
pub fn sign_hs256(header: &Value, claims: &Value, secret: &[u8]) -> Result<String, ErrorStack> {
    let signed = unsigned(header, claims);
    let key = PKey::hmac(secret)?;
    let signature = Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A header, or a key, with one member set.
#[must_use]
pub fn with_member(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    object
}

/// Header and claims as they are signed.
#[must_use]
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn signature(algorithm: &str, text: &str, key: &PKey<Private>) -> Result<Vec<u8>, ErrorStack> {
    let octets = text.as_bytes();
    match algorithm {
        "ES256" => {
            let der = Signer::new(MessageDigest::sha256(), key)?.sign_oneshot_to_vec(octets)?;
            let signature = EcdsaSig::from_der(&der)?;
            Ok([signature.r().to_vec_padded(32)?, signature.s().to_vec_padded(32)?].concat())
        }
        "RS256" => Signer::new(MessageDigest::sha256(), key)?.sign_oneshot_to_vec(octets),
        "PS256" => {
            let mut signer = Signer::new(MessageDigest::sha256(), key)?;
            signer.set_rsa_padding(Padding::PKCS1_PSS)?;
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            signer.sign_oneshot_to_vec(octets)
        }
        "EdDSA" | "Ed25519" => Signer::new_without_digest(key)?.sign_oneshot_to_vec(octets),
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_signed_verifies_and_nothing_else() {
        for (algorithm, key) in [
            ("ES256", Key::p256().unwrap()),
            ("RS256", Key::rsa(2048).unwrap()),
            ("PS256", Key::rsa(2048).unwrap()),
            ("EdDSA", Key::ed25519().unwrap()),
        ] {
            let text = sign(&json!({"alg": algorithm}), &json!({"a": 1}), &key).unwrap();
            let jwk = key.jwk().unwrap();
            assert!(Jwt::parse(&text).unwrap().is_signed_by(&jwk), "{algorithm}");
            let other = Jwt { signed: "a.b".to_owned(), ..Jwt::parse(&text).unwrap() };
            assert!(!other.is_signed_by(&jwk), "{algorithm}");
        }
    }
}
