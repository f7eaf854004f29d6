//! Verifies tokens here (RFC 9068 §4) with the keys that the issuer publishes, and compares the certificate (RFC 8705 §3).
//!
//! No question for each token, and no word of a revocation either: what was signed is good until it expires.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::bearer::Refusal;
use crate::issuer::{Client, Metadata};
use crate::token::Token;

/// What a token may be signed with: never `none`, never HMAC, which the public key of anybody could be the secret of.
const ALGORITHMS: [Algorithm; 4] = [Algorithm::ES256, Algorithm::PS256, Algorithm::EdDSA, Algorithm::RS256];
/// How long keys are used without a look whether they are still published; the issuer says so in `Cache-Control`.
const FRESH: Duration = Duration::from_secs(300);
/// How long they are used while the issuer cannot be reached.
const STALE: Duration = Duration::from_secs(3600);
/// How often keys are fetched at most, whatever key identifiers strangers make up.
const PAUSE: Duration = Duration::from_secs(10);
/// How far clocks may differ, in seconds.
const LEEWAY: u64 = 5;

/// The one who verifies.
pub(crate) struct Local {
    client: Client,
    jwks_uri: String,
    validation: Validation,
    held: ArcSwap<Held>,
    /// When keys were last asked for since the start; whoever holds it asks, and others wait for the result.
    attempt: Mutex<Option<Instant>>,
}

/// The published keys as they were at a time.
struct Held {
    keys: Vec<Jwk>,
    at: Instant,
}

impl Local {
    pub(crate) async fn new(
        client: Client,
        metadata: &Metadata,
        resource: &str,
    ) -> Result<Self, Box<dyn Error>> {
        // The algorithm is that of the key, for each token.
        let mut validation = Validation {
            leeway: LEEWAY,
            validate_nbf: true,
            algorithms: Vec::new(),
            ..Validation::default()
        };
        validation.set_issuer(&[&metadata.issuer]);
        validation.set_audience(&[resource]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let jwks_uri = metadata.jwks_uri.clone();
        let held = ArcSwap::from_pointee(fetch(&client, &jwks_uri).await?);
        Ok(Self { client, jwks_uri, validation, held, attempt: Mutex::new(None) })
    }

    pub(crate) async fn check(&self, token: &str, certificate: Option<&[u8]>) -> Result<Token, Refusal> {
        let refused = |error: &dyn Error| Refusal::InvalidToken(error.to_string());
        let header = jsonwebtoken::decode_header(token).map_err(|error| refused(&error))?;
        if !is_access_token(&header) {
            return Err(Refusal::InvalidToken("it is another kind of JWT".to_owned()));
        }
        let key = self.key(header.kid.as_deref().unwrap_or_default()).await?;
        // The key says which algorithm it is for; that the token says the same is checked, and not believed.
        if key.common.key_algorithm != Some(KeyAlgorithm::from(header.alg))
            || !ALGORITHMS.contains(&header.alg)
        {
            return Err(Refusal::InvalidToken("its algorithm is not that of its key".to_owned()));
        }
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        let key = DecodingKey::from_jwk(&key).map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let token =
            jsonwebtoken::decode::<Token>(token, &key, &validation).map_err(|error| refused(&error))?;
        match certificate {
            Some(certificate) if token.claims.cnf.is_of(certificate) => Ok(token.claims),
            Some(_) => Err(Refusal::InvalidToken("it is bound to another certificate".to_owned())),
            None => Err(Refusal::InvalidToken("it is bound to a certificate and none was shown".to_owned())),
        }
    }

    /// The key of this identifier: from memory, or published since.
    async fn key(&self, kid: &str) -> Result<Jwk, Refusal> {
        if let Some(key) = self.held.load().key(kid, FRESH) {
            return Ok(key);
        }
        let mut attempt = self.attempt.lock().await;
        let rested = attempt.is_none_or(|last| last.elapsed() >= PAUSE);
        if rested && self.held.load().key(kid, FRESH).is_none() {
            *attempt = Some(Instant::now());
            match fetch(&self.client, &self.jwks_uri).await {
                Ok(held) => self.held.store(Arc::new(held)),
                Err(error) => eprintln!("the keys cannot be fetched: {error}"),
            }
        }
        let held = self.held.load();
        if held.at.elapsed() > STALE {
            return Err(Refusal::Unavailable("its keys have not been seen for too long".to_owned()));
        }
        held.key(kid, STALE).ok_or_else(|| Refusal::InvalidToken("its key is not published".to_owned()))
    }
}

impl Held {
    fn key(&self, kid: &str, longest: Duration) -> Option<Jwk> {
        let named = |key: &&Jwk| key.common.key_id.as_deref() == Some(kid);
        if self.at.elapsed() > longest { None } else { self.keys.iter().find(named).cloned() }
    }
}

/// The media type is `application/at+jwt`, whose prefix is left out as a rule (RFC 9068 §2.1). An extension that must be
/// understood is not (RFC 7515 §4.1.11).
fn is_access_token(header: &Header) -> bool {
    let typ = header.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
    matches!(typ.as_str(), "at+jwt" | "application/at+jwt") && header.crit.is_none()
}

async fn fetch(client: &Client, jwks_uri: &str) -> reqwest::Result<Held> {
    #[derive(Deserialize)]
    struct JwkSet {
        keys: Vec<Value>,
    }
    let set: JwkSet = client.get(jwks_uri).await?;
    // A key of a kind that is not understood is no reason to do without the others (RFC 7517 §5).
    let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
    Ok(Held { keys, at: Instant::now() })
}
