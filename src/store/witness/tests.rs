//! The witness over a real store: what it waits for, what it writes when, and what it does when the store fails.

mod forgetting;

use std::fs;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Instant;

use async_trait::async_trait;
use tempfile::TempDir;

use super::*;
use crate::pki::workshop::{Identity, Template};
use crate::store::sled::Sled;

/// An embedded store that counts what it is asked and may take its time.
struct Watched {
    store: Sled,
    directory: Arc<TempDir>,
    delay_ms: AtomicU64,
    looks: AtomicUsize,
    firsts: AtomicUsize,
    agains: AtomicUsize,
    refusals: AtomicUsize,
}

impl Watched {
    fn new() -> Arc<Self> {
        Self::over(Arc::new(tempfile::tempdir().unwrap()))
    }

    fn over(directory: Arc<TempDir>) -> Arc<Self> {
        let store = Sled::open(&directory.path().join("data"), &directory.path().join("store-id")).unwrap().0;
        let count = AtomicUsize::default;
        let (looks, firsts, agains, refusals) = (count(), count(), count(), count());
        Arc::new(Self { store, directory, delay_ms: AtomicU64::new(0), looks, firsts, agains, refusals })
    }

    fn witness(self: &Arc<Self>) -> Witness {
        Witness::new(Arc::clone(self) as Arc<dyn Evidence>)
    }

    /// Takes the directory away: every write fails. And brings it back.
    fn fail(&self) {
        fs::rename(self.directory.path().join("data"), self.directory.path().join("away")).unwrap();
    }

    fn recover(&self) {
        fs::rename(self.directory.path().join("away"), self.directory.path().join("data")).unwrap();
    }

    fn delay(&self, milliseconds: u64) {
        self.delay_ms.store(milliseconds, Ordering::SeqCst);
    }

    /// The same store after its process ended; nobody else may hold it.
    fn reopened(self: Arc<Self>) -> Arc<Self> {
        let directory = Arc::clone(&self.directory);
        assert!(Arc::into_inner(self).is_some(), "somebody holds the store");
        Self::over(directory)
    }

    async fn count(&self, calls: &AtomicUsize) {
        calls.fetch_add(1, Ordering::SeqCst);
        match self.delay_ms.load(Ordering::SeqCst) {
            0 => {}
            delay => tokio::time::sleep(Duration::from_millis(delay)).await,
        }
    }

