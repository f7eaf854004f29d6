//! What the witness does when the store has forgotten, or is about to, what stands behind living tokens.

use super::*;
use crate::store::evidence::{SIGHTING_LIFE, SIGHTING_NEEDED, SIGHTING_RENEWED, SIGHTINGS_KEPT};

const HOUR: i64 = 3_600;

fn seconds(duration: Duration) -> i64 {
    duration.as_secs().try_into().unwrap()
}

async fn is_behind(witness: &Witness, chain: &Chain) -> bool {
    witness.chain_behind(&billing(), chain.leaf.thumbprint()).await.unwrap().is_some()
}

/// As many as the store keeps, so that it forgets all that come before them, in time.
async fn see_many(witness: &Witness, now: Timestamp) {
    for _ in 0..SIGHTINGS_KEPT {
        witness.saw(&billing(), &chain(), now).await;
    }
}

#[tokio::test]
async fn the_certificates_behind_living_tokens_outlive_forgetting_and_a_restart_however_many_they_are() {
    let (store, chains) = (Watched::new(), [chain(), chain(), chain(), chain()]);
    let witness = store.witness();
    for chain in &chains {
        witness.saw(&billing(), chain, at(0)).await;
    }
    see_many(&witness, at(24 * HOUR)).await;
    // Used a day after the store heard of it, and the process ends before the use is written.
    witness.saw(&billing(), &chains[0], at(25 * HOUR)).await;
    drop(witness);
    let store = store.reopened();
    assert_eq!(store.forget_evidence(at(49 * HOUR)).await, Ok(0));
    let witness = store.witness();
    for chain in &chains {
        assert!(is_behind(&witness, chain).await);
    }
}

#[tokio::test]
async fn a_certificate_that_the_store_may_have_forgotten_is_durable_again_before_its_token_leaves() {
    let (store, rare, rarer) = (Watched::new(), chain(), chain());
    let witness = store.witness();
    witness.saw(&billing(), &rarer, at(0)).await;
    witness.saw(&billing(), &rare, at(1)).await;
    let later = at(1 + seconds(SIGHTING_NEEDED));
    see_many(&witness, later).await;
    assert_eq!(store.forget_evidence(later).await, Ok(1));
    for chain in [&rarer, &rare, &rarer, &rare] {
        let calls = store.calls();
        witness.saw(&billing(), chain, later).await;
        assert!(is_behind(&store.witness(), chain).await);
        assert!(store.calls()[2] <= calls[2] + 1);
    }
    assert_eq!(store.calls()[2], 2, "once each, and then they are known");
    let renewed: Vec<_> = stored(&store).await.into_iter().take(2).collect();
    let wanted = [(rarer.leaf.thumbprint(), at(0), later), (rare.leaf.thumbprint(), at(1), later)];
    assert_eq!(renewed, wanted);

    // Just in time it costs nothing.
    witness.saw(&billing(), &rare, later.plus(SIGHTING_RENEWED)).await;
    assert_eq!(store.calls()[2], 2);
    witness.flush(later).await.unwrap();
    witness.saw(&billing(), &rarer, later.plus(SIGHTING_RENEWED).plus(Duration::from_secs(1))).await;
    assert_eq!(store.calls()[2], 4);
}

#[tokio::test]
async fn a_use_of_what_the_store_forgot_meanwhile_writes_all_of_it() {
    let (store, chain) = (Watched::new(), chain());
    let witness = store.witness();
    witness.saw(&billing(), &chain, at(0)).await;
    witness.saw(&billing(), &chain, at(50)).await;
    assert_eq!(store.forget_evidence(at(1).plus(SIGHTING_LIFE)).await, Ok(1));
    witness.flush(at(60)).await.unwrap();
    assert_eq!(stored(&store).await, [(chain.leaf.thumbprint(), at(0), at(50))]);
    assert!(is_behind(&store.witness(), &chain).await);
    let calls = store.calls();
    witness.flush(at(120)).await.unwrap();
    assert_eq!(store.calls(), calls);
}

