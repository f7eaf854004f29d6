//! The roll of clients: the store hears who is registered and enabled, so that it knows who was away.
//!
//! A client that comes back after a while loses its earlier tokens (contract §4). What the store could not hear waits here,
//! in order, and as long as a client waits there that came back, no token is called good.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use tokio::time::timeout;

use super::{Background, report};
use crate::admin::until_no_token_is_left;
use crate::document::{At, Problems};
use crate::http::STORE_PATIENCE;
use crate::registry::Registry;
use crate::store::StoreError;

/// How many rolls may wait.
const MOST_UNHEARD: usize = 16;

impl Background {
    /// The roll of those who are there now, once more: another node may have missed one of them.
    pub(super) async fn call_the_roll(&mut self) {
        let world = self.services.authenticator.load();
        self.take_the_roll(world.registry()).await;
    }

    /// Tells the store who is there, so that it knows who was away.
    pub async fn take_the_roll(&mut self, registry: &Registry) {
        let now = self.services.clock.now();
        let present: BTreeSet<_> =
            registry.clients().filter(|client| client.enabled).map(|client| client.id.clone()).collect();
        if self.unheard.back().is_none_or(|(_, before)| *before != present) {
            self.unheard.push_back((now, present));
        }
        if self.unheard.len() > MOST_UNHEARD
            && let Some((_, later)) = self.unheard.remove(1)
            && let Some((_, present)) = self.unheard.front_mut()
        {
            // Who was away in one of them counts as away since the first: too long rather than too short.
            present.retain(|client| later.contains(client));
        }
        self.catch_up().await;
    }

    /// Tells the store what it has not heard yet, each roll with its own moment: an absence during an outage is one too.
    /// As long as somebody came back unheard, no token is called good: it may be one that ended with its client.
    pub async fn catch_up(&mut self) {
        let mut problems = Problems::default();
        while let Some((at, present)) = self.unheard.front() {
            // A store that hangs must not keep a change of the clients from taking effect.
            let call = self.services.store.roll_call(present, *at, until_no_token_is_left(*at));
            let late = || StoreError::Unavailable("it did not answer in time".to_owned());
            match timeout(STORE_PATIENCE, call).await.unwrap_or_else(|_| Err(late())) {
                Ok(ended) => {
                    self.heard = self.unheard.pop_front().map(|(_, present)| present);
                    if !ended.is_empty() {
                        let ended = ended.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                        tracing::info!(
                            clients = ended,
                            "back after being gone; their earlier tokens have ended"
                        );
                    }
                }
                Err(error) => {
                    let what = format!("the store does not take the roll of clients: {error}");
                    problems.error(&At::whole(Path::new("")), what, "see the store");
                    break;
                }
            }
        }
        self.services.roll_is_open.store(self.somebody_came_unheard(), Ordering::Release);
        report(&self.services, "roll", &problems);
    }

    fn somebody_came_unheard(&self) -> bool {
        let mut before = self.heard.as_ref();
        self.unheard.iter().any(|(_, present)| {
            let before = before.replace(present);
            before.is_none_or(|before| !present.is_subset(before))
        })
    }
}
