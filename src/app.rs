//! Wiring: from a configuration to a server that listens, and to its end.
//!
//! [`start`] checks everything and binds everything before anything is served; a problem anywhere is a
//! [`StartError`], and nothing listens. The server runs on threads of its own until [`Running::stop`].

mod nodes;
mod running;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use actix_server::{Server, ServerHandle};
use actix_web::rt::System;
use actix_web::web::Data;
use tokio::sync::{mpsc, watch};

use crate::admin::{self, Administration, Candidate, ControlSocket};
use crate::authn::ClientAuthenticator;
use crate::clock::Clock;
use crate::config::{self, AdminBind, Config, Forwarded, ForwardedBind, Listener, StoreSettings};
use crate::document::Problems;
use crate::http::connection::Bounds;
use crate::http::discovery::Metadata;
use crate::http::listener::{allow_handshakes, listen_tcp, listen_tls, listen_unix};
use crate::http::probes::Health;
use crate::http::proxy::Proxy;
use crate::http::tls::{self, Door, ServerIdentity, TlsSettings};
use crate::http::{Kind, Services, admin_routes, oauth_routes};
use crate::keys::SigningKeys;
use crate::reload::Live;
use crate::store::evidence::Evidence;
use crate::store::postgres::Postgres;
use crate::store::sled::Sled;
use crate::store::witness::Witness;
use crate::store::{OpenError, Opened, Store, TokenStore};
use crate::tasks::{self, Background};
use crate::telemetry::{self, Metrics};
use crate::token::{TokenIssuer, TokenVerifier};
use crate::world::{self, World};

pub use running::{Running, Stopper};

/// A server that could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What `certbound check` says.
    #[error("there are problems")]
    Problems(Problems),
    /// The store cannot be had.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A socket or a thread cannot be had.
    #[error("{what}: {cause}")]
    System {
        /// What was wanted.
        what: String,
        /// Why it was not given.
        cause: std::io::Error,
    },
}

/// Checks, opens and binds everything that `config` names, and serves.
pub fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    // The process may be at its end then, and what was logged until then says why.
    serve_all(config, clock, |store| store).inspect_err(|_| telemetry::finish())
}

/// The two contracts of the store, as the server calls them.
pub struct Remembering {
    /// What has ended.
    pub tokens: Arc<dyn TokenStore>,
    /// What was seen.
    pub evidence: Arc<dyn Evidence>,
}

/// [`start`], with something between the server and its store: tests of calls that fail put it there.
pub fn start_behind(
    config: Config,
    clock: Arc<dyn Clock>,
    between: impl FnOnce(Remembering) -> Remembering,
) -> Result<Running, StartError> {
    serve_all(config, clock, between).inspect_err(|_| telemetry::finish())
}

fn serve_all(
    config: Config,
    clock: Arc<dyn Clock>,
    between: impl FnOnce(Remembering) -> Remembering,
) -> Result<Running, StartError> {
    let (clock, node_clock) = nodes::clocks(&config, clock);
    let now = clock.now();
    // Whatever is wrong with files is told before the store is touched.
    let (World { authenticator, warnings }, facts) =
        World::start(&config, now).map_err(StartError::Problems)?;
    let doors: Vec<Bound> =
        config.listeners.iter().filter_map(|one| bind(one).transpose()).collect::<Result<_, _>>()?;
    let keys = nodes::Keys::find(&config, now)?;
    let lock = lock_the_place(&config)?;
    let (store, opened) = open_store(&config)?;
    tell(opened, &config.signing.directory.join("store-id"));
    // After the lock, which says that no other server is at work here: a unix socket is taken from whoever has it.
    let sockets = Sockets { lock, ..Sockets::bind(&config)? };
    let (signing, place) = keys.with(&store);
    let keys = Arc::new(Live::new(signing));
    let Remembering { tokens, evidence } =
        between(Remembering { tokens: store.tokens(), evidence: store.evidence() });
    let services = Data::new(services(&config, authenticator, keys, tokens, &evidence, clock));
    tasks::report(&services, "clients", &warnings);
    let (orders, received) = mpsc::channel(16);
    let schedule = Live::new(config.schedule());
    let candidate = candidates(config.clone());
    let administration = Data::new(Administration { keys: place, schedule, store, orders, candidate });
    let addresses = doors.iter().map(Bound::address).collect();
    let ((end, ended), (abort, aborted)) = (watch::channel(false), watch::channel(false));
    let (rolls_called, rolls) = watch::channel(0);
    let background = Background {
        services: services.clone().into_inner(),
        facts,
        evidence,
        administration: administration.clone().into_inner(),
        identities: doors.iter().filter_map(Bound::identity).collect(),
        sets: config.trust_anchors.clone(),
        config,
        orders: received,
        ended,
        told: warnings,
        rolls,
        unheard: VecDeque::new(),
        heard: None,
    };
    background.count();
    let beating = nodes::join(node_clock, &background, rolls_called)?;
    let (handle, thread) = serve(doors, sockets, (services.clone(), administration), background, aborted)?;
    let stopper = Stopper { handle, ending: Arc::clone(&services.ending), end, abort };
    Ok(Running { addresses, services, stopper, thread, beating })
}

