//! `docs/openapi.yaml` and the server say the same: paths and methods, both ways; status, media type and headers of what is
//! answered; the closed sets. What is in the bodies is looked at by `make schemathesis`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certbound::http::Kind;
use certbound::pki::workshop::Identity;
use serde_json::{Value, json};

use crate::support::client::receive;
use crate::support::{Response, Server, Setup, Shown};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const PROXY: &str =
    "  - { kind: forwarded, bind: 127.0.0.1:0, dialect: rfc9440, proxy: { address: [127.0.0.1/32] } }\n";

/// The document, and which of its operations were answered with success.
struct Document {
    content: Value,
    succeeded: BTreeSet<(String, String)>,
}

/// By which road a request comes, and with which certificate.
#[derive(Clone, Copy)]
enum Road<'s> {
    Mtls(Option<&'s Shown>),
    Forwarded,
    Admin,
    Control,
}

/// A request: the path of the document, what stands for its names, and the rest.
struct Request<'r> {
    path: &'r str,
    method: &'r str,
    target: &'r str,
    headers: &'r str,
    body: &'r str,
}

impl Document {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.yaml");
        let content = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        Self { content, succeeded: BTreeSet::new() }
    }

    /// What a reference points to; everything else is itself.
    fn resolved<'d>(&'d self, value: &'d Value) -> &'d Value {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return value };
        let found = self.content.pointer(reference.strip_prefix('#').unwrap());
        self.resolved(found.unwrap_or_else(|| panic!("{reference} points to nothing")))
    }

    /// Every path with its methods.
    fn paths(&self) -> Vec<(&str, Vec<&str>)> {
        let methods = |item| {
            let fields = self.resolved(item).as_object().unwrap().iter();
            let operations = fields.filter(|(_, operation)| operation.get("responses").is_some());
            operations.map(|(method, _)| method.as_str()).collect()
        };
        let paths = self.content["paths"].as_object().unwrap().iter();
        paths.map(|(path, item)| (path.as_str(), methods(item))).collect()
    }

    fn operation(&self, path: &str, method: &str) -> &Value {
        &self.resolved(&self.content["paths"][path])[method.to_ascii_lowercase()]
    }

    /// Whether the document has this answer, with its media type and its headers.
    fn has(&mut self, request: &Request<'_>, answer: &Response) {
        let Request { path, method, target, .. } = request;
        let what = format!("{method} {target} ({path}): {answer:?}");
        let documented = &self.operation(path, method)["responses"][answer.status.to_string()];
        assert!(documented.is_object(), "a status that is not documented: {what}");
        let documented = self.resolved(documented);
        for (name, header) in documented["headers"].as_object().into_iter().flatten() {
            let header = self.resolved(header);
            let value = answer.header(name);
            assert!(value.is_some() || header["required"] != true, "{name} is missing: {what}");
            let expected = self.resolved(&header["schema"])["const"].as_str();
            assert!(expected.is_none() || value == expected, "{name}: {what}");
        }
        for name in ["allow", "cache-control", "pragma", "retry-after", "www-authenticate"] {
            let headers = documented["headers"].as_object();
            let is_documented =
                headers.is_some_and(|all| all.keys().any(|key| key.eq_ignore_ascii_case(name)));
            assert!(answer.header(name).is_none() || is_documented, "{name} is not documented: {what}");
        }
        let types = documented["content"].as_object();
        let mut types = types.into_iter().flatten().map(|(media_type, _)| media_type.as_str());
        if let Some(media_type) = answer.header("content-type").filter(|_| *method != "HEAD") {
            assert!(types.any(|one| one == media_type), "{media_type}: {what}");
        } else {
            let may_be_empty = types.next().is_none() || documented["x-body"] == "optional";
            assert!(may_be_empty && answer.body.is_empty(), "no body: {what}");
        }
        if answer.status < 300 {
            self.succeeded.insert(((*path).to_owned(), method.to_ascii_lowercase()));
        }
    }
}

