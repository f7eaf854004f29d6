//! The way to a PostgreSQL database, and to what speaks its protocol: connections, time limits, migrations.
//!
//! Whoever waits for an answer, waits [`DEADLINE`] at most, all in. A database that does not answer is known to be out
//! from then on: everybody hears so at once, and one prober looks every half second whether it is back. So nothing piles
//! up behind a dead or frozen database. Connections live on a thread of their own, never on that of a request. The
//! statements are left to `store`, `keys` and `cluster`, as is who may be let in ([`Admission`]): which store it has to be.

mod connection;
mod migrations;
mod outage;
mod settings;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

pub use self::connection::{Connection, column};
pub use self::migrations::{SCHEMA, is_empty, migrate, needed_schema};
pub use self::settings::{DatabaseUrlError, Settings};
pub use tokio_postgres::types::ToSql;
pub use tokio_postgres::{Error as SqlError, Row};

use self::connection::{Connector, Refused};
use self::outage::Outage;

/// How long a call takes at most: the wait for a connection, making one, and the statements.
pub const DEADLINE: Duration = Duration::from_millis(1500);

/// A call that was given up after this part of its time says that the database does not answer. One that was given up
/// sooner says nothing: its client may have gone away.
const SUSPICIOUS: u32 = 2;

/// How many calls wait for a connection; those that come then are refused at once.
const MOST_WAITING: usize = 2048;

/// How often work that met other work is done again ([`Database::repeat`]).
const REPEATS: u32 = 8;

/// What a call does with its connection.
pub type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, SqlError>> + Send + 'c>>;

/// The values of the parameters of a statement, in their order.
pub type Values = Vec<Box<dyn ToSql + Send + Sync>>;

/// Decides whether a new connection leads to the database that it should: makes the tables where there are none, compares
/// ids. Until it has said yes no call gets that connection.
pub trait Admission: Send + Sync {
    /// Looks. What it refuses, everybody hears.
    fn admit<'c>(
        &'c self,
        connection: &'c mut Connection,
    ) -> Pin<Box<dyn Future<Output = Result<(), DatabaseError>> + Send + 'c>>;
}

/// A database behind a bounded number of connections. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
    heeds: Heeds,
}

/// Why there is no answer. Neither is ever an answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DatabaseError {
    /// It cannot be reached, or not be written to now. The same call may work later.
    #[error("{0}")]
    Unavailable(String),
    /// It answers and cannot be worked with: the tables of a newer program, a right that is missing.
    #[error("{0}")]
    Unfit(String),
    /// It is not the database that it should be, or holds what was never written.
    #[error("{0}")]
    Corrupt(String),
}

/// Whether a call is refused while the database is condemned.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Heeds {
    Verdict,
    Nothing,
}

struct Shared {
    connector: Arc<Connector>,
    pool: usize,
    /// One for each connection that may be in use.
    free: Arc<Semaphore>,
    waiting: Semaphore,
    idle: Mutex<Vec<Connection>>,
    outage: Outage,
    verdict: Mutex<Option<String>>,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

impl Database {
    /// Nothing is connected yet. Every connection passes `admission` first; without one, any database with tables of ours
    /// will do.
    pub fn new(settings: &Settings, admission: Option<Arc<dyn Admission>>) -> Result<Self, DatabaseUrlError> {
        let target = settings.target()?;
        // One thread reads and writes for all connections: it does nothing else.
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("database")
            .enable_all()
            .build()
            .map_err(|error| DatabaseUrlError(format!("the system gives no thread: {error}")))?;
        let connector = Connector {
            target,
            admission,
            handle: runtime.handle().clone(),
            preferred: AtomicUsize::new(0),
            is_known: AtomicBool::new(false),
        };
        let shared = Shared {
            connector: Arc::new(connector),
            pool: settings.pool,
            free: Arc::new(Semaphore::new(settings.pool)),
            waiting: Semaphore::new(MOST_WAITING),
            idle: Mutex::default(),
            outage: Outage::default(),
            verdict: Mutex::default(),
            runtime: Some(runtime),
        };
        Ok(Self { shared: Arc::new(shared), heeds: Heeds::Verdict })
    }

