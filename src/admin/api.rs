//! The handlers of the control socket.

use std::io;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpResponse, ResponseError};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Administration, Order, until_no_token_is_left};
use crate::clock::Timestamp;
use crate::http::{STORE_PATIENCE, Services, revoke};
use crate::keys::{Begin, KeyFileError, SigningKeys};
use crate::oauth::ClientId;
use crate::registry::{Client, Credential};
use crate::store::StoreError;

/// What a command hears when it cannot be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("there is no {0} of this name")]
    NotFound(&'static str),
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the server is shutting down")]
    Ending,
}

impl ResponseError for Trouble {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Store(_) | Self::Ending => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let error = match self {
            Self::NotFound(_) => "not_found",
            Self::Refused(_) => "refused",
            Self::Store(StoreError::Corrupt { .. }) => "store_damaged",
            Self::Store(_) => "store",
            Self::Ending => "ending",
        };
        let body = json!({ "error": error, "error_description": self.to_string() });
        HttpResponse::build(self.status_code()).json(body)
    }
}

impl From<KeyFileError> for Trouble {
    fn from(error: KeyFileError) -> Self {
        Self::Refused(format!("{error}; {}", error.instead))
    }
}

type Answer = Result<Json<Value>, Trouble>;

/// `GET clients`.
pub(super) async fn clients(services: Data<Services>) -> Answer {
    let world = services.authenticator.load();
    let mut clients: Vec<_> = world.registry().clients().map(|client| summary(client)).collect();
    clients.sort_by(|one, other| one["client_id"].as_str().cmp(&other["client_id"].as_str()));
    Ok(Json(json!({ "clients": clients })))
}

/// `GET clients/{id}`.
pub(super) async fn client(services: Data<Services>, id: Path<String>) -> Answer {
    let world = services.authenticator.load();
    let client = ClientId::parse(&id).ok().and_then(|id| world.registry().find(&id).cloned());
    let client = client.ok_or(Trouble::NotFound("client"))?;
    Ok(Json(summary(&client)))
}

fn summary(client: &Client) -> Value {
    let credential = match &client.credential {
        Credential::TlsClientAuth { subject, anchors } => {
            json!({ subject.parameter(): subject.to_string(), "trust_anchors": anchors.as_str() })
        }
        Credential::SelfSignedTlsClientAuth { pins } => {
            let pins = pins.iter().map(|(thumbprint, pin)| {
                let not_after =
                    pin.certificate.as_ref().map(|certificate| certificate.not_after().to_string());
                json!({ "x5t#S256": thumbprint.to_string(), "source": pin.source, "not_after": not_after })
            });
            json!({ "certificates": pins.collect::<Vec<_>>() })
        }
    };
    json!({
        "client_id": client.id.as_str(),
        "client_name": client.name,
        "token_endpoint_auth_method": client.credential.method().as_str(),
        "enabled": client.enabled,
        "credential": credential,
        "scope": client.scope.to_string(),
        "resources": client.resources.iter().map(crate::oauth::Audience::as_str).collect::<Vec<_>>(),
        "file": client.at.file.display().to_string(),
        "line": client.at.line,
    })
}

