//! A configuration that is not in force, made a world to be compared with the one that is (`certbound plan`).
//!
//! Its clients, anchors and what it says of revocation count. Its issuer, listeners, store and signing keys are not
//! looked at, and neither is what is wrong with them: a candidate is written for its clients' sake, often elsewhere.

use std::path::Path;

use super::{Facts, World};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::document::{self, Problem, Problems, Value};
use crate::plan::Prospect;

/// The keys that are not looked at.
const UNSEEN: [&str; 6] = ["issuer", "mtls_base_url", "listeners", "store", "signing", "control"];

/// The configuration at `path` as a world. With errors in it there is none; the problems are those that count.
///
/// Its facts are its own, begun with what `own` has on the disk: a list that only the candidate names must not take effect
/// in the server that is asked.
pub fn candidate(path: &Path, own: &Config, now: Timestamp) -> (Option<Prospect>, Problems) {
    let (draft, found) = Config::draft(path);
    let mut problems = Problems(looked_at(path, found.0));
    let Some(config) = draft else { return (None, problems) };
    let config = Config { store: own.store.clone(), ..config };
    let (facts, found) = Facts::new(&config);
    problems.0.extend(found.0);
    let World { authenticator: world, warnings } = World::draft(&config, &facts, now);
    problems.0.extend(warnings.0);
    problems.0.extend(config.outdated_anchors(world.trust(), world.registry(), now).0);
    if problems.has_errors() {
        return (None, problems);
    }
    let fetching = async move { drop(facts.lists.fetch_due(now).await) };
    (Some(Prospect { world, fetching: Box::pin(fetching) }), problems)
}

/// Without the problems of keys that are not looked at: each belongs to the last key that begins before it.
fn looked_at(path: &Path, problems: Vec<Problem>) -> Vec<Problem> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let documents = document::parse(path, &bytes).unwrap_or_default();
    let keys: Vec<_> = match documents.first().map(|document| &document.value) {
        Some(Value::Map(entries)) => entries.iter().map(|(key, _)| key).collect(),
        _ => return problems,
    };
    let is_unseen = |problem: &Problem| {
        let place = (problem.line, problem.column);
        let key = keys.iter().rfind(|key| (key.at.line, key.at.column) <= place);
        // What is missing is missed where the document begins, in whatever key that is.
        UNSEEN.iter().any(|unseen| problem.what == format!("`{unseen}` is missing"))
            || key.is_some_and(|key| UNSEEN.contains(&key.text.as_str()))
    };
    problems.into_iter().filter(|problem| !is_unseen(problem)).collect()
}
