//! `/verify`: a proxy in front of an API asks about every request, and only the right token with the right certificate
//! for the right thing passes.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certbound::http::Kind;

use crate::support::client::receive;
use crate::support::crl::List;
use crate::support::program::Serving;
use crate::support::server::{API, ISSUER};
use crate::support::upstream::Upstream;
use crate::support::{Response, Server, Setup, Shown};

/// Where the proxy of the tests asks.
const SOCKET: &str = "  - { kind: forwarded, bind: \"unix:proxy.sock\", dialect: haproxy }\n";

fn setup() -> Setup {
    Setup { listeners: SOCKET.to_owned(), ..Setup::new() }
}

/// The header in which the proxy of the tests hands a certificate on.
fn certificate(shown: &Shown) -> String {
    format!("X-SSL-Client-DER: {}\r\n", STANDARD.encode(&shown.chain[0]))
}

/// What the proxy hears about a request with these header lines, each ended by CRLF.
fn ask(server: &Server, request: &str, headers: &str) -> Response {
    let mut stream = UnixStream::connect(server.setup.path("proxy.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: api\r\n{headers}\r\n").as_bytes()).unwrap();
    receive(&mut stream, request.starts_with("HEAD")).unwrap()
}

/// About a request with a token, from a client that showed a certificate, or none.
fn ask_with(server: &Server, request: &str, token: &str, shown: Option<&Shown>) -> Response {
    let shown = shown.map(certificate).unwrap_or_default();
    ask(server, request, &format!("Authorization: Bearer {token}\r\n{shown}"))
}

/// How every refusal looks that has a token and is not about scope.
fn assert_invalid_token(answer: &Response, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    let challenge = format!("Bearer realm=\"{ISSUER}\", error=\"invalid_token\"");
    assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    let body = "{\"error\":\"invalid_token\",\"error_description\":\"The access token is not good for this request\"}";
    assert_eq!(answer.body, body.as_bytes(), "{what}");
    assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("x-certbound-")), "{what}");
}

/// A request without a token is asked for one, and hears of no error.
fn assert_token_wanted(answer: &Response, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    let challenge = format!("Bearer realm=\"{ISSUER}\"");
    assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(answer.body, b"", "{what}");
}

#[test]
fn the_right_token_in_the_right_hands_passes_and_the_proxy_hears_whose_it_is() {
    let server = setup().start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    for path in ["/verify", "/verify/", "/verify/v1/invoices?page=2&audience=x&scope=y&audience=%zz"] {
        let answer = ask_with(&server, &format!("GET {path}"), &token, Some(&billing));
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}: {answer:?}");
        let said = |name: &str| answer.header(&format!("x-certbound-{name}"));
        assert_eq!(said("client-id"), Some("billing"), "{path}");
        assert_eq!(said("subject"), Some("billing"), "{path}");
        assert_eq!(said("scope"), Some("read write"), "{path}");
        assert_eq!(said("audience"), Some(API), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("www-authenticate"), None, "{path}");
    }
}

#[test]
fn a_scope_of_nothing_is_said_so_that_no_header_of_the_client_stays_in_its_place() {
    let setup = setup();
    setup.client("orders", "tls_client_auth_san_dns: orders.example.com\n");
    let server = setup.start();
    let orders = server.setup.pki.client("orders.example.com");
    let token = server.good_token("orders", &orders);
    let answer = ask_with(&server, "GET /verify", &token, Some(&orders));
    assert_eq!((answer.status, answer.header("x-certbound-scope")), (200, Some("")), "{answer:?}");
}

