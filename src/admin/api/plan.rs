//! What another configuration would change, told from what was seen.

use std::path::PathBuf;
use std::time::Duration;

use actix_web::web::{Data, Json, Query};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{Answer, off_the_worker, patiently};
use crate::admin::Administration;
use crate::authn::ClientAuthenticator;
use crate::document::Problems;
use crate::http::Services;
use crate::plan::{InForce, Plan, Prospect, plan as compare};

/// How many refusals are looked at, the newest first.
pub(crate) const REFUSALS: usize = 10_000;

/// How long revocation lists may take: whoever asks is waiting.
const FETCHING: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
pub(in crate::admin) struct Question {
    candidate: Option<PathBuf>,
}

/// `GET plan?candidate=PATH`; without a candidate the configuration of this server as it is on disk now.
pub(in crate::admin) async fn plan(
    services: Data<Services>,
    administration: Data<Administration>,
    question: Query<Question>,
) -> Answer {
    let now = services.clock.now();
    let path = question.into_inner().candidate;
    let read = move || (administration.candidate)(path.as_deref(), now);
    let (prospect, problems) = off_the_worker(read).await?;
    let Some(prospect) = prospect else { return Ok(Json(answer(None, &problems))) };
    let candidate = settled(prospect).await;
    let world = services.authenticator.load();
    let sightings = patiently(services.witness.sightings(None)).await?;
    let refusals = patiently(services.witness.refusals(REFUSALS)).await?;
    // The operators have one worker, and its probes must not stand still; others are asked over its event loop.
    let runtime = Handle::current();
    let look_ahead = move || {
        let plan = compare(InForce::World(&world), &candidate, &sightings, &refusals, now);
        answer(Some(&runtime.block_on(plan)), &problems)
    };
    Ok(Json(off_the_worker(look_ahead).await?))
}

/// The world with the lists that could be fetched in reasonable time. What could not is told as unknown.
pub(crate) async fn settled(prospect: Prospect) -> ClientAuthenticator {
    let _ = tokio::time::timeout(FETCHING, prospect.fetching).await;
    prospect.world
}

/// A plan, and what is wrong with the candidate; with errors in it there is no plan.
pub(crate) fn answer(plan: Option<&Plan>, problems: &Problems) -> Value {
    let mut answer = plan.map_or_else(|| json!({}), |plan| json!(plan));
    if let Some(object) = answer.as_object_mut() {
        object.insert("ok".to_owned(), json!(plan.is_some_and(Plan::is_harmless)));
        object.insert("problems".to_owned(), json!(problems.0));
    }
    answer
}
