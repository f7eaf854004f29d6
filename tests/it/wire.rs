//! What strangers learn: one table for every way in which a request can be wrong.

use certbound::http::Kind;

use crate::support::{Connection, Response, Server, Setup, Shown};

const TOKEN: &str = "grant_type=client_credentials&client_id=billing";

fn post(server: &Server, shown: Option<&Shown>, path: &str, body: &str, headers: &str) -> Response {
    server.connect(shown).post_body(path, body.as_bytes(), headers).unwrap()
}

#[test]
fn all_refusals_of_authentication_are_equal_but_for_the_reference() {
    let setup = Setup::new();
    let pinned = setup.pki.self_signed("edge");
    setup.pinned("edge", &[&pinned]);
    setup.client("off", "tls_client_auth_san_dns: off.example.com\nenabled: false\n");
    let server = setup.start();
    let pki = &server.setup.pki;
    let billing = pki.client("billing.example.com");
    let refusals = [
        ("no certificate", server.token("billing", None)),
        ("unknown client", server.token("nobody", Some(&billing))),
        ("other subject", server.token("billing", Some(&pki.client("other.example.com")))),
        ("untrusted", server.token("billing", Some(&pki.self_signed("billing.example.com")))),
        ("not registered", server.token("edge", Some(&billing))),
        ("disabled", server.token("off", Some(&pki.client("off.example.com")))),
        ("no client_id", post(&server, Some(&billing), "/token", "grant_type=client_credentials", "")),
    ];
    let (_, first) = &refusals[0];
    assert_eq!(
        first.body_without_reference(),
        "{\"error\":\"invalid_client\",\"error_description\":\"Client authentication failed (ref )\"}"
    );
    let mut references = std::collections::BTreeSet::new();
    for (why, answer) in &refusals {
        assert_eq!(answer.status, 400, "{why}");
        assert_eq!(answer.body_without_reference(), first.body_without_reference(), "{why}");
        assert_eq!(answer.sorted_headers(), first.sorted_headers(), "{why}");
        assert!(references.insert(answer.body.clone()), "a reference is used once");
    }
}

#[test]
fn an_authorization_header_is_never_a_way_in() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let realm = "realm=\"https://as.example.com\"";
    for path in ["/token", "/introspect", "/revoke"] {
        for (header, challenge) in [
            ("Basic YmlsbGluZzp4", format!("Basic {realm}")),
            ("basic YmlsbGluZzp4", format!("Basic {realm}")),
            ("Bearer x", format!("Bearer {realm}, error=\"invalid_token\"")),
            ("Basically x", format!("Bearer {realm}, error=\"invalid_token\"")),
            ("", format!("Bearer {realm}, error=\"invalid_token\"")),
        ] {
            let answer = post(&server, Some(&billing), path, TOKEN, &format!("Authorization: {header}\r\n"));
            assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{path} {header}");
            assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()), "{path} {header}");
        }
    }
}

#[test]
fn one_way_to_authenticate_and_no_second() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    for more in ["client_secret=x", "client_assertion=x", "client_assertion_type=x"] {
        let body = format!("{TOKEN}&{more}");
        let both = post(&server, Some(&billing), "/token", &body, "");
        assert_eq!((both.status, both.error().as_str()), (400, "invalid_request"), "{more}");
        let alone = post(&server, None, "/token", &body, "");
        assert_eq!((alone.status, alone.error().as_str()), (400, "invalid_client"), "{more}");
    }
    assert_eq!(post(&server, Some(&billing), "/token", &format!("{TOKEN}&client_secret="), "").status, 200);
}

