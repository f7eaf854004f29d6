//! Debian's nginx, `HAProxy` and Apache in front of certbound, each with the configuration that `docs/proxies.md` prints:
//! the certificate of the handshake arrives whole, per request, and nothing that a client writes takes its place.
//!
//! `forgery.rs` has the attacks, `verify.rs` nginx in front of an API.

mod forgery;
mod verify;

use std::fmt::Write as _;

use certbound::pki::workshop::{Identity, Template};
use rustls::HandshakeKind;

use crate::clients::blocks;
use crate::support::program::certbound;
use crate::support::proxy::{Place, Program, Proxy};
use crate::support::{Connection, Response, Server, Setup, Shown, TlsVersion};

pub(crate) const PAGE: &str = include_str!("../../docs/proxies.md");

const FILES: [(&str, &str, &str); 6] = [
    ("nginx", "nginx.conf", include_str!("../../docs/proxies/nginx.conf")),
    ("haproxy", "haproxy.cfg", include_str!("../../docs/proxies/haproxy.cfg")),
    ("apache", "apache.conf", include_str!("../../docs/proxies/apache.conf")),
    ("nginx", "nginx-verify.conf", include_str!("../../docs/proxies/nginx-verify.conf")),
    ("yaml", "envoy.yaml", include_str!("../../docs/proxies/envoy.yaml")),
    ("yaml", "envoy-verify.yaml", include_str!("../../docs/proxies/envoy-verify.yaml")),
];

/// The configuration of the page that has this name.
fn file(name: &str) -> &'static str {
    FILES.iter().find(|(_, is, _)| *is == name).unwrap().2
}

#[test]
fn the_page_prints_every_configuration_word_for_word() {
    for (language, name, text) in FILES {
        let block = format!("```{language}\n{text}```\n");
        assert!(PAGE.contains(&block), "docs/proxies.md does not have docs/proxies/{name} as it is");
    }
}

/// certbound behind a proxy.
struct Behind {
    proxy: Proxy,
    server: Server,
}

impl Behind {
    /// Over a unix socket, as the page shows it first.
    fn over_socket(program: Program, setup: Setup) -> Self {
        Self::by(program, program.configuration(), setup)
    }

    /// The same by another configuration.
    fn by(program: Program, configuration: &str, mut setup: Setup) -> Self {
        let place = Place::new(program);
        setup.listeners = format!(
            "  - {{ kind: forwarded, bind: \"unix:{}\", mode: \"0660\", dialect: {} }}\n",
            place.socket().display(),
            program.name()
        );
        let server = setup.start();
        let proxy = place.start(configuration, &server.setup.pki, &[]);
        Self { proxy, server }
    }

    fn post(&self, shown: Option<&Shown>, path: &str, form: &[(&str, &str)]) -> Response {
        self.proxy.connect(shown).post(path, form).unwrap()
    }

    fn token(&self, client_id: &str, shown: &Shown) -> Response {
        self.post(Some(shown), "/token", &asks_as(client_id))
    }

    /// A token, bound to this certificate by what introspection says of it, through the proxy as well.
    fn gets_its_token(&self, client_id: &str, shown: &Shown) -> String {
        let answer = self.token(client_id, shown);
        assert_eq!(answer.status, 200, "{client_id}: {answer:?}");
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        let of_token = self.introspect(&token);
        assert_eq!(of_token["client_id"], client_id);
        assert_eq!(of_token["cnf"]["x5t#S256"], shown.thumbprint(), "{client_id}");
        token
    }

    fn introspect(&self, token: &str) -> serde_json::Value {
        let gateway = self.server.setup.pki.client("gateway.example.com");
        let form = [("client_id", "gateway"), ("token", token)];
        self.post(Some(&gateway), "/introspect", &form).json()
    }
}

impl Program {
    /// What the page prints for it.
    fn configuration(self) -> &'static str {
        match self {
            Self::Nginx => file("nginx.conf"),
            Self::HaProxy => file("haproxy.cfg"),
            Self::Apache => file("apache.conf"),
        }
    }
}

fn asks_as(client_id: &str) -> [(&str, &str); 2] {
    [("grant_type", "client_credentials"), ("client_id", client_id)]
}

#[test]
fn nginx_hands_on_the_certificate_of_the_handshake() {
    hands_on_the_certificate_of_the_handshake(Program::Nginx);
}

