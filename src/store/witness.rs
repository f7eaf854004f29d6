//! The evidence as requests see it: in memory, with the store behind it.
//!
//! The tokens of a revoked certificate can only be ended if the certificate behind a thumbprint (RFC 8705 §3.1) is
//! known, so a first sight is durable before its first token leaves; with the store down it is queued, because issuing
//! needs no store. Everything else is gathered and written by [`Witness::flush`], off the way of requests. When that is
//! called, and when evidence is forgotten, is left to `tasks`.

mod refusals;
mod seen;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use self::refusals::Refusals;
use self::seen::{Bounds, Entry, Seen, owned};
use super::StoreError;
use super::evidence::{Evidence, RefusalRecord, Sighting, plain_reference};
use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::{Chain, Thumbprint};

/// How long a request waits for the store.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often later uses are written.
const USES_EVERY: Duration = Duration::from_secs(60);

/// How many first sights, or later uses, are written at once.
const FIRST_AT_ONCE: usize = 256;
const USES_AT_ONCE: usize = 1000;

/// Remembers who was seen with what.
pub struct Witness {
    evidence: Arc<dyn Evidence>,
    seen: RwLock<Seen>,
    /// Certificates whose first sight is on its way: who comes with one of them waits for its turn.
    arriving: Mutex<HashMap<(ClientId, Thumbprint), Turn>>,
    refusals: Mutex<Refusals>,
    /// The store failed, and no first sight was written since.
    is_failing: AtomicBool,
    /// Held by who flushes; when later uses were last written.
    flushing: tokio::sync::Mutex<Option<Timestamp>>,
}

impl Witness {
    /// Over a store. Known sightings are read lazily, one by one, and by [`Witness::sightings`].
    pub fn new(evidence: Arc<dyn Evidence>) -> Self {
        Self::bounded(evidence, Bounds::DEFAULT)
    }

    fn bounded(evidence: Arc<dyn Evidence>, bounds: Bounds) -> Self {
        Self {
            evidence,
            seen: RwLock::new(Seen::new(bounds)),
            arriving: Mutex::default(),
            refusals: Mutex::default(),
            is_failing: AtomicBool::new(false),
            flushing: tokio::sync::Mutex::default(),
        }
    }

    /// The certificate has just authenticated the client. Returns when a first sight is durable, or is queued because
    /// the store failed; never an error, never longer than 1 s (nothing while the store is known to fail). A hot path:
    /// for a certificate seen before it is one look-up and one atomic store. Gives the chain that is behind its tokens, which
    /// may be another than this one; None where it could not be kept in memory. One that was not used for longer than
    /// [`SIGHTING_RENEWED`](super::evidence::SIGHTING_RENEWED) is made durable again, because the store may have forgotten it.
    pub async fn saw(&self, client: &ClientId, chain: &Chain, now: Timestamp) -> Option<Arc<Chain>> {
        if let Some(known) = self.saw_again(client, chain, now) {
            return Some(known);
        }
        self.saw_first(client, chain, now).await;
        self.seen().find(client, chain.leaf.thumbprint()).map(|entry| Arc::clone(&entry.chain))
    }

    async fn saw_first(&self, client: &ClientId, chain: &Chain, now: Timestamp) {
        if self.is_failing.load(Ordering::Acquire) {
            return self.put_off(client, chain, now);
        }
        let line = self.stand_in_line(client, chain.leaf.thumbprint());
        let recorded = async {
            let _turn = line.turn.lock().await;
            // Somebody before in the line had the same certificate, and has recorded it or put it off.
            if self.saw_again(client, chain, now).is_some() {
                return;
            }
            if self.record(client, chain, now).await.is_err() {
                self.put_off(client, chain, now);
            }
        };
        if tokio::time::timeout(PATIENCE, recorded).await.is_err() {
            self.put_off(client, chain, now);
        }
    }

    /// The certificate has just authenticated the client with another chain than the one that is known, which leads to no
    /// anchor any more. From now on this one is behind its tokens. Durable or queued when it returns, as in
    /// [`Witness::saw`].
    pub async fn saw_anew(&self, client: &ClientId, chain: &Chain, now: Timestamp) {
        let Some((chain, ders)) = owned(chain) else { return };
        let entry = Entry::new(client.clone(), chain, now);
        let (thumbprint, client) = (entry.thumbprint, client.clone());
        let sighting = Sighting { client, thumbprint, chain: ders, first_seen: now, last_seen: now };
        let written = tokio::time::timeout(PATIENCE, self.evidence.note_first(&sighting)).await;
        match written {
            Ok(Ok(())) => entry.is_written(now),
            Ok(Err(_)) | Err(_) => self.is_failing.store(true, Ordering::Release),
        }
        self.seen_mut().replace(entry);
    }

