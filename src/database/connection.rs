//! One connection: how it is made and checked, its prepared statements, and what its errors mean.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Client, Config, Row, SimpleQueryMessage, Statement};

use super::settings::Target;
use super::{Admission, DEADLINE, DatabaseError, SqlError, migrations};

/// What each connection is told first. The server gives up before the caller does, so that what is given up ends there,
/// too. Our transactions take row locks where it matters. A commit that was answered has to be on disk: where the
/// database was told that it need not be, this connection says that it must.
const GREETING: &str = "SET statement_timeout = 1200;
    SET lock_timeout = 1000;
    SET idle_in_transaction_session_timeout = 5000;
    SET default_transaction_isolation = 'read committed';
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')";

/// A connection that passed all checks. Statements are prepared once each.
pub struct Connection {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    driver: AbortHandle,
    is_in_transaction: bool,
}

impl Connection {
    /// The rows of a statement.
    pub async fn query(
        &mut self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, SqlError> {
        let statement = self.prepared(sql).await?;
        self.client.query(&statement, parameters).await
    }

    /// The only row of a statement that gives one or none.
    pub async fn query_opt(
        &mut self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, SqlError> {
        let statement = self.prepared(sql).await?;
        self.client.query_opt(&statement, parameters).await
    }

    /// Runs a statement and gives the number of rows that it touched.
    pub async fn execute(
        &mut self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, SqlError> {
        let statement = self.prepared(sql).await?;
        self.client.execute(&statement, parameters).await
    }

    /// Runs statements without parameters.
    pub async fn batch(&mut self, sql: &str) -> Result<(), SqlError> {
        self.client.batch_execute(sql).await
    }

    /// Begins a transaction. If the work ends before [`Connection::commit`], nothing of it was done.
    pub async fn begin(&mut self) -> Result<(), SqlError> {
        self.is_in_transaction = true;
        self.batch("BEGIN ISOLATION LEVEL READ COMMITTED").await
    }

    /// Makes the transaction durable.
    pub async fn commit(&mut self) -> Result<(), SqlError> {
        self.batch("COMMIT").await?;
        self.is_in_transaction = false;
        Ok(())
    }

    /// Undoes the transaction, if there is one.
    pub(super) async fn roll_back(&mut self) -> Result<(), SqlError> {
        if self.is_in_transaction {
            self.batch("ROLLBACK").await?;
            self.is_in_transaction = false;
        }
        Ok(())
    }

    pub(super) async fn simple(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, SqlError> {
        self.client.simple_query(sql).await
    }

    pub(super) fn is_open(&self) -> bool {
        !self.client.is_closed()
    }

    /// Whether somebody else can go on with it.
    pub(super) fn is_clean(&self) -> bool {
        self.is_open() && !self.is_in_transaction
    }

    async fn prepared(&mut self, sql: &'static str) -> Result<Statement, SqlError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// A column of a row. What has another type than it should is damage.
pub fn column<'r, T: FromSql<'r>>(row: &'r Row, index: usize) -> Result<T, DatabaseError> {
    row.try_get(index).map_err(|error| DatabaseError::Corrupt(format!("a row has the wrong shape: {error}")))
}

/// Makes connections.
pub(super) struct Connector {
    pub(super) target: Target,
    pub(super) admission: Option<Arc<dyn Admission>>,
    pub(super) handle: Handle,
    /// The host that let us in last; the others are tried after it.
    pub(super) preferred: AtomicUsize,
    /// Whether any connection was admitted: only the first may have to make the tables.
    pub(super) is_known: AtomicBool,
}

impl Connector {
    /// A new connection that passed all checks. Given up with whoever waits for it.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Connection, Refused> {
        let this = Arc::clone(self);
        let mut making = JoinSet::new();
        making.spawn_on(async move { this.make().await }, &self.handle);
        match making.join_next().await {
            Some(Ok(made)) => made,
            _ => Err(DatabaseError::Unavailable("the way to the database has ended".into()).into()),
        }
    }

    async fn make(&self) -> Result<Connection, Refused> {
        let count = self.target.hosts.len().max(1);
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last = Refused::from(DatabaseError::Unavailable("the database has no host".into()));
        for index in (first..first + count).map(|index| index % count) {
            let Some(host) = self.target.hosts.get(index) else { break };
            match self.enter(host).await {
                Ok(connection) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(refused) => last = refused,
            }
        }
        Err(last)
    }

    async fn enter(&self, host: &Config) -> Result<Connection, Refused> {
        let late = |_| DatabaseError::Unavailable("the database does not let us in in time".into());
        let mut connection = timeout(DEADLINE, self.greet(host)).await.map_err(late)??;
        let admitted = async {
            match &self.admission {
                Some(admission) => admission.admit(&mut connection).await,
                None => Ok(()),
            }
        };
        let patience = if self.is_known.load(Ordering::Relaxed) { DEADLINE } else { migrations::PATIENCE };
        timeout(patience, admitted).await.map_err(late)??;
        self.is_known.store(true, Ordering::Relaxed);
        Ok(connection)
    }

    async fn greet(&self, host: &Config) -> Result<Connection, Refused> {
        let (client, driver) =
            host.connect(self.target.tls.clone()).await.map_err(|error| Refused::by(&error))?;
        // How it ends, its calls hear.
        let driver = self.handle.spawn(async move { drop(driver.await) }).abort_handle();
        let mut connection =
            Connection { client, statements: HashMap::new(), driver, is_in_transaction: false };
        connection.batch(GREETING).await.map_err(|error| Refused::by(&error))?;
        Ok(connection)
    }
}

/// An error, and what to make of it.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    error: DatabaseError,
    code: Option<SqlState>,
    /// The connection broke; whatever was sent may have been done or not.
    is_broken: bool,
}

impl Refused {
    /// What the driver or the server said. Never the connection string, which has the password in it.
    pub(super) fn by(error: &SqlError) -> Self {
        let Some(said) = error.as_db_error() else {
            return Self { error: DatabaseError::Unavailable(causes(error)), code: None, is_broken: true };
        };
        let (code, text) = (said.code(), format!("{} (SQLSTATE {})", said.message(), said.code().code()));
        let error = match code {
            code if is_damage(code) => DatabaseError::Corrupt(text),
            code if *code == SqlState::INSUFFICIENT_PRIVILEGE => DatabaseError::Unfit(text),
            _ => DatabaseError::Unavailable(text),
        };
        let is_broken =
            matches!(code.code().get(..2), Some("08" | "57")) && *code != SqlState::QUERY_CANCELED;
        Self { error, code: Some(code.clone()), is_broken }
    }

    /// Met other work: done again it will do.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(&self.code, Some(code)
            if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED)
    }

    pub(super) fn is_worth_another_try(&self) -> bool {
        self.is_conflict() || self.is_broken
    }

    /// The server has no connection left for us.
    pub(super) fn is_for_room(&self) -> bool {
        matches!(&self.code, Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS)
    }
}

/// An error and what caused it. The driver names each once.
fn causes(error: &SqlError) -> String {
    let first: &dyn std::error::Error = error;
    let all = std::iter::successors(Some(first), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Tables, columns or types that are not as we made them; damaged pages; rows that break our rules.
fn is_damage(code: &SqlState) -> bool {
    [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::DATATYPE_MISMATCH,
        SqlState::NOT_NULL_VIOLATION,
        SqlState::INVALID_COLUMN_REFERENCE,
        SqlState::DATA_CORRUPTED,
        SqlState::INDEX_CORRUPTED,
    ]
    .contains(code)
}

impl From<Refused> for DatabaseError {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

impl From<DatabaseError> for Refused {
    fn from(error: DatabaseError) -> Self {
        Self { error, code: None, is_broken: false }
    }
}
