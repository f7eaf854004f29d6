//! From text to a token that is ours, in time, not ended, and in the right hands.
//!
//! Three rooms, each behind the other: [`TokenVerifier::read`] (signed by us, in time), [`TokenVerifier::verify`]
//! (and its client, its certificate and its standing are still good), [`VerifiedToken::confirm`] (and the user holds the certificate).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use moka::sync::Cache;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{BindingError, Claims, LONGEST_LIFE, Possession, TYP};
use crate::authn::{ClientAuthenticator, NoLonger};
use crate::clock::Timestamp;
use crate::keys::{KeyId, SigningAlgorithm, SigningKey, SigningKeys};
use crate::oauth::Issuer;
use crate::reload::Live;
use crate::store::witness::Witness;
use crate::store::{Standing, StoreError, TokenKey, TokenStore};

/// A JWT of ours has about 600 characters, and less than this whatever is registered: each claim has a longest value.
const MAX_LENGTH: usize = 16 * 1024;

/// How many verified tokens are remembered; each costs about 600 bytes.
const REMEMBERED: u64 = 20_000;

/// How far the clock of another node may be ahead of ours, in seconds.
const LEEWAY: i64 = 10;

/// Recognises our tokens.
pub struct TokenVerifier {
    issuer: Issuer,
    keys: Arc<Live<SigningKeys>>,
    store: Arc<dyn TokenStore>,
    /// SHA-256 of a token whose signature was once good, with what it says. A signature check costs three times as much
    /// as a signature; everything that can change is asked again at every use.
    remembered: Cache<[u8; 32], Arc<Remembered>>,
}

struct Remembered {
    key: KeyId,
    claims: Arc<Claims>,
    not_before: Option<Timestamp>,
}

