//! TLS of the listeners: what is offered, asked for and proven.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use certbound::http::Kind;

use crate::support::{Server, Setup, TlsVersion};

/// One handshake by the `openssl` program.
fn s_client(server: &Server, kind: Kind, options: &str) -> String {
    let address = server.address(kind).to_string();
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &address])
        .args(options.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the openssl program is installed");
    drop(client.stdin.take());
    let output = client.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn only_tls_1_3_and_the_four_suites_of_tls_1_2_are_spoken() {
    let server = Server::start();
    for kind in [Kind::Mtls, Kind::Public] {
        for fine in [
            "-tls1_3",
            "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256",
            "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384",
        ] {
            let said = s_client(&server, kind, fine);
            assert!(said.contains("Cipher is ") && !said.contains("Cipher is (NONE)"), "{fine}: {said}");
        }
        for weak in [
            "-tls1_1",
            "-tls1",
            "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305",
            "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA",
            "-tls1_2 -cipher AES128-GCM-SHA256",
        ] {
            let said = s_client(&server, kind, weak);
            assert!(!said.contains("Cipher is ECDHE") && !said.contains("Cipher is AES"), "{weak}: {said}");
        }
    }
}

#[test]
fn a_certificate_is_asked_for_on_one_listener_and_without_names_of_cas() {
    let server = Server::start();
    let asked = s_client(&server, Kind::Mtls, "-tls1_3");
    assert!(asked.contains("No client certificate CA names sent"), "{asked}");
    assert!(asked.contains("Requested Signature Algorithms"), "{asked}");
    let public = s_client(&server, Kind::Public, "-tls1_3");
    assert!(!public.contains("Requested Signature Algorithms"), "{public}");
}

#[test]
fn a_door_that_requires_a_certificate_lets_nobody_in_without() {
    let server = Setup { listener: ", client_certificate: require".to_owned(), ..Setup::new() }.start();
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let without =
            server.try_connect(Kind::Mtls, None, Some(version)).and_then(|mut it| it.post("/token", &form));
        assert!(without.is_err(), "{version:?}: {without:?}");
        let billing = server.setup.pki.client("billing.example.com");
        let mut with = server.connect_by(Some(&billing), Some(version));
        assert_eq!(with.post("/token", &form).unwrap().status, 200, "{version:?}");
    }
}

#[test]
fn plain_http_on_the_tls_port_gets_no_answer() {
    let server = Server::start();
    let mut tcp = std::net::TcpStream::connect(server.address(Kind::Mtls)).unwrap();
    tcp.write_all(b"GET /jwks HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    tcp.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn every_kind_of_key_that_tls_can_use_gets_a_token() {
    use certbound::pki::workshop::KeyKind;
    let server = Server::start();
    for key in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048, KeyKind::Ed25519] {
        let mut template = server.setup.pki.template("billing");
        template.dns = vec!["billing.example.com".to_owned()];
        template.key = key;
        let shown = server.setup.pki.issue(&template);
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
            let answer = server.connect_by(Some(&shown), Some(version)).post("/token", &form).unwrap();
            assert_eq!(answer.status, 200, "{key:?} over {version:?}");
        }
    }
}

#[test]
fn a_new_server_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let server = Server::start();
    let mut kept = server.connect(None);
    let serial = |server: &Server| {
        let connection = {
            let mut c = server.connect(None);
            c.get("/jwks").unwrap();
            c
        };
        connection.tls().peer_certificates().unwrap()[0].to_vec()
    };
    let before = serial(&server);
    let mut template = server.setup.pki.template("localhost");
    template.dns = vec!["localhost".to_owned()];
    template.purpose = certbound::pki::workshop::LeafPurpose::Server;
    let renewed = server.setup.pki.server_ca.issue(&template).unwrap();
    server.setup.write("server.pem", renewed.certificate_pem());
    assert!(!server.reload().is_empty(), "a certificate without its key is a problem");
    assert_eq!(serial(&server), before, "and the old one stays");
    assert_eq!(server.admin("/readyz").json()["status"], "degraded");
    server.setup.write("server.key", renewed.key_pem().as_str());
    assert_eq!(server.reload(), Vec::<String>::new());
    assert_eq!(serial(&server), renewed.certificate_der());
    assert_eq!(kept.get("/jwks").unwrap().status, 200, "connections go on");
    assert_eq!(server.admin("/readyz").json()["status"], "ready");
}
