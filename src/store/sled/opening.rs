//! Opening a database under a watchdog, and deciding whether it is the store that it should be.
//!
//! sled may return an error, panic or never come back on a damaged file, and makes an empty database
//! where there is none. Here every one of these becomes an [`OpenError`]; a store that lost something is
//! never opened as an empty or shorter one. What is told apart, and how:
//!
//! - the directory is gone or empty, or another store is in it: the id in `store-id`;
//! - the end of the log is gone (sled cuts it at the first bad message): the number in `acknowledged`;
//! - a record in the middle is gone, changed or back again: number and fingerprint in the head;
//! - a whole older copy of the directory: not detected, it looks as it did then.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ::sled::Db;
use tempfile::NamedTempFile;

use super::changes::Staged;
use super::format::Head;
use super::identity::{
    Acknowledged, Named, StoreId, directory_of, make_directory, read_id, sync_directory, write_id,
};
use super::inspection::{Contents, inspect};
use super::known::Known;
use super::panics::{OpenDb, caught};
use super::{OpenError, Opened, lock};
use crate::clock::Timestamp;
use crate::store::StoreError;

/// How long nothing may move while a store is opened; with what else a start does, a refusal comes within 10 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// For how long a lock that somebody holds is asked for again: sled's own threads let go of a database a
/// moment after it was dropped, and on a busy machine, where a server is started again, the moment is long.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// The file that says that a store is being made.
const MAKING: &str = "making";

/// How many bytes are written again between two looks at whether anything moves.
const AT_ONCE: u64 = 8 << 20;

/// Memory for sled's page cache, in bytes; only writes, exports and checks read it.
const CACHE: u64 = 32 << 20;

/// A database that is open, locked, and the one it should be.
pub(super) struct Ready {
    pub db: OpenDb,
    pub head: Head,
    /// Everything it says of tokens.
    pub known: Known,
    /// The database file, for the fsync that sled leaves out.
    pub file: File,
    pub acknowledged: Acknowledged,
}

/// Opens the store at `path`, or makes it where neither it nor `id_file` is.
pub(super) fn open(path: &Path, id_file: &Path, patience: Duration) -> Result<(Ready, Opened), OpenError> {
    let named = read_id(id_file).map_err(|error| io_error(id_file, &error))?;
    if named == Named::Unreadable {
        return Err(damaged(path, &format!("{} holds no store id", id_file.display())));
    }
    if let Named::Store(id) = named
        && !database(path).try_exists().map_err(|error| io_error(path, &error))?
    {
        let what = format!("it has vanished, {} names store {id}", id_file.display());
        return Err(damaged(path, &what));
    }
    make_directory(path).map_err(|error| io_error(path, &error))?;
    if named == Named::Nothing {
        begin_making(path)?;
    }
    let Found { db, contents, known } = start(path, patience)?;
    match (contents, named) {
        (Contents::Nothing, Named::Nothing) if acknowledged(path)? == 0 => {
            let id = StoreId::fresh().map_err(|error| io_error(path, &error))?;
            let ready = found(db, path, id, None)?;
            end_making(path).map_err(|error| io_error(path, &error))?;
            write_id(id_file, id).map_err(|error| io_error(id_file, &error))?;
            Ok((ready, Opened::Created))
        }
        (Contents::Nothing, _) => Err(damaged(path, "it is empty, and was not")),
        (Contents::Newer(format), _) => Err(newer(path, format)),
        (Contents::Sound(head, _), _) if head.id == StoreId::UNFINISHED.0 => Err(unfinished(path)),
        (Contents::Sound(head, _), named) => {
            end_making(path).map_err(|error| io_error(path, &error))?;
            if let Named::Store(id) = named
                && head.id != id.0
            {
                let (seen, file) = (StoreId(head.id), id_file.display());
                return Err(damaged(path, &format!("it is store {seen}, and {file} names store {id}")));
            }
            let id = StoreId(head.id);
            let ready = ready(db, head, known, path)?;
            if named == Named::Nothing {
                write_id(id_file, id).map_err(|error| io_error(id_file, &error))?;
                return Ok((ready, Opened::Adopted));
            }
            Ok((ready, Opened::Existing))
        }
    }
}

/// Opens the store again after an error, if it still is store `id` and complete.
pub(super) fn reopen(path: &Path, id: StoreId, sequence: u64) -> Result<Ready, OpenError> {
    let Found { db, contents, known } = start(path, PATIENCE)?;
    match contents {
        Contents::Sound(head, _) if head.id == id.0 && head.sequence >= sequence => {
            ready(db, head, known, path)
        }
        _ => Err(damaged(path, "what was acknowledged is not in it any more")),
    }
}