    /// Does some work on a connection of its own, within [`DEADLINE`]. After an error the work may have been done all the
    /// same, unless it was in a transaction that was not [committed](Connection::commit).
    pub async fn call<T, F>(&self, work: F) -> Result<T, DatabaseError>
    where
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T>,
    {
        self.call_within(DEADLINE, work).await
    }

    /// The same with more time, for what reads much. The server ends a statement after 1.2 s by itself; such work begins a
    /// transaction with `SET LOCAL statement_timeout`.
    pub async fn call_within<T, F>(&self, deadline: Duration, work: F) -> Result<T, DatabaseError>
    where
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T>,
    {
        self.in_time(deadline, async { self.attempt(deadline, work).await.map_err(Refused::into) }).await
    }

    /// The same for work that may be done twice: it is done again where the server asks for it (a serialization failure,
    /// a deadlock) or the connection broke, within the same time.
    pub async fn repeat<T, F>(&self, work: F) -> Result<T, DatabaseError>
    where
        F: for<'c> Fn(&'c mut Connection) -> Work<'c, T>,
    {
        let repeatedly = async {
            let mut pause = Duration::from_millis(2);
            for _ in 1..REPEATS {
                match self.attempt(DEADLINE, &work).await {
                    Err(refused) if refused.is_worth_another_try() => sleep(pause).await,
                    answer => return answer.map_err(Refused::into),
                }
                pause *= 2;
            }
            self.attempt(DEADLINE, &work).await.map_err(Refused::into)
        };
        self.in_time(DEADLINE, repeatedly).await
    }

    /// One statement that may be done twice; one round trip, but for its first time on a connection.
    pub async fn query(&self, sql: &'static str, values: Values) -> Result<Vec<Row>, DatabaseError> {
        let values = Arc::new(values);
        let rows = self.repeat(move |connection| {
            let values = Arc::clone(&values);
            Box::pin(async move {
                let values: Vec<_> = values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
                connection.query(sql, &values).await
            })
        });
        rows.await
    }

    /// Makes the tables, or brings them up to [`SCHEMA`].
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        let migrated = self.call_within(migrations::PATIENCE, |connection| {
            Box::pin(async { Ok(migrate(connection).await) })
        });
        migrated.await?
    }

    /// Refuses every call with [`DatabaseError::Corrupt`] from here on, or no longer. For what only its contents show: that
    /// it went back in time.
    pub fn condemn(&self, verdict: Option<String>) {
        *self.shared.verdict.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
    }

    /// The same database for whoever has to look at it though it is condemned.
    #[must_use]
    pub fn regardless(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), heeds: Heeds::Nothing }
    }

    /// Waits for something that needs a runtime, where there may be none. Blocks the thread.
    pub fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (send, receive) = mpsc::sync_channel(1);
        drop(self.shared.connector.handle.spawn(async move { send.send(work.await) }));
        receive.recv().ok()
    }

    async fn in_time<T>(
        &self,
        deadline: Duration,
        answer: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        if self.heeds == Heeds::Verdict
            && let Some(verdict) = &*self.shared.verdict.lock().unwrap_or_else(PoisonError::into_inner)
        {
            return Err(DatabaseError::Corrupt(verdict.clone()));
        }
        let late = || DatabaseError::Unavailable("the database does not answer in time".into());
        timeout(deadline, answer).await.unwrap_or_else(|_| Err(late()))
    }

    async fn attempt<T, F>(&self, deadline: Duration, work: F) -> Result<T, Refused>
    where
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T>,
    {
        let mut lease = self.lease(deadline).await?;
        let connection = lease.connection().await?;
        match work(connection).await {
            Ok(answer) => {
                lease.give_back();
                Ok(answer)
            }
            Err(error) => {
                let refused = Refused::by(&error);
                // Met other work: the connection itself is sound. Any other error: who knows.
                if refused.is_conflict() && connection.roll_back().await.is_ok() {
                    lease.give_back();
                } else {
                    lease.end();
                }
                Err(refused)
            }
        }
    }

    /// A place at the database, at once or when somebody else is done.
    async fn lease(&self, deadline: Duration) -> Result<Lease, Refused> {
        let shared = &self.shared;
        let full = |_| DatabaseError::Unavailable("too many wait for the database".into());
        let _waiting = shared.waiting.try_acquire().map_err(full)?;
        let permit = tokio::select! {
            biased;
            error = shared.outage.begins() => return Err(error.into()),
            permit = Arc::clone(&shared.free).acquire_owned() => permit,
        };
        let closed = |_| DatabaseError::Unavailable("the database is closed".into());
        let permit = permit.map_err(closed)?;
        Ok(Lease {
            shared: Arc::clone(shared),
            _permit: permit,
            connection: None,
            began: Instant::now(),
            suspicious: deadline / SUSPICIOUS,
            is_over: false,
        })
    }
}

