//! The Online Certificate Status Protocol (RFC 6960, in the manner of RFC 5019), asked ahead where it can be.
//!
//! What responders say is a fact about a certificate of an issuer key: it is kept here, for all anchor sets, as
//! long as the server runs. Looking at it costs no I/O. Answers in use are asked for again before they run out
//! ([`OcspCache::due`]), so that a request meets a responder only for a certificate that was not seen lately;
//! and failures are kept for 10 s and, while they go on, for up to 60 s, so that a responder that is out of order
//! costs few requests their patience. A newer answer replaces an older one and never the other way; `revoked` holds
//! until a newer answer says `good`, whatever its `nextUpdate` and whatever fails in between. An issuer may renew its
//! certificate and keep its key: what is known stays known, and the certificate that a path showed last anchors the next
//! answer, because one that has ended vouches for no delegate.
//!
//! `request` and `response` have the protocol, `signer` who may sign. Whether `unknown` is good enough is left to
//! the policy of the anchor set, when to ask to whoever calls. URLs in certificates are never looked at.

mod entry;
mod request;
mod response;
mod signer;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};
use url::Url;

use self::entry::{Entry, Failure};
use self::request::CertId;
use crate::clock::Timestamp;
use crate::pki::certificate::Certificate;
use crate::pki::fetch::{FetchBounds, FetchError, Outgoing};

/// How long [`OcspCache::ask`] takes at most, waiting for others included.
const PATIENCE: Duration = Duration::from_secs(2);

/// The largest response that is read.
const MAX_RESPONSE: usize = 64 * 1024;

/// How many certificates are kept, of about three kilobytes each.
const MAX_ENTRIES: usize = 16_384;

/// How long after its last use an answer is still renewed.
const IN_USE: Duration = Duration::from_secs(60 * 60);

/// One certificate, its issuer and the configured responder.
#[derive(Clone)]
pub struct Question {
    /// `ocsp.url` of the anchor set; never a URL from a certificate.
    pub responder: Url,
    /// Whose status.
    pub certificate: Arc<Certificate>,
    /// Who issued it.
    pub issuer: Arc<Certificate>,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Question({} to {})", self.certificate.thumbprint(), self.responder)
    }
}

/// What is known of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OcspStatus {
    /// `good`, within thisUpdate and nextUpdate.
    Good {
        /// Until when the answer holds, itself included.
        until: Timestamp,
    },
    /// `revoked` (certificateHold included), by an answer of any age.
    Revoked {
        /// `revocationTime`.
        at: Timestamp,
        /// `keyCompromise`, …
        reason: Option<String>,
    },
    /// No usable answer; says why. It is worth asking if `askable`.
    Unknown {
        /// For people.
        why: String,
        /// False if a question was asked a moment ago and there is no use in asking again.
        askable: bool,
    },
}

/// The answers of responders, bounded in entries.
#[derive(Debug, Default)]
pub struct OcspCache {
    entries: RwLock<HashMap<Key, Arc<Entry>>>,
    /// Responders that took longer than our patience: no other question is worth it for a while.
    slow: Mutex<HashMap<Url, Failure>>,
}

/// SHA-256 over everything that makes one question: responder, issuer key, issuer name, serial number. Not over the
/// certificate, whose signature may be written in more than one way.
type Key = [u8; 32];

impl OcspCache {
    /// What is known now. A look-up, no I/O. The answer is renewed with this certificate of the issuer from here on.
    pub fn status(
        &self,
        responder: &Url,
        certificate: &Certificate,
        issuer: &Arc<Certificate>,
        now: Timestamp,
    ) -> OcspStatus {
        let entry = self.find(&key(responder, certificate, issuer));
        let known = match &entry {
            Some(entry) => entry.status(issuer, now),
            None => OcspStatus::Unknown {
                why: format!("OCSP responder {responder}: it was not asked yet"),
                askable: true,
            },
        };
        match known {
            OcspStatus::Unknown { why, askable: true } => match self.slowness(responder, now) {
                Some(slow) => OcspStatus::Unknown {
                    why: format!("OCSP responder {responder}: {}", slow.why),
                    askable: false,
                },
                None => OcspStatus::Unknown { why, askable: true },
            },
            known => known,
        }
    }

    /// Asks the responder and keeps what it says; callers with one question share one exchange. Takes 2 s at most. A
    /// failure is kept too, for some seconds, so that a dead responder costs one request its patience and not all.
    pub async fn ask(&self, question: &Question, outgoing: &Outgoing, now: Timestamp) {
        // Our own patience ends first, so that a slow responder is told from one that refuses.
        let bounds = FetchBounds { size: MAX_RESPONSE, time: PATIENCE * 2 };
        let headers = [("content-type", "application/ocsp-request"), ("accept", "application/ocsp-response")];
        self.ask_by(question, now, |request| outgoing.post(&question.responder, &headers, request, bounds))
            .await;
    }

