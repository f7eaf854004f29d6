//! A fault at the Nth call of the store, for every N: the whole server, with a store between that fails one call, before it
//! was made or after. Whatever fails, tokens are issued, what was promised holds, and nothing is called active that ended.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use certbound::app::Remembering;
use certbound::clock::Timestamp;
use certbound::oauth::{ClientId, Jti};
use certbound::pki::Thumbprint;
use certbound::store::evidence::{Evidence, RefusalRecord, Sighting};
use certbound::store::{Standing, StoreError, TokenKey, TokenStore};

use super::figures::{Dice, Figures, rounds};
use crate::support::server::eventually;
use crate::support::{Server, Setup, Shown};

#[test]
fn whichever_call_of_the_store_fails_what_was_promised_holds() {
    let mut figures = Figures::new("a call of the store that fails");
    let mut dice = Dice::new();
    let all = rounds(0, 1) == 1;
    let calls = Scenario::run(Plan::new(usize::MAX, Moment::Before)).calls();
    assert!(calls > 10, "{calls} calls");
    for moment in [Moment::Before, Moment::After] {
        let chosen: Vec<usize> =
            if all { (1..=calls).collect() } else { [0; 2].map(|_| at(&mut dice, calls)).to_vec() };
        for at in chosen {
            figures.rounds += 1;
            let run = Scenario::run(Plan::new(at, moment));
            figures.acknowledged += run.promised.len();
            run.holds(&format!("call {at}, {moment:?}"));
        }
    }
    figures.note(&format!("{calls} calls, each failing before and after it was made"));
    figures.show();
}

#[test]
fn a_client_that_went_and_came_back_while_the_store_took_no_roll_has_lost_its_tokens() {
    let setup = Setup::new();
    setup.client("leaver", "tls_client_auth_san_dns: leaver.example.com\n");
    let plan = Plan::new(usize::MAX, Moment::Before);
    let server = setup.start_behind(|store| Remembering {
        tokens: Arc::new(Failing { inner: store.tokens, plan: Arc::clone(&plan) }),
        evidence: store.evidence,
    });
    let leaver = server.setup.pki.client("leaver.example.com");
    let document = server.setup.path("clients.d/leaver.yaml");
    let text = fs::read(&document).unwrap();
    server.reload();
    for (away, lost) in [(Duration::from_secs(3), false), (Duration::from_secs(10), true)] {
        let token = server.good_token("leaver", &leaver);
        plan.deaf.store(true, Ordering::SeqCst);
        fs::remove_file(&document).unwrap();
        server.reload();
        server.setup.clock.advance(away);
        fs::write(&document, &text).unwrap();
        server.reload();
        server.setup.clock.advance(Duration::from_secs(1));
        let later = server.good_token("leaver", &leaver);
        plan.deaf.store(false, Ordering::SeqCst);
        server.reload();
        assert_eq!(server.is_active(&token), !lost, "away for {away:?}");
        assert!(server.is_active(&later), "a token of after its return");
    }
}

fn at(dice: &mut Dice, calls: usize) -> usize {
    1 + usize::try_from(dice.below(calls as u64)).unwrap()
}

/// Whether the call that fails was made all the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moment {
    Before,
    After,
}

/// Which call fails, counted over both contracts.
struct Plan {
    made: AtomicUsize,
    at: usize,
    moment: Moment,
    /// Whether no roll of clients is taken.
    deaf: AtomicBool,
}

impl Plan {
    fn new(at: usize, moment: Moment) -> Arc<Self> {
        Arc::new(Self { made: AtomicUsize::new(0), at, moment, deaf: AtomicBool::new(false) })
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let fails = self.made.fetch_add(1, Ordering::SeqCst) + 1 == self.at;
        let failed = || StoreError::Unavailable("on purpose".to_owned());
        if fails && self.moment == Moment::Before {
            return Err(failed());
        }
        let outcome = call.await;
        if fails { Err(failed()) } else { outcome }
    }
}

/// A server that has been through it.
struct Scenario {
    server: Server,
    plan: Arc<Plan>,
    /// Tokens whose end was answered with success.
    promised: Vec<String>,
    /// One that nobody ended.
    living: String,
}

impl Scenario {
    fn run(plan: Arc<Plan>) -> Self {
        let setup = Setup::new();
        for name in ["other", "leaver"] {
            setup.client(name, &format!("tls_client_auth_san_dns: {name}.example.com\n"));
        }
        let between = |store: Remembering| Remembering {
            tokens: Arc::new(Failing { inner: store.tokens, plan: Arc::clone(&plan) }),
            evidence: Arc::new(Failing { inner: store.evidence, plan: Arc::clone(&plan) }),
        };
        let server = setup.start_behind(between);
        let [billing, other, leaver] = ["billing", "other", "leaver"]
            .map(|name| server.setup.pki.client(&format!("{name}.example.com")));
        // Issuing needs no store, whatever fails.
        let issue = |id: &str, shown: &Shown| server.good_token(id, shown);
        let [first, second, living] = [0; 3].map(|_| issue("billing", &billing));
        let (others, left) = (issue("other", &other), issue("leaver", &leaver));
        let mut promised = Vec::new();

        never_wrong(&server, &living, None);
        for token in [&first, &second] {
            let status = server.revoke("billing", &billing, token).status;
            assert!(matches!(status, 200 | 503), "{status}");
            if status == 200 {
                promised.push(token.clone());
                never_wrong(&server, token, Some(false));
            }
        }
        if revoke_client(&server, "other") == 200 {
            never_wrong(&server, &others, Some(false));
            promised.push(others);
        }
        server.reload();
        // A client that is gone for more than five seconds, and then back.
        let document = server.setup.path("clients.d/leaver.yaml");
        let text = fs::read(&document).unwrap();
        fs::remove_file(&document).unwrap();
        server.reload();
        never_wrong(&server, &left, Some(false));
        server.setup.clock.advance(Duration::from_secs(10));
        fs::write(&document, text).unwrap();
        server.reload();
        promised.push(left);
        issue("leaver", &leaver);
        Self { server, plan, promised, living }
    }

