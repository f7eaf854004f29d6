//! The evidence in the embedded store: a tree of its own in the same database, written by the same writer, durable by
//! the same fsync as the revocations that wait at the same time.
//!
//! It is no part of what makes a store whole: the head does not count it, opening does not read it, and what is wrong
//! in it is left out. `store check` says how much that is.

pub(super) mod format;
pub(super) mod notes;
pub(super) mod reading;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

use ::sled::Tree;
use async_trait::async_trait;

use self::notes::Notes;
use self::reading::{Part, Refused};
use super::{FORGET_AT_ONCE, Sled};
use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::Thumbprint;
use crate::store::StoreError;
use crate::store::evidence::{
    Evidence, REFUSAL_LIFE, REFUSALS_OF_STRANGERS, RefusalRecord, Sighting, plain_reference,
};

/// How many refusals are read before others have their turn.
const REFUSALS_AT_ONCE: usize = 64;

#[async_trait]
impl Evidence for Sled {
    async fn note_first(&self, sighting: &Sighting) -> Result<(), StoreError> {
        let sighting = sighting.clone();
        self.note(move |notes| notes.first(&sighting)).await
    }

    async fn note_all_first(&self, sightings: &[Sighting]) -> Result<(), StoreError> {
        let sightings = sightings.to_vec();
        self.note(move |notes| sightings.iter().try_for_each(|sighting| notes.first(sighting))).await
    }

    async fn note_again(
        &self,
        seen: &[(ClientId, Thumbprint, Timestamp)],
    ) -> Result<Vec<(ClientId, Thumbprint)>, StoreError> {
        let mut unknown = Vec::new();
        for some in seen.chunks(FORGET_AT_ONCE) {
            let some = some.to_vec();
            let again = move |notes: &mut Notes<'_>| {
                let mut unknown = Vec::new();
                for (client, thumbprint, at) in some {
                    if !notes.again(&client, thumbprint, at)? {
                        unknown.push((client, thumbprint));
                    }
                }
                Ok(unknown)
            };
            unknown.extend(self.note(again).await?);
        }
        Ok(unknown)
    }

    async fn sighting(
        &self,
        client: &ClientId,
        thumbprint: Thumbprint,
    ) -> Result<Option<Sighting>, StoreError> {
        self.look(|tree| reading::sighting(tree, client, thumbprint)).map(Option::flatten)
    }

    async fn sightings(&self, client: Option<&ClientId>) -> Result<Vec<Sighting>, StoreError> {
        let start = client.map_or_else(|| vec![format::SIGHTING], format::sightings_of);
        let (mut all, mut next) = (Vec::new(), Some(start.clone()));
        while let Some(from) = next {
            let part = self.look(|tree| reading::sightings(tree, &start, &from))?;
            let Some(Part { items, next: then }) = part else { break };
            all.extend(items);
            next = then;
            tokio::task::yield_now().await;
        }
        all.sort_by_key(|sighting| sighting.first_seen);
        Ok(all)
    }

    async fn note_refusals(&self, refusals: &[RefusalRecord]) -> Result<(), StoreError> {
        let records = refusals.to_vec();
        self.note(move |notes| records.iter().try_for_each(|record| notes.refusal(record))).await?;
        // Strangers make them as fast as they can connect: what is kept does not wait for the next forgetting.
        let noted = self.refusals_noted.fetch_add(refusals.len(), Ordering::Relaxed) + refusals.len();
        if noted > REFUSALS_OF_STRANGERS {
            self.forget_spare_refusals().await?;
        }
        Ok(())
    }

    async fn refusal(&self, reference: &str) -> Result<Option<RefusalRecord>, StoreError> {
        let Some(reference) = plain_reference(reference) else { return Ok(None) };
        self.look(|tree| reading::refusal(tree, &reference)).map(Option::flatten)
    }

    async fn refusals(&self, limit: usize) -> Result<Vec<RefusalRecord>, StoreError> {
        let (mut latest, mut next) = (Vec::new(), Some(reading::AFTER_REFUSALS.to_vec()));
        while let Some(before) = next.filter(|_| latest.len() < limit) {
            let some = REFUSALS_AT_ONCE.min(limit - latest.len());
            let part = self.look(|tree| reading::refusals(tree, &before, some))?;
            let Some(Part { items, next: then }) = part else { break };
            latest.extend(items);
            next = then;
            tokio::task::yield_now().await;
        }
        Ok(latest)
    }

    async fn forget_evidence(&self, now: Timestamp) -> Result<u64, StoreError> {
        let sightings = self.forget_sightings(now).await?;
        let refusals = self.forget_old_refusals(now).await? + self.forget_spare_refusals().await?;
        Ok(sightings + refusals)
    }
}

impl Sled {
    async fn note<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Notes<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.queue {
            Some(queue) => queue.note(&self.shared, change).await,
            None => Err(StoreError::Unavailable("it is closed".into())),
        }
    }

    /// Reads the evidence; nothing if there never was any.
    fn look<T>(&self, look: impl FnOnce(&Tree) -> Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        self.shared.read(|db| reading::tree(db)?.map(|tree| look(&tree)).transpose())
    }

    async fn forget_sightings(&self, now: Timestamp) -> Result<u64, StoreError> {
        let (mut sum, mut next) = (0, Some(vec![format::SIGHTING]));
        while let Some(from) = next {
            let part = self.look(|tree| reading::spare_sightings(tree, &from, now))?;
            let Some(Part { items, next: then }) = part else { break };
            for some in items.chunks(FORGET_AT_ONCE) {
                let some = some.to_vec();
                let forget = move |notes: &mut Notes<'_>| {
                    some.iter().try_fold(0, |sum, (client, thumbprint, last)| {
                        Ok(sum + notes.forget_sighting(client, *thumbprint, *last)?)
                    })
                };
                sum += self.note(forget).await?;
            }
            next = then;
            tokio::task::yield_now().await;
        }
        Ok(sum)
    }

    async fn forget_old_refusals(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut sum = 0;
        loop {
            let mut old =
                self.look(|tree| reading::oldest_refusals(tree, FORGET_AT_ONCE))?.unwrap_or_default();
            let looked = old.len();
            old.retain(|(at, _)| *at < now.minus(REFUSAL_LIFE));
            let count = old.len();
            sum += self.forget_refusals(old).await?;
            if count < looked || count == 0 {
                return Ok(sum);
            }
        }
    }

    async fn forget_spare_refusals(&self) -> Result<u64, StoreError> {
        self.refusals_noted.store(0, Ordering::Relaxed);
        let spare = self.look(reading::spare_refusals)?.unwrap_or_default();
        self.forget_refusals(spare).await
    }

    async fn forget_refusals(&self, refusals: Vec<Refused>) -> Result<u64, StoreError> {
        let mut sum = 0;
        for some in refusals.chunks(FORGET_AT_ONCE) {
            let some = some.to_vec();
            let forget = move |notes: &mut Notes<'_>| {
                some.iter().try_fold(0, |sum, (at, name)| Ok(sum + notes.forget_refusal(*at, name)?))
            };
            sum += self.note(forget).await?;
        }
        Ok(sum)
    }
}