/// Sends a request by a connection of its own.
fn ask(server: &Server, road: Road<'_>, request: &Request<'_>) -> Response {
    let Request { method, target, headers, body, .. } = request;
    let length = body.len();
    let text = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    let plain = |mut stream: Box<dyn Stream>| {
        stream.write_all(text.as_bytes()).unwrap();
        receive(&mut stream, *method == "HEAD").unwrap()
    };
    match road {
        Road::Mtls(shown) => {
            let mut connection = server.connect(shown);
            connection.send(text.as_bytes()).unwrap();
            if *method == "HEAD" { connection.receive_head() } else { connection.receive() }.unwrap()
        }
        Road::Forwarded => plain(Box::new(TcpStream::connect(server.address(Kind::Forwarded)).unwrap())),
        Road::Admin => plain(Box::new(TcpStream::connect(server.address(Kind::Admin)).unwrap())),
        Road::Control => plain(Box::new(UnixStream::connect(server.setup.path("control.sock")).unwrap())),
    }
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// The road to a path: by a connection without a certificate, where there is one.
fn road(path: &str) -> Road<'static> {
    match path {
        _ if path.starts_with("/verify") => Road::Forwarded,
        _ if path.starts_with("/api/") => Road::Control,
        "/livez" | "/readyz" | "/metrics" => Road::Admin,
        _ => Road::Mtls(None),
    }
}

fn start() -> Server {
    Setup { listeners: PROXY.to_owned(), ..Setup::new() }.start()
}

#[test]
fn the_document_is_of_this_version_and_refers_to_nothing_that_is_missing() {
    let document = Document::read();
    assert_eq!(document.content["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut open = vec![&document.content];
    while let Some(value) = open.pop() {
        document.resolved(value);
        open.extend(value.as_object().into_iter().flat_map(serde_json::Map::values));
        open.extend(value.as_array().into_iter().flatten());
    }
}

#[test]
fn every_path_of_the_document_takes_its_methods_and_no_others() {
    let (document, server) = (Document::read(), start());
    for (path, methods) in document.paths() {
        let target = path.replace(['{', '}'], "");
        let send = |method| {
            ask(&server, road(path), &Request { path, method, target: &target, headers: "", body: "" })
        };
        // Where the issuer has no path, its metadata is not below one.
        if path.contains("{issuer_path}") {
            assert_eq!(send("GET").status, 404, "{path}");
            continue;
        }
        let answer = send("BREW");
        if path.starts_with("/verify") {
            assert_eq!((answer.status, methods.len()), (401, 8), "every method is a question: {path}");
            continue;
        }
        assert_eq!((answer.status, answer.error().as_str()), (405, "invalid_request"), "{path}");
        let allowed: BTreeSet<_> = answer.header("allow").unwrap().split(", ").collect();
        let methods: Vec<_> = methods.iter().map(|method| method.to_ascii_uppercase()).collect();
        assert_eq!(allowed, methods.iter().map(String::as_str).collect(), "{path}");
        // What can be tried without doing anything: all but the commands.
        for method in methods.iter().filter(|_| !path.starts_with("/api/")) {
            assert!(![404, 405].contains(&send(method).status), "{method} {path}");
        }
    }
}

#[test]
fn every_path_of_the_route_tables_is_in_the_document() {
    let document = Document::read();
    let (api, other): (Vec<_>, Vec<_>) =
        document.paths().into_iter().map(|(path, _)| path).partition(|path| path.starts_with("/api/v1/"));

    let table = literals("src/admin/mod.rs", "pub fn routes(", "http::admin_routes(");
    let table: BTreeSet<_> = table.iter().filter_map(|text| text.strip_prefix('/')).collect();
    let api = api.iter().filter_map(|path| path.strip_prefix("/api/v1/"));
    assert_eq!(table, api.chain(["api/v1"]).collect());

    // The OAuth routes are put together of words and the path of the issuer: each word is in a path, and the other way round.
    let table = literals("src/http/mod.rs", "pub fn oauth_routes(", "\nfn wrong_method(");
    let table = table.iter().map(String::as_str).filter(|text| !["POST", "GET, HEAD"].contains(text));
    assert_eq!(words(table), words(other.into_iter()));
}

#[test]
fn the_closed_sets_are_those_of_the_source() {
    let document = Document::read();
    for (schema, file, from, to) in [
        ("ErrorCode", "src/oauth/error.rs", "fn as_str(", ""),
        ("Reason", "src/authn/refusal.rs", "fn as_str(", "pub struct Finding"),
        ("AdminErrorCode", "src/admin/api/mod.rs", "let error = match self", "let body ="),
    ] {
        let listed = document.content["components"]["schemas"][schema]["enum"].as_array().unwrap();
        let listed: BTreeSet<_> = listed.iter().map(|one| one.as_str().unwrap().to_owned()).collect();
        assert_eq!(listed, literals(file, from, to).into_iter().collect(), "{schema}");
    }
}

fn words<'t>(texts: impl Iterator<Item = &'t str>) -> BTreeSet<&'t str> {
    let words = texts.flat_map(|text| text.split('/'));
    words.filter(|word| !word.is_empty() && !word.contains(['{', '}'])).collect()
}

