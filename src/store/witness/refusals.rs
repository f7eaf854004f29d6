//! The refusals in memory: a ring for each known client, so that nobody drives out the refusals of another, and one for
//! all strangers together.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::oauth::ClientId;
use crate::store::evidence::{RefusalRecord, plain_reference};

/// How many of each known client, and of all strangers.
const OF_A_CLIENT: usize = 32;
const OF_STRANGERS: usize = 512;

/// How many of strangers are written at once. They make them as fast as they can connect, and revocations wait for the
/// same writer.
const STRANGERS_AT_ONCE: usize = 32;

/// Of how many clients, those refused last; the rest is in the store. Who knows the names of clients can fill their
/// rings with the largest records, up to 100 MB together.
const CLIENTS: usize = 128;

#[derive(Default)]
pub(super) struct Refusals {
    clients: HashMap<ClientId, Ring>,
    strangers: Ring,
    /// The number of the last one.
    last: u64,
    /// Up to this number the store has what it gets.
    written: u64,
}

/// Oldest first.
type Ring = VecDeque<Kept>;

struct Kept {
    number: u64,
    /// The plain characters of its reference.
    reference: Option<String>,
    record: Arc<RefusalRecord>,
}

impl Refusals {
    pub(super) fn add(&mut self, record: RefusalRecord) {
        self.last += 1;
        let number = self.last;
        let (ring, most) = match record.client() {
            Some(client) => {
                if self.clients.len() >= CLIENTS && !self.clients.contains_key(&client) {
                    self.make_room();
                }
                (self.clients.entry(client).or_default(), OF_A_CLIENT)
            }
            None => (&mut self.strangers, OF_STRANGERS),
        };
        if ring.len() >= most {
            ring.pop_front();
        }
        let reference = plain_reference(&record.reference);
        ring.push_back(Kept { number, reference, record: Arc::new(record) });
    }

    /// The refusal with this plain reference.
    pub(super) fn find(&self, reference: &str) -> Option<Arc<RefusalRecord>> {
        let found = self.all().find(|kept| kept.reference.as_deref() == Some(reference));
        found.map(|kept| Arc::clone(&kept.record))
    }

    /// All of them, the last one first.
    pub(super) fn latest(&self) -> Vec<Arc<RefusalRecord>> {
        let mut all: Vec<_> = self.all().collect();
        all.sort_unstable_by_key(|kept| std::cmp::Reverse(kept.number));
        all.into_iter().map(|kept| Arc::clone(&kept.record)).collect()
    }

    /// Those to write next, in their order, and the number of the last one: all new ones of clients, and the newest of
    /// strangers. The other strangers are explained while they are here.
    pub(super) fn new_ones(&self) -> (Vec<RefusalRecord>, u64) {
        let of_clients = self.clients.values().flatten();
        let of_strangers = self.strangers.iter().rev().take(STRANGERS_AT_ONCE);
        let mut new: Vec<_> =
            of_clients.chain(of_strangers).filter(|kept| kept.number > self.written).collect();
        new.sort_unstable_by_key(|kept| kept.number);
        (new.into_iter().map(|kept| kept.record.as_ref().clone()).collect(), self.last)
    }

    /// What was to be written up to this number is.
    pub(super) fn are_written(&mut self, last: u64) {
        self.written = self.written.max(last);
    }

    fn all(&self) -> impl Iterator<Item = &Kept> {
        self.clients.values().chain(std::iter::once(&self.strangers)).flatten()
    }

    /// The client that was not refused for longest goes.
    fn make_room(&mut self) {
        let last = |ring: &Ring| ring.back().map_or(0, |kept| kept.number);
        let oldest = self.clients.iter().min_by_key(|(_, ring)| last(ring)).map(|(client, _)| client.clone());
        if let Some(oldest) = oldest {
            self.clients.remove(&oldest);
        }
    }
}
