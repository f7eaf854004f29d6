//! The embedded store: one node, one directory, sled 0.34.
//!
//! Writes go to one thread, which keeps all that wait with one fsync and then answers all of them; what has
//! ended is also in memory, where it is looked up. A store that is damaged, gone or another one than before is
//! an error and never an empty store, because a forgotten revocation is a live token. What sled does not
//! do by itself, and where it is done: the fsync (`changes`), coming back after an I/O error (`writer`), noticing
//! what was lost (`opening`, `inspection`). When entries are forgotten is left to the caller. Evidence lies in a tree
//! beside the revocations (`evidence`) and may be lost without harm to them.

mod changes;
mod evidence;
mod format;
mod identity;
mod inspection;
mod known;
mod opening;
mod panics;
mod transfer;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use async_trait::async_trait;

use self::changes::Staged;
use self::evidence::reading::Counts;
use self::format::Mark;
use self::identity::{Named, StoreId, read_id, sync_directory, write_id};
use self::inspection::{Contents, inspect};
use self::opening::{PATIENCE, database, held, io_error, make, plain_files};
use self::transfer::Exported;
use self::writer::{Queue, Shared, Writer};
pub use super::{CheckReport, OpenError, Opened};
use super::{Standing, StoreError, TokenKey, TokenStore};
use crate::clock::Timestamp;
use crate::oauth::{ClientId, Jti};

/// How many entries are looked at in one batch of forgetting; other writes come in between.
const FORGET_AT_ONCE: usize = 1000;

/// How long dropping the store waits for its writer.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The embedded store. It holds sled's lock on `<path>/db` until it is dropped.
///
/// Its writes need a tokio runtime with timers.
pub struct Sled {
    shared: Arc<Shared>,
    /// Taken when it is dropped.
    queue: Option<Queue>,
    /// Says when the writer has ended.
    ended: Mutex<mpsc::Receiver<()>>,
    /// Refusals since they were last forgotten.
    refusals_noted: AtomicUsize,
}

impl Sled {
    /// Opens the store at `path`, or makes it where neither it nor `id_file` (`store-id` in the directory of
    /// the signing keys) exists. Reads every entry; blocks, for 8 s at most if nothing moves.
    pub fn open(path: &Path, id_file: &Path) -> Result<(Self, Opened), OpenError> {
        let (ready, opened) = opening::open(path, id_file, PATIENCE)?;
        let writer = Writer::new(path, ready);
        let shared = writer.shared();
        let (queue, ended) = writer.start().map_err(|error| io_error(path, &error))?;
        let store = Self {
            shared,
            queue: Some(queue),
            ended: Mutex::new(ended),
            refusals_noted: AtomicUsize::new(0),
        };
        Ok((store, opened))
    }

    /// A deliberate new start (`store init --forget`): every token issued up to `now` is inactive from here
    /// on. What was there is put aside, in `forgotten-<now>` below `path`.
    ///
    /// The id file is written first: a new start that is cut short leaves a store that is refused.
    pub fn init_forget(path: &Path, id_file: &Path, now: Timestamp) -> Result<(), OpenError> {
        let at_path = |error: io::Error| io_error(path, &error);
        let _lock = lock(path)?;
        let id = StoreId::fresh().map_err(at_path)?;
        write_id(id_file, id).map_err(|error| io_error(id_file, &error))?;
        put_aside(path, now).map_err(at_path)?;
        make(path, id, Some(now)).map(drop)
    }

    /// Reads every entry, compares number and fingerprint of the revocations with what was written, and counts
    /// what of the evidence is readable. Blocks; writes wait meanwhile.
    pub fn check(&self) -> Result<CheckReport, StoreError> {
        let report = match self.shared.read_between_batches(|db| inspect(db, &AtomicU64::new(0), |_| {}))? {
            Contents::Sound(_, report) => report,
            Contents::Nothing | Contents::Newer(_) => return Err(missing()),
        };
        let Counts { sightings, refusals, unreadable } =
            match self.shared.read_between_batches(evidence::reading::count) {
                // Damage that hides how much it is.
                Err(StoreError::Corrupt { .. }) => Counts { unreadable: 1, ..Counts::default() },
                counts => counts?,
            };
        Ok(CheckReport { sightings, refusals, unreadable, ..report })
    }

    /// Writes the store as JSON lines, the first with its id, the last with the number of records, which is
    /// also what it returns. Blocks.
    pub fn export(&self, out: &mut dyn Write) -> io::Result<u64> {
        transfer::export(&self.shared, out)
    }

