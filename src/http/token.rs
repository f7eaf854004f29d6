//! `POST /token` (RFC 6749 §3.2, RFC 8705 §3).

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, PRAGMA};
use actix_web::web::Data;
use serde::Serialize;

use super::Services;
use super::extract::Authenticated;
use super::failure::Failure;
use crate::grant::GrantRequest;
use crate::telemetry::ClientLabel;

/// Issues a token to a proven client.
pub async fn token(services: Data<Services>, request: Authenticated) -> Result<HttpResponse, Failure> {
    let Authenticated { client, mut form, now } = request;
    let lifetime = services.policy.load().lifetime;
    let entitlement = GrantRequest::parse(&mut form)?.decide(&client, lifetime)?;
    // `now` is right wherever the database was heard; but certificates and lists of a machine whose clock is wrong are
    // not to be trusted either (decision Q).
    if let Some(skew) = services.clock.off() {
        return Err(Failure::unavailable(format!("the clock of this machine is {skew}")));
    }
    let minted = services.tokens.mint(entitlement, now)?;

    let label = ClientLabel { client_id: client.client().id.to_string() };
    services.metrics.tokens_issued.get_or_create(&label).inc();
    let answer = TokenResponse {
        access_token: &minted.jwt,
        token_type: "Bearer",
        expires_in: minted.expires_in,
        scope: (!minted.scope.is_empty()).then(|| minted.scope.to_string()),
    };
    let no_store = (CACHE_CONTROL, "no-store");
    Ok(HttpResponse::Ok().insert_header(no_store).insert_header((PRAGMA, "no-cache")).json(answer))
}

/// RFC 6749 §5.1.
#[derive(Serialize)]
struct TokenResponse<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}
