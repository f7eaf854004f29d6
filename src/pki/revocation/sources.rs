//! CRLs from configured URLs (RFC 5280 §5), fetched ahead of need and kept on disk.
//!
//! Every URL is asked on its own schedule (`schedule`), by conditional requests (RFC 9110 §13) through the one way out
//! (`pki::fetch`), and the last good list of each lies in a directory (`directory`), so that a restart does not depend
//! on the network. Whether a list is good is for [`Crls::offer`] to say, of what comes from the disk as of what comes from the
//! network; whatever is refused, fails or does not come leaves the list in force where it is. Nothing here decides what
//! an expired list means: that is looked at where it is used.

mod directory;
mod schedule;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use url::Url;

use super::crl::{CrlError, Crls};
use crate::clock::Timestamp;
use crate::pki::certificate::Certificate;
use crate::pki::fetch::{FetchBounds, FetchError, Fetched, Outgoing, Validators};
use directory::ListDirectory;
use schedule::Validity;

/// Of one fetch.
const BOUNDS: FetchBounds = FetchBounds { size: Crls::MAX_BYTES, time: Duration::from_secs(30) };

/// One configured URL of one anchor set.
#[derive(Clone)]
pub struct CrlUrl {
    /// Where.
    pub url: Url,
    /// The anchors and intermediates of its set.
    pub issuers: Arc<[Certificate]>,
}

/// Fetches lists when they are due. `directory` keeps the last good one of each URL (0700, files by hash of the URL),
/// so that a restart does not depend on the network.
pub struct CrlFetcher {
    directory: Arc<ListDirectory>,
    crls: Arc<Crls>,
    outgoing: Arc<Outgoing>,
    sources: Mutex<BTreeMap<Url, Source>>,
}

/// What happened to one URL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchOutcome {
    /// Which.
    pub url: Url,
    /// The sentence for the log and `/readyz`; None if all is well.
    pub trouble: Option<String>,
    /// Whether another list is in force now.
    pub changed: bool,
}

/// What is known of one URL.
struct Source {
    issuers: Arc<[Certificate]>,
    /// Of the last good list that came from here.
    good: Option<Good>,
    /// None: at once.
    due: Option<Timestamp>,
    failures: u32,
    trouble: Option<String>,
}

/// A list that was taken.
#[derive(Clone)]
struct Good {
    /// SHA-256 of the bytes; None if they are not on disk and have to come once more.
    digest: Option<[u8; 32]>,
    validators: Validators,
    taken: Taken,
}

/// What [`Crls`] says of a list that it took.
#[derive(Clone, Copy)]
struct Taken {
    /// Of several lists: of the first that ends.
    validity: Validity,
    /// Whether its issuer is known. What waits for its issuer may come from anybody on the way, with the validators of
    /// the true list; so it has none, and replaces none that is verified.
    verified: bool,
    /// Whether it was not in force before.
    changed: bool,
}

/// One fetch to be done.
struct Errand {
    url: Url,
    issuers: Arc<[Certificate]>,
    good: Option<Good>,
}

/// What an errand brought, if it brought what can be used.
struct Brought {
    good: Good,
    fresh: Option<Duration>,
    /// Why it is not on disk.
    unkept: Option<String>,
}

impl CrlFetcher {
    /// Nothing fetched yet. `directory` is made when it is first written.
    pub fn new(directory: PathBuf, crls: Arc<Crls>, outgoing: Arc<Outgoing>) -> Self {
        Self { directory: Arc::new(ListDirectory(directory)), crls, outgoing, sources: Mutex::default() }
    }

