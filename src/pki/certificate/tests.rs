//! Good certificates by OpenSSL, and hostile ones field by field.

use std::sync::{Arc, LazyLock};

use base64::engine::general_purpose::STANDARD;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage as KeyUsageBuilder, SubjectAlternativeName,
};
use openssl::x509::{X509, X509NameBuilder};
use proptest::prelude::*;

use super::sample::{self, SUBJECT_ALT_NAME, Sample};
use super::*;
use crate::pki::der::encode;

const KEY_USAGE: &str = "2.5.29.15";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";

/// RFC 8705 Appendix A, of version 1.
const APPENDIX_A: &str = "MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAxODEyMzcwOVoXDTIyMDUw\
    MjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9Oyl\
    MbnQZjjJ/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwIDSQAwRgIhAP0RC1E+vwJD/D1AGHGz\
    uri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOVbUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=";

/// One with everything that is read here.
static BY_OPENSSL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let key = ec_key(Nid::X9_62_PRIME256V1);
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("C", "GB").unwrap();
    name.append_entry_by_text("CN", "billing").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_hex_str("00ff01").unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(1_790_000_000).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_str("99991231235959Z").unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build().unwrap()).unwrap();
    let usage = KeyUsageBuilder::new().digital_signature().key_cert_sign().decipher_only().build().unwrap();
    builder.append_extension(usage).unwrap();
    builder.append_extension(ExtendedKeyUsage::new().server_auth().client_auth().build().unwrap()).unwrap();
    let mut alt_names = SubjectAlternativeName::new();
    alt_names.dns("Billing.example").uri("spiffe://example/Billing").ip("192.0.2.1").ip("2001:db8::1");
    let context = builder.x509v3_context(None, None);
    let alt_names = alt_names.email("Ops@example").rid("1.2.3.4").build(&context).unwrap();
    builder.append_extension(alt_names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    builder.build().to_der().unwrap()
});

