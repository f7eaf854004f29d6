//! A real server in this process, on ports of its own, with a clock that the test holds.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use certbound::app::{self, Remembering, Running, StartError};
use certbound::clock::{Clock, ManualClock};
use certbound::config::Config;
use certbound::http::Kind;
use tempfile::TempDir;

use super::client::{Connection, Response, TlsVersion, receive};
use super::pki::{Pki, Shown};

pub(crate) const API: &str = "https://api.example.com";
pub(crate) const ISSUER: &str = "https://as.example.com";

/// A directory that a server can be started on.
pub(crate) struct Setup {
    pub(crate) directory: TempDir,
    pub(crate) pki: Pki,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) issuer: String,
    /// The port of the mtls listener; 0 takes a free one.
    pub(crate) port: u16,
    /// More lines of `certbound.yaml`.
    pub(crate) more: String,
    /// Fields of `tls` of the mtls listener.
    pub(crate) tls: String,
    /// More listeners, each a line of the list.
    pub(crate) listeners: String,
    /// `tokens.resource`.
    pub(crate) resource: Option<&'static str>,
    /// More fields of the mtls listener.
    pub(crate) listener: String,
    /// What follows the name of the anchor set's file.
    pub(crate) anchors: String,
    /// What the gateway shows, if it is not a certificate of the corp CA with its name.
    pub(crate) gateway: Option<Shown>,
}

/// A server at work on a [`Setup`].
pub(crate) struct Server {
    running: Stopping, // before the set-up, whose directory it works in
    pub(crate) setup: Setup,
}

/// Ends the server before its directory goes.
struct Stopping(Option<Running>);

impl Setup {
    /// `billing` (DNS name), `edge-7` (registered certificate) and `gateway` (resource server), each with its certificate.
    pub(crate) fn new() -> Self {
        Self::of(Pki::new())
    }

