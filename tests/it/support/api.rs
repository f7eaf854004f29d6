//! Resource servers as processes of their own: the example in Rust, and the programs of `docs/resource-servers.md`.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::SystemTime;

use super::client::{Connection, Response};
use super::pki::Shown;
use super::server::{API, Server, Setup};

/// What the API asks of a token.
pub(crate) const SCOPE: &str = "invoices:read";

/// What a resource server is written in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Language {
    Rust,
    Python,
    Node,
}

/// How it checks tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    Introspection,
    Local,
}

/// A resource server at work. Killed when it is dropped.
pub(crate) struct Api {
    child: Child,
    address: SocketAddr,
    root: Vec<u8>,
}

/// Lays out the clients of an API, and its files where `certbound init` puts them.
pub(crate) fn lay_out(setup: &Setup, self_signed: &Shown) {
    let scope = format!("scope: {SCOPE} invoices:write");
    setup.client("billing", &format!("tls_client_auth_san_dns: billing.example.com\n{scope}\n"));
    setup.client(
        "poor",
        "tls_client_auth_san_dns: poor.example.com\nscope: invoices:readable telemetry:write\n",
    );
    let other = "resources: [https://other.example.com]";
    setup.client("elsewhere", &format!("tls_client_auth_san_dns: elsewhere.example.com\n{other}\n{scope}\n"));
    // It sees the tokens of another API too, so that it has to look whom a token is for.
    setup.client("api-gateway", &format!(
        "tls_client_auth_san_dns: api.example.com\ngrant_types: []\nintrospection: {{ resources: [{API}, https://other.example.com] }}\n"
    ));
    setup.write("clients.d/edge-7.der", &self_signed.chain[0]);
    setup.write(
        "clients.d/edge-7.yaml",
        format!(
            "client_id: edge-7\ntoken_endpoint_auth_method: self_signed_tls_client_auth\ncertificates: [edge-7.der]\n{scope}\n"
        ),
    );

    fs::create_dir(setup.path("pki")).unwrap();
    let pki = &setup.pki;
    setup.write("pki/ca.pem", pki.server_ca.identity().certificate_pem());
    setup.write("pki/server.pem", pki.server.certificate_pem());
    setup.write("pki/server.key", pki.server.key_pem().as_str());
    let gateway = pki.client("api.example.com");
    setup.write("pki/api.pem", gateway.certificate_pem());
    let key = openssl::pkey::PKey::private_key_from_pkcs8(&gateway.key).unwrap();
    setup.write("pki/api.key", key.private_key_to_pem_pkcs8().unwrap());
    let clients = [pki.corp.identity().certificate_pem(), self_signed.certificate_pem()].concat();
    setup.write("pki/clients.pem", clients);
}

impl Api {
    /// Starts one in front of `server`, on files that [`lay_out`] made.
    pub(crate) fn start(language: Language, way: Way, server: &Server) -> Self {
        let mut command = match language {
            Language::Rust => example(&server.setup.issuer, way),
            Language::Python => script("python3", "api.py", &server.setup.issuer, way),
            Language::Node => script("node", "api.mjs", &server.setup.issuer, way),
        };
        let root = server.setup.pki.server_ca.identity().certificate_der();
        Self::spawn(command.current_dir(server.setup.directory.path()), server.setup.directory.path(), root)
    }

    /// Runs a command that says where it listens; its complaints go to a file in `directory`.
    pub(crate) fn spawn(command: &mut Command, directory: &Path, root: &[u8]) -> Self {
        let log = directory.join("api.log");
        command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            panic!("{command:?} did not start: {line}{}", fs::read_to_string(log).unwrap());
        };
        Self { child, address, root: root.to_vec() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection that shows this certificate.
    pub(crate) fn connect(&self, shown: Option<&Shown>) -> Connection {
        Connection::open(self.address, Connection::config(&self.root, shown, None)).unwrap()
    }

    /// GETs `target` with these header lines, on a connection of its own.
    pub(crate) fn get(&self, shown: Option<&Shown>, target: &str, lines: &[&str]) -> Response {
        get(&mut self.connect(shown), target, lines)
            .unwrap_or_else(|error| panic!("{target} {lines:?}: {error}"))
    }

    /// GETs with this token.
    pub(crate) fn with_token(&self, shown: Option<&Shown>, token: &str) -> Response {
        self.get(shown, "/invoices", &[&format!("Authorization: Bearer {token}")])
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// GETs `target` with these header lines.
pub(crate) fn get(connection: &mut Connection, target: &str, lines: &[&str]) -> io::Result<Response> {
    let lines: String = lines.iter().flat_map(|line| [*line, "\r\n"]).collect();
    connection.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").as_bytes())?;
    connection.receive()
}

/// The example without arguments.
pub(crate) fn bare_example() -> Command {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(built_example);
    Command::new(&*BUILT)
}

/// The example in front of `issuer`.
pub(crate) fn example(issuer: &str, way: Way) -> Command {
    let mut command = bare_example();
    command.args(["--issuer", issuer, "--ca", "pki/ca.pem", "--resource", API, "--scope", SCOPE]);
    command.args(["--listen", "127.0.0.1:0", "--cert", "pki/server.pem", "--key", "pki/server.key"]);
    match way {
        Way::Local => command.arg("--local"),
        Way::Introspection => command.args(["--introspect", "--client-id", "api-gateway"]).args([
            "--client-cert",
            "pki/api.pem",
            "--client-key",
            "pki/api.key",
        ]),
    };
    command
}

/// `cargo test` builds the examples, and `cargo test --test it` does not.
fn built_example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let binary = profile.join("examples/resource_server");
    if !is_current(&binary) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--locked",
            "--offline",
            "--example",
            "resource_server",
            "--target-dir",
        ]);
        cargo.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the example does not build");
    }
    assert!(binary.is_file(), "cargo build --examples makes {}", binary.display());
    binary
}

fn is_current(binary: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let newest = example_sources().iter().filter_map(|source| changed(source)).max();
    changed(binary) >= newest.or(Some(SystemTime::UNIX_EPOCH))
}

/// The files that the example is made of.
pub(crate) fn example_sources() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/resource_server");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Where the programs of the page are.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/clients/resource-server")
}

fn script(interpreter: &str, file: &str, issuer: &str, way: Way) -> Command {
    let way = match way {
        Way::Introspection => "introspection",
        Way::Local => "local",
    };
    let mut command = Command::new(interpreter);
    command.arg(scripts().join(file)).args([way, "0", issuer]).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}
