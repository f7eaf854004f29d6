//! Three certbound processes on one `PostgreSQL`, behind `HAProxy` on the configuration that `docs/scaling.md` prints.
//!
//! Each node has a directory of its own, its own way to the database, and a clock that a test may set.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::cable::Cable;
use crate::support::client::receive;
use crate::support::postgres::Postgres;
use crate::support::program::{PATIENCE, Serving, program};
use crate::support::proxy::{Place, Program, Proxy, free_port, loopback};
use crate::support::server::{API, ISSUER};
use crate::support::{Pki, Response};

/// How many nodes there are.
pub(super) const NODES: usize = 3;

/// The load balancer's configuration, as users have it.
pub(super) const HAPROXY: &str = include_str!("../../../docs/scaling/haproxy.cfg");

/// Clients that get tokens, each with a certificate for this name below `example.com`.
pub(super) const CLIENTS: [&str; 5] = ["billing", "stock", "guest", "batch", "crew"];

/// Three nodes and what they stand on.
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    pub(super) postgres: Postgres,
    pub(super) pki: Pki,
    _directory: TempDir,
}

/// A node, at work or not.
pub(super) struct Node {
    directory: PathBuf,
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) cable: Cable,
    serving: Option<Serving>,
    clock: Clock,
}

/// What a node takes the time from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Clock {
    Machine,
    /// A file that says how far off it is.
    File,
}

impl Cluster {
    /// Three nodes that serve.
    pub(super) fn start() -> Self {
        let mut cluster = Self::prepare();
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster.is_whole();
        cluster
    }

    /// Everything but the processes of the nodes.
    pub(super) fn prepare() -> Self {
        let (directory, pki, postgres) = (tempfile::tempdir().unwrap(), Pki::new(), Postgres::own());
        let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
        write("corp.pem", pki.corp.identity().certificate_pem().as_bytes());
        write("server.pem", pki.server.certificate_pem().as_bytes());
        write("server.key", pki.server.key_pem().as_bytes());
        write("sealing.key", sealing_key().as_bytes());
        let nodes = (0..NODES).map(|index| Node::prepare(index, directory.path(), &postgres)).collect();
        Self { nodes, postgres, pki, _directory: directory }
    }

    /// `HAProxy` in front of the nodes.
    pub(super) fn balancer(&self) -> Proxy {
        Place::new(Program::HaProxy).start_with(&self.pki, |_, port| {
            let mut text = HAPROXY.to_owned();
            let mut place = |from: &str, to: String| {
                assert!(text.contains(from), "the configuration has no {from}");
                text = text.replace(from, &to);
            };
            place("bind :8443", format!("bind {}:{port}", loopback()));
            for (index, node) in (1..).zip(&self.nodes) {
                let admin = format!("addr {} port {}", node.admin.ip(), node.admin.port());
                place(&format!("10.0.0.{index}:8443"), node.address.to_string());
                place(&format!("addr 10.0.0.{index} port 9090"), admin);
            }
            text
        })
    }

    /// Returns when every node is ready and sees all others.
    pub(super) fn is_whole(&self) {
        for node in &self.nodes {
            node.becomes("ready");
        }
    }
}

