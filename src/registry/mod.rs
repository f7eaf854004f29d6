//! Who the clients are: every document of a directory (RFC 7591 §2 names), checked and joined into one
//! registry.
//!
//! The unit of a reload is the file: one with a problem keeps the clients it had, all others are applied,
//! deletions first, and a newcomer never takes the place of a live client. A registry is a value: to notice a
//! change (by [`Registry::fingerprint`]), to wait until it stands still and to put the next registry in force
//! is the caller's.

mod addition;
mod clash;
pub mod client;
mod dates;
mod directory;
mod document;
mod fingerprint;
mod jwk;
mod loading;
mod pins;
mod places;
mod reading;
pub mod remote;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use addition::Addition;
pub use client::{Client, Credential, Pin};
pub use fingerprint::{Stamp, stamp};
pub use places::{CertificatePlace, CertificatePlaces};

use crate::clock::Timestamp;
use crate::document::{Problem, Problems, Severity};
use crate::oauth::{Audience, ClientId};
use crate::pki::TrustStore;
use loading::Loading;
use reading::{Reading, Registered};

/// Bounds and defaults for client documents, from the configuration.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// Where the documents are.
    pub directory: PathBuf,
    /// The most certificates of a self-signed client.
    pub max_certificates: usize,
    /// `tokens.resource`, for clients that name no resource.
    pub default_resource: Option<Audience>,
}

/// The clients of one moment. Immutable.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    files: BTreeMap<Arc<Path>, ClientFile>,
    clients: HashMap<ClientId, Arc<Client>>,
    problems: Problems,
}

/// A client file: how it was read last, and which clients of it are in force, from this reading or an earlier
/// one.
#[derive(Clone, Debug)]
struct ClientFile {
    reading: Arc<Reading>,
    in_force: Vec<Arc<Registered>>,
}

impl Registry {
    /// No clients.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads the whole directory and builds the next registry. `previous` is `None` at the start: then there
    /// is nothing to fall back to, and the caller stops if there are errors. The problems are all that stand
    /// now, also those of files that did not change.
    ///
    /// Files in `unsettled` stay as they were, and with them the documents that name one: somebody is writing
    /// them, or they vanished a moment ago and may be back in the next.
    pub fn load(
        settings: &RegistrySettings,
        previous: Option<&Self>,
        trust: &TrustStore,
        unsettled: &BTreeSet<PathBuf>,
        now: Timestamp,
    ) -> (Self, Problems) {
        let mut next = match Loading::read(settings, previous, trust, unsettled) {
            Ok(loading) => loading.join(trust),
            Err(problem) => return Self::unchanged(previous, problem),
        };
        let mut warnings = dates::review(next.in_force(), now);
        warnings.0.extend(clash::shared_certificates(next.in_force()).0);
        next.problems.0.extend(warnings.0);
        let problems = next.problems.clone();
        (next, problems)
    }

    /// The client of this id, enabled or not.
    pub fn find(&self, id: &ClientId) -> Option<&Arc<Client>> {
        self.clients.get(id)
    }

    /// Every client, in the order of the files and of the documents in them.
    pub fn clients(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.in_force().map(|registered| &registered.client)
    }

    /// How many files (the directory is one, too) had an error when they were last read.
    pub fn broken_files(&self) -> usize {
        let errors = self.problems.0.iter().filter(|problem| problem.severity == Severity::Error);
        errors.map(|problem| &problem.file).collect::<BTreeSet<_>>().len()
    }

    /// All that is wrong with the files behind this registry.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// What changed since `previous`, for the log.
    pub fn difference(&self, previous: &Self) -> Difference {
        let mut difference = Difference::default();
        for client in self.clients() {
            match previous.find(&client.id) {
                None => difference.added.push(client.id.clone()),
                Some(before) if Arc::ptr_eq(before, client) || before.means_the_same_as(client) => {}
                Some(_) => difference.changed.push(client.id.clone()),
            }
        }
        let gone = previous.clients().filter(|client| self.find(&client.id).is_none());
        difference.removed.extend(gone.map(|client| client.id.clone()));
        difference
    }

    /// The directory is not what it should be: nothing changes, and that is a problem.
    fn unchanged(previous: Option<&Self>, problem: Problem) -> (Self, Problems) {
        let mut next = previous.cloned().unwrap_or_default();
        next.problems.0.retain(|earlier| earlier.file != problem.file);
        next.problems.0.insert(0, problem);
        let problems = next.problems.clone();
        (next, problems)
    }

    /// Where a client's certificates stand in its file. `None` if there is no such client, and while its file
    /// falls back to what it had: then no place in it can be relied on, and its problems come first.
    pub fn certificate_places(&self, id: &ClientId) -> Option<CertificatePlaces> {
        let is_this = |registered: &&Arc<Registered>| registered.client.id == *id;
        let (file, registered) =
            self.files.values().find_map(|file| Some((file, file.in_force.iter().find(is_this)?)))?;
        if !file.reading.registered.iter().any(|read| Arc::ptr_eq(read, registered)) {
            return None;
        }
        Some(CertificatePlaces {
            document: registered.client.at.clone(),
            list: registered.listed.is_some().then(|| registered.rule_at.clone()),
            entries: registered.listed.clone().unwrap_or_default(),
        })
    }

    fn in_force(&self) -> impl Iterator<Item = &Arc<Registered>> {
        self.files.values().flat_map(|file| &file.in_force)
    }

    /// The certificate files that the documents name, whether they are there or not.
    pub fn certificate_files(&self) -> impl Iterator<Item = &Path> {
        let pinned = self.in_force().flat_map(|registered| &registered.pins);
        let pinned = pinned.filter_map(|place| place.file.as_deref());
        let named = self.files.values().flat_map(|file| file.reading.named.keys()).map(PathBuf::as_path);
        named.chain(pinned).collect::<BTreeSet<_>>().into_iter()
    }

    /// What the files behind a registry look like from outside: the client files that are there, and the
    /// certificate files that `registry` names and that are there. As long as it stays the same, there is
    /// nothing to load.
    pub fn fingerprint(settings: &RegistrySettings, registry: &Self) -> BTreeMap<PathBuf, Stamp> {
        let files = directory::client_files(&settings.directory).unwrap_or_default();
        let files = files.into_iter().chain(registry.certificate_files().map(Path::to_path_buf));
        let stamped = files.map(|path| (stamp(&path), path)).filter(|(stamp, _)| stamp.is_there());
        stamped.map(|(stamp, path)| (path, stamp)).collect()
    }
}

/// What two registries differ in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Difference {
    /// Clients that were not there.
    pub added: Vec<ClientId>,
    /// Clients whose document says something else now.
    pub changed: Vec<ClientId>,
    /// Clients that are not there any more.
    pub removed: Vec<ClientId>,
}

#[cfg(test)]
mod tests;
