//! The database behind several nodes: what certbound makes of it, and of its faults. Never "good" from what could not be
//! read, never a request that waits for long, and no restart when it is back.

#![cfg(test)]

mod contents;
mod faults;
mod fitness;
mod moving;
mod roll;
mod serving;
mod way;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use certbound::clock::Timestamp;
use certbound::database::Settings;
use certbound::store::postgres::Postgres as Store;
use certbound::store::{OpenError, Opened, Standing, StoreError, TokenKey, TokenStore};
use tempfile::TempDir;

use crate::store_contract::{NEVER, at, token};
use crate::support::postgres::Postgres as Server;

/// How long anybody waits for an answer at most.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// How long a node takes at most to work again when the database is back.
const RECOVERS_WITHIN: Duration = Duration::from_secs(5);

/// A database, and a node with its id file.
struct Place {
    url: String,
    pool: usize,
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self::at(Server::shared())
    }

    fn at(server: &Server) -> Self {
        Self::of(server.fresh())
    }

    fn of(url: String) -> Self {
        Self { url, pool: 4, directory: tempfile::tempdir().unwrap() }
    }

    /// Another node on the same database.
    fn another_node(&self) -> Self {
        Self::of(self.url.clone())
    }

    fn settings(&self) -> Settings {
        Settings { url: self.url.clone().into(), ca: None, pool: self.pool }
    }

    fn id_file(&self) -> PathBuf {
        self.directory.path().join("keys/store-id")
    }

    fn open(&self) -> Result<(Store, Opened), OpenError> {
        Store::open(&self.settings(), &self.id_file())
    }

    fn store(&self) -> Store {
        self.open().unwrap().0
    }

    fn refusal(&self) -> OpenError {
        self.open().map(|(_, opened)| opened).unwrap_err()
    }

    /// Statements of somebody else.
    fn sql(&self, statements: &str) -> String {
        Server::shared().sql(Server::database(&self.url), statements)
    }

    /// Ends every connection to the database.
    fn disconnect(&self) {
        self.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
    }
}

/// Whether it has ended; what cannot be said fails the test.
async fn has_ended(store: &Store, token: &TokenKey) -> bool {
    store.standing(token).await.unwrap() != Standing::Good
}

/// Every call says that there is no answer, and says so in time.
async fn is_unavailable(store: &Store) {
    let some = token("billing", at(0));
    let began = Instant::now();
    let standing = store.standing(&some).await;
    assert!(matches!(standing, Err(StoreError::Unavailable(_))), "{standing:?}");
    let revoked = store.revoke(some.jti, at(0), NEVER).await;
    assert!(matches!(revoked, Err(StoreError::Unavailable(_))), "{revoked:?}");
    assert!(store.ping().await.is_err() && store.moment(at(0)).await.is_err());
    assert!(began.elapsed() < ANSWERS_WITHIN, "{:?}", began.elapsed());
}

/// Every call says that this is not the store.
async fn is_corrupt(store: &Store) {
    let some = token("billing", at(0));
    let standing = store.standing(&some).await;
    assert!(matches!(standing, Err(StoreError::Corrupt { .. })), "{standing:?}");
    let revoked = store.revoke(some.jti, at(0), NEVER).await;
    assert!(matches!(revoked, Err(StoreError::Corrupt { .. })), "{revoked:?}");
    let ended = store.revoke_issued_before(&some.client, at(0), NEVER).await;
    assert!(matches!(ended, Err(StoreError::Corrupt { .. })), "{ended:?}");
    assert!(store.ping().await.is_err());
}

/// Waits until it answers again; how long that took.
async fn recovers(store: &Store) -> Duration {
    let began = Instant::now();
    while let Err(error) = store.standing(&token("billing", at(0))).await {
        assert!(began.elapsed() < RECOVERS_WITHIN, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

fn now() -> Timestamp {
    certbound::clock::Clock::now(&certbound::clock::SystemClock)
}