    /// The chain behind a token's thumbprint, from memory or else from the store; None if it was never seen. That it was
    /// not is asked again each time: another node may have seen it since.
    pub async fn chain_behind(
        &self,
        client: &ClientId,
        thumbprint: Thumbprint,
    ) -> Result<Option<Arc<Chain>>, StoreError> {
        if let Some(entry) = self.seen().find(client, thumbprint) {
            return Ok(Some(Arc::clone(&entry.chain)));
        }
        let late = |_| StoreError::Unavailable("it did not answer in time".to_owned());
        let known =
            tokio::time::timeout(PATIENCE, self.in_store(client, thumbprint)).await.map_err(late)??;
        Ok(known.map(|entry| Arc::clone(&self.seen_mut().remember(entry).chain)))
    }

    /// A refusal, kept in memory: 32 of each registered client ([`RefusalRecord::client`]), 512 of all others together.
    pub fn refused(&self, record: RefusalRecord) {
        self.kept_refusals().add(record.bounded());
    }

    /// The refusal of this reference, from memory or else from the store.
    pub async fn refusal(&self, reference: &str) -> Result<Option<RefusalRecord>, StoreError> {
        let Some(plain) = plain_reference(reference) else { return Ok(None) };
        let found = self.kept_refusals().find(&plain);
        match found {
            Some(record) => Ok(Some(record.as_ref().clone())),
            None => self.evidence.refusal(&plain).await,
        }
    }

    /// The latest refusals, newest first, memory and store together.
    pub async fn refusals(&self, limit: usize) -> Result<Vec<RefusalRecord>, StoreError> {
        let mut latest = self.kept_refusals().latest();
        latest.sort_by_key(|record| std::cmp::Reverse(record.at));
        latest.truncate(limit);
        let mut all: Vec<_> = latest.iter().map(|record| record.as_ref().clone()).collect();
        let here: HashSet<_> = all.iter().map(|record| plain_reference(&record.reference)).collect();
        let mut stored = self.evidence.refusals(limit).await?;
        stored.retain(|record| !here.contains(&plain_reference(&record.reference)));
        all.append(&mut stored);
        all.sort_by_key(|record| std::cmp::Reverse(record.at));
        all.truncate(limit);
        Ok(all)
    }

    /// All sightings or those of one client, with last uses that are not written yet, and first sights.
    pub async fn sightings(&self, client: Option<&ClientId>) -> Result<Vec<Sighting>, StoreError> {
        // Memory first: what becomes durable in between is then in both.
        let mut here: HashMap<_, _> =
            self.seen().of(client).map(|entry| (entry.key(), Arc::clone(entry))).collect();
        let mut all = self.evidence.sightings(client).await?;
        for sighting in &mut all {
            if let Some(entry) = here.remove(&(sighting.client.clone(), sighting.thumbprint)) {
                sighting.first_seen = sighting.first_seen.min(entry.first_seen);
                sighting.last_seen = sighting.last_seen.max(entry.last_seen());
            }
        }
        // What was durable and is not in the store any more was forgotten there.
        all.extend(here.values().filter(|entry| !entry.is_durable()).map(|entry| entry.sighting()));
        all.sort_by_key(|sighting| sighting.first_seen);
        Ok(all)
    }

    /// Writes what waits: queued first sights first, then refusals in one batch, and once a minute later uses. Called
    /// once a second. What fails waits on, within bounds. Of strangers' refusals the 32 newest are written and no others:
    /// those are explained from memory alone.
    pub async fn flush(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut uses_written = self.flushing.lock().await;
        self.write_first_sights().await?;
        self.write_refusals().await?;
        // A clock that went back makes nothing wait.
        if uses_written.is_none_or(|last| now.since(last).max(last.since(now)) >= USES_EVERY) {
            self.write_uses().await?;
            *uses_written = Some(now);
        }
        Ok(())
    }

    /// Writes everything that waits, later uses too: before the process ends.
    pub async fn flush_all(&self) -> Result<(), StoreError> {
        let _uses_written = self.flushing.lock().await;
        self.write_first_sights().await?;
        self.write_refusals().await?;
        self.write_uses().await
    }

    /// First sights that are not durable yet, for `/readyz`.
    pub fn queued(&self) -> usize {
        self.seen().queued()
    }

    /// First sights that were given up because too many waited, since the start: should one of these certificates be revoked
    /// before it is used again, nobody knows which tokens to end.
    pub fn dropped(&self) -> u64 {
        self.seen().dropped()
    }

    /// Whether the certificate was seen before, and is not to be written at once; then it is seen now, too.
    fn saw_again(&self, client: &ClientId, chain: &Chain, now: Timestamp) -> Option<Arc<Chain>> {
        let seen = self.seen();
        let entry = seen.find(client, chain.leaf.thumbprint()).filter(|entry| !entry.is_in_doubt(now))?;
        entry.see(now);
        Some(Arc::clone(&entry.chain))
    }

