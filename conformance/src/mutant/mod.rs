//! A small authorization server that is wrong on demand: it shows that the checks can fail. Without a [`Fault`] it is an
//! honest server of RFC 8705, RFC 7662, RFC 7009, RFC 8414 and RFC 9068 for `client_credentials`, with registration by
//! RFC 7591; with one, just that is wrong. Plain and blocking, and good for nothing else.

mod authentication;
mod certificates;
mod clients;
mod endpoint;
mod fault;
mod http;
mod metadata;
mod tls;
mod token;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openssl::rand::rand_bytes;
use serde_json::json;

pub use fault::Fault;

use crate::pki::{Authority, Key, Leaf, SERVER_AUTH};
use crate::start::{API, SECOND_API, pair, write};
use clients::Clients;
use http::Request;
use tls::Acceptor;

/// How long tokens live, and how long those of the variant `short`.
const LIFETIMES: [u64; 2] = [300, 3];

/// What is wrong with the server.
struct Faults(BTreeSet<Fault>);

/// A server.
struct Mutant {
    faults: Faults,
    at: PathBuf,
    /// Where everybody finds it, and where clients with certificates do.
    base: String,
    alias: String,
    issuer: String,
    lifetime: u64,
    /// The CA of its clients, PEM.
    anchor: Vec<u8>,
    keys: [Key; 2],
    clients: Clients,
    revoked: Mutex<HashSet<String>>,
    counter: AtomicU64,
    log: PathBuf,
}

/// Writes what all servers in this directory share: CAs, certificates, keys.
///
/// # Errors
/// OpenSSL or the disk fail.
pub fn lay_out(at: &Path) -> Result<(), String> {
    let wrong = |error: openssl::error::ErrorStack| error.to_string();
    let (server_ca, client_ca) = (
        Authority::root("Mutant server CA").map_err(wrong)?,
        Authority::root("Mutant client CA").map_err(wrong)?,
    );
    let local = Leaf::new("localhost").dns("localhost").ip(&[127, 0, 0, 1]).extended(&[SERVER_AUTH]);
    let other = Leaf::new("other").dns("other.suite.example").extended(&[SERVER_AUTH]);
    for (name, leaf) in [("server", &local), ("hosting", &local), ("other", &other)] {
        pair(at, name, &server_ca.issue(leaf).map_err(wrong)?)?;
    }
    for (name, authority) in [("server-ca", &server_ca), ("client-ca", &client_ca)] {
        write(at, &format!("{name}.pem"), authority.pem().as_bytes())?;
        write(at, &format!("{name}.key"), &authority.key().pem().map_err(wrong)?)?;
    }
    fs::create_dir(at.join("keys")).map_err(|error| error.to_string())?;
    for (name, key) in [("rs256", Key::rsa(2048)), ("es256", Key::p256())] {
        write(at, &format!("keys/{name}.pem"), &key.and_then(|key| key.pem()).map_err(wrong)?)?;
    }
    Ok(())
}

/// Serves, with these faults, for as long as the program runs. What comes is the config file for the suite.
///
/// # Errors
/// [`lay_out`] was not here, or there is no port.
pub fn serve(at: &Path, faults: &[Fault]) -> Result<PathBuf, String> {
    let [usual, short] = LIFETIMES;
    let short = start(at, faults, short, &BTreeMap::new())?;
    // Its tokens are by RS256 already, if they ever are.
    let plain = start(at, faults, usual, &BTreeMap::new())?;
    start(at, faults, usual, &BTreeMap::from([("short", short), ("rs256", plain)]))
}