/// How `certbound plan` comes to the world of a configuration that is not in force.
fn candidates(own: Config) -> Box<Candidate> {
    Box::new(move |path, now| world::candidate(path.unwrap_or(&own.file), &own, now))
}

fn open_store(config: &Config) -> Result<(Store, Opened), StartError> {
    let id_file = config.signing.directory.join("store-id");
    match &config.store {
        StoreSettings::Sled { path } => {
            let (store, opened) = Sled::open(path, &id_file)?;
            Ok((Store::Sled(Arc::new(store)), opened))
        }
        StoreSettings::Postgres(source) => {
            let settings = source.settings(config.outgoing.ca.as_ref()).map_err(StartError::Problems)?;
            let (store, opened) = Postgres::open(&settings, &id_file)?;
            Ok((Store::Postgres(Arc::new(store)), opened))
        }
    }
}

/// What is odd about the store that was opened.
fn tell(opened: Opened, id_file: &Path) {
    match opened {
        Opened::Adopted => {
            let file = id_file.display();
            tracing::warn!(%file, "the store was adopted: its id file was missing and has been written");
        }
        Opened::OutOfReach(error) => {
            tracing::warn!(error, "the store cannot be reached; what needs it answers 503 until it can");
        }
        Opened::Created | Opened::Existing => {}
    }
}

/// The embedded store has a lock of its own; beside a database it is `control.lock` that says that a server is at work.
fn lock_the_place(config: &Config) -> Result<Option<File>, StartError> {
    if matches!(config.store, StoreSettings::Sled { .. }) {
        return Ok(None);
    }
    let path = config.control.with_extension("lock");
    let failed = |cause| StartError::System { what: path.display().to_string(), cause };
    let file = OpenOptions::new().create(true).append(true).mode(OWNER_ONLY).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StartError::Store(OpenError::Held(format!(
            "{} is held by another process: a server is running here",
            path.display()
        )))),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

fn services(
    config: &Config,
    authenticator: ClientAuthenticator,
    keys: Arc<Live<SigningKeys>>,
    store: Arc<dyn TokenStore>,
    evidence: &Arc<dyn Evidence>,
    clock: Arc<dyn Clock>,
) -> Services {
    let witness = Arc::new(Witness::new(Arc::clone(evidence)));
    let documentation = config.service_documentation.as_deref();
    Services {
        issuer: Arc::new(config.issuer.clone()),
        mtls_base_url: config.mtls_base_url.clone(),
        authenticator: Live::new(authenticator),
        tokens: TokenIssuer::new(config.issuer.clone(), Arc::clone(&keys)),
        verifier: TokenVerifier::new(config.issuer.clone(), Arc::clone(&keys), Arc::clone(&store)),
        store,
        witness,
        keys,
        metadata: Metadata::new(&config.issuer, &config.mtls_base_url, documentation),
        certificate_headers: config.forwarded().map(|one| one.reader.header().to_owned()).collect(),
        policy: Live::new(world::policy(config)),
        clock,
        metrics: Metrics::shared(),
        health: Health::default(),
        ending: Arc::default(),
        roll_is_open: AtomicBool::new(true),
    }
}

/// A listener with its socket.
enum Bound {
    Tls {
        kind: Kind,
        socket: TcpListener,
        address: SocketAddr,
        settings: Box<TlsSettings>,
        identity: Arc<ServerIdentity>,
        proxy: Option<Data<Proxy>>,
    },
    Forwarded {
        socket: TcpListener,
        address: SocketAddr,
        proxy: Data<Proxy>,
    },
    Admin {
        socket: TcpListener,
        address: SocketAddr,
    },
}

impl Bound {
    fn address(&self) -> (Kind, SocketAddr) {
        match self {
            Self::Tls { kind, address, .. } => (*kind, *address),
            Self::Forwarded { address, .. } => (Kind::Forwarded, *address),
            Self::Admin { address, .. } => (Kind::Admin, *address),
        }
    }

