//! Resource servers in front of APIs (RFC 6750, RFC 8705 §3): the example, and the programs of
//! `docs/resource-servers.md`, each against the real server.

mod example;

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::clients::{blocks, is_there};
use crate::support::api::{self, Api, Language, SCOPE, Way, lay_out};
use crate::support::program::{Serving, printed};
use crate::support::server::API;
use crate::support::{Pki, Response, Server, Setup, Shown};

const PAGE: &str = include_str!("../../docs/resource-servers.md");

/// A server, and the API behind which the tokens of its clients are of use.
struct Pair {
    server: Server,
    api: Api,
    self_signed: Shown,
}

impl Pair {
    fn start(language: Language, way: Way) -> Self {
        Self::start_with(language, way, &|_| {})
    }

    fn start_with(language: Language, way: Way, prepare: &dyn Fn(&mut Setup)) -> Self {
        let (server, self_signed) = authorization_server(prepare);
        Self { api: Api::start(language, way, &server), server, self_signed }
    }

    fn certificate(&self, client: &str) -> Shown {
        self.server.setup.pki.client(&format!("{client}.example.com"))
    }

    /// A client's certificate, and a token for it.
    fn client(&self, client: &str) -> (Shown, String) {
        let shown = self.certificate(client);
        let token = self.server.good_token(client, &shown);
        (shown, token)
    }
}

fn authorization_server(prepare: &dyn Fn(&mut Setup)) -> (Server, Shown) {
    let self_signed = Pki::new().self_signed("edge-7");
    let server = Server::at_its_issuer(|setup| {
        lay_out(setup, &self_signed);
        prepare(setup);
    });
    (server, self_signed)
}

/// Not let in, and told so as RFC 6750 §3 wants it.
fn assert_refused(answer: &Response, status: u16, error: Option<&str>, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let challenge = answer.header("www-authenticate").unwrap_or_else(|| panic!("{what}: {answer:?}"));
    let realm = format!("Bearer realm=\"{API}\"");
    let expected = error.map_or_else(|| realm.clone(), |error| format!("{realm}, error=\"{error}\""));
    let challenge = challenge.replace(&format!(", scope=\"{SCOPE}\""), "");
    assert_eq!(challenge, expected, "{what}");
}

