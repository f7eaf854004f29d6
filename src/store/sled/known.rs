//! What has ended, in memory: `standing` is asked at every introspection, and must neither wait for a disk
//! nor fail with it. (sled splits and merges pages when it reads, so on a full disk its reads fail too.)
//! Filled when the store is opened, changed only by what was kept. A token takes about 40 bytes.

use std::collections::BTreeMap;

use super::format::{Entry, Head};
use crate::clock::Timestamp;
use crate::oauth::{ClientId, Jti};
use crate::store::{Standing, TokenKey};

/// The revocations that are on disk.
#[derive(Debug, Default)]
pub(super) struct Known {
    ended: Option<Timestamp>,
    clients: BTreeMap<ClientId, Timestamp>,
    tokens: BTreeMap<Jti, Timestamp>,
}

impl Known {
    pub(super) fn standing(&self, token: &TokenKey) -> Standing {
        let everybody = self.ended.filter(|at| token.issued_at <= *at);
        let client = || self.clients.get(&token.client).copied().filter(|at| token.issued_at <= *at);
        let this = || self.tokens.get(&token.jti).copied();
        everybody.or_else(client).or_else(this).map_or(Standing::Good, |at| Standing::Revoked { at })
    }

    /// The head as it is on disk now.
    pub(super) const fn head(&mut self, head: &Head) {
        self.ended = head.ended;
    }

    /// A record that is on disk now.
    pub(super) fn learn(&mut self, entry: &Entry) {
        match entry {
            Entry::Token(jti, mark) => drop(self.tokens.insert(*jti, mark.at)),
            Entry::Client(client, mark) => drop(self.clients.insert(client.clone(), mark.at)),
            Entry::Presence(..) => {}
        }
    }

    /// A record that is not on disk any more.
    pub(super) fn forget(&mut self, entry: &Entry) {
        match entry {
            Entry::Token(jti, _) => drop(self.tokens.remove(jti)),
            Entry::Client(client, _) => drop(self.clients.remove(client)),
            Entry::Presence(..) => {}
        }
    }
}
