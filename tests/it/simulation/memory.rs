//! A store that a crash leaves as it is: the state is the disk, a handle on it is the open store. It keeps the contract
//! of every store (`store_contract`, `evidence`), in the shortest way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use certbound::clock::Timestamp;
use certbound::oauth::{ClientId, Jti};
use certbound::pki::Thumbprint;
use certbound::store::evidence::{
    Evidence, REFUSAL_LIFE, REFUSALS_OF_A_CLIENT, REFUSALS_OF_CLIENTS, REFUSALS_OF_STRANGERS, RefusalRecord,
    SIGHTING_LIFE, SIGHTING_NEEDED, SIGHTINGS_KEPT, Sighting, plain_reference,
};
use certbound::store::{Standing, StoreError, TokenKey, TokenStore};

use crate::store_contract::Place;

const GONE_FOR_GOOD: Duration = Duration::from_secs(5);
const KEPT: Duration = Duration::from_secs(25 * 3600);

/// What survives.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

/// The store, open.
pub(crate) struct Memory(Disk);

#[derive(Default)]
struct State {
    /// Every token issued up to here has ended.
    ended: Option<Timestamp>,
    tokens: BTreeMap<Jti, Mark>,
    clients: BTreeMap<ClientId, Mark>,
    /// Gone since, or there.
    presence: BTreeMap<ClientId, Option<Timestamp>>,
    sightings: BTreeMap<(ClientId, Thumbprint), Sighting>,
    /// In the order in which they were noted.
    refusals: BTreeMap<u64, RefusalRecord>,
    noted: u64,
    /// Where the refusal of a reference is.
    references: HashMap<String, u64>,
}

#[derive(Clone, Copy)]
struct Mark {
    at: Timestamp,
    until: Timestamp,
}

impl Mark {
    fn due(self) -> Timestamp {
        self.until.max(self.at.plus(KEPT))
    }
}

impl Place for Disk {
    type Store = Memory;

    fn fresh() -> Self {
        Self::default()
    }

    fn open(&self) -> Memory {
        Memory(self.clone())
    }
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }
}

impl State {
    fn end(&mut self, client: &ClientId, mark: Mark) {
        let known = self.clients.entry(client.clone()).or_insert(mark);
        *known = Mark { at: known.at.max(mark.at), until: known.until.max(mark.until) };
    }

    fn see(&mut self, sighting: &Sighting) {
        let key = (sighting.client.clone(), sighting.thumbprint);
        let known = self.sightings.entry(key).or_insert_with(|| sighting.clone());
        known.first_seen = known.first_seen.min(sighting.first_seen);
        known.last_seen = known.last_seen.max(sighting.last_seen);
        known.chain.clone_from(&sighting.chain);
    }

    /// Newest first.
    fn latest(&self) -> Vec<(u64, &RefusalRecord)> {
        let mut all: Vec<_> = self.refusals.iter().map(|(number, record)| (*number, record)).collect();
        all.sort_by_key(|(number, record)| std::cmp::Reverse((record.at, *number)));
        all
    }
}

#[async_trait]
impl TokenStore for Memory {
    async fn revoke(&self, jti: Jti, at: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        let mut state = self.state();
        let known = state.tokens.entry(jti).or_insert(Mark { at, until });
        known.until = known.until.max(until);
        Ok(())
    }

    async fn revoke_issued_before(
        &self,
        client: &ClientId,
        at: Timestamp,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.state().end(client, Mark { at, until });
        Ok(())
    }

    async fn standing(&self, token: &TokenKey) -> Result<Standing, StoreError> {
        let state = self.state();
        let everybody = state.ended.filter(|at| token.issued_at <= *at);
        let client = state.clients.get(&token.client).map(|mark| mark.at).filter(|at| token.issued_at <= *at);
        let this = state.tokens.get(&token.jti).map(|mark| mark.at);
        let at = everybody.or(client).or(this);
        Ok(at.map_or(Standing::Good, |at| Standing::Revoked { at }))
    }