/// `POST clients/{id}/revoke`: every token with `iat` up to and including the second of the answer. The answer waits
/// for the end of that second, so that no token issued while it was written escapes.
pub(super) async fn revoke_client(services: Data<Services>, id: Path<String>) -> Answer {
    // A client that is gone may have tokens that live, so it need not be registered; but what cannot be a client is a slip.
    let client = ClientId::parse(&id).map_err(|error| Trouble::Refused(error.to_string()))?;
    let at = services.clock.now();
    let end = services.store.revoke_issued_before(&client, at, until_no_token_is_left(at));
    patiently(end).await?;
    while services.clock.now() <= at {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    tracing::info!(client_id = client.as_str(), issued_before = %at, "tokens of a client revoked");
    Ok(Json(json!({ "client_id": client.as_str(), "issued_before": at.to_string() })))
}

#[derive(Deserialize)]
pub(super) struct TokenBody {
    token: String,
}

/// `POST tokens/revoke`.
pub(super) async fn revoke_token(services: Data<Services>, body: Json<TokenBody>) -> Answer {
    let now = services.clock.now();
    let Ok(claims) = services.verifier.read(body.token.trim(), now) else {
        return Ok(Json(json!({ "revoked": false, "jti": null })));
    };
    revoke::forget(&services, &claims, now).await?;
    tracing::info!(client_id = claims.client.as_str(), jti = %claims.jti, "token revoked");
    Ok(Json(json!({ "revoked": true, "jti": claims.jti.to_string() })))
}

/// `GET keys`.
pub(super) async fn keys(services: Data<Services>) -> Answer {
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
pub(super) struct RotateBody {
    now: bool,
}

/// `POST keys/rotate`.
pub(super) async fn rotate(
    services: Data<Services>,
    administration: Data<Administration>,
    body: Json<RotateBody>,
) -> Answer {
    let begin = if body.now { Begin::Now } else { Begin::Published };
    let algorithm = administration.schedule.load().algorithm;
    let kid = administration.keys.rotate(algorithm, begin, services.clock.now())?;
    administration.keys_changed().await?;
    Ok(Json(json!({ "kid": kid.as_str() })))
}

#[derive(Deserialize)]
pub(super) struct ImportBody {
    pem: String,
}

/// `POST keys/import`.
pub(super) async fn import(
    services: Data<Services>,
    administration: Data<Administration>,
    body: Json<ImportBody>,
) -> Answer {
    let signs_from = Begin::Published.signs_from(&services.keys.load(), services.clock.now());
    let configured = administration.schedule.load().algorithm;
    let kid = administration.keys.import(body.pem.as_bytes(), Some(configured), signs_from)?;
    administration.keys_changed().await?;
    Ok(Json(json!({ "kid": kid.as_str() })))
}

/// `DELETE keys/{kid}`.
pub(super) async fn revoke_key(
    services: Data<Services>,
    administration: Data<Administration>,
    kid: Path<String>,
) -> Result<HttpResponse, Trouble> {
    if !administration.keys.revoke(&kid, services.clock.now())? {
        return Err(Trouble::NotFound("key"));
    }
    administration.keys_changed().await?;
    tracing::warn!(kid = kid.as_str(), "signing key revoked");
    Ok(HttpResponse::NoContent().finish())
}

/// `GET trust`.
pub(super) async fn trust(services: Data<Services>) -> Answer {
    let world = services.authenticator.load();
    let sets = world.trust().names().filter_map(|name| {
        let anchors = world.trust().set(name)?.anchors().iter().map(|anchor| {
            json!({
                "subject": anchor.subject().to_string(),
                "x5t#S256": anchor.thumbprint().to_string(),
                "not_after": anchor.not_after().to_string(),
            })
        });
        Some(json!({ "name": name.as_str(), "anchors": anchors.collect::<Vec<_>>() }))
    });
    Ok(Json(json!({ "trust_anchors": sets.collect::<Vec<_>>() })))
}

/// `POST reload`.
pub(super) async fn reload(administration: Data<Administration>) -> Answer {
    let (done, problems) = oneshot::channel();
    administration.order(Order::Reload(done)).await?;
    let problems = problems.await.map_err(|_| Trouble::Ending)?;
    Ok(Json(json!({ "ok": !problems.has_errors(), "problems": problems.0 })))
}

/// `GET store/check`.
pub(super) async fn check_store(administration: Data<Administration>) -> Answer {
    let report = off_the_worker(move || administration.store.check()).await??;
    Ok(Json(json!(report)))
}

/// `GET store/export`: JSON lines.
pub(super) async fn export_store(administration: Data<Administration>) -> Result<HttpResponse, Trouble> {
    let export = move || -> io::Result<Vec<u8>> {
        let mut lines = Vec::new();
        administration.store.export(&mut lines)?;
        Ok(lines)
    };
    let lines = off_the_worker(export).await?.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/jsonl")).body(lines))
}

impl Administration {
    async fn order(&self, order: Order) -> Result<(), Trouble> {
        self.orders.send(order).await.map_err(|_| Trouble::Ending)
    }

    /// Returns when the change in the directory is in force.
    async fn keys_changed(&self) -> Result<(), Trouble> {
        let (done, changed) = oneshot::channel();
        self.order(Order::Keys(done)).await?;
        changed.await.map_err(|_| Trouble::Ending)
    }
}

async fn patiently<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, Trouble> {
    let late = || StoreError::Unavailable("it did not answer in time".to_owned());
    Ok(tokio::time::timeout(STORE_PATIENCE, answer).await.unwrap_or_else(|_| Err(late()))?)
}

/// Reading a whole store takes longer than a worker may stand still.
async fn off_the_worker<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    actix_web::web::block(work).await.map_err(|_| Trouble::Ending)
}
