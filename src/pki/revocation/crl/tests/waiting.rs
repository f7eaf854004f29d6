//! Lists whose issuer is not known when they come: what they cost, and that they find it.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::forge::{Odd, entry};
use super::*;
use crate::pki::workshop::KeyKind;

#[test]
fn a_list_of_an_issuer_that_only_clients_send_waits_for_it_and_is_verified_then() {
    let root = authority("root");
    let issuing = root.intermediate(&template("issuing")).unwrap();
    let (bad, good) = (leaf(&issuing), leaf(&issuing));
    let crls = Crls::default();
    let first = list(&issuing, 1, &[&bad]);
    let taken = offer(&crls, &first, &[&root]).unwrap();
    assert_eq!((taken[0].issuer.as_str(), taken[0].issuer_key), ("CN=issuing", None));
    assert!(offer(&crls, &first, &[&root]).is_ok(), "offered again, it is one list");
    assert_eq!(crls.summaries().len(), 1);
    assert_eq!(says(&crls, &bad, &issuing, NOW), "revoked");
    assert_eq!(says(&crls, &good, &issuing, NOW), "good");
    let key = certificate(issuing.identity()).key_hash();
    assert_eq!(crls.summaries()[0].issuer_key, Some(key));
    // its issuer is known from here on
    let next = offer(&crls, &list(&issuing, 2, &[&good]), &[&root]).unwrap();
    assert_eq!(next[0].issuer_key, Some(key));
    assert_eq!(says(&crls, &good, &issuing, NOW), "revoked");
}

#[test]
fn a_waiting_list_of_a_namesake_is_never_adopted() {
    let (issuing, namesake) = (authority("issuing"), authority("issuing"));
    let leaf = leaf(&issuing);
    let nameless = Odd::of(&namesake).der(); // without the key identifier that would tell them apart
    let crls = knowing(&[list(&namesake, 1, &[]), nameless], &[]);
    let expected = "there is a CRL of a CN=issuing, signed with another key than this issuer's";
    for _ in 0..2 {
        assert_eq!(says(&crls, &leaf, &issuing, NOW), expected);
    }
    assert_eq!(crls.summaries().iter().filter(|summary| summary.issuer_key.is_none()).count(), 2);
    assert_eq!(says(&crls, &leaf, &namesake, NOW), "good", "they still wait for their own");
}

#[test]
fn a_namesake_of_another_set_does_not_make_a_list_a_forgery() {
    let (ca, namesake) = (authority("CA"), authority("CA"));
    let crls = knowing(&[list(&namesake, 1, &[])], &[&namesake]);
    let waits = offer(&crls, &Odd::of(&ca).der(), &[]).unwrap();
    assert_eq!(waits[0].issuer_key, None);
    assert_eq!(says(&crls, &leaf(&ca), &ca, NOW), "good");
}

#[test]
fn what_waits_is_bounded() {
    let ca = authority("CA");
    let crls = Crls::default();
    for number in 0..100 {
        offer(&crls, &list(&ca, number, &[]), &[]).unwrap();
    }
    assert_eq!(crls.summaries().len(), 64);
    assert_eq!(crls.summaries().last().unwrap().number, "99", "the oldest made room");
}

#[test]
fn many_threads_that_show_a_waited_for_issuer_at_once_agree() {
    let ca = authority("CA");
    let leaf = leaf(&ca);
    let crls = knowing(&[list(&ca, 1, &[&leaf])], &[]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(says(&crls, &leaf, &ca, NOW), "revoked"));
        }
    });
}

/// Of these many entries, and besides them `bad`.
fn long(ca: &Authority, entries: u32, bad: &Certificate) -> Vec<u8> {
    let serial = |index: u32| [&[0x55_u8; 12][..], &index.to_be_bytes()].concat();
    let mut entries: Vec<_> = (0..entries).map(|index| entry(&serial(index), &[])).collect();
    entries.push(entry(bad.serial(), &[]));
    Odd::of(ca).revoking(&entries).der()
}

