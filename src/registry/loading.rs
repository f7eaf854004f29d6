//! The next registry in the making: every file as it was read or as it was, until no two of them contradict.
//!
//! Here are the rules of a reload: a file is taken whole or falls back to what it had; deletions come first;
//! a certificate file that is gone takes its pin along, whatever else is wrong; a directory that is not what
//! it was says nothing about its clients.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clash::{self, Claimant};
use super::directory::{self, ReadError, Seen};
use super::reading::{Context, MAX_PROBLEMS, Reading, Registered};
use super::{Client, ClientFile, Credential, Registry, RegistrySettings};
use crate::document::{Problem, Problems, Severity};
use crate::pki::TrustStore;

/// The next registry while it is put together.
pub(super) struct Loading {
    files: BTreeMap<Arc<Path>, Candidate>,
    problems: BTreeMap<Arc<Path>, Problems>,
}

/// A client file with two possible outcomes.
struct Candidate {
    reading: Arc<Reading>,
    /// What the file had, for liveness.
    before: Vec<Arc<Registered>>,
    /// What comes into force, as things look so far.
    chosen: Vec<Arc<Registered>>,
}

impl Loading {
    /// Reads every file. An error says why nothing can be known about the directory.
    pub(super) fn read(
        settings: &RegistrySettings,
        previous: Option<&Registry>,
        trust: &TrustStore,
        unsettled: &BTreeSet<PathBuf>,
    ) -> Result<Self, Problem> {
        let files = listing(settings, previous)?;
        let context = Arc::new(Context {
            max_certificates: settings.max_certificates,
            default_resource: settings.default_resource.clone(),
            anchor_sets: trust.names().cloned().collect(),
        });
        let mut loading = Self { files: BTreeMap::new(), problems: BTreeMap::new() };
        for path in files {
            let file: Arc<Path> = path.as_path().into();
            let before = previous.and_then(|previous| previous.files.get(&file));
            let is_unsettled =
                |reading: &Reading| reading.named.keys().any(|named| unsettled.contains(named));
            let depends = |before: &ClientFile| {
                let pinned = before.in_force.iter().flat_map(|registered| &registered.pins);
                is_unsettled(&before.reading)
                    || pinned.filter_map(|place| place.file.as_ref()).any(|file| unsettled.contains(file))
            };
            if unsettled.contains(&path) || before.is_some_and(depends) {
                loading.carry(file, before);
                continue;
            }
            match Reading::of(&path, &context, before.map(|before| &before.reading)) {
                Some(reading) if is_unsettled(&reading) => loading.carry(file, before),
                Some(reading) => loading.consider(&file, reading, before),
                None => {}
            }
        }
        for (file, before) in previous.iter().flat_map(|previous| &previous.files) {
            if unsettled.contains(&**file) && !loading.files.contains_key(file) {
                loading.carry(file.clone(), Some(before));
            }
        }
        Ok(loading)
    }

    /// Leaves a file as it was, if it was.
    fn carry(&mut self, file: Arc<Path>, before: Option<&ClientFile>) {
        let Some(ClientFile { reading, in_force }) = before.cloned() else { return };
        self.note(&file, reading.problems.clone());
        self.note(&file, reading.absences.clone());
        self.files.insert(file, Candidate { reading, before: in_force.clone(), chosen: in_force });
    }

    /// Takes a file as it was read, or, if that was refused, what it had.
    fn consider(&mut self, file: &Arc<Path>, reading: Arc<Reading>, before: Option<&ClientFile>) {
        let before = before.map(|before| before.in_force.clone()).unwrap_or_default();
        self.note(file, reading.problems.clone());
        self.note(file, reading.absences.clone());
        let is_refused = reading.is_refused();
        let chosen = reading.registered.clone();
        self.files.insert(file.clone(), Candidate { reading, before, chosen });
        if is_refused {
            self.fall_back(file);
        }
    }

    /// Gives a file what it had, less the pins whose files are gone: those end at once, whatever else is
    /// wrong.
    fn fall_back(&mut self, file: &Arc<Path>) {
        let Some(candidate) = self.files.get_mut(file) else { return };
        let mut problems = Problems::default();
        let known = &candidate.reading.named;
        let less =
            candidate.before.iter().map(|registered| without_absent_pins(registered, known, &mut problems));
        candidate.chosen = less.collect();
        self.note(file, problems);
    }

