//! For those who run the server: is it alive, is it ready, and what is wrong at the moment.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Data;
use serde::Serialize;

use super::Services;

/// How long the store may take to answer a probe.
const PING: Duration = Duration::from_secs(2);

/// What is wrong at the moment, by who noticed it.
#[derive(Debug, Default)]
pub struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    problems: BTreeMap<&'static str, Vec<HealthProblem>>,
    config_hash: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct HealthProblem {
    /// What it is.
    pub what: String,
    /// The file that it is in, or empty.
    pub file: String,
}

impl Health {
    /// Replaces everything that `source` had to say, and says whether that is news.
    pub fn report(&self, source: &'static str, problems: Vec<HealthProblem>) -> bool {
        let mut state = self.state();
        let said = state.problems.entry(source).or_default();
        let news = *said != problems;
        *said = problems;
        news
    }

    /// The hash of what is in force, so that nodes can be compared.
    pub fn set_config_hash(&self, hash: String) {
        self.state().config_hash = hash;
    }

    /// The hash of what is in force.
    pub fn config_hash(&self) -> String {
        self.state().config_hash.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is whole after every statement, so a panic elsewhere while it was locked does no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    problems: Vec<HealthProblem>,
    config_hash: String,
}

/// `GET /livez`: the process answers.
pub async fn livez() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(serde_json::json!({ "status": "live" }))
}

/// `GET /readyz`: 503 if no token can be issued or the server is at its end, 200 otherwise; `degraded` names what needs
/// somebody.
pub async fn readyz(services: Data<Services>) -> HttpResponse {
    let (mut problems, config_hash) = {
        let state = services.health.state();
        (state.problems.values().flatten().cloned().collect::<Vec<_>>(), state.config_hash.clone())
    };
    let problem = |what: String| HealthProblem { what, file: String::new() };
    match tokio::time::timeout(PING, services.store.ping()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => problems.push(problem(error.to_string())),
        Err(_) => problems.push(problem("the store does not answer in time".to_owned())),
    }
    let mut answer = HttpResponse::Ok();
    let mut status = if problems.is_empty() { "ready" } else { "degraded" };
    let no_key = services.keys.load().signer(services.clock.now()).is_err();
    let no_key = no_key.then(|| "there is no signing key".to_owned());
    let off =
        services.clock.off().map(|skew| format!("the clock of this machine is {skew}; nothing is issued"));
    let over = services.ending.has_begun().then(|| "the server ends".to_owned());
    for reason in [no_key, off, over].into_iter().flatten() {
        problems.push(problem(reason));
        status = "unready";
        answer = HttpResponse::ServiceUnavailable();
    }
    answer.insert_header((CACHE_CONTROL, "no-store")).json(Readiness { status, problems, config_hash })
}

/// `GET /metrics`.
pub async fn metrics(services: Data<Services>) -> HttpResponse {
    match services.metrics.render() {
        Ok(text) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8"))
            .body(text),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_before_is_no_news() {
        let (health, problem) =
            (Health::default(), HealthProblem { what: "late".to_owned(), file: String::new() });
        assert!(!health.report("keys", Vec::new()), "that nothing is wrong at the start");
        assert!(health.report("keys", vec![problem.clone()]));
        assert!(!health.report("keys", vec![problem]));
        assert!(health.report("keys", Vec::new()), "that it is mended");
    }
}
