//! `cert`: what a certificate says, whether a path holds, and certificates for development.

use std::fs;
use std::path::Path;

use serde_json::{Value, json as value};
use tempfile::TempDir;

use super::mode;
use crate::support::program::{complaint, ended, json, printed};

/// A CA in `ca/`, and of it `leaf.pem`, `leaf.key` and `leaf.pfx` (password in `word`).
fn place() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("word"), "s3cret\nsecond line\n").unwrap();
    json(0, directory.path(), &["cert", "new-ca", "--out", "ca", "--cn", "Test CA"]);
    let leaf = [
        "cert",
        "issue",
        "--ca",
        "ca",
        "--out",
        "leaf",
        "--cn",
        "billing",
        "--san-dns",
        "billing.example.com",
        "--san-ip",
        "192.0.2.1",
        "--san-uri",
        "https://a.example/b",
        "--san-email",
        "a@example.com",
        "--days",
        "30",
        "--pfx",
        "--password-file",
        "word",
    ];
    let made = json(0, directory.path(), &leaf);
    assert_eq!(made["files"], value!(["leaf.pem", "leaf.key", "leaf.pfx"]));
    directory
}

#[test]
fn cert_show_says_everything_in_the_fields_of_the_contract() {
    let directory = place();
    let shown = json(0, directory.path(), &["cert", "show", "leaf.pem"]);
    let names: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "client_document",
        "extended_key_usage",
        "issuer",
        "key",
        "key_usage",
        "not_after",
        "not_before",
        "san",
        "serial",
        "spki_sha256",
        "subject",
        "x5t#S256",
    ];
    assert_eq!(names, expected);
    assert_eq!((&shown["subject"], &shown["issuer"]), (&value!("CN=billing"), &value!("CN=Test CA")));
    let san = value!({
        "dns": ["billing.example.com"], "uri": ["https://a.example/b"], "ip": ["192.0.2.1"], "email": ["a@example.com"],
    });
    assert_eq!(shown["san"], san);
    let words = printed(0, directory.path(), &["cert", "show", "leaf.pem"]);
    assert!(words.contains(shown["x5t#S256"].as_str().unwrap()), "{words}");
    assert!(words.contains("token_endpoint_auth_method: tls_client_auth"), "{words}");

    // The same by every form, told apart by content.
    let archive = ["cert", "show", "leaf.pfx", "--password-file", "word"];
    assert_eq!(json(0, directory.path(), &archive)["x5t#S256"], shown["x5t#S256"]);
    let pem = fs::read(directory.path().join("leaf.pem")).unwrap();
    let der = certbound::pki::files::read(&pem, None).unwrap().certificates.remove(0);
    fs::write(directory.path().join("leaf.txt"), der).unwrap();
    assert_eq!(json(0, directory.path(), &["cert", "show", "leaf.txt"])["x5t#S256"], shown["x5t#S256"]);
    assert!(complaint(2, directory.path(), &["cert", "show", "leaf.pfx"]).contains("password"));
}

#[test]
fn the_document_that_cert_show_gives_registers_the_client() {
    let directory = place();
    printed(0, directory.path(), &["init", "as"]);
    printed(0, directory.path(), &["cert", "self-signed", "--out", "edge", "--cn", "edge"]);
    let issue = [
        "cert",
        "issue",
        "--ca",
        "as/pki",
        "--out",
        "orders",
        "--cn",
        "orders",
        "--san-dns",
        "orders.example",
    ];
    printed(0, directory.path(), &issue);
    for client in ["orders", "edge"] {
        let cert = format!("{client}.pem");
        let shown = json(0, directory.path(), &["cert", "show", &cert]);
        let document = directory.path().join(format!("as/clients.d/{client}.yaml"));
        fs::write(document, shown["client_document"].as_str().unwrap()).unwrap();
        let question = ["-c", "as/certbound.yaml", "explain", "--client", client, "--cert", &cert];
        assert_eq!(json(0, directory.path(), &question)["accepted"], true, "{shown:#}");
    }
}

#[test]
fn cert_verify_says_yes_no_or_that_it_cannot_say() {
    let directory = place();
    json(0, directory.path(), &["cert", "new-ca", "--out", "other"]);
    let verify = |code, more: &[&str]| -> Value {
        json(code, directory.path(), &[&["cert", "verify", "--anchor", "ca/ca.pem"], more].concat())
    };
    let accepted = verify(0, &["leaf.pem"]);
    let subjects = [&accepted["path"][0]["subject"], &accepted["path"][1]["subject"]];
    assert_eq!(subjects, [&value!("CN=billing"), &value!("CN=Test CA")]);
    let names: Vec<_> = accepted.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["accepted", "depth", "detail", "path", "reason"]);
    for more in [
        &["--profile", "strict", "leaf.pem"][..],
        &["--purpose", "any", "leaf.pem"],
        &["--expect-dns", "BILLING.example.com", "--expect-ip", "192.0.2.1", "leaf.pem"],
        &["--expect-email", "a@example.com", "leaf.pem"],
        &["--password-file", "word", "leaf.pfx"],
        &["--anchor", "other/ca.pem", "leaf.pem"],
    ] {
        assert_eq!(verify(0, more)["accepted"], true, "{more:?}");
    }
    for (more, reason) in [
        (&["--at", "2999-01-01T00:00:00Z", "leaf.pem"][..], "expired"),
        (&["--at", "1999-01-01T00:00:00Z", "leaf.pem"], "not_yet_valid"),
        (&["--purpose", "server", "leaf.pem"], "wrong_usage"),
        (&["--expect-dns", "other.example.com", "leaf.pem"], "subject_mismatch"),
        (&["--expect-ip", "192.0.2.2", "leaf.pem"], "subject_mismatch"),
    ] {
        let refused = verify(1, more);
        assert_eq!(
            (&refused["accepted"], &refused["reason"]),
            (&value!(false), &value!(reason)),
            "{refused:#}"
        );
        assert!(refused["depth"].is_number() && refused["detail"].is_string(), "{refused:#}");
    }
    let unknown = ["cert", "verify", "--anchor", "other/ca.pem", "leaf.pem"];
    assert_eq!(json(1, directory.path(), &unknown)["reason"], "untrusted");
}