    /// Which URLs are wanted from here on; what was kept on disk of new ones is offered at once (no network), and of
    /// those whose anchors or intermediates are others now. URLs that are not wanted any more are forgotten; their
    /// files stay, see [`CrlFetcher::tidy`]. Gives what became of the files, where there were any.
    pub fn want(&self, urls: Vec<CrlUrl>, now: Timestamp) -> Vec<FetchOutcome> {
        let wanted = merged(urls);
        let mut outcomes = Vec::new();
        let mut restored = BTreeMap::new();
        for (url, issuers) in &wanted {
            if self.lock().get(url).is_some_and(|source| is_same(&source.issuers, issuers)) {
                continue;
            }
            let (source, outcome) = self.restore(url, Arc::clone(issuers), now);
            restored.insert(url.clone(), source);
            outcomes.extend(outcome);
        }
        let mut sources = self.lock();
        sources.retain(|url, _| wanted.contains_key(url));
        sources.extend(restored);
        outcomes
    }

    /// Removes the files of URLs that are not wanted. Only whoever owns the directory does that: a look at another
    /// configuration reads what is there and leaves it.
    pub fn tidy(&self) {
        let wanted: Vec<Url> = self.lock().keys().cloned().collect();
        self.directory.retain(wanted.iter());
    }

    /// Fetches every URL that is due: never fetched; past most of the life of its list; past the freshness of the
    /// answer, at most every minute and at least every hour; with back-off after failures. Eight at once, 64 MiB and
    /// 30 s each. Gives what became of each URL that was asked. One task calls this, and not before the last call has ended.
    pub async fn fetch_due(&self, now: Timestamp) -> Vec<FetchOutcome> {
        let errands = Mutex::new(self.errands(now).into_iter());
        let outcomes = Mutex::new(Vec::new());
        let next = || errands.lock().unwrap_or_else(PoisonError::into_inner).next();
        let lane = async || {
            while let Some(errand) = next() {
                let outcome = Box::pin(self.run(errand, now)).await;
                outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
            }
        };
        tokio::join!(lane(), lane(), lane(), lane(), lane(), lane(), lane(), lane());
        let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcomes.sort_by(|a, b| a.url.cmp(&b.url));
        outcomes
    }

    /// What is wrong at the moment, one sentence for each URL.
    pub fn troubles(&self) -> Vec<String> {
        self.lock().values().filter_map(|source| source.trouble.clone()).collect()
    }

    /// Held for a look or a change, never across a fetch or a file.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Url, Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A source as the disk remembers it. An older list than the one in force is no trouble here: another source was
    /// faster.
    fn restore(
        &self,
        url: &Url,
        issuers: Arc<[Certificate]>,
        now: Timestamp,
    ) -> (Source, Option<FetchOutcome>) {
        let outcome = |trouble, changed| Some(FetchOutcome { url: url.clone(), trouble, changed });
        let mut source = Source { issuers, good: None, due: None, failures: 0, trouble: None };
        let taken = match self.directory.load(url, BOUNDS.size) {
            Ok(None) => return (source, None),
            Ok(Some(kept)) => match offer(&self.crls, kept.list(), &source.issuers, now) {
                Ok(taken) => {
                    let (digest, validators) = (Some(kept.digest), kept.validators);
                    source.good = Some(Good { digest, validators, taken });
                    Ok(taken.changed)
                }
                Err(Unusable::Older(_)) => Ok(false),
                Err(Unusable::Other(why)) => Err(why),
            },
            Err(why) => Err(why),
        };
        match taken {
            Ok(changed) => (source, outcome(None, changed)),
            Err(why) => {
                let name = name(url);
                source.trouble = Some(format!("what was kept of the CRL at {name} is of no use: {why}"));
                let outcome = outcome(source.trouble.clone(), false);
                (source, outcome)
            }
        }
    }

    fn errands(&self, now: Timestamp) -> Vec<Errand> {
        let sources = self.lock();
        let due = sources.iter().filter(|(_, source)| schedule::is_due(source.due, now));
        let errand = |(url, source): (&Url, &Source)| Errand {
            url: url.clone(),
            issuers: Arc::clone(&source.issuers),
            good: source.good.clone(),
        };
        due.map(errand).collect()
    }

