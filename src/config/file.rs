//! Opening what the configuration names. It is opened again at every reload, by a loop that must not stand still.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Opens a regular file, through links. Asked before it is opened: opening a FIFO would wait for its writer, and a
/// device has no end.
pub fn open(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    File::open(path)
}
