//! What a write changes. All writes of a batch are staged one after the other, each seeing what those
//! before it did, and then kept at once: one atomic sled batch, one flush, one fsync.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::time::Duration;

use ::sled::{Batch, Db};

use super::evidence::notes::{Notes, panicked};
use super::format::{
    DUE, Entry, HEAD, Head, Mark, PRESENCE, client_key, due_key, fingerprint, parse_due_key, token_key,
};
use super::panics::caught;
use super::{failed, missing};
use crate::clock::Timestamp;
use crate::oauth::{ClientId, Jti};
use crate::store::StoreError;

/// A client that is back after this long has the tokens ended that it had before.
const GONE_FOR_GOOD: Duration = Duration::from_secs(5);

/// Changes that are not kept yet, over a database.
pub(super) struct Staged<'a> {
    db: &'a Db,
    head: Head,
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// The records among the changes, in their order: what `Known` learns and forgets.
    records: Vec<Record>,
    notes: Notes<'a>,
}

/// A record that was set or dropped.
pub(super) enum Record {
    Set(Entry),
    Dropped(Entry),
}

/// What a batch left on disk.
pub(super) struct Kept {
    pub head: Head,
    pub records: Vec<Record>,
    /// Whether the evidence was written too.
    pub noted: Result<(), StoreError>,
}

impl<'a> Staged<'a> {
    /// Over a store that has a head.
    pub(super) fn over(db: &'a Db) -> Result<Self, StoreError> {
        let head = db.get(HEAD).map_err(failed)?.ok_or_else(missing)?;
        Ok(Self::with_head(db, Head::parse(&head)?))
    }

    /// Over a store that gets this head.
    pub(super) fn with_head(db: &'a Db, head: Head) -> Self {
        Self { db, head, changes: BTreeMap::new(), records: Vec::new(), notes: Notes::over(db) }
    }