    async fn run(&self, errand: Errand, now: Timestamp) -> FetchOutcome {
        let brought = self.fetch(&errand, now).await;
        self.settle(&errand, brought, now)
    }

    async fn fetch(&self, errand: &Errand, now: Timestamp) -> Result<Brought, String> {
        // Of a list that has ended, "unchanged" would be no answer.
        let current = errand.good.as_ref().filter(|good| good.is_settled() && good.taken.validity.holds(now));
        let known = current.map(|good| good.validators.clone()).unwrap_or_default();
        let answer = self.outgoing.get(&errand.url, &known, BOUNDS).await;
        match (answer.map_err(|FetchError(why)| why)?, current) {
            (Fetched::Body { bytes, validators, fresh }, _) => {
                let arrival = Arrival { bytes, validators, fresh };
                self.take(errand, arrival, now).await
            }
            (Fetched::Unchanged { fresh }, Some(good)) => {
                Ok(Brought { good: good.clone().again(), fresh, unkept: None })
            }
            (Fetched::Unchanged { .. }, None) => {
                Err("the server says that nothing changed, unasked".to_owned())
            }
        }
    }

    /// Reading, verifying and writing a large list takes a while, in which the event loop has other work.
    async fn take(&self, errand: &Errand, arrival: Arrival, now: Timestamp) -> Result<Brought, String> {
        let (crls, directory) = (Arc::clone(&self.crls), Arc::clone(&self.directory));
        let (url, issuers, known) = (errand.url.clone(), Arc::clone(&errand.issuers), errand.good.clone());
        let work = move || arrival.judge(&url, known, &issuers, (&crls, &directory), now);
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|_| Err("reading the list ended in a fault of this program".to_owned()))
    }

    /// Writes down what came of an errand, unless its URL was forgotten or got other issuers in the meantime.
    fn settle(&self, errand: &Errand, brought: Result<Brought, String>, now: Timestamp) -> FetchOutcome {
        let url = errand.url.clone();
        let changed = brought.as_ref().is_ok_and(|brought| brought.good.taken.changed);
        let mut sources = self.lock();
        match sources.get_mut(&url) {
            Some(source) if Arc::ptr_eq(&source.issuers, &errand.issuers) => {
                source.settle(&url, brought, now);
                FetchOutcome { trouble: source.trouble.clone(), url, changed }
            }
            Some(_) => FetchOutcome { url, trouble: None, changed },
            None => {
                drop(sources);
                self.directory.remove(&url);
                FetchOutcome { url, trouble: None, changed }
            }
        }
    }
}

impl Source {
    fn settle(&mut self, url: &Url, brought: Result<Brought, String>, now: Timestamp) {
        let name = name(url);
        let brought = match brought {
            Ok(brought) => brought,
            Err(why) => {
                let validity = self.good.as_ref().map(|good| good.taken.validity);
                self.failures = self.failures.saturating_add(1);
                self.due = Some(schedule::after_failure(self.failures, validity, now));
                self.trouble =
                    Some(format!("the CRL at {name} did not come: {why}; {}", standing(validity, now)));
                return;
            }
        };
        let validity = brought.good.taken.validity;
        self.failures = 0;
        self.due = Some(schedule::after_success(brought.fresh, validity, now));
        self.trouble = match brought.unkept {
            _ if !validity.holds(now) => Some(format!(
                "the CRL at {name} ended at {}, and the server has no newer one",
                validity.next_update
            )),
            Some(why) => Some(format!("the CRL at {name} is in force and cannot be kept on disk: {why}")),
            None => None,
        };
        self.good = Some(brought.good);
    }
}

impl Good {
    /// Whether the same bytes need not be looked at again.
    fn is_settled(&self) -> bool {
        self.taken.verified && self.digest.is_some()
    }