fn start(
    at: &Path,
    faults: &[Fault],
    lifetime: u64,
    variants: &BTreeMap<&str, PathBuf>,
) -> Result<PathBuf, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let bind = || TcpListener::bind("127.0.0.1:0").map_err(|error| text(&error));
    let (usual, alias) = (bind()?, bind()?);
    let port = |of: &TcpListener| of.local_addr().map(|address| address.port()).map_err(|error| text(&error));
    let [base, mtls] = [port(&usual)?, port(&alias)?].map(|port| format!("https://localhost:{port}"));
    let faults = Faults(faults.iter().copied().collect());
    let slash = if faults.has(Fault::TheSlashStays) { "/" } else { "" };
    let name = port(&usual)?;
    let read = |name: &str| fs::read(at.join(name)).map_err(|error| format!("{name}: {error}"));
    let key = |name: &str| Key::read(&read(name)?).map_err(|error| text(&error));
    let server = Arc::new(Mutant {
        at: at.to_owned(),
        issuer: format!("{base}/t1{slash}"),
        base,
        alias: mtls,
        lifetime,
        anchor: read("client-ca.pem")?,
        keys: [key("keys/rs256.pem")?, key("keys/es256.pem")?],
        clients: Clients::default(),
        revoked: Mutex::default(),
        counter: AtomicU64::new(0),
        log: at.join(format!("{name}.log")),
        faults,
    });
    for (listener, alias) in [(usual, false), (alias, true)] {
        let acceptor = Arc::new(Acceptor::new(at, alias, |fault| server.has(fault))?);
        let server = Arc::clone(&server);
        std::thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let (server, acceptor) = (Arc::clone(&server), Arc::clone(&acceptor));
                // One that speaks badly gets no answer.
                std::thread::spawn(move || drop(server.converse(&acceptor, tcp, alias)));
            }
        });
    }
    let config = json!({
        "name": "mutant",
        "issuer": server.issuer,
        "ca": "server-ca.pem",
        "client_ca": {"certificate": "client-ca.pem", "key": "client-ca.key"},
        "registrar": {
            "rfc7591": {"registration_endpoint": format!("{}/t1/register", server.base)},
            "members": {
                "disabled": {"enabled": false},
                "both": {"resources": [API, SECOND_API]},
                "resource_server": {"grant_types": [], "introspection": {"resources": [API]}},
                "second_resource_server": {"grant_types": [], "introspection": {"resources": [SECOND_API]}},
            },
        },
        "resource": API,
        "second_resource": SECOND_API,
        "signing_key": "keys",
        "log": server.log,
        "hosting": {"host": "localhost", "certificate": "hosting.pem", "key": "hosting.key"},
        "variants": variants,
    });
    let file = format!("{name}.yaml");
    write(at, &file, config.to_string().as_bytes())?;
    Ok(at.join(file))
}

impl Faults {
    fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    /// The honest server has none.
    fn have_passwords(&self) -> bool {
        self.has(Fault::PasswordsAreNotDecoded) || self.has(Fault::PasswordsMayBeGuessed)
    }
}

impl Mutant {
    fn has(&self, fault: Fault) -> bool {
        self.faults.has(fault)
    }

    /// Answers the requests of one connection.
    fn converse(&self, acceptor: &Acceptor, tcp: TcpStream, alias: bool) -> std::io::Result<()> {
        tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
        tcp.set_nodelay(true)?;
        let (mut stream, shown) = acceptor.accept(tcp)?;
        while let Some(request) = Request::read(&mut stream)? {
            self.answer(&request, &shown, alias).write(&mut stream, request.method == "HEAD")?;
        }
        Ok(())
    }

    /// The algorithm of tokens, and the key.
    fn signing(&self) -> (&'static str, &Key) {
        let [rs256, es256] = &self.keys;
        if self.has(Fault::OnlyEs256) { ("ES256", es256) } else { ("RS256", rs256) }
    }

    fn count(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    fn is_revoked(&self, identifier: &str) -> bool {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner).contains(identifier)
    }

    fn log(&self, line: &str) {
        let file = OpenOptions::new().create(true).append(true).open(&self.log);
        // Without a log a check fails, and says so.
        drop(file.and_then(|mut file| writeln!(file, "{line}")));
    }
}

/// Sixteen octets by lot.
fn drawn() -> String {
    let mut octets = [0; 16];
    // Without them all names are equal, which checks notice.
    let _ = rand_bytes(&mut octets);
    octets.iter().fold(String::new(), |text, octet| format!("{text}{octet:02x}"))
}
