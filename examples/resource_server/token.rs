//! What a token says (RFC 9068 §2.2, RFC 8705 §3.1), whether it was read from the token or told at introspection.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A good token. All of these are there, or it is none: so no other JWT of the same key passes as one (RFC 9701 §8.1), and
/// no token that is not bound.
#[derive(Debug, Deserialize)]
pub(crate) struct Token {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: Audience,
    pub(crate) client_id: String,
    #[serde(default)]
    pub(crate) scope: String,
    pub(crate) exp: i64,
    #[serde(rename = "iat")]
    _iat: i64,
    #[serde(rename = "jti")]
    _jti: String,
    pub(crate) cnf: Confirmation,
}

/// Whom it is for.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Several(Vec<String>),
}

/// The certificate it is bound to.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Confirmation {
    /// SHA-256 of its DER, in base64url.
    #[serde(rename = "x5t#S256")]
    x5t_s256: String,
}

impl Token {
    pub(crate) fn allows(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|word| word == scope)
    }
}

impl Audience {
    pub(crate) fn names(&self, resource: &str) -> bool {
        match self {
            Self::One(one) => one == resource,
            Self::Several(several) => several.iter().any(|one| one == resource),
        }
    }
}

impl Confirmation {
    /// Whether this is the certificate, given as DER.
    pub(crate) fn is_of(&self, certificate: &[u8]) -> bool {
        self.x5t_s256 == URL_SAFE_NO_PAD.encode(Sha256::digest(certificate))
    }
}
