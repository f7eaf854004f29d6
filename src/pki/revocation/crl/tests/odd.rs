//! What no conforming CA makes: refused as a whole, because a list read in part would call revoked certificates good.

use proptest::prelude::*;

use super::forge::{
    CERTIFICATE_ISSUER, DELTA, INVALIDITY_DATE, KEY_IDENTIFIER, NUMBER, Odd, REASON, at, critical, entry,
    extension, reason,
};
use super::*;
use crate::pki::der::{self, encode};

const UNKNOWN: &str = "1.2.3.4";

fn error(list: &Odd, ca: &Authority) -> CrlError {
    offer(&Crls::default(), &list.der(), &[ca]).unwrap_err()
}

fn assert_malformed(list: &Odd, ca: &Authority, about: &str) {
    match error(list, ca) {
        CrlError::Malformed(what) => assert!(what.contains(about), "{what} is not about {about}"),
        other => panic!("{about}: {other:?}"),
    }
}

fn assert_unsupported(list: &Odd, ca: &Authority, about: &str) {
    match error(list, ca) {
        CrlError::Unsupported(what) => assert!(what.contains(about), "{what} is not about {about}"),
        other => panic!("{about}: {other:?}"),
    }
}

#[test]
fn the_list_that_the_odd_ones_differ_from_is_good() {
    let ca = authority("CA");
    let leaf = leaf(&ca);
    let good = Odd::of(&ca)
        .with(extension(UNKNOWN, b"x"))
        .revoking(&[entry(leaf.serial(), &[reason(1), extension(INVALIDITY_DATE, &encode(0x18, b"x"))])]);
    let crls = knowing(&[good.der()], &[&ca]);
    assert_eq!(says(&crls, &leaf, &ca, NOW), "revoked");
    assert_eq!(crls.summaries()[0].number, "7");
}

#[test]
fn a_list_has_version_2_and_both_times_and_a_name() {
    let ca = authority("CA");
    let of = || Odd::of(&ca);
    assert_unsupported(&Odd { version: Vec::new(), ..of() }, &ca, "version 1");
    for version in [&[0][..], &[2], &[0, 1], &[]] {
        assert_malformed(&Odd { version: encode(der::INTEGER, version), ..of() }, &ca, "version");
    }
    assert_malformed(&Odd { times: vec![at(FROM)], ..of() }, &ca, "nextUpdate");
    assert_malformed(&Odd { times: vec![at(FROM), at(Timestamp::from_unix(1))], ..of() }, &ca, "nextUpdate");
    assert_malformed(&Odd { times: Vec::new(), ..of() }, &ca, "DER");
    assert_malformed(&Odd { issuer: encode(der::SEQUENCE, &[]), ..of() }, &ca, "issuer");
    for time in
        [&b"260101000000"[..], b"2601010000Z", b"260101000000+0000", b"261301000000Z", b"26-101000000Z"]
    {
        assert_malformed(&Odd { times: vec![encode(0x17, time), at(TO)], ..of() }, &ca, "DER");
    }
    assert_malformed(&Odd { times: vec![encode(0x18, b"20260101000000.5Z"), at(TO)], ..of() }, &ca, "DER");
}

#[test]
fn times_are_read_as_the_rfc_counts_years() {
    let ca = authority("CA");
    let next_update = |tag, text: &[u8]| {
        let list = Odd { times: vec![encode(0x17, b"500101000000Z"), encode(tag, text)], ..Odd::of(&ca) };
        offer(&Crls::default(), &list.der(), &[&ca]).unwrap()[0].next_update.to_string()
    };
    assert_eq!(next_update(0x17, b"491231235959Z"), "2049-12-31T23:59:59Z");
    assert_eq!(next_update(0x17, b"500101000000Z"), "1950-01-01T00:00:00Z");
    assert_eq!(next_update(0x18, b"29690503000001Z"), "2969-05-03T00:00:01Z");
    assert_eq!(next_update(0x18, b"99991231235959Z"), "9999-12-31T23:59:59Z");
}

#[test]
fn a_list_has_one_number_that_is_not_critical_and_not_negative() {
    let ca = authority("CA");
    let with = |extensions: Vec<Vec<u8>>| Odd { extensions, ..Odd::of(&ca) };
    let one = encode(der::INTEGER, &[1]);
    assert_malformed(&with(Vec::new()), &ca, "no extensions");
    assert_malformed(&with(vec![extension(UNKNOWN, b"x")]), &ca, "no CRL number");
    assert_malformed(&with(vec![critical(NUMBER, &one)]), &ca, "critical");
    assert_malformed(&with(vec![extension(NUMBER, &one), extension(NUMBER, &one)]), &ca, "twice");
    assert_malformed(&Odd::of(&ca).number(&[0xff]), &ca, "negative");
    assert_malformed(&Odd::of(&ca).number(&[]), &ca, "empty");
    assert_malformed(&Odd::of(&ca).number(&[0x01; 21]), &ca, "20 octets");
    let many = (0..40).map(|arc| extension(&format!("1.2.3.{arc}"), b"x")).collect();
    assert_malformed(&with(many), &ca, "32 extensions");
    let number = |content: &[u8]| {
        offer(&Crls::default(), &Odd::of(&ca).number(content).der(), &[&ca]).unwrap()[0].number.clone()
    };
    assert_eq!((number(&[0]), number(&[0x00, 0x80])), ("0".into(), "128".into()));
    assert_eq!(number(&[0x7f; 20]), "727885129180488904360266563744972327436484050815");
}

