//! What a write changes in the evidence: staged and kept with the revocations that wait at the same time, for one
//! fsync, and apart from them, because they must be kept whatever becomes of the evidence.

use std::collections::BTreeMap;

use ::sled::{Batch, Db};

use super::format::{
    Moments, TREE, chain_key, encode_chain, encode_name, encode_refusal, name_key, parse_name, pieces,
    refusal_key, sighting_key,
};
use super::reading;
use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::Thumbprint;
use crate::store::StoreError;
use crate::store::evidence::{RefusalRecord, Sighting, plain_reference};
use crate::store::sled::failed;
use crate::store::sled::panics::caught;

/// Changes of the evidence that are not kept yet, over a database.
pub(in crate::store::sled) struct Notes<'a> {
    db: &'a Db,
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Notes<'a> {
    /// No changes.
    pub(in crate::store::sled) const fn over(db: &'a Db) -> Self {
        Self { db, changes: BTreeMap::new() }
    }

    /// Whether there is nothing to keep.
    pub(in crate::store::sled) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Writes them; they are durable with the next flush and fsync.
    pub(in crate::store::sled) fn apply(self) -> Result<(), StoreError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let write = || {
            let mut batch = Batch::default();
            for (key, value) in self.changes {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            self.db.open_tree(TREE)?.apply_batch(batch)
        };
        caught(write).ok_or_else(panicked)?.map_err(failed)
    }

    /// A certificate serves a client, perhaps for the first time.
    pub(in crate::store::sled) fn first(&mut self, sighting: &Sighting) -> Result<(), StoreError> {
        let (client, thumbprint) = (&sighting.client, sighting.thumbprint);
        let old = self.moments(client, thumbprint)?;
        self.put_long(&chain_key(client, thumbprint), &encode_chain(&sighting.chain))?;
        let new = Moments::of(sighting);
        self.put(sighting_key(client, thumbprint), old.map_or(new, |old| old.with(new)).encode())
    }

    /// A certificate served a client again. Whether it ever did before; else nothing is kept of it.
    pub(super) fn again(
        &mut self,
        client: &ClientId,
        thumbprint: Thumbprint,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(old) = self.moments(client, thumbprint)? else { return Ok(false) };
        let new = Moments { last: old.last.max(at), ..old };
        self.put(sighting_key(client, thumbprint), new.encode())?;
        Ok(true)
    }

    /// A refusal; one of the same reference goes.
    pub(in crate::store::sled) fn refusal(&mut self, record: &RefusalRecord) -> Result<(), StoreError> {
        // What nobody can ask for is not kept.
        let (Some(reference), Ok(value)) = (plain_reference(&record.reference), encode_refusal(record))
        else {
            return Ok(());
        };
        let at = Timestamp::from_unix(record.at);
        let name = name_key(&reference);
        let before = self.bytes(&name)?.and_then(|value| parse_name(&value));
        if let Some((before, _)) = before.filter(|(before, _)| *before != at) {
            self.put_long(&refusal_key(before, &reference), &[])?;
        }
        self.put(name, encode_name(at, record.client().as_ref()))?;
        self.put_long(&refusal_key(at, &reference), &value)
    }

    /// Drops a sighting, unless it was seen after `last`. Gives the number dropped.
    pub(super) fn forget_sighting(
        &mut self,
        client: &ClientId,
        thumbprint: Thumbprint,
        last: Timestamp,
    ) -> Result<u64, StoreError> {
        if self.moments(client, thumbprint)?.is_none_or(|moments| moments.last > last) {
            return Ok(0);
        }
        self.put_long(&chain_key(client, thumbprint), &[])?;
        self.changes.insert(sighting_key(client, thumbprint), None);
        Ok(1)
    }

    /// Drops a refusal. Gives the number dropped.
    pub(super) fn forget_refusal(&mut self, at: Timestamp, reference: &str) -> Result<u64, StoreError> {
        self.put_long(&refusal_key(at, reference), &[])?;
        let name = name_key(reference);
        let named = self.bytes(&name)?.and_then(|value| parse_name(&value));
        if named.is_none_or(|(named, _)| named != at) {
            return Ok(0);
        }
        self.changes.insert(name, None);
        Ok(1)
    }

    fn moments(&self, client: &ClientId, thumbprint: Thumbprint) -> Result<Option<Moments>, StoreError> {
        Ok(self.bytes(&sighting_key(client, thumbprint))?.and_then(|value| Moments::parse(&value)))
    }

    /// The keys among the changes that begin with `start`.
    fn staged<'b>(&'b self, start: &'b [u8]) -> impl Iterator<Item = &'b Vec<u8>> {
        self.changes.range(start.to_vec()..).map(|(key, _)| key).take_while(move |key| key.starts_with(start))
    }

    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(staged) = self.changes.get(key) {
            return Ok(staged.clone());
        }
        let Some(tree) = reading::tree(self.db)? else { return Ok(None) };
        Ok(tree.get(key).map_err(failed)?.map(|value| value.to_vec()))
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        if self.bytes(&key)?.as_ref() != Some(&value) {
            self.changes.insert(key, Some(value));
        }
        Ok(())
    }

    /// Replaces all pieces of a value; an empty value has none.
    fn put_long(&mut self, start: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let mut old: Vec<Vec<u8>> = self.staged(start).cloned().collect();
        if let Some(tree) = reading::tree(self.db)? {
            for key in tree.scan_prefix(start).keys() {
                old.push(key.map_err(failed)?.to_vec());
            }
        }
        let new: BTreeMap<_, _> = pieces(start, value).collect();
        for key in old {
            if !new.contains_key(&key) {
                self.changes.insert(key, None);
            }
        }
        for (key, piece) in new {
            self.put(key, piece)?;
        }
        Ok(())
    }
}

/// sled panics on some damaged pages.
pub(in crate::store::sled) fn panicked() -> StoreError {
    StoreError::Corrupt { what: "the evidence in it cannot be read".into() }
}