    fn calls(&self) -> usize {
        self.plan.made.load(Ordering::SeqCst)
    }

    /// What must be true in the end, when the store is well.
    fn holds(self, what: &str) {
        let Self { server, promised, living, .. } = self;
        for token in &promised {
            // A roll that the store did not take is taken a moment later.
            eventually(&format!("{what}: a token has ended"), || !server.is_active(token));
        }
        assert!(server.is_active(&living), "{what}: it ended what nobody had ended");
        // And after a restart, on the store alone.
        let server = server.stop().start();
        for token in &promised {
            assert!(!server.is_active(token), "{what}: forgotten in a restart");
        }
        assert!(server.is_active(&living), "{what}: ended by a restart");
    }
}

/// An introspection says what is true, or 503.
fn never_wrong(server: &Server, token: &str, active: Option<bool>) {
    let answer = server.introspect(token, &[]);
    match answer.status {
        503 => {}
        200 => assert!(active.is_none_or(|active| answer.json()["active"] == active), "{answer:?}"),
        other => panic!("{other}: {answer:?}"),
    }
}

/// `certbound revoke --client`, which waits for the end of the second: here a second passes when somebody says so.
fn revoke_client(server: &Server, id: &str) -> u16 {
    thread::scope(|scope| {
        let path = format!("clients/{id}/revoke");
        let asked = scope.spawn(move || server.control("POST", &path, None).status);
        while !asked.is_finished() {
            thread::sleep(Duration::from_millis(10));
            server.setup.clock.advance(Duration::from_secs(1));
        }
        asked.join().unwrap()
    })
}

/// A store that fails one call.
struct Failing<S: ?Sized> {
    inner: Arc<S>,
    plan: Arc<Plan>,
}

#[async_trait]
impl TokenStore for Failing<dyn TokenStore> {
    async fn revoke(&self, jti: Jti, at: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        self.plan.call(self.inner.revoke(jti, at, until)).await
    }

    async fn revoke_issued_before(
        &self,
        client: &ClientId,
        at: Timestamp,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.plan.call(self.inner.revoke_issued_before(client, at, until)).await
    }

    async fn standing(&self, token: &TokenKey) -> Result<Standing, StoreError> {
        self.plan.call(self.inner.standing(token)).await
    }

    async fn roll_call(
        &self,
        present: &BTreeSet<ClientId>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClientId>, StoreError> {
        if self.plan.deaf.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("no rolls today".to_owned()));
        }
        self.plan.call(self.inner.roll_call(present, now, until)).await
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.plan.call(self.inner.forget_expired(now)).await
    }

    async fn moment(&self, now: Timestamp) -> Result<Timestamp, StoreError> {
        self.plan.call(self.inner.moment(now)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.plan.call(self.inner.ping()).await
    }
}

#[async_trait]
impl Evidence for Failing<dyn Evidence> {
    async fn note_first(&self, sighting: &Sighting) -> Result<(), StoreError> {
        self.plan.call(self.inner.note_first(sighting)).await
    }

    async fn note_all_first(&self, sightings: &[Sighting]) -> Result<(), StoreError> {
        self.plan.call(self.inner.note_all_first(sightings)).await
    }

    async fn note_again(
        &self,
        seen: &[(ClientId, Thumbprint, Timestamp)],
    ) -> Result<Vec<(ClientId, Thumbprint)>, StoreError> {
        self.plan.call(self.inner.note_again(seen)).await
    }

    async fn sighting(
        &self,
        client: &ClientId,
        thumbprint: Thumbprint,
    ) -> Result<Option<Sighting>, StoreError> {
        self.plan.call(self.inner.sighting(client, thumbprint)).await
    }

    async fn sightings(&self, client: Option<&ClientId>) -> Result<Vec<Sighting>, StoreError> {
        self.plan.call(self.inner.sightings(client)).await
    }

    async fn note_refusals(&self, refusals: &[RefusalRecord]) -> Result<(), StoreError> {
        self.plan.call(self.inner.note_refusals(refusals)).await
    }

    async fn refusal(&self, reference: &str) -> Result<Option<RefusalRecord>, StoreError> {
        self.plan.call(self.inner.refusal(reference)).await
    }

    async fn refusals(&self, limit: usize) -> Result<Vec<RefusalRecord>, StoreError> {
        self.plan.call(self.inner.refusals(limit)).await
    }

    async fn forget_evidence(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.plan.call(self.inner.forget_evidence(now)).await
    }
}
