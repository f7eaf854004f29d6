//! The certificates in memory, within bounds: those in use, and the queue of first sights that the store does not have
//! yet.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::{Chain, Thumbprint};
use crate::store::evidence::{SIGHTING_RENEWED, Sighting};

/// Certificates by client.
pub(super) struct Seen {
    clients: HashMap<ClientId, HashMap<Thumbprint, Arc<Entry>>>,
    /// How many certificates.
    count: usize,
    /// First sights that are not durable, oldest first; each is among the certificates too.
    queue: VecDeque<Arc<Entry>>,
    /// How many of them, from the front, are on their way to the store: those are not given up.
    on_their_way: usize,
    dropped: u64,
    /// Went from memory with a use that is not written.
    gone: Vec<Arc<Entry>>,
    bounds: Bounds,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub certificates: usize,
    pub queue: usize,
}

impl Bounds {
    pub(super) const DEFAULT: Self = Self { certificates: 100_000, queue: 10_000 };
}

/// A certificate that authenticated a client.
pub(super) struct Entry {
    pub client: ClientId,
    pub thumbprint: Thumbprint,
    pub chain: Arc<Chain>,
    pub first_seen: Timestamp,
    last_seen: AtomicI64,
    /// The last use that the store has.
    written: AtomicI64,
    is_durable: AtomicBool,
}

impl Entry {
    /// Seen for the first time, and not written yet.
    pub(super) fn new(client: ClientId, chain: Chain, now: Timestamp) -> Self {
        Self {
            client,
            thumbprint: chain.leaf.thumbprint(),
            chain: Arc::new(chain),
            first_seen: now,
            last_seen: AtomicI64::new(now.as_unix()),
            written: AtomicI64::new(i64::MIN),
            is_durable: AtomicBool::new(false),
        }
    }

    /// As the store knows it, and last seen at `now` if that is later.
    pub(super) fn known(sighting: &Sighting, chain: Chain, now: Timestamp) -> Self {
        let written = sighting.last_seen.as_unix();
        Self {
            first_seen: sighting.first_seen,
            last_seen: AtomicI64::new(written.max(now.as_unix())),
            written: AtomicI64::new(written),
            is_durable: AtomicBool::new(true),
            ..Self::new(sighting.client.clone(), chain, now)
        }
    }

    /// It was used.
    pub(super) fn see(&self, now: Timestamp) {
        // Nearly every use is in the second of another one: reading leaves the cache line with every core.
        if self.last_seen.load(Ordering::Relaxed) < now.as_unix() {
            self.last_seen.fetch_max(now.as_unix(), Ordering::Relaxed);
        }
    }

    /// The store has it, with this last use.
    pub(super) fn is_written(&self, last_seen: Timestamp) {
        self.written.fetch_max(last_seen.as_unix(), Ordering::Relaxed);
        self.is_durable.store(true, Ordering::Release);
    }

    /// Whether it is durable, and the store may have forgotten it since or may do so before a token ends that leaves now:
    /// then it is as good as new.
    pub(super) fn is_in_doubt(&self, now: Timestamp) -> bool {
        let written = Timestamp::from_unix(self.written.load(Ordering::Relaxed));
        self.is_durable() && now.since(written) > SIGHTING_RENEWED
    }

    pub(super) fn is_durable(&self) -> bool {
        self.is_durable.load(Ordering::Acquire)
    }

    pub(super) fn last_seen(&self) -> Timestamp {
        Timestamp::from_unix(self.last_seen.load(Ordering::Relaxed))
    }

    pub(super) fn key(&self) -> (ClientId, Thumbprint) {
        (self.client.clone(), self.thumbprint)
    }

    pub(super) fn sighting(&self) -> Sighting {
        Sighting {
            client: self.client.clone(),
            thumbprint: self.thumbprint,
            chain: ders(&self.chain),
            first_seen: self.first_seen,
            last_seen: self.last_seen(),
        }
    }

    fn has_unwritten_use(&self) -> bool {
        self.last_seen.load(Ordering::Relaxed) > self.written.load(Ordering::Relaxed)
    }
}

