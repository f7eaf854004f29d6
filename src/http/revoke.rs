//! `POST /revoke` (RFC 7009): a client ends a token of its own.

use std::time::Instant;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, PRAGMA};
use actix_web::web::Data;
use secrecy::ExposeSecret as _;
use tokio::time::timeout;

use super::extract::Authenticated;
use super::failure::Failure;
use super::{STORE_PATIENCE, Services};
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::telemetry::OpLabel;
use crate::token::Claims;

/// Ends a token. What is not a live token of ours needs no ending: 200 (RFC 7009 §2.2). Whether it is alive is a question
/// of the clock, which may be wrong today and right tomorrow: the caller's own token is ended whatever its times are.
pub async fn revoke(services: Data<Services>, request: Authenticated) -> Result<HttpResponse, Failure> {
    let Authenticated { client, mut form, now } = request;
    let token = form.require("token")?;
    if let Ok(claims) = services.verifier.read_at_any_time(token.expose_secret(), now) {
        if claims.client != client.client().id {
            return match services.verifier.read(token.expose_secret(), now) {
                Ok(_) => Err(Failure::anothers_token()),
                Err(_) => Ok(done()),
            };
        }
        forget(&services, &claims, now).await?;
        tracing::info!(client_id = claims.client.as_str(), jti = %claims.jti, "token revoked");
    }
    Ok(done())
}

fn done() -> HttpResponse {
    let no_store = (CACHE_CONTROL, "no-store");
    HttpResponse::Ok().insert_header(no_store).insert_header((PRAGMA, "no-cache")).finish()
}

/// Writes the end of a token down; durable when it returns. A token that was issued while the clock was ahead ends as of
/// then: the store takes what it has forgotten for ended by the time at which tokens were issued.
pub(crate) async fn forget(services: &Services, claims: &Claims, now: Timestamp) -> Result<(), StoreError> {
    let (at, until) = (now.max(claims.issued_at), claims.expires_at.plus(crate::store::LEEWAY));
    let began = Instant::now();
    let outcome = timeout(STORE_PATIENCE, services.store.revoke(claims.jti, at, until)).await;
    let label = OpLabel { op: "revoke" };
    services.metrics.store_seconds.get_or_create(&label).observe(began.elapsed().as_secs_f64());
    outcome.unwrap_or_else(|_| Err(StoreError::Unavailable("it did not answer in time".to_owned())))
}
