//! The look at every entry: when a store is opened, and for `store check`. sled keeps a checksum of each
//! message of its log, and recovers from a bad one by leaving out what comes after it; the head's number
//! and fingerprint of the records tell when something is missing, came back or changed.

use std::sync::atomic::{AtomicU64, Ordering};

use ::sled::Db;

use super::format::{CLIENT, DUE, Entry, HEAD, Head, PRESENCE, TOKEN, due_key, fingerprint, parse_due_key};
use super::identity::StoreId;
use super::{CheckReport, failed};
use crate::store::StoreError;

/// What a database holds.
#[derive(Debug)]
pub(super) enum Contents {
    /// Not one entry: it was made this moment, or lost everything.
    Nothing,
    /// Made by a newer program, with this format.
    Newer(u32),
    /// What this program writes, complete.
    Sound(Head, CheckReport),
}

/// Reads every entry and shows each record to `show`. `looked` grows while it goes on, so that a stall can be told from a large store.
pub(super) fn inspect(
    db: &Db,
    looked: &AtomicU64,
    mut show: impl FnMut(&Entry),
) -> Result<Contents, StoreError> {
    let head = db.get(HEAD).map_err(failed)?;
    if let Some(schema) =
        head.as_deref().and_then(Head::schema).filter(|schema| *schema > super::format::SCHEMA)
    {
        return Ok(Contents::Newer(schema));
    }
    let mut seen = Seen::default();
    for entry in db.iter() {
        let (key, value) = entry.map_err(failed)?;
        if let Some(record) = seen.take(&key, &value)? {
            show(&record);
        }
        looked.fetch_add(1, Ordering::Relaxed);
    }
    match head {
        Some(head) => seen.compare(Head::parse(&head)?),
        None if seen.entries == 0 => Ok(Contents::Nothing),
        None => Err(StoreError::Corrupt { what: "it has entries and no head".into() }),
    }
}

#[derive(Default)]
struct Seen {
    entries: u64,
    tokens: u64,
    clients: u64,
    presences: u64,
    fingerprint: u64,
    /// Sums over the order of forgetting, as it is and as the records want it.
    order: u64,
    wanted: u64,
}

impl Seen {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.entries += 1;
        match key.first().copied() {
            Some(DUE) => {
                parse_due_key(key)?;
                self.order = self.order.wrapping_add(fingerprint(key, value));
                return Ok(None);
            }
            _ if key == HEAD => return Ok(None),
            Some(TOKEN) => self.tokens += 1,
            Some(CLIENT) => self.clients += 1,
            Some(PRESENCE) => self.presences += 1,
            _ => {} // refused by the next line
        }
        let entry = Entry::parse(key, value)?;
        if let Some(due) = entry.due() {
            self.wanted = self.wanted.wrapping_add(fingerprint(&due_key(due, key), &[]));
        }
        self.fingerprint = self.fingerprint.wrapping_add(fingerprint(key, value));
        Ok(Some(entry))
    }

    fn compare(self, head: Head) -> Result<Contents, StoreError> {
        let records = self.tokens + self.clients + self.presences;
        if records != head.records {
            let what = format!("it has {records} records and should have {}", head.records);
            return Err(StoreError::Corrupt { what });
        }
        if self.fingerprint != head.fingerprint {
            return Err(StoreError::Corrupt { what: "a record is not as it was written".into() });
        }
        if self.order != self.wanted {
            return Err(StoreError::Corrupt {
                what: "the order of forgetting does not fit the records".into(),
            });
        }
        let report = CheckReport {
            id: StoreId(head.id).to_string(),
            revoked_tokens: self.tokens,
            revoked_clients: self.clients,
            clients: self.presences,
            sightings: 0,
            refusals: 0,
            unreadable: 0,
        };
        Ok(Contents::Sound(head, report))
    }
}