/// Why a text is not a good token. For the log; a stranger hears `{"active":false}`.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a JWS of ours in form, or of another type than `at+jwt`.
    #[error("this is not an access token of this server")]
    NotOurs,
    /// A key that never was, is revoked or has been retired for longer than a token lives.
    #[error("the token names a key that does not verify any more")]
    UnknownKey,
    /// The signature does not hold.
    #[error("the signature of the token is not good")]
    Signature,
    /// Of another issuer.
    #[error("the token is of another issuer")]
    OtherIssuer,
    /// With a life that no token of ours has. The end of all tokens of a client is remembered for as long as a token can
    /// live; one that lived longer, made elsewhere with a key that was imported here, would come back to life.
    #[error("the token lives longer than any token of this server")]
    TooLong,
    /// Past `exp`.
    #[error("the token has expired")]
    Expired,
    /// Before `nbf`, or issued in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The client, or the certificate that the token is bound to, is not what it was when the token was issued.
    #[error("the token has ended: {0}")]
    Ended(#[from] NoLonger),
    /// Revoked at that time.
    #[error("the token was revoked at {0}")]
    Revoked(Timestamp),
    /// Whether it was revoked cannot be said; such a token is never called good.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Signed by us, in time, not ended; not yet shown to belong to whoever sent it. Made by [`TokenVerifier::verify`] only.
#[derive(Debug)]
pub struct VerifiedToken(Arc<Claims>);

/// And the user holds the certificate it is bound to. Made by [`VerifiedToken::confirm`] only.
#[derive(Debug)]
pub struct BoundToken(Arc<Claims>);

impl TokenVerifier {
    /// Recognises tokens of `issuer`, signed by one of `keys` and not forgotten by `store`.
    pub fn new(issuer: Issuer, keys: Arc<Live<SigningKeys>>, store: Arc<dyn TokenStore>) -> Self {
        Self { issuer, keys, store, remembered: Cache::new(REMEMBERED) }
    }

    /// The claims of a token that we signed and that is in time. Whether it still stands is not asked:
    /// a revoked token may be revoked again.
    pub fn read(&self, jwt: &str, now: Timestamp) -> Result<Arc<Claims>, TokenError> {
        self.in_time(jwt, now).map(|token| Arc::clone(&token.claims))
    }

    /// The claims of a token that we signed, in time or not: what is said of its end must hold too when the clock, which
    /// may be wrong now, says another time.
    pub fn read_at_any_time(&self, jwt: &str, now: Timestamp) -> Result<Arc<Claims>, TokenError> {
        self.recognise(jwt, now).map(|token| Arc::clone(&token.claims))
    }

    fn in_time(&self, jwt: &str, now: Timestamp) -> Result<Arc<Remembered>, TokenError> {
        let token = self.recognise(jwt, now)?;
        if token.claims.expires_at <= now {
            return Err(TokenError::Expired);
        }
        let early = token.claims.issued_at.as_unix() > now.as_unix().saturating_add(LEEWAY);
        if early || token.not_before.is_some_and(|not_before| not_before > now) {
            return Err(TokenError::NotYetValid);
        }
        Ok(token)
    }

    fn recognise(&self, jwt: &str, now: Timestamp) -> Result<Arc<Remembered>, TokenError> {
        if jwt.len() > MAX_LENGTH {
            return Err(TokenError::NotOurs);
        }
        let keys = self.keys.load();
        let name = Sha256::digest(jwt).into();
        let token = if let Some(token) = self.remembered.get(&name) {
            // The key may have been revoked since.
            keys.verifier(token.key.as_str(), now).ok_or(TokenError::UnknownKey)?;
            token
        } else {
            let token = Arc::new(signed_by_us(jwt, &keys, now)?);
            if token.claims.issuer != self.issuer {
                return Err(TokenError::OtherIssuer);
            }
            if token.claims.expires_at > token.claims.issued_at.plus(LONGEST_LIFE) {
                return Err(TokenError::TooLong);
            }
            self.remembered.insert(name, Arc::clone(&token));
            token
        };
        Ok(token)
    }

    /// Everything that makes a token good, but the hands that hold it. `witness` knows the certificate behind the
    /// thumbprint that the token is bound to; without the certificate nobody could say that it was revoked.
    pub async fn verify(
        &self,
        jwt: &str,
        world: &ClientAuthenticator,
        witness: &Witness,
        now: Timestamp,
    ) -> Result<VerifiedToken, TokenError> {
        let token = self.in_time(jwt, now)?;
        let claims = Arc::clone(&token.claims);
        let bound_to = claims.confirmation.thumbprint();
        let chain = witness.chain_behind(&claims.client, bound_to).await?;
        world.still_vouches_for_asking(&claims.client, bound_to, chain.as_deref(), now).await?;
        let key = TokenKey {
            jti: claims.jti,
            client: claims.client.clone(),
            issued_at: claims.issued_at,
            signed_by: token.key.as_str().to_owned(),
        };
        match self.store.standing(&key).await? {
            Standing::Good => Ok(VerifiedToken(claims)),
            Standing::Revoked { at } => Err(TokenError::Revoked(at)),
        }
    }
}

impl VerifiedToken {
    /// What it says.
    pub fn claims(&self) -> &Claims {
        &self.0
    }

    /// Checks what the user showed against the binding (RFC 8705 §3).
    pub fn confirm(self, shown: Possession) -> Result<BoundToken, BindingError> {
        self.0.confirmation.is_confirmed_by(shown)?;
        Ok(BoundToken(self.0))
    }
}

impl BoundToken {
    /// What it says.
    pub fn claims(&self) -> &Claims {
        &self.0
    }
}

/// The key is looked up by `kid`, and then the whole header must be the one that key writes, octet for octet: no
/// other algorithm, type, `crit`, `jku` or `x5c` has a way in (RFC 8725 §3.1, §3.11).
fn signed_by_us(jwt: &str, keys: &SigningKeys, now: Timestamp) -> Result<Remembered, TokenError> {
    let (message, signature) = jwt.rsplit_once('.').ok_or(TokenError::NotOurs)?;
    let (header, payload) = message.split_once('.').ok_or(TokenError::NotOurs)?;
    let names = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::NotOurs)?;
    let names: KeyNamed = serde_json::from_slice(&names).map_err(|_| TokenError::NotOurs)?;
    let key = keys.verifier(&names.kid, now).ok_or(TokenError::UnknownKey)?;
    if key.jws_header(TYP) != header {
        return Err(TokenError::NotOurs);
    }
    if !signature_is_good(signature, message, key) {
        return Err(TokenError::Signature);
    }
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::NotOurs)?;
    let (claims, not_before) = Claims::from_json(&payload).map_err(|_| TokenError::NotOurs)?;
    Ok(Remembered { key: key.id().clone(), claims: Arc::new(claims), not_before })
}

#[derive(Deserialize)]
struct KeyNamed {
    kid: String,
}

fn signature_is_good(signature: &str, message: &str, key: &SigningKey) -> bool {
    let algorithm = match key.algorithm() {
        SigningAlgorithm::Es256 => Algorithm::ES256,
        SigningAlgorithm::Ps256 => Algorithm::PS256,
        SigningAlgorithm::EdDsa => Algorithm::EdDSA,
        SigningAlgorithm::Rs256 => Algorithm::RS256,
    };
    jsonwebtoken::crypto::verify(signature, message.as_bytes(), key.decoding_key(), algorithm)
        .unwrap_or(false)
}
