//! The one thread that writes. It takes every write that waits, keeps them all with one fsync, and
//! answers all of them: the cost of durability is shared by whoever comes at the same time.
//!
//! After an I/O error sled refuses every write until the database is opened again: it remembers the first
//! error for good. So the writer does that by itself, once a second at most and only when a file can be
//! written beside the database (a full disk would not let it open); meanwhile `known` answers
//! for everything that was acknowledged. The same where the database is another file than the open one, because its volume
//! was mounted again: it is taken up if it is this store with everything that was acknowledged.

use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use ::sled::Db;
use tokio::sync::{mpsc, oneshot};

use super::changes::{Kept, Record, Staged};
use super::evidence::notes::Notes;
use super::failed;
use super::identity::{Acknowledged, StoreId};
use super::known::Known;
use super::opening::{Ready, database, reopen};
use super::panics::{OpenDb, caught};
use crate::store::{Standing, StoreError, TokenKey};

/// The most writes that share an fsync.
const GROUP: usize = 1024;

/// The patience of callers.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// How long to wait between two attempts to open the database again.
const REST: Duration = Duration::from_secs(1);

/// What must fit beside the database before it is opened again: a segment of sled's log (512 KiB) and its
/// snapshot.
const ROOM: usize = 2 << 20;

/// A write on its way: given what it may change, or why it may not, it gives what tells its caller.
type Job = Box<dyn FnOnce(Result<&mut Staged<'_>, StoreError>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Batch) + Send>;

/// What became of a batch: whether it was kept, and then whether the evidence in it was.
type Batch = Result<Result<(), StoreError>, StoreError>;

/// The database as readers and the writer see it.
pub(super) struct Shared {
    pub path: PathBuf,
    pub id: StoreId,
    known: RwLock<Known>,
    /// Nothing while it is opened again.
    db: RwLock<Option<OpenDb>>,
    /// Held while a batch is applied, and by who wants to read everything between two batches.
    quiet: Mutex<()>,
    /// How many batches were kept.
    pub batches: AtomicU64,
    nudging: AtomicBool,
}

impl Shared {
    /// What is known of a token.
    pub(super) fn standing(&self, token: &TokenKey) -> Standing {
        self.known.read().unwrap_or_else(PoisonError::into_inner).standing(token)
    }

    fn remember(&self, kept: &Kept) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.head(&kept.head);
        for record in &kept.records {
            match record {
                Record::Set(entry) => known.learn(entry),
                Record::Dropped(entry) => known.forget(entry),
            }
        }
    }

    /// Reads from the database. sled panics on some damaged pages; that is an error here.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Db) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = db.as_ref() else {
            return Err(StoreError::Unavailable("it is being opened again after an error".into()));
        };
        let panicked = || Err(StoreError::Corrupt { what: "the database panicked".into() });
        caught(|| look(db)).unwrap_or_else(panicked)
    }

    /// Reads while no batch is being applied.
    pub(super) fn read_between_batches<T>(
        &self,
        look: impl FnOnce(&Db) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        self.read(look)
    }

    /// Lets go of the database, and of its lock a moment later.
    pub(super) fn close(&self) {
        drop(self.db.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Wakes a flush that sleeps for good: when the write of a buffer fails in the moment in which the
    /// flush begins to wait, sled sets its error and tells nobody. A second flush sees the error and
    /// wakes the first. On a thread of its own, because on a disk that hangs it hangs too.
    fn nudge(self: &Arc<Self>) {
        if self.nudging.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(self);
        let nudge = move || {
            let _ = shared.read(|db| db.flush().map_err(failed));
            shared.nudging.store(false, Ordering::Release);
        };
        if thread::Builder::new().name("store-nudge".into()).spawn(nudge).is_err() {
            self.nudging.store(false, Ordering::Release);
        }
    }
}

/// The way to the writer.
pub(super) struct Queue {
    jobs: mpsc::Sender<Job>,
    /// How long a caller waits for room and for its answer.
    patience: Duration,
}

impl Queue {
    /// Whether the writer is alive.
    pub(super) fn is_served(&self) -> bool {
        !self.jobs.is_closed()
    }

    /// Has `change` made and kept. [`StoreError::Unavailable`] after 4 s; the change may then still be
    /// made.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        shared: &Arc<Shared>,
        change: impl FnOnce(&mut Staged<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(shared, change, |batch| batch.map(drop)).await
    }

    /// The same for the evidence.
    pub(super) async fn note<T: Send + 'static>(
        &self,
        shared: &Arc<Shared>,
        change: impl FnOnce(&mut Notes<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(shared, |staged| staged.note(change), Result::flatten).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        shared: &Arc<Shared>,
        change: impl FnOnce(&mut Staged<'_>) -> Result<T, StoreError> + Send + 'static,
        kept: fn(Batch) -> Result<(), StoreError>,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |staged| {
            let outcome = staged.and_then(change);
            Box::new(move |batch| {
                // Who asked may have gone.
                let _ = reply.send(kept(batch).and(outcome));
            })
        });
        let asked = async {
            self.jobs.send(job).await.map_err(|_| StoreError::Unavailable("its writer has ended".into()))?;
            answer.await.map_err(|_| StoreError::Unavailable("its writer gave no answer".into()))?
        };
        tokio::time::timeout(self.patience, asked).await.unwrap_or_else(|_| {
            shared.nudge();
            Err(StoreError::Unavailable(format!("no answer within {:?}", self.patience)))
        })
    }
}

/// The thread's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    file: File,
    acknowledged: Acknowledged,
    /// The number of the last batch that was answered.
    sequence: u64,
    broken: Option<Broken>,
}

