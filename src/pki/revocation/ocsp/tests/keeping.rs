//! What is kept of answers and of failures, and when somebody is asked again.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::timeout;

use super::forge::{Forged, TRY_LATER};
use super::*;

/// A case, its question, and a cache to ask through.
struct Session {
    case: Case,
    question: Question,
    cache: OcspCache,
}

impl Session {
    fn new() -> Self {
        let case = Case::at(NOW);
        Self { question: case.question(), case, cache: OcspCache::default() }
    }

    fn status(&self, now: Timestamp) -> OcspStatus {
        let Question { responder, certificate, issuer } = &self.question;
        self.cache.status(responder, certificate, issuer, now)
    }

    async fn hear(&self, response: Result<Vec<u8>, FetchError>, now: Timestamp) {
        self.cache.ask_by(&self.question, now, |_| async { response }).await;
    }

    async fn hear_signed(&self, forged: Forged, now: Timestamp) {
        self.hear(Ok(forged.signed_by(&self.case.ca)), now).await;
    }

    fn good(&self, now: Timestamp) -> Forged {
        Forged::good(&self.case, now)
    }

    fn revoked(&self, now: Timestamp) -> Forged {
        Forged::revoked(&self.case, NOW, Some(1), now)
    }
}

fn refused() -> Result<Vec<u8>, FetchError> {
    Err(FetchError("connection refused".to_owned()))
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

#[track_caller]
fn assert_unknown(status: &OcspStatus, expected: &str, worth_asking: bool) {
    let OcspStatus::Unknown { why, askable } = status else { panic!("{status:?}") };
    assert!(why.contains(expected), "{why}");
    assert_eq!(*askable, worth_asking, "{why}");
}

fn is_revoked(status: &OcspStatus) -> bool {
    matches!(status, OcspStatus::Revoked { .. })
}

#[tokio::test]
async fn what_was_not_asked_is_unknown_and_worth_asking() {
    let session = Session::new();
    assert_unknown(&session.status(NOW), "http://ocsp.example.com/: it was not asked yet", true);
    assert!(session.cache.due(NOW).is_empty());
    assert!(session.cache.troubles(NOW).is_empty());
}

#[tokio::test]
async fn a_good_answer_is_good_until_it_runs_out() {
    let session = Session::new();
    session.hear_signed(session.good(NOW), NOW).await;
    assert_eq!(session.status(NOW), OcspStatus::Good { until: later(600) });
    assert_eq!(session.status(later(600)), OcspStatus::Good { until: later(600) });
    assert_unknown(&session.status(later(601)), "its last answer held until", true);
    assert_unknown(&session.status(NOW.minus(HOUR)), "its last answer held until", true);
}

#[tokio::test]
async fn an_answer_is_kept_for_its_responder_issuer_and_serial_number_alone() {
    let session = Session::new();
    session.hear_signed(session.good(NOW), NOW).await;
    let Question { responder, certificate, issuer } = &session.question;
    let elsewhere: Url = "http://other.example.com/".parse().unwrap();
    let twin = Arc::new(Person::ca("Corp CA", NOW).certificate());
    let sibling = people::named("billing", NOW).serial(0x1235).issued_by(&session.case.ca).certificate();
    let renewed = people::named("billing", NOW).serial(0x1234).issued_by(&session.case.ca).certificate();
    let status = |responder, certificate, issuer| session.cache.status(responder, certificate, issuer, NOW);
    assert_unknown(&status(&elsewhere, certificate, issuer), "not asked", true);
    assert_unknown(&status(responder, certificate, &twin), "not asked", true);
    assert_unknown(&status(responder, &sibling, issuer), "not asked", true);
    // Another certificate by its octets, the same one by what CAs revoke by.
    assert_eq!(status(responder, &renewed, issuer), OcspStatus::Good { until: later(600) });
}

#[tokio::test]
async fn revoked_is_told_with_time_and_reason_and_outlives_its_next_update() {
    let session = Session::new();
    session.hear_signed(session.revoked(NOW), NOW).await;
    let expected = OcspStatus::Revoked { at: NOW, reason: Some("keyCompromise".to_owned()) };
    assert_eq!(session.status(NOW), expected);
    assert_eq!(session.status(later(86_400)), expected);
    session.hear(refused(), later(86_400)).await;
    session.hear_signed(Forged::unknown(&session.case, later(90_000)), later(90_000)).await;
    assert_eq!(session.status(later(90_000)), expected);
}

#[tokio::test]
async fn an_older_answer_never_replaces_a_newer_one() {
    let session = Session::new();
    session.hear_signed(session.revoked(later(2)), later(2)).await;
    session.hear_signed(session.good(later(1)), later(3)).await;
    assert!(is_revoked(&session.status(later(3))));
    assert!(session.cache.troubles(later(3))[0].contains("an older one never replaces a newer one"));

    let session = Session::new();
    session.hear_signed(session.good(later(2)), later(2)).await;
    session.hear_signed(session.revoked(later(1)), later(3)).await;
    assert!(matches!(session.status(later(3)), OcspStatus::Good { .. }));
}

#[tokio::test]
async fn of_two_answers_of_one_second_revoked_is_believed() {
    let session = Session::new();
    session.hear_signed(session.good(NOW), NOW).await;
    session.hear_signed(session.revoked(NOW), NOW).await;
    assert!(is_revoked(&session.status(NOW)));
    session.hear_signed(session.good(NOW), NOW).await;
    assert!(is_revoked(&session.status(NOW)));
}

#[tokio::test]
async fn a_hold_ends_with_a_newer_good_answer() {
    let session = Session::new();
    session.hear_signed(Forged::revoked(&session.case, NOW, Some(6), NOW), NOW).await;
    let held = OcspStatus::Revoked { at: NOW, reason: Some("certificateHold".to_owned()) };
    assert_eq!(session.status(NOW), held);
    session.hear_signed(session.good(later(1)), later(1)).await;
    assert!(matches!(session.status(later(1)), OcspStatus::Good { .. }));
}

#[tokio::test]
async fn unknown_is_not_good_and_ends_what_was() {
    let session = Session::new();
    session.hear_signed(session.good(NOW), NOW).await;
    session.hear_signed(Forged::unknown(&session.case, later(1)), later(1)).await;
    assert_unknown(&session.status(later(1)), "it does not know the certificate", false);
    assert_unknown(&session.status(later(11)), "it does not know the certificate", true);
}

#[tokio::test]
async fn a_failure_leaves_a_good_answer_good_until_it_runs_out() {
    let session = Session::new();
    session.hear_signed(session.good(NOW), NOW).await;
    session.hear(refused(), later(590)).await;
    assert!(matches!(session.status(later(600)), OcspStatus::Good { .. }));
    assert_unknown(&session.status(later(601)), "connection refused", true);
}

#[tokio::test]
async fn after_a_failure_nobody_is_asked_for_ten_seconds_growing_to_sixty() {
    let session = Session::new();
    let asked = AtomicUsize::new(0);
    let mut now = NOW;
    for (times, wait) in [10, 20, 40, 60, 60].into_iter().enumerate() {
        for moment in [now, now.plus(Duration::from_secs(wait - 1))] {
            let exchange = |_| async {
                asked.fetch_add(1, Ordering::Relaxed);
                Ok(TRY_LATER.to_vec())
            };
            session.cache.ask_by(&session.question, moment, exchange).await;
            assert_unknown(&session.status(moment), "it answers tryLater", false);
            assert!(session.cache.due(moment).is_empty());
            assert_eq!(asked.load(Ordering::Relaxed), times + 1);
        }
        now = now.plus(Duration::from_secs(wait));
        assert_unknown(&session.status(now), "it answers tryLater", true);
        assert_eq!(session.cache.due(now).len(), 1);
    }
    session.hear_signed(session.good(now), now).await;
    session.hear(refused(), now).await;
    assert!(session.cache.due(now.plus(Duration::from_secs(10))).len() == 1, "a success begins anew");
}

#[tokio::test]
async fn all_who_ask_at_once_share_one_exchange() {
    let session = Session::new();
    let asked = AtomicUsize::new(0);
    let response = session.good(NOW).signed_by(&session.case.ca);
    let ask = || {
        session.cache.ask_by(&session.question, NOW, |_| async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(response.clone())
        })
    };
    tokio::join!(ask(), ask(), ask(), ask());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    ask().await;
    assert_eq!(asked.load(Ordering::Relaxed), 2, "who comes later asks anew");
}