fn assert_admitted(answer: &Response, client: &str, what: &str) {
    assert_eq!(answer.status, 200, "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["client_id"], client, "{what}");
}

#[test]
fn the_example_admits_who_holds_the_certificate_and_asks_for_each_token() {
    admits_who_holds_the_certificate(Language::Rust, Way::Introspection);
}

#[test]
fn the_example_admits_who_holds_the_certificate_and_verifies_by_itself() {
    admits_who_holds_the_certificate(Language::Rust, Way::Local);
}

#[test]
fn python_admits_who_holds_the_certificate_and_asks_for_each_token() {
    if is_there("python3") {
        admits_who_holds_the_certificate(Language::Python, Way::Introspection);
    }
}

#[test]
fn python_admits_who_holds_the_certificate_and_verifies_by_itself() {
    if is_there("python3") && has_cryptography() {
        admits_who_holds_the_certificate(Language::Python, Way::Local);
    }
}

#[test]
fn node_admits_who_holds_the_certificate_and_asks_for_each_token() {
    if is_there("node") {
        admits_who_holds_the_certificate(Language::Node, Way::Introspection);
    }
}

#[test]
fn node_admits_who_holds_the_certificate_and_verifies_by_itself() {
    if is_there("node") {
        admits_who_holds_the_certificate(Language::Node, Way::Local);
    }
}

/// What every resource server must do, in whatever language and way.
fn admits_who_holds_the_certificate(language: Language, way: Way) {
    let pair = Pair::start(language, way);
    let Pair { server, api, self_signed } = &pair;
    let (billing, token) = pair.client("billing");
    let thief = pair.certificate("thief");

    assert_admitted(&api.with_token(Some(&billing), &token), "billing", "the right certificate");
    let edge = server.good_token("edge-7", self_signed);
    assert_admitted(&api.with_token(Some(self_signed), &edge), "edge-7", "a self-signed certificate");
    for scheme in ["bearer", "BEARER", "bEARER"] {
        let line = format!("Authorization: {scheme} {token}");
        assert_admitted(&api.get(Some(&billing), "/", &[&line]), "billing", scheme);
    }

    // RFC 8705 §3.
    let stolen = api.with_token(Some(&thief), &token);
    assert_refused(&stolen, 401, Some("invalid_token"), "the certificate of another");
    assert_refused(&api.with_token(None, &token), 401, Some("invalid_token"), "no certificate");
    let renewed = api.with_token(Some(&pair.certificate("billing")), &token);
    assert_refused(&renewed, 401, Some("invalid_token"), "another certificate of the same client");

    // RFC 6750 §2, §3.1.
    assert_refused(&api.get(Some(&billing), "/", &[]), 401, None, "no token");
    let basic = ["Authorization: Basic YWxpY2U6c2VjcmV0"];
    assert_refused(&api.get(Some(&billing), "/", &basic), 401, None, "another scheme");
    let bearer = format!("Authorization: Bearer {token}");
    let query = format!("/invoices?page=1&access_token={token}");
    let disguised = format!("/invoices?access%5Ftoken={token}");
    for (what, target, lines) in [
        ("a token in the query", &*query, &[][..]),
        ("and one in the header", &*query, &[&*bearer]),
        ("a token in a disguised query", &*disguised, &[]),
        ("two headers", "/", &[&*bearer, &*bearer]),
        ("a scheme alone", "/", &["Authorization: Bearer"]),
        ("two tokens", "/", &["Authorization: Bearer a b"]),
    ] {
        assert_refused(&api.get(Some(&billing), target, lines), 400, Some("invalid_request"), what);
    }

    // Not for this API, or not for this much of it.
    let (elsewhere, other) = pair.client("elsewhere");
    assert_refused(&api.with_token(Some(&elsewhere), &other), 401, Some("invalid_token"), "another audience");
    let (poor, little) = pair.client("poor");
    assert_refused(&api.with_token(Some(&poor), &little), 403, Some("insufficient_scope"), "another scope");

    // No tokens, or not any more.
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signed_answer = signed_introspection(&pair, &token);
    for (what, token) in [
        ("no JWT", "garbage".to_owned()),
        ("no signature", format!("{message}.")),
        ("another signature", format!("{message}.{}{}", &signature[1..], &signature[..1])),
        ("more parts", format!("{token}.{signature}")),
        ("nothing in its parts", "..".to_owned()),
        ("an introspection response (RFC 9701 §8.1)", signed_answer),
    ] {
        assert_refused(&api.with_token(Some(&billing), &token), 401, Some("invalid_token"), what);
    }
    server.setup.clock.set(server.setup.pki.now.minus(Duration::from_secs(600)));
    let old = server.good_token("billing", &billing);
    server.setup.clock.set(server.setup.pki.now);
    assert_refused(&api.with_token(Some(&billing), &old), 401, Some("invalid_token"), "an expired token");
    assert_eq!(server.revoke("billing", &billing, &token).status, 200);
    let revoked = api.with_token(Some(&billing), &token);
    match way {
        Way::Introspection => assert_refused(&revoked, 401, Some("invalid_token"), "a revoked token"),
        Way::Local => assert_admitted(&revoked, "billing", "nobody was asked about the revocation"),
    }
}

fn signed_introspection(pair: &Pair, token: &str) -> String {
    let form = [("client_id", "api-gateway"), ("token", token)];
    let mut connection = pair.server.connect(Some(&pair.certificate("api")));
    let accept = "Accept: application/token-introspection+jwt\r\n";
    let answer = connection.post_with("/introspect", &form, accept).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    String::from_utf8(answer.body).unwrap()
}

#[test]
fn tokens_of_every_algorithm_are_verified_locally() {
    for algorithm in ["ES256", "PS256", "EdDSA", "RS256"] {
        let more = format!("signing: {{ algorithm: {algorithm} }}\n");
        for language in [Language::Rust, Language::Node] {
            if language == Language::Node && !is_there("node") {
                continue;
            }
            let pair = Pair::start_with(language, Way::Local, &|setup| setup.more.clone_from(&more));
            let (billing, token) = pair.client("billing");
            assert_admitted(&pair.api.with_token(Some(&billing), &token), "billing", algorithm);
        }
    }
}

#[test]
fn a_key_that_was_published_since_verifies() {
    for language in [Language::Rust, Language::Python, Language::Node] {
        let there = match language {
            Language::Rust => true,
            Language::Python => is_there("python3") && has_cryptography(),
            Language::Node => is_there("node"),
        };
        if !there {
            continue;
        }
        let pair = Pair::start(language, Way::Local);
        let answer = pair.server.control("POST", "keys/rotate", Some(json!({ "now": true })));
        assert_eq!(answer.status, 200, "{answer:?}");
        let (billing, token) = pair.client("billing");
        assert_admitted(&pair.api.with_token(Some(&billing), &token), "billing", &format!("{language:?}"));
    }
}

#[test]
fn while_the_server_is_away_the_one_that_asks_says_so_and_the_other_goes_on() {
    let pair = Pair::start(Language::Rust, Way::Introspection);
    let (billing, token) = pair.client("billing");
    let local = Api::start(Language::Rust, Way::Local, &pair.server);
    let scripts = [(Language::Python, "python3"), (Language::Node, "node")];
    let scripts = scripts.into_iter().filter(|(_, program)| is_there(program));
    let asking: Vec<_> =
        scripts.map(|(language, _)| Api::start(language, Way::Introspection, &pair.server)).collect();
    let _setup = pair.server.stop();
    let answer = pair.api.with_token(Some(&billing), &token);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
    for api in &asking {
        assert_eq!(api.with_token(Some(&billing), &token).status, 503);
    }
    assert_admitted(&local.with_token(Some(&billing), &token), "billing", "with the keys it has");
}

#[test]
fn the_page_of_resource_servers_quotes_every_program_word_for_word() {
    for (file, language) in [
        ("api.py", "python"),
        ("introspection.py", "python"),
        ("local.py", "python"),
        ("api.mjs", "js"),
        ("introspection.mjs", "js"),
        ("local.mjs", "js"),
    ] {
        let text = fs::read_to_string(api::scripts().join(file)).unwrap();
        let block = format!("```{language}\n{text}```\n");
        assert!(PAGE.contains(&block), "docs/resource-servers.md does not have {file} as it is");
        assert!(text.lines().count() <= 80, "{file} is too long for an example");
    }
    let tls = include_str!("../../examples/resource_server/tls.rs");
    let verifier = tls.find("#[derive(Debug)]\nstruct AnyCertificate").and_then(|at| tls.get(at..)).unwrap();
    assert!(
        PAGE.contains(&format!("```rust\n{verifier}```\n")),
        "the page does not have the verifier as it is"
    );
}

#[test]
fn the_lines_of_the_page_start_resource_servers_that_the_call_of_the_page_reaches() {
    if !is_there("curl") {
        return;
    }
    let lines = blocks(PAGE, "sh");
    let [clients, python, call, node, local_python, local_node, example, local_example] = &lines[..] else {
        panic!("the page has {} blocks of lines", lines.len());
    };
    let (directory, _serving, port) = served_by_init();
    let run = |line: &str| {
        let root = env!("CARGO_MANIFEST_DIR");
        let program = format!("{:?}", api::bare_example().get_program());
        let line = line
            .replace("cargo run --manifest-path ../Cargo.toml --example resource_server --", &program)
            .replace("../", &format!("{root}/"))
            .replace("localhost:8443", &format!("localhost:{port}"))
            .replace("127.0.0.1:9443", "127.0.0.1:0")
            .replace(" 9443 ", " 0 ");
        let mut shell = Command::new("sh");
        shell.args(["-ec", &line]).current_dir(directory.path()).env("PYTHONDONTWRITEBYTECODE", "1");
        shell
    };
    assert!(run(clients).status().unwrap().success());
    for line in [example, local_example, python, local_python, node, local_node] {
        let program = line.split(' ').next().unwrap();
        if !is_there(program) || (line == local_python && !has_cryptography()) {
            continue;
        }
        let api = Api::spawn(&mut run(&format!("exec {line}")), directory.path(), &[]);
        let reached = call.replace("localhost:9443", &format!("localhost:{}", api.address().port()));
        let stolen = reached.replace("-H", "--cert pki/api.pem --key pki/api.key -H");
        for (call, status) in [(&reached, "200"), (&stolen, "401")] {
            let output = run(call).output().unwrap();
            let answer = String::from_utf8_lossy(&output.stdout);
            assert_eq!(answer.split(' ').nth(1), Some(status), "{line}: {answer}");
        }
    }
}

/// What `certbound init` makes, served where it says.
fn served_by_init() -> (tempfile::TempDir, Serving, u16) {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        printed(0, directory.path(), &["init", ".", "--port", &port.to_string()]);
        let configuration = directory.path().join("certbound.yaml");
        let text = fs::read_to_string(&configuration).unwrap();
        fs::write(&configuration, text.replace(":9090", ":0")).unwrap();
        match Serving::try_start(directory.path()) {
            Ok(serving) => return (directory, serving, port),
            Err(refused) => assert!(refused.complaint.contains("in use"), "{refused:?}"),
        }
    }
    panic!("no port is free for long enough")
}

/// The one package that Python does not bring along.
fn has_cryptography() -> bool {
    let output = Command::new("python3").args(["-c", "import cryptography"]).output().unwrap();
    let found = output.status.success();
    #[expect(clippy::disallowed_methods, reason = "a test looks at the machine that it runs on")]
    let must = std::env::var_os("CI").is_some();
    assert!(found || !must, "python3-cryptography is not installed (scripts/packages test)");
    if !found {
        println!("skipped: python3-cryptography is not installed");
    }
    found
}
