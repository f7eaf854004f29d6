//! What is asked of others ahead of the requests, and what requests leave to be remembered. Each loop stands by itself:
//! a server of revocation lists that takes its time holds up neither a reload nor an answer of a responder.
//!
//! | how often | what |
//! |---|---|
//! | every second | revocation lists, answers of responders and `jwks_uri`s that are due; what was seen goes to the store |
//! | every 2 seconds | what is wrong with any of it, for `/readyz` and, when it is news, the log |
//! | every hour | the store forgets what was seen long ago |

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use url::Url;

use super::{HOUR, every, report};
use crate::authn::Errand;
use crate::document::{At, Problems};
use crate::http::{STORE_PATIENCE, Services};
use crate::pki::revocation::ocsp::Question;
use crate::registry::Client;
use crate::registry::remote::Asked;
use crate::store::StoreError;
use crate::store::evidence::Evidence;
use crate::world::{Facts, published};

const SECOND: Duration = Duration::from_secs(1);

/// How often what is wrong is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How many are asked at once.
const AT_ONCE: usize = 32;

/// What the loops work on.
pub(super) struct Outside {
    pub(super) services: Arc<Services>,
    pub(super) facts: Arc<Facts>,
    pub(super) evidence: Arc<dyn Evidence>,
}

impl Outside {
    /// Runs until the server ends; then what waits is written, as far as the store takes it.
    pub(super) async fn run(&self, mut ended: watch::Receiver<bool>) {
        let loops = async {
            tokio::join!(
                self.lists(),
                self.answers(),
                self.published(),
                self.memory(),
                self.forgetting(),
                self.troubles()
            )
        };
        tokio::select! {
            _ = ended.changed() => {}
            _ = loops => {}
        }
        let witness = &self.services.witness;
        // Whoever ends the server is not told of a store that fails now; it was told as long as the server ran.
        let _ = timeout(STORE_PATIENCE, witness.flush_all()).await;
    }

    async fn lists(&self) {
        let mut ticks = every(SECOND);
        let mut in_force = None;
        loop {
            ticks.tick().await;
            let revocation = Arc::clone(self.services.authenticator.load().revocation());
            if in_force.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &revocation)) {
                self.facts.lists.tidy();
                in_force = Some(revocation);
            }
            for outcome in self.facts.lists.fetch_due(self.services.clock.now()).await {
                if outcome.changed {
                    tracing::info!(url = outcome.url.as_str(), "another revocation list is in force");
                }
            }
        }
    }

    async fn answers(&self) {
        let mut ticks = every(SECOND);
        loop {
            ticks.tick().await;
            let due = self.services.authenticator.load().revocation().ocsp().due(self.services.clock.now());
            for questions in due.chunks(AT_ONCE) {
                self.ask(questions.to_vec(), Vec::new()).await;
            }
        }
    }

    async fn published(&self) {
        let mut ticks = every(SECOND);
        let (mut seen, mut asked) = (None, Vec::new());
        loop {
            ticks.tick().await;
            let world = self.services.authenticator.load();
            if seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &world)) {
                let uris = |clients: fn(&Client) -> bool| -> Vec<Url> {
                    let some = published(world.registry()).filter(|(client, _)| clients(client));
                    some.map(|(_, uri)| uri.clone()).collect::<BTreeSet<_>>().into_iter().collect()
                };
                self.facts.jwk_sets.keep_only(&uris(|_| true));
                asked = uris(|client| client.enabled);
                seen = Some(world);
            }
            for sets in self.facts.jwk_sets.due(&asked, self.services.clock.now()).chunks(AT_ONCE) {
                self.ask(Vec::new(), sets.to_vec()).await;
            }
        }
    }

    async fn ask(&self, questions: Vec<Question>, sets: Vec<Url>) {
        let world = self.services.authenticator.load();
        let Some(remote) = world.remote() else { return };
        let errand = Errand::ahead(questions, sets);
        for (uri, asked) in errand.run(remote, world.revocation(), self.services.clock.now()).await {
            if let Asked::Changed { added, removed } = asked {
                let names = |all: &[crate::pki::Thumbprint]| {
                    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                };
                let (added, removed) = (names(&added), names(&removed));
                tracing::info!(uri = uri.as_str(), added, removed, "another set of certificates is in force");
            }
        }
    }

    async fn memory(&self) {
        let mut ticks = every(SECOND);
        let mut failed = None;
        loop {
            ticks.tick().await;
            let outcome = self.services.witness.flush(self.services.clock.now()).await;
            told_once(&mut failed, outcome.err(), "what was seen is not written");
        }
    }

    async fn forgetting(&self) {
        let mut ticks = every(HOUR);
        let mut failed = None;
        loop {
            ticks.tick().await;
            let outcome = self.evidence.forget_evidence(self.services.clock.now()).await;
            told_once(&mut failed, outcome.err(), "what was seen long ago is not forgotten");
        }
    }

    async fn troubles(&self) {
        let mut ticks = every(LOOK);
        let nowhere = At::whole(std::path::Path::new(""));
        loop {
            ticks.tick().await;
            let world = self.services.authenticator.load();
            let mut troubles = self.facts.troubles(&world, self.services.clock.now());
            if self.services.witness.queued() > 0 {
                troubles.push(
                    "certificates that were seen for the first time wait for the store: should they be \
                               revoked before it takes them, their tokens live on"
                        .to_owned(),
                );
            }
            let mut problems = Problems::default();
            for trouble in troubles {
                problems.warning(&nowhere, trouble, "see the server or the store that it names");
            }
            report(&self.services, "revocation", &problems);
        }
    }
}

/// A store that fails once a second is told once, and so is that it works again.
fn told_once(failed: &mut Option<StoreError>, outcome: Option<StoreError>, what: &'static str) {
    match &outcome {
        Some(error) if failed.as_ref() != Some(error) => tracing::error!(%error, "{what}"),
        None if failed.is_some() => tracing::info!("the store takes what was seen again"),
        _ => {}
    }
    *failed = outcome;
}