#[tokio::test]
async fn who_waits_asks_himself_if_the_first_one_goes_away() {
    let session = Session::new();
    let first = session.cache.ask_by(&session.question, NOW, |_| std::future::pending());
    let gone = timeout(Duration::from_millis(1), first).await;
    assert!(gone.is_err());
    session.hear_signed(session.good(NOW), NOW).await;
    assert!(matches!(session.status(NOW), OcspStatus::Good { .. }));
}

#[tokio::test]
async fn a_responder_that_is_too_slow_is_left_alone_for_all_its_certificates() {
    let session = Session::new();
    let sibling = people::named("other", NOW).serial(5).issued_by(&session.case.ca);
    let sibling = Question { certificate: Arc::new(sibling.certificate()), ..session.question.clone() };
    let status = |now| session.cache.status(&sibling.responder, &sibling.certificate, &sibling.issuer, now);
    assert_unknown(&status(NOW), "not asked", true);
    session.cache.ask_by(&session.question, NOW, |_| std::future::pending()).await;
    assert_unknown(&session.status(NOW), "it did not answer within 2 s", false);
    assert_unknown(&status(NOW), "it did not answer within 2 s", false);
    let unasked = |_| async { panic!("it is left alone") };
    session.cache.ask_by(&sibling, later(9), unasked).await;
    assert_unknown(&status(later(10)), "not asked", true);
    assert_eq!(
        session.cache.troubles(later(9)),
        ["OCSP responder http://ocsp.example.com/: it did not answer within 2 s (asked about 1 certificate)"]
    );
    session.hear_signed(session.good(later(10)), later(10)).await;
    assert!(session.cache.troubles(later(10)).is_empty());
}