fn ec_key(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn error(sample: &Sample) -> String {
    Certificate::parse(&sample.der()).unwrap_err().0
}

#[test]
fn what_openssl_writes_is_read() {
    let certificate = Certificate::parse(&BY_OPENSSL).unwrap();
    assert_eq!(certificate.der(), BY_OPENSSL.as_slice());
    assert_eq!(certificate.version(), 3);
    assert_eq!(certificate.serial(), [0x00, 0xff, 0x01]);
    assert_eq!(certificate.subject().to_string(), "CN=billing,C=GB");
    assert_eq!(certificate.subject(), certificate.issuer());
    assert_eq!(certificate.not_before(), Timestamp::from_unix(1_790_000_000));
    assert_eq!(certificate.not_after(), Timestamp::MAX);
    assert!(certificate.is_ca());
    assert_eq!(certificate.key_usage().unwrap().names(), ["digitalSignature", "keyCertSign", "decipherOnly"]);
    assert!(certificate.key_usage().unwrap().digital_signature());
    assert!(certificate.key_usage().unwrap().key_cert_sign());
    assert!(!certificate.key_usage().unwrap().crl_sign());
    assert_eq!(certificate.extended_key_usage().unwrap(), ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
    assert!(certificate.allows_client_auth());
    assert_eq!(
        certificate.alt_names(),
        [
            AltName::Dns("Billing.example".into()),
            AltName::Uri("spiffe://example/Billing".into()),
            AltName::Ip("192.0.2.1".parse().unwrap()),
            AltName::Ip("2001:db8::1".parse().unwrap()),
            AltName::Email("Ops@example".into()),
            AltName::Other("registeredID"),
        ]
    );
    assert_eq!(certificate.key_description(), "EC P-256");
    let by_openssl = X509::from_der(&BY_OPENSSL).unwrap();
    assert_eq!(certificate.public_key(), by_openssl.public_key().unwrap().public_key_to_der().unwrap());
    assert_eq!(certificate.key_hash(), openssl::sha::sha256(certificate.public_key()));
    assert_eq!(certificate.thumbprint().as_bytes(), &openssl::sha::sha256(&BY_OPENSSL));
}

#[test]
fn the_example_of_rfc_8705_parses_and_has_its_thumbprint() {
    let certificate = Certificate::parse(&STANDARD.decode(APPENDIX_A).unwrap()).unwrap();
    assert_eq!(certificate.version(), 1);
    assert_eq!(certificate.thumbprint().to_string(), "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0");
    assert_eq!(certificate.subject().to_string(), "CN=mtls");
    assert!(!certificate.is_ca());
    assert_eq!(certificate.key_usage(), None);
    assert_eq!(certificate.extended_key_usage(), None);
    assert!(certificate.allows_client_auth());
    assert!(certificate.alt_names().is_empty());
}

#[test]
fn a_certificate_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync + 'static>(_: &T) {}
    shareable(&Arc::new(Sample::new().certificate()));
}

#[test]
fn octets_that_follow_or_are_missing_make_it_malformed() {
    let good = Sample::new();
    let mut longer = good.der();
    longer.push(0);
    assert_eq!(Certificate::parse(&longer).unwrap_err().0, "1 octets follow the certificate");
    for end in 0..good.der().len() {
        assert!(Certificate::parse(&good.der()[..end]).is_err(), "{end}");
    }
    let inside = Sample { trailing: encode(0x04, b"more"), ..good.clone() };
    assert!(Certificate::parse(&inside.der()).is_err());
    let inside = Sample { trailing: encode(0x04, b"more"), ..good.with(BASIC_CONSTRAINTS, vec![0x30, 0]) };
    assert!(Certificate::parse(&inside.der()).is_err());
    let mut subject = sample::common_name("sample");
    let value_with_more = [subject.split_off(2), encode(0x04, b"more")].concat();
    assert!(Certificate::parse(&Sample::subject(encode(der::SEQUENCE, &value_with_more)).der()).is_err());
}

#[test]
fn versions_other_than_1_2_and_3_and_extensions_before_3_are_refused() {
    for (version, read) in [(None, 1), (Some(0), 1), (Some(1), 2), (Some(2), 3)] {
        assert_eq!(Sample { version, ..Sample::new() }.certificate().version(), read);
    }
    assert!(error(&Sample { version: Some(3), ..Sample::new() }).contains("unknown version"));
    let early = Sample { version: None, ..Sample::new().with(BASIC_CONSTRAINTS, vec![0x30, 0]) };
    assert!(error(&early).contains("not of version 3"));
}

#[test]
fn any_serial_is_kept_as_its_octets_but_the_empty_one() {
    for serial in [vec![0], vec![0x80], vec![0, 0x80], vec![0xff; 21], vec![7; 3000]] {
        assert_eq!(Sample { serial: serial.clone(), ..Sample::new() }.certificate().serial(), serial);
    }
    assert!(error(&Sample { serial: Vec::new(), ..Sample::new() }).contains("serial"));
}

#[test]
fn dates_do_not_wrap() {
    for (tag, text, seconds) in [
        (0x17, &b"491231235959Z"[..], 2_524_607_999),
        (0x17, b"500101000000Z", -631_152_000),
        (0x18, b"19490101000000Z", -662_688_000),
        (0x18, b"99991231235959Z", 253_402_300_799),
    ] {
        let validity = [encode(tag, text), encode(tag, text)];
        let certificate = Sample { validity, ..Sample::new() }.certificate();
        assert_eq!(certificate.not_before().as_unix(), seconds);
        assert_eq!(certificate.not_after().as_unix(), seconds);
    }
    for text in [&b"261301000000Z"[..], b"260230000000Z", b"26010100000", b"", b"-60101000000Z"] {
        let validity = [encode(0x17, text), encode(0x17, text)];
        let der = Sample { validity, ..Sample::new() }.der();
        assert!(Certificate::parse(&der).is_err(), "{text:?}");
        // A handshake that ended here could never become the `invalid_client` that says why.
        assert_eq!(public_key_of(&der), public_key_of(&Sample::new().der()), "{text:?}");
        assert!(public_key_of(&der).is_some());
    }
}

#[test]
fn an_extension_that_occurs_twice_makes_it_malformed() {
    for oid in [SUBJECT_ALT_NAME, "1.2.3.4"] {
        let value = encode(der::SEQUENCE, &encode(sample::DNS_NAME, b"a.example"));
        let twice = Sample::new().with(oid, value.clone()).with(oid, value);
        assert_eq!(error(&twice), format!("the extension {oid} occurs twice"));
    }
}

#[test]
fn an_extension_that_does_not_decode_makes_it_malformed() {
    let dns = encode(sample::DNS_NAME, b"a.example");
    let cases: Vec<(&'static str, Vec<u8>)> = vec![
        (BASIC_CONSTRAINTS, vec![]),
        (BASIC_CONSTRAINTS, vec![0x30, 3, 1, 1, 1]),
        (BASIC_CONSTRAINTS, vec![0x30, 0, 0]),
        (BASIC_CONSTRAINTS, vec![0x30, 2, 5, 0]),
        (KEY_USAGE, vec![3, 0]),
        (KEY_USAGE, vec![3, 2, 8, 0]),
        (KEY_USAGE, vec![3, 2, 1, 1]),
        (KEY_USAGE, vec![3, 1, 1]),
        (KEY_USAGE, vec![3, 4, 0, 0, 0, 0]),
        (EXTENDED_KEY_USAGE, vec![0x30, 0]),
        (EXTENDED_KEY_USAGE, vec![0x30, 2, 6, 0]),
        (EXTENDED_KEY_USAGE, vec![0x30, 2, 5, 0]),
        (SUBJECT_ALT_NAME, vec![0x30, 0]),
        (SUBJECT_ALT_NAME, [encode(der::SEQUENCE, &dns), vec![0]].concat()),
        (SUBJECT_ALT_NAME, encode(der::SEQUENCE, &[dns.clone(), vec![0x82]].concat())),
        (SUBJECT_ALT_NAME, encode(der::SEQUENCE, &encode(0x89, b"a"))),
        (SUBJECT_ALT_NAME, encode(der::SEQUENCE, &encode(0xa2, b"a"))),
        (SUBJECT_ALT_NAME, encode(der::SEQUENCE, &encode(0x16, b"a"))),
        (SUBJECT_ALT_NAME, encode(der::SEQUENCE, &encode(sample::OTHER_NAME, b"a"))),
        (SUBJECT_ALT_NAME, encode(der::SET, &dns)),
    ];
    for (oid, value) in cases {
        let message = error(&Sample::new().with(oid, value.clone()));
        assert!(message.ends_with("is malformed"), "{oid} {value:02x?}: {message}");
    }
}

#[test]
fn usages_that_cas_write_sloppily_are_read() {
    for (value, is_ca) in [
        (vec![0x30, 0], false),
        (vec![0x30, 3, 1, 1, 0], false),
        (vec![0x30, 3, 1, 1, 0xff], true),
        (vec![0x30, 6, 1, 1, 0xff, 2, 1, 0], true),
    ] {
        assert_eq!(Sample::new().with(BASIC_CONSTRAINTS, value).certificate().is_ca(), is_ca);
    }
    for (value, names) in [
        (vec![3, 2, 7, 0x80], vec!["digitalSignature"]),
        (vec![3, 2, 0, 0x80], vec!["digitalSignature"]),
        (vec![3, 2, 1, 6], vec!["keyCertSign", "cRLSign"]),
        (vec![3, 3, 7, 0, 0x80], vec!["decipherOnly"]),
        (vec![3, 1, 0], vec![]),
    ] {
        let certificate = Sample::new().with(KEY_USAGE, value).certificate();
        assert_eq!(certificate.key_usage().unwrap().names(), names);
    }
}

#[test]
fn client_authentication_must_be_named_where_purposes_are() {
    let purposes = |oids: &[&str]| {
        let oids: Vec<u8> = oids.iter().flat_map(|oid| sample::object_identifier(oid)).collect();
        Sample::new().with(EXTENDED_KEY_USAGE, encode(der::SEQUENCE, &oids)).certificate()
    };
    assert!(Sample::new().certificate().allows_client_auth());
    assert!(purposes(&["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]).allows_client_auth());
    assert!(!purposes(&["1.3.6.1.5.5.7.3.1"]).allows_client_auth());
    assert!(!purposes(&["2.5.29.37.0"]).allows_client_auth());
}

#[test]
fn alternative_names_that_cannot_be_compared_are_told_apart() {
    let directory_name = sample::common_name("a.example");
    let other_name = [sample::object_identifier("1.2.3"), encode(0xa0, &encode(0x0c, b"a.example"))].concat();
    let certificate = Sample::alt_names(&[
        (sample::DNS_NAME, b"good.example\0.evil.example"),
        (sample::DNS_NAME, b""),
        (sample::DNS_NAME, b"a b.example"),
        (sample::DNS_NAME, "ü.example".as_bytes()),
        (sample::DNS_NAME, b"\xff\xfe"),
        (sample::URI, b"https://a\n"),
        (sample::RFC822_NAME, b"a@b\x7f"),
        (sample::IP_ADDRESS, &[192, 0, 2, 1, 255, 255, 255, 0]),
        (sample::IP_ADDRESS, &[0; 32]),
        (sample::IP_ADDRESS, &[]),
        (sample::DIRECTORY_NAME, &directory_name),
        (sample::OTHER_NAME, &other_name),
        (0xa3, b""),
        (0xa5, b""),
    ])
    .certificate();
    let kinds: Vec<&str> = certificate
        .alt_names()
        .iter()
        .map(|name| if let AltName::Other(kind) = name { *kind } else { "comparable" })
        .collect();
    assert_eq!(kinds[..5], ["malformed dNSName"; 5]);
    assert_eq!(kinds[5..7], ["malformed uniformResourceIdentifier", "malformed rfc822Name"]);
    assert_eq!(kinds[7..10], ["malformed iPAddress"; 3]);
    assert_eq!(kinds[10..], ["directoryName", "otherName", "x400Address", "ediPartyName"]);
}

#[test]
fn a_key_is_described_by_its_kind_and_size() {
    let describe = |key: &PKey<Private>| public_key::describe(&key.public_key_to_der().unwrap());
    for (curve, description) in [
        (Nid::X9_62_PRIME256V1, "EC P-256"),
        (Nid::SECP384R1, "EC P-384"),
        (Nid::SECP521R1, "EC P-521"),
        (Nid::SECP256K1, "EC secp256k1"),
        (Nid::BRAINPOOL_P256R1, "EC brainpoolP256r1"),
    ] {
        assert_eq!(describe(&ec_key(curve)), description);
    }
    assert_eq!(describe(&PKey::generate_ed25519().unwrap()), "Ed25519");
    assert_eq!(describe(&PKey::generate_ed448().unwrap()), "Ed448");
    let rsa = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    assert_eq!(describe(&rsa), "RSA 1024");

    let spki = |algorithm: &[Vec<u8>], key: &[u8]| {
        let key = encode(der::BIT_STRING, &[&[0], key].concat());
        encode(der::SEQUENCE, &[encode(der::SEQUENCE, &algorithm.concat()), key].concat())
    };
    let modulus = encode(der::INTEGER, &[&[0, 0xff][..], &[1; 255]].concat());
    let rsa_key = encode(der::SEQUENCE, &[modulus.clone(), encode(der::INTEGER, &[3])].concat());
    let rsa_pss = sample::object_identifier("1.2.840.113549.1.1.10");
    assert_eq!(public_key::describe(&spki(&[rsa_pss], &rsa_key)), "RSA-PSS 2048");
    let dsa = sample::object_identifier("1.2.840.10040.4.1");
    assert_eq!(public_key::describe(&spki(&[dsa.clone(), encode(der::SEQUENCE, &modulus)], b"")), "DSA 2048");
    assert_eq!(public_key::describe(&spki(&[dsa], b"")), "DSA");
    let ec = sample::object_identifier("1.2.840.10045.2.1");
    let explicit = encode(der::SEQUENCE, b"");
    assert_eq!(public_key::describe(&spki(&[ec.clone(), explicit], b"")), "EC with explicit parameters");
    let unknown = sample::object_identifier("1.2.3.4");
    assert_eq!(public_key::describe(&spki(&[ec, unknown.clone()], b"")), "EC 1.2.3.4");
    assert_eq!(public_key::describe(&spki(&[unknown], b"")), "1.2.3.4");
    assert_eq!(public_key::describe(b"\x30\x00"), "unreadable");
}

#[test]
fn a_thumbprint_has_one_text_and_reads_two() {
    let thumbprint = Thumbprint::of(b"abc");
    let text = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(thumbprint.to_string(), text);
    assert_eq!(Thumbprint::from_bytes(*thumbprint.as_bytes()), thumbprint);
    for text in [text, hex, &hex.to_uppercase()] {
        assert_eq!(text.parse(), Ok(thumbprint));
    }
    for refused in [
        "",
        "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa1", // a set bit behind the last octet
        "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0=",
        "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0",
        "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa",
        " ngWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0",
        "ba:78:16:bf:8f:01:cf:ea:41:41:40:de:5d:ae:22:23:b0:03:61:a3:96:17:7a:9c:b4:10:ff:61:f2:00:15:ad",
        "ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "+a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "éa7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
    ] {
        assert_eq!(refused.parse::<Thumbprint>(), Err(ThumbprintError), "{refused}");
    }
}

#[test]
fn a_chain_is_bounded_and_only_its_leaf_is_judged() {
    let leaf = Sample::new().der();
    let chain = Chain::parse(&[leaf.clone(), b"no certificate".to_vec()], 2).unwrap();
    assert_eq!(chain.leaf.der(), leaf);
    assert_eq!(chain.intermediates, [b"no certificate"]);
    assert!(Chain::parse(&[], 16).is_err());
    assert!(Chain::parse(&[leaf.clone(), leaf.clone()], 1).is_err());
    assert!(Chain::parse(&[leaf.clone(), vec![0; Chain::MAX_BYTES - leaf.len()]], 2).is_ok());
    assert!(Chain::parse(&[leaf.clone(), vec![0; Chain::MAX_BYTES - leaf.len() + 1]], 2).is_err());
    let large = Sample { serial: vec![1; Chain::MAX_BYTES], ..Sample::new() };
    assert!(error(&large).contains("64 KiB"));
}

#[test]
fn debug_output_names_it_in_one_line() {
    let text = format!("{:?}", Sample::new().certificate());
    assert!(text.contains("CN=sample") && text.len() < 150, "{text}");
}

proptest! {
    #[test]
    fn a_mutated_certificate_never_panics_and_keeps_its_octets(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut der = BY_OPENSSL.clone();
        for (at, octet) in changes {
            let at = at.index(der.len());
            der[at] = octet;
        }
        if let Some(cut) = cut {
            der.truncate(cut.index(der.len()));
        }
        if let Ok(certificate) = Certificate::parse(&der) {
            prop_assert_eq!(certificate.der(), der.as_slice());
            prop_assert_eq!(certificate.thumbprint(), Thumbprint::of(&der));
            let texts = [certificate.subject().to_string(), certificate.issuer().to_string(), certificate.key_description()];
            prop_assert!(texts.iter().all(|text| !text.contains(char::is_control)));
        }
    }

    #[test]
    fn any_octets_parse_or_fail_without_a_panic(der in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Certificate::parse(&der).is_err());
    }
}
