//! Which store is in the database: made, found again, adopted, or refused. Looked at with every new connection, because a
//! name may lead to another database tomorrow.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::CLOCK;
use crate::clock::Timestamp;
use crate::database::{
    Admission, Connection, Database, DatabaseError, Settings, SqlError, is_empty, migrate, needed_schema,
};
use crate::store::identity::{Named, StoreId, read_id, write_id};
use crate::store::{OpenError, Opened};

/// How long a start waits for a database that answers.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// What a command hears that makes no store.
pub(super) const NO_STORE: &str = "there is none yet; `certbound serve` makes it";

/// What is done where there is neither a store nor an id file.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum IfNone {
    Make,
    Refuse,
}

/// What is known of the store so far.
pub(super) struct Founding {
    id_file: PathBuf,
    if_none: IfNone,
    known: Mutex<Option<(StoreId, Opened)>>,
    /// Two connections must not make two ids.
    turn: tokio::sync::Mutex<()>,
}

impl Founding {
    pub(super) fn new(id_file: &Path, if_none: IfNone) -> Self {
        Self {
            id_file: id_file.to_owned(),
            if_none,
            known: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// What the first connection found.
    pub(super) fn opened(&self) -> Option<Opened> {
        self.known().as_ref().map(|(_, opened)| opened.clone())
    }

    /// The id of the store; empty before there was a connection.
    pub(super) fn id(&self) -> Vec<u8> {
        self.known().as_ref().map(|(id, _)| id.0.to_vec()).unwrap_or_default()
    }

    fn known(&self) -> MutexGuard<'_, Option<(StoreId, Opened)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, connection: &mut Connection) -> Result<(), DatabaseError> {
        let _turn = self.turn.lock().await;
        let known = self.known().as_ref().map(|(id, _)| *id);
        if let Some(known) = known {
            return is_still(connection, known).await;
        }
        let found = self.first_look(connection).await?;
        *self.known() = Some(found);
        Ok(())
    }

    async fn first_look(&self, connection: &mut Connection) -> Result<(StoreId, Opened), DatabaseError> {
        let file = self.id_file.display();
        let named = match read_id(&self.id_file) {
            Ok(Named::Unreadable) => return Err(corrupt(format!("{file} holds no store id"))),
            Ok(Named::Nothing) => None,
            Ok(Named::Store(id)) => Some(id),
            Err(error) => return Err(DatabaseError::Unfit(format!("{file}: {error}"))),
        };
        match named {
            Some(_) | None if !is_empty(connection).await? => {}
            Some(id) => return Err(corrupt(format!("the database is empty, and {file} names store {id}"))),
            None if self.if_none == IfNone::Make => {}
            None => return Err(DatabaseError::Unfit(NO_STORE.into())),
        }
        migrate(connection).await?;
        let fresh = StoreId::fresh().map_err(|error| DatabaseError::Unavailable(error.to_string()))?;
        let id = match (store_id(connection).await?, named) {
            (Some(id), _) => id,
            (None, Some(id)) => return Err(corrupt(format!("there is none, and {file} names store {id}"))),
            (None, None) => {
                let make = "INSERT INTO certbound.store (id) VALUES ($1) ON CONFLICT (singleton) DO NOTHING";
                connection.execute(make, &[&&fresh.0[..]]).await.map_err(failed)?;
                // Another node may have been faster.
                let winner = store_id(connection).await?;
                winner.ok_or_else(|| corrupt("there is none, though it was just made".into()))?
            }
        };
        if id == StoreId::UNFINISHED {
            return Err(corrupt("it comes from an import that was not finished".into()));
        }
        let opened = match named {
            Some(named) if named != id => {
                return Err(corrupt(format!("it is store {id}, and {file} names store {named}")));
            }
            Some(_) => return Ok((id, Opened::Existing)),
            None if id == fresh => Opened::Created,
            None => Opened::Adopted,
        };
        write_id(&self.id_file, id).map_err(|error| DatabaseError::Unfit(format!("{file}: {error}")))?;
        Ok((id, opened))
    }
}

impl Admission for Founding {
    fn admit<'c>(
        &'c self,
        connection: &'c mut Connection,
    ) -> Pin<Box<dyn Future<Output = Result<(), DatabaseError>> + Send + 'c>> {
        Box::pin(self.look(connection))
    }
}