    async fn roll_call(
        &self,
        present: &BTreeSet<ClientId>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClientId>, StoreError> {
        let mut state = self.state();
        let mut back = Vec::new();
        for (client, since) in &mut state.presence {
            if !present.contains(client) {
                since.get_or_insert(now);
            }
        }
        for client in present {
            let since = state.presence.insert(client.clone(), None).flatten();
            if since.is_some_and(|since| now.since(since).max(since.since(now)) >= GONE_FOR_GOOD) {
                state.end(client, Mark { at: now, until });
                back.push(client.clone());
            }
        }
        Ok(back)
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut state = self.state();
        let mut ends = Vec::new();
        let mut stays = |due: Timestamp, end: Timestamp| {
            let stays = due > now;
            if !stays {
                ends.push(end);
            }
            stays
        };
        state.tokens.retain(|_, mark| stays(mark.due(), mark.at));
        state.clients.retain(|_, mark| stays(mark.due(), mark.at));
        state.presence.retain(|_, since| since.is_none_or(|since| stays(since.plus(KEPT), since)));
        state.ended = state.ended.max(ends.iter().copied().max());
        Ok(u64::try_from(ends.len()).unwrap())
    }

    async fn moment(&self, now: Timestamp) -> Result<Timestamp, StoreError> {
        Ok(now)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Evidence for Memory {
    async fn note_first(&self, sighting: &Sighting) -> Result<(), StoreError> {
        self.state().see(sighting);
        Ok(())
    }

    async fn note_again(
        &self,
        seen: &[(ClientId, Thumbprint, Timestamp)],
    ) -> Result<Vec<(ClientId, Thumbprint)>, StoreError> {
        let mut state = self.state();
        let mut unknown = Vec::new();
        for (client, thumbprint, last) in seen {
            let key = (client.clone(), *thumbprint);
            match state.sightings.get_mut(&key) {
                Some(known) => known.last_seen = known.last_seen.max(*last),
                None => unknown.push(key),
            }
        }
        Ok(unknown)
    }

    async fn sighting(
        &self,
        client: &ClientId,
        thumbprint: Thumbprint,
    ) -> Result<Option<Sighting>, StoreError> {
        Ok(self.state().sightings.get(&(client.clone(), thumbprint)).cloned())
    }

    async fn sightings(&self, client: Option<&ClientId>) -> Result<Vec<Sighting>, StoreError> {
        let state = self.state();
        let wanted = state.sightings.values().filter(|one| client.is_none_or(|client| one.client == *client));
        let mut wanted: Vec<_> = wanted.cloned().collect();
        wanted.sort_by_key(|sighting| sighting.first_seen);
        Ok(wanted)
    }

    async fn note_refusals(&self, refusals: &[RefusalRecord]) -> Result<(), StoreError> {
        let mut state = self.state();
        for record in refusals {
            state.noted += 1;
            let number = state.noted;
            let reference = plain_reference(&record.reference).unwrap_or_default();
            if let Some(before) = state.references.insert(reference, number) {
                state.refusals.remove(&before);
            }
            state.refusals.insert(number, record.clone());
        }
        Ok(())
    }

    async fn refusal(&self, reference: &str) -> Result<Option<RefusalRecord>, StoreError> {
        let Some(reference) = plain_reference(reference) else { return Ok(None) };
        let state = self.state();
        Ok(state.references.get(&reference).and_then(|number| state.refusals.get(number)).cloned())
    }

    async fn refusals(&self, limit: usize) -> Result<Vec<RefusalRecord>, StoreError> {
        Ok(self.state().latest().into_iter().take(limit).map(|(_, record)| record.clone()).collect())
    }

    async fn forget_evidence(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut state = self.state();
        let before = state.refusals.len() + state.sightings.len();
        let oldest = now.minus(REFUSAL_LIFE).as_unix();
        state.refusals.retain(|_, record| record.at >= oldest);
        let (mut of_client, mut of_clients, mut of_strangers) = (HashMap::new(), 0, 0);
        let mut kept = BTreeSet::new();
        for (number, record) in state.latest() {
            let stays = match record.client() {
                None => {
                    of_strangers += 1;
                    of_strangers <= REFUSALS_OF_STRANGERS
                }
                Some(client) => {
                    let own = of_client.entry(client).or_insert(0);
                    *own += 1;
                    of_clients += usize::from(*own <= REFUSALS_OF_A_CLIENT);
                    *own <= REFUSALS_OF_A_CLIENT && of_clients <= REFUSALS_OF_CLIENTS
                }
            };
            if stays {
                kept.insert(number);
            }
        }
        state.refusals.retain(|number, _| kept.contains(number));
        let mut by_use: Vec<_> = state.sightings.values().cloned().collect();
        by_use.sort_by_key(|sighting| std::cmp::Reverse(sighting.last_seen));
        let mut of_client = HashMap::new();
        for sighting in by_use {
            let own = of_client.entry(sighting.client.clone()).or_insert(0);
            *own += 1;
            let unused_for = now.since(sighting.last_seen);
            if unused_for > SIGHTING_LIFE || *own > SIGHTINGS_KEPT && unused_for > SIGHTING_NEEDED {
                state.sightings.remove(&(sighting.client, sighting.thumbprint));
            }
        }
        Ok(u64::try_from(before - state.refusals.len() - state.sightings.len()).unwrap())
    }
}
