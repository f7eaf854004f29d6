//! What a command about a server's state works on: the server itself where one runs, else its files.
//!
//! Never both: while a server holds the store and watches the keys, every change goes through it and is live
//! when the command returns. Only where nobody listens on the control socket does a command open the files
//! itself.

use std::fs::File;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::authn::ClientAuthenticator;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, StoreSettings};
use crate::document::{Problems, Severity};
use crate::keys::{Directory, KeyFileError};
use crate::oauth::ClientId;
use crate::store::StoreError;
use crate::store::evidence::{Evidence as _, Sighting};
use crate::store::sled::{OpenError, Sled};
use crate::world::{Facts, World};

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

/// The store's directory and the file with the id that it must have.
pub(super) fn store_files(config: &Config) -> (&PathBuf, PathBuf) {
    let StoreSettings::Sled { path } = &config.store;
    (path, config.signing.directory.join("store-id"))
}

/// The store, which must exist: a wrong `-c` must not leave a new one behind.
pub(super) fn open_store(config: &Config) -> Result<Sled, Fault> {
    let (path, id_file) = store_files(config);
    if !path.exists() && !id_file.exists() {
        return Err(Fault::Refused(format!(
            "there is no store at {} yet; `certbound serve` makes it",
            path.display()
        )));
    }
    Ok(Sled::open(path, &id_file)?.0)
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
    let Some(store) = open_evidence(config)? else { return Ok(Vec::new()) };
    Ok(runtime()?.block_on(store.sightings(client))?)
}

/// The store for what it has seen. Unlike a revocation, that may be missing: a server has not run yet.
pub(super) fn open_evidence(config: &Config) -> Result<Option<Sled>, Fault> {
    let (path, id_file) = store_files(config);
    if path.exists() || id_file.exists() { open_store(config).map(Some) } else { Ok(None) }
}

/// The directory of signing keys, which must exist for the same reason.
pub(super) fn open_keys(config: &Config) -> Result<Directory, Fault> {
    let path = &config.signing.directory;
    if !path.is_dir() {
        return Err(Fault::Refused(format!(
            "there is no directory {} yet; `certbound serve` makes it",
            path.display()
        )));
    }
    Ok(Directory::open(path)?)
}

/// Returns when the second of `at` is over: what ends tokens ends those of that second too.
pub(super) fn wait_out(at: Timestamp, clock: &dyn Clock) {
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

impl From<KeyFileError> for Fault {
    fn from(error: KeyFileError) -> Self {
        Self::Refused(format!("{error}; {}", error.instead))
    }
}
