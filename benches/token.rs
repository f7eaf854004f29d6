//! How fast the token path, introspection and the answers to a proxy are, each beside what this machine can do at best.
//!
//! Absolute figures say more about the machine and its neighbours than about the program, so every row is measured in
//! turns with a ceiling that does the unavoidable and nothing else: over the wire a bare actix-web server with the same
//! TLS, answers of the same size and, for a token, one ES256 signature; in memory the primitive underneath. Quote the
//! ratios. Both servers are processes of their own, certbound with its log, and share the cores with their client.

use std::error::Error;
use std::hint::black_box;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certbound::app;
use certbound::authn::{Presented, PresentedCertificate, Via};
use certbound::clock::{Clock as _, SystemClock};
use certbound::config::Config;
use certbound::http::Kind;
use certbound::keys::{SigningAlgorithm, SigningKey, SigningKeys};
use certbound::pki::trust::Purpose;
use certbound::pki::workshop::{Authority, Identity, LeafPurpose, Template};
use certbound::pki::{AnchorSetName, Chain, files};
use certbound::reload::Live;
use certbound::telemetry::{self, LogFormat};
use certbound::token::{Asked, Entitlement, TokenIssuer};
use certbound::world::World;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tempfile::TempDir;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How often each side of a row has its turn; the median counts.
const ROUNDS: usize = 5;

/// How long a turn over the wire lasts.
const WIRE_TURN: Duration = Duration::from_millis(900);

/// How long a turn in memory lasts.
const MEMORY_TURN: Duration = Duration::from_millis(300);

const API: &str = "https://api.example.com";

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("serve"), Some(directory)) => serve(Path::new(&directory)),
        (Some("serve-bare"), Some(directory)) => serve_bare(Path::new(&directory)),
        _ => measure(),
    }
}

fn measure() -> Outcome<()> {
    let site = Site::new()?;
    println!("{:38} {:>12} {:>12} {:>6}   beside", "each per second", "certbound", "ceiling", "ratio");
    over_the_wire(&site)?;
    in_memory(&site)
}

/// A row: both sides in turns, and the ratio of their medians.
fn row(
    what: &str,
    beside: &str,
    mut ours: impl FnMut() -> Outcome<f64>,
    mut ceiling: impl FnMut() -> Outcome<f64>,
) -> Outcome<()> {
    let (mut of_ours, mut of_ceiling) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_ours.push(ours()?);
        of_ceiling.push(ceiling()?);
    }
    let (ours, ceiling) = (median(of_ours), median(of_ceiling));
    println!("{what:38} {ours:12.0} {ceiling:12.0} {:6.2}   {beside}", ours / ceiling);
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn per_second(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

// Over the wire

fn over_the_wire(site: &Site) -> Outcome<()> {
    let (certbound, bare) = (Server::start("serve", site)?, Server::start("serve-bare", site)?);
    let tls = site.client_config()?;
    let token = post("/token", "grant_type=client_credentials&client_id=billing&scope=read");
    let answer = Connection::open(Road::Tls(certbound.address, &tls))?.ask(&token)?;
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    let jwt = answer.get("access_token").and_then(serde_json::Value::as_str).ok_or("there is no token")?;
    let introspection = post("/introspect", &format!("client_id=billing&token={jwt}"));

    let rows = [
        ("tokens, 1 kept connection", &token, Load { clients: 1, connections: Connections::Kept }),
        ("tokens, 16 kept connections", &token, Load { clients: 16, connections: Connections::Kept }),
        ("tokens, a handshake each, 16 at once", &token, Load { clients: 16, connections: Connections::New }),
        (
            "introspections, 16 kept connections",
            &introspection,
            Load { clients: 16, connections: Connections::Kept },
        ),
    ];
    for (what, request, load) in rows {
        let turn = |server: &Server| load.turn(Road::Tls(server.address, &tls), request);
        row(what, "a bare actix-web server", || turn(&certbound), || turn(&bare))?;
    }

    // What a proxy asks about each request, beside what a resource server would ask by the same proxy.
    let shown = format!("X-SSL-Client-DER: {}\r\n", STANDARD.encode(site.client.certificate_der()));
    let verification =
        format!("GET /verify HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {jwt}\r\n{shown}\r\n");
    let introspection = String::from_utf8(introspection)?.replacen("\r\n", &format!("\r\n{shown}"), 1);
    let load = Load { clients: 16, connections: Connections::Kept };
    let turn = |request: &str| load.turn(Road::Proxy(certbound.forwarded), request.as_bytes());
    let (what, beside) = ("verifications for a proxy, 16 kept", "introspections by that proxy");
    row(what, beside, || turn(&verification), || turn(&introspection))
}

/// How a server is reached.
#[derive(Clone, Copy)]
enum Road<'a> {
    /// With a client certificate.
    Tls(SocketAddr, &'a Arc<ClientConfig>),
    /// As the proxy before it.
    Proxy(SocketAddr),
}

/// How requests are sent.
#[derive(Clone, Copy)]
struct Load {
    clients: usize,
    connections: Connections,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Connections {
    Kept,
    New,
}

impl Load {
    /// Answers per second; any answer but 200 is an error.
    fn turn(self, road: Road<'_>, request: &[u8]) -> Outcome<f64> {
        let client = || -> Outcome<usize> {
            let mut connection = Connection::open(road)?;
            connection.ask(request)?;
            let (began, mut count) = (Instant::now(), 0);
            while began.elapsed() < WIRE_TURN {
                if self.connections == Connections::New {
                    connection = Connection::open(road)?;
                }
                connection.ask(request)?;
                count += 1;
            }
            Ok(count)
        };
        let answered = thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients).map(|_| scope.spawn(client)).collect();
            let counts = clients.into_iter().map(|client| client.join().map_err(|_| "a client panicked")?);
            counts.sum::<Outcome<usize>>()
        })?;
        Ok(per_second(answered, WIRE_TURN))
    }
}