#[tokio::test]
async fn with_the_store_down_what_it_may_have_forgotten_waits_like_a_first_sight() {
    let (store, chain) = (Watched::new(), chain());
    let witness = store.witness();
    witness.saw(&billing(), &chain, at(0)).await;
    let later = at(30 * HOUR);
    store.fail();
    for _ in 0..3 {
        witness.saw(&billing(), &chain, later).await;
    }
    assert_eq!((witness.queued(), store.calls()[2]), (1, 1), "only the first of them waited");
    assert!(is_behind(&witness, &chain).await);
    store.recover();
    store.forget_evidence(at(1).plus(SIGHTING_LIFE)).await.unwrap();
    witness.flush(later).await.unwrap();
    assert_eq!((witness.queued(), witness.dropped()), (0, 0));
    assert_eq!(stored(&store).await, [(chain.leaf.thumbprint(), at(0), later)]);
}

#[tokio::test]
async fn who_comes_with_other_intermediates_stands_on_the_old_ones_until_they_are_replaced() {
    let (store, old) = (Watched::new(), chain());
    let thumbprint = old.leaf.thumbprint();
    let new = Chain::parse(&[old.leaf.der().to_vec(), vec![8; 300]], 2).unwrap();
    store.witness().saw(&billing(), &old, at(0)).await;
    let store = store.reopened();
    let witness = store.witness();
    let behind = async |witness: &Witness| {
        let chain = witness.chain_behind(&billing(), thumbprint).await.unwrap().unwrap();
        chain.intermediates.clone()
    };
    witness.saw(&billing(), &new, at(10)).await;
    assert_eq!(behind(&witness).await, old.intermediates, "what the store has, so that it can be compared");
    witness.saw_anew(&billing(), &new, at(10)).await;
    assert_eq!(behind(&witness).await, new.intermediates);
    drop(witness);
    let store = store.reopened();
    assert_eq!(behind(&store.witness()).await, new.intermediates);
    assert_eq!(stored(&store).await, [(thumbprint, at(0), at(10))]);
}

#[tokio::test]
async fn a_damaged_chain_is_replaced_by_the_one_that_comes() {
    let (store, chain) = (Watched::new(), chain());
    let (client, thumbprint) = (billing(), chain.leaf.thumbprint());
    let damaged =
        Sighting { client, thumbprint, chain: vec![vec![1; 9]], first_seen: at(0), last_seen: at(0) };
    store.note_first(&damaged).await.unwrap();
    store.witness().saw(&billing(), &chain, at(10)).await;
    assert!(is_behind(&store.witness(), &chain).await);
    assert_eq!(stored(&store).await, [(thumbprint, at(0), at(10))]);
}

#[tokio::test]
async fn what_is_on_its_way_to_the_store_is_not_given_up() {
    let (store, chains) = (Watched::new(), [chain(), chain(), chain()]);
    let witness = Arc::new(Witness::bounded(store.clone(), Bounds { certificates: 100, queue: 2 }));
    store.fail();
    for chain in &chains[..2] {
        witness.saw(&billing(), chain, at(10)).await;
    }
    store.recover();
    store.delay(200);
    let (flushed, before) = (Arc::clone(&witness), store.calls()[1]);
    let mut flush = tokio::task::JoinSet::new();
    flush.spawn(async move { flushed.flush(at(11)).await });
    while store.calls()[1] == before {
        tokio::task::yield_now().await;
    }
    witness.saw(&billing(), &chains[2], at(12)).await;
    assert_eq!((witness.queued(), witness.dropped()), (3, 0));
    flush.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((witness.queued(), witness.dropped()), (0, 0));
    assert_eq!(stored(&store).await.len(), 3);
}

#[tokio::test]
async fn a_chain_that_takes_the_place_of_a_waiting_one_gives_nothing_up() {
    let (store, old) = (Watched::new(), chain());
    let witness = Witness::bounded(store.clone(), Bounds { certificates: 100, queue: 1 });
    let new = Chain::parse(&[old.leaf.der().to_vec(), vec![8; 300]], 2).unwrap();
    store.fail();
    witness.saw(&billing(), &old, at(10)).await;
    witness.saw_anew(&billing(), &new, at(11)).await;
    assert_eq!((witness.queued(), witness.dropped()), (1, 0));
    store.recover();
    witness.flush(at(12)).await.unwrap();
    let kept = store.store.sightings(None).await.unwrap();
    assert_eq!(kept[0].chain[1], new.intermediates[0]);
}
