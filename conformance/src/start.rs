//! Starts a server of this project to be checked: a PKI, a configuration, `clients.d`, free ports of the loopback. What it is
//! told is what the documentation of the server says; nothing here comes from its source.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::api::Apis;
use crate::config::{Config, Directory, Forwarded, Hosting, Members, Pair, Registrar, Revoking};
use crate::lab::Target;
use crate::pki::{Authority, Leaf, SERVER_AUTH, Shown};

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The resource that tokens are for.
pub const API: &str = "https://api.suite.example";
/// Another.
pub const SECOND_API: &str = "https://second.suite.example";

/// The serial number on the revocation list.
const REVOKED: [u8; 4] = [0x5e, 0x1f, 0x00, 0x01];

/// A configuration that differs from the usual one.
#[derive(Clone, Copy, Debug)]
struct Variation {
    name: &'static str,
    lifetime: &'static str,
    algorithm: &'static str,
    /// More lines of the configuration.
    more: &'static str,
}

/// The usual configuration.
const USUAL: Variation = Variation { name: "usual", lifetime: "5m", algorithm: "ES256", more: "" };

/// The configurations that checks ask for by name.
const VARIATIONS: [Variation; 4] = [
    Variation { name: "rs256", algorithm: "RS256", ..USUAL },
    Variation { name: "ps256", algorithm: "PS256", ..USUAL },
    Variation { name: "eddsa", algorithm: "EdDSA", ..USUAL },
    Variation { name: "short", lifetime: "3s", ..USUAL },
];

/// The requirements that the server documents not to meet, and why, as the table in `docs/rfc.md` has them.
pub const DIVERGENCES: &[(&str, &str)] = &[];

/// A server that the suite started.
pub struct Started {
    program: PathBuf,
    resource_server: Option<PathBuf>,
    process: Child,
    /// After the process: it works in there.
    directory: TempDir,
}

/// The ports of its listeners.
#[derive(Clone, Copy)]
struct Ports {
    public: u16,
    mtls: u16,
    forwarded: u16,
    admin: u16,
}

/// Starts the program in its usual configuration, registers the clients of the suite, and starts the demo resource servers.
///
/// # Errors
/// It does not start; the text is what it said.
pub fn start(program: &Path, resource_server: Option<&Path>) -> Result<Arc<Target>, String> {
    launch(program, resource_server, USUAL)
}

fn launch(
    program: &Path,
    resource_server: Option<&Path>,
    variation: Variation,
) -> Result<Arc<Target>, String> {
    let program = fs::canonicalize(program).map_err(|error| format!("{}: {error}", program.display()))?;
    let resource_server = resource_server.map(Path::to_owned);
    let mut last = String::new();
    // A port that was free a moment ago may be taken by somebody else.
    for _ in 0..5 {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let ports = Ports::free().map_err(|error| error.to_string())?;
        let config = lay_out(directory.path(), ports, &program, variation)?;
        match serve(&program, directory.path()) {
            Ok(process) => {
                let apis = resource_server.clone();
                let started = Started { program, resource_server, process, directory };
                let root = started.directory.path().to_owned();
                let target = Target::new(config, Some(started))?;
                target.prepare();
                if let Some(apis) = apis {
                    target.keep(Apis::start(&apis, &root, &target)?);
                }
                return Ok(target);
            }
            Err(said) => last = said,
        }
    }
    Err(last)
}

