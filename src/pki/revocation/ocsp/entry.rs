//! What is known of one certificate: the newest answer, what failed since, and when somebody last cared.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use url::Url;

use super::response::{Answer, CertStatus, SKEW};
use super::{OcspStatus, Question};
use crate::clock::Timestamp;
use crate::pki::certificate::Certificate;

/// How long the first failure is kept; each one after it twice as long, up to [`LONGEST_BACK_OFF`].
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// The longest time between two questions about a certificate in use, whatever `nextUpdate` says.
const LONGEST_RENEWAL: Duration = Duration::from_secs(60 * 60);

/// The same for an answer without `nextUpdate`.
const OPEN_ENDED_RENEWAL: Duration = Duration::from_secs(30);

/// One certificate and what its responder said of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) responder: Url,
    certificate: Arc<Certificate>,
    /// Held while the responder is asked, so that it is asked once.
    exchange: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Unix seconds.
    used: AtomicI64,
}

#[derive(Debug)]
struct State {
    /// The certificate of the issuer that was shown last: of one key there may be several, one after another.
    issuer: Arc<Certificate>,
    answer: Option<Kept>,
    /// Since the answer, if there is one.
    failure: Option<Failure>,
    /// Questions that came to an end, well or not.
    exchanges: u64,
}

/// An answer and when it came.
#[derive(Debug)]
struct Kept {
    answer: Answer,
    received: Timestamp,
}

/// A question without an answer, and for how long not to ask again.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    pub(super) at: Timestamp,
    back_off: Duration,
}

impl Failure {
    /// One more after `before`. What fails while `before` is recent was under way with it, and counts as one.
    pub(super) fn after(before: Option<&Self>, why: String, now: Timestamp) -> Self {
        let back_off = match before {
            None => FIRST_BACK_OFF,
            Some(before) if before.is_recent(now) => before.back_off,
            Some(before) => LONGEST_BACK_OFF.min(before.back_off * 2),
        };
        Self { why, at: now, back_off }
    }

    /// Requests read the clock once and then wait, so `at` may be a little later than the `now` of another one; but
    /// not by more, or the clock was set back.
    pub(super) fn is_recent(&self, now: Timestamp) -> bool {
        self.at <= now.plus(SKEW) && now.since(self.at) < self.back_off
    }
}

impl Entry {
    pub(super) fn new(question: &Question, now: Timestamp) -> Self {
        let issuer = Arc::clone(&question.issuer);
        Self {
            responder: question.responder.clone(),
            certificate: Arc::clone(&question.certificate),
            exchange: tokio::sync::Mutex::default(),
            state: Mutex::new(State { issuer, answer: None, failure: None, exchanges: 0 }),
            used: AtomicI64::new(now.as_unix()),
        }
    }

    /// To be asked again.
    pub(super) fn question(&self) -> Question {
        Question {
            responder: self.responder.clone(),
            certificate: Arc::clone(&self.certificate),
            issuer: Arc::clone(&self.state().issuer),
        }
    }

    /// From here on the issuer is who this certificate, of the same key, says.
    pub(super) fn go_by(&self, issuer: &Arc<Certificate>, now: Timestamp) {
        self.state().go_by(issuer, now);
    }

    /// What is known, for somebody who needs it and whose path has this issuer.
    pub(super) fn status(&self, issuer: &Arc<Certificate>, now: Timestamp) -> OcspStatus {
        self.used.store(now.as_unix(), Ordering::Relaxed);
        let mut state = self.state();
        state.go_by(issuer, now);
        match &state.answer {
            Some(Kept { answer: Answer { status: CertStatus::Revoked { at, reason }, .. }, .. }) => {
                return OcspStatus::Revoked { at: *at, reason: reason.map(str::to_owned) };
            }
            Some(Kept { answer, .. }) if answer.status == CertStatus::Good && answer.holds(now) => {
                return OcspStatus::Good { until: answer.until };
            }
            _ => {}
        }
        let askable = state.failure.as_ref().is_none_or(|failure| !failure.is_recent(now));
        let why = match (&state.failure, &state.answer) {
            (Some(failure), _) => failure.why.clone(),
            (None, Some(Kept { answer, .. })) => format!("its last answer held until {}", answer.until),
            (None, None) => "it was not asked yet".to_owned(),
        };
        OcspStatus::Unknown { why: format!("OCSP responder {}: {why}", self.responder), askable }
    }