#[tokio::test]
async fn answers_in_use_are_due_at_half_of_their_time() {
    let session = Session::new();
    session.hear_signed(session.good(NOW), NOW).await;
    assert!(session.cache.due(later(299)).is_empty());
    let due = session.cache.due(later(300));
    assert_eq!(due[0].certificate.thumbprint(), session.question.certificate.thumbprint());
    session.hear_signed(session.good(later(300)), later(300)).await;
    assert!(session.cache.due(later(301)).is_empty());
}

#[tokio::test]
async fn answers_are_due_after_an_hour_or_half_a_minute_where_their_time_is_long_or_open() {
    let session = Session::new();
    let long = Forged { next_update: Some(NOW.plus(HOUR * 24 * 7)), ..session.good(NOW) };
    session.hear_signed(long, NOW).await;
    session.status(later(3599));
    assert!(session.cache.due(later(3599)).is_empty());
    assert_eq!(session.cache.due(later(3600)).len(), 1);
    let open = Forged { next_update: None, ..session.good(later(3600)) };
    session.hear_signed(open, later(3600)).await;
    session.status(later(3629));
    assert!(session.cache.due(later(3629)).is_empty());
    assert_eq!(session.cache.due(later(3630)).len(), 1);
}

#[tokio::test]
async fn answers_that_nobody_used_for_an_hour_are_not_due() {
    let session = Session::new();
    session.hear_signed(session.good(NOW), NOW).await;
    assert_eq!(session.cache.due(later(3600)).len(), 1);
    assert!(session.cache.due(later(3601)).is_empty());
    session.status(later(3601));
    assert_eq!(session.cache.due(later(3601)).len(), 1);
}

/// A CA whose certificate ends after an hour, its next one of the same key, and a delegate of that key.
fn renewed(session: &Session) -> (Question, Person) {
    let ca = Person::ca_with("Corp CA", session.case.ca.key.clone(), later(3000));
    let question = Question { issuer: Arc::new(ca.certificate()), ..session.question.clone() };
    let delegate = people::delegate("Responder", NOW).valid(NOW.minus(HOUR), NOW.plus(HOUR * 24));
    (question, delegate.issued_by(&ca))
}

fn anchors(due: &[Question]) -> Vec<crate::pki::certificate::Thumbprint> {
    due.iter().map(|question| question.issuer.thumbprint()).collect()
}

