//! Certificates made to be expensive, or to mean two things. None has to be signed by anybody: they come before trust.

use std::time::{Duration, Instant};

use openssl::asn1::Asn1Type;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcPoint, PointConversionForm};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::rsa::Rsa;
use openssl::x509::X509Name;

use super::forge::{Criticality, common_name, ec_key, plain_ca};
use super::names::{DIRECTORY, DNS, EMAIL, EXCLUDED, NAME_CONSTRAINTS, PERMITTED, constraints};
use super::*;
use crate::pki::certificate::sample::{Sample, common_name as encoded_common_name};
use crate::pki::der::{self, encode};

/// What one certificate may cost in a build that is not optimised, on a machine that is not idle.
const AT_MOST: Duration = Duration::from_secs(2);

fn rsa(modulus: &[u8], exponent: &[u8]) -> PKey<Public> {
    let number = |octets| BigNum::from_slice(octets).unwrap();
    let key = Rsa::from_public_components(number(modulus), number(exponent)).unwrap();
    PKey::from_rsa(key).unwrap()
}

/// Odd and of this many octets, of no known factors.
fn modulus(octets: usize) -> Vec<u8> {
    let mut modulus = vec![0; octets];
    openssl::rand::rand_bytes(&mut modulus).unwrap();
    modulus[0] |= 0x80;
    modulus[octets - 1] |= 1;
    modulus
}

#[test]
fn a_key_that_costs_more_than_it_proves_is_refused_before_it_is_used() {
    let ca = plain_ca("CA").self_signed();
    let begin = Instant::now();
    for (key, what) in [
        (rsa(&modulus(2048), &[1, 0, 1]), "16384 bits"),
        (rsa(&modulus(128), &[1, 0, 1]), "1024 bits"),
        (rsa(&modulus(256), &[0xff; 512]), "exponent"),
        (rsa(&modulus(256), &[1]), "exponent"),
        (rsa(&modulus(256), &[4]), "exponent"),
        (rsa(&[&modulus(255)[..], &[0]].concat(), &[1, 0, 1]), "even"),
    ] {
        let error = verdict(&[&ca], &[&make("leaf").certifies(key).by(&ca)]).unwrap_err();
        assert_eq!(error.kind, TrustErrorKind::WeakKey, "{what}: {}", error.detail);
    }
    let smallest = make("leaf").certifies(rsa(&modulus(256), &[3])).by(&ca);
    assert_eq!(kind(&[&ca], &[&smallest]), None, "an exponent of 3 is what some devices have");
    assert!(begin.elapsed() < AT_MOST, "{:?}", begin.elapsed());
}

#[test]
fn a_point_that_is_on_no_known_curve_is_refused() {
    let ca = plain_ca("CA").self_signed();
    let leaf = make("leaf").by(&ca);
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let mut context = BigNumContext::new().unwrap();
    let key = leaf.certificate.public_key().unwrap().ec_key().unwrap();
    let point = key.public_key().to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context).unwrap();
    let off_the_curve = [&point[..64], &[point[64] ^ 1]].concat();
    assert!(EcPoint::from_bytes(&group, &off_the_curve, &mut context).is_err());
    let infinity = [&[0][..], &[0; 64]].concat();
    for other in [off_the_curve, infinity] {
        let der = replaced(&leaf.der(), &point, &other);
        let Ok(chain) = Chain::parse(&[der], 1) else { continue };
        let error = set(&[&ca], Profile::Compatible).verify_path(&chain, Purpose::Client, NOW).unwrap_err();
        let expected = [TrustErrorKind::Malformed, TrustErrorKind::Untrusted, TrustErrorKind::WeakKey];
        assert!(expected.contains(&error.kind), "{error:?}");
    }
    let small = make("leaf").key(ec_key(Nid::X9_62_PRIME192V1)).by(&ca);
    assert_eq!(kind(&[&ca], &[&small]), Some(TrustErrorKind::WeakKey), "P-192");
}

/// The same octets with the only occurrence of `old` replaced.
fn replaced(octets: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut found: Vec<_> = octets.windows(old.len()).enumerate().filter(|(_, at)| *at == old).collect();
    let (at, _) = found.pop().unwrap();
    assert!(found.is_empty(), "it occurs twice");
    [&octets[..at], new, &octets[at + old.len()..]].concat()
}

