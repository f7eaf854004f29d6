//! Files of every form, whole and broken.

use openssl::nid::Nid;
use openssl::provider::Provider;
use openssl::symm::Cipher;
use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::pki::workshop::{Authority, Identity, KeyKind, Template};

fn template(cn: &str) -> Template {
    Template::new(cn, Timestamp::from_unix(1_790_000_000), Timestamp::from_unix(1_800_000_000))
}

fn identity() -> Identity {
    Identity::self_signed(&template("a")).unwrap()
}

fn error(bytes: &[u8], password: Option<&str>) -> FileError {
    read(bytes, password).err().unwrap()
}

#[test]
fn pem_may_hold_several_with_text_around_them() {
    let (one, two) = (identity(), identity());
    let text = format!(
        "# my certificates\r\n{}\nsubject=CN = a\n{}{}",
        one.certificate_pem().replace('\n', "\r\n"),
        two.certificate_pem(),
        one.key_pem().as_str()
    );
    let bundle = read(text.as_bytes(), None).unwrap();
    assert_eq!(bundle.certificates, [one.certificate_der(), two.certificate_der()]);
    assert_eq!(bundle.key, Some(one.key_der()));
}

#[test]
fn der_is_told_apart_by_content() {
    let identity = identity();
    let bundle = read(identity.certificate_der(), None).unwrap();
    assert_eq!((bundle.certificates.len(), bundle.key.is_none()), (1, true));
    let bundle = read(&identity.key_der(), None).unwrap();
    assert_eq!((bundle.certificates.len(), bundle.key), (0, Some(identity.key_der())));
    let mut trailing = identity.certificate_der().to_vec();
    trailing.push(0);
    assert!(matches!(error(&trailing, None), FileError::Malformed(_)));
}

#[test]
fn every_form_of_an_unencrypted_key_is_read() {
    let ec = openssl::ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)
        .and_then(|group| openssl::ec::EcKey::generate(&group))
        .unwrap();
    let expected = PKey::from_ec_key(ec.clone()).unwrap().private_key_to_pkcs8().unwrap();
    let with_parameters = [
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n".as_slice(),
        &ec.private_key_to_pem().unwrap(),
    ]
    .concat();
    assert_eq!(read(&with_parameters, None).unwrap().key.unwrap().as_slice(), expected);
    let rsa = openssl::rsa::Rsa::generate(2048).unwrap();
    let traditional = rsa.private_key_to_pem().unwrap();
    assert!(traditional.starts_with(b"-----BEGIN RSA PRIVATE KEY"));
    assert!(read(&traditional, None).unwrap().key.is_some());
}

#[test]
fn an_encrypted_key_needs_its_password() {
    let key = PKey::generate_ed25519().unwrap();
    let modern = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"right").unwrap();
    let rsa = openssl::rsa::Rsa::generate(2048).unwrap();
    let old = rsa.private_key_to_pem_passphrase(Cipher::aes_128_cbc(), b"right").unwrap();
    for pem in [modern, old] {
        assert!(read(&pem, Some("right")).unwrap().key.is_some());
        assert_eq!(error(&pem, Some("wrong")), FileError::Password);
        assert_eq!(error(&pem, None), FileError::Password);
        assert_eq!(error(&pem, Some(&"long".repeat(1000))), FileError::Password);
    }
}

#[test]
fn pkcs12_opens_with_its_password_leaf_first() {
    let ca = Authority::new(&template("CA")).unwrap();
    let leaf = ca.issue(&Template { key: KeyKind::Ed25519, ..template("leaf") }).unwrap();
    let chain = [ca.identity().certificate_der().to_vec()];
    let archive = leaf.to_pkcs12(&chain, "right").unwrap();
    let bundle = read(&archive, Some("right")).unwrap();
    assert_eq!(bundle.certificates, [leaf.certificate_der(), ca.identity().certificate_der()]);
    assert_eq!(bundle.key, Some(leaf.key_der()));
    for wrong in [None, Some("wrong"), Some("ri\0ght")] {
        assert_eq!(error(&archive, wrong), FileError::Password);
    }
    assert!(read(&leaf.to_pkcs12(&chain, "").unwrap(), None).is_ok());
    assert!(leaf.to_pkcs12(&chain, "ri\0ght").is_err());
}