/// The texts between quotes in a part of a file of the source, without its comments.
fn literals(file: &str, from: &str, to: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let (_, part) = text.split_once(from).unwrap();
    let part = if to.is_empty() { part } else { part.split_once(to).unwrap().0 };
    let code: String = part.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let texts: Vec<_> = code.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(texts.len() > 5, "{file} {from}: {texts:?}");
    texts
}

#[test]
fn what_the_server_answers_is_as_the_document_says() {
    let server = start();
    let mut probe = Probe { document: Document::read(), server: &server };
    probe.the_three_endpoints();
    probe.what_may_be_read();
    probe.what_proxies_ask();
    probe.what_operators_read();
    probe.what_operators_do();
    probe.what_ends_for_good();
    let document = &probe.document;
    let mut operations = Vec::new();
    for (path, methods) in document.paths() {
        operations.extend(methods.into_iter().map(|method| (path.to_owned(), method.to_owned())));
    }
    // Of an issuer with a path: the test below.
    operations.retain(|operation| !operation.0.contains("{issuer_path}"));
    operations.retain(|operation| !document.succeeded.contains(operation));
    assert_eq!(operations, [], "nobody tried these");
}

/// Asks, and holds each answer against the document.
struct Probe<'s> {
    document: Document,
    server: &'s Server,
}