#[test]
fn every_token_that_is_not_good_here_gets_the_same_octets() {
    let server = setup().start();
    let pki = &server.setup.pki;
    let (billing, other) = (pki.client("billing.example.com"), pki.client("billing.example.com"));
    let (token, revoked) = (server.good_token("billing", &billing), server.good_token("billing", &billing));
    assert_eq!(server.revoke("billing", &billing, &revoked).status, 200);
    let expected = ask_with(&server, "GET /verify", "garbage", Some(&billing));
    assert_invalid_token(&expected, "garbage");
    let with = |token: &str, shown: &str| format!("Authorization: Bearer {token}\r\n{shown}");
    let mine = certificate(&billing);
    let (end, rest) = token.split_at(token.len() - 3);
    for (request, headers) in [
        ("GET /verify", with(&token, &certificate(&other))),
        ("GET /verify", with(&token, "")),
        ("GET /verify", with(&token, "X-SSL-Client-DER: \r\n")),
        ("GET /verify", with(&token, "X-SSL-Client-DER: AAAA\r\n")),
        ("GET /verify", with(&token, "X-SSL-Client-DER: !\r\n")),
        ("GET /verify", with(&token, &format!("{mine}{mine}"))),
        ("GET /verify", with(&revoked, &mine)),
        ("GET /verify", with(&format!("{end}AAA"), &mine)),
        ("GET /verify", with(end, &mine)),
        ("GET /verify", with(&format!("{token} {rest}"), &mine)),
        ("GET /verify", with(&format!("{token}, Bearer {token}"), &mine)),
        ("GET /verify", with(&"x".repeat(20_000), &mine)),
        ("GET /verify?audience=https://other.example.com", with(&token, &mine)),
        ("GET /verify?audience=%ff", with(&token, &mine)),
        ("GET /verify?scope=read&scope=read", with(&token, &mine)),
        ("GET /verify?scope=read++write", with(&token, &mine)),
        ("GET /verify?scope=%22", with(&token, &mine)),
        ("GET /verify", format!("Authorization: Bearer\r\n{mine}")),
        ("GET /verify", with(&token, &with(&token, &mine))),
        ("GET /verify", with(&token, &format!("Authorization: Basic YTpi\r\n{mine}"))),
        ("GET /verify", format!("Authorization: Bearer \u{e9}\r\n{mine}")),
    ] {
        let answer = ask(&server, request, &headers);
        assert_eq!((answer.status, &answer.body), (401, &expected.body), "{request} {headers:.300}");
        assert_eq!(answer.sorted_headers(), expected.sorted_headers(), "{request} {headers:.300}");
    }
    assert_eq!(ask_with(&server, "GET /verify", &token, Some(&billing)).status, 200, "which is good");
}

#[test]
fn the_scheme_is_read_without_case_and_other_schemes_bring_no_token() {
    let server = setup().start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    let mine = certificate(&billing);
    for good in [format!("bEARER {token}"), format!("BEARER    {token}"), format!("bearer {token}  ")] {
        let answer = ask(&server, "GET /verify", &format!("Authorization: {good}\r\n{mine}"));
        assert_eq!(answer.status, 200, "{good}: {answer:?}");
    }
    let none = [
        String::new(),
        "Authorization: \r\n".to_owned(),
        "Authorization: Basic YTpi\r\n".to_owned(),
        format!("Authorization: DPoP {token}\r\n"),
        format!("Authorization: Bearer{token}\r\n"),
        format!("Authorization: {token}\r\n"),
        format!("Proxy-Authorization: Bearer {token}\r\n"),
        format!("Cookie: access_token={token}\r\n"),
    ];
    for headers in none {
        assert_token_wanted(&ask(&server, "GET /verify", &format!("{headers}{mine}")), &headers);
        assert_token_wanted(&ask(&server, "GET /verify/x", &headers), &headers);
    }
}

#[test]
fn a_token_in_the_query_is_refused_even_beside_one_in_the_header() {
    let server = setup().start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    for request in [
        format!("GET /verify?access_token={token}"),
        format!("GET /verify?audience={API}&access%5Ftoken={token}"),
        format!("GET /verify/v1?a=%zz&access_token={token}"),
        "GET /verify/v1?access_token".to_owned(),
    ] {
        let answer = ask(&server, &request, &certificate(&billing));
        assert_invalid_token(&answer, &request);
        assert_invalid_token(&ask_with(&server, &request, &token, Some(&billing)), &request);
    }
}

