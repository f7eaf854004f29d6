//! One client file, read: its clients, its problems, and everything that was looked at for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::client::Client;
use super::directory::{self, ReadError, Seen};
use super::document;
use super::places::CertificatePlace;
use crate::document::{At, Problems, parse};
use crate::oauth::Audience;
use crate::pki::{AnchorSetName, Thumbprint};

/// The most problems reported of one file.
pub(super) const MAX_PROBLEMS: usize = 100;

/// What a document means depends on this much of the configuration. If it changes, every file is read anew.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Context {
    pub(super) max_certificates: usize,
    pub(super) default_resource: Option<Audience>,
    pub(super) anchor_sets: Vec<AnchorSetName>,
}

/// A client, and where in its file the things stand that other files and the calendar have a say in.
#[derive(Clone, Debug)]
pub(super) struct Registered {
    pub(super) client: Arc<Client>,
    /// Of the `client_id`.
    pub(super) id_at: At,
    /// Of the subject rule, or of the list of certificates.
    pub(super) rule_at: At,
    pub(super) pins: Vec<PinPlace>,
    /// What `certificates` lists; `None` for any other credential.
    pub(super) listed: Option<Vec<CertificatePlace>>,
}

/// Where a pin comes from.
#[derive(Clone, Debug)]
pub(super) struct PinPlace {
    pub(super) thumbprint: Thumbprint,
    /// The file that holds the certificate, if it is not in the document.
    pub(super) file: Option<PathBuf>,
    pub(super) at: At,
}

/// A client file as it was read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) context: Arc<Context>,
    seen: Seen,
    /// The certificate files that it names.
    pub(super) named: BTreeMap<PathBuf, Seen>,
    pub(super) registered: Vec<Arc<Registered>>,
    /// An error among these refuses the whole file.
    pub(super) problems: Problems,
    /// Certificate files that are not there: errors that take the pin away and refuse nothing.
    pub(super) absences: Problems,
}

impl Reading {
    /// Reads a file, or takes the earlier reading if all is as it was. `None` if the file is gone. Contents
    /// are compared, not times: a write within the resolution of the file system's clock counts too.
    pub(super) fn of(path: &Path, context: &Arc<Context>, earlier: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let bytes = directory::read(path);
        // A symbolic link to nowhere is there; what it points to is not.
        if bytes == Err(ReadError::Absent) && path.symlink_metadata().is_err() {
            return None;
        }
        let seen = directory::seen(&bytes);
        if let Some(earlier) = earlier
            && earlier.context == *context
            && earlier.seen == seen
            && earlier.named.iter().all(|(named, seen)| directory::look(named) == *seen)
        {
            return Some(earlier.clone());
        }
        let mut reading = Self {
            context: context.clone(),
            seen,
            named: BTreeMap::new(),
            registered: Vec::new(),
            problems: Problems::default(),
            absences: Problems::default(),
        };
        match bytes {
            Ok(bytes) => reading.take(path, &bytes, context),
            Err(error) => reading.problems.error(&At::whole(path), error.to_string(), error.instead()),
        }
        Some(Arc::new(reading))
    }

    /// Whether the file has to fall back to what it had.
    pub(super) fn is_refused(&self) -> bool {
        self.problems.has_errors()
    }

    /// Reads a certificate file that the document names, and remembers how it was found.
    pub(super) fn certificate_file(&mut self, path: &Path) -> Result<Vec<u8>, ReadError> {
        let content = directory::read(path);
        self.named.insert(path.to_path_buf(), directory::seen(&content));
        content
    }

    fn take(&mut self, path: &Path, bytes: &[u8], context: &Context) {
        let documents = match parse(path, bytes) {
            Ok(documents) => documents,
            Err(problems) => {
                self.problems = problems;
                return;
            }
        };
        for node in &documents {
            if self.problems.0.len() >= MAX_PROBLEMS {
                self.problems.error(
                    &node.at,
                    "the file has more problems from here on",
                    "mend the others first",
                );
                return;
            }
            if let Some(registered) = document::client(node, context, self) {
                self.registered.push(Arc::new(registered));
            }
        }
    }
}