#[tokio::test]
async fn an_answer_is_renewed_with_the_issuer_certificate_that_was_shown_last() {
    let session = Session::new();
    let (next, delegate) = renewed(&session);
    let answer = |at| {
        let forged = Forged { certificates: vec![delegate.der()], ..session.good(at) };
        forged.signed_by(&delegate)
    };
    session.hear(Ok(answer(later(3500))), later(3500)).await;
    // one key, one entry: a path with the renewed certificate finds what is known
    let status = |at| session.cache.status(&next.responder, &next.certificate, &next.issuer, at);
    assert_eq!(status(later(3550)), OcspStatus::Good { until: later(4100) });
    // the first certificate has ended
    let due = session.cache.due(later(3900));
    assert_eq!(anchors(&due), [next.issuer.thumbprint()]);
    session.cache.ask_by(&due[0], later(3900), |_| async { Ok(answer(later(3900))) }).await;
    assert_eq!(status(later(3900)), OcspStatus::Good { until: later(4500) });
    assert!(session.cache.troubles(later(3900)).is_empty());
}

#[tokio::test]
async fn a_question_with_another_certificate_of_the_issuer_is_the_one_to_repeat() {
    let session = Session::new();
    session.hear_signed(session.good(NOW), NOW).await;
    assert_eq!(anchors(&session.cache.due(later(300))), [session.question.issuer.thumbprint()]);
    let (next, _) = renewed(&session);
    session.cache.ask_by(&next, later(300), |_| async { refused() }).await;
    assert_eq!(anchors(&session.cache.due(later(310))), [next.issuer.thumbprint()]);
}

#[tokio::test]
async fn what_failed_with_an_issuer_certificate_that_has_ended_is_asked_again_at_once() {
    let session = Session::new();
    let (next, delegate) = renewed(&session);
    let ended = later(3601);
    let answer = Forged { certificates: vec![delegate.der()], ..session.good(ended) }.signed_by(&delegate);
    session.hear(Ok(answer.clone()), ended).await;
    assert_unknown(&session.status(ended), "may not do so for this issuer", false);
    let status = || session.cache.status(&next.responder, &next.certificate, &next.issuer, ended);
    assert_unknown(&status(), "not asked", true);
    session.cache.ask_by(&next, ended, |_| async { Ok(answer) }).await;
    assert!(matches!(status(), OcspStatus::Good { .. }));

    // a certificate that still holds is no reason to trouble a responder that fails
    let session = Session::new();
    let (next, _) = renewed(&session);
    session.hear(refused(), NOW).await;
    let status = session.cache.status(&next.responder, &next.certificate, &next.issuer, NOW);
    assert_unknown(&status, "connection refused", false);
}

#[tokio::test]
async fn troubles_name_the_responder_and_count_certificates() {
    let session = Session::new();
    let sibling = people::named("other", NOW).serial(5).issued_by(&session.case.ca);
    let sibling = Question { certificate: Arc::new(sibling.certificate()), ..session.question.clone() };
    session.hear(refused(), NOW).await;
    session.cache.ask_by(&sibling, NOW, |_| async { refused() }).await;
    assert_eq!(
        session.cache.troubles(NOW),
        ["OCSP responder http://ocsp.example.com/: connection refused (asked about 2 certificates)"]
    );
    assert!(session.cache.troubles(later(3601)).is_empty(), "nobody needs it any more");
}

#[tokio::test]
async fn where_there_is_no_room_the_least_used_goes_and_what_is_revoked_stays() {
    let session = Session::new();
    session.hear_signed(session.revoked(NOW), NOW).await;
    let question = |number: usize| Question {
        responder: format!("http://ocsp.example.com/{number}").parse().unwrap(),
        ..session.question.clone()
    };
    for number in 0..MAX_ENTRIES + 2 {
        session.cache.entry(&question(number), later(1 + u64::try_from(number).unwrap()));
    }
    let is_kept = |question: &Question| {
        session.cache.find(&key(&question.responder, &question.certificate, &question.issuer)).is_some()
    };
    assert!(is_kept(&session.question));
    let kept: Vec<_> = [0, 1, 2, 3, MAX_ENTRIES + 1].map(question).iter().map(is_kept).collect();
    assert_eq!(kept, [false, false, false, true, true]);
}