#[test]
fn what_a_route_requires_is_said_in_the_query_for_one_kind_of_proxy_and_in_headers_for_the_other() {
    let server = setup().start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    let mine = format!("Authorization: Bearer {token}\r\n{}", certificate(&billing));
    let audience = |text: &str| format!("X-Certbound-Require-Audience: {text}\r\n");
    let scope = |text: &str| format!("x-certbound-require-scope: {text}\r\n");
    for (request, more, status) in [
        ("GET /verify?", String::new(), 200),
        ("GET /verify?audience=&scope=", String::new(), 200),
        ("GET /verify?audience=https%3A%2F%2Fapi.example.com", String::new(), 200),
        ("GET /verify?audience=https://api.example.com&scope=read", String::new(), 200),
        ("GET /verify?scope=write+read", String::new(), 200),
        ("GET /verify?scope=write%20read&more=1", String::new(), 200),
        ("GET /verify?audience=https://api.example.com/", String::new(), 401),
        ("GET /verify?scope=admin", String::new(), 403),
        ("GET /verify?scope=Read", String::new(), 403),
        ("GET /verify/x", audience("") + &scope(""), 200),
        ("GET /verify/x", audience(API) + &scope("write read"), 200),
        ("GET /verify/x", audience("https://other.example.com"), 401),
        ("GET /verify/x", scope("admin"), 403),
        ("GET /verify/x?audience=https://other.example.com&scope=admin", String::new(), 200),
        ("GET /verify/x?scope=read", scope("admin"), 403),
        // Twice, the same way or both ways.
        ("GET /verify/x", audience(API) + &audience(API), 401),
        ("GET /verify/x", scope("read") + &scope(""), 401),
        ("GET /verify/x", scope("read, write"), 403),
        ("GET /verify/x", scope("\u{e9}"), 401),
        ("GET /verify?scope=read", scope("read"), 401),
        ("GET /verify", audience(""), 401),
        ("GET /verify", "X-Certbound-Require-Anything: x\r\n".to_owned(), 401),
    ] {
        let answer = ask(&server, request, &format!("{mine}{more}"));
        assert_eq!(answer.status, status, "{request} {more}: {answer:?}");
        if status == 401 {
            assert_invalid_token(&answer, request);
        }
    }
    let answer = ask(&server, "GET /verify?scope=write+admin+read", &mine);
    let challenge =
        format!("Bearer realm=\"{ISSUER}\", error=\"insufficient_scope\", scope=\"admin read write\"");
    assert_eq!((answer.status, answer.header("www-authenticate")), (403, Some(challenge.as_str())));
    assert_eq!(
        (answer.error().as_str(), answer.header("cache-control")),
        ("insufficient_scope", Some("no-store"))
    );
    let stolen = ask_with(&server, "GET /verify?scope=admin", &token, None);
    assert_invalid_token(&stolen, "only the holder of the certificate hears what the token does not allow");
}

#[test]
fn where_nobody_says_for_whom_a_token_must_be_none_is() {
    let mut setup = setup();
    setup.resource = None;
    setup.client("billing", &format!("tls_client_auth_san_dns: billing.example.com\nresources: [{API}]\n"));
    let server = setup.start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    assert_invalid_token(&ask_with(&server, "GET /verify", &token, Some(&billing)), "nobody");
    assert_invalid_token(&ask_with(&server, "GET /verify/x", &token, Some(&billing)), "nobody");
    let named = ask_with(&server, &format!("GET /verify?audience={API}"), &token, Some(&billing));
    assert_eq!(named.status, 200);
}

#[test]
fn what_has_ended_at_introspection_has_ended_here() {
    let mut setup = setup().with_pinned_gateway();
    setup.anchors = ", revocation: require, crl: [{file: corp.crl}]".to_owned();
    let (first, second) = (setup.pki.self_signed("edge 1"), setup.pki.self_signed("edge 2"));
    setup.pinned("edge", &[&first, &second]);
    setup.client("orders", "tls_client_auth_san_dns: orders.example.com\n");
    let now = setup.pki.now;
    setup.write("corp.crl", List::new(1, now).signed_by(&setup.pki.corp));
    let server = setup.start();
    let pki = &server.setup.pki;
    let (billing, orders) = (pki.client("billing.example.com"), pki.client("orders.example.com"));
    let holders = [("billing", &billing), ("orders", &orders), ("edge", &first), ("edge", &second)];
    let tokens: Vec<_> = holders.iter().map(|(id, shown)| server.good_token(id, shown)).collect();
    let passing = || -> Vec<bool> {
        let ask = |(token, (_, shown)): (&String, &(&str, &Shown))| {
            let answer = ask_with(&server, "GET /verify", token, Some(shown));
            assert!([200, 401].contains(&answer.status), "{answer:?}");
            assert_eq!(answer.status == 200, server.is_active(token), "as at introspection");
            answer.status == 200
        };
        tokens.iter().zip(&holders).map(ask).collect()
    };
    assert_eq!(passing(), [true; 4]);
    let list = List::new(2, now).revoking(&billing.chain[0]);
    server.setup.write("corp.crl", list.signed_by(&server.setup.pki.corp));
    server.setup.pinned("edge", &[&second]);
    assert_eq!(server.reload(), Vec::<String>::new());
    assert_eq!(
        passing(),
        [false, true, false, true],
        "a revoked certificate, and one that is not registered"
    );
    server.setup.client("orders", "tls_client_auth_san_dns: orders.example.com\nenabled: false\n");
    assert_eq!(server.reload(), Vec::<String>::new());
    assert_eq!(passing(), [false, false, false, true], "a disabled client");
    server.setup.clock.advance(Duration::from_secs(300));
    assert_eq!(passing(), [false; 4], "the end of the life of a token");
}

