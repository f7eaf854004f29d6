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

/// Ends a token. What is not a live token of ours needs no ending: 200 (RFC 7009 §2.2).
pub async fn revoke(services: Data<Services>, request: Authenticated) -> Result<HttpResponse, Failure> {
    let Authenticated { client, mut form, now } = request;
    let token = form.require("token")?;
    if let Ok(claims) = services.verifier.read(token.expose_secret(), now) {
        if claims.client != client.client().id {
            return Err(Failure::anothers_token());
        }
        forget(&services, &claims, now).await?;
        tracing::info!(client_id = claims.client.as_str(), jti = %claims.jti, "token revoked");
    }
    let no_store = (CACHE_CONTROL, "no-store");
    Ok(HttpResponse::Ok().insert_header(no_store).insert_header((PRAGMA, "no-cache")).finish())
}

/// Writes the end of a token down; durable when it returns.
pub(crate) async fn forget(services: &Services, claims: &Claims, now: Timestamp) -> Result<(), StoreError> {
    let until = claims.expires_at.plus(crate::store::LEEWAY);
    let began = Instant::now();
    let outcome = timeout(STORE_PATIENCE, services.store.revoke(claims.jti, now, until)).await;
    let label = OpLabel { op: "revoke" };
    services.metrics.store_seconds.get_or_create(&label).observe(began.elapsed().as_secs_f64());
    outcome.unwrap_or_else(|_| Err(StoreError::Unavailable("it did not answer in time".to_owned())))
}
