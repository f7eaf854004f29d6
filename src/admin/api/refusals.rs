//! Refusals: what was recorded of each, and the decision made once more (decision T).

use std::sync::Arc;

use actix_web::web::{Data, Json, Path, Query};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Trouble, patiently};
use crate::authn::{ClientAuthenticator, Explanation, Presented, PresentedCertificate, Via};
use crate::clock::Timestamp;
use crate::http::Services;
use crate::pki::{Certificate, Chain};
use crate::store::evidence::RefusalRecord;

/// How many refusals are listed where nobody says how many.
const SHOWN: usize = 50;
/// The most that are listed at once.
const MOST: usize = 1000;
/// The most certificates in a recorded chain.
const LONGEST_CHAIN: usize = 16;

#[derive(Deserialize)]
pub(in crate::admin) struct Limit {
    limit: Option<usize>,
}

/// `GET refusals?limit=`: the newest first.
pub(in crate::admin) async fn refusals(services: Data<Services>, limit: Query<Limit>) -> Answer {
    let limit = limit.limit.unwrap_or(SHOWN).min(MOST);
    let refusals = patiently(services.witness.refusals(limit)).await?;
    let shown = refusals.iter().map(|record| {
        let mut shown = recorded(record);
        if let Some(object) = shown.as_object_mut() {
            object.insert("reference".to_owned(), json!(record.reference));
            object.insert("client_id".to_owned(), json!(record.claimed));
        }
        shown
    });
    Ok(Json(json!({ "refusals": shown.collect::<Vec<_>>() })))
}

/// `GET refusals/{ref}`.
pub(in crate::admin) async fn refusal(services: Data<Services>, reference: Path<String>) -> Answer {
    let record = patiently(services.witness.refusal(&reference)).await?;
    let record = record.ok_or(Trouble::NotFound("refusal"))?;
    let world = services.authenticator.load();
    Ok(Json(explain(&world, &record, services.clock.now()).await))
}

/// The explanation of a refusal (contract §5) with what was recorded then: the same decision, for the moment and with the
/// certificate of the request, in the world that is in force. `now` has the verdict of today.
pub(crate) async fn explain(world: &ClientAuthenticator, record: &RefusalRecord, now: Timestamp) -> Value {
    let at = Timestamp::from_unix(record.at);
    let claimed = record.claimed.as_deref().unwrap_or_default();
    let mut shown = match presented(record) {
        Some(presented) => {
            let then = world.explain(claimed, &presented, at);
            let today = world.explain_asking(claimed, &presented, now).await;
            let mut shown = json!(then);
            add(&mut shown, "now", verdict(&today));
            shown
        }
        None => as_recorded(record),
    };
    add(&mut shown, "reference", json!(record.reference));
    add(&mut shown, "recorded", recorded(record));
    shown
}

fn verdict(explanation: &Explanation) -> Value {
    json!({ "accepted": explanation.accepted, "reason": explanation.reason, "at": explanation.at })
}

/// What the decision can be made with once more. None where it was not the certificate that was refused, or where none
/// was kept: more than 8 KiB, or not to be read.
fn presented(record: &RefusalRecord) -> Option<Presented> {
    match record.reason.as_str() {
        "no_certificate" => return Some(Presented::Nothing),
        // Refused before anybody looked at the certificate, by what the request was or the road it came.
        "wrong_method" | "proxy_refused" | "missing_client_id" => return None,
        _ => {}
    }
    let chain: Result<Vec<_>, _> = record.chain.iter().map(|der| STANDARD.decode(der)).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty())?;
    Some(match Chain::parse(&chain, LONGEST_CHAIN) {
        Ok(chain) => Presented::Certificate(Arc::new(PresentedCertificate { chain, via: Via::File })),
        Err(error) => Presented::Malformed(error),
    })
}

/// The one check that is known.
fn as_recorded(record: &RefusalRecord) -> Value {
    let (check, expected, seen) = (&record.check, &record.expected, &record.seen);
    json!({
        "client_id": record.claimed,
        "accepted": false,
        "reason": record.reason,
        "at": Timestamp::from_unix(record.at).to_string(),
        "checks": [{ "check": check, "ok": false, "expected": expected, "seen": seen }],
        "dn_difference": [],
        "path": [],
        "revocation": { "policy": null, "sources": [] },
        "accepting_yaml": null,
        "now": null,
    })
}

fn recorded(record: &RefusalRecord) -> Value {
    let leaf = record.chain.first().and_then(|der| STANDARD.decode(der).ok());
    let leaf = leaf.and_then(|der| Certificate::parse(&der).ok());
    json!({
        "at": Timestamp::from_unix(record.at).to_string(),
        "reason": record.reason,
        "check": record.check,
        "expected": record.expected,
        "seen": record.seen,
        "path": record.path,
        "listener": record.listener,
        "x5t#S256": leaf.as_ref().map(|leaf| leaf.thumbprint().to_string()),
        "subject": leaf.as_ref().map(|leaf| leaf.subject().to_string()),
    })
}

fn add(document: &mut Value, name: &str, value: Value) {
    if let Some(object) = document.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}
