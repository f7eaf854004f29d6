//! nginx in front of an API, asking `/verify` about each request, as `docs/proxies.md` prints it: the right token in the
//! right hands passes, and the API hears from nginx, and only from nginx, whose it is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::{PAGE, asks_as, file};
use crate::clients::blocks;
use crate::support::proxy::{Place, Program, Proxy};
use crate::support::server::{ISSUER, eventually};
use crate::support::{Response, Server, Setup, Shown};

/// An API behind nginx, and the certbound that nginx asks.
struct Guarded {
    nginx: Proxy,
    server: Server,
    /// Clients with the scopes `invoices:read invoices:write`, and `invoices:write` alone.
    billing: Shown,
    writer: Shown,
}

impl Guarded {
    fn by(configuration: &str) -> Self {
        let place = Place::new(Program::Nginx);
        let mut setup = Setup::new();
        let name = |name: &str| format!("tls_client_auth_san_dns: {name}.example.com\n");
        setup.client("billing", &format!("{}scope: invoices:read invoices:write\n", name("billing")));
        setup.client("writer", &format!("{}scope: invoices:write\n", name("writer")));
        setup.listeners = format!(
            "  - {{ kind: forwarded, bind: \"unix:{}\", mode: \"0660\", dialect: nginx }}\n",
            place.socket().display()
        );
        let (billing, writer) =
            (setup.pki.client("billing.example.com"), setup.pki.client("writer.example.com"));
        let server = setup.start();
        let api = api().to_string();
        let mut places = vec![("127.0.0.1:8080", api)];
        if configuration.contains("proxy_cache") {
            places.push(("/var/lib/nginx/", place.path("").display().to_string()));
        }
        let nginx = place.start(configuration, &server.setup.pki, &places);
        Self { nginx, server, billing, writer }
    }

    /// A GET with this certificate and these header lines.
    fn get(&self, shown: Option<&Shown>, path: &str, headers: &str) -> Response {
        let mut connection = self.nginx.connect(shown);
        connection
            .send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes())
            .unwrap();
        connection.receive().unwrap()
    }

    fn get_with(&self, shown: Option<&Shown>, path: &str, token: &str) -> Response {
        self.get(shown, path, &format!("Authorization: Bearer {token}\r\n"))
    }

    /// From certbound itself.
    fn token(&self, client_id: &str, shown: &Shown) -> String {
        let answer = self.server.connect(Some(shown)).post("/token", &asks_as(client_id)).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    fn revoke(&self, client_id: &str, shown: &Shown, token: &str) {
        assert_eq!(self.server.revoke(client_id, shown, token).status, 200);
    }
}

#[test]
fn nginx_lets_the_right_token_in_the_right_hands_through_to_the_api() {
    if !Program::Nginx.is_there() {
        return;
    }
    let guarded = Guarded::by(file("nginx-verify.conf"));
    let (billing, writer) = (&guarded.billing, &guarded.writer);
    let (token, written) = (guarded.token("billing", billing), guarded.token("writer", writer));

    // The API hears who it is, whatever the client says of itself, and does not see the token.
    let forged = "X-Certbound-Client-Id: root\r\nx_certbound_client_id: root\r\nX-CERTBOUND-SCOPE: all\r\n\
                  X-Certbound-Require-Scope: none\r\nX-Certbound-Require-Audience: https://other.example.com\r\n";
    let passed = guarded.get(
        Some(billing),
        "/invoices/7?page=2&scope=none",
        &format!("Authorization: bEARER {token}\r\n{forged}"),
    );
    assert_eq!(passed.status, 200, "{passed:?}");
    let seen = String::from_utf8(passed.body).unwrap();
    assert!(seen.starts_with("GET /invoices/7?page=2&scope=none HTTP/1.0\r\n"), "{seen}");
    let identity: Vec<_> = seen
        .lines()
        .filter(|line| line.to_lowercase().contains("certbound-") && !line.contains("Require"))
        .collect();
    let expected = [
        "X-Certbound-Client-Id: billing",
        "X-Certbound-Subject: billing",
        "X-Certbound-Scope: invoices:read invoices:write",
        "X-Certbound-Audience: https://api.example.com",
    ];
    assert_eq!(identity, expected, "{seen}");
    assert!(!seen.contains("Authorization"), "{seen}");

    // A stolen token in other hands, or in none, however they write the certificate of its owner.
    let invalid = format!("Bearer realm=\"{ISSUER}\", error=\"invalid_token\"");
    let escaped = super::forgery::nginx_value(billing);
    for shown in [Some(writer), None] {
        for more in
            [String::new(), format!("X-SSL-Client-Cert: {escaped}\r\nX-SSL-Client-Verify: SUCCESS\r\n")]
        {
            let headers = format!("Authorization: Bearer {token}\r\n{more}");
            let refused = guarded.get(shown, "/invoices", &headers);
            assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some(invalid.as_str())));
        }
    }
    let wanted = format!("Bearer realm=\"{ISSUER}\"");
    for path in ["/invoices".to_owned(), format!("/invoices?access_token={token}")] {
        let asked = guarded.get(Some(billing), &path, "");
        assert_eq!((asked.status, asked.header("www-authenticate")), (401, Some(wanted.as_str())), "{path}");
    }

    let forbidden = guarded.get_with(Some(writer), "/invoices", &written);
    let challenge = forbidden.header("www-authenticate").unwrap();
    assert_eq!(forbidden.status, 403, "{forbidden:?}");
    assert!(challenge.contains("insufficient_scope") && challenge.contains("invoices:read"), "{challenge}");

    guarded.revoke("billing", billing, &token);
    assert_eq!(guarded.get_with(Some(billing), "/invoices", &token).status, 401, "with the next request");
    for path in ["/token-check", "/verify", "/"] {
        assert_eq!(guarded.get_with(Some(billing), path, &token).status, 404, "{path} is not for clients");
    }
}