struct Broken {
    why: StoreError,
    /// When it was last tried to open the database again.
    tried: Option<Instant>,
}

impl Writer {
    pub(super) fn new(path: &Path, ready: Ready) -> Self {
        let shared = Shared {
            path: path.to_path_buf(),
            id: StoreId(ready.head.id),
            known: RwLock::new(ready.known),
            db: RwLock::new(Some(ready.db)),
            quiet: Mutex::new(()),
            batches: AtomicU64::new(0),
            nudging: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
            file: ready.file,
            acknowledged: ready.acknowledged,
            sequence: ready.head.sequence,
            broken: None,
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Starts the thread. It ends, and with it the receiver, when the queue is dropped.
    pub(super) fn start(mut self) -> io::Result<(Queue, std::sync::mpsc::Receiver<()>)> {
        let (queue, mut waiting) = mpsc::channel::<Job>(GROUP);
        let (running, ended) = std::sync::mpsc::channel();
        thread::Builder::new().name("store-writer".into()).spawn(move || {
            let _running: std::sync::mpsc::Sender<()> = running;
            while let Some(first) = waiting.blocking_recv() {
                let mut group = vec![first];
                while group.len() < GROUP
                    && let Ok(next) = waiting.try_recv()
                {
                    group.push(next);
                }
                self.serve(group);
            }
        })?;
        Ok((Queue { jobs: queue, patience: ANSWER_WITHIN }, ended))
    }

    /// Makes the changes of a group, keeps them, and answers each.
    fn serve(&mut self, group: Vec<Job>) {
        if let Err(error) = self.make_sound().and_then(|()| self.look_after()) {
            for job in group {
                job(Err(error.clone()))(Err(error.clone()));
            }
            return;
        }
        let mut answers = Vec::with_capacity(group.len());
        let kept = self.shared.clone().read_between_batches(|db| {
            let mut staged = match Staged::over(db) {
                Ok(staged) => staged,
                Err(error) => {
                    answers.extend(group.into_iter().map(|job| job(Err(error.clone()))));
                    return Err(error);
                }
            };
            answers.extend(group.into_iter().map(|job| job(Ok(&mut staged))));
            if staged.is_empty() {
                return Ok(Ok(()));
            }
            let beside = |error| StoreError::Unavailable(format!("the file `acknowledged`: {error}"));
            self.acknowledged.doubt().map_err(beside)?;
            let kept = staged.keep(&self.file)?;
            self.shared.remember(&kept);
            self.shared.batches.fetch_add(1, Ordering::Relaxed);
            self.sequence = kept.head.sequence;
            self.acknowledged.write(kept.head.sequence).map_err(beside)?;
            // Once more: what was removed meanwhile took the batch with it.
            still_there(&self.shared.path, &self.file)?;
            Ok(kept.noted)
        });
        if let Err(why) = &kept {
            self.broken = Some(Broken { why: why.clone(), tried: None });
        }
        for answer in answers {
            answer(kept.clone());
        }
    }

    /// Makes sure that the database is where it was. Another file in its place has to be opened and read.
    fn look_after(&mut self) -> Result<(), StoreError> {
        let there = still_there(&self.shared.path, &self.file);
        if let Err(why) = &there
            && database(&self.shared.path).exists()
        {
            self.broken = Some(Broken { why: why.clone(), tried: None });
        }
        there
    }

    /// After an error: opens the database again, if that can be done.
    fn make_sound(&mut self) -> Result<(), StoreError> {
        match &self.broken {
            None => return Ok(()),
            Some(Broken { why, tried: Some(tried) }) if tried.elapsed() < REST => return Err(why.clone()),
            Some(_) => {}
        }
        let again = self.open_again();
        self.broken = again.clone().err().map(|why| Broken { why, tried: Some(Instant::now()) });
        again
    }

    fn open_again(&mut self) -> Result<(), StoreError> {
        let shared = &self.shared;
        let failed = |error| StoreError::Unavailable(format!("{}: {error}", shared.path.display()));
        // sled would make an empty one.
        fs::metadata(database(&shared.path)).map_err(failed)?;
        has_room(&shared.path).map_err(failed)?;
        shared.close();
        let ready = reopen(&shared.path, shared.id, self.sequence)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.file = ready.file;
        self.acknowledged = ready.acknowledged;
        self.sequence = ready.head.sequence;
        *shared.known.write().unwrap_or_else(PoisonError::into_inner) = ready.known;
        *shared.db.write().unwrap_or_else(PoisonError::into_inner) = Some(ready.db);
        Ok(())
    }
}

/// An open file that was removed takes writes without complaint, and they are gone with it.
fn still_there(store: &Path, open: &File) -> Result<(), StoreError> {
    let same = |one: &Metadata, two: &Metadata| (one.dev(), one.ino()) == (two.dev(), two.ino());
    let path = database(store);
    match (fs::metadata(&path), open.metadata()) {
        (Ok(named), Ok(open)) if same(&named, &open) => Ok(()),
        (Err(error), _) | (_, Err(error)) => {
            Err(StoreError::Unavailable(format!("{}: {error}", path.display())))
        }
        _ => Err(StoreError::Unavailable(format!("{} was replaced", path.display()))),
    }
}

/// Whether a file can be written beside the database.
fn has_room(path: &Path) -> io::Result<()> {
    let mut probe = tempfile::tempfile_in(path)?;
    probe.write_all(&vec![0; ROOM])?;
    probe.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::oauth::{ClientId, Jti};
    use crate::store::sled::format::Mark;
    use crate::store::sled::opening::{PATIENCE, open};

    const MARK: Mark = Mark { at: Timestamp::from_unix(1_000), until: Timestamp::from_unix(2_000) };

    fn writer(directory: &Path) -> Writer {
        let path = directory.join("data");
        let (ready, _) = open(&path, &directory.join("store-id"), PATIENCE).unwrap();
        Writer::new(&path, ready)
    }

    fn standing(shared: &Shared, jti: Jti) -> Standing {
        let client = ClientId::parse("billing").unwrap();
        shared.standing(&TokenKey { jti, client, issued_at: MARK.at, signed_by: String::new() })
    }

    async fn revoke(queue: &Queue, shared: &Arc<Shared>, jti: Jti) -> Result<(), StoreError> {
        queue.write(shared, move |staged| staged.revoke(jti, MARK)).await
    }

    #[tokio::test]
    async fn a_failed_fsync_is_no_success_and_the_writer_comes_back_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = writer(directory.path());
        let shared = writer.shared();
        let [before, during, after] = [1, 2, 3].map(|byte| Jti::from_bytes([byte; 16]));
        let stage = |jti: Jti, writer: &mut Writer| {
            let (reply, mut answer) = oneshot::channel();
            writer.serve(vec![Box::new(move |staged| {
                let outcome = staged.and_then(|staged| staged.revoke(jti, MARK));
                Box::new(move |kept| reply.send(kept.and(outcome)).unwrap())
            })]);
            answer.try_recv().unwrap()
        };
        stage(before, &mut writer).unwrap();
        // A file that is where it should be and cannot be synced.
        let (db, aside) = (database(&shared.path), directory.path().join("aside"));
        fs::rename(&db, &aside).unwrap();
        std::os::unix::fs::symlink("/dev/null", &db).unwrap();
        writer.file = File::open(&db).unwrap();
        assert!(
            matches!(stage(during, &mut writer), Err(StoreError::Unavailable(why)) if why.contains("fsync"))
        );
        assert_eq!(standing(&shared, during), Standing::Good);
        assert_ne!(standing(&shared, before), Standing::Good);
        assert!(stage(after, &mut writer).is_err(), "what is broken stays broken");
        // The disk is well again.
        fs::rename(&aside, &db).unwrap();
        writer.broken.as_mut().unwrap().tried = None;
        stage(after, &mut writer).unwrap();
        for jti in [before, after] {
            assert_ne!(standing(&shared, jti), Standing::Good);
        }
    }

    #[tokio::test]
    async fn a_change_that_panics_takes_nobody_else_with_it_for_long() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(directory.path());
        let shared = writer.shared();
        let (queue, _ended) = writer.start().unwrap();
        let outcome = queue.write(&shared, |_| -> Result<(), StoreError> { panic!("on purpose") }).await;
        assert!(outcome.is_err());
        let jti = Jti::from_bytes([1; 16]);
        revoke(&queue, &shared, jti).await.unwrap();
        assert_ne!(standing(&shared, jti), Standing::Good);
    }

    #[tokio::test]
    async fn a_writer_that_is_gone_or_silent_makes_every_write_unavailable() {
        let directory = tempfile::tempdir().unwrap();
        let shared = writer(directory.path()).shared();
        let (jobs, waiting) = mpsc::channel(1);
        let queue = Queue { jobs, patience: Duration::from_millis(20) };
        for _ in 0..3 {
            let outcome = revoke(&queue, &shared, Jti::from_bytes([1; 16])).await;
            assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
        }
        assert!(queue.is_served());
        drop(waiting);
        assert!(!queue.is_served());
        let outcome = revoke(&queue, &shared, Jti::from_bytes([1; 16])).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
}
