//! The server in this process, without a socket: octets of HTTP go in and come out, the background does what it is told
//! when it is told, and a crash leaves the files and what the store kept.
//!
//! The application is put together as `http::listener` does it; only the handshake is not there, and what it would have
//! shown is put where the listener puts it.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_http::{HttpService, KeepAlive};
use actix_service::{
    IntoServiceFactory as _, Service as _, ServiceFactory as _, ServiceFactoryExt as _, map_config,
};
use actix_web::App;
use actix_web::dev::{AppConfig, Extensions};
use actix_web::middleware::from_fn;
use actix_web::web::{Data, ServiceConfig};
use certbound::admin::{self, Administration, Order};
use certbound::authn::Presented;
use certbound::clock::{Clock, Timestamp};
use certbound::document::Problems;
use certbound::http::connection::{Bounds, InFlight, Peer};
use certbound::http::discovery::Metadata;
use certbound::http::observe::observe;
use certbound::http::probes::Health;
use certbound::http::{Kind, Services, oauth_routes};
use certbound::keys::Place;
use certbound::reload::Live;
use certbound::store::evidence::Evidence;
use certbound::store::sled::Sled;
use certbound::store::witness::Witness;
use certbound::store::{self, TokenStore};
use certbound::tasks::Background;
use certbound::telemetry::Metrics;
use certbound::token::{TokenIssuer, TokenVerifier};
use certbound::world::{self, World};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::files::Directory;
use super::lines::{self, Line};

/// Nothing may take longer (I5), and what the store keeps waiting for is over by then.
const LONGEST: Duration = Duration::from_millis(5500);

/// A clock that stands until it is moved, and can be made to go on with the next look but one: for whoever waits for the
/// end of a second.
pub(super) struct Hands {
    now: AtomicI64,
    going: AtomicBool,
    looked: AtomicBool,
}

impl Hands {
    pub(super) fn at(now: Timestamp) -> Self {
        Self {
            now: AtomicI64::new(now.as_unix()),
            going: AtomicBool::new(false),
            looked: AtomicBool::new(false),
        }
    }

    pub(super) fn set(&self, now: Timestamp) {
        self.now.store(now.as_unix(), Ordering::SeqCst);
    }

    fn go(&self, going: bool) {
        self.looked.store(false, Ordering::SeqCst);
        self.going.store(going, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        if self.going.load(Ordering::SeqCst) && self.looked.swap(true, Ordering::SeqCst) {
            self.now.fetch_add(1, Ordering::SeqCst);
        }
        Timestamp::from_unix(self.now.load(Ordering::SeqCst))
    }
}

/// An answer of HTTP.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// What the log says of the request.
    pub(super) lines: Vec<Line>,
}

impl Answer {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    fn read(octets: &[u8], lines: Vec<Line>) -> Option<Self> {
        let end = octets.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(octets[..end].to_vec()).ok()?.to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, head, body: octets[end + 4..].to_vec(), lines })
    }
}

/// Takes connections.
type Door = Rc<dyn Fn(DuplexStream, Presented) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A server at work.
pub(super) struct Server {
    services: Data<Services>,
    background: Background,
    strangers: Door,
    operator: Door,
    /// Dropped with the server: that is its end.
    _end: watch::Sender<bool>,
}

/// The store, as its two contracts.
pub(super) struct Store {
    pub(super) tokens: Arc<dyn TokenStore>,
    pub(super) evidence: Arc<dyn Evidence>,
}

impl Server {
    /// As `app::start` does it, without listeners.
    pub(super) async fn start(
        directory: &Directory,
        store: Store,
        clock: Arc<Hands>,
    ) -> Result<Self, Problems> {
        let config = directory.config.clone();
        let now = clock.now();
        let (World { authenticator, warnings }, facts) = World::start(&config, now)?;
        let (signing, keys_directory) = world::signing_keys(&config, now)?;
        let keys = Arc::new(Live::new(signing));
        let Store { tokens, evidence } = store;
        let services = Data::new(Services {
            issuer: Arc::new(config.issuer.clone()),
            mtls_base_url: config.mtls_base_url.clone(),
            authenticator: Live::new(authenticator),
            tokens: TokenIssuer::new(config.issuer.clone(), Arc::clone(&keys)),
            verifier: TokenVerifier::new(config.issuer.clone(), Arc::clone(&keys), Arc::clone(&tokens)),
            store: tokens,
            witness: Arc::new(Witness::new(Arc::clone(&evidence))),
            keys,
            metadata: Metadata::new(&config.issuer, &config.mtls_base_url, None),
            certificate_headers: Vec::new(),
            policy: Live::new(world::policy(&config)),
            clock,
            metrics: Metrics::shared(),
            health: Health::default(),
            ending: Arc::default(),
            roll_is_open: AtomicBool::new(true),
        });
        let (orders, received) = mpsc::channel(16);
        let administration = Data::new(Administration {
            keys: Place::Directory(keys_directory),
            schedule: Live::new(config.schedule()),
            store: store::Store::Sled(unused_store()),
            orders,
            candidate: Box::new(|_, _| (None, Problems::default())),
        });
        let (end, ended) = watch::channel(false);
        let background = Background {
            services: services.clone().into_inner(),
            facts,
            evidence,
            administration: administration.clone().into_inner(),
            identities: Vec::new(),
            sets: config.trust_anchors.clone(),
            config,
            orders: received,
            ended,
            told: warnings,
            rolls: watch::channel(0).1,
            unheard: VecDeque::new(),
            heard: None,
        };
        let strangers = door(&services, Kind::Mtls, oauth_routes(&services, None)).await;
        let operator = door(&services, Kind::Admin, admin::routes(&administration)).await;
        let mut server = Self { services, background, strangers, operator, _end: end };
        let world = server.services.authenticator.load();
        server.background.take_the_roll(world.registry()).await;
        Ok(server)
    }

