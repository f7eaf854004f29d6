//! Signing keys come and go while tokens live. (A simulated year of the schedule is tested where the schedule is.)

use serde_json::{Value, json};

use crate::support::{Server, Setup};

fn kids(server: &Server) -> Vec<String> {
    let keys = server.connect(None).get("/jwks").unwrap().json();
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn kid_of(token: &str) -> String {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

#[test]
fn a_rotated_key_is_published_before_it_signs_and_the_old_one_verifies_until_its_tokens_are_gone() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let old = server.good_token("billing", &billing);
    let answer = server.control("POST", "keys/rotate", Some(json!({ "now": false })));
    assert_eq!(answer.status, 200, "{answer:?}");
    let next = answer.json()["kid"].as_str().unwrap().to_owned();
    assert!(kids(&server).contains(&next), "published");
    assert_ne!(kid_of(&server.good_token("billing", &billing)), next, "and not signing");
    server.setup.clock.advance(std::time::Duration::from_secs(15 * 60));
    assert_eq!(kid_of(&server.good_token("billing", &billing)), next, "fifteen minutes later");
    assert!(kids(&server).contains(&kid_of(&old)));
    let states = server.control("GET", "keys", None).json();
    let states: Vec<_> =
        states["keys"].as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["retired", "signing"]);
}

#[test]
fn a_revoked_key_ends_its_tokens_at_once_and_another_signs() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    assert!(server.is_active(&token));
    let answer = server.control("DELETE", &format!("keys/{}", kid_of(&token)), None);
    assert_eq!(answer.status, 204, "{answer:?}");
    assert!(!server.is_active(&token), "remembered or not");
    assert!(!kids(&server).contains(&kid_of(&token)));
    let new = server.good_token("billing", &billing);
    assert!(kid_of(&new) != kid_of(&token) && server.is_active(&new));
    assert_eq!(server.control("DELETE", "keys/unknown", None).status, 404);
    let server = server.stop().start();
    assert!(!server.is_active(&token) && server.is_active(&new), "after a restart too");
}

#[test]
fn keys_are_made_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::start();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let directory = server.setup.path("keys");
    assert_eq!(mode(&directory), 0o700);
    let keys: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .collect();
    assert_eq!(keys.len(), 1);
    assert_eq!(mode(&keys[0]), 0o600);
    assert!(keys[0].to_str().unwrap().ends_with("-ES256.pem"));
    assert_eq!(mode(&server.setup.path("control.sock")), 0o600);
}

#[test]
fn a_key_of_ones_own_can_be_imported() {
    let server = Server::start();
    let key = openssl::rsa::Rsa::generate(2048).unwrap();
    let pem = String::from_utf8(key.private_key_to_pem().unwrap()).unwrap();
    let answer = server.control("POST", "keys/import", Some(json!({ "pem": pem })));
    assert_eq!(answer.status, 200, "{answer:?}");
    let kid = answer.json()["kid"].as_str().unwrap().to_owned();
    assert!(kids(&server).contains(&kid));
    server.setup.clock.advance(std::time::Duration::from_secs(901));
    let token = server.good_token("billing", &server.setup.pki.client("billing.example.com"));
    assert_eq!(kid_of(&token), kid);
    assert!(server.is_active(&token));
    let weak = openssl::rsa::Rsa::generate(1024).unwrap();
    let pem = String::from_utf8(weak.private_key_to_pem().unwrap()).unwrap();
    assert_eq!(server.control("POST", "keys/import", Some(json!({ "pem": pem }))).status, 422);
}

#[test]
fn a_key_that_others_can_read_stops_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::start();
    let setup: Setup = server.stop();
    let key = std::fs::read_dir(setup.path("keys")).unwrap().map(|entry| entry.unwrap().path());
    let key =
        key.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "pem")).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let clock = std::sync::Arc::<certbound::clock::ManualClock>::clone(&setup.clock);
    assert!(matches!(
        certbound::app::start(setup.config(), clock),
        Err(certbound::app::StartError::Problems(problems)) if problems.has_errors()
    ));
}
