//! Whatever is stored is a value and never a statement.

use certbound::oauth::{ClientId, Jti};
use certbound::pki::Thumbprint;
use certbound::store::evidence::{Evidence as _, RefusalRecord, Sighting};

use super::*;

const ODD: &[&str] = &[
    "'; DROP TABLE certbound.ended_tokens; --",
    "\" OR 1=1; --",
    "$1",
    "$$; DELETE FROM certbound.store; $$",
    "%",
    "_",
    "\\",
    "\\'; COMMIT; --",
    "{a,NULL}",
    "NULL",
    "null\\000",
    "{}",
    " ",
    "client_id=billing; --",
];

#[tokio::test]
async fn metacharacters_are_names_like_others() {
    let place = Place::new();
    let store = place.store();
    let names: Vec<_> = ODD.iter().map(|name| ClientId::parse(name).unwrap()).collect();
    let all: std::collections::BTreeSet<_> = names.iter().cloned().collect();
    store.roll_call(&all, at(0), NEVER).await.unwrap();
    store.roll_call(&[].into(), at(1), NEVER).await.unwrap();
    let mut back = store.roll_call(&all, at(10), NEVER).await.unwrap();
    back.sort();
    assert!(back.iter().eq(&all));
    for name in &names {
        let key = TokenKey { signed_by: name.to_string(), ..token(name.as_str(), at(10)) };
        assert!(has_ended(&store, &key).await, "{name}");
        let later = TokenKey { issued_at: at(11), ..key };
        assert!(!has_ended(&store, &later).await, "{name}");
        store.revoke_issued_before(name, at(11), NEVER).await.unwrap();
        assert!(has_ended(&store, &later).await, "{name}");
        let seen = Sighting {
            client: name.clone(),
            thumbprint: Thumbprint::of(name.as_str().as_bytes()),
            chain: vec![name.as_str().as_bytes().to_vec(), vec![0; 4]],
            first_seen: at(0),
            last_seen: at(0),
        };
        store.note_first(&seen).await.unwrap();
        assert_eq!(store.note_again(&[(name.clone(), seen.thumbprint, at(0))]).await, Ok(vec![]));
        assert_eq!(store.sightings(Some(name)).await, Ok(vec![seen]));
    }
    assert_eq!(store.sightings(None).await.unwrap().len(), ODD.len());
    let report = store.check().await.unwrap();
    assert_eq!((report.revoked_clients, report.clients), (names.len() as u64, names.len() as u64));
    assert_eq!(report.unreadable, 0);
}

#[tokio::test]
async fn nul_and_every_other_character_of_a_stranger_read_back() {
    let place = Place::new();
    let store = place.store();
    let odd = format!("{}\u{0}\u{1}\u{7f}\u{ffff}\u{10ffff}\u{202e}'é", ODD.join("\u{0}"));
    let record = RefusalRecord {
        reference: "0000-0000-0000-0001".into(),
        at: i64::MIN,
        claimed: Some(odd.clone()),
        is_registered: true,
        path: odd.clone(),
        listener: odd.clone(),
        reason: odd.clone(),
        check: odd.clone(),
        expected: odd.clone(),
        seen: odd.repeat(50),
        chain: vec![odd.clone(), "A".repeat(1 << 20)],
    };
    let last = RefusalRecord { at: i64::MAX - 1, reference: "ZZZZ".into(), ..record.clone() };
    store.note_refusals(&[record.clone(), last.clone()]).await.unwrap();
    assert_eq!(store.refusals(9).await, Ok(vec![last, record.clone()]));
    for name in ODD {
        assert_eq!(store.refusal(name).await.unwrap_or_default(), None, "{name}");
    }
    assert_eq!(store.refusal("0000000000000001").await, Ok(Some(record)));
}

#[tokio::test]
async fn the_smallest_and_the_largest_values_are_values() {
    let place = Place::new();
    let store = place.store();
    for (number, at) in [i64::MIN, -1, 0, i64::MAX].into_iter().map(Timestamp::from_unix).enumerate() {
        let jti = Jti::from_bytes([u8::try_from(number * 85).unwrap(); 16]);
        store.revoke(jti, at, at).await.unwrap();
        store.revoke(jti, at, Timestamp::from_unix(i64::MAX)).await.unwrap();
        let key = TokenKey { jti, ..token("billing", at) };
        assert_eq!(store.standing(&key).await, Ok(Standing::Revoked { at }));
    }
    assert_eq!(store.forget_expired(now()).await, Ok(0));
    let long = "x".repeat(255);
    store.revoke_issued_before(&ClientId::parse(&long).unwrap(), at(1), NEVER).await.unwrap();
    let megabyte = TokenKey { signed_by: "k".repeat(1 << 20), ..token(&long, at(2)) };
    assert!(!has_ended(&store, &megabyte).await);
}

/// What lies in the tables and was not written by us is damage where it decides, and left out where it does not.
#[tokio::test]
async fn rows_that_nobody_wrote_are_damage_or_left_out() {
    let place = Place::new();
    let store = place.store();
    place.sql(
        "INSERT INTO certbound.refusals VALUES ('ABC', 1, NULL, 'no json');
         INSERT INTO certbound.sightings VALUES ('billing', '\\x00', '\\x01', 1, 1), ('\u{e9}', '\\x00', '\\x', 1, 1)",
    );
    assert_eq!(store.refusals(9).await, Ok(vec![]));
    assert_eq!(store.sightings(None).await, Ok(vec![]));
    assert_eq!(store.check().await.unwrap().unreadable, 3);
    assert!(store.export().await.is_ok());
    place.sql("INSERT INTO certbound.ended_tokens VALUES ('\\x00', 1, 1, 1)");
    assert!(matches!(store.check().await, Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.export().await, Err(StoreError::Corrupt { .. })));
}