    /// Whether there is nothing to keep.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.notes.is_empty()
    }

    /// Changes the evidence. What goes wrong there goes wrong there only.
    pub(super) fn note<T>(
        &mut self,
        change: impl FnOnce(&mut Notes<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        caught(|| change(&mut self.notes)).unwrap_or_else(|| Err(panicked()))
    }

    /// Gives the store its name.
    pub(super) const fn name(&mut self, id: [u8; 16]) {
        self.head.id = id;
    }

    /// One token ends.
    pub(super) fn revoke(&mut self, jti: Jti, mark: Mark) -> Result<(), StoreError> {
        let mark = match self.read(&token_key(&jti))? {
            Some(Entry::Token(_, old)) => Mark { at: old.at, until: old.until.max(mark.until) },
            _ => mark,
        };
        self.put(&Entry::Token(jti, mark))
    }

    /// The tokens of a client that were issued up to `mark.at` end.
    pub(super) fn revoke_client(&mut self, client: &ClientId, mark: Mark) -> Result<(), StoreError> {
        let mark = match self.read(&client_key(client))? {
            Some(Entry::Client(_, old)) => Mark { at: old.at.max(mark.at), until: old.until.max(mark.until) },
            _ => mark,
        };
        self.put(&Entry::Client(client.clone(), mark))
    }

    /// Notes who is there, and ends the tokens of those who were gone too long.
    pub(super) fn roll_call(
        &mut self,
        present: &BTreeSet<ClientId>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClientId>, StoreError> {
        let known = self.presences()?;
        for (client, since) in &known {
            if since.is_none() && !present.contains(client) {
                self.put(&Entry::Presence(client.clone(), Some(now)))?;
            }
        }
        let mut back = Vec::new();
        for client in present {
            if let Some(Some(since)) = known.get(client)
                // A clock that went back says nothing of how long it was: taken as long.
                && now.since(*since).max(since.since(now)) >= GONE_FOR_GOOD
            {
                self.revoke_client(client, Mark { at: now, until })?;
                back.push(client.clone());
            }
            self.put(&Entry::Presence(client.clone(), None))?;
        }
        Ok(back)
    }

    /// Forgets records that are due, looking at no more than `limit`. Gives how many were looked at and
    /// how many of them forgotten.
    pub(super) fn forget(&mut self, now: Timestamp, limit: usize) -> Result<(usize, u64), StoreError> {
        let (mut looked, mut forgotten) = (0, 0);
        for found in self.db.scan_prefix([DUE]).keys().take(limit) {
            let found = found.map_err(failed)?;
            let (due, key) = parse_due_key(&found)?;
            if due > now {
                break;
            }
            looked += 1;
            // A write staged before this one may have put it off.
            if let Some(entry) = self.read(key)?.filter(|entry| entry.due() == Some(due)) {
                self.head.ended = self.head.ended.max(entry.ends());
                self.replace(key.to_vec(), None)?;
                forgotten += 1;
            }
        }
        Ok((looked, forgotten))
    }

    /// Sets a record and its place in the order of forgetting.
    pub(super) fn put(&mut self, entry: &Entry) -> Result<(), StoreError> {
        self.replace(entry.key(), Some(entry))
    }

    /// Keeps everything that was staged: when this returns it survives a power cut. sled's flush does not
    /// fsync on Linux, it calls `sync_file_range`, which leaves out the file's size and extents.
    ///
    /// A batch of evidence alone leaves the head as it is: a store that lost its last evidence is whole.
    pub(super) fn keep(mut self, file: &File) -> Result<Kept, StoreError> {
        if self.notes.is_empty() || !self.changes.is_empty() {
            self.head.sequence += 1;
            let mut batch = Batch::default();
            for (key, value) in self.changes {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            batch.insert(HEAD, self.head.encode());
            self.db.apply_batch(batch).map_err(failed)?;
        }
        let noted = self.notes.apply();
        self.db.flush().map_err(failed)?;
        file.sync_all().map_err(|error| StoreError::Unavailable(format!("fsync: {error}")))?;
        Ok(Kept { head: self.head, records: self.records, noted })
    }

    fn presences(&self) -> Result<BTreeMap<ClientId, Option<Timestamp>>, StoreError> {
        let mut raw = BTreeMap::new();
        for found in self.db.scan_prefix([PRESENCE]) {
            let (key, value) = found.map_err(failed)?;
            raw.insert(key.to_vec(), value.to_vec());
        }
        for (key, value) in self.changes.range(vec![PRESENCE]..vec![PRESENCE + 1]) {
            match value {
                Some(value) => raw.insert(key.clone(), value.clone()),
                None => raw.remove(key),
            };
        }
        let mut known = BTreeMap::new();
        for (key, value) in raw {
            if let Entry::Presence(client, since) = Entry::parse(&key, &value)? {
                known.insert(client, since);
            }
        }
        Ok(known)
    }

    fn read(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(self.bytes(key)?.map(|value| Entry::parse(key, &value)).transpose()?)
    }

    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.changes.get(key) {
            Some(staged) => Ok(staged.clone()),
            None => Ok(self.db.get(key).map_err(failed)?.map(|value| value.to_vec())),
        }
    }

    fn replace(&mut self, key: Vec<u8>, new: Option<&Entry>) -> Result<(), StoreError> {
        let old = self.bytes(&key)?;
        let value = new.map(Entry::value);
        if old == value {
            return Ok(());
        }
        if let Some(old) = old {
            let entry = Entry::parse(&key, &old)?;
            if let Some(due) = entry.due() {
                self.changes.insert(due_key(due, &key), None);
            }
            self.head.records = self.head.records.saturating_sub(1);
            self.head.fingerprint = self.head.fingerprint.wrapping_sub(fingerprint(&key, &old));
            if new.is_none() {
                self.records.push(Record::Dropped(entry));
            }
        }
        if let (Some(entry), Some(value)) = (new, &value) {
            if let Some(due) = entry.due() {
                self.changes.insert(due_key(due, &key), Some(Vec::new()));
            }
            self.head.records = self.head.records.saturating_add(1);
            self.head.fingerprint = self.head.fingerprint.wrapping_add(fingerprint(&key, value));
            self.records.push(Record::Set(entry.clone()));
        }
        self.changes.insert(key, value);
        Ok(())
    }
}
