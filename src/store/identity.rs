//! The name of a store, and the file `store-id` that tells whether it is still the one that was written to. It lies with
//! the signing keys: keys without their store have forgotten revocations.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// 16 random bytes, hexadecimal in files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct StoreId(pub [u8; 16]);

impl StoreId {
    /// What a store has whose import is not finished.
    pub(super) const UNFINISHED: Self = Self([0; 16]);

    pub(super) fn fresh() -> io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|_| io::Error::other("the system gave no random bytes"))?;
        Ok(Self(bytes))
    }

    /// Reads 32 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let id = Self(u128::from_str_radix(text, 16).ok()?.to_be_bytes());
        (id != Self::UNFINISHED).then_some(id)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What `store-id` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Named {
    /// There is no such file.
    Nothing,
    /// It is there and holds no id.
    Unreadable,
    /// This store.
    Store(StoreId),
}

/// Reads the id file.
pub(super) fn read_id(file: &Path) -> io::Result<Named> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(StoreId::parse(text.trim_end()).map_or(Named::Unreadable, Named::Store)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Named::Nothing),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(Named::Unreadable),
        Err(error) => Err(error),
    }
}

/// Puts the id file in place, whole and durable.
pub(super) fn write_id(file: &Path, id: StoreId) -> io::Result<()> {
    let directory = directory_of(file);
    make_directory(directory)?;
    let mut new = NamedTempFile::new_in(directory)?; // 0600
    writeln!(new, "{id}")?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    sync_directory(directory)
}

/// Makes a directory for its owner alone; one that is there keeps its mode.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The directory in which `file` is.
pub(super) fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_what_is_no_id_is_not_taken_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys/store-id");
        assert_eq!(read_id(&file).unwrap(), Named::Nothing);
        let id = StoreId::fresh().unwrap();
        write_id(&file, id).unwrap();
        assert_eq!(read_id(&file).unwrap(), Named::Store(id));
        for text in [&b""[..], b"zz", b"+0000000000000000000000000000001", &[b'0'; 32], &[0xFF; 32]] {
            fs::write(&file, text).unwrap();
            assert_eq!(read_id(&file).unwrap(), Named::Unreadable, "{text:?}");
        }
    }
}