#[test]
fn a_signature_that_is_none_or_says_two_things_is_refused() {
    let ca = plain_ca("CA").self_signed();
    let good = make("leaf").by(&ca);
    let der = good.der();
    let trusted = set(&[&ca], Profile::Compatible);
    let refused = |der: Vec<u8>, what: &str| {
        let Ok(chain) = Chain::parse(&[der], 1) else { return };
        assert!(trusted.verify_path(&chain, Purpose::Client, NOW).is_err(), "{what}");
    };
    // The algorithm outside of what is signed, ecdsa-with-SHA256, made ecdsa-with-SHA384: no signature covers it.
    let sha256 = der::Oid::from_dotted("1.2.840.10045.4.3.2").unwrap();
    let outside = (0..der.len()).rfind(|&at| der[at..].starts_with(sha256.content())).unwrap();
    let mut changed = der.clone();
    changed[outside + sha256.content().len() - 1] = 3;
    refused(changed, "two algorithms");
    let signature = good.certificate.signature().as_slice().to_vec();
    refused(replaced(&der, &signature, &vec![0; signature.len()]), "zeros");
    let none = der[..der.len() - signature.len()].to_vec();
    refused(none, "cut off");
}

#[test]
fn lengths_and_forms_that_are_not_der_are_refused() {
    let good = Sample::new().der();
    let indefinite = [&[0x30, 0x80][..], &good[4..], &[0, 0]].concat();
    let long_length = [&[0x30, 0x83, 0][..], &good[2..]].concat();
    let deep = (0..30_000).fold(Vec::new(), |inner: Vec<u8>, _| {
        if inner.len() < 60_000 { encode(der::SEQUENCE, &inner) } else { inner }
    });
    for (what, octets) in [
        ("indefinite length", indefinite),
        ("a length that is not minimal", long_length),
        ("nesting without end", deep),
        ("a length beyond its octets", vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
    ] {
        assert!(Certificate::parse(&octets).is_err(), "{what}");
    }
    let fraction = encode(0x18, b"20260101000000.123456789012Z");
    let odd = Sample { validity: [fraction.clone(), fraction], ..Sample::new() };
    assert!(Certificate::parse(&odd.der()).is_err(), "fractions of a second (RFC 5280 §4.1.2.5.2)");
}

#[test]
fn thousands_of_names_under_a_constraint_end_quickly() {
    let der = constraints(EXCLUDED, DNS, b"example.org");
    let ca = plain_ca("CA").raw(NAME_CONSTRAINTS, Criticality::Critical, &der).self_signed();
    let names: Vec<String> = (0..4000).map(|number| format!("n{number}.example")).collect();
    let leaf = make("leaf").dns(&names.iter().map(String::as_str).collect::<Vec<_>>()).by(&ca);
    let begin = Instant::now();
    assert_eq!(kind(&[&ca], &[&leaf]), None);
    assert!(begin.elapsed() < AT_MOST, "{:?}", begin.elapsed());
    let too_large = make("leaf").dns(&vec!["a-name-of-some-length.example"; 4000]).by(&ca);
    assert!(Chain::parse(&[too_large.der()], 1).is_err(), "64 KiB are enough for anybody");
}

#[test]
fn an_e_mail_constraint_binds_the_address_in_the_subject() {
    let subject = |address: &str| {
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_nid_with_type(Nid::PKCS9_EMAILADDRESS, address, Asn1Type::IA5STRING).unwrap();
        name.build()
    };
    let der = constraints(PERMITTED, EMAIL, b"example.com");
    let ca = plain_ca("CA").raw(NAME_CONSTRAINTS, Criticality::Critical, &der).self_signed();
    let below = |address| verdict(&[&ca], &[&make("leaf").subject(subject(address)).by(&ca)]).is_ok();
    assert!(below("ops@example.com"));
    assert!(!below("ops@example.org"));
}

#[test]
fn a_directory_constraint_binds_the_subject() {
    let name = common_name("leaf", Asn1Type::UTF8STRING).to_der().unwrap();
    let limited = |list| {
        let der = constraints(list, DIRECTORY, &name);
        plain_ca("CA").raw(NAME_CONSTRAINTS, Criticality::Critical, &der).self_signed()
    };
    let below = |ca: &Made, cn| verdict(&[ca], &[&make(cn).by(ca)]).is_ok();
    let (permitted, excluded) = (limited(PERMITTED), limited(EXCLUDED));
    assert!(below(&permitted, "leaf") && !below(&permitted, "other"));
    assert!(!below(&excluded, "leaf") && below(&excluded, "other"), "excluded beats permitted");
    assert_eq!(encoded_common_name("leaf"), name, "both write the same");
}
