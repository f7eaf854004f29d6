//! A store as JSON lines, for backups and for moving: first the store's id and the format, then a line for
//! each record, the evidence included, last the number of records, so that a copy that was cut off is not taken
//! for a whole one. A store may be written to meanwhile: what was acknowledged before is there, the rest may be.
//! Evidence that cannot be read is left out: what ends tokens must be exported all the same.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::path::Path;

use ::sled::Db;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::changes::Staged;
use super::evidence::format::SIGHTING;
use super::evidence::reading::{AFTER_REFUSALS, Part, refusals, sightings, tree};
use super::failed;
use super::format::{CLIENT, Entry, HEAD, Head, Mark, PRESENCE, TOKEN};
use super::identity::StoreId;
use super::opening::{database, make};
use super::writer::Shared;
use super::{OpenError, missing};
use crate::clock::Timestamp;
use crate::oauth::{ClientId, Jti};
use crate::store::StoreError;
use crate::store::evidence::{RefusalRecord, Sighting};

/// The version of these lines.
const FORMAT: u32 = 1;

/// How many entries are read, or written, at a time.
const CHUNK: usize = 1000;

#[derive(Deserialize, Serialize)]
struct First {
    store_id: String,
    format: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    RevokedToken {
        jti: String,
        at: i64,
        until: i64,
    },
    RevokedClient {
        client_id: String,
        at: i64,
        until: i64,
    },
    Client {
        client_id: String,
        gone_since: Option<i64>,
    },
    Sighting {
        client_id: String,
        #[serde(rename = "x5t#S256")]
        thumbprint: String,
        first_seen: i64,
        last_seen: i64,
        /// Standard base64 of DER.
        chain: Vec<String>,
    },
    Refusal(RefusalRecord),
    EndedUpTo(i64),
    Records(u64),
}

/// Writes every record and gives their number.
pub(super) fn export(shared: &Shared, out: &mut dyn Write) -> io::Result<u64> {
    put(out, &First { store_id: shared.id.to_string(), format: FORMAT })?;
    let mut records = 0;
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
                put(out, &Line::from(entry))?;
                records += 1;
            }
        }
    }
    records += export_evidence(shared, out)?;
    let ended = shared.read(read_ended).map_err(io::Error::other)?;
    if let Some(ended) = ended {
        put(out, &Line::EndedUpTo(ended.as_unix()))?;
    }
    put(out, &Line::Records(records))?;
    out.flush()?;
    Ok(records)
}

fn export_evidence(shared: &Shared, out: &mut dyn Write) -> io::Result<u64> {
    let mut records = 0;
    let mut next = Some(vec![SIGHTING]);
    while let Some(from) = next {
        let part = readable(
            shared.read(|db| tree(db)?.map(|tree| sightings(&tree, &[SIGHTING], &from)).transpose()),
        )?;
        for sighting in &part.items {
            put(out, &Line::from(sighting))?;
            records += 1;
        }
        next = part.next;
    }
    next = Some(AFTER_REFUSALS.to_vec());
    while let Some(before) = next {
        let part =
            readable(shared.read(|db| tree(db)?.map(|tree| refusals(&tree, &before, CHUNK)).transpose()))?;
        next = part.next;
        for refusal in part.items {
            put(out, &Line::Refusal(refusal))?;
            records += 1;
        }
    }
    Ok(records)
}

