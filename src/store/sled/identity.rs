//! The file `acknowledged` in the store: the number of the last batch that was answered, so that a database which lost its
//! end is not taken for a sound one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

pub(super) use crate::store::identity::{
    Named, StoreId, directory_of, make_directory, read_id, sync_directory, write_id,
};

/// The file `acknowledged`: the number of the last batch that was answered, and whether a batch is on its way. It is
/// written after the batch is durable and synced only when the store is opened, so it survives a killed process, is never
/// ahead of the database, and after a power cut may be behind it, which is no harm.
///
/// The mark of a batch on its way is for a process that ends there: the disk may have refused what the kernel still shows
/// (an error of `fsync` is told once, and the pages count as written from then on). Who opens the database
/// next makes sure that all of it is on disk, see `opening`.
#[derive(Debug)]
pub(super) struct Acknowledged(File);

impl Acknowledged {
    /// Where it is in a store.
    pub(super) fn path(store: &Path) -> PathBuf {
        store.join("acknowledged")
    }

    /// The number in it: 0 if there is no such file, or nothing in it.
    pub(super) fn read(store: &Path) -> io::Result<u64> {
        let text = Self::text(store)?;
        if text.is_empty() {
            return Ok(0); // a power cut while it was made
        }
        let number = text.trim_end().trim_end_matches(ON_ITS_WAY);
        number.parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "it holds no number"))
    }

    /// Whether a batch was on its way when it was last written.
    pub(super) fn is_in_doubt(store: &Path) -> io::Result<bool> {
        Ok(Self::text(store)?.ends_with(ON_ITS_WAY))
    }

    /// Whether it was written to its end at least once.
    pub(super) fn is_whole(store: &Path) -> io::Result<bool> {
        Ok(u64::try_from(Self::text(store)?.len()).is_ok_and(|length| length > DIGITS))
    }

    fn text(store: &Path) -> io::Result<String> {
        match fs::read_to_string(Self::path(store)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            text => text,
        }
    }

    /// Opens or makes it.
    pub(super) fn open(store: &Path) -> io::Result<Self> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(Self::path(store))
            .map(Self)
    }

    /// Makes it durable as it is.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    /// A batch is on its way, until the next number is written.
    pub(super) fn doubt(&self) -> io::Result<()> {
        self.0.write_all_at(ON_ITS_WAY.as_bytes(), DIGITS)
    }

    /// Writes the number over the old one; no batch is on its way.
    pub(super) fn write(&self, sequence: u64) -> io::Result<()> {
        self.0.write_all_at(format!("{sequence:020}\n").as_bytes(), 0)
    }
}

/// What takes the place of the end of the line.
const ON_ITS_WAY: &str = "?";

/// How many digits a number has.
const DIGITS: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_acknowledged_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Acknowledged::read(directory.path()).unwrap(), 0);
        let file = Acknowledged::open(directory.path()).unwrap();
        for sequence in [1, u64::MAX, 7] {
            file.write(sequence).unwrap();
            assert_eq!(Acknowledged::read(directory.path()).unwrap(), sequence);
            assert!(!Acknowledged::is_in_doubt(directory.path()).unwrap());
            file.doubt().unwrap();
            assert_eq!(Acknowledged::read(directory.path()).unwrap(), sequence);
            assert!(Acknowledged::is_in_doubt(directory.path()).unwrap());
        }
        fs::write(Acknowledged::path(directory.path()), "x").unwrap();
        assert!(Acknowledged::read(directory.path()).is_err());
    }
}
