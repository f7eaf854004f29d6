//! One signing key: JWS algorithms (RFC 7518 §3, RFC 8037 §3.1), JWK (RFC 7517) and thumbprint (RFC 7638).
//!
//! The private half is parsed once and kept as an aws-lc-rs key pair; jsonwebtoken would parse it again
//! for every signature. jsonwebtoken makes the JWK and the thumbprint and verifies. When a key signs is
//! decided in the parent module; where it lies in `directory.rs`.

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair, RsaSignatureEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::KeyFileError;
use super::directory::file_name;
use crate::clock::Timestamp;

/// The `typ` of an access token (RFC 9068 §2.1), whose header is written once per key.
const ACCESS_TOKEN: &str = "at+jwt";

/// One key of ours: its private half parsed, its public half in every form that is asked for.
pub struct SigningKey {
    id: KeyId,
    algorithm: SigningAlgorithm,
    signs_from: Timestamp,
    pair: Pair,
    public: DecodingKey,
    jwk: Value,
    access_token_header: Box<str>,
}

impl SigningKey {
    /// Reads a private key in PKCS#8 (RFC 5208) that is of `algorithm`'s type: P-256, Ed25519, or RSA of
    /// 2048 to 8192 bits. The error names the file that such a key has in the directory.
    pub fn from_pkcs8(
        algorithm: SigningAlgorithm,
        pkcs8: &[u8],
        signs_from: Timestamp,
    ) -> Result<Self, KeyFileError> {
        let refused = |what: &str, instead: &str| KeyFileError {
            file: file_name(algorithm, signs_from),
            what: what.to_owned(),
            instead: instead.to_owned(),
        };
        if !is_one_sequence(pkcs8) {
            return Err(refused("the key is cut off, or something follows it", "restore the file"));
        }
        let pair = Pair::parse(algorithm, pkcs8).map_err(|rejected| match rejected.description_() {
            "WrongAlgorithm" => {
                refused(algorithm.wrong_type(), "name the file after the algorithm of its key")
            }
            "TooSmall" => refused("the RSA key has less than 2048 bits", "use a key of 2048 bits or more"),
            "TooLarge" => refused("the RSA key has more than 8192 bits", "use a key of 8192 bits or less"),
            _ => refused("this is not a private key in PKCS#8", "restore the file"),
        })?;
        let public = pair.public();
        let (id, jwk) = describe(algorithm, &public)
            .ok_or_else(|| refused("the key has no public half", "restore the file"))?;
        let access_token_header = jws_header(ACCESS_TOKEN, algorithm, &id).into();
        Ok(Self { id, algorithm, signs_from, pair, public, jwk, access_token_header })
    }

    /// A new private key as PKCS#8 DER. RSA keys have 2048 bits: what verifiers expect (RFC 7518 §3.3),
    /// and a signature of 3072 bits costs three times as much.
    pub fn generate(algorithm: SigningAlgorithm) -> Result<Zeroizing<Vec<u8>>, SignError> {
        let document = match algorithm {
            SigningAlgorithm::Es256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?.to_pkcs8v1()?
            }
            SigningAlgorithm::EdDsa => Ed25519KeyPair::generate()?.to_pkcs8v1()?,
            SigningAlgorithm::Ps256 | SigningAlgorithm::Rs256 => {
                let der: Pkcs8V1Der<'_> = RsaKeyPair::generate(KeySize::Rsa2048)?.as_der()?;
                return Ok(Zeroizing::new(der.as_ref().to_vec()));
            }
        };
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The `kid`: the RFC 7638 thumbprint of the public key.
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// The one algorithm this key is used with (RFC 8725 §3.1).
    pub const fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// When this key begins to sign.
    pub const fn signs_from(&self) -> Timestamp {
        self.signs_from
    }

    /// The JWS signature of `message`, which is the JWS signing input (RFC 7515 §5.1). For ES256 it is
    /// R and S side by side, 64 octets (RFC 7518 §3.4).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature)?;
                Ok(signature)
            }
        }
    }

    /// The JOSE header `{"alg", "kid", "typ"}` in base64url, as the signing input begins with it.
    pub fn jws_header(&self, typ: &'static str) -> Cow<'_, str> {
        if typ == ACCESS_TOKEN {
            return Cow::Borrowed(&self.access_token_header);
        }
        Cow::Owned(jws_header(typ, self.algorithm, &self.id))
    }

    /// The public half for jsonwebtoken. It fits a family of algorithms; only [`Self::algorithm`] may be
    /// allowed with it.
    pub const fn decoding_key(&self) -> &DecodingKey {
        &self.public
    }

    /// The public half as a JWK with `kid`, `use` and `alg` (RFC 7517 §4).
    pub const fn jwk(&self) -> &Value {
        &self.jwk
    }
}

/// Only the `kid`: the rest is secret, or follows from it.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// A `kid`: 43 characters of base64url.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(Box<str>);

