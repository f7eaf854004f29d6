//! The store that several nodes share: PostgreSQL, or what speaks its protocol.
//!
//! Every question is one round trip, and nothing is kept in memory to answer it from: what one node ended has ended
//! everywhere from its answer on. A database that does not answer, is not the one that it should be or lacks a table is an
//! error and never "good". Which database it should be the file `store-id` says, as for the embedded store (`founding`).
//! Time limits and connections are left to `database`, the signing keys whose removal `standing` sees to `keys`.

mod evidence;
mod founding;
mod roll;
mod transfer;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use self::founding::{Founding, IfNone};
use self::roll::Roll;
use super::record::{KEPT, Mark};
use super::{OpenError, Opened, Standing, StoreError, TokenKey, TokenStore};
use crate::clock::Timestamp;
use crate::database::{Database, DatabaseError, DatabaseUrlError, Row, Settings, Values, column};
use crate::oauth::{ClientId, Jti};

/// How many entries are looked at in one go of forgetting.
const FORGET_AT_ONCE: u64 = 1000;

/// The shared store.
pub struct Postgres {
    database: Database,
    founding: Arc<Founding>,
    roll: Mutex<Roll>,
    /// Refusals since they were last forgotten.
    refusals_noted: AtomicUsize,
}

impl Postgres {
    /// Opens the store in this database, or makes it where neither it nor `id_file` exists. One that cannot be reached is
    /// opened later, by whoever needs it first; until then every call says so. Blocks, for some seconds at most.
    pub fn open(settings: &Settings, id_file: &Path) -> Result<(Self, Opened), OpenError> {
        let store = Self::at(settings, id_file, IfNone::Make)?;
        let opened = match store.found() {
            Ok(()) => store.founding.opened().unwrap_or(Opened::Existing),
            Err(DatabaseError::Unavailable(why)) => Opened::OutOfReach(why),
            Err(error) => return Err(error.into()),
        };
        Ok((store, opened))
    }

