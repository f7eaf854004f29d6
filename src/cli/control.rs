//! What a command about a server's state works on: the server itself where one runs, else its files.
//!
//! Never both: while a server holds the store and watches the keys, every change goes through it and is live
//! when the command returns. Only where nobody listens on the control socket does a command open the files
//! itself.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::authn::ClientAuthenticator;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, PostgresSource, StoreSettings};
use crate::database::{DatabaseError, Settings};
use crate::document::{Problems, Severity};
use crate::keys::{Directory, KeyFileError, KeysError, Place, Reading, Shared, SigningKeys};
use crate::oauth::ClientId;
use crate::store::evidence::Sighting;
use crate::store::postgres::Postgres;
use crate::store::sled::Sled;
use crate::store::{OpenError, Store, StoreError};
use crate::world::{self, Facts, World};

use super::Globals;
use super::client::{ControlSocket, runtime};
use super::output::{Fault, complain};

/// The configuration that `-c` names. A file that cannot be read is wrong usage; errors in it are a refusal,
/// with all of them; warnings are told and go on.
pub(super) fn configuration(globals: &Globals) -> Result<Config, Fault> {
    readable(globals)?;
    let (config, problems) = Config::load(&globals.config);
    match config {
        Some(config) => {
            warn(&problems);
            Ok(config)
        }
        None => Err(Fault::Refused(listed(&problems))),
    }
}

/// Whether the file that `-c` names can be read at all.
pub(super) fn readable(globals: &Globals) -> Result<(), Fault> {
    File::open(&globals.config).map(drop).map_err(|error| {
        Fault::Usage(format!("{}: {error}; name the configuration with -c FILE", globals.config.display()))
    })
}

/// Problems as lines, below a line that counts the errors.
pub(super) fn listed(problems: &Problems) -> String {
    let errors = problems.0.iter().filter(|problem| problem.severity == Severity::Error).count();
    let mut lines = vec![format!("{errors} {}", if errors == 1 { "error" } else { "errors" })];
    lines.extend(problems.0.iter().map(ToString::to_string));
    lines.join("\n")
}

/// Warnings do not stop a command, and are not kept from whoever gave it.
pub(super) fn warn(problems: &Problems) {
    for problem in &problems.0 {
        complain(problem);
    }
}

/// The running server of this configuration, if there is one.
pub(super) fn server(config: &Config) -> Result<Option<ControlSocket>, Fault> {
    ControlSocket::reach(&config.control)
}

/// For what only works while no server runs.
pub(super) fn no_server(config: &Config) -> Result<(), Fault> {
    match server(config)? {
        Some(_) => {
            Err(Fault::Refused(format!("a server is running ({}); stop it first", config.control.display())))
        }
        None => Ok(()),
    }
}

/// The file with the id that the store must have.
pub(super) fn id_file(config: &Config) -> PathBuf {
    config.signing.directory.join("store-id")
}

/// How the database is reached.
pub(super) fn database(config: &Config, source: &PostgresSource) -> Result<Settings, Fault> {
    source.settings(config.outgoing.ca.as_ref()).map_err(|problems| Fault::Refused(listed(&problems)))
}

/// The store, which must exist: a wrong `-c` must not leave a new one behind.
pub(super) fn open_store(config: &Config) -> Result<Store, Fault> {
    find_store(config)?.ok_or_else(|| {
        let place = match &config.store {
            StoreSettings::Sled { path } => format!("at {}", path.display()),
            StoreSettings::Postgres(_) => "in the database".to_owned(),
        };
        Fault::Refused(format!("there is no store {place} yet; `certbound serve` makes it"))
    })
}

/// The store, if there is one: a server may not have run yet.
pub(super) fn find_store(config: &Config) -> Result<Option<Store>, Fault> {
    let id_file = id_file(config);
    Ok(match &config.store {
        StoreSettings::Sled { path } if !path.exists() && !id_file.exists() => None,
        StoreSettings::Sled { path } => Some(Store::Sled(Arc::new(Sled::open(path, &id_file)?.0))),
        StoreSettings::Postgres(source) => {
            let store = Postgres::find(&database(config, source)?, &id_file)?;
            store.map(|store| Store::Postgres(Arc::new(store)))
        }
    })
}

/// The world as a server would have it that started now; one broken file is no reason to be silent about the others.
pub(super) fn world(config: &Config, now: Timestamp) -> ClientAuthenticator {
    let (facts, problems) = Facts::new(config);
    warn(&problems);
    let World { authenticator, warnings } = World::draft(config, &facts, now);
    warn(&warnings);
    authenticator
}

/// What the store has seen of all clients or of one. Where there is no store yet, nothing.
pub(super) fn sightings(config: &Config, client: Option<&ClientId>) -> Result<Vec<Sighting>, Fault> {
    let Some(store) = find_store(config)? else { return Ok(Vec::new()) };
    Ok(runtime()?.block_on(store.evidence().sightings(client))?)
}

/// Where the signing keys are. A directory must exist, for the same reason.
pub(super) fn open_keys(config: &Config) -> Result<Place, Fault> {
    let sealing = world::sealing_key(config).map_err(|problems| Fault::Refused(listed(&problems)))?;
    if let Some(sealing) = sealing
        && let Store::Postgres(store) = open_store(config)?
    {
        return Ok(Place::Shared(Shared::new(store.database().clone(), sealing)));
    }
    let path = &config.signing.directory;
    if !path.is_dir() {
        return Err(Fault::Refused(format!(
            "there is no directory {} yet; `certbound serve` makes it",
            path.display()
        )));
    }
    Ok(Place::Directory(Directory::open(path)?))
}

/// Returns when the second of `at` is over: what ends tokens ends those of that second too. With a database it is the
/// second after the one that its clock showed, and this machine's clock says nothing of that.
pub(super) fn wait_out(at: Timestamp, config: &Config, clock: &dyn Clock) {
    if matches!(config.store, StoreSettings::Postgres(_)) {
        return thread::sleep(Duration::from_secs(2));
    }
    while clock.now() <= at {
        thread::sleep(Duration::from_millis(20));
    }
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Damaged(what) => Self::Damaged(what),
            OpenError::Held(what) | OpenError::Io(what) => Self::Refused(what),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } => Self::Damaged(error.to_string()),
            StoreError::Unavailable(_) => Self::Refused(error.to_string()),
        }
    }
}

/// The signing keys as they lie there.
pub(super) fn read_keys(config: &Config) -> Result<Reading, Fault> {
    let place = open_keys(config)?;
    Ok(runtime()?.block_on(place.read(&SigningKeys::default()))?)
}

impl From<KeysError> for Fault {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Fault(fault) => fault.into(),
            KeysError::Database(DatabaseError::Corrupt(_)) => Self::Damaged(error.to_string()),
            KeysError::Database(_) => Self::Refused(error.to_string()),
        }
    }
}

impl From<KeyFileError> for Fault {
    fn from(error: KeyFileError) -> Self {
        Self::Refused(format!("{error}; {}", error.instead))
    }
}