    /// Makes a store of an export, with its id, and gives the number of records. Only where there is no
    /// store; an id file that is there must name the same one.
    pub fn import(path: &Path, id_file: &Path, lines: &mut dyn BufRead) -> Result<u64, OpenError> {
        let exported = Exported::read(lines)?;
        let named = read_id(id_file).map_err(|error| io_error(id_file, &error))?;
        if named != Named::Nothing && named != Named::Store(exported.id) {
            let (file, id) = (id_file.display(), exported.id);
            return Err(OpenError::Io(format!("the export is of store {id}, and {file} names another")));
        }
        let there = match plain_files(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            files => files.map_err(|error| io_error(path, &error))?,
        };
        if !there.is_empty() {
            let path = path.display();
            return Err(OpenError::Io(format!("{path} is not empty; an import makes a new store")));
        }
        let records = exported.write(path)?;
        write_id(id_file, exported.id).map_err(|error| io_error(id_file, &error))?;
        Ok(records)
    }

    /// The directory of the store.
    pub fn path(&self) -> &PathBuf {
        &self.shared.path
    }

    /// How many batches were made durable since it was opened: writes that came together share one.
    pub fn batches(&self) -> u64 {
        self.shared.batches.load(Ordering::Relaxed)
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Staged<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.queue {
            Some(queue) => queue.write(&self.shared, change).await,
            None => Err(StoreError::Unavailable("it is closed".into())),
        }
    }
}

#[async_trait]
impl TokenStore for Sled {
    async fn revoke(&self, jti: Jti, at: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        self.write(move |staged| staged.revoke(jti, Mark { at, until })).await
    }

    async fn revoke_issued_before(
        &self,
        client: &ClientId,
        at: Timestamp,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let client = client.clone();
        self.write(move |staged| staged.revoke_client(&client, Mark { at, until })).await
    }

    async fn standing(&self, token: &TokenKey) -> Result<Standing, StoreError> {
        match &self.queue {
            Some(queue) if queue.is_served() => Ok(self.shared.standing(token)),
            _ => Err(StoreError::Unavailable("its writer has ended".into())),
        }
    }

    async fn roll_call(
        &self,
        present: &BTreeSet<ClientId>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClientId>, StoreError> {
        let present = present.clone();
        self.write(move |staged| staged.roll_call(&present, now, until)).await
    }

    /// Entries stay a day and an hour at least; the `at` of what is forgotten is remembered as the moment up
    /// to which every token has ended. No token that can be alive is older than a day, unless the clock
    /// went back: then it is one that might have been ended by what was forgotten.
    async fn forget_expired(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut sum = 0;
        loop {
            let (looked, forgotten) = self.write(move |staged| staged.forget(now, FORGET_AT_ONCE)).await?;
            sum += forgotten;
            if looked < FORGET_AT_ONCE {
                return Ok(sum);
            }
        }
    }

    /// The one node's own clock.
    async fn moment(&self, now: Timestamp) -> Result<Timestamp, StoreError> {
        Ok(now)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.write(|_| Ok(())).await
    }
}

impl Drop for Sled {
    fn drop(&mut self) {
        // The writer keeps what waits, and ends; one that hangs on a disk is left to itself.
        drop(self.queue.take());
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(END_WITHIN) == Err(mpsc::RecvTimeoutError::Disconnected) {
            self.shared.close();
        }
    }
}

/// An error of sled's, in our words.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn failed(error: ::sled::Error) -> StoreError {
    match error {
        // Its own words end with a backtrace, or with nothing.
        ::sled::Error::Corruption { .. } => {
            StoreError::Corrupt { what: "a part of the log of the database cannot be read".into() }
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

fn missing() -> StoreError {
    StoreError::Corrupt { what: "its head is missing".into() }
}

/// Takes the lock that an open store holds. Nothing to lock is no error.
fn lock(path: &Path) -> Result<Option<File>, OpenError> {
    let file = match File::open(database(path)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, &error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(held(path)),
        Err(TryLockError::Error(error)) => Err(io_error(path, &error)),
    }
}

/// Moves what a store consists of into a directory below it: `path` itself may be a mount point.
fn put_aside(path: &Path, now: Timestamp) -> io::Result<()> {
    let mut old = match plain_files(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        files => files?,
    };
    let blobs = path.join("blobs");
    if blobs.try_exists()? {
        old.push(blobs);
    }
    if old.is_empty() {
        return Ok(());
    }
    let name = |again: u32| path.join(format!("forgotten-{}-{again}", now.compact()));
    let aside = (1..1000).map(name).find(|aside| !aside.exists());
    let aside = aside.ok_or_else(|| io::Error::other("there are too many stores put aside"))?;
    identity::make_directory(&aside)?;
    for file in old {
        if let Some(name) = file.file_name() {
            fs::rename(&file, aside.join(name))?;
        }
    }
    sync_directory(&aside)?;
    sync_directory(path)
}