    fn identity(&self) -> Option<Arc<ServerIdentity>> {
        match self {
            Self::Tls { identity, .. } => Some(Arc::clone(identity)),
            Self::Forwarded { .. } | Self::Admin { .. } => None,
        }
    }
}

/// Takes the port of a listener, and reads what it shows. A listener without a port has a socket, see [`Sockets`].
fn bind(listener: &Listener) -> Result<Option<Bound>, StartError> {
    let (kind, bind, tls, door, proxy) = match listener {
        Listener::Mtls { bind, tls, door: config::Door::Ask } => (Kind::Mtls, bind, tls, Door::Ask, None),
        Listener::Mtls { bind, tls, door: config::Door::Require } => {
            (Kind::Mtls, bind, tls, Door::Require, None)
        }
        Listener::Public { bind, tls } => (Kind::Public, bind, tls, Door::Never, None),
        Listener::Forwarded(forwarded) => {
            let ForwardedBind::Tcp(bind) = &forwarded.bind else { return Ok(None) };
            let proxy = proxy(forwarded)?;
            let Some(tls) = &forwarded.tls else {
                let (socket, address) = bind_tcp(bind)?;
                return Ok(Some(Bound::Forwarded { socket, address, proxy }));
            };
            // Not required: who shows none, or another, hears `invalid_client`, and reads the key set.
            let door = if forwarded.proxy.mtls.is_some() { Door::Ask } else { Door::Never };
            (Kind::Forwarded, bind, tls, door, Some(proxy))
        }
        Listener::Admin { bind: AdminBind::Tcp(bind) } => {
            let (socket, address) = bind_tcp(bind)?;
            return Ok(Some(Bound::Admin { socket, address }));
        }
        Listener::Admin { bind: AdminBind::Unix(_) } => return Ok(None),
    };
    let identity = Arc::new(world::server_identity(tls).map_err(StartError::Problems)?);
    let settings = Box::new(tls::settings(Arc::clone(&identity), door, tls.resumption));
    let (socket, address) = bind_tcp(bind)?;
    Ok(Some(Bound::Tls { kind, socket, address, settings, identity, proxy }))
}

fn proxy(forwarded: &Forwarded) -> Result<Data<Proxy>, StartError> {
    forwarded.proxy().map(Data::new).map_err(StartError::Problems)
}

/// The unix sockets: that of the commands, and those of `admin` and `forwarded` listeners.
struct Sockets {
    control: (ControlSocket, UnixListener),
    admin: Vec<(ControlSocket, UnixListener)>,
    forwarded: Vec<(ControlSocket, UnixListener, Data<Proxy>)>,
    /// Held as long as they are.
    lock: Option<File>,
}

impl Sockets {
    fn bind(config: &Config) -> Result<Self, StartError> {
        let bind = |path: &Path, mode| {
            let failed = |cause| StartError::System { what: path.display().to_string(), cause };
            ControlSocket::bind_for(path, mode).map_err(failed)
        };
        let admin = config.listeners.iter().filter_map(|listener| match listener {
            Listener::Admin { bind: AdminBind::Unix(path) } => Some(bind(path, OWNER_ONLY)),
            _ => None,
        });
        let forwarded = config.forwarded().filter_map(|forwarded| match &forwarded.bind {
            ForwardedBind::Unix { path, mode } => Some((forwarded, path, *mode)),
            ForwardedBind::Tcp(_) => None,
        });
        let forwarded = forwarded.map(|(forwarded, path, mode)| {
            let proxy = proxy(forwarded)?;
            bind(path, mode).map(|(file, socket)| (file, socket, proxy))
        });
        Ok(Self {
            admin: admin.collect::<Result<_, _>>()?,
            forwarded: forwarded.collect::<Result<_, _>>()?,
            control: bind(&config.control, OWNER_ONLY)?,
            lock: None,
        })
    }
}

fn bind_tcp(address: &SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |cause| StartError::System { what: format!("cannot listen on {address}"), cause };
    let socket = TcpListener::bind(address).map_err(failed)?;
    let given = socket.local_addr().map_err(failed)?;
    Ok((socket, given))
}