trait Stream: io::Read + io::Write {}

impl<S: io::Read + io::Write> Stream for S {}

struct Connection {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
}

impl Connection {
    fn open(road: Road<'_>) -> Outcome<Self> {
        let (Road::Tls(address, _) | Road::Proxy(address)) = road;
        let tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(5)))?;
        let stream: Box<dyn Stream> = match road {
            Road::Proxy(_) => Box::new(tcp),
            Road::Tls(_, tls) => {
                let session = ClientConnection::new(Arc::clone(tls), ServerName::try_from("localhost")?)?;
                Box::new(StreamOwned::new(session, tcp))
            }
        };
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends a request and gives the body of its answer.
    fn ask(&mut self, request: &[u8]) -> Outcome<Vec<u8>> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        self.received.clear();
        loop {
            let mut chunk = [0; 4096];
            let length = self.stream.read(&mut chunk)?;
            self.received.extend_from_slice(chunk.get(..length).unwrap_or_default());
            if let Some(body) = body_of(&self.received) {
                return Ok(body.to_vec());
            }
            if length == 0 {
                return Err("the server hung up".into());
            }
            if !self.received.starts_with(b"HTTP/1.1 200 ") {
                return Err(String::from_utf8_lossy(&self.received).into());
            }
        }
    }
}

/// The body of an answer that is there in whole.
fn body_of(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|octets| octets == b"\r\n\r\n")?;
    let (head, body) = answer.split_at(end + 4);
    let head = str::from_utf8(head).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    (head.starts_with("HTTP/1.1 200 ") && body.len() == length?).then_some(body)
}

fn post(path: &str, form: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    )
    .into_bytes()
}

/// This program once more, as one of the two servers; ends with its value.
struct Server {
    process: Child,
    address: SocketAddr,
    /// Where a proxy speaks to it; of the bare one, the same.
    forwarded: SocketAddr,
}