    /// A certificate that is not in memory, known to the store or a first sight; or one that the store may have forgotten.
    async fn record(&self, client: &ClientId, chain: &Chain, now: Timestamp) -> Result<(), StoreError> {
        let thumbprint = chain.leaf.thumbprint();
        let here = self.seen().find(client, thumbprint).map(Arc::clone);
        let known = match here {
            Some(entry) => Some(entry),
            // With the chain that the store has: whether this one is to take its place is not decided here.
            None => self.in_store(client, thumbprint).await?.map(|entry| self.seen_mut().remember(entry)),
        };
        if let Some(entry) = known {
            entry.see(now);
            return if entry.is_in_doubt(now) { self.renew(&[entry]).await } else { Ok(()) };
        }
        let Some((chain, ders)) = owned(chain) else { return Ok(()) };
        let client = client.clone();
        let first = Sighting { client, thumbprint, chain: ders, first_seen: now, last_seen: now };
        self.evidence.note_first(&first).await?;
        self.seen_mut().remember(Entry::known(&first, chain, now));
        Ok(())
    }

    /// What the store knows of a certificate. What is damaged counts as never seen; it is recorded again when it is used.
    async fn in_store(&self, client: &ClientId, thumbprint: Thumbprint) -> Result<Option<Entry>, StoreError> {
        let Some(sighting) = self.evidence.sighting(client, thumbprint).await? else { return Ok(None) };
        let chain = Chain::parse(&sighting.chain, sighting.chain.len()).ok();
        let chain = chain.filter(|chain| chain.leaf.thumbprint() == thumbprint);
        Ok(chain.map(|chain| Entry::known(&sighting, chain, sighting.last_seen)))
    }

    fn put_off(&self, client: &ClientId, chain: &Chain, now: Timestamp) {
        self.is_failing.store(true, Ordering::Release);
        if let Some((chain, _)) = owned(chain) {
            self.seen_mut().put_off(Entry::new(client.clone(), chain, now));
        }
    }

    async fn write_first_sights(&self) -> Result<(), StoreError> {
        loop {
            let waiting = self.seen_mut().send_first(FIRST_AT_ONCE);
            if waiting.is_empty() {
                self.is_failing.store(false, Ordering::Release);
                return Ok(());
            }
            let sightings: Vec<_> = waiting.iter().map(|entry| entry.sighting()).collect();
            if let Err(error) = self.evidence.note_all_first(&sightings).await {
                self.is_failing.store(true, Ordering::Release);
                self.seen_mut().are_back();
                return Err(error);
            }
            for (entry, written) in waiting.iter().zip(&sightings) {
                entry.is_written(written.last_seen);
            }
            self.seen_mut().are_back();
        }
    }

    async fn write_refusals(&self) -> Result<(), StoreError> {
        let (new, last) = self.kept_refusals().new_ones();
        if !new.is_empty() {
            self.evidence.note_refusals(&new).await?;
            self.kept_refusals().are_written(last);
        }
        Ok(())
    }

    async fn write_uses(&self) -> Result<(), StoreError> {
        let entries = self.seen().used();
        for some in entries.chunks(USES_AT_ONCE) {
            self.renew(some).await?;
        }
        self.seen_mut().forget_the_written();
        Ok(())
    }

    /// Writes the last use of each; whole where the store has forgotten it.
    async fn renew(&self, entries: &[Arc<Entry>]) -> Result<(), StoreError> {
        let uses: Vec<_> =
            entries.iter().map(|entry| (entry.client.clone(), entry.thumbprint, entry.last_seen())).collect();
        let forgotten: HashSet<_> = self.evidence.note_again(&uses).await?.into_iter().collect();
        let forgotten: Vec<_> = entries.iter().filter(|entry| forgotten.contains(&entry.key())).collect();
        for some in forgotten.chunks(FIRST_AT_ONCE) {
            let sightings: Vec<_> = some.iter().map(|entry| entry.sighting()).collect();
            self.evidence.note_all_first(&sightings).await?;
        }
        for (entry, (.., written)) in entries.iter().zip(&uses) {
            entry.is_written(*written);
        }
        Ok(())
    }

    fn stand_in_line(&self, client: &ClientId, thumbprint: Thumbprint) -> Line<'_> {
        let key = (client.clone(), thumbprint);
        let turn = Arc::clone(self.arriving().entry(key.clone()).or_default());
        Line { witness: self, key, turn }
    }

    fn seen(&self) -> std::sync::RwLockReadGuard<'_, Seen> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen_mut(&self) -> std::sync::RwLockWriteGuard<'_, Seen> {
        self.seen.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept_refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arriving(&self) -> MutexGuard<'_, HashMap<(ClientId, Thumbprint), Turn>> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by the one who records a certificate.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// A place among those who brought the same new certificate; the last to leave removes the line. A request may be
/// dropped at any moment, so this is not left to its code.
struct Line<'a> {
    witness: &'a Witness,
    key: (ClientId, Thumbprint),
    turn: Turn,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let mut arriving = self.witness.arriving();
        // The map's and ours; nobody gets another without the map.
        if Arc::strong_count(&self.turn) == 2 {
            arriving.remove(&self.key);
        }
    }
}