impl Started {
    /// The same program in the configuration of this name.
    ///
    /// # Errors
    /// There is none of this name, or it does not start.
    pub fn variant(&self, name: &str) -> Result<Arc<Target>, String> {
        let variation = VARIATIONS.iter().find(|variation| variation.name == name);
        let variation = variation.ok_or_else(|| "start.rs has none of this name".to_owned())?;
        launch(&self.program, self.resource_server.as_deref(), *variation)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Ports {
    fn free() -> std::io::Result<Self> {
        let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0"));
        let [public, mtls, forwarded, admin] = held.map(|held| held.and_then(|held| held.local_addr()));
        Ok(Self {
            public: public?.port(),
            mtls: mtls?.port(),
            forwarded: forwarded?.port(),
            admin: admin?.port(),
        })
    }
}

/// Writes everything that the server needs, and says what the suite has to know of it.
fn lay_out(at: &Path, ports: Ports, program: &Path, variation: Variation) -> Result<Config, String> {
    let wrong = |error: openssl::error::ErrorStack| error.to_string();
    let server_ca = Authority::root("Suite server CA").map_err(wrong)?;
    let revoking_ca = Authority::root("Suite revoking CA").map_err(wrong)?;
    let client_ca = Authority::root("Suite client CA").map_err(wrong)?;
    let proxy_ca = Authority::root("Suite proxy CA").map_err(wrong)?;
    let local = Leaf::new("localhost").dns("localhost").ip(&[127, 0, 0, 1]).extended(&[SERVER_AUTH]);
    let server = server_ca.issue(&local).map_err(wrong)?;
    let hosting = server_ca.issue(&local).map_err(wrong)?;
    let proxy = proxy_ca.issue(&Leaf::new("proxy").dns("proxy.suite.example")).map_err(wrong)?;
    for (name, authority) in [
        ("server-ca", &server_ca),
        ("client-ca", &client_ca),
        ("proxy-ca", &proxy_ca),
        ("revoking-ca", &revoking_ca),
    ] {
        write(at, &format!("{name}.pem"), authority.pem().as_bytes())?;
        write(at, &format!("{name}.key"), &authority.key().pem().map_err(wrong)?)?;
    }
    let list = revoking_ca.revocation_list(&[&REVOKED]).map_err(wrong)?;
    write(at, "revoking.crl", list.as_bytes())?;
    for (name, shown) in [("server", &server), ("hosting", &hosting), ("proxy", &proxy)] {
        pair(at, name, shown)?;
    }
    fs::create_dir(at.join("clients.d")).map_err(|error| error.to_string())?;
    let issuer = format!("https://localhost:{}/t1", ports.public);
    let yaml = |clients: &str| configuration(&issuer, ports, clients, variation);
    write(at, "certbound.yaml", yaml("clients.d").as_bytes())?;
    write(at, "check.yaml", yaml("{directory}").as_bytes())?;
    Ok(Config {
        name: Some("certbound".to_owned()),
        ca: at.join("server-ca.pem"),
        client_ca: Some(Pair { certificate: at.join("client-ca.pem"), key: at.join("client-ca.key") }),
        other_ca: Some(Pair { certificate: at.join("proxy-ca.pem"), key: at.join("proxy-ca.key") }),
        refuses_expired_registered: Some(true),
        revoking: Some(Revoking {
            certificate: at.join("revoking-ca.pem"),
            key: at.join("revoking-ca.key"),
            revoked_serial: REVOKED.map(|octet| format!("{octet:02x}")).concat(),
            members: object(json!({"trust_anchors": "revoking"})),
            unasked: object(json!({"trust_anchors": "unasked"})),
        }),
        registrar: Some(Registrar {
            directory: Some(Directory {
                path: at.join("clients.d"),
                check: ["{program}", "check", "-c", "{config}"]
                    .map(|word| word.replace("{program}", &program.display().to_string()))
                    .to_vec(),
                config: Some(at.join("check.yaml")),
                settle: 5,
            }),
            rfc7591: None,
            members: members(),
        }),
        resource: Some(API.to_owned()),
        second_resource: Some(SECOND_API.to_owned()),
        forwarded: Some(Forwarded {
            url: format!("https://localhost:{}", ports.forwarded),
            proxy: Some(Pair { certificate: at.join("proxy.pem"), key: at.join("proxy.key") }),
        }),
        admin: Some(format!("http://127.0.0.1:{}", ports.admin)),
        signing_key: Some(at.join("keys")),
        log: Some(at.join("server.log")),
        hosting: Some(Hosting {
            host: "localhost".to_owned(),
            certificate: at.join("hosting.pem"),
            key: at.join("hosting.key"),
        }),
        resource_servers: BTreeMap::new(),
        divergences: DIVERGENCES.iter().map(|(row, why)| ((*row).to_owned(), (*why).to_owned())).collect(),
        issuer,
        ..Config::default()
    })
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(members) = value { members } else { Map::new() }
}

fn members() -> Members {
    Members {
        all: Map::new(),
        tls_client_auth: object(json!({"trust_anchors": "suite"})),
        self_signed_tls_client_auth: Map::new(),
        disabled: object(json!({"enabled": false})),
        both: object(json!({"resources": [API, SECOND_API]})),
        resource_server: object(json!({"grant_types": [], "introspection": {"resources": [API]}})),
        second_resource_server: object(
            json!({"grant_types": [], "introspection": {"resources": [SECOND_API]}}),
        ),
    }
}

fn configuration(issuer: &str, ports: Ports, clients: &str, variation: Variation) -> String {
    let Ports { public, mtls, forwarded, admin } = ports;
    let Variation { lifetime, algorithm, more, .. } = variation;
    let tls = "tls: { certificate: server.pem, key: server.key }";
    format!(
        "issuer: {issuer}\n\
         mtls_base_url: https://localhost:{mtls}/m\n\
         listeners:\n\
         \x20 - {{ kind: mtls, bind: 127.0.0.1:{mtls}, {tls} }}\n\
         \x20 - {{ kind: public, bind: 127.0.0.1:{public}, {tls} }}\n\
         \x20 - kind: forwarded\n\
         \x20   bind: 127.0.0.1:{forwarded}\n\
         \x20   {tls}\n\
         \x20   dialect: rfc9440\n\
         \x20   proxy: {{ mtls: {{ trust_anchors: proxies, tls_client_auth_san_dns: proxy.suite.example }} }}\n\
         \x20 - {{ kind: admin, bind: 127.0.0.1:{admin} }}\n\
         trust_anchors:\n\
         \x20 suite: {{ file: client-ca.pem }}\n\
         \x20 proxies: {{ file: proxy-ca.pem }}\n\
         \x20 revoking: {{ file: revoking-ca.pem, crl: [{{ file: revoking.crl }}] }}\n\
         \x20 unasked: {{ file: revoking-ca.pem }}\n\
         tokens: {{ access_token_lifetime: {lifetime}, resource: {API} }}\n\
         signing: {{ directory: keys, algorithm: {algorithm} }}\n\
         clients: {{ directory: \"{clients}\", rescan: 1s }}\n\
         store: {{ sled: {{ path: data }} }}\n\
         outgoing: {{ ca: server-ca.pem, allow: [127.0.0.0/8] }}\n\
         service_documentation: https://suite.example/docs\n\
         {more}"
    )
}

/// Runs `serve` until all listeners say that they listen.
fn serve(program: &Path, directory: &Path) -> Result<Child, String> {
    let log = directory.join("server.log");
    let file = File::create(&log).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["serve", "-c", "certbound.yaml"]).current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    let mut process = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
    let end = Instant::now() + PATIENCE;
    loop {
        let said = fs::read_to_string(&log).unwrap_or_default();
        if said.matches("\"listening\"").count() >= 4 {
            return Ok(process);
        }
        let ended = process.try_wait().map_err(|error| error.to_string())?.is_some();
        if ended || Instant::now() > end {
            let _ = process.kill();
            let _ = process.wait();
            return Err(format!("{} does not serve: {said}", program.display()));
        }
        sleep(Duration::from_millis(20));
    }
}

/// Writes a certificate with those above it, and its key.
pub(crate) fn pair(at: &Path, name: &str, shown: &Shown) -> Result<(), String> {
    let chain: String = shown.chain.iter().map(|der| crate::pki::pem("CERTIFICATE", der)).collect();
    write(at, &format!("{name}.pem"), chain.as_bytes())?;
    write(at, &format!("{name}.key"), &shown.key.pem().map_err(|error| error.to_string())?)
}

pub(crate) fn write(at: &Path, name: &str, octets: &[u8]) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = at.join(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, octets));
    written.map_err(|error| format!("{}: {error}", path.display()))
}
