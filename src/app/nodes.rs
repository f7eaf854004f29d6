//! What a server has beside it where several nodes share a database: their time, their keys, and the beat.

use std::sync::Arc;

use tokio::sync::watch;

use super::StartError;
use crate::clock::{Clock, NodeClock, Timestamp};
use crate::cluster::Node;
use crate::config::{Config, StoreSettings};
use crate::keys::{Directory, Place, SealingKey, Shared, SigningKeys};
use crate::store::Store;
use crate::tasks::Background;
use crate::tasks::beat::{Beat, Beating, Heard};
use crate::world;

/// Where Linux says what the machine is called.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The clock that counts: with a database its, which `wall` is compared with.
pub(super) fn clocks(config: &Config, wall: Arc<dyn Clock>) -> (Arc<dyn Clock>, Option<Arc<NodeClock>>) {
    if let StoreSettings::Sled { .. } = config.store {
        return (wall, None);
    }
    let clock = Arc::new(NodeClock::new(wall));
    (Arc::clone(&clock) as Arc<dyn Clock>, Some(clock))
}

/// What can be had of the signing keys before the store is open.
pub(super) struct Keys {
    signing: SigningKeys,
    directory: Directory,
    sealing: Option<SealingKey>,
}

impl Keys {
    /// The files, or what opens the keys in the database. The directory is made in any case: `store-id` lies there.
    pub(super) fn find(config: &Config, now: Timestamp) -> Result<Self, StartError> {
        let sealing = world::sealing_key(config).map_err(StartError::Problems)?;
        let is_shared = matches!(config.store, StoreSettings::Postgres(_));
        if is_shared && sealing.is_none() {
            let directory = config.signing.directory.display();
            tracing::warn!(%directory, "without signing.sealing_key all nodes must share the directory of the signing keys");
        }
        let (signing, directory) = match sealing {
            Some(_) => {
                (SigningKeys::default(), world::signing_directory(config).map_err(StartError::Problems)?)
            }
            None => world::signing_keys(config, now).map_err(StartError::Problems)?,
        };
        Ok(Self { signing, directory, sealing })
    }

    /// The keys so far, and their place. Those in a database come with the first beat.
    pub(super) fn with(self, store: &Store) -> (SigningKeys, Place) {
        let place = match (self.sealing, store) {
            (Some(sealing), Store::Postgres(store)) => {
                Place::Shared(Shared::new(store.database().clone(), sealing))
            }
            _ => Place::Directory(self.directory),
        };
        (self.signing, place)
    }
}

/// Joins the other nodes: returns when the time and the keys are there, or cannot be had now. `None` without others.
pub(super) fn join(
    clock: Option<Arc<NodeClock>>,
    background: &Background,
    rolls: watch::Sender<u64>,
) -> Result<Option<Beating>, StartError> {
    let (services, administration) =
        (Arc::clone(&background.services), Arc::clone(&background.administration));
    let (Store::Postgres(store), Some(clock)) = (&administration.store, clock) else { return Ok(None) };
    let store = Arc::clone(store);
    let failed = |cause| StartError::System { what: "this node cannot join the others".to_owned(), cause };
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| failed(std::io::Error::other(error)))?;
    // Without a name there is still the id.
    let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    let node = Node::new(store.database(), id, &host);
    let beat = Beat { node, clock, services, administration, store, rolls, heard: Heard::default() };
    beat.start(background.ended.clone()).map_err(failed)?.map(Some).map_err(StartError::Problems)
}