#[test]
fn a_long_list_that_waits_costs_its_issuer_one_check_of_a_signature() {
    let ca = authority("CA");
    let bad = leaf(&ca);
    let list = long(&ca, 100_000, &bad);
    let crls = Crls::default();
    let begin = Instant::now();
    assert_eq!(offer(&crls, &list, &[]).unwrap()[0].issuer_key, None);
    let offered = begin.elapsed();
    let issuer = certificate(ca.identity());
    let begin = Instant::now();
    assert!(matches!(crls.status(&bad, &issuer, NOW), CrlStatus::Revoked { .. }));
    let shown = begin.elapsed();
    println!("{} octets offered in {offered:?}, adopted in {shown:?}", list.len());
    assert!(shown < offered / 4, "{shown:?} of {offered:?}: the list was read again");
}

#[test]
fn a_long_list_whose_signature_takes_no_digest_does_not_wait() {
    let ca = Authority::new(&Template { key: KeyKind::Ed25519, ..template("CA") }).unwrap();
    let bad = leaf(&ca);
    let (short, long) = (long(&ca, 1000, &bad), long(&ca, 40_000, &bad));
    assert!(long.len() > 1024 * 1024);
    let crls = Crls::default();
    match offer(&crls, &long, &[]) {
        Err(CrlError::Unsupported(what)) => {
            assert!(what.contains("name the CA in `intermediates`"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    assert!(crls.summaries().is_empty());
    assert_eq!(
        says(&knowing(&[long], &[&ca]), &bad, &ca, NOW),
        "revoked",
        "of a CA that is known any length is"
    );
    assert_eq!(says(&knowing(&[short], &[]), &bad, &ca, NOW), "revoked");
}

#[test]
fn every_kind_of_signature_is_verified_later_as_it_would_be_at_once() {
    for key in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048, KeyKind::Ed25519] {
        let made = |cn| Authority::new(&Template { key, ..template(cn) }).unwrap();
        let (ca, namesake) = (made("CA"), made("CA"));
        let leaf = leaf(&ca);
        let crls = knowing(&[Odd::of(&ca).revoking(&[entry(leaf.serial(), &[])]).der()], &[]);
        assert_ne!(says(&crls, &leaf, &namesake, NOW), "revoked", "{key:?}");
        assert_eq!(says(&crls, &leaf, &ca, NOW), "revoked", "{key:?}");
    }
}

#[test]
fn a_list_that_no_key_could_verify_does_not_wait() {
    let ca = Authority::new(&Template { key: KeyKind::Rsa2048, ..template("CA") }).unwrap();
    let algorithm = forge::algorithm("1.2.840.113549.1.1.5", &[0x05, 0x00]);
    let odd = Odd { inner_algorithm: algorithm.clone(), outer_algorithm: algorithm, ..Odd::of(&ca) };
    let error = offer(&Crls::default(), &odd.signed_by(&[0; 256]), &[]).unwrap_err();
    assert!(matches!(&error, CrlError::Forged(what) if what.contains("RSA with SHA-1")), "{error}");
}

#[test]
fn no_number_of_namesakes_keeps_a_list_from_its_issuer() {
    let ca = authority("CA");
    let leaf = leaf(&ca);
    let crls = knowing(&[Odd::of(&ca).revoking(&[entry(leaf.serial(), &[])]).der()], &[]);
    for _ in 0..40 {
        assert_ne!(says(&crls, &leaf, &authority("CA"), NOW), "revoked");
    }
    assert_eq!(says(&crls, &leaf, &ca, NOW), "revoked");
}

/// Whoever needed the lock alone would wait for the one that is held here.
#[test]
fn lists_are_read_and_verified_while_others_look_up() {
    let (ca, stranger) = (authority("CA"), authority("CA"));
    let leaf = leaf(&ca);
    let crls = knowing(&[Odd::of(&stranger).der()], &[]);
    let forged = Odd::of(&stranger).der();
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let looking = crls.read();
        scope.spawn(|| {
            assert!(matches!(offer(&crls, &forged, &[&ca]), Err(CrlError::Forged(_))));
            assert_ne!(says(&crls, &leaf, &ca, NOW), "good", "of a stranger");
            tell.send(()).unwrap();
        });
        let done = told.recv_timeout(Duration::from_secs(60));
        drop(looking);
        assert!(done.is_ok(), "it waited for the lock");
    });
}