    /// Opens the store in this database, if there is one. Blocks, for some seconds at most.
    pub fn find(settings: &Settings, id_file: &Path) -> Result<Option<Self>, OpenError> {
        let store = Self::at(settings, id_file, IfNone::Refuse)?;
        match store.found() {
            Ok(()) => Ok(Some(store)),
            Err(DatabaseError::Unfit(what)) if what == founding::NO_STORE => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn at(settings: &Settings, id_file: &Path, if_none: IfNone) -> Result<Self, OpenError> {
        let founding = Arc::new(Founding::new(id_file, if_none));
        let database = Database::new(settings, Some(Arc::clone(&founding) as _))?;
        Ok(Self { database, founding, roll: Mutex::default(), refusals_noted: AtomicUsize::new(0) })
    }

    /// A deliberate new start (`store init --forget`): every token issued up to the moment that it gives is inactive from
    /// here on. What was there is put aside, in a schema `certbound_forgotten_…`; the signing keys stay. Blocks.
    ///
    /// The id file is written first: a new start that is cut short leaves a store that is refused.
    pub fn init_forget(settings: &Settings, id_file: &Path, now: Timestamp) -> Result<Timestamp, OpenError> {
        founding::begin_anew(settings, id_file, now)
    }

    /// Makes a store of an export, with its id, and gives the number of records. Only where there is no store; an id file
    /// that is there must name the same one. Blocks.
    pub fn import(settings: &Settings, id_file: &Path, lines: &mut dyn BufRead) -> Result<u64, OpenError> {
        transfer::import(settings, id_file, lines)
    }

    /// The database, for what else is in it.
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// Clients that are missing here are reported once more at the next roll call. Called when a node has left: it may have
    /// been the last that had them.
    pub fn report_anew(&self) {
        self.roll().report_anew();
    }

    /// Looks until it is clear what is there; not being let in is an answer, too.
    fn found(&self) -> Result<(), DatabaseError> {
        let database = self.database.clone();
        let look = async move {
            let patience = founding::PATIENCE;
            database.call_within(patience, |connection| Box::pin(connection.batch("SELECT 1"))).await
        };
        let ended = || DatabaseError::Unavailable("the way to the database has ended".into());
        self.database.wait(look).unwrap_or_else(|| Err(ended()))
    }

    async fn rows(&self, sql: &'static str, values: Values) -> Result<Vec<Row>, StoreError> {
        Ok(self.database.query(sql, values).await?)
    }

    /// The id of the store, which nobody knows before there was a connection.
    async fn id(&self) -> Result<Vec<u8>, StoreError> {
        if self.founding.id().is_empty() {
            self.rows("SELECT 1", Vec::new()).await?;
        }
        Ok(self.founding.id())
    }

    /// A write that touches one row, if this is the store that it was.
    async fn write(&self, sql: &'static str, mut values: Values) -> Result<(), StoreError> {
        values.push(Box::new(self.id().await?));
        if self.rows(sql, values).await?.is_empty() { Err(another()) } else { Ok(()) }
    }
}

const REVOKE: &str = "INSERT INTO certbound.ended_tokens (jti, ended_at, until, due)
    SELECT $1::bytea, $2::bigint, $3::bigint, $4::bigint FROM certbound.store WHERE id = $5
    ON CONFLICT (jti) DO UPDATE SET
        until = greatest(ended_tokens.until, excluded.until),
        due = greatest(ended_tokens.due, excluded.until)
    RETURNING 1";

const REVOKE_CLIENT: &str = "INSERT INTO certbound.ended_clients (client, ended_at, until, due)
    SELECT $1::text, $2::bigint, $3::bigint, $4::bigint FROM certbound.store WHERE id = $5
    ON CONFLICT (client) DO UPDATE SET
        ended_at = greatest(ended_clients.ended_at, excluded.ended_at),
        until = greatest(ended_clients.until, excluded.until),
        due = greatest(ended_clients.due, excluded.due)
    RETURNING 1";

const STANDING: &str = "SELECT s.id, s.forgotten_before,
        (SELECT c.ended_at FROM certbound.ended_clients c WHERE c.client = $2),
        (SELECT t.ended_at FROM certbound.ended_tokens t WHERE t.jti = $1),
        (SELECT k.removed FROM certbound.signing_keys k WHERE k.kid = $3)
    FROM certbound.store s";

/// The clock that all nodes have in common, in whole seconds.
const CLOCK: &str = "SELECT floor(extract(epoch FROM clock_timestamp()))::bigint";

/// Takes the lock that a write takes, and gives it back.
/// A row that somebody else holds can be written in a moment, and is no reason to be out of service.
const PING: &str = "WITH held AS (SELECT 1 FROM certbound.store WHERE id = $1 FOR UPDATE SKIP LOCKED)
    SELECT (SELECT count(*) FROM held) FROM certbound.store WHERE id = $1";

#[async_trait]
impl TokenStore for Postgres {
    async fn revoke(&self, jti: Jti, at: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        let jti = jti.as_bytes().to_vec();
        self.write(REVOKE, with_mark(Box::new(jti), Mark { at, until })).await
    }

    async fn revoke_issued_before(
        &self,
        client: &ClientId,
        at: Timestamp,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(REVOKE_CLIENT, with_mark(Box::new(client.to_string()), Mark { at, until })).await
    }

    async fn standing(&self, token: &TokenKey) -> Result<Standing, StoreError> {
        let values: Values = vec![
            Box::new(token.jti.as_bytes().to_vec()),
            Box::new(token.client.to_string()),
            Box::new(token.signed_by.clone()),
        ];
        let rows = self.rows(STANDING, values).await?;
        let row = rows.first().ok_or_else(another)?;
        if column::<&[u8]>(row, 0)? != self.founding.id() {
            return Err(another());
        }
        let moment =
            |index| Ok::<_, StoreError>(column::<Option<i64>>(row, index)?.map(Timestamp::from_unix));
        let issued_before = |at: &Timestamp| token.issued_at <= *at;
        let everybody = moment(1)?.filter(issued_before);
        let client = moment(2)?.filter(issued_before);
        let ended = everybody.or(client).or(moment(3)?).or(moment(4)?);
        Ok(ended.map_or(Standing::Good, |at| Standing::Revoked { at }))
    }

    async fn roll_call(
        &self,
        present: &BTreeSet<ClientId>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClientId>, StoreError> {
        self.take_the_roll(present, Mark { at: now, until }).await
    }

    /// Nothing goes that this node's clock or that of the database says is needed. As in the embedded store entries stay
    /// a day and an hour at least, and what is forgotten moves the moment up to which every token has ended.
    async fn forget_expired(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut sum = 0;
        for kind in [FORGET_TOKENS, FORGET_CLIENTS, FORGET_PRESENCES] {
            loop {
                let forgotten = self.forget(kind, now).await?;
                sum += forgotten;
                if forgotten < FORGET_AT_ONCE {
                    break;
                }
            }
        }
        Ok(sum)
    }

    /// A second more than the database's clock: other nodes' clocks follow it, and may be a little ahead.
    async fn moment(&self, now: Timestamp) -> Result<Timestamp, StoreError> {
        let rows = self.rows(CLOCK, Vec::new()).await?;
        let row = rows.first().ok_or_else(another)?;
        Ok(Timestamp::from_unix(column::<i64>(row, 0)?.saturating_add(1)).max(now))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.write(PING, Vec::new()).await
    }
}

/// Which entries are due, by both clocks. `$1`: this node's; `$2`: how long a client is remembered that is gone.
const FORGET_TOKENS: &str = "DELETE FROM certbound.ended_tokens WHERE jti IN (
        SELECT jti FROM certbound.ended_tokens
        WHERE due <= least($1::bigint, floor(extract(epoch FROM clock_timestamp()))::bigint) AND $2::bigint > 0
        ORDER BY due LIMIT 1000)
    AND due <= $1 RETURNING ended_at";

const FORGET_CLIENTS: &str = "DELETE FROM certbound.ended_clients WHERE client IN (
        SELECT client FROM certbound.ended_clients
        WHERE due <= least($1::bigint, floor(extract(epoch FROM clock_timestamp()))::bigint) AND $2::bigint > 0
        ORDER BY due LIMIT 1000)
    AND due <= $1 RETURNING ended_at";

const FORGET_PRESENCES: &str = "DELETE FROM certbound.clients WHERE client IN (
        SELECT client FROM certbound.clients
        WHERE gone_since + $2::bigint <= least($1::bigint, floor(extract(epoch FROM clock_timestamp()))::bigint)
        ORDER BY gone_since LIMIT 1000)
    AND gone_since + $2 <= $1 RETURNING gone_since";

