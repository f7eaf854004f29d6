//! A change to the files of one client, made whole or not at all.
//!
//! Before and after it the directory is read as a server would read it, and what differs must be what was meant: this
//! client, by this certificate, and no new problem. Anything else puts both files back as they were.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::{Builder, NamedTempFile};

use crate::cli::client::ControlSocket;
use crate::cli::control;
use crate::cli::output::{Fault, complain};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::document::{Problem, Problems, Severity};
use crate::oauth::ClientId;
use crate::pki::Thumbprint;
use crate::registry::{Client, Credential, Pin, Registry};

/// The clients as the files have them at one moment.
pub(super) struct Snapshot {
    pub(super) registry: Registry,
    problems: Problems,
}

impl Snapshot {
    pub(super) fn read(config: &Config, now: Timestamp) -> Self {
        // Anchors that cannot be read are a problem of theirs; here their names are enough.
        let (trust, _) = config.trust_draft(now);
        let (registry, problems) =
            Registry::load(&config.registry_settings(), None, &trust, &BTreeSet::new(), now);
        Self { registry, problems }
    }

    /// A registered client; where there is none, what is wrong with the files may be why.
    pub(super) fn client(&self, id: &str) -> Result<&Arc<Client>, Fault> {
        let found = ClientId::parse(id).ok().and_then(|id| self.registry.find(&id));
        found.ok_or_else(|| {
            let mut why = format!("there is no client `{id}`");
            if self.problems.has_errors() {
                why = format!("{why} in the files that can be read: {}", control::listed(&self.problems));
            }
            Fault::Refused(why)
        })
    }
}

/// The certificates that a client lists itself.
pub(super) fn pins(client: &Client) -> &BTreeMap<Thumbprint, Pin> {
    static NONE: BTreeMap<Thumbprint, Pin> = BTreeMap::new();
    match &client.credential {
        Credential::SelfSignedTlsClientAuth { pins, .. } => pins,
        Credential::TlsClientAuth { .. } => &NONE,
    }
}

/// What is to be written.
pub(super) struct Edit {
    /// The client file.
    pub(super) document: PathBuf,
    /// What is in it.
    pub(super) before: String,
    /// What is to be in it.
    pub(super) after: String,
    /// A certificate file that the document is going to name, with its PEM.
    pub(super) certificate: Option<(PathBuf, String)>,
}

/// What is to be true afterwards.
pub(super) struct Meant<'m> {
    pub(super) client: &'m Client,
    pub(super) pins: BTreeSet<Thumbprint>,
}

/// Why nothing was changed in the end.
#[derive(Debug)]
pub(super) enum NotDone {
    /// The files cannot be written; nothing was begun.
    Unwritable(String),
    /// What was written was not what was meant, and has been undone.
    Undone(String),
}

/// Where a change is in force when the command returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Force {
    /// In the running server.
    Server,
    /// In the files, for the next server.
    Files,
}

impl Edit {
    /// Writes, reads everything again and has the server do so, and compares. Warnings that are new are told.
    pub(super) fn make(
        self,
        meant: &Meant<'_>,
        before: &Snapshot,
        (config, server): (&Config, Option<&ControlSocket>),
        now: Timestamp,
    ) -> Result<Force, NotDone> {
        let written = self.write().map_err(NotDone::Unwritable)?;
        let after = Snapshot::read(config, now);
        let outcome = match meant.difference(before, &after) {
            Some(wrong) => Err(wrong),
            None => server.map_or(Ok(Force::Files), |server| meant.in_force(server).map(|()| Force::Server)),
        };
        match outcome {
            Ok(force) => {
                new_problems(before, &after).into_iter().for_each(complain);
                Ok(force)
            }
            Err(wrong) => Err(NotDone::Undone(self.undo(written, server, &wrong))),
        }
    }

    /// Says whether the certificate file is ours.
    fn write(&self) -> Result<Written, String> {
        let mut written = Written::DocumentAlone;
        if let Some((path, pem)) = &self.certificate
            && write_new(path, pem).map_err(|error| format!("{}: {error}", path.display()))? == Made::Now
        {
            written = Written::Certificate;
        }
        replace(&self.document, &self.before, &self.after).map_err(|error| {
            let why = format!("{}: {error}", self.document.display());
            self.remove(written).map_or_else(|left| format!("{why}; {left}"), |()| why.clone())
        })?;
        Ok(written)
    }

    /// Puts both files back, in the server too; gives why, and what could not be undone.
    fn undo(&self, written: Written, server: Option<&ControlSocket>, wrong: &str) -> String {
        let back = replace(&self.document, &self.after, &self.before)
            .map_err(|error| format!("{} could not be put back: {error}", self.document.display()))
            .and_then(|()| self.remove(written));
        if let Some(server) = server {
            // It reads the files by itself within two seconds; this only makes it sooner.
            let _ = server.post(&["reload", "files"], &json!({}));
        }
        match back {
            Ok(()) => format!("nothing was changed: {wrong}"),
            Err(left) => format!("{wrong}; and {left}"),
        }
    }

    fn remove(&self, written: Written) -> Result<(), String> {
        match (&self.certificate, written) {
            (Some((path, _)), Written::Certificate) => fs::remove_file(path)
                .map_err(|error| format!("{} could not be removed: {error}", path.display())),
            _ => Ok(()),
        }
    }
}

/// Which files are ours to undo.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Written {
    Certificate,
    /// There was no certificate to write, or it was there already.
    DocumentAlone,
}