    pub(super) fn was_used_since(&self, then: Timestamp) -> bool {
        then.as_unix() <= self.used.load(Ordering::Relaxed)
    }

    /// Whether it is time to ask again, for something that is in use.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let state = self.state();
        if let Some(failure) = &state.failure {
            return !failure.is_recent(now);
        }
        state.answer.as_ref().is_none_or(|kept| kept.is_due(now))
    }

    /// What is wrong with the responder, if anything.
    pub(super) fn trouble(&self) -> Option<String> {
        self.state().failure.as_ref().map(|failure| failure.why.clone())
    }

    /// The least goes first where there is no room: what is revoked is kept longest.
    pub(super) fn worth(&self) -> (bool, i64) {
        let state = self.state();
        let is_revoked = state.answer.as_ref().is_some_and(|kept| kept.answer.is_revoked());
        (is_revoked, self.used.load(Ordering::Relaxed))
    }

    /// The right to ask. None if there is no use in it: somebody else asked while this one waited, or it failed a
    /// moment ago.
    pub(super) async fn turn(&self, now: Timestamp) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let before = self.state().exchanges;
        let turn = self.exchange.lock().await;
        let state = self.state();
        let failed = state.failure.as_ref().is_some_and(|failure| failure.is_recent(now));
        (state.exchanges == before && !failed).then_some(turn)
    }

    /// Keeps an answer, unless a newer one is there.
    pub(super) fn take(&self, answer: Answer, now: Timestamp) {
        let mut state = self.state();
        state.exchanges += 1;
        if let Some(why) = state.answer.as_ref().and_then(|kept| objection(&answer, &kept.answer)) {
            state.failure = Some(Failure::after(state.failure.as_ref(), why, now));
            return;
        }
        state.failure = (answer.status == CertStatus::Unknown)
            .then(|| Failure::after(state.failure.as_ref(), UNKNOWN.to_owned(), now));
        state.answer = Some(Kept { answer, received: now });
    }

    /// Keeps a failure; what was known stays known.
    pub(super) fn fail(&self, why: &str, now: Timestamp) {
        let mut state = self.state();
        state.exchanges += 1;
        state.failure = Some(Failure::after(state.failure.as_ref(), why.to_owned(), now));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A failure with a certificate that has ended by now says nothing about another one.
    fn go_by(&mut self, issuer: &Arc<Certificate>, now: Timestamp) {
        if self.issuer.thumbprint() == issuer.thumbprint() {
            return;
        }
        let before = std::mem::replace(&mut self.issuer, Arc::clone(issuer));
        if before.not_after() < now {
            self.failure = None;
        }
    }
}

const UNKNOWN: &str = "it does not know the certificate";

/// Why `new` does not replace `old`. Of the same second, `revoked` is the later one.
fn objection(new: &Answer, old: &Answer) -> Option<String> {
    if old.is_revoked() && new.status == CertStatus::Unknown {
        return Some(UNKNOWN.to_owned());
    }
    let is_older = new.this_update < old.this_update;
    let undoes = old.is_revoked() && !new.is_revoked() && new.this_update == old.this_update;
    (is_older || undoes).then(|| {
        format!(
            "it answered with thisUpdate {}, and an answer of {} is known: an older one never replaces a newer one",
            new.this_update, old.this_update
        )
    })
}

impl Kept {
    fn is_due(&self, now: Timestamp) -> bool {
        let wait = match self.answer.next_update {
            Some(next_update) => LONGEST_RENEWAL.min(next_update.since(self.received) / 2),
            None => OPEN_ENDED_RENEWAL,
        };
        now < self.received || self.received.plus(wait) <= now
    }
}
