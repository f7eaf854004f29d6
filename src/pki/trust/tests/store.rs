//! What is remembered, and for how long.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::forge::plain_ca;
use super::*;

fn store(anchors: &[&Made]) -> (TrustStore, AnchorSetName) {
    let name = AnchorSetName::new("corp");
    let sets = BTreeMap::from([(name.clone(), set(anchors, Profile::Compatible))]);
    (TrustStore::new(sets), name)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(NOW.as_unix() + seconds)
}

#[test]
fn a_verdict_is_remembered_for_less_than_a_minute_and_not_into_the_past() {
    let ca = plain_ca("CA").self_signed();
    let leaf = make("leaf").by(&ca);
    let (store, name) = store(&[&ca]);
    let chain = chain(&[&leaf]);
    let path_at = |seconds| store.verify(&chain, &name, at(seconds)).unwrap().path().as_ptr();
    let first = path_at(0);
    assert_eq!(path_at(0), first);
    assert_eq!(path_at(59), first, "the same verdict");
    let second = path_at(60);
    assert_ne!(second, first, "judged again");
    assert_eq!(path_at(61), second);
    let third = path_at(59);
    assert_ne!(third, second, "the clock was set back");
}

#[test]
fn a_path_is_parsed_once_for_a_verdict_and_an_issuer_once_for_all() {
    let root = plain_ca("root").self_signed();
    let issuing = plain_ca("issuing").by(&root);
    let (store, name) = store(&[&root]);
    let [one, other] = ["one", "other"].map(|cn| chain(&[&make(cn).by(&issuing), &issuing]));
    let path = |chain| Arc::clone(store.verify(chain, &name, NOW).unwrap().certificates());
    let (first, second) = (path(&one), path(&other));
    let subjects: Vec<_> = first.iter().map(|member| member.subject().to_string()).collect();
    assert_eq!(subjects, ["CN=one", "CN=issuing", "CN=root"]);
    assert!(Arc::ptr_eq(&first, &path(&one)));
    for (one, other) in first.iter().zip(second.iter()).skip(1) {
        assert!(Arc::ptr_eq(one, other), "{one:?}");
    }
}

#[test]
fn a_remembered_verdict_ends_with_the_path() {
    let ca = plain_ca("CA").valid(-100, 10).self_signed();
    let leaf = make("leaf").valid(-5, 100).by(&ca);
    let (store, name) = store(&[&ca]);
    let chain = chain(&[&leaf]);
    let kind = |seconds| store.verify(&chain, &name, at(seconds)).err().map(|error| error.kind);
    assert_eq!((kind(0), kind(10)), (None, None));
    assert_eq!(kind(11), Some(TrustErrorKind::Expired));
    assert_eq!(kind(-6), Some(TrustErrorKind::NotYetValid));
}

#[test]
fn a_verdict_is_about_the_whole_chain() {
    let root = plain_ca("root").self_signed();
    let issuing = plain_ca("issuing").by(&root);
    let leaf = make("leaf").by(&issuing);
    let (store, name) = store(&[&root]);
    assert!(store.verify(&chain(&[&leaf, &issuing]), &name, NOW).is_ok());
    assert!(store.verify(&chain(&[&leaf]), &name, NOW).is_err());
}

#[test]
fn a_set_vouches_for_its_own_clients_only() {
    let (ca, partner) = (plain_ca("CA").self_signed(), plain_ca("partner").self_signed());
    let sets = [("corp", &ca), ("partner", &partner)]
        .map(|(name, made)| (AnchorSetName::new(name), set(&[made], Profile::Compatible)));
    let store = TrustStore::new(BTreeMap::from(sets));
    let chain = chain(&[&make("leaf").by(&partner)]);
    let verify = |name| store.verify(&chain, &AnchorSetName::new(name), NOW);
    assert_eq!(verify("partner").unwrap().leaf().thumbprint(), chain.leaf.thumbprint());
    assert_eq!(verify("corp").unwrap_err().kind, TrustErrorKind::Untrusted);
    assert_eq!(verify("no such set").unwrap_err().kind, TrustErrorKind::Untrusted);
    assert_eq!(store.names().count(), 2);
}
