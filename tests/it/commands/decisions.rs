//! `explain` and `token`: why a client gets in or does not, asked beside the server and asked of it.

use std::fs;

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::X509;
use serde_json::{Value, json as value};

use super::Setup;
use crate::openssl_certificates::certificate;
use crate::support::program::{complaint, json, printed};

#[test]
fn explain_gives_the_decision_of_the_token_endpoint() {
    let setup = Setup::new();
    let directory = setup.path();
    let accepted = json(0, &directory, &["explain", "--client", "billing", "--cert", "pki/billing.pem"]);
    let names: Vec<_> = accepted.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "accepted",
        "accepting_yaml",
        "at",
        "checks",
        "client_id",
        "dn_difference",
        "path",
        "reason",
        "reference",
        "revocation",
    ];
    assert_eq!(names, expected);
    assert_eq!((&accepted["accepted"], &accepted["reason"]), (&value!(true), &Value::Null));
    assert!(accepted["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true), "{accepted:#}");
    assert_eq!(accepted["path"][0]["subject"], "CN=billing");
    let pinned = json(0, &directory, &["explain", "--client", "edge-7", "--cert", "clients.d/edge-7.pem"]);
    assert_eq!(pinned["accepted"], true);

    for (client, cert, at, reason) in [
        ("edge-7", "pki/billing.pem", &[][..], "not_registered"),
        ("billing", "clients.d/edge-7.pem", &[], "subject_mismatch"),
        ("nobody", "pki/billing.pem", &[], "unknown_client"),
        ("billing", "pki/billing.pem", &["--at", "2999-01-01T00:00:00Z"], "expired"),
        ("billing", "pki/billing.pem", &["--at", "1999-01-01T00:00:00Z"], "not_yet_valid"),
    ] {
        let question = [&["explain", "--client", client, "--cert", cert], at].concat();
        let refused = json(1, &directory, &question);
        assert_eq!(
            (&refused["accepted"], &refused["reason"]),
            (&value!(false), &value!(reason)),
            "{refused:#}"
        );
        assert!(printed(1, &directory, &question).contains(reason));
    }
}

#[test]
fn the_way_in_for_a_new_certificate_is_the_line_and_the_command_that_writes_it() {
    let setup = Setup::new();
    let directory = setup.path();
    json(0, &directory, &["cert", "self-signed", "--out", "next", "--cn", "edge-7"]);
    let page = printed(1, &directory, &["explain", "--client", "edge-7", "--cert", "next.pem"]);
    assert!(page.contains("  certificates: [edge-7.pem, edge-7.20"), "{page}");
    assert!(page.contains("`certbound client add-certificate edge-7 FILE`"), "{page}");
}

#[test]
fn explain_shows_names_rdn_by_rdn_and_the_line_that_would_accept() {
    let setup = Setup::new();
    let directory = setup.path();
    let question = ["explain", "--client", "api-gateway", "--cert", "pki/billing.pem"];
    let refused = json(1, &directory, &question);
    assert_eq!(refused["reason"], "subject_mismatch");
    let difference = value!([
        { "rdn": 1, "expected": "CN=api-gateway", "seen": "CN=billing", "kind": "value" },
        { "rdn": 2, "expected": "O=Example", "seen": null, "kind": "missing" },
        { "rdn": 3, "expected": "C=RO", "seen": null, "kind": "missing" },
    ]);
    assert_eq!(refused["dn_difference"], difference);
    let check = refused["checks"].as_array().unwrap().iter().find(|check| check["ok"] == false).unwrap();
    let expected = value!({
        "check": "tls_client_auth_subject_dn", "ok": false, "expected": "CN=api-gateway,O=Example,C=RO",
        "seen": "CN=billing",
    });
    assert_eq!(check, &expected);
    assert_eq!(refused["accepting_yaml"], "tls_client_auth_subject_dn: \"CN=billing\"");

    // What it says is what works.
    let line = refused["accepting_yaml"].as_str().unwrap();
    setup.edit(
        "clients.d/api-gateway.yaml",
        "tls_client_auth_subject_dn: CN=api-gateway,O=Example,C=RO",
        line,
    );
    assert_eq!(json(0, &directory, &question)["accepted"], true);
}

#[test]
fn explain_tells_a_broken_certificate_from_a_file_without_one() {
    let setup = Setup::new();
    let directory = setup.path();
    let broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    fs::write(directory.join("broken.pem"), broken).unwrap();
    let pem = fs::read(directory.join("pki/billing.pem")).unwrap();
    fs::write(directory.join("cut.pem"), &pem[..300]).unwrap();
    fs::write(directory.join("text.pem"), "hello\n").unwrap();
    let ask = |file| ["explain", "--client", "billing", "--cert", file];
    assert_eq!(json(1, &directory, &ask("broken.pem"))["reason"], "malformed_certificate");
    let cut = json(1, &directory, &ask("cut.pem"));
    assert_eq!(cut["reason"], "malformed_certificate");
    let failed = cut["checks"].as_array().unwrap().iter().find(|check| check["ok"] == false).unwrap();
    assert!(failed["seen"].as_str().unwrap().contains("cut.pem"), "{cut:#}");
    for file in ["text.pem", "missing.pem", "pki/billing.key"] {
        assert!(complaint(2, &directory, &ask(file)).contains(file));
    }
    for question in [
        &["explain"][..],
        &["explain", "--client", "billing"],
        &["explain", "--cert", "pki/billing.pem"],
        &["explain", "--client", "billing", "--cert", "pki/billing.pem", "--at", "tomorrow"],
    ] {
        complaint(2, &directory, question);
    }
}

#[test]
fn the_token_command_shows_both_sides_and_hints_at_the_cause() {
    let setup = Setup::new();
    let _serving = setup.serve();
    let directory = setup.path();
    let ask = |code, client: &str, cert: &str, key: &str, more: &[&str]| {
        let who = ["token", "--url", setup.issuer(), "--client-id", client, "--cert", cert, "--key", key];
        json(code, &directory, &[&who[..], more].concat())
    };
    let ca = ["--ca", "pki/ca.pem"];
    let granted = ask(0, "edge-7", "clients.d/edge-7.pem", "pki/edge-7.key", &ca);
    assert_eq!(granted["granted"], true);
    assert_eq!(granted["claims"]["cnf"]["x5t#S256"], granted["sent"]["certificate"]["x5t#S256"]);
    assert_eq!(granted["tls"], value!({ "version": "TLSv1.3", "certificate": "asked for and sent" }));
    let narrow = ["--ca", "pki/ca.pem", "--scope", "invoices:read", "--resource", "https://api.example.com"];
    let granted = ask(0, "billing", "pki/billing.pem", "pki/billing.key", &narrow);
    assert_eq!(granted["claims"]["scope"], "invoices:read");

    let refused = ask(1, "billing", "pki/api.pem", "pki/api.key", &ca);
    assert_eq!((&refused["granted"], &refused["answer"]["status"]), (&value!(false), &value!(400)));
    assert_eq!(refused["answer"]["body"]["error"], "invalid_client");
    let hint = refused["hints"][0].as_str().unwrap();
    assert!(hint.contains("certbound explain --client billing"), "{refused}");
    let much = ["--ca", "pki/ca.pem", "--scope", "everything"];
    let refused = ask(1, "billing", "pki/billing.pem", "pki/billing.key", &much);
    assert_eq!(refused["answer"]["body"]["error"], "invalid_scope");

    let untrusted =
        ask(1, "billing", "pki/billing.pem", "pki/billing.key", &["--ca", "clients.d/edge-7.pem"]);
    assert!(untrusted["hints"][0].as_str().unwrap().contains("--ca"), "{untrusted}");

    let server = ["token", "--url", setup.issuer(), "--client-id", "billing", "--ca", "pki/ca.pem"];
    for wrong in [
        &["--cert", "pki/billing.pem", "--key", "pki/api.key"][..],
        &["--cert", "pki/billing.pem"],
        &["--cert", "missing.pem", "--key", "pki/api.key"],
        &["--cert", "certbound.yaml", "--key", "pki/api.key"],
    ] {
        complaint(2, &directory, &[&server[..], wrong].concat());
    }
}

#[test]
fn nobody_who_listens_is_a_refusal_with_a_hint() {
    let setup = Setup::new();
    let who = ["--client-id", "billing", "--cert", "pki/billing.pem", "--key", "pki/billing.key"];
    let server = ["token", "--url", setup.issuer(), "--ca", "pki/ca.pem"];
    let refused = json(1, &setup.path(), &[&server[..], &who].concat());
    assert!(refused["hints"][0].as_str().unwrap().contains("is the server running"), "{refused}");
}

#[test]
fn the_token_command_presents_a_version_1_leaf_and_one_from_pkcs12() {
    let setup = Setup::new();
    let directory = setup.path();
    let ca = X509::from_pem(&fs::read(directory.join("pki/ca.pem")).unwrap()).unwrap();
    let ca_key = PKey::private_key_from_pem(&fs::read(directory.join("pki/ca.key")).unwrap()).unwrap();
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let old = certificate("old", &key, Some((&ca, &ca_key)), |builder| builder.set_version(0).unwrap());
    fs::write(directory.join("old.pem"), old.to_pem().unwrap()).unwrap();
    fs::write(directory.join("old.key"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    fs::write(
        directory.join("clients.d/old.yaml"),
        "client_id: old\ntoken_endpoint_auth_method: tls_client_auth\ntls_client_auth_subject_dn: CN=old\n",
    )
    .unwrap();
    fs::write(directory.join("word"), "s3cret\n").unwrap();
    let made = [
        "cert",
        "issue",
        "--ca",
        "pki",
        "--out",
        "new",
        "--cn",
        "new",
        "--san-dns",
        "billing.svc.example.com",
        "--pfx",
        "--password-file",
        "word",
    ];
    json(0, &directory, &made);
    let _serving = setup.serve();
    let server = ["token", "--url", setup.issuer(), "--ca", "pki/ca.pem", "--client-id"];
    let granted =
        json(0, &directory, &[&server[..], &["old", "--cert", "old.pem", "--key", "old.key"]].concat());
    assert_eq!(granted["sent"]["certificate"]["version"], 1);
    let archive = ["billing", "--cert", "new.pfx", "--password-file", "word"];
    let granted = json(0, &directory, &[&server[..], &archive].concat());
    assert_eq!(granted["claims"]["cnf"]["x5t#S256"], granted["sent"]["certificate"]["x5t#S256"]);
    fs::write(directory.join("word"), "wrong\n").unwrap();
    let said = complaint(2, &directory, &[&server[..], &archive].concat());
    assert!(said.contains("new.pfx") && said.contains("password"), "{said}");
}