impl Meant<'_> {
    /// What is not as it was meant, if anything is.
    fn difference(&self, before: &Snapshot, after: &Snapshot) -> Option<String> {
        let errors = new_problems(before, after);
        if let Some(error) = errors.iter().find(|problem| problem.severity == Severity::Error) {
            return Some(format!("it would have been a problem: {error}"));
        }
        let difference = after.registry.difference(&before.registry);
        let others = difference.added.iter().chain(&difference.changed).chain(&difference.removed);
        if let Some(other) = others.into_iter().find(|id| **id != self.client.id) {
            return Some(format!("client `{other}` would have changed too"));
        }
        let Some(now) = after.registry.find(&self.client.id) else {
            return Some("the client would have been gone".to_owned());
        };
        if pins(now).keys().copied().collect::<BTreeSet<_>>() != self.pins {
            return Some("the client's certificates would not have been those that were meant".to_owned());
        }
        (!self.client.is_the_same_but_for_certificates(now))
            .then(|| "more than the client's certificates would have changed".to_owned())
    }

    /// Has the server read the files, and looks whether it has these certificates now.
    fn in_force(&self, server: &ControlSocket) -> Result<(), String> {
        let ask = || {
            let told = server.post(&["reload", "files"], &json!({}))?;
            Ok::<_, Fault>((told, server.get(&["clients", self.client.id.as_str()])?))
        };
        let (told, client) = ask().map_err(|fault| format!("the server: {fault}"))?;
        let listed = client.pointer("/credential/certificates").and_then(Value::as_array);
        let listed = listed.into_iter().flatten().filter_map(|one| one.get("x5t#S256")?.as_str());
        let listed: BTreeSet<_> = listed.map(str::to_owned).collect();
        if listed == self.pins.iter().map(ToString::to_string).collect() {
            return Ok(());
        }
        let file = &self.client.at.file;
        let problems = told.get("problems").and_then(Value::as_array).into_iter().flatten();
        // The server may have come to the file by another path.
        let is_own = |problem: &&Value| {
            let at = problem.get("file").and_then(Value::as_str);
            at.is_some_and(|at| Path::new(at).file_name() == file.file_name())
        };
        let mut own = problems.filter(is_own);
        let why = own.find_map(|problem| problem.get("what")?.as_str());
        Err(why.map_or_else(
            || format!("the running server does not read {}; is -c its configuration?", file.display()),
            |why| format!("the running server does not take it: {why}"),
        ))
    }
}

/// Problems that were not there before, wherever in their file they stand now.
fn new_problems(before: &Snapshot, after: &Snapshot) -> Vec<Problem> {
    let mut known: Vec<_> = before.problems.0.iter().collect();
    let mut fresh = Vec::new();
    for problem in &after.problems.0 {
        let same = |other: &&Problem| {
            (other.severity, &other.file, &other.what) == (problem.severity, &problem.file, &problem.what)
        };
        match known.iter().position(same) {
            Some(index) => drop(known.swap_remove(index)),
            None => fresh.push(problem.clone()),
        }
    }
    fresh
}

/// Whether a file had to be made.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Made {
    Now,
    Before,
}

/// Writes a new file that everybody may read; one that says the same is as good.
fn write_new(path: &Path, text: &str) -> io::Result<Made> {
    let file = beside(path, text)?;
    fs::set_permissions(file.path(), Permissions::from_mode(0o644))?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(Made::Now),
        Err(error) if fs::read(path).is_ok_and(|there| there == text.as_bytes()) => {
            drop(error);
            Ok(Made::Before)
        }
        Err(error) => Err(error.error),
    }
}

/// Puts `text` in the place of `expected` at once, with mode and owner of the file. Through symbolic links, which stay.
fn replace(path: &Path, expected: &str, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    let file = beside(&path, text)?;
    fs::set_permissions(file.path(), metadata.permissions())?;
    let made = file.as_file().metadata()?;
    if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
        chown(file.path(), Some(metadata.uid()), Some(metadata.gid()))?;
    }
    if fs::read(&path)? != expected.as_bytes() {
        return Err(io::Error::other("somebody else is writing to it"));
    }
    file.persist(&path).map_err(|error| error.error)?;
    // The name is durable with its directory; where that cannot be synced the file is right all the same.
    let _ = path.parent().map(File::open).and_then(Result::ok).map(|directory| directory.sync_all());
    Ok(())
}

/// A file with this content under a name that no reader of the directory takes for a document.
fn beside(path: &Path, text: &str) -> io::Result<NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file =
        Builder::new().prefix(".certbound-").tempfile_in(directory.unwrap_or_else(|| Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_mode_and_behind_its_link() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("a.yaml"), directory.path().join("link.yaml"));
        fs::write(&file, "before").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        symlink("a.yaml", &link).unwrap();
        replace(&link, "before", "after").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "after");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn what_somebody_else_wrote_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        fs::write(&file, "theirs").unwrap();
        assert!(replace(&file, "before", "after").is_err());
        assert!(write_new(&file, "ours").is_err());
        assert!(write_new(&file, "theirs").unwrap() == Made::Before);
        assert!(write_new(&directory.path().join("b.pem"), "ours").unwrap() == Made::Now);
        assert!(write_new(Path::new("/no/such/directory/b.pem"), "ours").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_certificate_that_no_document_came_to_name_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let certificate = directory.path().join("edge.pem");
        let edit = Edit {
            document: directory.path().join("missing.yaml"),
            before: String::new(),
            after: "x".to_owned(),
            certificate: Some((certificate.clone(), "PEM".to_owned())),
        };
        assert!(edit.write().is_err_and(|why| why.contains("missing.yaml")));
        assert!(!certificate.exists());
    }
}