#[test]
fn an_old_cipher_is_named_with_the_line_that_converts_it() {
    let certificate = X509::from_der(identity().certificate_der()).unwrap();
    let archive = {
        // the provider that still has RC2, for as long as it takes to make such a file
        let Ok(_legacy) = Provider::try_load(None, "legacy", true) else { return };
        let mut builder = Pkcs12::builder();
        builder.cert(&certificate).cert_algorithm(Nid::PBE_WITHSHA1AND40BITRC2_CBC);
        builder.build2("right").unwrap().to_der().unwrap()
    };
    assert!(matches!(error(&archive, Some("right")), FileError::OldCipher(line) if line.contains("-legacy")));
}

#[test]
fn what_is_no_certificate_file_is_told_from_what_is_broken() {
    for nothing in ["", "# only comments\n", "0123 begins like DER", "<html></html>"] {
        assert_eq!(error(nothing.as_bytes(), None), FileError::Nothing, "{nothing}");
    }
    let identity = identity();
    let pem = identity.certificate_pem();
    let trusted = pem.replace("BEGIN CERT", "BEGIN TRUSTED CERT").replace("END CERT", "END TRUSTED CERT");
    for broken in [
        pem.replace("-----END CERTIFICATE-----", ""),
        pem.replace("END CERTIFICATE", "END X509 CRL"),
        pem.replace("MII", "M*I").replace("MIIB", "M*IB"),
        trusted,
        format!("{}{}", identity.key_pem().as_str(), identity.key_pem().as_str()),
    ] {
        assert!(matches!(error(broken.as_bytes(), None), FileError::Malformed(_)), "{broken}");
    }
    let truncated = identity.certificate_der().get(..200).unwrap();
    assert!(matches!(error(truncated, None), FileError::Malformed(_)));
    assert!(matches!(error(&vec![b' '; MAX_FILE + 1], None), FileError::Malformed(_)));
}

#[test]
fn a_file_of_certificates_has_no_private_key_and_one_has_one() {
    let identity = identity();
    let pem = identity.certificate_pem();
    let both = format!("{pem}{}", identity.key_pem().as_str());
    assert_eq!(certificates(both.as_bytes()).err(), Some(FileError::PrivateKey));
    assert_eq!(certificates(identity.key_pem().as_bytes()).err(), Some(FileError::PrivateKey));
    let double = format!("{pem}{pem}");
    assert_eq!(certificates(double.as_bytes()).unwrap().len(), 2);
    assert_eq!(one_certificate(double.as_bytes()).err(), Some(FileError::NotOne(2)));
    assert!(one_certificate(pem.as_bytes()).is_ok());
}

#[test]
fn a_key_matches_its_own_certificate_only() {
    let (one, two) = (identity(), identity());
    assert!(key_matches(one.certificate_der(), &one.key_der()));
    assert!(!key_matches(one.certificate_der(), &two.key_der()));
    assert!(!key_matches(b"no certificate", b"no key"));
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), password in ".{0,8}") {
        let _ = read(&bytes, Some(&password));
        let _ = read(&[&[0x30, 0x82, 0x01, 0x00][..], &bytes].concat(), None);
        let pem = [b"-----BEGIN CERTIFICATE-----\n".as_slice(), &bytes].concat();
        let _ = read(&pem, None);
    }

    #[test]
    fn what_is_written_as_pem_reads_back(bytes in prop::collection::vec(any::<u8>(), 1..300)) {
        let text = to_pem(&bytes);
        prop_assert!(text.lines().all(|line| line.len() <= 64));
        let blocks = pem::blocks(text.as_bytes()).unwrap();
        prop_assert_eq!(blocks.len(), 1);
        let contents = blocks[0].contents().unwrap();
        prop_assert_eq!(contents.as_slice(), bytes);
    }
}

#[test]
fn every_list_of_a_file_is_read_whatever_stands_around_it() {
    let (one, other) = (vec![0x30_u8; 200], vec![0x31_u8; 7]);
    let file =
        ["Issuer: CN=CA\n", &crl_to_pem(&one), &identity().certificate_pem(), &crl_to_pem(&other)].concat();
    assert_eq!(crls(file.as_bytes()).unwrap(), [one.clone(), other]);
    let indented = crl_to_pem(&one).replace("MDAw", "MD Aw\t");
    assert_eq!(crls(indented.as_bytes()).unwrap(), [one]);
    for nothing in [&b""[..], b"<!DOCTYPE html>", identity().certificate_pem().as_bytes()] {
        assert_eq!(crls(nothing), Err(FileError::Nothing));
    }
    let open = crl_to_pem(&[1; 100]).replace("-----END X509 CRL-----\n", "");
    assert!(matches!(crls(open.as_bytes()), Err(FileError::Malformed(_))));
}
