//! Large lists: right, and fast.

use std::collections::BTreeSet;
use std::time::Instant;

use proptest::prelude::*;

use super::forge::{Odd, entry, reason};
use super::*;
use crate::pki::der::{self, encode};

#[test]
fn a_list_of_100_000_entries_is_taken_and_asked_without_much_ado() {
    let ca = authority("CA");
    let (bad, good) = (leaf(&ca), leaf(&ca));
    let serial = |index: u32| [&[0x55_u8; 16][..], &index.wrapping_mul(2_654_435_761).to_be_bytes()].concat();
    let mut revoked: Vec<_> = (0..100_000)
        .map(|index| RevokedCertificate {
            serial: serial(index),
            at: FROM,
            reason: Some(RevocationReason::Superseded),
        })
        .collect();
    revoked.push(revoked_for(&bad, None));
    let template = CrlTemplate { number: 1, this_update: FROM, next_update: TO, revoked };
    let der = ca.crl(&template).unwrap();
    let pem = files::crl_to_pem(&der);
    for (form, bytes) in [("DER", der.as_slice()), ("PEM", pem.as_bytes())] {
        let crls = Crls::default();
        let begin = Instant::now();
        assert_eq!(offer(&crls, bytes, &[&ca]).unwrap()[0].entries, 100_001);
        println!("{} octets of {form} taken in {:?}", bytes.len(), begin.elapsed());
        let issuer = certificate(ca.identity());
        let begin = Instant::now();
        for _ in 0..1000 {
            assert!(matches!(crls.status(&good, &issuer, NOW), CrlStatus::Good(_)));
        }
        println!("a certificate asked for in {:?}", begin.elapsed() / 1000);
        let (list, _) = list::parse(&der).unwrap();
        let begin = Instant::now();
        drop(list);
        println!("dropped in {:?}", begin.elapsed());
        assert_eq!(says(&crls, &bad, &ca, NOW), "revoked");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Serial numbers are compared as numbers: a sign octet that says nothing makes no difference.
    #[test]
    fn a_look_up_agrees_with_a_plain_set(
        listed in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..4), 1..60),
        asked in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..4), 60),
    ) {
        let number = |octets: &[u8]| {
            octets.iter().fold(i64::from(octets[0].cast_signed() >> 7), |number, &octet| number << 8 | i64::from(octet))
        };
        let naive: BTreeSet<i64> = listed.iter().map(|serial| number(serial)).collect();
        let ca = authority("CA");
        let entries: Vec<_> = listed.iter().map(|serial| entry(serial, &[])).collect();
        let der = Odd::of(&ca).revoking(&entries).der();
        let (list, _) = list::parse(&der).unwrap();
        for serial in asked.iter().chain(&listed) {
            prop_assert_eq!(list.find(serial).is_some(), naive.contains(&number(serial)), "{:02x?}", serial);
        }
    }
}

#[test]
fn of_two_entries_with_one_serial_number_the_one_that_is_no_hold_counts() {
    let ca = authority("CA");
    let held = |serial: &[u8]| entry(serial, &[reason(6)]);
    for entries in [[held(&[5]), entry(&[5], &[])], [entry(&[5], &[]), held(&[5])]] {
        let der = Odd::of(&ca).revoking(&entries).der();
        let (list, _) = list::parse(&der).unwrap();
        assert!(!list.find(&[5]).unwrap().is_on_hold());
    }
}

#[test]
fn a_length_that_lies_is_refused_at_once() {
    let ca = authority("CA");
    let mut der = Odd::of(&ca).revoking(&[encode(der::SEQUENCE, &[])]).der();
    assert!(list::parse(&der).is_err());
    der.truncate(20);
    assert!(list::parse(&der).is_err());
}