/// Nothing, where there is nothing or it is damaged.
fn readable<T>(part: Result<Option<Part<T>>, StoreError>) -> io::Result<Part<T>> {
    match part {
        Ok(Some(part)) => Ok(part),
        Ok(None) | Err(StoreError::Corrupt { .. }) => Ok(Part { items: Vec::new(), next: None }),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// What an export says.
pub(super) struct Exported {
    pub id: StoreId,
    ended: Option<Timestamp>,
    records: Vec<Entry>,
    sightings: Vec<Sighting>,
    refusals: Vec<RefusalRecord>,
}

impl Exported {
    /// Reads all lines, and refuses them all if one is wrong or the last is missing.
    pub(super) fn read(lines: &mut dyn BufRead) -> Result<Self, OpenError> {
        let mut lines = lines.lines().enumerate();
        let mut next = || -> Result<Option<(usize, String)>, OpenError> {
            let Some((at, line)) = lines.next() else { return Ok(None) };
            let line = line.map_err(|error| refused(at, &error.to_string()))?;
            Ok(Some((at, line)))
        };
        let (_, first) = next()?.ok_or_else(|| refused(0, "there is nothing"))?;
        let first: First = serde_json::from_str(&first)
            .map_err(|_| refused(0, "an export begins with {\"store_id\":…,\"format\":1}"))?;
        if first.format != FORMAT {
            let what = format!("the format is {}, this program reads {FORMAT}", first.format);
            return Err(refused(0, &what));
        }
        let id = StoreId::parse(&first.store_id).ok_or_else(|| refused(0, "store_id is no id"))?;
        let mut exported =
            Self { id, ended: None, records: Vec::new(), sightings: Vec::new(), refusals: Vec::new() };
        while let Some((at, line)) = next()? {
            let line = serde_json::from_str(&line).map_err(|error| refused(at, &error.to_string()))?;
            match line {
                Line::EndedUpTo(ended) => exported.ended = Some(Timestamp::from_unix(ended)),
                Line::Records(records) if u64::try_from(exported.len()) == Ok(records) => {
                    return match next()? {
                        None => Ok(exported),
                        Some((at, _)) => Err(refused(at, "there is more after the number of records")),
                    };
                }
                Line::Records(records) => {
                    let what = format!("{records} records were exported, here are {}", exported.len());
                    return Err(refused(at, &what));
                }
                Line::Refusal(refusal) => exported.refusals.push(refusal),
                line @ Line::Sighting { .. } => {
                    exported
                        .sightings
                        .push(line.sighting().ok_or_else(|| refused(at, "this is no sighting"))?);
                }
                record => {
                    exported.records.push(record.entry().ok_or_else(|| refused(at, "this is no record"))?);
                }
            }
        }
        Err(OpenError::Io("the export ends early: its last line is the number of records".into()))
    }

    fn len(&self) -> usize {
        self.records.len() + self.sightings.len() + self.refusals.len()
    }

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

impl From<&Entry> for Line {
    fn from(entry: &Entry) -> Self {
        match entry {
            Entry::Token(jti, mark) => Self::RevokedToken {
                jti: jti.to_string(),
                at: mark.at.as_unix(),
                until: mark.until.as_unix(),
            },
            Entry::Client(client, mark) => Self::RevokedClient {
                client_id: client.to_string(),
                at: mark.at.as_unix(),
                until: mark.until.as_unix(),
            },
            Entry::Presence(client, since) => {
                Self::Client { client_id: client.to_string(), gone_since: since.map(Timestamp::as_unix) }
            }
        }
    }
}

impl From<&Sighting> for Line {
    fn from(sighting: &Sighting) -> Self {
        Self::Sighting {
            client_id: sighting.client.to_string(),
            thumbprint: sighting.thumbprint.to_string(),
            first_seen: sighting.first_seen.as_unix(),
            last_seen: sighting.last_seen.as_unix(),
            chain: sighting.chain.iter().map(|der| STANDARD.encode(der)).collect(),
        }
    }
}

impl Line {
    fn sighting(self) -> Option<Sighting> {
        let Self::Sighting { client_id, thumbprint, first_seen, last_seen, chain } = self else {
            return None;
        };
        Some(Sighting {
            client: ClientId::parse(&client_id).ok()?,
            thumbprint: thumbprint.parse().ok()?,
            chain: chain.iter().map(|der| STANDARD.decode(der).ok()).collect::<Option<_>>()?,
            first_seen: Timestamp::from_unix(first_seen),
            last_seen: Timestamp::from_unix(last_seen),
        })
    }

    fn entry(self) -> Option<Entry> {
        let mark = |at, until| Mark { at: Timestamp::from_unix(at), until: Timestamp::from_unix(until) };
        match self {
            Self::RevokedToken { jti, at, until } => Some(Entry::Token(Jti::parse(&jti)?, mark(at, until))),
            Self::RevokedClient { client_id, at, until } => {
                Some(Entry::Client(ClientId::parse(&client_id).ok()?, mark(at, until)))
            }
            Self::Client { client_id, gone_since } => {
                Some(Entry::Presence(ClientId::parse(&client_id).ok()?, gone_since.map(Timestamp::from_unix)))
            }
            Self::Sighting { .. } | Self::Refusal(_) | Self::EndedUpTo(_) | Self::Records(_) => None,
        }
    }
}

fn put(out: &mut dyn Write, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    out.write_all(text.as_bytes())
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

fn refused(at: usize, what: &str) -> OpenError {
    OpenError::Io(format!("line {} of the export: {what}", at + 1))
}