#[test]
fn a_certificate_that_is_broken_is_one_and_what_is_none_is_two() {
    let directory = place();
    let broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    fs::write(directory.path().join("broken.pem"), broken).unwrap();
    fs::write(directory.path().join("text.pem"), "hello\n").unwrap();
    let verdict = json(1, directory.path(), &["cert", "verify", "--anchor", "ca/ca.pem", "broken.pem"]);
    assert_eq!(verdict["reason"], "malformed_certificate");
    assert!(complaint(1, directory.path(), &["cert", "show", "broken.pem"]).contains("broken.pem"));
    fs::write(directory.path().join("cut.pem"), "-----BEGIN CERTIFICATE-----\nMIIB\n").unwrap();
    for file in ["broken.pem", "cut.pem"] {
        let shown = json(1, directory.path(), &["cert", "show", file]);
        assert_eq!(shown["reason"], "malformed_certificate");
        assert!(shown["detail"].as_str().unwrap().contains(file), "{shown}");
    }
    for file in ["text.pem", "missing.pem", "leaf.key"] {
        assert!(complaint(2, directory.path(), &["cert", "show", file]).contains(file));
        assert!(
            complaint(2, directory.path(), &["cert", "verify", "--anchor", "ca/ca.pem", file]).contains(file)
        );
        assert!(
            complaint(2, directory.path(), &["cert", "verify", "--anchor", file, "leaf.pem"]).contains(file)
        );
    }
    let said = complaint(
        2,
        directory.path(),
        &["cert", "verify", "--anchor", "ca/ca.pem", "--crl", "x", "leaf.pem"],
    );
    assert!(said.contains("x: No such file"), "{said}");
    complaint(2, directory.path(), &["cert", "verify", "leaf.pem"]);
}

#[test]
fn what_is_made_is_the_owners_alone_and_nothing_is_overwritten() {
    let directory = place();
    for (file, expected) in
        [("ca/ca.key", 0o600), ("leaf.key", 0o600), ("leaf.pfx", 0o600), ("leaf.pem", 0o644)]
    {
        assert_eq!(mode(&directory.path().join(file)), expected, "{file}");
    }
    let bytes = |file: &str| fs::read(directory.path().join(file)).unwrap();
    let before = (bytes("ca/ca.key"), bytes("leaf.key"));
    assert!(complaint(1, directory.path(), &["cert", "new-ca", "--out", "ca"]).contains("ca/ca.key"));
    let again = ["cert", "issue", "--ca", "ca", "--out", "leaf", "--cn", "billing"];
    assert!(complaint(1, directory.path(), &again).contains("leaf.key"));
    let own = ["cert", "self-signed", "--out", "leaf", "--cn", "billing"];
    assert!(complaint(1, directory.path(), &own).contains("leaf.pem"));
    assert_eq!(before, (bytes("ca/ca.key"), bytes("leaf.key")));
    complaint(2, directory.path(), &["cert", "issue", "--ca", "nowhere", "--out", "x", "--cn", "x"]);
    complaint(2, directory.path(), &["cert", "issue", "--ca", "ca", "--out", "x"]);
}

#[test]
fn every_kind_of_key_and_a_request_are_certified() {
    let directory = place();
    for (kind, key) in
        [("p256", "EC P-256"), ("p384", "EC P-384"), ("rsa2048", "RSA 2048"), ("ed25519", "Ed25519")]
    {
        let make = ["cert", "self-signed", "--out", kind, "--cn", kind, "--key", kind, "--purpose", "server"];
        printed(0, directory.path(), &make);
        let shown = json(0, directory.path(), &["cert", "show", &format!("{kind}.pem")]);
        assert_eq!((&shown["key"], &shown["extended_key_usage"]), (&value!(key), &value!(["serverAuth"])));
    }
    request(directory.path());
    let issue = ["cert", "issue", "--ca", "ca", "--out", "asked", "--csr", "asked.csr"];
    assert_eq!(json(0, directory.path(), &issue)["files"], value!(["asked.pem"]));
    assert_eq!(json(0, directory.path(), &["cert", "show", "asked.pem"])["subject"], "CN=asked");
    json(0, directory.path(), &["cert", "verify", "--anchor", "ca/ca.pem", "asked.pem"]);
    fs::write(directory.path().join("asked.csr"), "hello").unwrap();
    let other = ["cert", "issue", "--ca", "ca", "--out", "other", "--csr", "asked.csr"];
    ended(1, directory.path(), &other);
    assert!(!directory.path().join("other.pem").exists());
}

/// `asked.csr`, with the name CN=asked.
fn request(directory: &Path) {
    use openssl::{ec, hash, nid, pkey, x509};
    let group = ec::EcGroup::from_curve_name(nid::Nid::X9_62_PRIME256V1).unwrap();
    let key = pkey::PKey::from_ec_key(ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut name = x509::X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "asked").unwrap();
    let mut builder = x509::X509ReqBuilder::new().unwrap();
    builder.set_subject_name(&name.build()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, hash::MessageDigest::sha256()).unwrap();
    fs::write(directory.join("asked.csr"), builder.build().to_pem().unwrap()).unwrap();
}
