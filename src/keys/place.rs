//! Where the signing keys are: in a directory of this node, or in the database that the nodes share.

use super::shared::Shared;
use super::{Begin, Change, Directory, KeyFileError, KeyId, Reading, Schedule, SigningKeys, next_step};
use crate::clock::Timestamp;
use crate::database::DatabaseError;

/// Where the keys are, and how they are changed there.
#[derive(Clone, Debug)]
pub enum Place {
    /// `signing.directory`.
    Directory(Directory),
    /// The database.
    Shared(Shared),
}

/// What somebody changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Changed {
    /// The key it is about.
    pub kid: KeyId,
    /// The live nodes that were not heard to have taken it in. Of keys in a directory nobody is asked.
    pub unconfirmed: Vec<String>,
}

/// Keys that could not be read or changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeysError {
    /// Something about a key, or about what was asked.
    #[error(transparent)]
    Fault(#[from] KeyFileError),
    /// The database has not done it, or has not said so.
    #[error("the signing keys are in the database: {0}")]
    Database(#[from] DatabaseError),
}

impl Place {
    /// Reads every key; where one has an error, that of `previous` stays.
    pub async fn read(&self, previous: &SigningKeys) -> Result<Reading, KeysError> {
        match self {
            Self::Directory(directory) => Ok(directory.reread(previous)),
            Self::Shared(shared) => shared.read(previous).await,
        }
    }

    /// Does what the schedule wants done; at most one thing in a directory.
    pub async fn tend(
        &self,
        keys: &SigningKeys,
        schedule: &Schedule,
        now: Timestamp,
    ) -> Result<Change, KeysError> {
        match self {
            Self::Directory(directory) => {
                Ok(directory.carry_out(&next_step(keys, schedule, now), schedule.algorithm)?)
            }
            Self::Shared(shared) => shared.tend(schedule).await.map(|()| Change::Nothing),
        }
    }

    /// Makes the next key because somebody asked for it (`keys rotate`).
    pub async fn rotate(
        &self,
        schedule: &Schedule,
        begin: Begin,
        now: Timestamp,
    ) -> Result<Changed, KeysError> {
        match self {
            Self::Directory(directory) => Ok(directory.rotate(schedule.algorithm, begin, now)?.into()),
            Self::Shared(shared) => shared.rotate(schedule, begin).await,
        }
    }

    /// Takes over a private key in PEM (`keys import`).
    pub async fn import(
        &self,
        pem: &[u8],
        schedule: &Schedule,
        now: Timestamp,
    ) -> Result<Changed, KeysError> {
        match self {
            Self::Directory(directory) => {
                let signs_from = Begin::Published.signs_from(&directory.read().keys, now);
                Ok(directory.import(pem, Some(schedule.algorithm), signs_from)?.into())
            }
            Self::Shared(shared) => shared.import(pem, schedule).await,
        }
    }

    /// Ends a key at once (`keys revoke`); `None` if there is no such key.
    pub async fn revoke(
        &self,
        kid: &str,
        schedule: &Schedule,
        now: Timestamp,
    ) -> Result<Option<Changed>, KeysError> {
        match self {
            Self::Directory(directory) => Ok(directory.revoke(kid, now)?.then(|| KeyId::stored(kid).into())),
            Self::Shared(shared) => shared.revoke(kid, schedule).await,
        }
    }
}

impl From<KeyId> for Changed {
    fn from(kid: KeyId) -> Self {
        Self { kid, unconfirmed: Vec::new() }
    }
}