impl Server {
    fn start(which: &str, site: &Site) -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(which)
            .arg(site.directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        let told = process.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        told.ok_or("there is no output")??;
        let mut addresses = line.split_whitespace().map(str::parse);
        match (addresses.next(), addresses.next()) {
            (Some(Ok(address)), Some(Ok(forwarded))) => Ok(Self { process, address, forwarded }),
            _ => Err(format!("{which} does not start: {}", process.wait()?).into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed, and need not be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// certbound as it is served, log and all.
fn serve(directory: &Path) -> Outcome<()> {
    telemetry::start_logging(LogFormat::Json, "info");
    let running = app::start(config(directory)?, Arc::new(SystemClock))?;
    let address = |kind| running.address(kind).ok_or("there is no listener");
    println!("{} {}", address(Kind::Mtls)?, address(Kind::Forwarded)?);
    running.wait();
    Ok(())
}

/// The ceiling: what any such server must do.
fn serve_bare(directory: &Path) -> Outcome<()> {
    let read = |name: &str| -> Outcome<_> { Ok(files::read(&std::fs::read(directory.join(name))?, None)?) };
    let (corp, chain) = (read("corp.pem")?.certificates, read("server.pem")?.certificates);
    let key = read("server.key")?.key.ok_or("there is no key")?;
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let mut tls = builder
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier(&corp)?)
        .with_single_cert(
            chain.into_iter().map(CertificateDer::from).collect(),
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec())),
        )?;
    tls.send_tls13_tickets = 0;

    let signer = Data::new(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?);
    let sign = async |signer: Data<EcdsaKeyPair>, body: Bytes| {
        black_box((body, signer.sign(&SystemRandom::new(), &[b'a'; 500]).is_ok()));
        HttpResponse::Ok().content_type("application/json").body("a".repeat(700))
    };
    let answer = async |body: Bytes| {
        black_box(body);
        HttpResponse::Ok().content_type("application/json").body("a".repeat(400))
    };
    let server = HttpServer::new(move || {
        let app = App::new().app_data(signer.clone());
        app.route("/token", web::post().to(sign)).route("/introspect", web::post().to(answer))
    });
    let server = server.tcp_nodelay(true).bind_rustls_0_23("127.0.0.1:0", tls)?;
    let address = *server.addrs().first().ok_or("there is no listener")?;
    println!("{address} {address}");
    Ok(actix_web::rt::System::new().block_on(server.run())?)
}

fn verifier(anchors: &[Vec<u8>]) -> Outcome<Arc<dyn ClientCertVerifier>> {
    let roots = Arc::new(roots(anchors)?);
    Ok(WebPkiClientVerifier::builder_with_provider(roots, Arc::new(default_provider())).build()?)
}

fn roots(anchors: &[Vec<u8>]) -> Outcome<RootCertStore> {
    let mut roots = RootCertStore::empty();
    anchors.iter().try_for_each(|anchor| roots.add(CertificateDer::from(anchor.clone())))?;
    Ok(roots)
}

// In memory

fn in_memory(site: &Site) -> Outcome<()> {
    let now = SystemClock.now();
    let config = config(site.directory.path())?;
    let (world, _) = World::start(&config, now).map_err(|problems| format!("{problems:#?}"))?;
    let world = world.authenticator;
    let octets = vec![site.client.certificate_der().to_vec()];
    let certificate = PresentedCertificate { chain: Chain::parse(&octets, 1)?, via: Via::Handshake };
    let presented = Presented::Certificate(Arc::new(certificate));
    let client =
        world.authenticate(Some("billing"), &presented, now).map_err(|refusal| format!("{refusal:?}"))?;

    let pkcs8 = SigningKey::generate(SigningAlgorithm::Es256)?;
    let key = SigningKey::from_pkcs8(SigningAlgorithm::Es256, &pkcs8, now)?;
    let issuer = TokenIssuer::new(config.issuer.clone(), Arc::new(Live::new(SigningKeys::new(vec![key]))));
    let bare = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)?;
    row(
        "tokens minted",
        "an ES256 signature",
        || {
            turn(|| {
                let entitlement = Entitlement::within(&client, Asked::default(), config.tokens.lifetime)?;
                Ok(issuer.mint(entitlement, now)?)
            })
        },
        || turn(|| Ok(bare.sign(&SystemRandom::new(), &[b'a'; 500])?)),
    )?;

