//! Keys that sign tokens.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Trouble};
use crate::admin::Administration;
use crate::clock::Timestamp;
use crate::http::Services;
use crate::keys::{Begin, Changed, SigningKeys};

/// `GET keys`.
pub(in crate::admin) async fn keys(services: Data<Services>) -> Answer {
    Ok(Json(json!({ "keys": list(&services.keys.load(), services.clock.now()) })))
}

/// Every key with its state, in the order in which they sign.
pub(crate) fn list(keys: &SigningKeys, now: Timestamp) -> Vec<Value> {
    let signer = keys.signer(now).ok().map(|key| key.id().clone());
    let ends = keys.all().iter().skip(1).map(|next| Some(next.signs_from().plus(crate::keys::VERIFY_AFTER)));
    let keys = keys.all().iter().zip(ends.chain(std::iter::once(None)));
    let list = keys.map(|(key, ends)| {
        let state = match &signer {
            Some(signer) if signer == key.id() => "signing",
            _ if key.signs_from() > now => "next",
            _ => "retired",
        };
        json!({
            "kid": key.id().as_str(),
            "alg": key.algorithm().as_str(),
            "signs_from": key.signs_from().to_string(),
            "state": state,
            "verifies_until": ends.map(|end| end.to_string()),
        })
    });
    list.collect()
}

#[derive(Deserialize)]
pub(in crate::admin) struct RotateBody {
    now: bool,
}

/// `POST keys/rotate`.
pub(in crate::admin) async fn rotate(
    services: Data<Services>,
    administration: Data<Administration>,
    body: Json<RotateBody>,
) -> Answer {
    let begin = if body.now { Begin::Now } else { Begin::Published };
    let schedule = administration.schedule.load();
    let changed = administration.keys.rotate(&schedule, begin, services.clock.now()).await?;
    administration.keys_changed().await?;
    Ok(Json(told(&changed)))
}

#[derive(Deserialize)]
pub(in crate::admin) struct ImportBody {
    pem: String,
}

/// `POST keys/import`.
pub(in crate::admin) async fn import(
    services: Data<Services>,
    administration: Data<Administration>,
    body: Json<ImportBody>,
) -> Answer {
    let schedule = administration.schedule.load();
    let changed = administration.keys.import(body.pem.as_bytes(), &schedule, services.clock.now()).await?;
    administration.keys_changed().await?;
    Ok(Json(told(&changed)))
}

/// `DELETE keys/{kid}`: without a body when every node knows, else with the nodes that were not heard to.
pub(in crate::admin) async fn revoke_key(
    services: Data<Services>,
    administration: Data<Administration>,
    kid: Path<String>,
) -> Result<HttpResponse, Trouble> {
    let schedule = administration.schedule.load();
    let revoked = administration.keys.revoke(&kid, &schedule, services.clock.now()).await?;
    let changed = revoked.ok_or(Trouble::NotFound("key"))?;
    administration.keys_changed().await?;
    tracing::warn!(kid = kid.as_str(), unconfirmed = changed.unconfirmed.join(" "), "signing key revoked");
    if changed.unconfirmed.is_empty() {
        return Ok(HttpResponse::NoContent().finish());
    }
    Ok(HttpResponse::Ok().json(told(&changed)))
}

/// The key, and the nodes that were not heard to have it, if there are any.
pub(crate) fn told(changed: &Changed) -> Value {
    if changed.unconfirmed.is_empty() {
        return json!({ "kid": changed.kid.as_str() });
    }
    json!({ "kid": changed.kid.as_str(), "unconfirmed": changed.unconfirmed })
}
