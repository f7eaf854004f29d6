//! What a file looks like from outside, to notice that somebody wrote to it without reading it each time.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The marks of a file that a write changes, or that there is no such file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp(Option<Marks>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Marks {
    device: u64,
    inode: u64,
    size: u64,
    /// When the content was written, in seconds and nanoseconds.
    modified: (i64, i64),
    /// When anything was written; unlike the former nobody can set it back.
    changed: (i64, i64),
}

impl Stamp {
    /// Whether there was a file.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

/// Of the file as it is now, through symbolic links. A link to nowhere is there, too: it is a problem and no
/// deletion.
pub fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).or_else(|_| fs::symlink_metadata(path));
    Stamp(metadata.ok().map(|metadata| Marks {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }))
}