#[test]
fn any_method_is_answered_and_no_body_is_read() {
    let server = setup().start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        for path in ["/verify", "/verify/x"] {
            let request = format!("{method} {path}");
            assert_eq!(ask_with(&server, &request, &token, Some(&billing)).status, 200, "{request}");
            let without = ask(&server, &request, &certificate(&billing));
            assert_eq!(without.status, 401, "{request}");
        }
    }
    let mine = format!("Authorization: Bearer {token}\r\n{}", certificate(&billing));
    for body in [
        // Announced and never sent, as nginx does of its own accord.
        "Content-Length: 1000\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let answer = ask(&server, "POST /verify", &format!("{mine}{body}"));
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
    }
    let answer = ask(&server, "POST /verify", &format!("{}Content-Length: 1000\r\n", certificate(&billing)));
    assert_token_wanted(&answer, "a token in a body that is not read");
}

#[test]
fn one_connection_of_a_proxy_carries_many_clients_and_mixes_none() {
    let server = setup().start();
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let billing = server.setup.pki.client("billing.example.com");
            (server.good_token("billing", &billing), certificate(&billing), number)
        })
        .collect();
    let mut stream = UnixStream::connect(server.setup.path("proxy.sock")).unwrap();
    for round in 0..64 {
        let (token, _, whose) = &clients[round % 8];
        let (_, shown, by) = &clients[(round * 5 / 3) % 8];
        let head =
            format!("GET /verify HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n{shown}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let answer = receive(&mut stream, false).unwrap();
        assert_eq!(answer.status == 200, whose == by, "round {round}: {answer:?}");
        stream
            .write_all(
                format!("GET /verify HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\r\n")
                    .as_bytes(),
            )
            .unwrap();
        assert_eq!(receive(&mut stream, false).unwrap().status, 401, "nothing is left of the one before");
    }
}

/// With a proxy that comes over TCP and proves itself by its address and a password.
fn setup_with_password() -> Setup {
    let listener = "  - kind: forwarded\n    bind: 127.0.0.1:0\n    dialect: haproxy\n    proxy: { address: [127.0.0.1/32], \
                    basic: { username: proxy, password: { file: proxy.password } } }\n";
    let setup = Setup { listeners: listener.to_owned(), ..Setup::new() };
    setup.write("proxy.password", GOOD_PASSWORD);
    setup
}

fn password(text: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("proxy:{text}")))
}

const GOOD_PASSWORD: &str = "correct horse battery staple";