    /// The same with certificates that others have, too.
    pub(crate) fn of(pki: Pki) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(pki.now));
        let setup = Self {
            directory,
            pki,
            clock,
            issuer: ISSUER.to_owned(),
            port: 0,
            more: String::new(),
            tls: String::new(),
            listeners: String::new(),
            resource: Some(API),
            listener: String::new(),
            anchors: String::new(),
            gateway: None,
        };
        fs::create_dir(setup.path("clients.d")).unwrap();
        setup.write("corp.pem", setup.pki.corp.identity().certificate_pem());
        setup.write("server.pem", setup.pki.server.certificate_pem());
        setup.write("server.key", setup.pki.server.key_pem().as_str());
        setup.client("billing", "tls_client_auth_san_dns: billing.example.com\nscope: read write\n");
        setup.client("gateway", &format!(
            "tls_client_auth_san_dns: gateway.example.com\ngrant_types: []\nintrospection: {{ resources: [{API}] }}\n"
        ));
        setup
    }

    /// With a gateway that is no client of the corp CA, so that it can introspect whatever becomes of that.
    pub(crate) fn with_pinned_gateway(mut self) -> Self {
        let gateway = self.pki.client("gateway.example.com");
        self.write("clients.d/gateway.der", &gateway.chain[0]);
        self.write(
            "clients.d/gateway.yaml",
            format!(
                "client_id: gateway\ntoken_endpoint_auth_method: self_signed_tls_client_auth\n\
                 certificates: [gateway.der]\ngrant_types: []\nintrospection: {{ resources: [{API}] }}\n"
            ),
        );
        self.gateway = Some(gateway);
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes the document of a `tls_client_auth` client to a file of its own.
    pub(crate) fn client(&self, id: &str, fields: &str) {
        let text = format!("client_id: {id}\ntoken_endpoint_auth_method: tls_client_auth\n{fields}");
        self.write(&format!("clients.d/{id}.yaml"), text);
    }

    /// Writes the document of a client that registered these certificates.
    pub(crate) fn pinned(&self, id: &str, certificates: &[&Shown]) {
        let names: Vec<_> = (0..certificates.len()).map(|index| format!("{id}-{index}.der")).collect();
        for (name, shown) in names.iter().zip(certificates) {
            self.write(&format!("clients.d/{name}"), &shown.chain[0]);
        }
        let names = names.join(", ");
        let text = format!(
            "client_id: {id}\ntoken_endpoint_auth_method: self_signed_tls_client_auth\ncertificates: [{names}]\nscope: read\n"
        );
        self.write(&format!("clients.d/{id}.yaml"), text);
    }

    pub(crate) fn config(&self) -> Config {
        let Self { issuer, port, more, tls, listener, listeners, anchors, .. } = self;
        let resource = self.resource.map(|resource| format!(", resource: {resource}")).unwrap_or_default();
        self.write(
            "certbound.yaml",
            format!(
                "issuer: {issuer}\n\
                 listeners:\n\
                 \x20 - {{ kind: mtls, bind: 127.0.0.1:{port}, tls: {{ certificate: server.pem, key: server.key{tls} }}{listener} }}\n\
                 \x20 - {{ kind: public, bind: 127.0.0.1:0, tls: {{ certificate: server.pem, key: server.key }} }}\n\
                 \x20 - {{ kind: admin, bind: 127.0.0.1:0 }}\n\
                 {listeners}\
                 trust_anchors:\n\
                 \x20 corp: {{ file: corp.pem{anchors} }}\n\
                 tokens: {{ access_token_lifetime: 5m{resource} }}\n\
                 {more}"
            ),
        );
        let (config, problems) = Config::load(&self.path("certbound.yaml"));
        config.unwrap_or_else(|| panic!("{problems:#?}"))
    }

    /// With something between the server and its store.
    pub(crate) fn start_behind(self, between: impl FnOnce(Remembering) -> Remembering) -> Server {
        let running = app::start_behind(self.config(), Arc::<ManualClock>::clone(&self.clock), between);
        let running = running.unwrap_or_else(|error| panic!("{error:?}"));
        Server { setup: self, running: Stopping(Some(running)) }
    }

    pub(crate) fn start(self) -> Server {
        let clock = Arc::<ManualClock>::clone(&self.clock);
        self.start_by(clock).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// A server whose machine has this clock.
    pub(crate) fn start_by(self, clock: Arc<dyn Clock>) -> Result<Server, StartError> {
        let running = app::start(self.config(), clock)?;
        Ok(Server { setup: self, running: Stopping(Some(running)) })
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Setup::new().start()
    }

    /// A server that is found where its issuer says, for those who look it up. `prepare` gets each set-up that is tried:
    /// until the server listens, its port may be taken by somebody else.
    pub(crate) fn at_its_issuer(prepare: impl Fn(&mut Setup)) -> Self {
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut setup = Setup { issuer: format!("https://localhost:{port}"), port, ..Setup::new() };
            prepare(&mut setup);
            match app::start(setup.config(), Arc::<ManualClock>::clone(&setup.clock)) {
                Ok(running) => return Self { setup, running: Stopping(Some(running)) },
                Err(StartError::System { cause, .. }) if cause.kind() == ErrorKind::AddrInUse => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        panic!("no port is free for long enough")
    }

    fn running(&self) -> &Running {
        self.running.0.as_ref().expect("the server runs until it is stopped")
    }

    pub(crate) fn address(&self, kind: Kind) -> SocketAddr {
        self.running().address(kind).unwrap()
    }

    /// Where the listeners of this kind listen, in the order of the configuration.
    pub(crate) fn addresses(&self, kind: Kind) -> Vec<SocketAddr> {
        let all = self.running().addresses().iter();
        all.filter(|(of, _)| *of == kind).map(|(_, address)| *address).collect()
    }

    /// A connection that shows this certificate.
    pub(crate) fn connect(&self, shown: Option<&Shown>) -> Connection {
        self.connect_by(shown, None)
    }

    pub(crate) fn connect_by(&self, shown: Option<&Shown>, version: Option<TlsVersion>) -> Connection {
        self.try_connect(Kind::Mtls, shown, version).unwrap()
    }

    pub(crate) fn try_connect(
        &self,
        kind: Kind,
        shown: Option<&Shown>,
        version: Option<TlsVersion>,
    ) -> std::io::Result<Connection> {
        let root = self.setup.pki.server_ca.identity().certificate_der();
        Connection::open(self.address(kind), Connection::config(root, shown, version))
    }

    /// Asks for a token on a connection of its own.
    pub(crate) fn token(&self, client_id: &str, shown: Option<&Shown>) -> Response {
        let form = [("grant_type", "client_credentials"), ("client_id", client_id)];
        self.connect(shown).post("/token", &form).unwrap()
    }

    /// A token, or the test ends.
    pub(crate) fn good_token(&self, client_id: &str, shown: &Shown) -> String {
        let answer = self.token(client_id, Some(shown));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// What the gateway hears of a token, with more parameters.
    pub(crate) fn introspect(&self, token: &str, more: &[(&str, &str)]) -> Response {
        let by_name = || self.setup.pki.client("gateway.example.com");
        let gateway = self.setup.gateway.clone().unwrap_or_else(by_name);
        let mut form = vec![("client_id", "gateway"), ("token", token)];
        form.extend_from_slice(more);
        self.connect(Some(&gateway)).post("/introspect", &form).unwrap()
    }

    pub(crate) fn is_active(&self, token: &str) -> bool {
        let answer = self.introspect(token, &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["active"].as_bool().unwrap()
    }

    pub(crate) fn revoke(&self, client_id: &str, shown: &Shown, token: &str) -> Response {
        let form = [("client_id", client_id), ("token", token)];
        self.connect(Some(shown)).post("/revoke", &form).unwrap()
    }

    /// A request to the control socket.
    pub(crate) fn control(&self, method: &str, path: &str, body: Option<serde_json::Value>) -> Response {
        let mut stream = UnixStream::connect(self.setup.path("control.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let head = format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        receive(&mut stream, false).unwrap()
    }

    /// Reads everything again, and gives what was wrong.
    pub(crate) fn reload(&self) -> Vec<String> {
        let answer = self.control("POST", "reload", None);
        assert_eq!(answer.status, 200, "{answer:?}");
        let problems = answer.json()["problems"].as_array().unwrap().clone();
        problems.iter().map(|problem| problem["what"].as_str().unwrap().to_owned()).collect()
    }

    /// A GET on the admin listener.
    pub(crate) fn admin(&self, path: &str) -> Response {
        let mut stream = std::net::TcpStream::connect(self.address(Kind::Admin)).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        receive(&mut stream, false).unwrap()
    }

    /// The text of `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        String::from_utf8(self.admin("/metrics").body).unwrap()
    }

    /// What is kept of a refusal: the reason, the check that failed, and what it saw.
    pub(crate) fn refusal(&self, answer: &Response) -> [String; 3] {
        let text = answer.json()["error_description"].as_str().unwrap().to_owned();
        let reference = text.split_once("(ref ").and_then(|(_, rest)| rest.strip_suffix(')')).unwrap();
        let explained = self.control("GET", &format!("refusals/{reference}"), None).json();
        ["reason", "check", "seen"].map(|name| explained["recorded"][name].as_str().unwrap().to_owned())
    }

    /// Stops, and gives the set-up back to be started again.
    pub(crate) fn stop(self) -> Setup {
        drop(self.running);
        self.setup
    }

    pub(crate) fn now(&self) -> i64 {
        self.setup.clock.now().as_unix()
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.stop();
        }
    }
}

/// Waits until something holds; for what another thread does in its own time.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(std::time::Instant::now() < end, "not within thirty seconds: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
