//! Who may sign a list, and how.

use std::fs;
use std::process::Command;

use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use openssl::x509::extension::{BasicConstraints, KeyUsage};
use openssl::x509::{X509, X509Crl, X509Name};

use super::forge::{KEY_IDENTIFIER, Odd, algorithm, extension};
use super::*;
use crate::pki::der::{self, encode};
use crate::pki::workshop::KeyKind;

fn forged(list: &[u8], issuers: &[Certificate]) -> String {
    match Crls::default().offer(list, issuers, NOW) {
        Err(CrlError::Forged(what)) => what,
        other => panic!("{other:?}"),
    }
}

fn key_of(ca: &Authority) -> PKey<Private> {
    PKey::private_key_from_pkcs8(&ca.identity().key_der()).unwrap()
}

/// A CA certificate for this key, with this key usage if any.
fn ca_certificate(cn: &str, key: &PKey<Private>, usage: Option<&mut KeyUsage>) -> Certificate {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", cn).unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_not_before(&openssl::asn1::Asn1Time::from_unix(FROM.as_unix()).unwrap()).unwrap();
    builder.set_not_after(&openssl::asn1::Asn1Time::from_unix(TO.as_unix()).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    if let Some(usage) = usage {
        builder.append_extension(usage.build().unwrap()).unwrap();
    }
    builder.sign(key, MessageDigest::sha256()).unwrap();
    Certificate::parse(&builder.build().to_der().unwrap()).unwrap()
}

#[test]
fn the_workshop_signs_lists_with_every_kind_of_key_and_openssl_reads_them() {
    for key in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048, KeyKind::Ed25519] {
        let ca = Authority::new(&Template { key, ..template("CA") }).unwrap();
        let leaf = leaf(&ca);
        let made = list(&ca, 300, &[&leaf]);
        assert_eq!(says(&knowing(std::slice::from_ref(&made), &[&ca]), &leaf, &ca, NOW), "revoked");
        let theirs = X509Crl::from_der(&made).unwrap();
        assert!(theirs.verify(&key_of(&ca)).unwrap());
        assert_eq!(theirs.get_revoked().unwrap().len(), 1);
    }
}

#[test]
fn a_forged_list_is_refused() {
    let (ca, stranger) = (authority("CA"), authority("CA"));
    // a stranger's signature under the name of the CA, without and with the CA's key identifier
    let issuers = [Certificate::parse(ca.identity().certificate_der()).unwrap()];
    let identifier = X509::from_der(ca.identity().certificate_der()).unwrap();
    let identifier = encode(0x80, identifier.subject_key_id().unwrap().as_slice());
    let plain = Odd::of(&stranger);
    let with_identifier = plain.clone().with(extension(KEY_IDENTIFIER, &encode(der::SEQUENCE, &identifier)));
    for list in [plain, with_identifier] {
        assert_eq!(forged(&list.der(), &issuers), "its signature does not verify with the key of CN=CA");
    }
    // one that names the stranger's key is the list of another CA of that name
    let honest = Crls::default().offer(&list(&stranger, 1, &[]), &issuers, NOW).unwrap();
    assert_eq!(honest[0].issuer_key, None);
}

#[test]
fn an_issuer_needs_crl_sign_if_it_has_a_key_usage() {
    let ca = authority("CA");
    let key = key_of(&ca);
    let list = Odd::of(&ca).der();
    let without = ca_certificate("CA", &key, Some(KeyUsage::new().key_cert_sign()));
    assert!(forged(&list, std::slice::from_ref(&without)).contains("cRLSign"));
    let with = ca_certificate("CA", &key, Some(KeyUsage::new().key_cert_sign().crl_sign()));
    let silent = ca_certificate("CA", &key, None);
    for may in [with, silent] {
        assert!(Crls::default().offer(&list, std::slice::from_ref(&may), NOW).is_ok());
        // of two certificates of one key one that may is enough
        let without = ca_certificate("CA", &key, Some(KeyUsage::new().key_cert_sign()));
        assert!(Crls::default().offer(&list, &[without, may], NOW).is_ok());
    }
    // nor does it count when a path shows such an issuer
    let crls = knowing(std::slice::from_ref(&list), &[]);
    let status = crls.status(&leaf(&ca), &Arc::new(without), NOW);
    assert!(matches!(status, CrlStatus::Unknown { .. }), "{status:?}");
}

#[test]
fn names_of_issuers_are_compared_as_names() {
    let ca = authority("My  CA");
    let key = key_of(&ca);
    let issuer = ca_certificate("my ca", &key, None);
    assert!(Crls::default().offer(&Odd::of(&ca).der(), &[issuer], NOW).unwrap()[0].issuer_key.is_some());
    let other = ca_certificate("my other ca", &key, None);
    assert_eq!(Crls::default().offer(&Odd::of(&ca).der(), &[other], NOW).unwrap()[0].issuer_key, None);
}

#[test]
fn weak_algorithms_and_keys_are_refused() {
    let ca = Authority::new(&Template { key: KeyKind::Rsa2048, ..template("CA") }).unwrap();
    let issuers = [Certificate::parse(ca.identity().certificate_der()).unwrap()];
    let signed = |oid: &str, digest| {
        let algorithm = algorithm(oid, &[0x05, 0x00]);
        let odd = Odd { inner_algorithm: algorithm.clone(), outer_algorithm: algorithm, ..Odd::of(&ca) };
        let mut signer = Signer::new(digest, &key_of(&ca)).unwrap();
        odd.signed_by(&signer.sign_oneshot_to_vec(&odd.tbs()).unwrap())
    };
    let good = signed("1.2.840.113549.1.1.13", MessageDigest::sha512());
    assert!(Crls::default().offer(&good, &issuers, NOW).is_ok());
    for weak in [
        signed("1.2.840.113549.1.1.5", MessageDigest::sha1()),
        signed("1.2.840.113549.1.1.4", MessageDigest::md5()),
    ] {
        assert!(forged(&weak, &issuers).contains("not trusted"));
    }
    let lying = signed("1.2.840.113549.1.1.11", MessageDigest::sha512());
    assert!(forged(&lying, &issuers).contains("does not verify"));

    let small = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    let issuer = ca_certificate("CA", &small, None);
    assert!(forged(&Odd::of(&ca).der(), &[issuer]).contains("1024 bits"));
}