/// Makes a store in a directory that has none, durably, with an id and its first moment.
pub(super) fn make(path: &Path, id: StoreId, ended: Option<Timestamp>) -> Result<Ready, OpenError> {
    make_directory(path).map_err(|error| io_error(path, &error))?;
    let Found { db, contents, .. } = start(path, PATIENCE)?;
    match contents {
        Contents::Nothing => found(db, path, id, ended),
        _ => Err(OpenError::Io(format!("there is a store at {}", path.display()))),
    }
}

/// The database file of a store; sled locks it.
pub(super) fn database(path: &Path) -> PathBuf {
    path.join("db")
}

/// The one line that says what is wrong and what to do.
pub(super) fn damaged(path: &Path, what: &str) -> OpenError {
    OpenError::Damaged(format!(
        "the store at {} is damaged or not the one it should be: {what}; restore it from a backup, or start a \
         new one with `certbound store init --forget`, which ends every token issued so far",
        path.display()
    ))
}

pub(super) fn io_error(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Io(format!("{}: {error}", path.display()))
}

pub(super) fn held(path: &Path) -> OpenError {
    OpenError::Held(format!(
        "the store at {} is held by another process, a server or another command",
        path.display()
    ))
}

fn newer(path: &Path, format: u32) -> OpenError {
    OpenError::Io(format!(
        "the store at {} has format {format}, made by a newer certbound; this one reads format {}",
        path.display(),
        super::format::SCHEMA
    ))
}

fn unfinished(path: &Path) -> OpenError {
    OpenError::Damaged(format!(
        "the store at {} comes from an import that was not finished; remove the directory and import again",
        path.display()
    ))
}

fn acknowledged(path: &Path) -> Result<u64, OpenError> {
    Acknowledged::read(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => damaged(path, "its file `acknowledged` holds no number"),
        _ => io_error(&Acknowledged::path(path), &error),
    })
}

