//! The clients change while requests are in flight.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::server::eventually;
use crate::support::{Server, Setup};

#[test]
fn a_new_file_is_in_force_within_two_seconds_and_a_deleted_one_is_not_any_more() {
    let server = Server::start();
    let orders = server.setup.pki.client("orders.example.com");
    let began = Instant::now();
    server.setup.client("orders", "tls_client_auth_san_dns: orders.example.com\n");
    eventually("the new client is known", || server.token("orders", Some(&orders)).status == 200);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let began = Instant::now();
    std::fs::remove_file(server.setup.path("clients.d/orders.yaml")).unwrap();
    eventually("the client is gone", || server.token("orders", Some(&orders)).status == 400);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_broken_file_keeps_its_clients_and_is_told() {
    let server = Server::start();
    let (billing, orders) =
        (server.setup.pki.client("billing.example.com"), server.setup.pki.client("orders.example.com"));
    server
        .setup
        .write("clients.d/billing.yaml", "client_id: billing\ntoken_endpoint_auth_methd: tls_client_auth\n");
    server.setup.client("orders", "tls_client_auth_san_dns: orders.example.com\n");
    assert!(!server.reload().is_empty());
    assert_eq!(server.token("billing", Some(&billing)).status, 200, "the broken file keeps what it had");
    assert_eq!(server.token("orders", Some(&orders)).status, 200, "and every other file is applied");
    let ready = server.admin("/readyz");
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("degraded")));
    assert!(String::from_utf8(ready.body).unwrap().contains("billing.yaml"));
    let metrics = String::from_utf8(server.admin("/metrics").body).unwrap();
    assert!(metrics.contains("certbound_clients_broken_files 1"), "{metrics}");

    server.setup.client("billing", "tls_client_auth_san_dns: billing.example.com\nscope: read\n");
    assert_eq!(server.reload(), Vec::<String>::new());
    assert_eq!(server.token("billing", Some(&billing)).json()["scope"], "read");
    assert_eq!(server.admin("/readyz").json()["status"], "ready");
}

#[test]
fn no_request_fails_while_files_are_replaced() {
    let setup = Setup::new();
    setup.client("orders", "tls_client_auth_san_dns: orders.example.com\nscope: a\n");
    let server = setup.start();
    let (billing, orders) =
        (server.setup.pki.client("billing.example.com"), server.setup.pki.client("orders.example.com"));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (client, shown) in [("billing", &billing), ("orders", &orders)] {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                let mut connection = server.connect(Some(shown));
                let form = [("grant_type", "client_credentials"), ("client_id", client)];
                while !over.load(Ordering::Relaxed) {
                    let answer = connection.post("/token", &form).unwrap();
                    assert_eq!(answer.status, 200, "{client}: {answer:?}");
                }
            });
        }
        for round in 0..60 {
            let scope = if round % 2 == 0 { "a" } else { "a b" };
            let text = format!("tls_client_auth_san_dns: orders.example.com\nscope: {scope}\n");
            match round % 3 {
                0 => server.setup.client("orders", &text),
                1 => {
                    // As editors and mounted secrets do it.
                    let whole =
                        format!("client_id: orders\ntoken_endpoint_auth_method: tls_client_auth\n{text}");
                    server.setup.write("clients.d/.orders.tmp", whole);
                    let target = server.setup.path("clients.d/orders.yaml");
                    std::fs::rename(server.setup.path("clients.d/.orders.tmp"), target).unwrap();
                }
                _ => server.setup.write("clients.d/orders.yaml", "client_id: orders\ntoken_endpoi"),
            }
            server.reload();
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_directory_that_vanishes_changes_nothing() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    std::fs::rename(server.setup.path("clients.d"), server.setup.path("elsewhere")).unwrap();
    assert!(!server.reload().is_empty());
    assert_eq!(server.token("billing", Some(&billing)).status, 200);
    assert_eq!(server.admin("/readyz").json()["status"], "degraded");
    std::fs::rename(server.setup.path("elsewhere"), server.setup.path("clients.d")).unwrap();
    assert_eq!(server.reload(), Vec::<String>::new());
}

#[test]
fn anchors_are_read_again_and_broken_ones_keep_the_old() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    for broken in ["", "# nothing\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        server.setup.write("corp.pem", broken);
        assert!(!server.reload().is_empty(), "{broken:?}");
        assert_eq!(server.token("billing", Some(&billing)).status, 200, "{broken:?}");
    }
    let pki = crate::support::Pki::new();
    server.setup.write("corp.pem", pki.corp.identity().certificate_pem());
    assert_eq!(server.reload(), Vec::<String>::new());
    assert_eq!(server.token("billing", Some(&billing)).error(), "invalid_client", "another CA now");
    assert_eq!(server.token("billing", Some(&pki.client("billing.example.com"))).status, 200);
}

#[test]
fn a_change_that_needs_a_restart_is_told_and_left() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let config = std::fs::read_to_string(server.setup.path("certbound.yaml")).unwrap();
    let changed = config.replace("https://as.example.com", "https://other.example.com").replace("5m", "7m");
    server.setup.write("certbound.yaml", changed);
    server.reload();
    assert_eq!(server.token("billing", Some(&billing)).json()["expires_in"], 420, "this one takes effect");
    let metadata = server.connect(None).get("/.well-known/oauth-authorization-server").unwrap().json();
    assert_eq!(metadata["issuer"], "https://as.example.com", "this one does not");
    server.setup.write("certbound.yaml", "issuer: nothing\n");
    assert!(!server.reload().is_empty());
    assert_eq!(
        server.token("billing", Some(&billing)).json()["expires_in"],
        420,
        "a broken file keeps the old"
    );
}