/// Starts the threads that answer; returns when they do.
fn serve(
    doors: Vec<Bound>,
    sockets: Sockets,
    shared: (Data<Services>, Data<Administration>),
    mut background: Background,
    mut aborted: watch::Receiver<bool>,
) -> Result<(ServerHandle, JoinHandle<()>), StartError> {
    let (started, waiting) = sync_channel(1);
    let run = move || {
        System::new().block_on(async move {
            // Before anybody asks: a client that was gone may have come back while no server was there.
            let world = background.services.authenticator.load();
            background.take_the_roll(world.registry()).await;
            match servers(doors, sockets, &shared, &background.config) {
                Ok(Servers { strangers, operators, _files }) => {
                    let _ = started.send(Ok(strangers.handle()));
                    let (handle, mut end) = (operators.handle(), background.ended.clone());
                    let stopping = async {
                        // Whoever could end the server and is gone has ended it.
                        let _ = end.changed().await;
                        handle.stop(true).await;
                    };
                    let all = async { tokio::join!(strangers, operators, stopping, tasks::run(background)) };
                    let (strangers, operators, (), ()) = tokio::select! {
                        ended = all => ended,
                        // Servers that are dropped do not wait for their workers.
                        Ok(_) = aborted.wait_for(|aborted| *aborted) => return,
                    };
                    for error in [strangers, operators].into_iter().filter_map(Result::err) {
                        tracing::error!(%error, "the server ended");
                    }
                }
                Err(cause) => drop(started.send(Err(cause))),
            }
        });
    };
    let failed = |cause| StartError::System { what: "the server does not start".to_owned(), cause };
    let thread = std::thread::Builder::new().name("certbound".to_owned()).spawn(run).map_err(failed)?;
    let handle = waiting.recv().map_err(|_| failed(std::io::ErrorKind::Other.into()))?.map_err(failed)?;
    Ok((handle, thread))
}

/// Two servers, so that strangers who hold every connection they may have keep no operator out: it is then that somebody
/// looks at `/readyz` and revokes.
struct Servers {
    strangers: Server,
    operators: Server,
    /// The sockets, gone with the servers, and what says whose they are.
    _files: (Vec<ControlSocket>, Option<File>),
}

fn servers(
    doors: Vec<Bound>,
    sockets: Sockets,
    (services, administration): &(Data<Services>, Data<Administration>),
    config: &Config,
) -> std::io::Result<Servers> {
    let limits = &config.limits;
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    allow_handshakes(limits.connections);
    let build = |workers| Server::build().workers(workers).shutdown_timeout(SHUTDOWN).disable_signals();
    let mut strangers = build(workers).max_concurrent_connections(limits.connections.div_ceil(workers));
    let mut operators = build(1);
    let bounds = |kind| {
        let head = if kind == Kind::Forwarded { limits.forwarded_head } else { limits.head };
        Bounds { kind, head, head_timeout: limits.head_timeout, idle: limits.idle }
    };
    let mut files = Vec::new();
    for door in doors {
        match door {
            Bound::Tls { kind, socket, address, settings, proxy, .. } => {
                tracing::info!(kind = kind.as_str(), address = %address, "listening");
                let routes = oauth_routes(services, proxy);
                strangers = listen_tls(strangers, socket, services, bounds(kind), *settings, routes)?;
            }
            Bound::Forwarded { socket, address, proxy } => {
                tracing::info!(kind = Kind::Forwarded.as_str(), address = %address, "listening");
                let routes = oauth_routes(services, Some(proxy));
                strangers = listen_tcp(strangers, socket, services, bounds(Kind::Forwarded), routes)?;
            }
            Bound::Admin { socket, address } => {
                tracing::info!(kind = Kind::Admin.as_str(), address = %address, "listening");
                operators = listen_tcp(operators, socket, services, bounds(Kind::Admin), admin_routes)?;
            }
        }
    }
    for (file, socket) in sockets.admin {
        tracing::info!(kind = Kind::Admin.as_str(), address = %file, "listening");
        files.push(file);
        operators = listen_unix(operators, socket, services, bounds(Kind::Admin), admin_routes)?;
    }
    for (file, socket, proxy) in sockets.forwarded {
        tracing::info!(kind = Kind::Forwarded.as_str(), address = %file, "listening");
        files.push(file);
        let routes = oauth_routes(services, Some(proxy));
        strangers = listen_unix(strangers, socket, services, bounds(Kind::Forwarded), routes)?;
    }
    let (file, socket) = sockets.control;
    files.push(file);
    let routes = admin::routes(administration);
    let operators = listen_unix(operators, socket, services, bounds(Kind::Admin), routes)?;
    Ok(Servers { strangers: strangers.run(), operators: operators.run(), _files: (files, sockets.lock) })
}

/// The mode of a socket that is its owner's alone.
const OWNER_ONLY: u32 = 0o600;

/// Seconds for what is in flight when the server takes nothing new. With the time before that, it ends within ten.
const SHUTDOWN: u64 = 6;