const FORGOTTEN: &str =
    "UPDATE certbound.store SET forgotten_before = greatest(forgotten_before, $1) WHERE id = $2";

impl Postgres {
    /// One go of forgetting. Gives the number forgotten.
    async fn forget(&self, kind: &'static str, now: Timestamp) -> Result<u64, StoreError> {
        let id = self.id().await?;
        let (now, kept) = (now.as_unix(), i64::try_from(KEPT.as_secs()).unwrap_or(i64::MAX));
        let forgotten = self.database.repeat(move |connection| {
            let id = id.clone();
            Box::pin(async move {
                connection.begin().await?;
                let gone = connection.query(kind, &[&now, &kept]).await?;
                let last = gone
                    .iter()
                    .map(|row| row.try_get::<_, i64>(0))
                    .try_fold(None, |last, at| Ok::<_, crate::database::SqlError>(last.max(Some(at?))))?;
                let is_kept = match last {
                    Some(last) => connection.execute(FORGOTTEN, &[&last, &id]).await? == 1,
                    None => true,
                };
                if is_kept {
                    connection.commit().await?;
                }
                Ok(is_kept.then_some(gone.len()))
            })
        });
        let count = forgotten.await?.ok_or_else(another)?;
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }
}

/// The values of a revocation: what ends, at, until, due.
fn with_mark(name: Box<dyn crate::database::ToSql + Send + Sync>, mark: Mark) -> Values {
    vec![name, Box::new(mark.at.as_unix()), Box::new(mark.until.as_unix()), Box::new(mark.due().as_unix())]
}

fn another() -> StoreError {
    StoreError::Corrupt { what: "it is not the store that it was".into() }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(why) | DatabaseError::Unfit(why) => Self::Unavailable(why),
            DatabaseError::Corrupt(what) => Self::Corrupt { what },
        }
    }
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(why) | DatabaseError::Unfit(why) => {
                Self::Io(format!("the store in the database: {why}"))
            }
            DatabaseError::Corrupt(what) => Self::Damaged(format!(
                "the store in the database is damaged or not the one it should be: {what}; restore it from a backup, \
                 or start a new one with `certbound store init --forget`, which ends every token issued so far"
            )),
        }
    }
}

impl From<DatabaseUrlError> for OpenError {
    fn from(error: DatabaseUrlError) -> Self {
        Self::Io(error.to_string())
    }
}