impl KeyId {
    /// The text as it stands in headers and in the JWK set.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A `kid` as it was written down beside its key; whether it is that key's is found out when the key is read.
    pub(super) fn stored(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What this server signs with. A closed set: `none` and HMAC cannot be said.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4).
    #[default]
    Es256,
    /// RSASSA-PSS with SHA-256 (RFC 7518 §3.5).
    Ps256,
    /// Ed25519 (RFC 8037 §3.1).
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3), which RFC 9068 §2.1 wants everybody to know.
    Rs256,
}

impl SigningAlgorithm {
    /// Every algorithm, the preferred one first.
    pub const ALL: [Self; 4] = [Self::Es256, Self::Ps256, Self::EdDsa, Self::Rs256];

    /// The registered name, the `alg` of headers and keys.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    /// The algorithm of a registered name; case counts (RFC 7515 §4.1.1).
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text)
    }

    /// The same algorithm in jsonwebtoken's words.
    pub const fn as_jsonwebtoken(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::Ps256 => Algorithm::PS256,
            Self::EdDsa => Algorithm::EdDSA,
            Self::Rs256 => Algorithm::RS256,
        }
    }

    const fn wrong_type(self) -> &'static str {
        match self {
            Self::Es256 => "ES256 needs a P-256 key, and this is another",
            Self::Ps256 => "PS256 needs an RSA key, and this is another",
            Self::EdDsa => "EdDSA needs an Ed25519 key, and this is another",
            Self::Rs256 => "RS256 needs an RSA key, and this is another",
        }
    }
}

/// No signature or key was made; the cryptographic library gives no reason.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("signing failed")]
pub struct SignError;

impl From<Unspecified> for SignError {
    fn from(_: Unspecified) -> Self {
        Self
    }
}

/// The private half. aws-lc-rs wipes it when it is dropped.
enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static RsaSignatureEncoding),
}

impl Pair {
    fn parse(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Result<Self, KeyRejected> {
        match algorithm {
            SigningAlgorithm::Es256 => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map(Self::Ecdsa)
            }
            SigningAlgorithm::EdDsa => Ed25519KeyPair::from_pkcs8(pkcs8).map(Self::Ed25519),
            SigningAlgorithm::Ps256 => {
                RsaKeyPair::from_pkcs8(pkcs8).map(|pair| Self::Rsa(pair, &RSA_PSS_SHA256))
            }
            SigningAlgorithm::Rs256 => {
                RsaKeyPair::from_pkcs8(pkcs8).map(|pair| Self::Rsa(pair, &RSA_PKCS1_SHA256))
            }
        }
    }

    fn public(&self) -> DecodingKey {
        match self {
            Self::Ecdsa(pair) => DecodingKey::from_ec_der(pair.public_key().as_ref()),
            Self::Ed25519(pair) => DecodingKey::from_ed_der(pair.public_key().as_ref()),
            Self::Rsa(pair, _) => DecodingKey::from_rsa_der(pair.public_key().as_ref()),
        }
    }
}

fn describe(algorithm: SigningAlgorithm, public: &DecodingKey) -> Option<(KeyId, Value)> {
    let mut jwk = Jwk::from_decoding_key(public, Some(algorithm.as_jsonwebtoken())).ok()?;
    let id = KeyId(jwk.thumbprint(ThumbprintHash::SHA256).ok()?.into());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    jwk.common.key_id = Some(id.to_string());
    Some((id, serde_json::to_value(jwk).ok()?))
}

fn jws_header(typ: &str, algorithm: SigningAlgorithm, id: &KeyId) -> String {
    let header = json!({ "typ": typ, "alg": algorithm.as_str(), "kid": id.as_str() });
    URL_SAFE_NO_PAD.encode(header.to_string())
}

/// Whether `der` is one SEQUENCE in definite length and nothing else. aws-lc stops reading where the key
/// ends and does not mind what follows.
fn is_one_sequence(der: &[u8]) -> bool {
    let Some((&[0x30, first], rest)) = der.split_first_chunk::<2>() else { return false };
    let (length, content) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81..=0x83 => {
            let Some((octets, content)) = rest.split_at_checked(usize::from(first & 0x0F)) else {
                return false;
            };
            (octets.iter().fold(0, |length, &octet| (length << 8) | usize::from(octet)), content)
        }
        _ => return false,
    };
    content.len() == length
}

#[cfg(test)]
impl SigningKey {
    /// A key that nobody has seen before.
    pub(super) fn fresh(algorithm: SigningAlgorithm, signs_from: Timestamp) -> Self {
        let pkcs8 = Self::generate(algorithm).expect("the system gives random bytes");
        Self::from_pkcs8(algorithm, &pkcs8, signs_from).expect("a key that was just made is good")
    }
}

#[cfg(test)]
mod tests;
