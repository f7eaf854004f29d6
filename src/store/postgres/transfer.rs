//! The shared store read whole, for `store check` and `store export`, and filled from an export. It may be written to
//! meanwhile: what was acknowledged before is there, the rest may be. Evidence that cannot be read is left out.

use std::io::BufRead;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::evidence::{AFTER_REFUSALS, ALL_SIGHTINGS, refusal, sighting};
use super::founding::IfNone;
use super::roll::client;
use super::{Founding, Postgres, another};
use crate::clock::Timestamp;
use crate::database::{Database, DatabaseError, Row, Settings, Values, column};
use crate::oauth::Jti;
use crate::store::evidence::{Evidence as _, RefusalRecord, Sighting};
use crate::store::identity::{Named, StoreId, read_id, write_id};
use crate::store::record::{Entry, Mark};
use crate::store::transfer::{Exported, Exporter};
use crate::store::{CheckReport, OpenError, StoreError};

/// How many records are written at once.
const CHUNK: usize = 1000;

const HEAD: &str = "SELECT id, forgotten_before FROM certbound.store";

const TOKENS: &str = "SELECT jti, ended_at, until FROM certbound.ended_tokens
    WHERE jti > $1 ORDER BY jti LIMIT 1000";

const CLIENTS: &str = "SELECT client, ended_at, until FROM certbound.ended_clients
    WHERE client > $1 ORDER BY client LIMIT 1000";

/// What comes of it on the way.
enum Found {
    Entry(Entry),
    Sighting(Sighting),
    Refusal(RefusalRecord),
    Unreadable,
}

impl Postgres {
    /// Reads every entry, and counts.
    pub async fn check(&self) -> Result<CheckReport, StoreError> {
        let (id, _) = self.head().await?;
        let id = id.to_string();
        let mut report = CheckReport {
            id,
            revoked_tokens: 0,
            revoked_clients: 0,
            clients: 0,
            sightings: 0,
            refusals: 0,
            unreadable: 0,
        };
        let count = |found| {
            let counter = match found {
                Found::Entry(Entry::Token(..)) => &mut report.revoked_tokens,
                Found::Entry(Entry::Client(..)) => &mut report.revoked_clients,
                Found::Entry(Entry::Presence(..)) => &mut report.clients,
                Found::Sighting(_) => &mut report.sightings,
                Found::Refusal(_) => &mut report.refusals,
                Found::Unreadable => &mut report.unreadable,
            };
            *counter += 1;
            Ok(())
        };
        self.read_all(count).await?;
        Ok(report)
    }

    /// The store as JSON lines, the first with its id, the last with the number of records.
    pub async fn export(&self) -> Result<Vec<u8>, StoreError> {
        let failed = |error: std::io::Error| StoreError::Unavailable(error.to_string());
        let mut lines = Vec::new();
        let mut exporter = Exporter::begin(&mut lines, self.head().await?.0).map_err(failed)?;
        let write = |found| {
            let written = match found {
                Found::Entry(entry) => exporter.entry(&entry),
                Found::Sighting(sighting) => exporter.sighting(&sighting),
                Found::Refusal(refusal) => exporter.refusal(refusal),
                Found::Unreadable => Ok(()),
            };
            written.map_err(failed)
        };
        self.read_all(write).await?;
        // What is forgotten meanwhile is in here.
        exporter.end(self.head().await?.1).map_err(failed)?;
        Ok(lines)
    }

    async fn head(&self) -> Result<(StoreId, Option<Timestamp>), StoreError> {
        let rows = self.rows(HEAD, Vec::new()).await?;
        let row = rows.first().ok_or_else(another)?;
        let id: &[u8] = column(row, 0)?;
        let id = StoreId(id.try_into().map_err(|_| another())?);
        Ok((id, column::<Option<i64>>(row, 1)?.map(Timestamp::from_unix)))
    }

    /// In this order: a client that comes back leaves its presence for a revocation, and what is forgotten leaves for the
    /// head; each place is read before the one that its entries go to.
    async fn read_all(
        &self,
        mut take: impl FnMut(Found) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for (client, since) in self.clients().await? {
            take(Found::Entry(Entry::Presence(client, since)))?;
        }
        let mut after = Some(String::new());
        while let Some(from) = after.take() {
            let rows = self.rows(CLIENTS, vec![Box::new(from)]).await?;
            for row in &rows {
                take(Found::Entry(Entry::Client(client(column(row, 0)?)?, mark(row)?)))?;
            }
            after = rows.last().filter(|_| rows.len() == CHUNK).map(|last| column(last, 0)).transpose()?;
        }
        let mut after = Some(Vec::<u8>::new());
        while let Some(from) = after.take() {
            let rows = self.rows(TOKENS, vec![Box::new(from)]).await?;
            for row in &rows {
                let jti: &[u8] = column(row, 0)?;
                let jti = jti
                    .try_into()
                    .map_err(|_| StoreError::Corrupt { what: "a jti is not 16 octets long".into() })?;
                take(Found::Entry(Entry::Token(Jti::from_bytes(jti), mark(row)?)))?;
            }
            after = rows.last().filter(|_| rows.len() == CHUNK).map(|last| column(last, 0)).transpose()?;
        }
        let mut after = Some(Default::default());
        while let Some(from) = after.take() {
            let (rows, next) = self.sightings_after(ALL_SIGHTINGS, from).await?;
            rows.iter().try_for_each(|row| take(sighting(row).map_or(Found::Unreadable, Found::Sighting)))?;
            after = next;
        }
        let mut before = Some(AFTER_REFUSALS);
        while let Some(from) = before.take() {
            let (rows, next) = self.refusals_before(from).await?;
            rows.iter().try_for_each(|row| take(refusal(row).map_or(Found::Unreadable, Found::Refusal)))?;
            before = next;
        }
        Ok(())
    }
}