impl Node {
    fn prepare(index: usize, shared: &Path, postgres: &Postgres) -> Self {
        let directory = shared.join(format!("node-{}", index + 1));
        fs::create_dir_all(directory.join("clients.d")).unwrap();
        let (address, admin) = ((loopback(), free_port()).into(), (loopback(), free_port()).into());
        let url = postgres.url("postgres");
        let (place, port) = url.split_once("host=").and_then(|(_, rest)| rest.split_once("&port=")).unwrap();
        let socket = |directory: &Path| directory.join(format!(".s.PGSQL.{port}"));
        let cable = Cable::lay(socket(&directory), socket(Path::new(place)));
        // The last one, so that the others are as they are in production.
        let clock = if index == NODES - 1 { Clock::File } else { Clock::Machine };
        let node = Self { directory, address, admin, cable, serving: None, clock };
        node.write("database.url", &url.replace(place, &node.directory.display().to_string()));
        for client in CLIENTS {
            node.write_client(client);
        }
        node.write(
            "clients.d/gateway.yaml",
            &format!(
                "client_id: gateway\ntoken_endpoint_auth_method: tls_client_auth\n\
                 tls_client_auth_san_dns: gateway.example.com\ngrant_types: []\n\
                 introspection: {{ resources: [{API}] }}\n"
            ),
        );
        node.write(
            "certbound.yaml",
            &format!(
                "issuer: {ISSUER}\n\
                 listeners:\n\
                 \x20 - {{ kind: mtls, bind: '{address}', tls: {{ certificate: ../server.pem, key: ../server.key }} }}\n\
                 \x20 - {{ kind: admin, bind: '{admin}' }}\n\
                 trust_anchors:\n\
                 \x20 corp: {{ file: ../corp.pem }}\n\
                 tokens: {{ access_token_lifetime: 5m, resource: {API} }}\n\
                 signing: {{ directory: keys, sealing_key: {{ file: ../sealing.key }} }}\n\
                 store: {{ postgres: {{ url: {{ file: database.url }} }} }}\n\
                 control: control.sock\n"
            ),
        );
        node.set_clock(0);
        node
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.join(name), text).unwrap();
    }

    /// The document of one of [`CLIENTS`]. Its tokens outlive every test.
    pub(super) fn write_client(&self, client: &str) {
        let text = format!(
            "client_id: {client}\ntoken_endpoint_auth_method: tls_client_auth\n\
             tls_client_auth_san_dns: {client}.example.com\nscope: read write\naccess_token_lifetime: 12h\n"
        );
        self.write(&format!("clients.d/{client}.yaml"), &text);
    }

    /// The node does not know this client any more, once it has looked.
    pub(super) fn remove_client(&self, client: &str) {
        fs::remove_file(self.directory.join(format!("clients.d/{client}.yaml"))).unwrap();
    }

    /// How far its wall clock is off, in seconds. Only the last node has such a clock.
    pub(super) fn set_clock(&self, off: i64) {
        // Read each second by whoever asks for the time; never half of it.
        self.write("clock.new", &format!("{off:+}"));
        fs::rename(self.directory.join("clock.new"), self.directory.join("clock")).unwrap();
    }

    pub(super) fn start(&mut self) {
        let mut command = program(&self.directory);
        command.arg("serve");
        if self.clock == Clock::File {
            command
                .env("LD_PRELOAD", faketime())
                .env("FAKETIME_TIMESTAMP_FILE", self.directory.join("clock"))
                .env("FAKETIME_CACHE_DURATION", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let started = Serving::run(&mut command, &self.directory);
        self.serving = Some(started.unwrap_or_else(|refused| panic!("{refused:?}")));
    }

    pub(super) fn serving(&mut self) -> &mut Serving {
        self.serving.as_mut().expect("the node has been started")
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        self.serving.take().expect("the node has been started").kill();
    }

    /// SIGTERM, a good end, and a start: what an operator does to one node after the other.
    pub(super) fn restart(&mut self) {
        self.serving.take().expect("the node has been started").stop();
        self.start();
    }

    /// What `/readyz` says, if it says anything.
    pub(super) fn readiness(&self) -> Option<Value> {
        let answer = self.probe("/readyz")?;
        serde_json::from_slice(&answer.body).ok()
    }

    /// Returns when this is its status in `/readyz`.
    pub(super) fn becomes(&self, status: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let ready = self.readiness();
            if ready.as_ref().is_some_and(|ready| ready["status"] == status) {
                return;
            }
            assert!(Instant::now() < end, "not {status} in time: {ready:?}");
            sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn probe(&self, path: &str) -> Option<Response> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(PROBE)).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).ok()?;
        receive(&mut stream, false).ok()
    }

    /// What it says of its clients and policies, in few words.
    pub(super) fn config_hash(&self) -> String {
        self.readiness().unwrap()["config_hash"].as_str().unwrap().to_owned()
    }

    pub(super) fn control(&self) -> Control {
        Control(self.directory.join("control.sock"))
    }
}

/// The control socket of a node.
#[derive(Clone)]
pub(super) struct Control(PathBuf);

impl Control {
    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> std::io::Result<Response> {
        let mut stream = UnixStream::connect(&self.0)?;
        stream.set_read_timeout(Some(PROBE))?;
        let head = format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        receive(&mut stream, false)
    }
}

/// Longer than anybody may take.
const PROBE: Duration = Duration::from_secs(20);

/// Where Debian has the library that sets the clock of a process.
fn faketime() -> PathBuf {
    let places = fs::read_dir("/usr/lib").unwrap().flatten();
    let library =
        places.map(|place| place.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file());
    library.expect("libfaketime is not installed: run `scripts/packages test`")
}

/// Thirty-two octets that nobody else has.
fn sealing_key() -> String {
    let mut key = [0; 32];
    openssl::rand::rand_bytes(&mut key).unwrap();
    openssl::base64::encode_block(&key)
}
