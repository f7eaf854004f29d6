//! From an entitlement to a signed token (RFC 9068 §2), and from an answer to a signed one (RFC 9701 §5). Needs no store:
//! what is signed here carries its own state.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Claims, Entitlement, TYP};
use crate::clock::Timestamp;
use crate::keys::{NoActiveKey, SignError, SigningKeys};
use crate::oauth::ids::NoRandomness;
use crate::oauth::{ClientId, Issuer, Jti, Scope};
use crate::reload::Live;

/// Signs what entitlements allow.
#[derive(Debug)]
pub struct TokenIssuer {
    issuer: Issuer,
    keys: Arc<Live<SigningKeys>>,
}

/// A token on its way to its client. Made by [`TokenIssuer::mint`] only.
#[derive(Debug)]
pub struct MintedToken {
    /// The JWS compact serialization.
    pub jwt: String,
    /// Seconds to its end.
    pub expires_in: i64,
    /// What it allows.
    pub scope: Scope,
}

/// No token could be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The certificate ends within this second; a token could not outlive its own issue.
    #[error("the certificate ends within this second")]
    CertificateEnds,
    /// It was not signed.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    /// No name for the token.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Nothing was signed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Unsigned {
    /// There is no key to sign with.
    #[error(transparent)]
    NoKey(#[from] NoActiveKey),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// What is signed beside access tokens, with the same keys. Each kind has a `typ` of its own, and none can be given that
/// of a token: no answer of this server may pass as one (RFC 8725 §3.11).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Document {
    /// An answer of the introspection endpoint (RFC 9701 §5).
    TokenIntrospection,
}

impl Document {
    /// The media type as it stands in the `Content-Type` of the answer.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::TokenIntrospection => "application/token-introspection+jwt",
        }
    }

    /// The `typ` of the JOSE header: the media type without `application/` (RFC 7515 §4.1.9).
    const fn typ(self) -> &'static str {
        match self {
            Self::TokenIntrospection => "token-introspection+jwt",
        }
    }

    /// The member that holds the content.
    const fn member(self) -> &'static str {
        match self {
            Self::TokenIntrospection => "token_introspection",
        }
    }
}

impl TokenIssuer {
    /// Issues as `issuer`, with whichever of `keys` signs at the time.
    pub fn new(issuer: Issuer, keys: Arc<Live<SigningKeys>>) -> Self {
        Self { issuer, keys }
    }

    /// Signs one token. `exp` is never later than the certificate's `notAfter`.
    pub fn mint(&self, entitlement: Entitlement, now: Timestamp) -> Result<MintedToken, MintError> {
        let expires_at = now.plus(entitlement.lifetime).min(entitlement.not_after);
        if expires_at <= now {
            return Err(MintError::CertificateEnds);
        }
        let claims = Claims {
            issuer: self.issuer.clone(),
            client: entitlement.client,
            audience: entitlement.audience,
            scope: entitlement.scope,
            issued_at: now,
            expires_at,
            jti: Jti::fresh()?,
            confirmation: entitlement.confirmation,
        };
        let jwt = self.sign(TYP, &claims.to_json(), now)?;
        Ok(MintedToken { jwt, expires_in: expires_at.as_unix() - now.as_unix(), scope: claims.scope })
    }

    /// Signs `content` for `reader` and nobody else. Beside it there are `iss`, `aud` and `iat`, and nothing more: without
    /// `sub` and `exp` it cannot be taken for a token by a verifier that forgets to look at `typ` (RFC 9701 §5).
    pub fn sign_document(
        &self,
        document: Document,
        content: &impl Serialize,
        reader: &ClientId,
        now: Timestamp,
    ) -> Result<String, Unsigned> {
        let content =
            serde_json::to_value(content).expect("an answer of strings and integers is always JSON");
        let claims = Map::from_iter([
            ("iss".to_owned(), self.issuer.as_str().into()),
            ("aud".to_owned(), reader.as_str().into()),
            ("iat".to_owned(), now.as_unix().into()),
            (document.member().to_owned(), content),
        ]);
        self.sign(document.typ(), Value::from(claims).to_string().as_bytes(), now)
    }

    /// The JWS compact serialization (RFC 7515 §7.1).
    fn sign(&self, typ: &'static str, payload: &[u8], now: Timestamp) -> Result<String, Unsigned> {
        let keys = self.keys.load();
        let key = keys.signer(now)?;
        let mut jws = key.jws_header(typ).into_owned();
        jws.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut jws);
        let signature = key.sign(jws.as_bytes())?;
        jws.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jws);
        Ok(jws)
    }
}