#[test]
fn numbers_of_20_octets_are_ordered_as_numbers() {
    let ca = authority("CA");
    let in_order: [&[u8]; 6] = [&[0], &[9], &[0x7f], &[0, 0x80], &[1, 0], &[0x7f; 20]];
    let crls = Crls::default();
    for number in in_order {
        offer(&crls, &Odd::of(&ca).number(number).der(), &[&ca]).unwrap();
    }
    for number in in_order.iter().take(5) {
        let older = offer(&crls, &Odd::of(&ca).number(number).der(), &[&ca]);
        assert!(matches!(older, Err(CrlError::Older { .. })), "{number:02x?}");
    }
}

#[test]
fn deltas_and_what_is_critical_and_unknown_are_refused() {
    let ca = authority("CA");
    let number = encode(der::INTEGER, &[1]);
    for delta in [critical(DELTA, &number), extension(DELTA, &number)] {
        assert_unsupported(&Odd::of(&ca).with(delta), &ca, "delta");
    }
    assert_unsupported(&Odd::of(&ca).with(critical(UNKNOWN, b"x")), &ca, UNKNOWN);
}

#[test]
fn entries_that_would_have_to_be_guessed_at_make_the_list_unusable() {
    let ca = authority("CA");
    let with = |entry: Vec<u8>| Odd::of(&ca).revoking(&[entry]);
    assert_malformed(&Odd::of(&ca).revoking(&[]), &ca, "there and empty");
    assert_unsupported(&with(entry(&[1], &[critical(UNKNOWN, b"x")])), &ca, UNKNOWN);
    let other_issuer = encode(der::SEQUENCE, &[]);
    for indirect in
        [critical(CERTIFICATE_ISSUER, &other_issuer), extension(CERTIFICATE_ISSUER, &other_issuer)]
    {
        assert_unsupported(&with(entry(&[1], &[indirect])), &ca, "indirect");
    }
    assert_malformed(&with(entry(&[1], &[reason(8)])), &ca, "removeFromCRL");
    assert_malformed(&with(entry(&[1], &[reason(7)])), &ca, "unknown reason");
    assert_malformed(&with(entry(&[1], &[reason(1), reason(1)])), &ca, "twice");
    assert_malformed(&with(entry(&[1], &[extension(REASON, &[0x0a, 2, 0, 1])])), &ca, "DER");
    assert_malformed(&with(entry(&[], &[])), &ca, "serial number");
    assert_malformed(&with(entry(&[1; 256], &[])), &ca, "serial number");
    assert_malformed(&with(encode(der::SEQUENCE, &encode(der::INTEGER, &[1]))), &ca, "DER");
    assert!(
        offer(&Crls::default(), &with(entry(&[1], &[critical(REASON, &[0x0a, 1, 1])])).der(), &[&ca]).is_ok()
    );
}

#[test]
fn octets_that_nobody_asked_for_are_refused() {
    let ca = authority("CA");
    assert_malformed(&Odd { trailing: encode(der::SEQUENCE, &[]), ..Odd::of(&ca) }, &ca, "DER");
    let mut der = list(&ca, 1, &[]);
    der.push(0);
    assert!(matches!(offer(&Crls::default(), &der, &[&ca]), Err(CrlError::Malformed(_))));
    let identifier = critical(KEY_IDENTIFIER, &encode(der::INTEGER, &[1]));
    assert_malformed(&Odd::of(&ca).with(identifier), &ca, "DER");
}

#[test]
fn what_is_no_list_is_refused_and_the_one_in_force_stays() {
    let ca = authority("CA");
    let leaf = leaf(&ca);
    let good = list(&ca, 1, &[&leaf]);
    let crls = knowing(std::slice::from_ref(&good), &[&ca]);
    let pem = files::crl_to_pem(&good);
    let truncated = pem.get(..pem.len() / 2).unwrap();
    let page = b"<!DOCTYPE html><title>502 Bad Gateway</title>";
    let certificate = ca.identity().certificate_pem();
    for wrong in [
        b"",
        &page[..],
        truncated.as_bytes(),
        good.get(..good.len() / 2).unwrap(),
        certificate.as_bytes(),
        ca.identity().certificate_der(),
        &vec![b' '; Crls::MAX_BYTES + 1],
    ] {
        assert!(matches!(offer(&crls, wrong, &[&ca]), Err(CrlError::Malformed(_))), "{:?}", wrong.get(..20));
        assert_eq!(says(&crls, &leaf, &ca, NOW), "revoked");
    }
    assert!(offer(&crls, pem.as_bytes(), &[&ca]).is_ok(), "PEM and DER are told apart by content");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_list_with_any_octet_changed_is_not_taken(position in any::<prop::sample::Index>(), change in 1..=255_u8) {
        let ca = authority("CA");
        let mut der = list(&ca, 1, &[&leaf(&ca)]);
        let octet = position.get_mut(&mut der);
        *octet ^= change;
        // what is not refused has another name or key identifier now, and waits for an issuer that there is not
        let crls = Crls::default();
        if offer(&crls, &der, &[&ca]).is_ok() {
            prop_assert!(crls.summaries().iter().all(|summary| summary.issuer_key.is_none()));
        }
    }

    #[test]
    fn any_octets_are_refused_without_a_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let framed = encode(der::SEQUENCE, &octets);
        prop_assert!(Crls::default().offer(&framed, &[], NOW).is_err());
        prop_assert!(list::parse(&encode(der::SEQUENCE, &framed)).is_err());
    }
}
