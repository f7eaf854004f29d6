//! The certificates that clients publish at their `jwks_uri` (RFC 7591 §2, RFC 8705 §2.2.2): when a set is
//! fetched, and which one is in force.
//!
//! A set comes into force whole: a certificate that is not in it any more ends with the one before. A fetch
//! that fails, and an answer that is no set, change nothing: the last good set stays, also over a restart if
//! there is a directory for it. Nothing here spawns and nothing asks by itself; [`JwkSets::due`] says whose
//! time has come. What an answer may hold is said by `set`, which addresses may be reached and how redirects
//! are followed by [`Outgoing`], and what a certificate that is not registered means by the caller.

mod disk;
mod set;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::pin::Pin as Pinned;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::Mutex;
use url::Url;

use super::client::Pin;
use crate::clock::Timestamp;
use crate::pki::Thumbprint;
use crate::pki::fetch::{FetchBounds, FetchError, Fetched, Outgoing, Validators};
use disk::Kept;
use set::Found;

/// What a set may take: 256 KiB, and two seconds, because a client waits for it.
const BOUNDS: FetchBounds = FetchBounds { size: 256 * 1024, time: Duration::from_secs(2) };

/// Between the beginnings of two attempts for one URL: whoever shows certificates that nobody knows causes no
/// more requests than this.
const PAUSE: Duration = Duration::from_secs(60);

/// How long a set is fresh if its server says nothing about it (RFC 9111 §4.2).
const FRESH: Duration = Duration::from_secs(60 * 60);

/// The most that a server can ask for: a certificate that was withdrawn should end within the day.
const FRESH_AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// The sets of all clients. Lives as long as the server, whatever registry is in force.
pub struct JwkSets {
    directory: Option<PathBuf>,
    outgoing: Arc<Outgoing>,
    sources: RwLock<HashMap<Url, Arc<Source>>>,
    /// What is known of a URL that nobody asked yet.
    nothing: Arc<JwkSet>,
}

/// What is known of one URL.
#[derive(Clone, Debug, Default)]
pub struct JwkSet {
    /// The certificates in it.
    pub pins: BTreeMap<Thumbprint, Pin>,
    /// When it was last fetched with success.
    pub fetched_at: Option<Timestamp>,
    /// What is wrong now: with the last attempt, and then the last good set stays in force; or with keys of
    /// the set, and then the others are in force.
    pub trouble: Option<String>,
    /// A sentence for each key of the set that does not count: those of `trouble`, and also the keys that
    /// are right and for something else, such as encryption.
    pub skipped: Vec<String>,
}

/// Why a set is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asking {
    /// A certificate that is not in it was shown: at most once a minute for each URL.
    UnknownCertificate,
    /// It is due by its headers.
    Due,
}

/// What came of asking, for the log; the set itself is at [`JwkSets::of`]. Of those who share an exchange one
/// alone hears how it ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// Nobody was asked: the last attempt began less than a minute ago, or the set is still fresh.
    TooSoon,
    /// There was an exchange already, and it is over now.
    ByAnother,
    /// The certificates are the same.
    Unchanged,
    /// Another set is in force.
    Changed {
        /// Certificates that were not in the one before.
        added: Vec<Thumbprint>,
        /// Certificates that are not registered any more.
        removed: Vec<Thumbprint>,
    },
    /// The set is the one before; [`JwkSet::trouble`] says why.
    Failed,
}

/// One URL.
#[derive(Default)]
struct Source {
    state: RwLock<State>,
    /// The exchange that goes on, or that was left half-way by a caller who went away: whoever comes next
    /// brings it to its end, so that going away spares nobody an answer.
    exchange: Mutex<Option<Exchange>>,
}

#[derive(Default)]
struct State {
    set: Arc<JwkSet>,
    good: Option<Good>,
    /// When the last attempt began, whatever came of it.
    attempted_at: Option<Timestamp>,
    /// How many exchanges are over.
    exchanges: u64,
}

/// What has to be known of the last good set to ask for the next one.
struct Good {
    validators: Validators,
    fresh_until: Timestamp,
    /// Under which bound it was read; under another one it has to be read again.
    max_certificates: usize,
    /// What is wrong with it.
    trouble: Option<String>,
}

struct Exchange {
    begun_at: Timestamp,
    max_certificates: usize,
    answer: Pinned<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send>>,
}

