//! Wiring: from a configuration to a server that listens, and to its end.
//!
//! [`start`] checks everything and binds everything before anything is served; a problem anywhere is a
//! [`StartError`], and nothing listens. The server runs on threads of its own until [`Running::stop`].

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
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
use crate::store::TokenStore;
use crate::store::evidence::Evidence;
use crate::store::sled::{OpenError, Opened, Sled};
use crate::store::witness::Witness;
use crate::tasks::{self, Background};
use crate::telemetry::{self, Metrics};
use crate::token::{TokenIssuer, TokenVerifier};
use crate::world::{self, World};

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

/// A server at work.
pub struct Running {
    addresses: Vec<(Kind, SocketAddr)>,
    services: Data<Services>,
    handle: ServerHandle,
    end: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Where it listens, in the order of the configuration; with port 0 in the configuration, the port that was given.
    pub fn addresses(&self) -> &[(Kind, SocketAddr)] {
        &self.addresses
    }

    /// The address of the first listener of this kind.
    pub fn address(&self, kind: Kind) -> Option<SocketAddr> {
        self.addresses.iter().find(|(of, _)| *of == kind).map(|(_, address)| *address)
    }

    /// What requests work with.
    pub fn services(&self) -> &Data<Services> {
        &self.services
    }

    /// Answers what is in flight, takes nothing new, and returns when all is over.
    pub fn stop(self) {
        // Dropping what `stop` returns would not take the order back; waiting for it is the thread's business.
        drop(self.handle.stop(true));
        let _ = self.end.send(true);
        self.wait();
    }

    /// Returns when the server has ended.
    pub fn wait(self) {
        // A panic on that thread has been told by the panic hook; there is nothing to add.
        let _ = self.thread.join();
    }

    /// Ends the server from another thread, on a signal for instance.
    pub fn stopper(&self) -> Stopper {
        Stopper { handle: self.handle.clone(), end: self.end.clone() }
    }
}

/// Ends a server that somebody else waits for.
#[derive(Clone)]
pub struct Stopper {
    handle: ServerHandle,
    end: watch::Sender<bool>,
}

impl Stopper {
    /// Answers what is in flight and takes nothing new.
    pub fn stop(&self) {
        drop(self.handle.stop(true));
        let _ = self.end.send(true);
    }
}

/// Checks, opens and binds everything that `config` names, and serves.
pub fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    // The process may be at its end then, and what was logged until then says why.
    serve_all(config, clock).inspect_err(|_| telemetry::finish())
}

fn serve_all(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    let now = clock.now();
    // Whatever is wrong with files is told before the store is touched.
    let (World { authenticator, warnings }, facts) =
        World::start(&config, now).map_err(StartError::Problems)?;
    let doors: Vec<Bound> =
        config.listeners.iter().filter_map(|one| bind(one).transpose()).collect::<Result<_, _>>()?;
    let (signing, directory) = world::signing_keys(&config, now).map_err(StartError::Problems)?;
    let (store, opened) = open_store(&config)?;
    if opened == Opened::Adopted {
        let file = directory.path().join("store-id");
        tracing::warn!(file = %file.display(), "the store was adopted: its id file was missing and has been written");
    }
    // After the store, whose lock says that no other server is at work here: a unix socket is taken from whoever has it.
    let sockets = Sockets::bind(&config)?;
    let keys = Arc::new(Live::new(signing));
    let services = Data::new(services(&config, authenticator, keys, Arc::clone(&store), clock));
    tasks::report(&services, "clients", &warnings);
    let (orders, received) = mpsc::channel(16);
    let evidence: Arc<dyn Evidence> = Arc::<Sled>::clone(&store);
    let schedule = Live::new(config.schedule());
    let candidate = candidates(config.clone());
    let administration = Data::new(Administration { keys: directory, schedule, store, orders, candidate });
    let addresses = doors.iter().map(Bound::address).collect();
    let (end, ended) = watch::channel(false);
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
        roll_due: true,
    };
    let (handle, thread) = serve(doors, sockets, (services.clone(), administration), background)?;
    Ok(Running { addresses, services, handle, end, thread })
}

/// How `certbound plan` comes to the world of a configuration that is not in force.
fn candidates(own: Config) -> Box<Candidate> {
    Box::new(move |path, now| world::candidate(path.unwrap_or(&own.file), &own, now))
}

fn open_store(config: &Config) -> Result<(Arc<Sled>, Opened), OpenError> {
    let StoreSettings::Sled { path } = &config.store;
    let (store, opened) = Sled::open(path, &config.signing.directory.join("store-id"))?;
    Ok((Arc::new(store), opened))
}

fn services(
    config: &Config,
    authenticator: ClientAuthenticator,
    keys: Arc<Live<SigningKeys>>,
    store: Arc<Sled>,
    clock: Arc<dyn Clock>,
) -> Services {
    let witness = Arc::new(Witness::new(Arc::clone(&store) as Arc<dyn Evidence>));
    let store: Arc<dyn TokenStore> = store;
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
    background: Background,
) -> Result<(ServerHandle, JoinHandle<()>), StartError> {
    let (started, waiting) = sync_channel(1);
    let run = move || {
        System::new().block_on(async move {
            match servers(doors, sockets, &shared, &background.config) {
                Ok(Servers { strangers, operators, _files }) => {
                    let _ = started.send(Ok(strangers.handle()));
                    let (handle, mut end) = (operators.handle(), background.ended.clone());
                    let stopping = async {
                        // Whoever could end the server and is gone has ended it.
                        let _ = end.changed().await;
                        handle.stop(true).await;
                    };
                    let (strangers, operators, (), ()) =
                        tokio::join!(strangers, operators, stopping, tasks::run(background));
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
    /// The sockets, gone with the servers.
    _files: Vec<ControlSocket>,
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
    Ok(Servers { strangers: strangers.run(), operators: operators.run(), _files: files })
}

/// The mode of a socket that is its owner's alone.
const OWNER_ONLY: u32 = 0o600;

/// Seconds for what is in flight when the server is told to end.
const SHUTDOWN: u64 = 8;
