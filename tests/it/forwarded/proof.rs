//! Who may hand on certificates: each proof alone and all together, right and wrong (contract §6, ruling 17).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certbound::http::Kind;
use certbound::http::forwarded::Dialect;
use certbound::pki::workshop::{Authority, Template};

use super::{bound_to, header, is_refused, listener, upstream};
use crate::support::crl::List;
use crate::support::pki::DAY;
use crate::support::program::Serving;
use crate::support::responder::Responder;
use crate::support::upstream::{Upstream, lines};
use crate::support::{Connection, Response, Server, Setup, Shown};

const BASIC: &str = "basic: { username: proxy, password: { file: secret } }";
const MTLS: &str = "mtls: { trust_anchors: internal, tls_client_auth_san_dns: proxy.internal }";
const GOOD_PASSWORD: &str = "Proxy-Authorization: Basic cHJveHk6czNjcmV0\r\n";

/// A listener with these proofs, and a CA that vouches for the proxy; `tls` is more of the listener.
fn setup(proxy: &str, tls: &str) -> (Setup, Authority) {
    let mut setup = Setup::new();
    let (from, to) = (setup.pki.now.minus(DAY), setup.pki.now.plus(DAY * 365));
    let internal = Authority::new(&Template::new("Internal CA", from, to)).unwrap();
    setup.write("internal.pem", internal.identity().certificate_pem());
    setup.write("internal.crl", List::new(1, setup.pki.now).signed_by(&internal));
    setup.write("secret", "s3cret\n");
    setup.client("billing", "tls_client_auth_san_dns: billing.example.com\ntrust_anchors: corp\n");
    setup.client(
        "gateway",
        "tls_client_auth_san_dns: gateway.example.com\ntrust_anchors: corp\ngrant_types: []\n",
    );
    setup.anchors = " }\n  internal: { file: internal.pem, crl: [{ file: internal.crl }]".into();
    setup.listeners = format!(
        "  - {{ kind: forwarded, bind: 127.0.0.1:0, dialect: rfc9440, proxy: {{ {proxy} }}{tls} }}\n"
    );
    (setup, internal)
}

const TLS: &str = ", tls: { certificate: server.pem, key: server.key }";

fn issue(setup: &Setup, ca: &Authority, dns: &str) -> Shown {
    let template = Template { dns: vec![dns.to_owned()], ..setup.pki.template(dns) };
    Shown::from(&ca.issue(&template).unwrap())
}

/// A proxy's connection over TLS.
fn over_tls(server: &Server, shown: Option<&Shown>) -> Connection {
    server.try_connect(Kind::Forwarded, shown, None).unwrap()
}

fn token(connection: &mut Connection, headers: &str) -> Response {
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    connection.post_with("/token", &form, headers).unwrap()
}

/// Refused because of the proxy, with the words that everybody hears; gives the part that did not hold and what it saw.
fn part(server: &Server, answer: &Response) -> (String, String) {
    is_refused(server, answer, "proxy_refused");
    let nobody = server.token("billing", None);
    assert_eq!(answer.body_without_reference(), nobody.body_without_reference());
    assert_eq!(answer.sorted_headers(), nobody.sorted_headers());
    let [_, check, seen] = server.refusal(answer);
    (check, seen)
}

#[test]
fn a_request_from_another_address_brings_no_certificate() {
    let (setup, _) = setup("address: [10.0.0.7/32, 127.0.0.2]", "");
    let server = setup.start();
    let billing = header(&server.setup.pki.client("billing.example.com"));
    let (check, seen) = part(&server, &upstream(&server).token("billing", &billing));
    assert_eq!((check.as_str(), seen.as_str()), ("proxy address", "127.0.0.1"));
    // Whatever its headers: nothing of them is read.
    for headers in ["", "Client-Cert: ::\r\n", "Client-Cert:\r\n", "Client_Cert: x\r\n"] {
        part(&server, &upstream(&server).token("billing", headers));
    }
    for path in ["/introspect", "/revoke"] {
        let form = [("client_id", "billing"), ("token", "x")];
        part(&server, &upstream(&server).post(path, &form, &billing));
    }
    assert!(server.metrics().contains("certbound_refused_total{reason=\"proxy_refused\"} 7\n"));
    assert!(server.metrics().contains("certbound_headers_dropped_total 0\n"));
    // What is no secret is nobody's to withhold.
    for path in ["/jwks", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        assert_eq!(upstream(&server).get(path, &billing).status, 200, "{path}");
    }
    assert_eq!(upstream(&server).get("/metrics", "").status, 404);
}

#[test]
fn an_ipv4_mapped_peer_is_compared_as_ipv4() {
    for (block, is_it) in [
        ("127.0.0.0/8", true),
        ("'::ffff:127.0.0.1'", true),
        ("'::ffff:127.0.0.0/104'", true),
        ("127.0.0.2", false),
        ("'::1'", false),
    ] {
        let (mut setup, _) = setup(&format!("address: [{block}]"), "");
        setup.listeners = setup.listeners.replace("127.0.0.1:0", "'[::ffff:127.0.0.1]:0'");
        let server = setup.start();
        let billing = server.setup.pki.client("billing.example.com");
        let answer = upstream(&server).token("billing", &header(&billing));
        if is_it {
            assert_eq!(bound_to(&answer), billing.thumbprint(), "{block}");
        } else {
            assert_eq!(part(&server, &answer).1, "127.0.0.1", "{block}");
        }
    }
}

