//! Clients with their certificates, and the end of their tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::web::{Data, Json, Path};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Trouble, patiently};
use crate::admin::{certificates, until_no_token_is_left};
use crate::authn::ClientAuthenticator;
use crate::clock::Timestamp;
use crate::http::{Services, revoke};
use crate::oauth::{Audience, ClientId};
use crate::registry::{Client, Credential};
use crate::store::evidence::Sighting;

/// `GET clients`.
pub(in crate::admin) async fn clients(services: Data<Services>) -> Answer {
    let sightings = patiently(services.witness.sightings(None)).await?;
    Ok(Json(list(&services.authenticator.load(), &sightings, services.clock.now())))
}

/// `GET clients/{id}`.
pub(in crate::admin) async fn client(services: Data<Services>, id: Path<String>) -> Answer {
    let world = services.authenticator.load();
    let client = ClientId::parse(&id).ok().and_then(|id| world.registry().find(&id).cloned());
    let client = client.ok_or(Trouble::NotFound("client"))?;
    let sightings = patiently(services.witness.sightings(Some(&client.id))).await?;
    Ok(Json(describe(&world, &client, &sightings, services.clock.now())))
}

/// Every client, in the order of their names.
pub(crate) fn list(world: &ClientAuthenticator, sightings: &[Sighting], now: Timestamp) -> Value {
    let mut seen: BTreeMap<&ClientId, Vec<Sighting>> = BTreeMap::new();
    for sighting in sightings {
        seen.entry(&sighting.client).or_default().push(sighting.clone());
    }
    let mut clients: Vec<_> = world.registry().clients().collect();
    clients.sort_by(|one, other| one.id.cmp(&other.id));
    let described = clients.into_iter().map(|client| {
        let seen = seen.get(&client.id).map(Vec::as_slice).unwrap_or_default();
        describe(world, client, seen, now)
    });
    json!({ "clients": described.collect::<Vec<_>>() })
}

/// One client: its registration, and its certificates with what was seen of them.
pub(crate) fn describe(
    world: &ClientAuthenticator,
    client: &Client,
    sightings: &[Sighting],
    now: Timestamp,
) -> Value {
    let pins = world.pins(client);
    let places = world.registry().certificate_places(&client.id);
    let places = places.iter().flat_map(|places| &places.entries);
    let listed: Vec<_> = places.filter_map(|entry| entry.thumbprint).collect();
    let credential = match &client.credential {
        Credential::TlsClientAuth { subject, anchors } => {
            json!({ subject.parameter(): subject.to_string(), "trust_anchors": anchors.as_str() })
        }
        Credential::SelfSignedTlsClientAuth { jwks_uri, .. } => {
            let pins = pins.iter().map(|(thumbprint, pin)| {
                let not_after =
                    pin.certificate.as_ref().map(|certificate| certificate.not_after().to_string());
                json!({ "x5t#S256": thumbprint.to_string(), "source": pin.source, "not_after": not_after })
            });
            let certificates: Vec<_> = pins.collect();
            match jwks_uri {
                Some(uri) => json!({ "jwks_uri": uri.as_str(), "certificates": certificates }),
                None => json!({ "certificates": certificates }),
            }
        }
    };
    json!({
        "client_id": client.id.as_str(),
        "client_name": client.name,
        "token_endpoint_auth_method": client.credential.method().as_str(),
        "enabled": client.enabled,
        "credential": credential,
        "certificates": certificates::describe(client, &pins, &listed, sightings, now),
        "scope": client.scope.to_string(),
        "resources": client.resources.iter().map(Audience::as_str).collect::<Vec<_>>(),
        "contacts": client.contacts,
        "file": client.at.file.display().to_string(),
        "line": client.at.line,
    })
}

/// `POST clients/{id}/revoke`: every token with `iat` up to and including the second of the answer. The answer waits
/// for the end of that second, so that no token issued while it was written escapes.
pub(in crate::admin) async fn revoke_client(services: Data<Services>, id: Path<String>) -> Answer {
    // A client that is gone may have tokens that live, so it need not be registered; but what cannot be a client is a slip.
    let client = ClientId::parse(&id).map_err(|error| Trouble::Refused(error.to_string()))?;
    // Several nodes have several clocks: what counts is a moment that none of them has reached.
    let at = patiently(services.store.moment(services.clock.now())).await?;
    let end = services.store.revoke_issued_before(&client, at, until_no_token_is_left(at));
    patiently(end).await?;
    // A clock that was set back meanwhile reaches that moment in years; what is issued until then has ended too.
    let reached = async {
        while services.clock.now() <= at {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(MOMENT_OVER, reached).await;
    tracing::info!(client_id = client.as_str(), issued_before = %at, "tokens of a client revoked");
    Ok(Json(json!({ "client_id": client.as_str(), "issued_before": at.to_string() })))
}

/// How long the end of the second is waited for; where there are several clocks, the second of the one that is ahead.
const MOMENT_OVER: Duration = Duration::from_secs(8);

#[derive(Deserialize)]
pub(in crate::admin) struct TokenBody {
    token: String,
}

/// `POST tokens/revoke`.
pub(in crate::admin) async fn revoke_token(services: Data<Services>, body: Json<TokenBody>) -> Answer {
    let now = services.clock.now();
    let Ok(claims) = services.verifier.read_at_any_time(body.token.trim(), now) else {
        return Ok(Json(json!({ "revoked": false, "jti": null })));
    };
    revoke::forget(&services, &claims, now).await?;
    tracing::info!(client_id = claims.client.as_str(), jti = %claims.jti, "token revoked");
    Ok(Json(json!({ "revoked": true, "jti": claims.jti.to_string() })))
}