fn mark(row: &Row) -> Result<Mark, StoreError> {
    Ok(Mark { at: Timestamp::from_unix(column(row, 1)?), until: Timestamp::from_unix(column(row, 2)?) })
}

/// See [`Postgres::import`].
pub(super) fn import(settings: &Settings, id_file: &Path, lines: &mut dyn BufRead) -> Result<u64, OpenError> {
    let exported = Exported::read(lines)?;
    let at_file = |error: std::io::Error| OpenError::Io(format!("{}: {error}", id_file.display()));
    let named = read_id(id_file).map_err(at_file)?;
    if named != Named::Nothing && named != Named::Store(exported.id) {
        let (file, id) = (id_file.display(), exported.id);
        return Err(OpenError::Io(format!("the export is of store {id}, and {file} names another")));
    }
    let (id, records) = (exported.id, exported.len());
    let database = Database::new(settings, None)?;
    let store = Postgres {
        database: database.clone(),
        founding: Founding::new(id_file, IfNone::Refuse).into(),
        roll: Mutex::default(),
        refusals_noted: AtomicUsize::default(),
    };
    let ended = || StoreError::Unavailable("the way to the database has ended".into());
    let filled = database.wait(async move { store.fill(&exported).await }).unwrap_or_else(|| Err(ended()));
    filled.map_err(|error| OpenError::Io(format!("the import into the database: {error}")))?;
    write_id(id_file, id).map_err(at_file)?;
    u64::try_from(records).map_err(|_| OpenError::Io("too many records".into()))
}

const BEGIN: &str = "INSERT INTO certbound.store (id, forgotten_before) VALUES ($1, $2)
    ON CONFLICT (singleton) DO NOTHING RETURNING 1";

const NAME: &str = "UPDATE certbound.store SET id = $1 WHERE id = $2 RETURNING 1";

const FILL_TOKENS: &str = "INSERT INTO certbound.ended_tokens (jti, ended_at, until, due)
    SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[]) ON CONFLICT (jti) DO NOTHING";

const FILL_CLIENTS: &str = "INSERT INTO certbound.ended_clients (client, ended_at, until, due)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) ON CONFLICT (client) DO NOTHING";

const FILL_PRESENCES: &str = "INSERT INTO certbound.clients (client, gone_since)
    SELECT * FROM unnest($1::text[], $2::bigint[]) ON CONFLICT (client) DO NOTHING";

impl Postgres {
    /// The store gets its id last: one that is not whole is refused when it is opened.
    async fn fill(&self, exported: &Exported) -> Result<(), StoreError> {
        self.database.migrate().await?;
        let (id, unfinished) = (exported.id.0.to_vec(), StoreId::UNFINISHED.0.to_vec());
        let ended = exported.ended.map(Timestamp::as_unix);
        if self.rows(BEGIN, vec![Box::new(unfinished.clone()), Box::new(ended)]).await?.is_empty() {
            let why = "there is a store, or the beginning of one; an import makes a new store: name an empty database";
            return Err(StoreError::Unavailable(why.into()));
        }
        for some in exported.records.chunks(CHUNK) {
            self.fill_in(some).await?;
        }
        self.note_all_first(&exported.sightings).await?;
        self.note_refusals(&exported.refusals).await?;
        let named = self.rows(NAME, vec![Box::new(id), Box::new(unfinished)]).await?;
        if named.is_empty() { Err(another()) } else { Ok(()) }
    }

    async fn fill_in(&self, entries: &[Entry]) -> Result<(), DatabaseError> {
        let (mut tokens, mut clients, mut presences) =
            (Columns::default(), Columns::default(), (vec![], vec![]));
        for entry in entries {
            match entry {
                Entry::Token(jti, mark) => tokens.push(jti.as_bytes().to_vec(), *mark),
                Entry::Client(client, mark) => clients.push(client.to_string(), *mark),
                Entry::Presence(client, since) => {
                    presences.0.push(client.to_string());
                    presences.1.push(since.map(Timestamp::as_unix));
                }
            }
        }
        self.database.query(FILL_TOKENS, tokens.values()).await?;
        self.database.query(FILL_CLIENTS, clients.values()).await?;
        let values: Values = vec![Box::new(presences.0), Box::new(presences.1)];
        self.database.query(FILL_PRESENCES, values).await.map(drop)
    }
}

/// Revocations column by column.
struct Columns<T> {
    names: Vec<T>,
    at: Vec<i64>,
    until: Vec<i64>,
    due: Vec<i64>,
}

impl<T> Default for Columns<T> {
    fn default() -> Self {
        Self { names: Vec::new(), at: Vec::new(), until: Vec::new(), due: Vec::new() }
    }
}

impl<T: crate::database::ToSql + Send + Sync + 'static> Columns<T> {
    fn push(&mut self, name: T, mark: Mark) {
        self.names.push(name);
        self.at.push(mark.at.as_unix());
        self.until.push(mark.until.as_unix());
        self.due.push(mark.due().as_unix());
    }

    fn values(self) -> Values {
        vec![Box::new(self.names), Box::new(self.at), Box::new(self.until), Box::new(self.due)]
    }
}