#[test]
fn the_password_of_the_proxy_is_compared_whole_and_comes_once() {
    let (setup, _) = setup(BASIC, "");
    let server = setup.start();
    let billing = header(&server.setup.pki.client("billing.example.com"));
    let encoded = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let ask = |lines: &str| upstream(&server).token("billing", &format!("{lines}{billing}"));
    for good in [
        encoded("proxy:s3cret"),
        encoded("proxy:s3cret").replace("Basic", "bASIC"),
        encoded("proxy:s3cret").replace(' ', "   "),
    ] {
        assert_eq!(ask(&format!("Proxy-Authorization: {good}\r\n")).status, 200, "{good}");
    }
    for (bad, seen) in [
        (encoded("proxy:s3cre"), "other credentials"),
        (encoded("proxy:s3crets"), "other credentials"),
        (encoded("proxy:s3cret\n"), "other credentials"),
        (encoded("proxy:S3CRET"), "other credentials"),
        (encoded("Proxy:s3cret"), "other credentials"),
        (encoded("proxy:"), "other credentials"),
        (encoded("proxys3cret"), "other credentials"),
        (encoded("proxy:s3cret").replace("Basic", "Bearer"), "something else"),
        (encoded("proxy:s3cret").replace("Basic ", "Basic"), "something else"),
        ("Basic proxy:s3cret".to_owned(), "something else"),
        (encoded("proxy:s3cret") + ", " + &encoded("proxy:s3cret"), "something else"),
        ("Basic".to_owned(), "something else"),
        (String::new(), "something else"),
    ] {
        let answer = ask(&format!("Proxy-Authorization: {bad}\r\n"));
        assert_eq!(part(&server, &answer), ("proxy password".to_owned(), seen.to_owned()), "{bad}");
    }
    assert_eq!(part(&server, &ask("")).1, "none");
    assert_eq!(part(&server, &ask(&GOOD_PASSWORD.repeat(2))).1, "several");
    // A client's header is not the proxy's.
    let answer = ask("Authorization: Basic cHJveHk6czNjcmV0\r\n");
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
}

#[test]
fn the_certificate_of_the_proxy_is_judged_for_each_request() {
    let (setup, internal) = setup(MTLS, TLS);
    let proxy = issue(&setup, &internal, "proxy.internal");
    let others = [
        ("of another name", issue(&setup, &internal, "other.internal")),
        ("of another CA", issue(&setup, &setup.pki.corp, "proxy.internal")),
        ("of nobody", setup.pki.self_signed("proxy.internal")),
        ("of the CA itself", Shown::from(internal.identity())),
    ];
    let server = setup.start();
    let billing = server.setup.pki.client("billing.example.com");
    let mut connection = over_tls(&server, Some(&proxy));
    assert_eq!(bound_to(&token(&mut connection, &header(&billing))), billing.thumbprint());
    for (what, shown) in &others {
        let answer = token(&mut over_tls(&server, Some(shown)), &header(&billing));
        assert_eq!(part(&server, &answer).0, "proxy certificate", "{what}");
    }
    let answer = token(&mut over_tls(&server, None), &header(&billing));
    assert_eq!(part(&server, &answer), ("proxy certificate".to_owned(), "none".to_owned()));
    // Whoever is not the proxy reads what is no secret.
    assert_eq!(over_tls(&server, None).get("/jwks").unwrap().status, 200);

    // Revoked while its connection lives.
    let list = List::new(2, server.setup.pki.now).revoking(&proxy.chain[0]).signed_by(&internal);
    server.setup.write("internal.crl", list);
    server.reload();
    let (check, seen) = part(&server, &token(&mut connection, &header(&billing)));
    assert!(check == "proxy certificate" && seen.contains("revoked"), "{check} {seen}");
}

#[test]
fn a_responder_is_asked_about_the_proxy_as_about_anybody() {
    let (mut setup, internal) = setup(MTLS, TLS);
    let (proxy, revoked) =
        (issue(&setup, &internal, "proxy.internal"), issue(&setup, &internal, "proxy.internal"));
    let mut responder = Responder::start(internal.identity());
    responder.know(&proxy.chain[0]);
    responder.revoke(&revoked.chain[0], "keyCompromise");
    setup.anchors =
        format!(" }}\n  internal: {{ file: internal.pem, ocsp: {{ url: \"{}\" }}", responder.url());
    setup.more = "outgoing: { allow: [127.0.0.0/8] }\n".to_owned();
    let server = setup.start();
    let billing = header(&server.setup.pki.client("billing.example.com"));
    assert_eq!(token(&mut over_tls(&server, Some(&proxy)), &billing).status, 200, "at the first request");
    let (check, seen) = part(&server, &token(&mut over_tls(&server, Some(&revoked)), &billing));
    assert!(check == "proxy certificate" && seen.contains("revoked"), "{check} {seen}");
}