    /// The same, which is no change any more.
    fn again(self) -> Self {
        Self { taken: Taken { changed: false, ..self.taken }, ..self }
    }
}

/// A body as it came.
struct Arrival {
    bytes: Vec<u8>,
    validators: Validators,
    fresh: Option<Duration>,
}

impl Arrival {
    /// Takes the list in and writes it to the disk; does neither if the bytes are those that are there already.
    fn judge(
        self,
        url: &Url,
        known: Option<Good>,
        issuers: &[Certificate],
        (crls, directory): (&Crls, &ListDirectory),
        now: Timestamp,
    ) -> Result<Brought, String> {
        let Self { bytes, validators, fresh } = self;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let was_verified = known.as_ref().is_some_and(|good| good.taken.verified);
        if let Some(good) = known.filter(|good| good.is_settled() && good.digest == Some(digest)) {
            return Ok(Brought { good: Good { validators, ..good.again() }, fresh, unkept: None });
        }
        let taken = offer(crls, &bytes, issuers, now).map_err(Unusable::into_words)?;
        if was_verified && !taken.verified {
            return Err("no CA that is known here signed it".to_owned());
        }
        let unkept = directory.save(url, &validators, digest, &bytes).err().map(|error| error.to_string());
        let digest = unkept.is_none().then_some(digest);
        Ok(Brought { good: Good { digest, validators, taken }, fresh, unkept })
    }
}

enum Unusable {
    Older(String),
    Other(String),
}

impl Unusable {
    fn into_words(self) -> String {
        match self {
            Self::Older(words) | Self::Other(words) => words,
        }
    }
}

/// Offers what was fetched, or kept.
fn offer(crls: &Crls, bytes: &[u8], issuers: &[Certificate], now: Timestamp) -> Result<Taken, Unusable> {
    if bytes.trim_ascii_start().starts_with(b"<") {
        return Err(Unusable::Other("it is a web page and no list".to_owned()));
    }
    let before = crls.summaries();
    let lists = crls.offer(bytes, issuers, now).map_err(|error| match error {
        CrlError::Older { .. } => Unusable::Older(error.to_string()),
        _ => Unusable::Other(error.to_string()),
    })?;
    let Some(first) = lists.iter().min_by_key(|list| list.next_update) else {
        return Err(Unusable::Other("there is no list in it".to_owned()));
    };
    Ok(Taken {
        validity: Validity { this_update: first.this_update, next_update: first.next_update },
        verified: lists.iter().any(|list| list.issuer_key.is_some()),
        changed: lists.iter().any(|list| !before.contains(list)),
    })
}

/// One entry for each URL; of a URL that several sets name, with the issuers of them all.
fn merged(urls: Vec<CrlUrl>) -> BTreeMap<Url, Arc<[Certificate]>> {
    let mut wanted = BTreeMap::<Url, Arc<[Certificate]>>::new();
    for CrlUrl { url, issuers } in urls {
        let all = match wanted.get(&url) {
            Some(known) if !is_same(known, &issuers) => {
                let both = known
                    .iter()
                    .chain(issuers.iter().filter(|new| !known.iter().any(|old| old.der() == new.der())));
                both.filter_map(|certificate| Certificate::parse(certificate.der()).ok()).collect()
            }
            _ => issuers,
        };
        wanted.insert(url, all);
    }
    wanted
}

fn is_same(one: &[Certificate], other: &[Certificate]) -> bool {
    one.iter().map(Certificate::der).eq(other.iter().map(Certificate::der))
}

/// The URL without its query, which may hold a secret.
fn name(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

fn standing(validity: Option<Validity>, now: Timestamp) -> String {
    match validity {
        None => "no list has come from there yet".to_owned(),
        Some(validity) if validity.holds(now) => format!("the last one holds until {}", validity.next_update),
        Some(validity) => format!("the last one ended at {}", validity.next_update),
    }
}

#[cfg(test)]
mod tests;