#[test]
fn a_kept_verdict_is_for_one_token_one_certificate_and_one_need_and_for_seconds() {
    if !Program::Nginx.is_there() {
        return;
    }
    let guarded = Guarded::by(&with_cache());
    let (billing, writer) = (&guarded.billing, &guarded.writer);
    let token = guarded.token("billing", billing);
    let is_let_in = |shown, path, token: &str| guarded.get_with(shown, path, token).status == 200;

    assert!(is_let_in(Some(billing), "/invoices/1", &token));
    guarded.revoke("billing", billing, &token);
    // The price: what was good a moment ago is good, at every path of the location.
    assert!(
        is_let_in(Some(billing), "/invoices/2?any=thing", &token),
        "within the time that a verdict is kept"
    );
    // The key: nobody else has anything from it.
    assert!(!is_let_in(Some(writer), "/invoices/1", &token), "another certificate");
    assert!(!is_let_in(None, "/invoices/1", &token), "no certificate");
    assert!(!is_let_in(Some(billing), "/invoices/1", &guarded.token("writer", writer)), "another token");
    assert!(!is_let_in(Some(billing), "/archive", &token), "another need");
    eventually("the verdict ends", || !is_let_in(Some(billing), "/invoices/1", &token));

    // A refusal is not kept: whoever comes with the right certificate is let in at once.
    let token = guarded.token("billing", billing);
    assert!(!is_let_in(Some(writer), "/invoices/1", &token));
    assert!(is_let_in(Some(billing), "/invoices/1", &token));
}

/// The configuration with the lines that the page has for keeping verdicts, and a second location with another need.
fn with_cache() -> String {
    let cache = |begin: &str| {
        let found = blocks(PAGE, "nginx").into_iter().find(|block| block.trim_start().starts_with(begin));
        found.unwrap_or_else(|| panic!("docs/proxies.md has no block that begins with {begin}"))
    };
    let configuration = file("nginx-verify.conf");
    let (before, location) = configuration.split_once("    location /invoices {\n").unwrap();
    let (location, after) = location.split_once("    }\n").unwrap();
    let archive = location.replace("scope=invoices:read", "scope=archive:read");
    let after =
        after.replace("internal;\n", &format!("internal;\n{}", cache("# in `location = /token-check`")));
    format!(
        "{}{before}    location /invoices {{\n{location}    }}\n    location /archive {{\n{archive}    }}\n{after}",
        cache("# outside of `server`")
    )
}

/// A small API: it answers each request with what it saw of it.
fn api() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the tests: nobody connects any more.
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A peer that hangs up half-way is nobody's loss.
            let _ = stream.and_then(echo);
        }
    });
    address
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut head = String::new();
    let mut lines = BufReader::new(&stream);
    while !head.ends_with("\r\n\r\n") && lines.read_line(&mut head)? > 0 {}
    let length = head.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{head}")
}
