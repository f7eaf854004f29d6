//! The last good sets as files, so that a restart while a client's server is down locks nobody out.
//!
//! One file for each URL, named by its SHA-256, in a directory of our own. It holds the answer as it came, and
//! whoever reads it judges it as if it came now; a file that is cut off, of another URL or of another format
//! is as good as none.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use url::Url;

use crate::clock::Timestamp;
use crate::pki::fetch::Validators;
use crate::registry::directory;

/// An answer that was good.
pub(super) struct Kept {
    pub(super) fetched_at: Timestamp,
    pub(super) fresh_until: Timestamp,
    /// Under which bound it was good.
    pub(super) max_certificates: usize,
    pub(super) validators: Validators,
    pub(super) body: Vec<u8>,
}

/// As it is written; times in seconds since 1970.
#[derive(Deserialize, Serialize)]
struct Written {
    uri: String,
    fetched_at: i64,
    fresh_until: i64,
    max_certificates: usize,
    validators: Validators,
    body: String,
}

/// Everything that can be read.
pub(super) fn load(directory: &Path) -> Vec<(Url, Kept)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| read(&entry.path())).collect()
}

/// Writes an answer whole or not at all.
pub(super) fn write(directory: &Path, uri: &Url, kept: &Kept) -> io::Result<()> {
    let written = Written {
        uri: uri.as_str().to_owned(),
        fetched_at: kept.fetched_at.as_unix(),
        fresh_until: kept.fresh_until.as_unix(),
        max_certificates: kept.max_certificates,
        validators: kept.validators.clone(),
        body: String::from_utf8_lossy(&kept.body).into_owned(),
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(&serde_json::to_vec(&written)?)?;
    file.persist(path(directory, uri)).map_err(|error| error.error)?;
    Ok(())
}

/// Forgets a URL. A file that cannot be removed does no harm: nobody asks for it.
pub(super) fn remove(directory: &Path, uri: &Url) {
    drop(fs::remove_file(path(directory, uri)));
}

fn read(file: &Path) -> Option<(Url, Kept)> {
    let written: Written = serde_json::from_slice(&directory::read(file).ok()?).ok()?;
    let uri = Url::parse(&written.uri).ok()?;
    let is_its_own = file.file_name() == path(Path::new(""), &uri).file_name();
    let kept = Kept {
        fetched_at: Timestamp::from_unix(written.fetched_at),
        fresh_until: Timestamp::from_unix(written.fresh_until),
        max_certificates: written.max_certificates,
        validators: written.validators,
        body: written.body.into_bytes(),
    };
    is_its_own.then_some((uri, kept))
}

fn path(directory: &Path, uri: &Url) -> PathBuf {
    let mut name = String::new();
    for octet in Sha256::digest(uri.as_str()) {
        let _ = write!(name, "{octet:02x}"); // writing to a String cannot fail
    }
    directory.join(name + ".json")
}
