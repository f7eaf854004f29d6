//! What somebody did who meant harm, or did not look: each of these worked once.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certbound::app;
use certbound::clock::ManualClock;
use certbound::http::Kind;
use openssl::ecdsa::EcdsaSig;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use serde_json::{Value, json};

use crate::support::pki::DAY;
use crate::support::{Server, Setup};

#[test]
fn a_host_that_is_none_or_not_that_of_the_target_is_no_request() {
    let server = Server::start();
    let form = "grant_type=client_credentials&client_id=billing";
    let billing = server.setup.pki.client("billing.example.com");
    let ask = |target: &str, host: &str| {
        let mut connection = server.connect(Some(&billing));
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        );
        connection.send(head.as_bytes()).unwrap();
        let answer = connection.receive().unwrap();
        let closed = connection.get("/jwks").is_err();
        (answer.status, answer.body.is_empty() && closed)
    };
    for host in ["localhost", "LOCALHOST:8443", "[::1]:8443", "as.example.com"] {
        assert_eq!(ask("/token", host), (200, false), "{host}");
    }
    for host in ["", "user:secret@localhost", "[::1", "a/b", "a b", "localhost:x:y"] {
        assert_eq!(ask("/token", host), (400, true), "{host:?}");
    }
    assert_eq!(ask("https://LOCALHOST/token", "localhost"), (200, false));
    assert_eq!(ask("https://evil.example/token", "localhost"), (400, true));
}

#[test]
fn strangers_who_hold_every_connection_keep_no_operator_out() {
    let more = "limits: { connections: 4, head_timeout: 10s }\n".to_owned();
    let server = Setup { more, ..Setup::new() }.start();
    let address = server.address(Kind::Mtls);
    let held: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    // One that a worker has taken up proves nothing for the others; two seconds of trying do.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        assert_eq!(server.admin("/readyz").status, 200);
        assert_eq!(server.control("GET", "keys", None).status, 200);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    drop(held);
}

#[test]
fn a_token_with_a_longer_life_than_ours_is_inactive_however_well_signed() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    let now = server.now();
    assert!(server.is_active(&signed_again(&server, &token, &json!({ "exp": now + 86_400 }))));
    for longer in [json!({ "exp": now + 86_401 }), json!({ "exp": i64::MAX }), json!({ "iat": i64::MIN })] {
        // "Every token of this client up to now" is remembered for a day, and this one would outlive it.
        assert!(!server.is_active(&signed_again(&server, &token, &longer)), "{longer}");
    }
}

/// The token with other claims, signed by the server's own key: what an imported key makes possible.
fn signed_again(server: &Server, token: &str, changes: &Value) -> String {
    let file = fs::read_dir(server.setup.path("keys")).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|file| file.extension().is_some_and(|end| end == "pem")).unwrap();
    let key = PKey::private_key_from_pem(&fs::read(file).unwrap()).unwrap().ec_key().unwrap();
    let mut parts = token.split('.');
    let header = parts.next().unwrap();
    let mut claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap()).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = EcdsaSig::sign(&sha256(message.as_bytes()), &key).unwrap();
    let half = |number: &openssl::bn::BigNumRef| number.to_vec_padded(32).unwrap();
    let signature = [half(signature.r()), half(signature.s())].concat();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_pipe_in_the_place_of_a_certificate_stops_nothing() {
    for file in ["server.key", "corp.pem"] {
        let server = Server::start();
        let path = server.setup.path(file);
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let problems = server.reload();
        assert!(problems.iter().any(|what| what.contains("not a regular file")), "{problems:?}");
        let billing = server.setup.pki.client("billing.example.com");
        assert_eq!(server.token("billing", Some(&billing)).status, 200, "{file}: what was in force stays");
        // And the server ends when it is told to, which it does now.
    }
}

#[test]
fn a_second_server_takes_no_socket_from_the_first() {
    let mut setup = Setup::new();
    setup.listener = " }\n  - { kind: admin, bind: \"unix:admin.sock\"".to_owned();
    let server = setup.start();
    let socket = server.setup.path("admin.sock");
    let second = app::start(server.setup.config(), Arc::<ManualClock>::clone(&server.setup.clock));
    assert!(second.is_err(), "the store is held by the first");
    assert!(UnixStream::connect(&socket).is_ok(), "and its socket still answers");
}

#[test]
fn an_expired_certificate_of_a_listener_is_told_and_stops_nothing() {
    let server = Server::start();
    let expired = |what: &String| what.contains("the certificate of this listener has expired");
    assert!(!server.reload().iter().any(expired));
    server.setup.clock.advance(DAY * 3651);
    let problems = server.reload();
    assert!(problems.iter().any(expired), "{problems:?}");
    let ready = server.admin("/readyz");
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("degraded")), "{ready:?}");
}

#[test]
fn a_path_that_ends_like_an_endpoint_is_not_counted_as_one() {
    let server = Server::start();
    assert_eq!(server.connect(None).get("/evil/token").unwrap().status, 404);
    server.control("POST", "tokens/revoke", Some(json!({ "token": "x" })));
    let metrics = String::from_utf8(server.admin("/metrics").body).unwrap();
    assert!(metrics.contains("path=\"other\",status=\"404\""), "{metrics}");
    assert!(metrics.contains("path=\"/api/v1\",status=\"200\""), "{metrics}");
    assert!(!metrics.contains("path=\"/token\"") && !metrics.contains("path=\"/revoke\""), "{metrics}");
}
