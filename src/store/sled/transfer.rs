//! The embedded store as JSON lines. It may be written to meanwhile: what was acknowledged before is there, the rest may be.
//! Evidence that cannot be read is left out: what ends tokens must be exported all the same.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use ::sled::Db;

use super::changes::Staged;
use super::evidence::format::SIGHTING;
use super::evidence::reading::{AFTER_REFUSALS, Part, refusals, sightings, tree};
use super::format::{CLIENT, Entry, HEAD, Head, PRESENCE, TOKEN};
use super::identity::StoreId;
use super::opening::{database, make};
use super::writer::Shared;
use super::{OpenError, failed, missing};
use crate::clock::Timestamp;
use crate::store::StoreError;
pub(super) use crate::store::transfer::Exported;
use crate::store::transfer::Exporter;

/// How many entries are read, or written, at a time.
const CHUNK: usize = 1000;

/// Writes every record and gives their number.
pub(super) fn export(shared: &Shared, out: &mut dyn Write) -> io::Result<u64> {
    let mut exporter = Exporter::begin(out, shared.id)?;
    // A client that comes back leaves its presence for a revocation, what is forgotten leaves for the
    // head: each place is read before the one that its entries go to.
    for kind in [PRESENCE, CLIENT, TOKEN] {
        let mut from = vec![kind];
        loop {
            // Not one read for all: who takes the lines may be slow, and the database must not wait.
            let chunk = shared.read(|db| read_chunk(db, kind, &from)).map_err(io::Error::other)?;
            let Some(last) = chunk.last() else { break };
            from = last.key();
            from.push(0);
            for entry in &chunk {
                exporter.entry(entry)?;
            }
        }
    }
    export_evidence(shared, &mut exporter)?;
    exporter.end(shared.read(read_ended).map_err(io::Error::other)?)
}

fn export_evidence(shared: &Shared, exporter: &mut Exporter<'_>) -> io::Result<()> {
    let mut next = Some(vec![SIGHTING]);
    while let Some(from) = next {
        let part = readable(
            shared.read(|db| tree(db)?.map(|tree| sightings(&tree, &[SIGHTING], &from)).transpose()),
        )?;
        for sighting in &part.items {
            exporter.sighting(sighting)?;
        }
        next = part.next;
    }
    next = Some(AFTER_REFUSALS.to_vec());
    while let Some(before) = next {
        let part =
            readable(shared.read(|db| tree(db)?.map(|tree| refusals(&tree, &before, CHUNK)).transpose()))?;
        next = part.next;
        for refusal in part.items {
            exporter.refusal(refusal)?;
        }
    }
    Ok(())
}

/// Nothing, where there is nothing or it is damaged.
fn readable<T>(part: Result<Option<Part<T>>, StoreError>) -> io::Result<Part<T>> {
    match part {
        Ok(Some(part)) => Ok(part),
        Ok(None) | Err(StoreError::Corrupt { .. }) => Ok(Part { items: Vec::new(), next: None }),
        Err(error) => Err(io::Error::other(error)),
    }
}

impl Exported {
    /// Makes a store of it at `path`, which gets its id with the last batch: one that is not whole is
    /// refused when it is opened.
    pub(super) fn write(&self, path: &Path) -> Result<u64, OpenError> {
        let ready = make(path, StoreId::UNFINISHED, self.ended)?;
        let fill = |db: &Db, file: &File| -> Result<(), StoreError> {
            for chunk in self.records.chunks(CHUNK) {
                let mut staged = Staged::over(db)?;
                for entry in chunk {
                    staged.put(entry)?;
                }
                staged.keep(file)?;
            }
            self.write_evidence(db, file)?;
            let mut staged = Staged::over(db)?;
            staged.name(self.id.0);
            let head = staged.keep(file)?.head;
            ready
                .acknowledged
                .write(head.sequence)
                .map_err(|error| StoreError::Unavailable(error.to_string()))
        };
        fill(&ready.db, &ready.file).map_err(|error| {
            OpenError::Io(format!(
                "{}: {error}; remove the directory and import again",
                database(path).display()
            ))
        })?;
        u64::try_from(self.len()).map_err(|_| OpenError::Io("too many records".into()))
    }

    fn write_evidence(&self, db: &Db, file: &File) -> Result<(), StoreError> {
        for some in self.sightings.chunks(CHUNK) {
            let mut staged = Staged::over(db)?;
            staged.note(|notes| some.iter().try_for_each(|sighting| notes.first(sighting)))?;
            staged.keep(file)?.noted?;
        }
        for some in self.refusals.chunks(CHUNK) {
            let mut staged = Staged::over(db)?;
            staged.note(|notes| some.iter().try_for_each(|refusal| notes.refusal(refusal)))?;
            staged.keep(file)?.noted?;
        }
        Ok(())
    }
}

fn read_chunk(db: &Db, kind: u8, from: &[u8]) -> Result<Vec<Entry>, StoreError> {
    let mut chunk = Vec::new();
    for found in db.range(from.to_vec()..vec![kind + 1]).take(CHUNK) {
        let (key, value) = found.map_err(failed)?;
        chunk.push(Entry::parse(&key, &value)?);
    }
    Ok(chunk)
}

fn read_ended(db: &Db) -> Result<Option<Timestamp>, StoreError> {
    let head = db.get(HEAD).map_err(failed)?.ok_or_else(missing)?;
    Ok(Head::parse(&head)?.ended)
}