    fn note(&mut self, file: &Arc<Path>, problems: Problems) {
        self.problems.entry(file.clone()).or_default().0.extend(problems.0);
    }

    /// Until no two clash: who brings a clash falls back. Each round takes at least one file back, so it
    /// ends.
    pub(super) fn join(mut self, trust: &TrustStore) -> Registry {
        let mut fallen: BTreeSet<Arc<Path>> = BTreeSet::new();
        loop {
            let mut falling = BTreeSet::new();
            for clash in clash::find(&self.claimants(), trust) {
                falling.extend(clash.culprits);
                for problem in clash.problems.0 {
                    let known = self.problems.entry(problem.file.as_path().into()).or_default();
                    if known.0.len() < MAX_PROBLEMS && !known.0.contains(&problem) {
                        known.0.push(problem);
                    }
                }
            }
            falling.retain(|file| fallen.insert(file.clone()));
            if falling.is_empty() {
                return self.finish();
            }
            for file in &falling {
                self.fall_back(file);
            }
        }
    }

    fn claimants(&self) -> Vec<Claimant<'_>> {
        let mut claimants = Vec::new();
        for (file, candidate) in &self.files {
            let live: HashMap<_, _> = candidate
                .before
                .iter()
                .map(|registered| (&registered.client.id, &*registered.client))
                .collect();
            claimants.extend(candidate.chosen.iter().map(|registered| Claimant {
                file,
                registered,
                live: live.get(&registered.client.id).copied(),
            }));
        }
        claimants
    }

    fn finish(self) -> Registry {
        let mut registry = Registry::default();
        for (file, candidate) in self.files {
            for registered in &candidate.chosen {
                registry.clients.insert(registered.client.id.clone(), registered.client.clone());
            }
            let client_file = ClientFile { reading: candidate.reading, in_force: candidate.chosen };
            registry.files.insert(file, client_file);
        }
        registry.problems.0 = self.problems.into_values().flat_map(|problems| problems.0).collect();
        registry
    }
}

/// The client files; an error if there is no telling whether clients were deleted or the directory is just
/// not there.
fn listing(settings: &RegistrySettings, previous: Option<&Registry>) -> Result<Vec<PathBuf>, Problem> {
    let problem = |what: String, instead: &str| Problem {
        severity: Severity::Error,
        file: settings.directory.clone(),
        line: 0,
        column: 0,
        what,
        instead: instead.to_owned(),
    };
    match directory::client_files(&settings.directory) {
        Ok(files) if files.is_empty() && previous.is_some_and(|previous| !previous.files.is_empty()) => {
            Err(problem(
                "there is no client file any more; the clients stay as they were".to_owned(),
                "put the files back; to remove the last client, write `enabled: false` in its document",
            ))
        }
        Ok(files) => Ok(files),
        Err(error) => Err(problem(
            format!("the directory of the clients cannot be read: {}", error.kind()),
            "make it, and let the server read it",
        )),
    }
}

/// The client without pins that only files vouched for which are gone.
fn without_absent_pins(
    registered: &Arc<Registered>,
    reported: &BTreeMap<PathBuf, Seen>,
    problems: &mut Problems,
) -> Arc<Registered> {
    let is_gone = |file: &PathBuf| directory::look(file) == Err(ReadError::Absent);
    let (gone, left): (Vec<_>, Vec<_>) =
        registered.pins.iter().cloned().partition(|place| place.file.as_ref().is_some_and(is_gone));
    if gone.is_empty() {
        return registered.clone();
    }
    for place in &gone {
        let file = place.file.as_deref().unwrap_or_else(|| Path::new(""));
        if reported.get(file) != Some(&Err(ReadError::Absent)) {
            let what = format!("{:?}: {}", file.display().to_string(), ReadError::Absent);
            problems.error(&place.at, what, "put the certificate back; until then it is not accepted");
        }
    }
    let mut client = Client::clone(&registered.client);
    if let Credential::SelfSignedTlsClientAuth { pins, .. } = &mut client.credential {
        pins.retain(|thumbprint, _| left.iter().any(|place| place.thumbprint == *thumbprint));
    }
    Arc::new(Registered { client: client.into(), pins: left, ..Registered::clone(registered) })
}