    let (chain, name) = (Chain::parse(&octets, 1)?, AnchorSetName::new("corp"));
    let anchors = world.trust().set(&name).ok_or("there is no anchor set")?;
    let webpki = verifier(&[site.corp.identity().certificate_der().to_vec()])?;
    let leaf = CertificateDer::from(octets.concat());
    row(
        "chains verified, uncached",
        "webpki, which checks less",
        || turn(|| Ok(anchors.verify_path(&chain, Purpose::Client, now)?)),
        || turn(|| Ok(webpki.verify_client_cert(&leaf, &[], UnixTime::now())?)),
    )?;

    let known = moka::sync::Cache::new(100);
    known.insert([0_u8; 64], Arc::new(0));
    row(
        "chains verified, cached",
        "a look-up",
        || turn(|| Ok(world.trust().verify(&chain, &name, now)?)),
        || turn(|| Ok(known.get(&[0; 64]))),
    )
}

/// How often a second `work` can be done on one core.
fn turn<T>(work: impl Fn() -> Outcome<T>) -> Outcome<f64> {
    const BETWEEN_LOOKS: usize = 32;
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < MEMORY_TURN {
        for _ in 0..BETWEEN_LOOKS {
            black_box(work()?);
        }
        count += BETWEEN_LOOKS;
    }
    Ok(per_second(count, began.elapsed()))
}

// The set-up

/// A directory with everything that a server reads, gone with its value, and a client's certificate.
struct Site {
    directory: TempDir,
    corp: Authority,
    server: Identity,
    client: Identity,
}

impl Site {
    fn new() -> Outcome<Self> {
        let day = Duration::from_secs(86_400);
        let (from, to) = (SystemClock.now().minus(day), SystemClock.now().plus(day));
        let corp = Authority::new(&Template::new("Corp CA", from, to))?;
        let client = corp.issue(&Template {
            dns: vec!["billing.example.com".to_owned()],
            ..Template::new("billing", from, to)
        })?;
        let server = Identity::self_signed(&Template {
            purpose: LeafPurpose::Server,
            dns: vec!["localhost".to_owned()],
            ..Template::new("localhost", from, to)
        })?;
        let site = Self { directory: tempfile::tempdir()?, corp, server, client };
        site.write()?;
        Ok(site)
    }

    fn write(&self) -> io::Result<()> {
        let write = |name: &str, text: &str| std::fs::write(self.directory.path().join(name), text);
        std::fs::create_dir(self.directory.path().join("clients.d"))?;
        write("corp.pem", &self.corp.identity().certificate_pem())?;
        write("server.pem", &self.server.certificate_pem())?;
        write("server.key", &self.server.key_pem())?;
        write(
            "clients.d/billing.yaml",
            &format!(
                "client_id: billing\n\
                 token_endpoint_auth_method: tls_client_auth\n\
                 tls_client_auth_san_dns: billing.example.com\n\
                 scope: read write\n\
                 introspection: {{ resources: [{API}] }}\n"
            ),
        )?;
        write(
            "certbound.yaml",
            &format!(
                "issuer: https://as.example.com\n\
                 listeners:\n\
                 \x20 - {{ kind: mtls, bind: 127.0.0.1:0, tls: {{ certificate: server.pem, key: server.key }} }}\n\
                 \x20 - {{ kind: forwarded, bind: 127.0.0.1:0, dialect: haproxy, proxy: {{ address: [127.0.0.1/32] }} }}\n\
                 trust_anchors: {{ corp: {{ file: corp.pem }} }}\n\
                 tokens: {{ access_token_lifetime: 10m, resource: {API} }}\n"
            ),
        )
    }

    fn client_config(&self) -> Outcome<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let mut config = builder
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(&[self.server.certificate_der().to_vec()])?)
            .with_client_auth_cert(
                vec![CertificateDer::from(self.client.certificate_der().to_vec())],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.client.key_der().to_vec())),
            )?;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

fn config(directory: &Path) -> Outcome<Config> {
    let (config, problems) = Config::load(&directory.join("certbound.yaml"));
    config.ok_or_else(|| format!("{problems:#?}").into())
}
