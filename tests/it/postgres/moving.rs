//! From the embedded store into a database and back, and what the commands do without a server.

use std::fs;

use certbound::oauth::Jti;
use certbound::store::evidence::{Evidence, RefusalRecord, Sighting};
use certbound::store::sled::Sled;

use super::*;
use crate::store_contract::client;

async fn fill(store: &(impl TokenStore + Evidence)) {
    for number in 0..1_100_u16 {
        let bytes = std::array::from_fn(|place| number.to_be_bytes()[place % 2]);
        store.revoke(Jti::from_bytes(bytes), at(i64::from(number)), at(500_000)).await.unwrap();
    }
    store.revoke_issued_before(&client("edge 7/\"x\"';--"), at(700), at(800)).await.unwrap();
    store.roll_call(&[client("a"), client("b")].into(), at(5), at(6)).await.unwrap();
    store.roll_call(&[client("a")].into(), at(7), at(8)).await.unwrap();
    let seen = Sighting {
        client: client("a"),
        thumbprint: certbound::pki::Thumbprint::of(b"a"),
        chain: vec![vec![0, 1, 2], vec![]],
        first_seen: at(1),
        last_seen: at(9),
    };
    store.note_first(&seen).await.unwrap();
    let refusal = RefusalRecord {
        reference: "0000-0000-0000-0001".into(),
        at: at(3).as_unix(),
        claimed: Some("a\u{0}".into()),
        is_registered: false,
        path: "/token".into(),
        listener: "mtls".into(),
        reason: "untrusted".into(),
        check: "path".into(),
        expected: "x".into(),
        seen: "y".into(),
        chain: vec!["MIIB".into()],
    };
    store.note_refusals(&[refusal]).await.unwrap();
}

fn sorted(lines: &[u8]) -> Vec<String> {
    let mut lines: Vec<_> = std::str::from_utf8(lines).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn an_export_of_either_store_is_imported_whole_by_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let (data, id_file) = (directory.path().join("data"), directory.path().join("store-id"));
    Sled::init_forget(&data, &id_file, at(-5)).unwrap();
    let embedded = Sled::open(&data, &id_file).unwrap().0;
    fill(&embedded).await;
    let mut lines = Vec::new();
    embedded.export(&mut lines).unwrap();

    let place = Place::new();
    let records = Store::import(&place.settings(), &place.id_file(), &mut lines.as_slice()).unwrap();
    assert_eq!(records, 1_105);
    let (store, opened) = place.open().unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(store.check().await, embedded.check());
    let again = store.export().await.unwrap();
    assert_eq!(sorted(&again), sorted(&lines));
    assert!(
        has_ended(&store, &token("nobody", at(-5))).await && !has_ended(&store, &token("x", at(-4))).await
    );

    let other = tempfile::tempdir().unwrap();
    let (data, id_file) = (other.path().join("data"), other.path().join("store-id"));
    Sled::import(&data, &id_file, &mut again.as_slice()).unwrap();
    let copy = Sled::open(&data, &id_file).unwrap().0;
    assert_eq!(copy.check(), embedded.check());
    let mut third = Vec::new();
    copy.export(&mut third).unwrap();
    assert_eq!(third, lines);
}

#[tokio::test]
async fn an_import_makes_a_new_store_or_nothing() {
    let place = Place::new();
    let store = place.store();
    fill(&store).await;
    let lines = store.export().await.unwrap();
    let refused = |place: &Place, lines: &[u8], why: &str| {
        let refusal = Store::import(&place.settings(), &place.id_file(), &mut &*lines).unwrap_err();
        assert!(matches!(&refusal, OpenError::Io(what) if what.contains(why)), "{why}: {refusal:?}");
    };
    refused(&place, &lines, "there is a store");
    refused(&place.another_node(), &lines, "there is a store");
    let empty = Place::new();
    refused(&empty, &lines[..lines.len() - 30], "line");
    refused(&empty, b"", "nothing");
    assert_eq!(empty.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'certbound'"), "0");
    fs::create_dir_all(empty.id_file().parent().unwrap()).unwrap();
    fs::write(empty.id_file(), "00112233445566778899aabbccddeeff\n").unwrap();
    refused(&empty, &lines, "names another");
    // One that was cut short is no store.
    let cut = Place::new();
    Store::import(&cut.settings(), &cut.id_file(), &mut lines.as_slice()).unwrap();
    cut.sql("UPDATE certbound.store SET id = '\\x00000000000000000000000000000000'");
    for node in [&cut, &cut.another_node()] {
        assert!(matches!(node.refusal(), OpenError::Damaged(_)));
    }
}