    /// The questions whose answers were used within the last hour and should be asked again: half of their time has
    /// gone, or an hour, or half a minute where they have no `nextUpdate`; or they failed, and it is time to try again.
    pub fn due(&self, now: Timestamp) -> Vec<Question> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let due =
            entries.values().filter(|entry| entry.was_used_since(now.minus(IN_USE)) && entry.is_due(now));
        let due = due.filter(|entry| self.slowness(&entry.responder, now).is_none());
        due.map(|entry| entry.question()).collect()
    }

    /// What is wrong with responders at the moment, one sentence each, for `/readyz`.
    pub fn troubles(&self, now: Timestamp) -> Vec<String> {
        let mut found = BTreeMap::<(String, String), usize>::new();
        for (responder, slow) in self.slow().iter() {
            if slow.at >= now.minus(IN_USE) {
                found.insert((responder.to_string(), slow.why.clone()), 0);
            }
        }
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        for entry in entries.values().filter(|entry| entry.was_used_since(now.minus(IN_USE))) {
            if let Some(why) = entry.trouble() {
                *found.entry((entry.responder.to_string(), why)).or_default() += 1;
            }
        }
        let sentence = |((responder, why), certificates): ((String, String), usize)| match certificates {
            0 => format!("OCSP responder {responder}: {why}"),
            1 => format!("OCSP responder {responder}: {why} (asked about 1 certificate)"),
            more => format!("OCSP responder {responder}: {why} (asked about {more} certificates)"),
        };
        found.into_iter().map(sentence).collect()
    }

    /// [`OcspCache::ask`] over any way to exchange a request for a response.
    async fn ask_by<F>(&self, question: &Question, now: Timestamp, exchange: impl FnOnce(Vec<u8>) -> F)
    where
        F: Future<Output = Result<Vec<u8>, FetchError>>,
    {
        if self.slowness(&question.responder, now).is_some() {
            return;
        }
        let entry = self.entry(question, now);
        let deadline = Instant::now() + PATIENCE;
        let Ok(Some(_turn)) = timeout_at(deadline, entry.turn(now)).await else { return };
        let Ok(id) = CertId::new(&question.certificate, &question.issuer) else {
            return entry.fail("the certificate cannot be asked about: it is not DER", now);
        };
        match timeout_at(deadline, exchange(id.request())).await {
            Ok(Ok(response)) => {
                self.slow().remove(&question.responder);
                match response::read(&response, &id, &question.issuer, now) {
                    Ok(answer) => entry.take(answer, now),
                    Err(error) => entry.fail(&error.to_string(), now),
                }
            }
            Ok(Err(FetchError(why))) => entry.fail(&why, now),
            Err(_elapsed) => {
                let why = format!("it did not answer within {} s", PATIENCE.as_secs());
                entry.fail(&why, now);
                let mut slow = self.slow();
                let failure = Failure::after(slow.get(&question.responder), why, now);
                slow.insert(question.responder.clone(), failure);
            }
        }
    }

    fn find(&self, key: &Key) -> Option<Arc<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(key).map(Arc::clone)
    }

    /// The entry of a question, made if need be; from here on it is asked about with the issuer certificate of this one.
    fn entry(&self, question: &Question, now: Timestamp) -> Arc<Entry> {
        let key = key(&question.responder, &question.certificate, &question.issuer);
        if let Some(entry) = self.find(&key) {
            entry.go_by(&question.issuer, now);
            return entry;
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&key) {
            let least = entries.iter().min_by_key(|(_, entry)| entry.worth()).map(|(key, _)| *key);
            least.and_then(|least| entries.remove(&least));
        }
        Arc::clone(entries.entry(key).or_insert_with(|| Arc::new(Entry::new(question, now))))
    }

    fn slow(&self) -> MutexGuard<'_, HashMap<Url, Failure>> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failure of a responder that is left alone now.
    fn slowness(&self, responder: &Url, now: Timestamp) -> Option<Failure> {
        self.slow().get(responder).filter(|slow| slow.is_recent(now)).cloned()
    }
}

fn key(responder: &Url, certificate: &Certificate, issuer: &Certificate) -> Key {
    let name = request::issuer_name(certificate).unwrap_or_else(|_| certificate.der());
    let mut hash = Sha256::new();
    for part in [responder.as_str().as_bytes(), issuer.public_key(), name, certificate.serial()] {
        // Length first, so that two lists of parts never hash alike.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