#[test]
fn haproxy_hands_on_the_certificate_of_the_handshake() {
    hands_on_the_certificate_of_the_handshake(Program::HaProxy);
}

#[test]
fn apache_hands_on_the_certificate_of_the_handshake() {
    hands_on_the_certificate_of_the_handshake(Program::Apache);
}

fn hands_on_the_certificate_of_the_handshake(program: Program) {
    if !program.is_there() {
        return;
    }
    let setup = Setup::new();
    let edge = setup.pki.self_signed("edge-7");
    setup.pinned("edge-7", &[&edge]);
    let (setup, deep) = with_deep(setup, program);
    let behind = Behind::over_socket(program, setup);
    let pki = &behind.server.setup.pki;
    let billing = pki.client("billing.example.com");

    for (client_id, shown) in [("billing", &billing), ("edge-7", &edge), ("deep", &deep)] {
        behind.gets_its_token(client_id, shown);
    }
    let large = large(&behind.server.setup);
    assert!(large.chain[0].len() > 20_000, "{}", large.chain[0].len());
    behind.gets_its_token("billing", &large);

    is_anew_on_every_connection(&behind, &billing);
    is_per_request(&behind, &[("billing", &billing), ("edge-7", &edge), ("deep", &deep)]);

    let token = behind.gets_its_token("billing", &billing);
    let form = [("client_id", "billing"), ("token", token.as_str())];
    assert_eq!(behind.post(Some(&billing), "/revoke", &form).status, 200);
    assert_eq!(behind.introspect(&token)["active"], false, "after the revocation");

    // Who shows nothing, or what is no good, is nobody; and what needs no certificate is there without.
    let nobody = behind.post(None, "/token", &asks_as("billing"));
    assert_eq!((nobody.status, nobody.error().as_str()), (400, "invalid_client"));
    let other = behind.token("billing", &pki.client("other.example.com"));
    assert_eq!((other.status, other.error().as_str()), (400, "invalid_client"));
    let (from, to) = (pki.now.minus(crate::support::pki::DAY * 9), pki.now.minus(crate::support::pki::DAY));
    let expired = Template { dns: vec!["billing.example.com".to_owned()], ..Template::new("b", from, to) };
    let mut connection = behind.proxy.connect(Some(&pki.issue(&expired)));
    let expired = connection.post("/token", &asks_as("billing"));
    assert!(
        expired.is_err() || expired.is_ok_and(|answer| answer.status == 400),
        "refused by either of them"
    );
    let mut connection = behind.proxy.connect(None);
    assert_eq!(connection.get("/jwks").unwrap().status, 200);
    assert_eq!(connection.get("/.well-known/oauth-authorization-server").unwrap().status, 200);
    for path in ["/verify", "/verify/x", "/livez", "/metrics", "/api/v1/clients"] {
        assert_eq!(behind.proxy.connect(Some(&billing)).get(path).unwrap().status, 404, "{path}");
    }
}

/// A client three CAs down, which sends those between. Where the dialect has no chain, certbound knows them.
fn with_deep(mut setup: Setup, program: Program) -> (Setup, Shown) {
    let regional = setup.pki.corp.intermediate(&setup.pki.template("Regional CA")).unwrap();
    let issuing = regional.intermediate(&setup.pki.template("Issuing CA")).unwrap();
    let template = Template { dns: vec!["deep.example.com".to_owned()], ..setup.pki.template("deep") };
    let deep = Shown::from(&issuing.issue(&template).unwrap());
    let between = [issuing.identity(), regional.identity()];
    setup.client("deep", "tls_client_auth_san_dns: deep.example.com\n");
    if program != Program::HaProxy {
        setup.write("between.pem", between.map(Identity::certificate_pem).concat());
        setup.anchors.push_str(", intermediates: between.pem");
    }
    (setup, deep.with(&between.map(Identity::certificate_der)))
}

/// A certificate that needs more room in a header than proxies and servers have by themselves.
fn large(setup: &Setup) -> Shown {
    let mut names = vec!["billing.example.com".to_owned()];
    names.extend((0..600).map(|number| format!("host-{number:04}.of-a-large.service.example.com")));
    setup.pki.issue(&Template { dns: names, ..setup.pki.template("billing") })
}

