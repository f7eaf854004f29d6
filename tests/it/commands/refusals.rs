//! `explain REFERENCE`: what a client was told is all that is needed to say why.

use std::fs;

use serde_json::{Value, json as value};

use super::Setup;
use super::clients::{asked, made, socket};
use crate::support::program::{complaint, json, printed};

/// What the client was told.
fn reference(refused: &Value) -> String {
    let told = refused["answer"]["body"]["error_description"].as_str().unwrap();
    told.split_once("(ref ").unwrap().1.trim_end_matches(')').to_owned()
}

#[test]
fn a_refusal_is_explained_by_its_reference_with_the_server_and_without() {
    let setup = Setup::new();
    let directory = setup.path();
    let serving = setup.serve();
    let told = reference(&asked(&setup, 1, "api-gateway", "pki/billing.pem", "pki/billing.key"));
    let explained = json(1, &directory, &["explain", &told]);
    assert_eq!(explained["reference"], told.as_str());
    assert_eq!((&explained["accepted"], &explained["reason"]), (&value!(false), &value!("subject_mismatch")));
    assert_eq!(explained["dn_difference"][0]["kind"], "value", "{explained:#}");
    assert_eq!(explained["accepting_yaml"], "tls_client_auth_subject_dn: \"CN=billing\"");
    let recorded = &explained["recorded"];
    assert_eq!(recorded["reason"], "subject_mismatch");
    assert_eq!(recorded["check"], "tls_client_auth_subject_dn");
    assert_eq!(recorded["expected"], "CN=api-gateway,O=Example,C=RO");
    assert_eq!(recorded["seen"], "CN=billing");
    assert_eq!((&recorded["path"], &recorded["listener"]), (&value!("/token"), &value!("mtls")));
    assert_eq!(recorded["subject"], "CN=billing");
    assert_eq!(explained["now"]["reason"], "subject_mismatch");

    // As people write it: other case, without dashes, as it was pasted.
    for written in [told.to_lowercase(), told.replace('-', ""), format!("(ref {told})")] {
        assert_eq!(json(1, &directory, &["explain", &written])["recorded"], *recorded, "{written}");
    }
    let (_, listed) = socket(&setup, "GET /api/v1/refusals HTTP/1.1\r\n\r\n");
    assert_eq!(listed["refusals"][0]["reference"], told.as_str());
    serving.stop();

    let offline = json(1, &directory, &["explain", &told]);
    for same in ["reference", "recorded", "checks", "dn_difference", "accepting_yaml", "at", "reason"] {
        assert_eq!(offline[same], explained[same], "{same}");
    }
}

#[test]
fn the_page_begins_with_the_verdict_the_failure_and_what_to_do_first() {
    let setup = Setup::new();
    let directory = setup.path();
    let _serving = setup.serve();
    let told = reference(&asked(&setup, 1, "billing", "pki/api.pem", "pki/api.key"));
    let page = printed(1, &directory, &["explain", &told]);
    let lines: Vec<_> = page.lines().collect();
    assert_eq!(lines[0], "refused: subject_mismatch");
    assert!(
        lines[1].starts_with("client billing at 20") && lines[1].ends_with(&format!("ref {told}")),
        "{page}"
    );
    let failed = lines.iter().position(|line| line.starts_with("  failed")).unwrap();
    assert!(lines[failed].ends_with("tls_client_auth_san_dns"), "{page}");
    assert!(
        lines[failed + 1].ends_with("billing.svc.example.com") && lines[failed + 2].contains("seen"),
        "{page}"
    );
    assert!(lines[failed + 3].contains("do first"), "{page}");
    assert!(failed < 6, "what failed is not far down: {page}");
    assert!(page.contains("Every check, in order:\n  ok  client_id: billing\n"), "{page}");
}

#[test]
fn a_refusal_that_would_be_an_acceptance_today_has_both_verdicts() {
    let setup = Setup::new();
    let directory = setup.path();
    made(&setup, "next", &[]);
    let _serving = setup.serve();
    let told = reference(&asked(&setup, 1, "edge-7", "next.pem", "next.key"));
    json(0, &directory, &["client", "add-certificate", "edge-7", "next.pem"]);
    let explained = json(1, &directory, &["explain", &told]);
    assert_eq!(explained["recorded"]["reason"], "not_registered");
    assert_eq!((&explained["accepted"], &explained["now"]["accepted"]), (&value!(true), &value!(true)));
    let page = printed(1, &directory, &["explain", &told]);
    assert!(page.contains("refused then: not_registered; now: accepted"), "{page}");
}

#[test]
fn what_was_refused_before_any_certificate_is_explained_as_it_was_recorded() {
    let setup = Setup::new();
    let directory = setup.path();
    let serving = setup.serve();
    let ca = certbound::pki::files::read(&fs::read(directory.join("pki/ca.pem")).unwrap(), None).unwrap();
    let config = crate::support::Connection::config(&ca.certificates[0], None, None);
    let mut connection = crate::support::Connection::open(serving.address(), config).unwrap();
    let grant = [("grant_type", "client_credentials"), ("client_id", "billing")];
    let mut refused = |form: &[(&str, &str)], header| {
        let answer = connection.post_with("/token", form, header).unwrap();
        reference(&value!({ "answer": { "body": answer.json() } }))
    };
    let bare = refused(&grant, "");
    let basic = refused(&grant, "Authorization: Basic YTpi\r\n");
    let nameless = refused(&grant[..1], "");
    for (told, reason) in [(&bare, "no_certificate"), (&basic, "wrong_method")] {
        let explained = json(1, &directory, &["explain", told]);
        assert_eq!((&explained["client_id"], &explained["reason"]), (&value!("billing"), &value!(reason)));
        assert_eq!(explained["recorded"]["reason"], reason);
        assert!(printed(1, &directory, &["explain", told]).starts_with(&format!("refused: {reason}\n")));
    }
    assert_eq!(json(1, &directory, &["explain", &nameless])["reason"], "missing_client_id");
    let page = printed(1, &directory, &["explain", &basic]);
    assert!(page.contains("what was recorded"), "{page}");
}

#[test]
fn a_reference_that_is_not_known_is_wrong_usage() {
    let setup = Setup::new();
    let directory = setup.path();
    let unknown = "5B0R-ASEC-3GD4-XH7X";
    assert!(complaint(2, &directory, &["explain", unknown]).contains(unknown), "no store at all");
    let serving = setup.serve();
    assert!(complaint(2, &directory, &["explain", unknown]).contains("not any more"));
    for odd in ["nonsense", "../clients", "%"] {
        complaint(2, &directory, &["explain", odd]);
    }
    serving.stop();
    complaint(2, &directory, &["explain", unknown]);
}