impl Seen {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            clients: HashMap::new(),
            count: 0,
            queue: VecDeque::new(),
            on_their_way: 0,
            dropped: 0,
            gone: Vec::new(),
            bounds,
        }
    }

    pub(super) fn find(&self, client: &ClientId, thumbprint: Thumbprint) -> Option<&Arc<Entry>> {
        self.clients.get(client)?.get(&thumbprint)
    }

    /// All certificates, or those of one client.
    pub(super) fn of(&self, client: Option<&ClientId>) -> impl Iterator<Item = &Arc<Entry>> {
        let one = client.map(|client| self.clients.get(client).into_iter());
        let all = one.is_none().then(|| self.clients.values());
        one.into_iter().flatten().chain(all.into_iter().flatten()).flat_map(HashMap::values)
    }

    /// Takes it in, unless it is there; gives the one that is.
    pub(super) fn remember(&mut self, entry: Entry) -> Arc<Entry> {
        if let Some(there) = self.find(&entry.client, entry.thumbprint) {
            there.see(entry.last_seen());
            return Arc::clone(there);
        }
        if self.count >= self.bounds.certificates {
            self.make_room();
        }
        let entry = Arc::new(entry);
        self.count += 1;
        let of_client = self.clients.entry(entry.client.clone()).or_default();
        of_client.insert(entry.thumbprint, Arc::clone(&entry));
        entry
    }

    /// Takes it in, in the place of the one with another chain; into the queue too, if the store does not have it.
    pub(super) fn replace(&mut self, mut entry: Entry) {
        if let Some(there) = self.find(&entry.client, entry.thumbprint).map(Arc::clone) {
            entry.first_seen = entry.first_seen.min(there.first_seen);
            entry.see(there.last_seen());
            self.remove(&there);
            // It would be written for nothing, and given up in the place of the new one.
            self.queue.retain(|waiting| !Arc::ptr_eq(waiting, &there));
        }
        if entry.is_durable() {
            self.remember(entry);
        } else {
            self.put_off(entry);
        }
    }

    /// Takes it in, and into the queue; if that is full, the oldest there is seen for the first time again when it is
    /// next used.
    pub(super) fn put_off(&mut self, entry: Entry) {
        if let Some(there) = self.find(&entry.client, entry.thumbprint) {
            let there = Arc::clone(there);
            there.see(entry.last_seen());
            if there.is_in_doubt(entry.last_seen()) {
                there.is_durable.store(false, Ordering::Release);
                self.push(there);
            }
            return;
        }
        let entry = self.remember(entry);
        self.push(entry);
    }

    fn push(&mut self, entry: Arc<Entry>) {
        while self.queue.len() >= self.bounds.queue.max(1)
            && let Some(oldest) = self.queue.remove(self.on_their_way)
        {
            self.dropped += 1;
            self.remove(&oldest);
        }
        self.queue.push_back(entry);
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Sends the first in the queue on their way; there is one who does that, and [`Seen::are_back`] follows.
    pub(super) fn send_first(&mut self, count: usize) -> Vec<Arc<Entry>> {
        self.on_their_way = count.min(self.queue.len());
        self.queue.iter().take(self.on_their_way).map(Arc::clone).collect()
    }

    /// What is durable now waits no more; the others wait on.
    pub(super) fn are_back(&mut self) {
        self.on_their_way = 0;
        self.queue.retain(|entry| !entry.is_durable());
    }

    /// Those with a use that is not written. One that is queued is written with its first sight.
    pub(super) fn used(&self) -> Vec<Arc<Entry>> {
        let all = self.of(None).chain(&self.gone);
        all.filter(|entry| entry.is_durable() && entry.has_unwritten_use()).map(Arc::clone).collect()
    }

    pub(super) fn forget_the_written(&mut self) {
        self.gone.retain(|entry| entry.has_unwritten_use());
    }

    /// The eighth that was not used for longest goes; it is in the store.
    fn make_room(&mut self) {
        let mut durable: Vec<_> = self.of(None).filter(|entry| entry.is_durable()).map(Arc::clone).collect();
        durable.sort_unstable_by_key(|entry| Reverse(entry.last_seen()));
        for _ in 0..self.bounds.certificates.div_ceil(8) {
            let Some(oldest) = durable.pop() else { return };
            self.remove(&oldest);
            if oldest.has_unwritten_use() && self.gone.len() < self.bounds.queue {
                self.gone.push(oldest);
            }
        }
    }

    fn remove(&mut self, entry: &Entry) {
        let Some(of_client) = self.clients.get_mut(&entry.client) else { return };
        if of_client.remove(&entry.thumbprint).is_some() {
            self.count -= 1;
        }
        if of_client.is_empty() {
            self.clients.remove(&entry.client);
        }
    }
}

/// The chain to keep, and its DER, leaf first. A chain parses as it did before.
pub(super) fn owned(chain: &Chain) -> Option<(Chain, Vec<Vec<u8>>)> {
    let ders = ders(chain);
    Some((Chain::parse(&ders, ders.len()).ok()?, ders))
}

fn ders(chain: &Chain) -> Vec<Vec<u8>> {
    std::iter::once(chain.leaf.der().to_vec()).chain(chain.intermediates.iter().cloned()).collect()
}