/// What a server said, when it could be read.
enum Answer {
    Set(Kept, Found),
    Same { fresh_until: Timestamp },
}

impl JwkSets {
    /// With the sets that are in `directory`, which is made when it is first written to; files that cannot be
    /// read do not count. `None` keeps nothing on disk.
    pub fn new(directory: Option<PathBuf>, outgoing: Arc<Outgoing>) -> Self {
        let kept = directory.as_deref().map(disk::load).unwrap_or_default();
        let sources = kept.into_iter().filter_map(|(uri, kept)| Some((uri, Arc::new(Source::kept(&kept)?))));
        Self { directory, outgoing, sources: RwLock::new(sources.collect()), nothing: Arc::default() }
    }

    /// The set of a URL, as far as it is known.
    pub fn of(&self, uri: &Url) -> Arc<JwkSet> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.get(uri).map_or_else(|| self.nothing.clone(), |source| source.state().set.clone())
    }

    /// Whether asking for an unknown certificate makes sense now: the last attempt began a minute ago or
    /// more, or it goes on and can be waited for.
    pub fn is_askable(&self, uri: &Url, now: Timestamp) -> bool {
        self.known(uri).is_none_or(|source| {
            let is_idle = source.exchange.try_lock().is_ok_and(|exchange| exchange.is_none());
            !is_idle || source.state().is_rested(now)
        })
    }

    /// Fetches, if it is time for it. Callers for one URL share one exchange, of 2 s at most. A failure keeps
    /// the last good set, and so does an answer with more than `max_certificates`.
    pub async fn ask(&self, uri: &Url, max_certificates: usize, asking: Asking, now: Timestamp) -> Asked {
        let source = self.source(uri);
        let exchanges = source.state().exchanges;
        let mut turn = source.exchange.lock().await;
        if source.state().exchanges != exchanges {
            return Asked::ByAnother;
        }
        if turn.is_none() && !source.state().is_open_to(asking, now) {
            return Asked::TooSoon;
        }
        let exchange = turn.get_or_insert_with(|| self.begin(uri, &source, max_certificates, now));
        let (begun_at, max_certificates) = (exchange.begun_at, exchange.max_certificates);
        let answer = (&mut exchange.answer).await;
        *turn = None;
        self.finish(uri, &source, answer, max_certificates, begun_at)
    }

    /// Which of these are due: never fetched, or past the freshness that their headers give them (1 min to
    /// 24 h, 1 h without), or left half-way; none that was attempted within the last minute.
    pub fn due(&self, uris: &[Url], now: Timestamp) -> Vec<Url> {
        let is_due = |uri: &&Url| {
            self.known(uri).is_none_or(|source| match source.exchange.try_lock() {
                Ok(exchange) => exchange.is_some() || source.state().is_open_to(Asking::Due, now),
                Err(_) => false,
            })
        };
        uris.iter().filter(is_due).cloned().collect()
    }

    /// Drops what nobody registers any more, from the disk too.
    pub fn keep_only(&self, uris: &[Url]) {
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = sources.extract_if(|uri, _| !uris.contains(uri)).map(|(uri, _)| uri).collect();
        drop(sources);
        if let Some(directory) = &self.directory {
            for uri in &gone {
                disk::remove(directory, uri);
            }
        }
    }

    fn known(&self, uri: &Url) -> Option<Arc<Source>> {
        self.sources.read().unwrap_or_else(PoisonError::into_inner).get(uri).cloned()
    }

    fn source(&self, uri: &Url) -> Arc<Source> {
        self.known(uri).unwrap_or_else(|| {
            let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
            sources.entry(uri.clone()).or_default().clone()
        })
    }

    fn begin(&self, uri: &Url, source: &Source, max_certificates: usize, now: Timestamp) -> Exchange {
        let mut state = source.state_mut();
        state.attempted_at = Some(now);
        let good = state.good.as_ref().filter(|good| good.max_certificates == max_certificates);
        let known = good.map(|good| good.validators.clone()).unwrap_or_default();
        let (outgoing, uri) = (self.outgoing.clone(), uri.clone());
        let answer = Box::pin(async move { outgoing.get(&uri, &known, BOUNDS).await });
        Exchange { begun_at: now, max_certificates, answer }
    }

    /// What is slow is done while nobody has to wait for the state: reading the answer, and writing it to disk.
    fn finish(
        &self,
        uri: &Url,
        source: &Source,
        answer: Result<Fetched, FetchError>,
        max_certificates: usize,
        at: Timestamp,
    ) -> Asked {
        let answer = answer.map_err(|error| error.to_string()).and_then(|answer| match answer {
            Fetched::Unchanged { fresh } => Ok(Answer::Same { fresh_until: fresh_until(fresh, at) }),
            Fetched::Body { bytes, validators, fresh } => {
                let found = set::read(&bytes, max_certificates)?;
                let fresh_until = fresh_until(fresh, at);
                let kept = Kept { fetched_at: at, fresh_until, max_certificates, validators, body: bytes };
                Ok(Answer::Set(kept, found))
            }
        });
        let mut state = source.state_mut();
        state.exchanges += 1;
        match answer {
            Err(what) => state.fail(what),
            Ok(Answer::Same { fresh_until }) => state.still_good(fresh_until, max_certificates, at),
            Ok(Answer::Set(kept, found)) => {
                let asked = state.put(&kept, found);
                drop(state);
                let written = self.directory.as_deref().map_or(Ok(()), |path| disk::write(path, uri, &kept));
                if let Err(error) = written {
                    source.state_mut().complain(format!("the set is not kept over a restart: {error}"));
                }
                asked
            }
        }
    }
}