    fn calls(&self) -> [usize; 4] {
        [&self.looks, &self.firsts, &self.agains, &self.refusals].map(|calls| calls.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl Evidence for Watched {
    async fn note_first(&self, sighting: &Sighting) -> Result<(), StoreError> {
        self.count(&self.firsts).await;
        self.store.note_first(sighting).await
    }

    async fn note_all_first(&self, sightings: &[Sighting]) -> Result<(), StoreError> {
        self.count(&self.firsts).await;
        self.store.note_all_first(sightings).await
    }

    async fn note_again(
        &self,
        seen: &[(ClientId, Thumbprint, Timestamp)],
    ) -> Result<Vec<(ClientId, Thumbprint)>, StoreError> {
        self.count(&self.agains).await;
        self.store.note_again(seen).await
    }

    async fn sighting(&self, client: &ClientId, of: Thumbprint) -> Result<Option<Sighting>, StoreError> {
        self.count(&self.looks).await;
        self.store.sighting(client, of).await
    }

    async fn sightings(&self, client: Option<&ClientId>) -> Result<Vec<Sighting>, StoreError> {
        self.store.sightings(client).await
    }

    async fn note_refusals(&self, refusals: &[RefusalRecord]) -> Result<(), StoreError> {
        self.count(&self.refusals).await;
        self.store.note_refusals(refusals).await
    }

    async fn refusal(&self, reference: &str) -> Result<Option<RefusalRecord>, StoreError> {
        self.store.refusal(reference).await
    }

    async fn refusals(&self, limit: usize) -> Result<Vec<RefusalRecord>, StoreError> {
        self.store.refusals(limit).await
    }

    async fn forget_evidence(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.store.forget_evidence(now).await
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_790_000_000 + seconds)
}

fn billing() -> ClientId {
    ClientId::parse("billing").unwrap()
}

/// A chain of a certificate of its own and something above it.
fn chain() -> Chain {
    let leaf = Identity::self_signed(&Template::new("billing", at(-60), at(3_600))).unwrap();
    Chain::parse(&[leaf.certificate_der().to_vec(), vec![7; 300]], 2).unwrap()
}

fn refusal(reference: &str, seconds: i64, claimed: Option<&str>) -> RefusalRecord {
    RefusalRecord {
        reference: reference.into(),
        at: at(seconds).as_unix(),
        claimed: claimed.map(Into::into),
        is_registered: claimed.is_some(),
        path: "/token".into(),
        listener: "mtls".into(),
        reason: "untrusted".into(),
        check: "path".into(),
        expected: "an anchor".into(),
        seen: "none".into(),
        chain: Vec::new(),
    }
}

async fn stored(store: &Watched) -> Vec<(Thumbprint, Timestamp, Timestamp)> {
    let all = store.store.sightings(None).await.unwrap();
    all.iter().map(|sighting| (sighting.thumbprint, sighting.first_seen, sighting.last_seen)).collect()
}

#[tokio::test]
async fn a_first_sight_is_in_the_store_when_it_returns_and_outlives_the_process() {
    let (store, chain) = (Watched::new(), chain());
    let (witness, thumbprint) = (store.witness(), chain.leaf.thumbprint());
    assert!(witness.chain_behind(&billing(), thumbprint).await.unwrap().is_none());
    witness.saw(&billing(), &chain, at(10)).await;
    assert_eq!(stored(&store).await, [(thumbprint, at(10), at(10))]);
    drop(witness);
    let store = store.reopened();
    let witness = store.witness();
    for _ in 0..2 {
        let behind = witness.chain_behind(&billing(), thumbprint).await.unwrap().unwrap();
        assert_eq!((behind.leaf.der(), &behind.intermediates), (chain.leaf.der(), &chain.intermediates));
    }
    assert_eq!(store.calls()[0], 1, "asked once, then remembered");
    let other = ClientId::parse("billing-2").unwrap();
    assert!(witness.chain_behind(&other, thumbprint).await.unwrap().is_none(), "it never served that client");
}

#[tokio::test]
async fn a_certificate_that_the_store_knows_is_no_first_sight() {
    let (store, chain) = (Watched::new(), chain());
    store.witness().saw(&billing(), &chain, at(10)).await;
    let witness = store.witness();
    for second in 20..1_000 {
        witness.saw(&billing(), &chain, at(second)).await;
    }
    assert_eq!(store.calls(), [2, 1, 0, 0], "one look each, one write");
    let seen = witness.sightings(None).await.unwrap();
    assert_eq!((seen[0].first_seen, seen[0].last_seen, seen.len()), (at(10), at(999), 1));
}

#[tokio::test]
async fn many_that_come_at_once_with_a_new_certificate_make_one_write_and_all_wait_for_it() {
    let (store, chain) = (Watched::new(), Arc::new(chain()));
    let witness = Arc::new(store.witness());
    store.delay(50);
    let mut together = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (store, witness, chain) = (Arc::clone(&store), Arc::clone(&witness), Arc::clone(&chain));
        together.spawn(async move {
            witness.saw(&billing(), &chain, at(10)).await;
            assert_eq!(stored(&store).await.len(), 1, "it is durable for everybody");
        });
    }
    together.join_all().await;
    assert_eq!(store.calls(), [1, 1, 0, 0]);
    assert!(witness.arriving().is_empty());
}

#[tokio::test]
async fn a_request_that_is_dropped_leaves_its_turn_to_the_next() {
    let (store, chain) = (Watched::new(), Arc::new(chain()));
    let witness = Arc::new(store.witness());
    store.delay(200);
    let (gone, chained) = (Arc::clone(&witness), Arc::clone(&chain));
    let mut first = tokio::task::JoinSet::new();
    first.spawn(async move { gone.saw(&billing(), &chained, at(10)).await });
    while store.calls()[0] == 0 {
        tokio::task::yield_now().await;
    }
    first.shutdown().await;
    witness.saw(&billing(), &chain, at(11)).await;
    assert_eq!(stored(&store).await, [(chain.leaf.thumbprint(), at(11), at(11))]);
    assert!(witness.arriving().is_empty());
}

#[tokio::test]
async fn with_the_store_down_first_sights_are_queued_and_the_next_flush_that_succeeds_writes_them() {
    let (store, chains) = (Watched::new(), [chain(), chain(), chain()]);
    let witness = store.witness();
    store.fail();
    for (chain, second) in chains.iter().zip(10..) {
        witness.saw(&billing(), chain, at(second)).await;
    }
    assert_eq!(witness.queued(), 3);
    assert_eq!(store.calls(), [1, 1, 0, 0], "only the first of them waited");
    let behind = witness.chain_behind(&billing(), chains[1].leaf.thumbprint()).await.unwrap();
    assert!(behind.is_some(), "tokens can be ended meanwhile");
    witness.saw(&billing(), &chains[0], at(30)).await;
    assert!(witness.flush(at(31)).await.is_err());
    let seen = witness.sightings(Some(&billing())).await.unwrap();
    assert_eq!(seen.iter().map(|one| one.first_seen).collect::<Vec<_>>(), [at(10), at(11), at(12)]);

    store.recover();
    witness.flush(at(32)).await.unwrap();
    assert_eq!((witness.queued(), witness.dropped()), (0, 0));
    let [first, second, third] = chains.each_ref().map(|chain| chain.leaf.thumbprint());
    let all = [(first, at(10), at(30)), (second, at(11), at(11)), (third, at(12), at(12))];
    assert_eq!(stored(&store).await, all);
    let calls = store.calls();
    witness.flush(at(33)).await.unwrap();
    assert_eq!(store.calls(), calls, "nothing is left to write");
    // And first sights wait again.
    witness.saw(&billing(), &chain(), at(40)).await;
    assert_eq!((witness.queued(), stored(&store).await.len()), (0, 4));
}

#[tokio::test]
async fn a_silent_store_holds_nobody_up_for_longer_than_a_second_and_only_once() {
    let (store, chains) = (Watched::new(), [chain(), chain()]);
    let witness = store.witness();
    store.delay(60_000);
    let start = Instant::now();
    let client = billing();
    tokio::join!(witness.saw(&client, &chains[0], at(10)), witness.saw(&client, &chains[0], at(10)));
    let waited = start.elapsed();
    assert!((PATIENCE..PATIENCE * 10).contains(&waited), "{waited:?}");
    let start = Instant::now();
    witness.saw(&billing(), &chains[1], at(11)).await;
    assert!(start.elapsed() < PATIENCE / 2);
    assert_eq!(witness.queued(), 2);
    store.delay(0);
    witness.flush(at(12)).await.unwrap();
    assert_eq!(stored(&store).await.len(), 2);
}

#[tokio::test]
async fn a_full_queue_gives_up_the_oldest_which_is_then_new_again() {
    let (store, chains) = (Watched::new(), [chain(), chain(), chain(), chain(), chain()]);
    let witness = Witness::bounded(store.clone(), Bounds { certificates: 100, queue: 3 });
    store.fail();
    for chain in &chains {
        witness.saw(&billing(), chain, at(10)).await;
        witness.saw(&billing(), chain, at(11)).await;
    }
    assert_eq!((witness.queued(), witness.dropped()), (3, 2));
    store.recover();
    witness.flush(at(12)).await.unwrap();
    assert_eq!(stored(&store).await.len(), 3);
    witness.saw(&billing(), &chains[0], at(13)).await;
    assert_eq!(stored(&store).await.len(), 4);
}

#[tokio::test]
async fn memory_is_bounded_and_what_goes_is_in_the_store_with_its_last_use() {
    let store = Watched::new();
    let witness = Witness::bounded(store.clone(), Bounds { certificates: 8, queue: 8 });
    let chains: Vec<_> = (0..24).map(|_| chain()).collect();
    witness.flush(at(0)).await.unwrap();
    for (chain, second) in chains.iter().zip(0..) {
        witness.saw(&billing(), chain, at(second)).await;
        witness.saw(&billing(), chain, at(second + 1)).await;
    }
    assert_eq!(witness.seen().of(None).count(), 8);
    witness.flush(at(60)).await.unwrap();
    let all: Vec<_> = chains
        .iter()
        .zip(0..)
        .map(|(chain, first)| (chain.leaf.thumbprint(), at(first), at(first + 1)))
        .collect();
    // Eight were in memory, eight more could be put aside.
    let kept = stored(&store).await;
    assert_eq!(kept.len(), 24);
    assert_eq!(kept.iter().filter(|one| all.contains(one)).count(), 16);
    for (thumbprint, ..) in &all {
        assert!(witness.chain_behind(&billing(), *thumbprint).await.unwrap().is_some());
    }
    assert!(witness.seen().of(None).count() <= 8);
}

#[tokio::test]
async fn later_uses_are_written_once_a_minute_and_before_the_end() {
    let (store, chain) = (Watched::new(), chain());
    let (witness, thumbprint) = (store.witness(), chain.leaf.thumbprint());
    let last = async || stored(&store).await[0].2;
    witness.saw(&billing(), &chain, at(0)).await;
    witness.flush(at(0)).await.unwrap();
    for second in 1..60 {
        witness.saw(&billing(), &chain, at(second)).await;
        witness.flush(at(second)).await.unwrap();
    }
    assert_eq!((last().await, store.calls()[2]), (at(0), 0));
    witness.flush(at(60)).await.unwrap();
    assert_eq!((last().await, store.calls()[2]), (at(59), 1));
    witness.flush(at(120)).await.unwrap();
    assert_eq!(store.calls()[2], 1, "it was not used since");
    // A clock that goes back moves nothing back and stops no writing.
    witness.saw(&billing(), &chain, at(-500)).await;
    assert_eq!(witness.sightings(None).await.unwrap()[0].last_seen, at(59));
    witness.saw(&billing(), &chain, at(121)).await;
    witness.flush(at(-499)).await.unwrap();
    assert_eq!(last().await, at(121));
    witness.saw(&billing(), &chain, at(130)).await;
    witness.flush_all().await.unwrap();
    assert_eq!(stored(&store).await, [(thumbprint, at(0), at(130))]);
}

#[tokio::test]
async fn flushes_at_the_same_time_write_nothing_twice() {
    let store = Watched::new();
    let witness = store.witness();
    store.fail();
    witness.saw(&billing(), &chain(), at(10)).await;
    store.recover();
    witness.refused(refusal("AAAA-AAAA-AAAA-AAAA", 10, None));
    let calls = store.calls();
    store.delay(20);
    let (one, two, three) = tokio::join!(witness.flush(at(11)), witness.flush(at(11)), witness.flush_all());
    assert_eq!((one, two, three), (Ok(()), Ok(()), Ok(())));
    assert_eq!(store.calls(), [calls[0], calls[1] + 1, 0, 1]);
}

#[tokio::test]
async fn refusals_are_found_in_memory_and_in_the_store_however_the_reference_is_written() {
    let store = Watched::new();
    let witness = store.witness();
    store.fail();
    witness.refused(refusal("01AB-CDEF-GHJK-MNPQ", 10, Some("billing")));
    assert!(witness.flush(at(11)).await.is_err());
    let found = async |witness: &Witness, written: &str| witness.refusal(written).await.unwrap().is_some();
    assert!(found(&witness, "oiab-cdef-ghjk-mnpq").await, "the store is down");
    store.recover();
    witness.flush(at(12)).await.unwrap();
    witness.flush(at(13)).await.unwrap();
    assert_eq!(store.calls()[3], 2, "one that failed and one that did not");
    drop(witness);
    let store = store.reopened();
    let witness = store.witness();
    for written in ["01AB-CDEF-GHJK-MNPQ", "O1ABCDEFGHJKMNPQ", "olab-cdef-ghjkmnpq"] {
        assert!(found(&witness, written).await, "{written}");
    }
    assert!(!found(&witness, "01AB-CDEF-GHJK-MNPR").await && !found(&witness, "\0").await);
}

#[tokio::test]
async fn each_known_client_has_room_for_its_own_refusals_and_strangers_share_theirs() {
    let store = Watched::new();
    let witness = store.witness();
    let mut number = 0;
    let mut refuse = |times, like: RefusalRecord| {
        for _ in 0..times {
            number += 1;
            let (reference, at) = (format!("N{number:04}"), at(number).as_unix());
            witness.refused(RefusalRecord { reference, at, ..like.clone() });
        }
    };
    refuse(40, refusal("", 0, Some("billing")));
    refuse(2, refusal("", 0, Some("edge-7")));
    refuse(600, RefusalRecord { is_registered: false, ..refusal("", 0, Some("billing")) });
    refuse(1, RefusalRecord { is_registered: true, ..refusal("", 0, None) });
    let kept = |claimed: Option<&str>| {
        let refusals = witness.kept_refusals().latest();
        refusals.iter().filter(|record| record.claimed.as_deref() == claimed).count()
    };
    assert_eq!((kept(Some("edge-7")), kept(Some("billing")), kept(None)), (2, 32 + 511, 1));
    assert!(
        witness.refusal("N0008").await.unwrap().is_none()
            && witness.refusal("N0009").await.unwrap().is_some()
    );

    // Memory and store together: newest first, each once. Of strangers only the newest are written.
    witness.flush(at(0)).await.unwrap();
    witness.flush(at(1)).await.unwrap();
    let written = store.refusals(9_999).await.unwrap();
    let of_strangers: Vec<_> = written.iter().filter(|record| !record.is_registered).collect();
    assert_eq!((written.len(), of_strangers.len(), store.calls()[3]), (32 + 2 + 32, 31, 1));
    assert!(of_strangers.iter().all(|record| record.at > at(611).as_unix()));
    witness.refused(refusal("LAST", 9_999, None));
    let latest = witness.refusals(3).await.unwrap();
    let references: Vec<_> = latest.iter().map(|record| record.reference.as_str()).collect();
    assert_eq!(references, ["LAST", "N0643", "N0642"]);
    assert_eq!(witness.refusals(9_999).await.unwrap().len(), 32 + 2 + 512);
    for name in 0..1_000 {
        witness.refused(refusal("R", 0, Some(&format!("client-{name}"))));
    }
    assert!(witness.kept_refusals().latest().len() < 512 + 300, "however many clients there are");
}

#[tokio::test]
async fn a_chain_that_is_too_long_is_left_out_of_a_refusal() {
    let witness = Watched::new().witness();
    let long = RefusalRecord { chain: vec!["A".repeat(11_000)], ..refusal("AAAA", 1, None) };
    witness.refused(long);
    assert_eq!(witness.refusal("AAAA").await.unwrap().unwrap().chain, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_and_flushes_at_once_lose_nothing() {
    let store = Watched::new();
    let witness = Arc::new(store.witness());
    let chains: Arc<Vec<_>> = Arc::new((0..16).map(|_| chain()).collect());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16_usize {
        let (witness, chains) = (Arc::clone(&witness), Arc::clone(&chains));
        tasks.spawn(async move {
            for round in 0..64_usize {
                let second = i64::try_from(round).unwrap();
                witness.saw(&billing(), &chains[(task + round) % chains.len()], at(second)).await;
                if round % 16 == task {
                    witness.flush(at(second * 60)).await.unwrap();
                }
                witness.refused(refusal(&format!("T{task}R{round}"), second, None));
            }
        });
    }
    tasks.join_all().await;
    witness.flush_all().await.unwrap();
    let kept = stored(&store).await;
    assert_eq!(kept.len(), 16);
    assert!(kept.iter().all(|(_, _, last)| *last >= at(48)), "{kept:?}");
}