#[test]
fn whoever_does_not_prove_to_be_the_proxy_brings_no_certificate() {
    let server = setup_with_password().start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    let mine = format!("Authorization: Bearer {token}\r\n{}", certificate(&billing));
    let ask = |headers: &str| {
        Upstream::tcp(server.address(Kind::Forwarded)).get("/verify", &format!("{mine}{headers}"))
    };
    assert_eq!(ask(&password(GOOD_PASSWORD)).status, 200);
    let wrong = [String::new(), password("wrong"), "X-Forwarded-For: 127.0.0.1\r\n".to_owned()];
    for headers in &wrong {
        assert_invalid_token(&ask(headers), headers);
    }
    let metrics = server.metrics();
    let refused = format!("certbound_refused_total{{reason=\"proxy_refused\"}} {}", wrong.len());
    assert!(metrics.contains(&refused), "{metrics}");
    let counted = "certbound_request_seconds_count{path=\"/verify\",status=\"200\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn the_log_says_why_and_whose_the_token_is_and_nothing_of_the_request() {
    let setup = setup_with_password();
    setup.config();
    let serving = Serving::start(setup.directory.path());
    let (billing, other) = (setup.pki.client("billing.example.com"), setup.pki.client("b.example.com"));
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    let token = serving.connect(&setup, &billing).post("/token", &form).unwrap().json();
    let token = token["access_token"].as_str().unwrap();
    let mut upstream = Upstream::tcp(serving.address_of("forwarded"));
    let mut ask = |path: &str, shown: &Shown, headers: &str| {
        let proof = password(GOOD_PASSWORD);
        upstream.get(path, &format!("{proof}{}{headers}", certificate(shown))).status
    };
    let bearer = format!("Authorization: Bearer {token}\r\n");
    // Path, certificate, headers, status; error, cause, client_id and claimed_client_id of the line.
    let (proven, claimed, nobody) = ((Some("billing"), None), (None, Some("billing")), (None, None));
    let bad = Some("invalid_token");
    let elsewhere = "/verify?audience=https://b.example.com";
    let in_query = format!("/verify/own?access_token={token}");
    let both_ways = format!("{bearer}X-Certbound-Require-Scope: read\r\n");
    let too_little = Some("no more than `read write`");
    let cases = [
        ("/verify", &billing, &bearer, 200, None, None, proven),
        ("/verify/own/path?x=y", &billing, &bearer, 200, None, None, proven),
        ("/verify", &billing, &String::new(), 401, None, Some("no access token"), nobody),
        ("/verify", &other, &bearer, 401, bad, Some("bound to another certificate"), claimed),
        (elsewhere, &billing, &bearer, 401, bad, Some("is for https://api"), claimed),
        ("/verify?scope=admin", &billing, &bearer, 403, Some("insufficient_scope"), too_little, proven),
        ("/verify", &billing, &both_ways, 401, bad, Some("X-Certbound-Require"), nobody),
        (&in_query, &billing, &bearer, 401, bad, Some("in the query"), nobody),
    ];
    for (path, shown, headers, status, ..) in &cases {
        assert_eq!(ask(path, shown, headers), *status, "{path} {headers}");
    }
    let mut log = serving.requests(cases.len() + 1).into_iter();
    assert_eq!(log.next().unwrap()["path"], "/token");
    for ((path, shown, _, status, error, cause, whose), line) in cases.into_iter().zip(log) {
        assert_eq!((&line["path"], &line["status"]), (&"/verify".into(), &status.into()), "{path} {line}");
        assert_eq!(line["error"].as_str(), error, "{path} {line}");
        let said = line["cause"].as_str();
        let is_said = cause.is_none_or(|cause| said.is_some_and(|said| said.contains(cause)));
        assert!(is_said && said.is_some() == cause.is_some(), "{path} {line}");
        assert_eq!(line["x5t#S256"], shown.thumbprint(), "{path} {line}");
        assert_eq!((line["client_id"].as_str(), line["claimed_client_id"].as_str()), whose, "{path} {line}");
        assert!(!line.to_string().contains(token) && !line.to_string().contains("/own"), "{path} {line}");
    }
}

#[test]
fn a_client_id_is_said_octet_for_octet_or_not_at_all() {
    let setup = setup();
    for (file, id) in [("odd", "a \"b\";c, d=e: %0d%0a\\ <~>"), ("ends", "billing "), ("begins", " billing")]
    {
        let id = id.replace('\'', "''");
        let fields = format!(
            "client_id: '{id}'\ntoken_endpoint_auth_method: tls_client_auth\ntls_client_auth_san_dns: {file}.example.com\n"
        );
        setup.write(&format!("clients.d/{file}.yaml"), fields);
    }
    let server = setup.start();
    let answer = |file: &str, id: &str| {
        let shown = server.setup.pki.client(&format!("{file}.example.com"));
        ask_with(&server, "GET /verify", &server.good_token(id, &shown), Some(&shown))
    };
    let odd = "a \"b\";c, d=e: %0d%0a\\ <~>";
    assert_eq!(answer("odd", odd).header("x-certbound-client-id"), Some(odd));
    assert_invalid_token(&answer("ends", "billing "), "it would be read as another client");
    assert_invalid_token(&answer("begins", " billing"), "it would be read as another client");
}

#[test]
fn only_a_listener_behind_a_proxy_has_it_below_both_paths() {
    let mut setup = setup();
    setup.issuer = format!("{ISSUER}/tenant");
    setup.more = "mtls_base_url: https://mtls.example.com/m\n".to_owned();
    let server = setup.start();
    let billing = server.setup.pki.client("billing.example.com");
    for path in ["/tenant/verify", "/m/verify", "/tenant/verify/x", "/m/verify/x"] {
        assert_eq!(ask(&server, &format!("GET {path}"), "").status, 401, "{path}");
        for kind in [Kind::Mtls, Kind::Public] {
            let mut connection = server.try_connect(kind, Some(&billing), None).unwrap();
            assert_eq!(connection.get(path).unwrap().status, 404, "{kind:?} {path}");
        }
        assert_eq!(server.admin(path).status, 404, "{path}");
    }
    for path in ["/verify", "/verify/x", "/tenant/verifyx", "/tenant/Verify"] {
        assert_eq!(ask(&server, &format!("GET {path}"), "").status, 404, "{path}");
    }
}