/// Whether this is the store that was there before, with tables that this program may work with.
async fn is_still(connection: &mut Connection, known: StoreId) -> Result<(), DatabaseError> {
    if is_empty(connection).await? {
        return Err(corrupt(format!("the database is empty; it had store {known}")));
    }
    needed_schema(connection).await?;
    match store_id(connection).await? {
        Some(id) if id == known => Ok(()),
        Some(id) => Err(corrupt(format!("it is store {id}, and was {known}"))),
        None => Err(corrupt(format!("there is none; it was {known}"))),
    }
}

async fn store_id(connection: &mut Connection) -> Result<Option<StoreId>, DatabaseError> {
    let row = connection.query_opt("SELECT id FROM certbound.store", &[]).await.map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let id: &[u8] = crate::database::column(&row, 0)?;
    let id = id.try_into().map_err(|_| corrupt("its id has not 16 octets".into()))?;
    Ok(Some(StoreId(id)))
}

/// A new start, see [`super::Postgres::init_forget`].
pub(super) fn begin_anew(
    settings: &Settings,
    id_file: &Path,
    now: Timestamp,
) -> Result<Timestamp, OpenError> {
    let database = Database::new(settings, None)?;
    let at_file = |error: std::io::Error| OpenError::Io(format!("{}: {error}", id_file.display()));
    let id = StoreId::fresh().map_err(at_file)?;
    write_id(id_file, id).map_err(at_file)?;
    let anew = {
        let database = database.clone();
        async move {
            let aside = database.call_within(PATIENCE, move |connection| {
                Box::pin(async move { put_aside(connection, &now.compact()).await })
            });
            let aside = aside.await?;
            database.migrate().await?;
            database
                .call_within(PATIENCE, move |connection| {
                    Box::pin(async move { fill(connection, id, aside, now).await })
                })
                .await
        }
    };
    let ended = || DatabaseError::Unavailable("the way to the database has ended".into());
    Ok(database.wait(anew).unwrap_or_else(|| Err(ended()))?)
}

/// Gives what is there another name, and says which.
async fn put_aside(connection: &mut Connection, now: &str) -> Result<Option<String>, SqlError> {
    let schemas = "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname LIKE 'certbound%'";
    let rows = connection.query(schemas, &[]).await?;
    let taken: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if !taken.iter().any(|name| name == "certbound") {
        return Ok(None);
    }
    let mut names =
        (1..).map(|again: u32| format!("certbound_forgotten_{}_{again}", now.to_ascii_lowercase()));
    let name = names.find(|name| !taken.contains(name));
    if let Some(name) = &name {
        // Digits and letters of ours.
        connection.batch(&format!("ALTER SCHEMA certbound RENAME TO {name}")).await?;
    }
    Ok(name)
}

/// The one row, and the signing keys of before.
async fn fill(
    connection: &mut Connection,
    id: StoreId,
    aside: Option<String>,
    now: Timestamp,
) -> Result<Timestamp, SqlError> {
    connection.begin().await?;
    let clock: i64 = connection.query_opt(CLOCK, &[]).await?.map_or(Ok(0), |row| row.try_get(0))?;
    let now = now.max(Timestamp::from_unix(clock.saturating_add(1)));
    let make = "INSERT INTO certbound.store (id, forgotten_before) VALUES ($1, $2)";
    connection.execute(make, &[&&id.0[..], &now.as_unix()]).await?;
    if let Some(aside) = aside {
        let tables = "SELECT count(*) FROM pg_catalog.pg_tables
            WHERE schemaname = $1 AND tablename IN ('signing_keys', 'store')";
        let row = connection.query_opt(tables, &[&aside]).await?;
        // Where they are damaged there is nothing to keep.
        if row.map_or(Ok(0), |row| row.try_get::<_, i64>(0))? == 2 {
            connection
                .batch(&format!(
                    "INSERT INTO certbound.signing_keys SELECT * FROM {aside}.signing_keys;
                     UPDATE certbound.store SET
                        keys_generation = 1 + coalesce((SELECT keys_generation FROM {aside}.store), 0),
                        seal = (SELECT seal FROM {aside}.store)"
                ))
                .await?;
        }
    }
    connection.commit().await?;
    Ok(now)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
pub(super) fn failed(error: SqlError) -> DatabaseError {
    DatabaseError::from(&error)
}

fn corrupt(what: String) -> DatabaseError {
    DatabaseError::Corrupt(what)
}
