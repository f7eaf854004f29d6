//! Which files have changed, and which of them have come to rest: half a document is a document in YAML.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::registry::Stamp;

/// How long a file must have stood still before it is read.
const STILL: Duration = Duration::from_secs(1);

/// What files look like from outside, by path; a file that is not there is not in it.
pub(super) type Fingerprint = BTreeMap<PathBuf, Stamp>;

/// Which files have changed, and which of them have come to rest. At the start nothing counts as read: what changed
/// while the server was starting would be missed otherwise.
#[derive(Default)]
pub(super) struct Stillness {
    /// As it was when it was last read.
    read: Fingerprint,
    /// As it was when it was last looked at.
    seen: Fingerprint,
    /// When a file was last seen to move.
    moved: BTreeMap<PathBuf, Instant>,
    /// Whether there is anything to look at.
    pub(super) restless: bool,
}

impl Stillness {
    /// Everything is to be read again once it stands still.
    pub(super) fn doubt(&mut self) {
        self.read.clear();
        self.restless = true;
    }

    /// Everything is about to be read as it is now.
    pub(super) fn settle(&mut self, current: Fingerprint) {
        self.read.clone_from(&current);
        self.seen = current;
        self.moved.clear();
    }

    /// Compares with what was. Gives the files that still move once there is one that has changed and come to rest.
    pub(super) fn look(&mut self, current: Fingerprint) -> Option<BTreeSet<PathBuf>> {
        let now = Instant::now();
        for path in differing(&self.seen, &current) {
            self.moved.insert(path, now);
        }
        self.seen = current;
        let changed = differing(&self.read, &self.seen);
        let still = |path: &PathBuf| self.moved.get(path).is_none_or(|moved| now - *moved >= STILL);
        let (settled, unsettled): (BTreeSet<_>, BTreeSet<_>) = changed.into_iter().partition(still);
        self.restless = !unsettled.is_empty();
        if settled.is_empty() {
            return None;
        }
        for path in settled {
            self.moved.remove(&path);
            match self.seen.get(&path) {
                Some(stamp) => drop(self.read.insert(path, *stamp)),
                None => drop(self.read.remove(&path)),
            }
        }
        Some(unsettled)
    }
}

fn differing(one: &Fingerprint, other: &Fingerprint) -> BTreeSet<PathBuf> {
    let paths = one.keys().chain(other.keys());
    paths.filter(|path| one.get(*path) != other.get(*path)).cloned().collect()
}