#[test]
fn the_certificate_of_the_proxy_is_never_the_clients() {
    let proxy = "mtls: { trust_anchors: corp, tls_client_auth_san_dns: billing.example.com }";
    let (setup, _) = setup(proxy, TLS);
    let server = setup.start();
    let pki = &server.setup.pki;
    // The worst case: the proxy's certificate is one of a client.
    let (billing, gateway) = (pki.client("billing.example.com"), pki.client("gateway.example.com"));
    let mut connection = over_tls(&server, Some(&billing));
    is_refused(&server, &token(&mut connection, ""), "no_certificate");
    is_refused(&server, &token(&mut connection, "Client-Cert:\r\n"), "no_certificate");
    is_refused(&server, &token(&mut connection, &header(&gateway)), "subject_mismatch");
    let other = pki.client("billing.example.com");
    assert_eq!(bound_to(&token(&mut connection, &header(&other))), other.thumbprint());
}

#[test]
fn everything_that_is_configured_must_hold() {
    let (setup, internal) = setup(&format!("address: [127.0.0.1], {MTLS}, {BASIC}"), TLS);
    let (proxy, other) = (issue(&setup, &internal, "proxy.internal"), issue(&setup, &internal, "o.internal"));
    let elsewhere = setup.listeners.replace("[127.0.0.1]", "[10.0.0.7]");
    let server = Setup { listeners: setup.listeners.clone() + &elsewhere, ..setup }.start();
    let billing = header(&server.setup.pki.client("billing.example.com"));
    let with_password = format!("{GOOD_PASSWORD}{billing}");
    assert_eq!(token(&mut over_tls(&server, Some(&proxy)), &with_password).status, 200);
    for (shown, headers, check) in [
        (Some(&proxy), &billing, "proxy password"),
        (Some(&other), &with_password, "proxy certificate"),
        (None, &with_password, "proxy certificate"),
    ] {
        let answer = token(&mut over_tls(&server, shown), headers);
        assert_eq!(part(&server, &answer).0, check);
    }
    let root = server.setup.pki.server_ca.identity().certificate_der();
    let config = Connection::config(root, Some(&proxy), None);
    let mut connection = Connection::open(server.addresses(Kind::Forwarded)[1], config).unwrap();
    assert_eq!(part(&server, &token(&mut connection, &with_password)).0, "proxy address");
}

#[test]
fn a_set_that_vouches_for_a_proxy_is_used_and_is_not_removed_by_a_reload() {
    let (setup, internal) = setup(MTLS, TLS);
    let proxy = issue(&setup, &internal, "proxy.internal");
    let mut server = setup.start();
    assert_eq!(server.reload(), Vec::<String>::new(), "nobody says that the set is not named");
    // The listener waits for a restart, so the set stays.
    server.setup.anchors.clear();
    server.setup.listeners = listener(Dialect::Nginx, super::LOOPBACK);
    server.setup.config();
    let problems = server.reload();
    assert!(problems.iter().any(|what| what.contains("proxy") && what.contains("removed")), "{problems:?}");
    let billing = header(&server.setup.pki.client("billing.example.com"));
    assert_eq!(token(&mut over_tls(&server, Some(&proxy)), &billing).status, 200);
}

#[test]
fn the_log_names_the_proxy_and_never_its_password() {
    let (setup, _) = setup(&format!("address: [127.0.0.0/8], {BASIC}"), "");
    setup.config();
    let serving = Serving::start(setup.directory.path());
    let mut upstream = Upstream::tcp(serving.address_of("forwarded"));
    let billing = lines(Dialect::Rfc9440, &setup.pki.client("billing.example.com").chain);
    let guessed = STANDARD.encode("proxy:guess-17");
    upstream.token("billing", &format!("Proxy-Authorization: Basic {guessed}\r\n{billing}"));
    upstream.token("billing", &format!("{GOOD_PASSWORD}Client-Cert: ::\r\n"));
    upstream.token("billing", &format!("{GOOD_PASSWORD}{billing}"));
    let log = serving.requests(3);
    for line in &log {
        assert_eq!((&line["listener"], &line["proxy"]), (&"forwarded".into(), &"127.0.0.1".into()), "{line}");
        for secret in ["s3cret", "cHJveHk6czNjcmV0", "guess-17", guessed.as_str()] {
            assert!(!line.to_string().contains(secret), "{line}");
        }
    }
    let cause = |index: usize| log[index]["cause"].as_str().unwrap_or_default().to_owned();
    assert_eq!(log[0]["reason"], "proxy_refused");
    assert!(cause(0).contains("proxy password") && log[0]["x5t#S256"].is_null(), "{}", log[0]);
    assert!(cause(1).contains("client-cert") && log[1]["error"] == "invalid_request", "{}", log[1]);
    assert_eq!(log[2]["client_id"], "billing");
}
