//! The directory of client documents as it stands: which files count, and what is in them.
//!
//! Only regular files are opened (through symbolic links, as mounted volumes have them), so that a FIFO, a
//! device or a directory in the wrong place is a problem and not a server that hangs.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::document::MAX_BYTES;

/// What stood where a file was looked for, to tell whether it is still the same.
pub(super) type Seen = Result<[u8; 32], ReadError>;

/// A file that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum ReadError {
    #[error("there is no such file")]
    Absent,
    #[error("this is not a regular file")]
    NotRegular,
    #[error("the file has more than 1 MiB")]
    TooLarge,
    #[error("the file cannot be read: {0}")]
    Io(io::ErrorKind),
}

impl ReadError {
    /// What to do about it.
    pub(super) fn instead(&self) -> &'static str {
        match self {
            Self::Absent => "put it there, or remove its name",
            Self::NotRegular => "put a file there, or another name on what is there",
            Self::TooLarge => "split it into several files",
            Self::Io(_) => "let the server read it",
        }
    }
}

/// The client files of a directory, sorted: `*.yaml` and `*.yml` that do not begin with a dot. What else
/// editors and package managers leave (`a.yaml~`, `.a.yaml.swp`, `a.yaml.rpmnew`, `4913`) does not count.
pub(super) fn client_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = PathBuf::from(entry?.file_name());
        let is_yaml = name.extension().is_some_and(|suffix| suffix == "yaml" || suffix == "yml");
        if is_yaml && !name.as_os_str().as_encoded_bytes().starts_with(b".") {
            files.push(directory.join(name));
        }
    }
    files.sort();
    Ok(files)
}

/// What is in a regular file of bounded size.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    // Asked before it is opened: opening a FIFO would wait for a writer.
    if !fs::metadata(path).map_err(|error| read_error(&error))?.is_file() {
        return Err(ReadError::NotRegular);
    }
    let file = File::open(path).map_err(|error| read_error(&error))?;
    let mut content = Vec::new();
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut content).map_err(|error| read_error(&error))?;
    if content.len() > MAX_BYTES { Err(ReadError::TooLarge) } else { Ok(content) }
}

/// What stands there now.
pub(super) fn look(path: &Path) -> Seen {
    read(path).map(|content| digest(&content))
}

/// What stood there when `content` was read.
pub(super) fn seen(content: &Result<Vec<u8>, ReadError>) -> Seen {
    content.as_ref().map(|content| digest(content)).map_err(Clone::clone)
}

fn digest(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

fn read_error(error: &io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::NotFound => ReadError::Absent,
        other => ReadError::Io(other),
    }
}
