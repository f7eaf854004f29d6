//! From an entitlement to a signed token (RFC 9068 §2). Needs no store: a token is signed state.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Claims, Entitlement, TYP};
use crate::clock::Timestamp;
use crate::keys::{NoActiveKey, SignError, SigningKeys};
use crate::oauth::ids::NoRandomness;
use crate::oauth::{Issuer, Jti, Scope};
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
    /// There is no key to sign with.
    #[error(transparent)]
    NoKey(#[from] NoActiveKey),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// No name for the token.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
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
        let keys = self.keys.load();
        let key = keys.signer(now)?;
        let mut jwt = key.jws_header(TYP).into_owned();
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_json(), &mut jwt);
        let signature = key.sign(jwt.as_bytes())?;
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
        Ok(MintedToken { jwt, expires_in: expires_at.as_unix() - now.as_unix(), scope: claims.scope })
    }
}
