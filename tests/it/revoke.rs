//! How tokens end: `POST /revoke` (RFC 7009), the commands, and what goes with a client or a registered certificate.

use std::time::Duration;

use certbound::clock::Clock as _;
use serde_json::json;

use crate::support::server::eventually;
use crate::support::{Server, Setup};

#[test]
fn a_revoked_token_is_inactive_and_its_sister_is_not() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let (token, sister) = (server.good_token("billing", &billing), server.good_token("billing", &billing));
    let answer = server.revoke("billing", &billing, &token);
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(!server.is_active(&token) && server.is_active(&sister));
    assert_eq!(server.revoke("billing", &billing, &token).status, 200, "again");
}

#[test]
fn what_is_no_live_token_needs_no_ending() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    for text in ["garbage", "a.b.c", &format!("{token}x"), &"x".repeat(30_000)] {
        assert_eq!(server.revoke("billing", &billing, text).status, 200, "{}", &text[..text.len().min(40)]);
    }
    server.setup.clock.advance(Duration::from_secs(301));
    assert_eq!(server.revoke("billing", &billing, &token).status, 200, "expired");
}

#[test]
fn a_token_that_is_revoked_while_the_clock_is_wrong_stays_so_when_it_is_right() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let right = server.setup.clock.now();
    let (hour, minutes) = (Duration::from_secs(3600), Duration::from_secs(240));
    // Ahead, where the token has expired; and issued ahead, where it is none of today's.
    let expired = server.good_token("billing", &billing);
    server.setup.clock.set(right.plus(hour));
    let early = server.good_token("billing", &billing);
    assert_eq!(server.revoke("billing", &billing, &expired).status, 200);
    server.setup.clock.set(right);
    assert!(!server.is_active(&expired));
    assert_eq!(server.revoke("billing", &billing, &early).status, 200);
    server.setup.clock.set(right.plus(hour));
    assert!(!server.is_active(&early));
    // Forgotten, far in a future that was none; the token must not be alive again.
    server.setup.clock.set(right.plus(hour * 48));
    let server = server.stop().start();
    eventually("it forgets", || server.control("GET", "store/check", None).json()["revoked_tokens"] == 0);
    server.setup.clock.set(right.plus(hour).plus(minutes));
    assert!(!server.is_active(&early));
}

#[test]
fn another_clients_token_is_not_ours_to_end() {
    let setup = Setup::new();
    setup.client("orders", "tls_client_auth_san_dns: orders.example.com\n");
    let server = setup.start();
    let (billing, orders) =
        (server.setup.pki.client("billing.example.com"), server.setup.pki.client("orders.example.com"));
    let token = server.good_token("billing", &billing);
    let answer = server.revoke("orders", &orders, &token);
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"));
    assert!(server.is_active(&token));
    let missing = server.connect(Some(&orders)).post("/revoke", &[("client_id", "orders")]).unwrap();
    assert_eq!((missing.status, missing.error().as_str()), (400, "invalid_request"));
    server.setup.clock.advance(Duration::from_secs(301));
    assert_eq!(server.revoke("orders", &orders, &token).status, 200, "it has expired");
    server.setup.clock.set(server.setup.clock.now().minus(Duration::from_secs(301)));
    let unproven =
        server.connect(None).post("/revoke", &[("client_id", "billing"), ("token", &token)]).unwrap();
    assert_eq!((unproven.status, unproven.error().as_str()), (400, "invalid_client"));
    assert!(server.is_active(&token));
}

#[test]
fn a_client_may_revoke_with_the_certificate_it_has_now() {
    let server = Server::start();
    let token = server.good_token("billing", &server.setup.pki.client("billing.example.com"));
    let renewed = server.setup.pki.client("billing.example.com");
    assert_eq!(server.revoke("billing", &renewed, &token).status, 200);
    assert!(!server.is_active(&token));
}

#[test]
fn a_revocation_outlives_the_server() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let (ended, living) = (server.good_token("billing", &billing), server.good_token("billing", &billing));
    server.revoke("billing", &billing, &ended);
    let server = server.stop().start();
    assert!(!server.is_active(&ended) && server.is_active(&living));
}

#[test]
fn every_token_of_a_client_ends_up_to_the_second_of_the_answer() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let before = server.good_token("billing", &billing);
    // The answer waits for the end of the second, and the clock stands until it is moved.
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.control("POST", "clients/billing/revoke", Some(json!({}))));
        eventually("the client's tokens have ended", || !server.is_active(&before));
        assert!(!asked.is_finished(), "the second has not ended");
        let meanwhile = server.good_token("billing", &billing);
        assert!(!server.is_active(&meanwhile), "issued within that second");
        server.setup.clock.advance(Duration::from_secs(1));
        asked.join().unwrap()
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    let after = server.good_token("billing", &billing);
    assert!(server.is_active(&after) && !server.is_active(&before));
}

#[test]
fn an_operator_ends_a_token_by_its_text() {
    let server = Server::start();
    let token = server.good_token("billing", &server.setup.pki.client("billing.example.com"));
    let answer = server.control("POST", "tokens/revoke", Some(json!({ "token": token })));
    assert_eq!(answer.json()["revoked"], true);
    assert!(!server.is_active(&token));
    let unknown = server.control("POST", "tokens/revoke", Some(json!({ "token": "x" })));
    assert_eq!(unknown.json()["revoked"], false);
}

#[test]
fn the_tokens_of_a_client_end_with_it_and_stay_dead_if_it_was_gone_for_five_seconds() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let document = "tls_client_auth_san_dns: billing.example.com\nscope: read write\n";
    let leave_for = |seconds: u64| {
        let token = server.good_token("billing", &billing);
        std::fs::remove_file(server.setup.path("clients.d/billing.yaml")).unwrap();
        server.reload();
        assert!(!server.is_active(&token), "gone");
        server.setup.clock.advance(Duration::from_secs(seconds));
        server.setup.client("billing", document);
        server.reload();
        server.is_active(&token)
    };
    assert!(leave_for(2), "a slip of two seconds harms nobody");
    server.setup.clock.advance(Duration::from_secs(10));
    assert!(!leave_for(5));
    assert!(server.is_active(&{
        server.setup.clock.advance(Duration::from_secs(1));
        server.good_token("billing", &billing)
    }));
}

#[test]
fn the_tokens_of_a_registered_certificate_end_when_it_is_not_listed_any_more() {
    let setup = Setup::new();
    let (one, two) = (setup.pki.self_signed("edge"), setup.pki.self_signed("edge next"));
    setup.pinned("edge", &[&one, &two]);
    let server = setup.start();
    let (first, second) = (server.good_token("edge", &one), server.good_token("edge", &two));
    server.setup.pinned("edge", &[&two]);
    server.reload();
    assert!(!server.is_active(&first) && server.is_active(&second));
    assert_eq!(server.token("edge", Some(&one)).error(), "invalid_client");
}

#[test]
fn a_running_server_tells_the_state_of_its_store() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    let report = server.control("GET", "store/check", None);
    assert_eq!(report.status, 200, "{report:?}");
    assert!(server.is_active(&token));
    let lines = server.control("GET", "store/export", None);
    assert!(String::from_utf8(lines.body).unwrap().starts_with("{\"store_id\":"));
}
