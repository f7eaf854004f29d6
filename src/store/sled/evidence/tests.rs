//! What the embedded store adds to the contract of every evidence: it lies beside the revocations and never in
//! their way.

use std::fs;
use std::sync::Arc;

use ::sled::{Db, Tree};

use super::format::{TREE, chain_key, name_key, refusal_key, sighting_key};
use super::*;

use crate::store::TokenStore;
use crate::store::sled::tests::{Place, at, client, export, is_good, jti, revoke};

fn thumbprint(byte: u8) -> Thumbprint {
    Thumbprint::from_bytes([byte; 32])
}

fn sighting(byte: u8, chain: Vec<Vec<u8>>) -> Sighting {
    let client = client("billing");
    Sighting { client, thumbprint: thumbprint(byte), chain, first_seen: at(1_000), last_seen: at(2_000) }
}

fn refusal(reference: &str, seconds: i64) -> RefusalRecord {
    RefusalRecord {
        reference: reference.into(),
        at: seconds,
        claimed: Some("billing".into()),
        is_registered: true,
        path: "/token".into(),
        listener: "mtls".into(),
        reason: "untrusted".into(),
        check: "path".into(),
        expected: "an anchor of corp".into(),
        seen: "x".repeat(5_000),
        chain: vec!["AAAA".into()],
    }
}

/// Three sightings and three refusals beside three revocations.
async fn filled(place: &Place) -> Sled {
    let store = place.store();
    revoke(&store, 1..4).await;
    for byte in 1..4 {
        store.note_first(&sighting(byte, vec![vec![byte; 900], vec![7; 9_000]])).await.unwrap();
    }
    store.note_refusals(&["AAAA", "BBBB", "CCCC"].map(|name| refusal(name, 1_000))).await.unwrap();
    store
}

fn counted(store: &Sled) -> (u64, u64, u64, u64) {
    let report = store.check().unwrap();
    (report.revoked_tokens, report.sightings, report.refusals, report.unreadable)
}

#[tokio::test]
async fn the_head_and_the_revocations_know_nothing_of_the_evidence() {
    let place = Place::new();
    let store = place.store();
    revoke(&store, 1..4).await;
    let revocations = |store: &Sled| {
        let all = |db: &Db| Ok(db.iter().map(Result::unwrap).collect::<Vec<_>>());
        store.shared.read(all).unwrap()
    };
    let before = revocations(&store);
    let batches = store.batches();
    store.note_first(&sighting(1, vec![vec![1; 900]])).await.unwrap();
    store.note_refusals(&[refusal("AAAA", 1_000)]).await.unwrap();
    store.note_again(&[(client("billing"), thumbprint(1), at(3_000))]).await.unwrap();
    assert_eq!(store.batches(), batches + 3);
    assert_eq!(revocations(&store), before, "what an older program sees");
    store.note_again(&[(client("billing"), thumbprint(1), at(2_500))]).await.unwrap();
    assert_eq!(store.batches(), batches + 3, "what changes nothing costs no fsync");
    // A database that lost all of it is whole.
    drop(store);
    place.tamper(|db| assert!(db.drop_tree(TREE).unwrap()));
    let store = place.store();
    assert_eq!(counted(&store), (3, 0, 0, 0));
    assert_eq!(store.sightings(None).await, Ok(vec![]));
}

#[tokio::test]
async fn first_sights_and_revocations_that_come_together_share_a_batch() {
    let place = Place::new();
    let store = Arc::new(place.store());
    let mut together = tokio::task::JoinSet::new();
    for byte in 0..=255 {
        let sighted = Arc::clone(&store);
        together.spawn(async move { sighted.note_first(&sighting(byte, vec![vec![byte; 900]])).await });
        let revoked = Arc::clone(&store);
        together.spawn(async move { revoked.revoke(jti(byte.into()), at(1_000), at(2_000)).await });
    }
    for outcome in together.join_all().await {
        outcome.unwrap();
    }
    assert!(store.batches() < 128, "{} batches", store.batches());
    drop(Arc::into_inner(store));
    assert_eq!(counted(&place.store()), (256, 256, 0, 0));
}

/// An entry, what is made of it, and what is lost: sightings and refusals.
type Damage<'a> = (&'a [u8], Option<&'a [u8]>, (u64, u64));