impl Probe<'_> {
    fn say(
        &mut self,
        road: Road<'_>,
        (path, method, target): (&str, &str, &str),
        headers: &str,
        body: &str,
    ) -> Response {
        let request = Request { path, method, target, headers, body };
        let answer = ask(self.server, road, &request);
        self.document.has(&request, &answer);
        answer
    }

    /// A command of the operator.
    fn post(&mut self, (path, target): (&str, &str), headers: &str, body: &str) -> Response {
        self.say(Road::Control, (path, "POST", target), headers, body)
    }

    fn shown(&self, dns: &str) -> Shown {
        self.server.setup.pki.client(dns)
    }

    fn the_three_endpoints(&mut self) {
        let (billing, gateway) = (self.shown("billing.example.com"), self.shown("gateway.example.com"));
        let (token, other) =
            (self.server.good_token("billing", &billing), self.server.good_token("billing", &billing));
        let (nobody, client, reader) =
            (Road::Mtls(None), Road::Mtls(Some(&billing)), Road::Mtls(Some(&gateway)));
        let grant = "grant_type=client_credentials&client_id=billing";
        let question = &format!("client_id=gateway&token={token}");
        let mine = &format!("client_id=billing&token={other}");
        let signed = "Accept: application/token-introspection+jwt\r\n";
        for (status, road, path, headers, body) in [
            (200, client, "/token", "", grant),
            (400, nobody, "/token", "", grant),
            (400, client, "/token", "", &format!("{grant}&scope=more")),
            (401, client, "/token", "Authorization: Basic eDp5\r\n", grant),
            (413, client, "/token", "", &"x".repeat(70_000)),
            (200, reader, "/introspect", "", question),
            (200, reader, "/introspect", signed, question),
            (200, reader, "/introspect", "", "client_id=gateway&token=x"),
            (400, reader, "/introspect", "", "client_id=gateway"),
            (400, nobody, "/introspect", "", question),
            (401, client, "/introspect", "", question),
            (401, reader, "/introspect", "Authorization: Bearer x\r\n", question),
            (400, reader, "/revoke", "", question),
            (200, client, "/revoke", "", mine),
            (401, client, "/revoke", "Authorization: x\r\n", ""),
        ] {
            let headers = format!("Content-Type: {FORM}\r\n{headers}");
            let answer = self.say(road, (path, "POST", path), &headers, body);
            assert_eq!(answer.status, status, "{path} {headers}{body:.100}");
        }
        let long = format!("X-Long: {}\r\n", "x".repeat(70_000));
        for path in ["/token", "/introspect", "/revoke"] {
            for (status, headers) in [(415, "Content-Type: application/json\r\n"), (431, &long)] {
                assert_eq!(self.say(client, (path, "POST", path), headers, "{}").status, status, "{path}");
            }
        }
    }

    fn what_may_be_read(&mut self) {
        let metadata = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];
        for path in ["/jwks", "/livez", "/readyz", "/metrics"].into_iter().chain(metadata) {
            for method in ["GET", "HEAD"] {
                let answer = self.say(road(path), (path, method, path), "", "");
                assert_eq!(answer.status, 200, "{method} {path}");
            }
        }
    }

    fn what_proxies_ask(&mut self) {
        let billing = self.shown("billing.example.com");
        let token = self.server.good_token("billing", &billing);
        let shown = format!("Client-Cert: :{}:\r\n", STANDARD.encode(&billing.chain[0]));
        let both = format!("{shown}Authorization: Bearer {token}\r\n");
        let scope = "X-Certbound-Require-Scope: more\r\n";
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            for (status, path, target, headers) in [
                (200, "/verify", "/verify?scope=read", &both),
                (403, "/verify", "/verify?scope=more", &both),
                (401, "/verify", "/verify?audience=x", &both),
                (401, "/verify", "/verify", &shown),
                (200, "/verify/{path}", "/verify/a/b", &both),
                (403, "/verify/{path}", "/verify/a", &format!("{both}{scope}")),
                (401, "/verify/{path}", "/verify/", &shown),
            ] {
                let answer = self.say(Road::Forwarded, (path, method, target), headers, "");
                assert_eq!(answer.status, status, "{method} {target} {headers}");
            }
        }
    }

    fn what_operators_read(&mut self) {
        let refused = self.server.token("billing", Some(&self.shown("gateway.example.com")));
        let said = refused.json()["error_description"].as_str().unwrap().to_owned();
        let reference = said.split_once("(ref ").unwrap().1.trim_end_matches(')');
        let explained = &format!("/api/v1/refusals/{reference}");
        for (status, path, target) in [
            (200, "/api/v1/clients", "/api/v1/clients"),
            (200, "/api/v1/clients/{id}", "/api/v1/clients/billing"),
            (404, "/api/v1/clients/{id}", "/api/v1/clients/nobody"),
            (200, "/api/v1/refusals", "/api/v1/refusals?limit=3"),
            (200, "/api/v1/refusals/{reference}", explained),
            (404, "/api/v1/refusals/{reference}", "/api/v1/refusals/0"),
            (200, "/api/v1/plan", "/api/v1/plan"),
            (200, "/api/v1/keys", "/api/v1/keys"),
            (200, "/api/v1/trust", "/api/v1/trust"),
            (200, "/api/v1/store/check", "/api/v1/store/check"),
            (200, "/api/v1/store/export", "/api/v1/store/export"),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = self.say(Road::Control, (path, method, target), "", "");
                assert_eq!(answer.status, status, "{method} {target}");
            }
        }
        let path = "/api/v1/refusals";
        assert_eq!(self.say(Road::Control, (path, "GET", "/api/v1/refusals?limit=x"), "", "").status, 400);
    }

    fn what_operators_do(&mut self) {
        let token = self.server.good_token("billing", &self.shown("billing.example.com"));
        let key =
            Identity::self_signed(&self.server.setup.pki.template("key")).unwrap().key_pem().to_string();
        for (status, path, media_type, body) in [
            (200, "reload", JSON, ""),
            (200, "reload/files", JSON, ""),
            (200, "tokens/revoke", JSON, &json!({ "token": token }).to_string()),
            (200, "tokens/revoke", JSON, &json!({ "token": "x" }).to_string()),
            (400, "tokens/revoke", JSON, "{}"),
            (200, "keys/import", JSON, &json!({ "pem": key }).to_string()),
            (422, "keys/import", JSON, &json!({ "pem": "x" }).to_string()),
            (400, "keys/import", JSON, &json!({ "pem": "x".repeat(3 << 20) }).to_string()),
            (400, "keys/import", JSON, "{"),
            (400, "keys/rotate", JSON, "{\"now\":1}"),
            (400, "keys/rotate", FORM, "{\"now\":true}"),
        ] {
            let path = &format!("/api/v1/{path}");
            let answer = self.post((path, path), &format!("Content-Type: {media_type}\r\n"), body);
            assert_eq!(answer.status, status, "{path} {body:.100}");
        }
    }

    fn what_ends_for_good(&mut self) {
        let rotate = "/api/v1/keys/rotate";
        let rotated = self.post((rotate, rotate), &format!("Content-Type: {JSON}\r\n"), "{\"now\":true}");
        let kid = rotated.json()["kid"].as_str().unwrap().to_owned();
        for (status, kid) in [(204, kid.as_str()), (404, "x")] {
            let target = format!("/api/v1/keys/{kid}");
            let answer = self.say(Road::Control, ("/api/v1/keys/{kid}", "DELETE", &target), "", "");
            assert_eq!(answer.status, status, "{target}");
        }
        let revoke = "/api/v1/clients/{id}/revoke";
        assert_eq!(self.post((revoke, "/api/v1/clients/%00/revoke"), "", "").status, 422);
        // The answer waits for the end of the second, and the clock stands until it is moved.
        let clock = Arc::clone(&self.server.setup.clock);
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| self.post((revoke, "/api/v1/clients/billing/revoke"), "", "").status);
            while !asked.is_finished() {
                clock.advance(Duration::from_secs(1));
                std::thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(asked.join().unwrap(), 200);
        });
    }
}

#[test]
fn the_metadata_of_an_issuer_with_a_path_is_where_the_document_says() {
    let mut document = Document::read();
    let server = Setup { issuer: "https://as.example.com/t1".to_owned(), ..Setup::new() }.start();
    for name in ["oauth-authorization-server", "openid-configuration"] {
        let (path, target) =
            (format!("/.well-known/{name}/{{issuer_path}}"), format!("/.well-known/{name}/t1"));
        for method in ["GET", "HEAD"] {
            let request = Request { path: &path, method, target: &target, headers: "", body: "" };
            let answer = ask(&server, Road::Mtls(None), &request);
            assert_eq!(answer.status, 200, "{method} {target}");
            document.has(&request, &answer);
            // At the root there is nothing then.
            let path = format!("/.well-known/{name}");
            let request = Request { path: &path, method, target: &path, headers: "", body: "" };
            let answer = ask(&server, Road::Mtls(None), &request);
            assert_eq!(answer.status, 404, "{method} {path}");
            document.has(&request, &answer);
        }
    }
}
