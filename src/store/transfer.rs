//! A store as JSON lines, for backups and for moving: first the store's id and the format, then a line for
//! each record, the evidence included, last the number of records, so that a copy that was cut off is not taken
//! for a whole one. Every store writes and reads the same lines. In which order records are read, so that none is missed
//! while the store is written to, is left to each.

use std::io::{self, BufRead, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::OpenError;
use super::evidence::{RefusalRecord, Sighting};
use super::identity::StoreId;
use super::record::{Entry, Mark};
use crate::clock::Timestamp;
use crate::oauth::{ClientId, Jti};

/// The version of these lines.
const FORMAT: u32 = 1;

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

/// An export on its way out.
pub(super) struct Exporter<'a> {
    out: &'a mut dyn Write,
    records: u64,
}

impl<'a> Exporter<'a> {
    /// Begins with the id of the store.
    pub(super) fn begin(out: &'a mut dyn Write, id: StoreId) -> io::Result<Self> {
        put(out, &First { store_id: id.to_string(), format: FORMAT })?;
        Ok(Self { out, records: 0 })
    }

    pub(super) fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.record(&Line::from(entry))
    }

    pub(super) fn sighting(&mut self, sighting: &Sighting) -> io::Result<()> {
        self.record(&Line::from(sighting))
    }

    pub(super) fn refusal(&mut self, refusal: RefusalRecord) -> io::Result<()> {
        self.record(&Line::Refusal(refusal))
    }

    /// Ends it, and gives the number of records. `ended`: up to when every token has ended.
    pub(super) fn end(self, ended: Option<Timestamp>) -> io::Result<u64> {
        if let Some(ended) = ended {
            put(self.out, &Line::EndedUpTo(ended.as_unix()))?;
        }
        put(self.out, &Line::Records(self.records))?;
        self.out.flush()?;
        Ok(self.records)
    }

    fn record(&mut self, line: &Line) -> io::Result<()> {
        self.records += 1;
        put(self.out, line)
    }
}

/// What an export says.
pub(super) struct Exported {
    pub id: StoreId,
    pub ended: Option<Timestamp>,
    pub records: Vec<Entry>,
    pub sightings: Vec<Sighting>,
    pub refusals: Vec<RefusalRecord>,
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

    /// The number of records.
    pub(super) fn len(&self) -> usize {
        self.records.len() + self.sightings.len() + self.refusals.len()
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

fn refused(at: usize, what: &str) -> OpenError {
    OpenError::Io(format!("line {} of the export: {what}", at + 1))
}