#[tokio::test]
async fn what_cannot_be_read_is_left_out_counted_and_no_reason_not_to_start() {
    let whole = Place::new();
    drop(filled(&whole).await);
    let billing = client("billing");
    let moments = sighting_key(&billing, thumbprint(1));
    let mut chain = chain_key(&billing, thumbprint(1));
    chain.extend([0, 0]);
    let (record, name) = (refusal_key(at(1_000), "AAAA"), name_key("AAAA"));
    let first = [record.as_slice(), &[0, 0]].concat();
    let second = [record.as_slice(), &[0, 1]].concat();
    let damages: [Damage<'_>; 13] = [
        (&moments, Some(b"short"), (1, 0)),
        (&moments, Some(&[2; 17]), (1, 0)),
        (&moments, Some(b""), (1, 0)),
        (&moments, None, (1, 0)),
        (&chain, Some(&[1, 0, 0, 9]), (1, 0)),
        (&chain, Some(&[1, 255, 255, 255, 255, 1]), (1, 0)),
        (&chain, None, (1, 0)),
        (&first, Some(b"\x01{"), (0, 1)),
        (&first, Some(b"\x02{}"), (0, 1)),
        (&second, None, (0, 1)),
        (&name, Some(b"\x01"), (0, 0)),
        (&name, None, (0, 0)),
        (b"unknown", Some(b"x"), (0, 0)),
    ];
    for (key, value, (sightings, refusals)) in damages {
        let place = whole.copy();
        let change = |tree: Tree| match value {
            Some(value) => tree.insert(key, value).map(drop),
            None => tree.remove(key).map(drop),
        };
        place.tamper(|db| change(db.open_tree(TREE).unwrap()).unwrap());
        let store = place.store();
        let what = format!("{} {value:?}", key.escape_ascii());
        let (tokens, seen, refused, unreadable) = counted(&store);
        assert_eq!((tokens, seen, refused), (3, 3 - sightings, 3 - refusals), "{what}");
        assert!(unreadable > 0, "{what}");
        let listed = store.sightings(None).await.unwrap().len() as u64;
        assert_eq!((listed, store.refusals(9).await.unwrap().len() as u64), (seen, refused), "{what}");
        let found = store.sighting(&billing, thumbprint(1)).await.unwrap();
        assert_eq!(found.is_some(), sightings == 0, "{what}");
        let is_found = store.refusal("AAAA").await.unwrap().is_some();
        assert_eq!(is_found, refusals == 0 && *key != *name, "{what}");
        assert!(!is_good(&store, 1, 1_000).await);
        // Seen once more, it is whole.
        store.note_first(&sighting(1, vec![vec![1; 900]])).await.unwrap();
        store.note_refusals(&[refusal("AAAA", 1_000)]).await.unwrap();
        assert!(store.sighting(&billing, thumbprint(1)).await.unwrap().is_some(), "{what}");
        assert!(store.refusal("aaaa").await.unwrap().is_some(), "{what}");
    }
}

#[tokio::test]
async fn evidence_that_panics_takes_no_revocation_with_it() {
    let place = Place::new();
    let store = Arc::new(place.store());
    let mut together = tokio::task::JoinSet::new();
    for number in 0..64_u16 {
        let (revoked, panics) = (Arc::clone(&store), Arc::clone(&store));
        together.spawn(async move { revoked.revoke(jti(number), at(1_000), at(2_000)).await.unwrap() });
        together.spawn(async move {
            let outcome = panics.note(|_| -> Result<(), StoreError> { panic!("on purpose") }).await;
            assert!(matches!(outcome, Err(StoreError::Corrupt { .. })), "{outcome:?}");
        });
    }
    together.join_all().await;
    assert_eq!(store.check().unwrap().revoked_tokens, 64);
}

#[tokio::test]
async fn an_export_brings_the_evidence_along_and_one_without_it_is_read_as_before() {
    let place = Place::new();
    let store = filled(&place).await;
    let lines = export(&store);
    assert!(lines.ends_with("{\"records\":9}\n"), "{lines}");
    let other = Place::new();
    assert_eq!(other.import(&lines).unwrap(), 9);
    let copy = other.store();
    assert_eq!(counted(&copy), (3, 3, 3, 0));
    assert_eq!(export(&copy), lines);
    assert_eq!(copy.sightings(None).await, store.sightings(None).await);
    assert_eq!(copy.refusals(9).await, store.refusals(9).await);

    // A line of before it was known who is registered.
    let fourth = Place::new();
    assert_eq!(fourth.import(&lines.replace(",\"is_registered\":true", "")).unwrap(), 9);
    let record = fourth.store().refusal("AAAA").await.unwrap().unwrap();
    assert_eq!(record, RefusalRecord { is_registered: false, ..refusal("AAAA", 1_000) });

    let is_old = |line: &&str| !line.contains("sighting") && !line.contains("refusal");
    let older = lines.lines().filter(is_old).collect::<Vec<_>>().join("\n").replace(":9}", ":3}");
    let third = Place::new();
    assert_eq!(third.import(&older).unwrap(), 3);
    assert_eq!(counted(&third.store()), (3, 0, 0, 0));
    for (what, lines) in [
        (
            "here are 8",
            lines.lines().filter(|line| !line.contains("reference\":\"AAAA")).collect::<Vec<_>>().join("\n"),
        ),
        ("no sighting", lines.replace("billing", "b\u{e9}lling")),
        ("unknown field", lines.replace("first_seen", "seen_first")),
    ] {
        let refusal = Place::new().import(&lines).unwrap_err().to_string();
        assert!(refusal.contains(what), "{refusal}");
    }
}