impl Source {
    /// What was kept on disk, if it is as good as it was.
    fn kept(kept: &Kept) -> Option<Self> {
        let mut state = State::default();
        let found = set::read(&kept.body, kept.max_certificates).ok()?;
        state.put(kept, found);
        Some(Self { state: RwLock::new(state), exchange: Mutex::new(None) })
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the last attempt began a minute ago; a clock that was set back counts as that.
    fn is_rested(&self, now: Timestamp) -> bool {
        self.attempted_at.is_none_or(|at| now < at || now.since(at) >= PAUSE)
    }

    fn is_open_to(&self, asking: Asking, now: Timestamp) -> bool {
        let is_stale = self.good.as_ref().is_none_or(|good| now >= good.fresh_until)
            || self.set.fetched_at.is_some_and(|at| now < at);
        self.is_rested(now) && (asking == Asking::UnknownCertificate || is_stale)
    }

    fn put(&mut self, answer: &Kept, found: Found) -> Asked {
        let Found { pins, skipped, trouble } = found;
        let asked = difference(&self.set.pins, &pins);
        self.good = Some(Good {
            validators: answer.validators.clone(),
            fresh_until: answer.fresh_until,
            max_certificates: answer.max_certificates,
            trouble: trouble.clone(),
        });
        self.set = Arc::new(JwkSet { pins, fetched_at: Some(answer.fetched_at), trouble, skipped });
        asked
    }

    /// RFC 9110 §15.4.5: the last good set is the present one.
    fn still_good(&mut self, fresh_until: Timestamp, max_certificates: usize, at: Timestamp) -> Asked {
        let Some(good) = self.good.as_mut().filter(|good| good.max_certificates == max_certificates) else {
            return self.fail("the server says that nothing has changed, and was not asked that".to_owned());
        };
        good.fresh_until = fresh_until;
        let trouble = good.trouble.clone();
        self.set = Arc::new(JwkSet { fetched_at: Some(at), trouble, ..JwkSet::clone(&self.set) });
        Asked::Unchanged
    }

    fn fail(&mut self, what: String) -> Asked {
        self.complain(what);
        Asked::Failed
    }

    fn complain(&mut self, what: String) {
        self.set = Arc::new(JwkSet { trouble: Some(what), ..JwkSet::clone(&self.set) });
    }
}

fn fresh_until(fresh: Option<Duration>, at: Timestamp) -> Timestamp {
    at.plus(fresh.unwrap_or(FRESH).clamp(PAUSE, FRESH_AT_MOST))
}

fn difference(before: &BTreeMap<Thumbprint, Pin>, after: &BTreeMap<Thumbprint, Pin>) -> Asked {
    let missing_in = |here: &BTreeMap<Thumbprint, Pin>, there: &BTreeMap<Thumbprint, Pin>| {
        there.keys().filter(|thumbprint| !here.contains_key(thumbprint)).copied().collect::<Vec<_>>()
    };
    let (added, removed) = (missing_in(before, after), missing_in(after, before));
    if added.is_empty() && removed.is_empty() { Asked::Unchanged } else { Asked::Changed { added, removed } }
}

#[cfg(test)]
mod tests;