#[test]
fn framing_and_form_come_before_the_client() {
    let server = Server::start();
    for (body, status) in [
        ("client_id=a&client_id=a", 400),
        ("grant_type=x&grant_type=y", 400),
        ("client_id=%ZZ", 400),
        ("client_id=%C3", 400),
        ("client_id=a%00b", 400),
        ("unknown=1&unknown=2", 400),
    ] {
        let answer = post(&server, None, "/token", body, "");
        assert_eq!((answer.status, answer.error().as_str()), (status, "invalid_request"), "{body}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let large = post(&server, None, "/token", &format!("x={}", "y".repeat(70_000)), "");
    assert_eq!((large.status, large.error().as_str()), (413, "invalid_request"));
}

#[test]
fn the_body_is_a_form_in_utf_8() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let send = |content_type: &str| {
        let mut connection = server.connect(Some(&billing));
        let length = TOKEN.len();
        let head = format!(
            "POST /token HTTP/1.1\r\nHost: localhost\r\n{content_type}Content-Length: {length}\r\n\r\n{TOKEN}"
        );
        connection.send(head.as_bytes()).unwrap();
        connection.receive().unwrap()
    };
    for fine in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-Urlencoded",
        "application/x-www-form-urlencoded;charset=UTF-8",
        "application/x-www-form-urlencoded ; charset=\"utf-8\"",
    ] {
        assert_eq!(send(&format!("Content-Type: {fine}\r\n")).status, 200, "{fine}");
    }
    for odd in [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
        "Content-Type: application/x-www-form-urlencoded; charset=utf-16\r\n",
        "Content-Type: application/x-www-form-urlencodedx\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\n",
    ] {
        let answer = send(odd);
        assert_eq!((answer.status, answer.error().as_str()), (415, "invalid_request"), "{odd}");
    }
}

#[test]
fn other_methods_and_other_paths_are_oauth_errors_too() {
    let server = Server::start();
    let ask = |line: &str| {
        let mut connection = server.connect(None);
        connection.send(format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        if line.starts_with("HEAD") {
            connection.receive_head().unwrap()
        } else {
            connection.receive().unwrap()
        }
    };
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "BREW"] {
        for path in ["/token", "/introspect", "/revoke"] {
            let answer = ask(&format!("{method} {path}"));
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method} {path}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
    for path in
        ["/", "/Token", "/token/", "//token", "/token;x", "/verify", "/metrics", "/livez", "/api/v1/clients"]
    {
        let answer = ask(&format!("GET {path}"));
        assert_eq!((answer.status, answer.error().as_str()), (404, "invalid_request"), "{path}");
    }
}

#[test]
fn every_listener_has_its_routes_and_no_others() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    for path in ["/token", "/introspect", "/revoke"] {
        let mut public = server.try_connect(Kind::Public, Some(&billing), None).unwrap();
        let answer = public.post_body(path, TOKEN.as_bytes(), "").unwrap();
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (400, "invalid_client"),
            "no certificate can arrive there"
        );
    }
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/token", 404),
        ("/jwks", 404),
        ("/api/v1/clients", 404),
    ] {
        assert_eq!(server.admin(path).status, status, "{path}");
    }
    assert_eq!(server.admin("/readyz").json()["status"], "ready");
}

#[test]
fn a_header_that_names_a_certificate_is_dropped_and_counted() {
    let server = Server::start();
    let victim = server.setup.pki.client("billing.example.com");
    let base64 = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(&victim.chain[0])
    };
    for header in ["Client-Cert", "X-SSL-Client-Cert", "X-Forwarded-Client-Cert", "X-ARR-ClientCert"] {
        let answer = post(&server, None, "/token", TOKEN, &format!("{header}: :{base64}:\r\n"));
        assert_eq!(answer.error(), "invalid_client", "{header}");
    }
    let metrics = String::from_utf8(server.admin("/metrics").body).unwrap();
    assert!(metrics.contains("certbound_headers_dropped_total 4"), "{metrics}");
    assert!(metrics.contains("certbound_refused_total{reason=\"no_certificate\"} 4"), "{metrics}");
}

#[test]
fn requests_that_could_be_read_in_two_ways_are_not_read_at_all() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let length = TOKEN.len();
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for framing in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: 5\r\n"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: +{length}\r\n"),
        format!("Content-Length: 0x{length}\r\n"),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        format!("Content-Length : {length}\r\n"),
    ] {
        let mut connection: Connection = server.connect(Some(&billing));
        let head = format!("POST /token HTTP/1.1\r\nHost: localhost\r\n{form}{framing}\r\n{TOKEN}");
        connection.send(head.as_bytes()).unwrap();
        let status = connection.receive().map_or(0, |answer| answer.status);
        assert!(status != 200 && status < 500, "{framing}: {status}");
    }
}
