//! A token belongs to one certificate (RFC 8705 §3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certbound::http::Kind;

use crate::support::{Server, Setup, TlsVersion};

#[test]
fn a_token_bound_to_another_certificate_is_inactive_whichever_way_the_certificate_is_named() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let thief = server.setup.pki.client("thief.example.com");
    let token = server.good_token("billing", &billing);
    let der = |shown: &crate::support::Shown| STANDARD.encode(&shown.chain[0]);
    let pem = |shown: &crate::support::Shown| {
        String::from_utf8(openssl::x509::X509::from_der(&shown.chain[0]).unwrap().to_pem().unwrap()).unwrap()
    };
    for (shown, active) in [(&billing, true), (&thief, false)] {
        for certificate in [format!(":{}:", der(shown)), der(shown), pem(shown)] {
            let answer = server.introspect(&token, &[("client_certificate", &certificate)]);
            assert_eq!(answer.json()["active"], active, "{certificate}");
        }
        let answer = server.introspect(&token, &[("x5t#S256", &shown.thumbprint())]);
        assert_eq!(answer.json()["active"], active);
    }
    let both = [("client_certificate", &*der(&billing)), ("x5t#S256", &billing.thumbprint())];
    assert_eq!(server.introspect(&token, &both).json()["active"], true);
    let different = [("client_certificate", &*der(&billing)), ("x5t#S256", &thief.thumbprint())];
    assert_eq!(server.introspect(&token, &different).json()["active"], false);
}

#[test]
fn an_empty_certificate_means_that_none_was_shown_and_never_that_nobody_cares() {
    let server = Server::start();
    let token = server.good_token("billing", &server.setup.pki.client("billing.example.com"));
    for empty in ["client_certificate", "x5t#S256"] {
        assert_eq!(server.introspect(&token, &[(empty, "")]).json(), serde_json::json!({ "active": false }));
    }
    let billing = server.setup.pki.client("billing.example.com").thumbprint();
    let half = [("client_certificate", ""), ("x5t#S256", &*billing)];
    assert_eq!(server.introspect(&token, &half).json()["active"], false);
}

#[test]
fn a_certificate_that_cannot_be_decoded_is_an_error_and_not_an_answer() {
    let server = Server::start();
    let token = server.good_token("billing", &server.setup.pki.client("billing.example.com"));
    for (name, value) in [
        ("client_certificate", "not base64!"),
        ("client_certificate", "::"),
        ("client_certificate", ":AAAA"),
        ("client_certificate", "AAAA"),
        ("client_certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("x5t#S256", "short"),
        ("x5t#S256", "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="),
    ] {
        let answer = server.introspect(&token, &[(name, value)]);
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{name}={value}");
    }
}

#[test]
fn a_new_certificate_needs_a_new_token() {
    let server = Server::start();
    let (old, new) =
        (server.setup.pki.client("billing.example.com"), server.setup.pki.client("billing.example.com"));
    let (before, after) = (server.good_token("billing", &old), server.good_token("billing", &new));
    let check = |token: &str, thumbprint: &str| {
        server.introspect(token, &[("x5t#S256", thumbprint)]).json()["active"].clone()
    };
    assert_eq!(check(&before, &new.thumbprint()), false);
    assert_eq!(check(&after, &new.thumbprint()), true);
}

#[test]
fn no_session_is_resumed_where_certificates_are_asked_for() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let root = server.setup.pki.server_ca.identity().certificate_der();
        let config = crate::support::Connection::config(root, Some(&billing), Some(version));
        for _ in 0..2 {
            // One configuration, one session cache: the second connection would resume if it could.
            let address = server.address(Kind::Mtls);
            let mut connection = crate::support::Connection::open(address, config.clone()).unwrap();
            let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
            assert_eq!(connection.post("/token", &form).unwrap().status, 200);
            assert_eq!(connection.tls().handshake_kind(), Some(rustls::HandshakeKind::Full), "{version:?}");
        }
    }
}

#[test]
fn a_resumed_session_is_judged_like_any_other_where_resumption_is_wanted() {
    let server = Setup { tls: ", resumption: 10m".to_owned(), ..Setup::new() }.start();
    let billing = server.setup.pki.client("billing.example.com");
    let root = server.setup.pki.server_ca.identity().certificate_der();
    let config = crate::support::Connection::config(root, Some(&billing), Some(TlsVersion::Tls12));
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    let ask = || {
        let mut connection =
            crate::support::Connection::open(server.address(Kind::Mtls), config.clone()).unwrap();
        let status = connection.post("/token", &form).unwrap().status;
        (status, connection.tls().handshake_kind())
    };
    assert_eq!(ask(), (200, Some(rustls::HandshakeKind::Full)));
    assert_eq!(ask(), (200, Some(rustls::HandshakeKind::Resumed)));
    server.setup.client("billing", "tls_client_auth_san_dns: elsewhere.example.com\n");
    server.reload();
    assert_eq!(ask(), (400, Some(rustls::HandshakeKind::Resumed)));
}