/// Where nothing is: says so beside it until there is a store. Where that was said before, the making was cut short; what is
/// there has never remembered anything, may not open, and goes.
fn begin_making(path: &Path) -> Result<(), OpenError> {
    let _lock = lock_patiently(path)?;
    let all = || -> io::Result<()> {
        let (making, there) = (path.join(MAKING), plain_files(path)?);
        if there.is_empty() {
            File::create_new(making)?.sync_all()?;
            return sync_directory(path);
        }
        if there.contains(&making) {
            for file in there.iter().filter(|file| **file != making) {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    };
    all().map_err(|error| io_error(path, &error))
}

fn end_making(path: &Path) -> io::Result<()> {
    match fs::remove_file(path.join(MAKING)) {
        Ok(()) => sync_directory(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes the first entry and makes everything durable, the directory's own name included.
fn found(db: OpenDb, path: &Path, id: StoreId, ended: Option<Timestamp>) -> Result<Ready, OpenError> {
    let all = || -> io::Result<Head> {
        let file = File::open(database(path))?;
        let head = Staged::with_head(&db, Head::new(id.0, ended)).keep(&file).map_err(io::Error::other)?.head;
        for file in plain_files(path)? {
            File::open(file)?.sync_all()?;
        }
        sync_directory(directory_of(path))?;
        Ok(head)
    };
    let head = all().map_err(|error| io_error(path, &error))?;
    ready(db, head, Known::default(), path)
}

fn ready(db: OpenDb, head: Head, mut known: Known, path: &Path) -> Result<Ready, OpenError> {
    known.head(&head);
    let last = acknowledged(path)?;
    if head.sequence < last {
        let what = format!("it ends with batch {}, and batch {last} was acknowledged", head.sequence);
        return Err(damaged(path, &what));
    }
    let files = || -> io::Result<(File, Acknowledged)> {
        let acknowledged = Acknowledged::open(path)?;
        acknowledged.write(head.sequence)?;
        acknowledged.sync()?;
        sync_directory(path)?;
        Ok((File::open(database(path))?, acknowledged))
    };
    let (file, acknowledged) = files().map_err(|error| io_error(path, &error))?;
    Ok(Ready { db, head, known, file, acknowledged })
}

/// A database that was opened and read.
struct Found {
    db: OpenDb,
    contents: Contents,
    known: Known,
}

/// Opens the database and reads all of it, on a thread that may hang or panic. The database is used by
/// nobody else until then, and is dropped on that thread when it is not sound.
fn start(path: &Path, patience: Duration) -> Result<Found, OpenError> {
    let looked = Arc::new(AtomicU64::new(0));
    let (answer, heard) = mpsc::channel();
    let work = {
        let (path, looked) = (path.to_path_buf(), Arc::clone(&looked));
        move || {
            let opened = caught(|| open_and_look(&path, &looked));
            let _ = answer.send(opened.unwrap_or_else(|| Err(damaged(&path, "reading it panicked"))));
        }
    };
    thread::Builder::new().name("store-open".into()).spawn(work).map_err(|error| io_error(path, &error))?;
    let mut before = 0;
    loop {
        match heard.recv_timeout(patience) {
            Ok(opened) => return opened,
            Err(RecvTimeoutError::Disconnected) => return Err(damaged(path, "reading it ended early")),
            Err(RecvTimeoutError::Timeout) => {
                let now = looked.load(Ordering::Relaxed);
                if now == before {
                    let seconds = patience.as_secs_f32();
                    return Err(damaged(path, &format!("nothing moved for {seconds} s while it was read")));
                }
                before = now;
            }
        }
    }
}

fn open_and_look(path: &Path, looked: &AtomicU64) -> Result<Found, OpenError> {
    let db = OpenDb::new(lock_and_open(path, looked)?);
    for file in plain_files(path).map_err(|error| io_error(path, &error))? {
        // sled makes them by the umask. Not our file, not our mode: a volume may belong to somebody else.
        let _ = fs::set_permissions(&file, Permissions::from_mode(0o600));
    }
    let mut known = Known::default();
    match inspect(&db, looked, |record| known.learn(record)) {
        Ok(contents) => Ok(Found { db, contents, known }),
        Err(StoreError::Corrupt { what } | StoreError::Unavailable(what)) => Err(damaged(path, &what)),
    }
}

fn lock_and_open(path: &Path, looked: &AtomicU64) -> Result<Db, OpenError> {
    // No flusher thread: nothing is written but by the batches, which flush themselves.
    let config = ::sled::Config::new().path(path).cache_capacity(CACHE).flush_every_ms(None);
    mend(path, looked)?;
    for _ in 0..LOCK_TRIES {
        match config.open() {
            Ok(db) => return Ok(db),
            Err(::sled::Error::Io(error)) if is_lock(&error) => thread::sleep(LOCK_PAUSE),
            Err(::sled::Error::Io(error)) if is_circumstance(error.kind()) => {
                return Err(io_error(path, &error));
            }
            // sled's own words end with a backtrace, or with nothing.
            Err(::sled::Error::Corruption { .. }) => {
                return Err(damaged(path, "a part of its log cannot be read"));
            }
            Err(error) => return Err(damaged(path, &error.to_string())),
        }
    }
    Err(held(path))
}

/// Where a batch was on its way when the database was last in use: puts a copy of it in its place, every byte of which is
/// known to be on disk. What a disk refuses is told once, to the `fsync` of that time; from then on it reads as if
/// it were there, and what comes after it in the log would be lost with it in a power cut. (Writing the same
/// bytes again in place does not help: ext4 then leaves the extent marked as never written.)
///
/// Until the database is open a batch is on its way once more, because sled mends its end when it opens it.
///
/// A snapshot that was cut short goes, because sled would take it for the newest one and refuse to open.
fn mend(path: &Path, looked: &AtomicU64) -> Result<(), OpenError> {
    let Some(_lock) = lock_patiently(path)? else { return Ok(()) };
    let all = || -> io::Result<()> {
        for file in plain_files(path)? {
            if file.extension().is_some_and(|extension| extension == "generating") {
                fs::remove_file(file)?;
            }
        }
        if Acknowledged::is_in_doubt(path)? {
            let (mut old, mut new) = (File::open(database(path))?, NamedTempFile::new_in(path)?); // 0600
            while io::copy(&mut (&mut old).take(AT_ONCE), &mut new)? > 0 {
                new.as_file().sync_all()?;
                looked.fetch_add(1, Ordering::Relaxed);
            }
            new.persist(database(path)).map_err(|error| error.error)?;
            sync_directory(path)?;
        } else if Acknowledged::is_whole(path)? {
            Acknowledged::open(path)?.doubt()?;
        }
        Ok(())
    };
    match all() {
        // That it holds no number is said where it is read.
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(()),
        outcome => outcome.map_err(|error| io_error(path, &error)),
    }
}

fn lock_patiently(path: &Path) -> Result<Option<File>, OpenError> {
    for _ in 0..LOCK_TRIES {
        match lock(path) {
            Err(OpenError::Held(_)) => thread::sleep(LOCK_PAUSE),
            locked => return locked,
        }
    }
    Err(held(path))
}

/// sled says it in words only.
fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Errors that tell of the machine, not of the file.
fn is_circumstance(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied
            | ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::OutOfMemory
    )
}

/// The files of a store: sled's and ours.
pub(super) fn plain_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}