/// No session is resumed, in either version: a resumed one could lack the certificate, or its chain.
fn is_anew_on_every_connection(behind: &Behind, shown: &Shown) {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let root = behind.server.setup.pki.server_ca.identity().certificate_der();
        let config = Connection::config(root, Some(shown), Some(version));
        for _ in 0..2 {
            let mut connection = Connection::open(behind.proxy.address(), config.clone()).unwrap();
            assert_eq!(connection.post("/token", &asks_as("billing")).unwrap().status, 200, "{version:?}");
            assert_eq!(connection.tls().handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
        }
    }
}

/// Debian's `ssl.conf` has a cache of sessions, and no line of a site can take it back. Where it is left on, a resumed session
/// is still the client's that began it.
#[test]
fn apache_with_the_session_cache_of_debian_takes_nobody_for_another() {
    if !Program::Apache.is_there() {
        return;
    }
    let cached = format!("SSLSessionCache shmcb:/run/certbound/scache(512000)\n{}", file("apache.conf"));
    let behind = Behind::by(Program::Apache, &cached, Setup::new());
    let pki = &behind.server.setup.pki;
    let billing = pki.client("billing.example.com");
    let config = Connection::config(pki.server_ca.identity().certificate_der(), Some(&billing), None);
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut connection = Connection::open(behind.proxy.address(), config.clone()).unwrap();
        let answer = connection.post("/token", &asks_as("billing")).unwrap();
        assert_eq!(bound_to(&answer), billing.thumbprint());
        assert_eq!(connection.tls().handshake_kind(), Some(expected));
    }
}

/// Clients take turns on connections that they keep, so that those behind the proxy carry all of them: none is ever taken
/// for another.
fn is_per_request(behind: &Behind, clients: &[(&str, &Shown)]) {
    let mut connections: Vec<_> =
        clients.iter().map(|(_, shown)| behind.proxy.connect(Some(shown))).collect();
    let mut choice = 1_u32;
    for _ in 0..120 {
        // Numbers without an order, the same in each run.
        choice = choice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (on, named) = ((choice >> 16) as usize % clients.len(), (choice >> 24) as usize % clients.len());
        let answer = connections[on].post("/token", &asks_as(clients[named].0)).unwrap_or_else(|_| {
            // Apache hangs up after a 400, and each of them on who is silent for seconds.
            connections[on] = behind.proxy.connect(Some(clients[on].1));
            connections[on].post("/token", &asks_as(clients[named].0)).unwrap()
        });
        if on == named {
            assert_eq!(bound_to(&answer), clients[on].1.thumbprint());
        } else {
            assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client"));
        }
    }
}

/// What each proxy would have to be told wrongly for a forged header to count.
const CARELESS: [(Program, &str, &str); 3] = [
    (Program::Nginx, "$ssl_client_escaped_cert;", "$http_x_ssl_client_cert;"),
    (Program::HaProxy, "    http-request del-header ^x[-_]ssl[-_]client[-_] -m reg\n", ""),
    (Program::Apache, "    RequestHeader unset X-SSL-Client-Cert\n", ""),
];

#[test]
fn proxy_check_finds_nothing_in_front_of_these_and_the_line_that_is_missing() {
    for (program, line, careless) in CARELESS {
        if !program.is_there() {
            continue;
        }
        let good = program.configuration();
        assert!(good.contains(line), "{program:?} has no {line}");
        assert_eq!(proxy_check(program, good), Some(0), "{program:?} as the page has it");
        assert_eq!(
            proxy_check(program, &good.replace(line, careless)),
            Some(1),
            "{program:?} without {line}"
        );
    }
}

/// The exit code of `certbound proxy-check` from outside, with a client's certificate.
fn proxy_check(program: Program, configuration: &str) -> Option<i32> {
    let behind = Behind::by(program, configuration, Setup::new());
    let pki = &behind.server.setup.pki;
    let template = Template { dns: vec!["billing.example.com".to_owned()], ..pki.template("billing") };
    let billing = pki.corp.issue(&template).unwrap();
    behind.proxy.place().write("billing.pem", &billing.certificate_pem());
    behind.proxy.place().write("billing.key", billing.key_pem().as_str());
    behind.proxy.place().write("ca.pem", &pki.server_ca.identity().certificate_pem());
    let url = format!("https://{}", behind.proxy.address());
    let files = ["--ca", "ca.pem", "--cert", "billing.pem", "--key", "billing.key", "--client-id", "billing"];
    let arguments = [&["proxy-check", &url, "--dialect", program.name()], &files[..]].concat();
    certbound(&behind.proxy.place().path(""), &arguments).status.code()
}

