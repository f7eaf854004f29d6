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
use crate::admin::until_no_token_is_left;
use crate::authn::Errand;
use crate::clock::Timestamp;
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
        let mut losses = Losses::default();
        loop {
            ticks.tick().await;
            let (world, now) = (self.services.authenticator.load(), self.services.clock.now());
            for (source, problems) in self.facts.troubles(&world, now) {
                report(&self.services, source, &problems);
            }
            let witness = &self.services.witness;
            let unwritten = unwritten(witness.queued(), losses.matter(witness.dropped(), now));
            report(&self.services, "evidence", &unwritten);
        }
    }
}

/// What the store has not got: first sights that wait for it, and whether some were given up. The tokens of a certificate
/// that is not written down cannot be ended when it is revoked.
fn unwritten(queued: usize, some_are_lost: bool) -> Problems {
    let mut problems = Problems::default();
    let nowhere = At::whole(std::path::Path::new(""));
    if queued > 0 {
        let what = "certificates that were seen for the first time wait for the store: should they be revoked before \
                    it takes them, their tokens live on";
        problems.warning(&nowhere, what, "see to the store; they are written as soon as it takes them");
    }
    if some_are_lost {
        let what = "too many certificates waited for the store, and some that were seen for the first time are not \
                    written down: should they be revoked, their tokens live on";
        let instead = "see to the store; when a certificate is revoked, end the tokens of its client too";
        problems.warning(&nowhere, what, instead);
    }
    problems
}

/// First sights that were given up: they matter as long as a token may live that was issued then.
#[derive(Default)]
struct Losses {
    counted: u64,
    until: Option<Timestamp>,
}

impl Losses {
    fn matter(&mut self, dropped: u64, now: Timestamp) -> bool {
        if dropped > self.counted {
            self.counted = dropped;
            self.until = Some(until_no_token_is_left(now));
        }
        self.until.is_some_and(|until| now <= until)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_sights_that_were_given_up_are_told_as_long_as_their_tokens_may_live() {
        let now = Timestamp::from_unix(1_800_000_000);
        let mut losses = Losses::default();
        assert!(!losses.matter(0, now));
        assert!(losses.matter(2, now) && losses.matter(2, now.plus(HOUR)));
        assert!(losses.matter(3, now.plus(HOUR * 20)));
        assert!(losses.matter(3, now.plus(HOUR * 44)), "counted from the last");
        assert!(!losses.matter(3, now.plus(HOUR * 45)));
        assert_eq!(unwritten(0, false), Problems::default());
        assert!(unwritten(0, true).0[0].what.contains("not written down"));
        assert_eq!(unwritten(1, true).0.len(), 2);
    }
}