#[test]
fn the_algorithm_is_the_same_inside_and_outside_of_what_is_signed() {
    let ca = authority("CA");
    let odd = Odd { inner_algorithm: algorithm("1.2.840.10045.4.3.3", &[]), ..Odd::of(&ca) };
    assert!(matches!(offer(&Crls::default(), &odd.der(), &[&ca]), Err(CrlError::Malformed(_))));
    // parameters where there are none, and an algorithm of another kind of key
    for algorithm in [algorithm("1.2.840.10045.4.3.2", &[0x05, 0x00]), algorithm("1.3.101.112", &[])] {
        let odd = Odd { inner_algorithm: algorithm.clone(), outer_algorithm: algorithm, ..Odd::of(&ca) };
        assert!(matches!(offer(&Crls::default(), &odd.der(), &[&ca]), Err(CrlError::Forged(_))));
    }
}

#[test]
fn rsa_pss_is_read_with_its_parameters_and_never_with_sha_1() {
    let ca = Authority::new(&Template { key: KeyKind::Rsa2048, ..template("CA") }).unwrap();
    let issuers = [Certificate::parse(ca.identity().certificate_der()).unwrap()];
    let hash = |oid: &str| algorithm(oid, &[0x05, 0x00]);
    let (sha256, sha1) = ("2.16.840.1.101.3.4.2.1", "1.3.14.3.2.26");
    let parameters = |outer: &str, inner: &str, salt: u8| {
        let mask = algorithm("1.2.840.113549.1.1.8", &hash(inner));
        let fields =
            [encode(0xa0, &hash(outer)), encode(0xa1, &mask), encode(0xa2, &[der::INTEGER, 1, salt])];
        encode(der::SEQUENCE, &fields.concat())
    };
    let signed = |parameters: &[u8], digest, salt| {
        let algorithm = algorithm("1.2.840.113549.1.1.10", parameters);
        let odd = Odd { inner_algorithm: algorithm.clone(), outer_algorithm: algorithm, ..Odd::of(&ca) };
        let key = key_of(&ca);
        let mut signer = Signer::new(digest, &key).unwrap();
        signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        signer.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt)).unwrap();
        odd.signed_by(&signer.sign_oneshot_to_vec(&odd.tbs()).unwrap())
    };
    let good = signed(&parameters(sha256, sha256, 32), MessageDigest::sha256(), 32);
    assert!(Crls::default().offer(&good, &issuers, NOW).is_ok());
    let other_salt = signed(&parameters(sha256, sha256, 20), MessageDigest::sha256(), 32);
    assert!(forged(&other_salt, &issuers).contains("does not verify"));
    let defaults = encode(der::SEQUENCE, &[]);
    for weak in [&parameters(sha1, sha1, 20), &parameters(sha256, sha1, 20), &defaults] {
        assert!(forged(&signed(weak, MessageDigest::sha1(), 20), &issuers).contains("not trusted"));
    }
}

/// What most people have: `openssl ca -gencrl`.
#[test]
fn a_list_made_by_the_openssl_command_is_taken() {
    let directory = tempfile::TempDir::new().unwrap();
    let place = |name: &str| directory.path().join(name);
    let ca = authority("CA");
    let leaf = ca.issue(&template("leaf")).unwrap();
    let settings = format!(
        "[ca]\ndefault_ca = it\n[it]\ndatabase = {0}/index\ncrlnumber = {0}/number\ncertificate = {0}/ca.pem\n\
         private_key = {0}/ca.key\ndefault_md = sha256\ncrl_extensions = crl\n[crl]\n\
         authorityKeyIdentifier = keyid\n",
        directory.path().display()
    );
    for (name, content) in [
        ("ca.cnf", settings.as_str()),
        ("index", ""),
        ("number", "1000\n"),
        ("ca.pem", &ca.identity().certificate_pem()),
        ("ca.key", &ca.identity().key_pem()),
        ("leaf.pem", &leaf.certificate_pem()),
    ] {
        fs::write(place(name), content).unwrap();
    }
    let openssl = |words: &[&str]| {
        let output = Command::new("openssl")
            .args(["ca", "-config", "ca.cnf", "-batch"])
            .args(words)
            .current_dir(directory.path())
            .output()
            .expect("openssl can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let times = ["-crl_lastupdate", "20260921150640Z", "-crl_nextupdate", "20270101000000Z"];
    let generate = [&["-gencrl", "-out", "ca.crl"][..], &times].concat();
    openssl(&generate);
    let crls = knowing(&[fs::read(place("ca.crl")).unwrap()], &[&ca]);
    assert_eq!(says(&crls, &certificate(&leaf), &ca, NOW), "good");
    openssl(&["-revoke", "leaf.pem", "-crl_reason", "keyCompromise"]);
    openssl(&generate);
    let summary = offer(&crls, &fs::read(place("ca.crl")).unwrap(), &[&ca]).unwrap();
    assert_eq!((summary[0].number.as_str(), summary[0].entries), ("4097", 1));
    assert_eq!(says(&crls, &certificate(&leaf), &ca, NOW), "revoked");
}
