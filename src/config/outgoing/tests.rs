//! Every key by which the server speaks to others, right and wrong.

use std::path::Path;

use super::super::tests::{good, least_and, one, read};
use super::*;
use crate::document::Severity;

fn set(content: &str) -> String {
    least_and(&format!("trust_anchors:\n  corp: {content}"))
}

fn mode(content: &str) -> RevocationMode {
    good(&set(content)).trust_anchors[0].revocation
}

#[test]
fn a_set_with_somebody_to_ask_requires_an_answer_unless_it_says_otherwise() {
    assert_eq!(mode("{file: a}"), RevocationMode::Off);
    assert_eq!(mode("{file: a, revocation: off}"), RevocationMode::Off);
    assert_eq!(mode("{file: a, crl: [{file: b}]}"), RevocationMode::Require);
    assert_eq!(mode("{file: a, ocsp: {url: 'http://o.example'}}"), RevocationMode::Require);
    assert_eq!(mode("{file: a, revocation: prefer, crl: [{file: b}]}"), RevocationMode::Prefer);
    one(&set("{file: a, revocation: require}"), (5, 31), "has nobody to ask", "crl: [{file");
    one(&set("{file: a, revocation: prefer}"), (5, 31), "has nobody to ask", "ocsp: {url");
    one(&set("{file: a, revocation: on}"), (5, 31), "`on`", "revocation: off");
}

#[test]
fn what_is_named_and_not_asked_is_a_warning() {
    let (config, problems) = read(&set("{file: a, revocation: off, crl: [{file: b}]}"));
    assert_eq!(config.unwrap().trust_anchors[0].revocation, RevocationMode::Off);
    let [problem] = &problems[..] else { panic!("{problems:#?}") };
    assert_eq!((problem.severity, problem.column), (Severity::Warning, 31));
}

#[test]
fn a_list_is_in_a_file_or_at_a_url() {
    let config = good(&set("{file: a, crl: [{file: b.crl}, {url: 'https://c.example/d?e=f'}]}"));
    let [CrlSource::File(file), CrlSource::Url(url)] = &config.trust_anchors[0].crl[..] else {
        panic!("{:?}", config.trust_anchors[0].crl)
    };
    assert_eq!(file.path, Path::new("/etc/certbound/b.crl"));
    assert_eq!((url.url.as_str(), url.at.line), ("https://c.example/d?e=f", 5));
    one(&set("{file: a, crl: []}"), (5, 24), "is empty", "crl: [{file");
    one(&set("{file: a, crl: [{}]}"), (5, 25), "neither", "crl: [{file");
    one(&set("{file: a, crl: [{file: b, url: 'http://c.example'}]}"), (5, 25), "one place", "");
    one(&set("{file: a, crl: [b.crl]}"), (5, 25), "", "");
    one(&set("{file: a, crl: b.crl}"), (5, 24), "", "");
    assert_eq!(read(&set("{file: a, crl: [{path: b}]}")).1.len(), 2, "what it is not, and what it lacks");
}

#[test]
fn a_url_is_one_that_a_request_can_use() {
    for wrong in [
        "c.example",
        "ldap://c.example",
        "file:///etc/passwd",
        "http://u:p@c.example",
        "http://c.example/#f",
        "http:",
    ] {
        let (_, problems) = read(&set(&format!("{{file: a, ocsp: {{url: '{wrong}'}}}}")));
        assert!(
            !problems.is_empty() && problems.iter().all(|problem| problem.line == 5),
            "{wrong}: {problems:#?}"
        );
        assert!(!format!("{problems:?}").contains("u:p"), "{problems:#?}");
    }
    one(&set("{file: a, ocsp: {}}"), (5, 25), "`url` is missing", "url: http://ocsp.example.com");
}

#[test]
fn the_way_out_has_its_own_roots_and_exceptions() {
    let config = good(&least_and("outgoing: {ca: roots.pem, allow: [10.1.0.0/16, 127.0.0.1]}"));
    assert_eq!(config.outgoing.ca.unwrap().path, Path::new("/etc/certbound/roots.pem"));
    assert_eq!(config.outgoing.allow.len(), 2);
    one(&least_and("outgoing: {allow: [10.0.0.0/33]}"), (4, 20), "10.0.0.0/33", "10.1.0.0/16");
    one(&least_and("outgoing: {allow: [intranet]}"), (4, 20), "intranet", "10.1.0.0/16");
    let least = good(&least_and(""));
    assert!(least.outgoing.ca.is_none() && least.outgoing.allow.is_empty() && least.webhook.is_none());
}

#[test]
fn a_webhook_is_a_url_and_a_secret_by_reference() {
    let config =
        good(&least_and("expiry: {warn: 10d, webhook: {url: 'https://h.example/x', secret: {env: HOOK}}}"));
    let webhook = config.webhook.unwrap();
    assert_eq!(webhook.url.url.as_str(), "https://h.example/x");
    assert_eq!(webhook.secret, Some(SecretRef::Env("HOOK".to_owned())));
    assert!(
        good(&least_and("expiry: {webhook: {url: 'https://h.example'}}")).webhook.unwrap().secret.is_none()
    );
    one(
        &least_and("expiry: {webhook: {}}"),
        (4, 19),
        "`url` is missing",
        "url: https://ops.example.com/hook",
    );
    let (_, problems) = read(&least_and("expiry: {webhook: {url: 'https://h.example', secret: hunter2}}"));
    assert!(problems.len() == 1 && !format!("{problems:?}").contains("hunter2"), "{problems:#?}");
}

#[test]
fn a_configured_url_at_a_private_address_is_a_problem_unless_it_is_allowed() {
    let crl = "trust_anchors: {corp: {file: a, crl: [{url: 'http://10.1.2.3/c.crl'}]}}";
    let problems = good(&least_and(crl)).outgoing_settings().unwrap_err();
    assert!(
        problems.0.iter().any(|problem| problem.line == 4 && problem.instead.contains("outgoing.allow")),
        "{problems:?}"
    );
    let allowed = good(&least_and(&format!("{crl}\noutgoing: {{allow: [10.1.0.0/16]}}")));
    assert_eq!(allowed.outgoing_settings().unwrap().allow.len(), 1);
}

#[test]
fn a_file_of_roots_that_cannot_be_used_is_a_problem_at_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roots.pem");
    let config = good(&least_and(&format!("outgoing: {{ca: '{}'}}", path.display())));
    for content in [None, Some("nothing here")] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let problems = config.outgoing_settings().unwrap_err();
        assert!(
            problems.0.iter().all(|problem| problem.line == 4 && problem.what.contains("roots.pem")),
            "{problems:?}"
        );
    }
}