#[tokio::test]
async fn damaged_evidence_is_left_out_of_an_export_and_no_revocation_is() {
    let place = Place::new();
    drop(filled(&place).await);
    place.tamper(|db| drop(db.open_tree(TREE).unwrap().insert(name_key("AAAA"), b"x").unwrap()));
    place.tamper(|db| {
        drop(db.open_tree(TREE).unwrap().insert(sighting_key(&client("billing"), thumbprint(2)), b"x"));
    });
    let lines = export(&place.store());
    let other = Place::new();
    // The refusal is found by time all the same.
    assert_eq!(other.import(&lines).unwrap(), 8);
    assert_eq!(counted(&other.store()), (3, 2, 3, 0));
}

/// sled writes a page over 128 KiB into a file of its own, which it does not fsync.
#[tokio::test]
async fn the_longest_chains_and_records_make_no_files_of_their_own() {
    let place = Place::new();
    let store = place.store();
    for byte in 0..60 {
        let mut noise = vec![0; 64 * 1024];
        getrandom::fill(&mut noise).unwrap();
        let seen = sighting(byte, vec![noise]);
        store.note_first(&seen).await.unwrap();
        assert_eq!(store.sighting(&seen.client, seen.thumbprint).await, Ok(Some(seen)));
    }
    let records: Vec<_> = (0..200)
        .map(|number| {
            let long = "\u{1}".repeat(1_024);
            let mut record = refusal(&format!("R{number}"), number);
            (record.check, record.expected, record.seen) = (long.clone(), long.clone(), long);
            record.chain = vec!["A".repeat(10_920)];
            record
        })
        .collect();
    store.note_refusals(&records).await.unwrap();
    assert_eq!(store.forget_evidence(at(30 * 24 * 3600 + 100)).await, Ok(100));
    assert_eq!(store.refusals(200).await.unwrap().len(), 100);
    assert_eq!(fs::read_dir(place.data().join("blobs")).unwrap().count(), 0);
}

/// The tokens that ended are looked up in memory, whatever lies beside them.
#[tokio::test]
async fn a_taken_away_directory_fails_the_evidence_and_not_the_standing() {
    let place = Place::new();
    let store = filled(&place).await;
    let elsewhere = place.data().with_file_name("elsewhere");
    fs::rename(place.data(), &elsewhere).unwrap();
    let outcome = store.note_first(&sighting(9, vec![vec![9; 10]])).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    assert!(!is_good(&store, 1, 1_000).await);
    fs::rename(elsewhere, place.data()).unwrap();
    store.note_first(&sighting(9, vec![vec![9; 10]])).await.unwrap();
    drop(store);
    assert_eq!(counted(&place.store()), (3, 4, 3, 0));
}

#[tokio::test]
async fn more_refusals_than_are_kept_go_without_waiting_for_the_next_forgetting() {
    let place = Place::new();
    let store = place.store();
    store.note_refusals(&[refusal("OLDEST", 0)]).await.unwrap();
    for round in 1..6_i64 {
        let stranger = |number| RefusalRecord {
            seen: String::new(),
            is_registered: false,
            ..refusal(&format!("R{round}N{number}"), round)
        };
        let some: Vec<_> = (0..4_000).map(stranger).collect();
        store.note_refusals(&some).await.unwrap();
        assert_eq!(store.check().unwrap().refusals, 2_000 + 1, "of strangers, and one of a client");
    }
    assert_eq!(store.refusal("R1N0").await, Ok(None));
    assert!(store.refusal("R5N3999").await.unwrap().is_some());
    assert!(store.refusal("OLDEST").await.unwrap().is_some());
}
