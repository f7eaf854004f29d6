//! The store of a server, whichever it is, and what opening it finds.

use std::sync::Arc;

use super::evidence::Evidence;
use super::postgres::Postgres;
use super::sled::Sled;
use super::{StoreError, TokenStore};

/// An open store.
#[derive(Clone)]
pub enum Store {
    /// The embedded one.
    Sled(Arc<Sled>),
    /// The one that several nodes share.
    Postgres(Arc<Postgres>),
}

impl Store {
    /// What was ended.
    pub fn tokens(&self) -> Arc<dyn TokenStore> {
        match self {
            Self::Sled(store) => Arc::clone(store) as Arc<dyn TokenStore>,
            Self::Postgres(store) => Arc::clone(store) as Arc<dyn TokenStore>,
        }
    }

    /// What was seen.
    pub fn evidence(&self) -> Arc<dyn Evidence> {
        match self {
            Self::Sled(store) => Arc::clone(store) as Arc<dyn Evidence>,
            Self::Postgres(store) => Arc::clone(store) as Arc<dyn Evidence>,
        }
    }

    /// Reads every entry, and counts.
    pub async fn check(&self) -> Result<CheckReport, StoreError> {
        match self {
            Self::Sled(store) => {
                let store = Arc::clone(store);
                apart(move || store.check()).await
            }
            Self::Postgres(store) => store.check().await,
        }
    }

    /// The store as JSON lines: the first has its id, the last the number of records.
    pub async fn export(&self) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Sled(store) => {
                let store = Arc::clone(store);
                apart(move || {
                    let mut lines = Vec::new();
                    let written = store.export(&mut lines);
                    written.map_err(|error| {
                        StoreError::Unavailable(format!("the export is not complete: {error}"))
                    })?;
                    Ok(lines)
                })
                .await
            }
            Self::Postgres(store) => store.export().await,
        }
    }
}

/// Reading a whole store from a disk takes longer than a worker may stand still.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = |_| StoreError::Unavailable("the server is shutting down".into());
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Damaged, vanished, of another id, or nothing moved for 8 s while it was opened: exit code 3.
    #[error("{0}")]
    Damaged(String),
    /// Another process has it: exit code 1.
    #[error("{0}")]
    Held(String),
    /// It cannot be read or written for a reason outside of it, or may not be: made by a newer program,
    /// there already, an export with a wrong line: exit code 1.
    #[error("{0}")]
    Io(String),
}

/// What opening found, for the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Opened {
    /// There was none; it was made.
    Created,
    /// The one that the id file names.
    Existing,
    /// A store, and no id file: the file was written. Worth a warning, since it cannot be told whether it is
    /// the right one.
    Adopted,
    /// It cannot be reached, for this reason; its id is compared when it can. Of a store that is elsewhere only.
    OutOfReach(String),
}

/// What `store check` counted.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct CheckReport {
    /// The id of the store.
    pub id: String,
    /// Tokens ended one by one.
    pub revoked_tokens: u64,
    /// Clients whose earlier tokens were ended.
    pub revoked_clients: u64,
    /// Clients that are registered, or were until lately.
    pub clients: u64,
    /// Certificates that served a client.
    pub sightings: u64,
    /// Refusals that can be explained.
    pub refusals: u64,
    /// Entries of the evidence that cannot be read: sightings or refusals that are lost, and no revocations.
    pub unreadable: u64,
}