    /// `POST` of a form by a peer that showed this.
    pub(super) async fn post(
        &self,
        path: &str,
        form: &[(&str, &str)],
        shown: &Presented,
    ) -> Result<Answer, String> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = request("POST", path, "application/x-www-form-urlencoded", &body);
        exchange(&self.strangers, request, shown.clone()).await
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, String> {
        exchange(&self.strangers, request("GET", path, "text/plain", ""), Presented::Nothing).await
    }

    /// The same as [`Server::post`], with whoever waits for the answer gone and the server dead while the store hangs.
    pub(super) async fn post_unanswered(&self, path: &str, form: &[(&str, &str)], shown: &Presented) {
        let _ = timeout(Duration::from_millis(15), self.post(path, form, shown)).await;
    }

    /// A command of the operator, and what it makes the background do.
    pub(super) async fn control(&mut self, method: &str, path: &str, body: &str) -> Result<Answer, String> {
        let (door, request) = (
            Rc::clone(&self.operator),
            request(method, &format!("/api/v1/{path}"), "application/json", body),
        );
        let asked = exchange(&door, request, Presented::Nothing);
        tokio::pin!(asked);
        loop {
            tokio::select! {
                biased;
                answer = &mut asked => return answer,
                Some(order) = self.background.orders.recv() => match order {
                    Order::Reload(done) | Order::Files(done) => {
                        let _ = done.send(self.background.reload(&BTreeSet::new()).await);
                    }
                    Order::Keys(done) => {
                        self.background.read_keys();
                        let _ = done.send(());
                    }
                },
            }
        }
    }

    /// [`Server::control`] for a command that waits for the end of the second, which comes.
    pub(super) async fn control_in_time(
        &mut self,
        clock: &Hands,
        method: &str,
        path: &str,
    ) -> Result<Answer, String> {
        clock.go(true);
        let answer = self.control(method, path, "{}").await;
        clock.go(false);
        answer
    }

    pub(super) async fn every_minute(&mut self) {
        self.background.every_minute().await;
    }

    /// What happens every second.
    pub(super) async fn every_second(&mut self, now: Timestamp) -> bool {
        self.background.catch_up().await;
        self.services.witness.flush(now).await.is_ok()
    }

    pub(super) async fn forget_evidence(&self, now: Timestamp) -> bool {
        self.background.evidence.forget_evidence(now).await.is_ok()
    }
}

/// What `store check` and `store export` would look at; nothing here asks for either.
fn unused_store() -> Arc<Sled> {
    static STORE: OnceLock<(TempDir, Arc<Sled>)> = OnceLock::new();
    let (_, store) = STORE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) =
            Sled::open(&directory.path().join("data"), &directory.path().join("store-id")).unwrap();
        (directory, Arc::new(store))
    });
    Arc::clone(store)
}

async fn door(
    services: &Data<Services>,
    kind: Kind,
    routes: impl FnOnce(&mut ServiceConfig) + 'static,
) -> Door {
    let bounds =
        Bounds { kind, head: 64 * 1024, head_timeout: Duration::from_secs(5), idle: Duration::from_secs(60) };
    let app = App::new()
        .app_data(services.clone())
        .app_data(bounds)
        .wrap(from_fn(observe))
        .configure(routes)
        .into_factory()
        .map_err(|error| error.error_response());
    let shown = Rc::new(RefCell::new(Presented::Nothing));
    let seen = Rc::clone(&shown);
    let http = HttpService::build()
        .keep_alive(KeepAlive::Disabled)
        // A head is never late here, but on a busy machine the clock of the library is.
        .client_request_timeout(Duration::ZERO)
        .on_connect_ext(move |_: &DuplexStream, data: &mut Extensions| {
            data.insert(Peer { presented: seen.borrow().clone(), in_flight: InFlight::default() });
        })
        .h1(map_config(app, |()| AppConfig::default()));
    let http =
        http.new_service(()).await.map_err(drop).expect("the application has no initializers that fail");
    Rc::new(move |stream, presented| {
        shown.replace(presented);
        let served = http.call((stream, None));
        Box::pin(async move {
            // What became of the connection shows at its other end.
            let _ = served.await;
        })
    })
}

fn request(method: &str, path: &str, content_type: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: as.example.com\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn exchange(door: &Door, request: String, shown: Presented) -> Result<Answer, String> {
    lines::clear();
    let (mut near, far) = duplex(64 * 1024);
    let served = door(far, shown);
    let asked = async {
        let mut octets = Vec::new();
        near.write_all(request.as_bytes()).await?;
        near.read_to_end(&mut octets).await?;
        Ok::<_, std::io::Error>(octets)
    };
    let octets = timeout(LONGEST, async { tokio::join!(served, asked).1 }).await;
    let octets = octets.map_err(|_| "I5: there was no answer within 5 s".to_owned())?;
    let octets = octets.map_err(|error| format!("I5: the connection broke: {error}"))?;
    Answer::read(&octets, lines::take()).ok_or_else(|| "I5: the answer is not HTTP".to_owned())
}