/// The thumbprint in the token of an answer.
fn bound_to(answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    forgery::claims(json["access_token"].as_str().unwrap())["cnf"]["x5t#S256"].as_str().unwrap().to_owned()
}

#[test]
fn nginx_proves_itself_from_another_machine() {
    proves_itself_from_another_machine(Program::Nginx);
}

#[test]
fn haproxy_proves_itself_from_another_machine() {
    proves_itself_from_another_machine(Program::HaProxy);
}

#[test]
fn apache_proves_itself_from_another_machine() {
    proves_itself_from_another_machine(Program::Apache);
}

/// Over TLS, by address, certificate and credentials, with the lines that the page prints for it in place of those for the
/// socket.
fn proves_itself_from_another_machine(program: Program) {
    if !program.is_there() {
        return;
    }
    let place = Place::new(program);
    let mut setup = Setup::new();
    let proxy: Identity = setup
        .pki
        .corp
        .issue(&Template { dns: vec!["proxy.internal".to_owned()], ..setup.pki.template("proxy") })
        .unwrap();
    let (certificate, key) = (proxy.certificate_pem(), proxy.key_pem());
    place.write("proxy.pem", &certificate);
    place.write("proxy.key", key.as_str());
    place.write("proxy.both.pem", &[certificate.as_str(), key.as_str()].concat());
    place.write("internal-ca.pem", &setup.pki.server_ca.identity().certificate_pem());
    setup.write("proxy.password", "change-me");
    setup.listeners = format!(
        "  - kind: forwarded\n    bind: 127.0.0.1:0\n    tls: {{ certificate: server.pem, key: server.key }}\n    \
         dialect: {}\n    proxy:\n      address: [127.0.0.1/32]\n      \
         mtls: {{ trust_anchors: corp, tls_client_auth_san_dns: proxy.internal }}\n      \
         basic: {{ username: proxy, password: {{ file: proxy.password }} }}\n",
        program.name()
    );
    let server = setup.start();
    let port = server.address(certbound::http::Kind::Forwarded).port();
    let places = [
        ("certbound.internal:8081", format!("localhost:{port}")),
        ("certbound.internal", "localhost".to_owned()),
    ];
    let places = if program == Program::Apache { &places[..1] } else { &places[..] };
    let proxy = place.start(&elsewhere(program), &server.setup.pki, places);
    let behind = Behind { proxy, server };
    let billing = behind.server.setup.pki.client("billing.example.com");
    behind.gets_its_token("billing", &billing);
    // The proxy's own certificate is nobody's, with or without that of a client.
    let nobody = behind.post(None, "/token", &asks_as("billing"));
    assert_eq!((nobody.status, nobody.error().as_str()), (400, "invalid_client"));
}

/// The configuration with the lines for another machine in place of those for a socket.
fn elsewhere(program: Program) -> String {
    let mut text = String::new();
    let [in_upstream, in_location] = match program {
        Program::Nginx => ["# in `upstream certbound`", "# in `location /`"],
        Program::HaProxy => ["# `backend certbound`", ""],
        Program::Apache => ["# in place of `ProxyPass /`", ""],
    };
    let lines = |begin: &str| {
        let all = blocks(PAGE, program.name());
        let found = all.into_iter().find(|block| block.trim_start().starts_with(begin));
        found.unwrap_or_else(|| panic!("docs/proxies.md has no block that begins with {begin}"))
    };
    for line in program.configuration().lines() {
        match line.trim_start() {
            line if line.starts_with("server unix:") => text.push_str(&lines(in_upstream)),
            line if line.starts_with("proxy_pass ") => text.push_str(&lines(in_location)),
            line if line.starts_with("proxy_set_header Proxy-Authorization") => {}
            line if line.starts_with("backend ") || line.starts_with("ProxyPass / ") => {
                text.push_str(&lines(in_upstream));
            }
            line if line.starts_with("server certbound ") => {}
            _ => writeln!(text, "{line}").unwrap(),
        }
    }
    text
}