/// What the driver or the server said of a statement.
impl From<&SqlError> for DatabaseError {
    fn from(error: &SqlError) -> Self {
        Refused::by(error).into()
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("pool", &self.shared.pool).finish_non_exhaustive()
    }
}

/// The right to one connection. A connection that is not given back is thrown away.
struct Lease {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
    connection: Option<Connection>,
    began: Instant,
    suspicious: Duration,
    is_over: bool,
}

/// How long one waits before asking for a connection again that the server had no room for.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

impl Lease {
    /// An idle connection, or a new one.
    async fn connection(&mut self) -> Result<&mut Connection, Refused> {
        let connection = loop {
            if let Some(idle) = self.shared.take_idle() {
                break idle;
            }
            match self.shared.connector.connect().await {
                Ok(new) => break new,
                // Full, and not by us alone: those that we have are enough to go on with.
                Err(refused) if refused.is_for_room() && self.shared.has_others() => sleep(ROOM_PAUSE).await,
                Err(refused) => {
                    self.is_over = true;
                    Shared::fails(&self.shared, refused.clone().into());
                    return Err(refused);
                }
            }
        };
        Ok(self.connection.insert(connection))
    }

    fn give_back(mut self) {
        self.is_over = true;
        if let Some(connection) = self.connection.take().filter(Connection::is_clean) {
            self.shared.keep_idle(connection);
        }
    }

    /// Answered, if badly.
    fn end(mut self) {
        self.is_over = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_over && self.began.elapsed() >= self.suspicious {
            let late = DatabaseError::Unavailable("the database does not answer".into());
            Shared::fails(&self.shared, late);
        }
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle();
        std::iter::from_fn(|| idle.pop()).find(Connection::is_open)
    }

    fn keep_idle(&self, connection: Connection) {
        let mut idle = self.idle();
        if idle.len() < self.pool {
            idle.push(connection);
        }
    }

    /// Whether somebody besides the one who asks may have a connection.
    fn has_others(&self) -> bool {
        self.free.available_permits() + 1 < self.pool
    }

    /// The database is out: everybody hears it, and one looks whether it is back.
    fn fails(this: &Arc<Self>, error: DatabaseError) {
        if !this.outage.starts(error) {
            return;
        }
        this.idle().clear();
        let (connector, shared) = (Arc::clone(&this.connector), Arc::downgrade(this));
        drop(this.connector.handle.spawn(async move {
            loop {
                let outcome = connector.connect().await;
                let Some(shared) = shared.upgrade() else { return };
                match outcome {
                    Ok(connection) => {
                        shared.keep_idle(connection);
                        return shared.outage.ends();
                    }
                    Err(refused) => shared.outage.goes_on(refused.into()),
                }
                drop(shared);
                sleep(outage::PROBE_EVERY).await;
            }
        }));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.idle().clear();
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed on the threads of another runtime.
            runtime.shutdown_background();
        }
    }
}
