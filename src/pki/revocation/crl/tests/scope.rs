//! issuingDistributionPoint: which certificates of its issuer a list speaks of.

use openssl::asn1::{Asn1Object, Asn1OctetString};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509Extension};

use super::forge::{DISTRIBUTION_POINT, Odd, critical, entry};
use super::*;
use crate::pki::der::{self, encode};

const URL: &[u8] = b"http://crl.example.com/1.crl";
const OTHER_URL: &[u8] = b"http://crl.example.com/2.crl";

/// `[0] { [0] { [6] url } }`.
fn point(url: &[u8]) -> Vec<u8> {
    encode(0xa0, &encode(0xa0, &encode(0x86, url)))
}

fn scoped(ca: &Authority, content: &[u8]) -> Odd {
    Odd::of(ca).with(critical(DISTRIBUTION_POINT, &encode(der::SEQUENCE, content)))
}

/// A leaf whose cRLDistributionPoints has these points.
fn leaf_with(ca: &Authority, points: &[&[u8]]) -> Certificate {
    let points = points.iter().map(|point| encode(der::SEQUENCE, point)).collect::<Vec<_>>().concat();
    let value = Asn1OctetString::new_from_bytes(&encode(der::SEQUENCE, &points)).unwrap();
    let oid = Asn1Object::from_str("2.5.29.31").unwrap();
    let plain = X509::from_der(leaf(ca).der()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(plain.serial_number()).unwrap();
    builder.set_subject_name(plain.subject_name()).unwrap();
    builder.set_issuer_name(plain.issuer_name()).unwrap();
    builder.set_not_before(plain.not_before()).unwrap();
    builder.set_not_after(plain.not_after()).unwrap();
    builder.set_pubkey(&plain.public_key().unwrap()).unwrap();
    builder.append_extension(X509Extension::new_from_der(&oid, false, &value).unwrap()).unwrap();
    let key = PKey::private_key_from_pkcs8(&ca.identity().key_der()).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    Certificate::parse(&builder.build().to_der().unwrap()).unwrap()
}

#[test]
fn a_list_about_end_entities_says_nothing_of_cas_and_the_other_way_round() {
    let root = authority("root");
    let leaf = leaf(&root);
    let issuing = certificate(root.intermediate(&template("issuing")).unwrap().identity());
    let uncovered = "no CRL of CN=root covers this certificate";
    let of_leaves = knowing(&[scoped(&root, &[0x81, 1, 0xff]).der()], &[&root]);
    assert_eq!(says(&of_leaves, &leaf, &root, NOW), "good");
    assert_eq!(says(&of_leaves, &issuing, &root, NOW), uncovered);
    let of_cas = scoped(&root, &[0x82, 1, 0xff]).revoking(&[entry(issuing.serial(), &[])]);
    let only_cas = knowing(&[of_cas.der()], &[&root]);
    assert_eq!(says(&only_cas, &leaf, &root, NOW), uncovered);
    assert_eq!(says(&only_cas, &issuing, &root, NOW), "revoked");
    // both stand side by side, each with numbers of its own
    offer(
        &of_leaves,
        &of_cas.number(&[3]).with(critical(DISTRIBUTION_POINT, &[0x30, 3, 0x82, 1, 0xff])).der(),
        &[&root],
    )
    .unwrap();
    assert_eq!(says(&of_leaves, &leaf, &root, NOW), "good");
    assert_eq!(says(&of_leaves, &issuing, &root, NOW), "revoked");
}

#[test]
fn a_part_of_a_list_covers_the_certificates_that_name_its_distribution_point() {
    let ca = authority("CA");
    let uncovered = "no CRL of CN=CA covers this certificate";
    let crls = knowing(&[scoped(&ca, &point(URL)).der()], &[&ca]);
    let status = |points: &[&[u8]]| says(&crls, &leaf_with(&ca, points), &ca, NOW);
    assert_eq!(status(&[&point(URL)]), "good");
    assert_eq!(status(&[&point(OTHER_URL), &point(URL)]), "good", "one of two is enough");
    assert_eq!(status(&[&point(OTHER_URL)]), uncovered);
    assert_eq!(says(&crls, &leaf(&ca), &ca, NOW), uncovered, "a certificate that names none");
    let for_some_reasons = [point(URL), encode(0x81, &[1, 2])].concat();
    let of_another_issuer = [point(URL), encode(0xa2, &[])].concat();
    assert_eq!(status(&[&for_some_reasons]), uncovered);
    assert_eq!(status(&[&of_another_issuer]), uncovered);
    assert_eq!(status(&[&[0xff]]), uncovered, "what cannot be read names none");
    // a complete list covers it whatever it names
    let complete = knowing(&[list(&ca, 1, &[])], &[&ca]);
    assert_eq!(says(&complete, &leaf_with(&ca, &[&point(OTHER_URL)]), &ca, NOW), "good");
}

#[test]
fn parts_of_a_list_stand_side_by_side() {
    let ca = authority("CA");
    let (one, other) = (leaf_with(&ca, &[&point(URL)]), leaf_with(&ca, &[&point(OTHER_URL)]));
    let part =
        |url, revoked: &Certificate| scoped(&ca, &point(url)).revoking(&[entry(revoked.serial(), &[])]).der();
    let crls = knowing(&[part(URL, &one), part(OTHER_URL, &one)], &[&ca]);
    assert_eq!(crls.summaries().len(), 2);
    assert_eq!(says(&crls, &one, &ca, NOW), "revoked");
    assert_eq!(says(&crls, &other, &ca, NOW), "good");
}

#[test]
fn scopes_that_are_not_understood_are_refused() {
    let ca = authority("CA");
    let relative = encode(0xa0, &encode(0xa1, &[]));
    for (content, about) in [
        (&[0x83, 2, 1, 2][..], "reasons"),
        (&[0x84, 1, 0xff], "indirect"),
        (&[0x85, 1, 0xff], "attribute"),
        (&relative, "relative"),
    ] {
        match offer(&Crls::default(), &scoped(&ca, content).der(), &[&ca]) {
            Err(CrlError::Unsupported(what)) => assert!(what.contains(about), "{what}"),
            other => panic!("{about}: {other:?}"),
        }
    }
    let nameless = encode(0xa0, &encode(0xa0, &[]));
    for content in
        [&[][..], &[0x81, 1, 0xff, 0x82, 1, 0xff], &[0x82, 1, 0xff, 0x81, 1, 0xff], &[0x81, 1, 1], &nameless]
    {
        let refused = offer(&Crls::default(), &scoped(&ca, content).der(), &[&ca]);
        assert!(matches!(refused, Err(CrlError::Malformed(_))), "{content:02x?}: {refused:?}");
    }
}
