//! From an accepted socket to HTTP: TLS where there is TLS, the peer's certificate, and bounds on time.
//!
//! One pipeline per listener: `TCP_NODELAY` (without it every new connection waits 40 ms for a delayed ACK) → TLS →
//! [`Timed`] → HTTP/1.1. What the handshake showed is parsed once per connection and judged once per request.

use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive};
use actix_server::{GracefulShutdownSignal, ServerBuilder};
use actix_service::{
    IntoServiceFactory as _, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_tls::accept::{TlsError, max_concurrent_tls_connect};
use actix_web::App;
use actix_web::dev::{AppConfig, Extensions};
use actix_web::middleware::from_fn;
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::web::{Data, ServiceConfig};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Bounds, Peer, Timed};
use super::ending::{Ending, Farewell};
use super::observe::observe;
use super::tls::{TlsSettings, certificates_of};
use super::{Kind, Services};
use crate::authn::{Presented, PresentedCertificate, Via};
use crate::pki::Chain;

/// Lets as many handshakes run at once as there may be connections; half a handshake must not keep others out.
pub fn allow_handshakes(most: usize) {
    max_concurrent_tls_connect(most);
}

/// The routes of a listener, one set per worker.
pub trait Routes: Fn(&mut ServiceConfig) + Clone + Send + 'static {}

impl<F: Fn(&mut ServiceConfig) + Clone + Send + 'static> Routes for F {}

/// Adds a TLS listener to the server.
pub fn listen_tls(
    server: ServerBuilder,
    socket: TcpListener,
    services: &Data<Services>,
    bounds: Bounds,
    tls: TlsSettings,
    routes: impl Routes,
) -> io::Result<ServerBuilder> {
    let (services, shutdown) = (services.clone(), server.graceful_shutdown_signal());
    server.listen(bounds.kind.as_str(), socket, move || {
        let acceptor = tls.acceptor(bounds.head_timeout);
        let seen = services.clone();
        let reception = Reception::new(&services, bounds, &shutdown);
        let porch = reception.clone();
        let http = http(services.clone(), bounds, routes.clone(), move |io: &TlsStream<TcpStream>| {
            presented(&certificates_of(io), seen.policy.load().chain)
        });
        fn_service(move |io| porch.without_delay(io))
            .map_err(TlsError::Service)
            .and_then(acceptor.map_err(TlsError::into_service_error))
            .map(move |io: TlsStream<TcpStream>| {
                let address = io.get_ref().0.peer_addr().ok();
                (Timed::new(io, bounds.patience(), reception.receive()), address)
            })
            .and_then(http.map_err(TlsError::Service))
    })
}

/// Adds a listener without TLS; the configuration keeps it on loopback.
pub fn listen_tcp(
    server: ServerBuilder,
    socket: TcpListener,
    services: &Data<Services>,
    bounds: Bounds,
    routes: impl Routes,
) -> io::Result<ServerBuilder> {
    let (services, shutdown) = (services.clone(), server.graceful_shutdown_signal());
    server.listen(bounds.kind.as_str(), socket, move || {
        let reception = Reception::new(&services, bounds, &shutdown);
        let porch = reception.clone();
        fn_service(move |io| porch.without_delay(io))
            .map(move |io: TcpStream| {
                let address = io.peer_addr().ok();
                (Timed::new(io, bounds.patience(), reception.receive()), address)
            })
            .and_then(http(services.clone(), bounds, routes.clone(), |_: &TcpStream| Presented::Nothing))
    })
}

/// Adds a unix socket; who may speak there is the business of the file's mode.
pub fn listen_unix(
    server: ServerBuilder,
    socket: UnixListener,
    services: &Data<Services>,
    bounds: Bounds,
    routes: impl Routes,
) -> io::Result<ServerBuilder> {
    let (services, shutdown) = (services.clone(), server.graceful_shutdown_signal());
    server.listen_uds(bounds.kind.as_str(), socket, move || {
        let reception = Reception::new(&services, bounds, &shutdown);
        fn_service(|io: UnixStream| async move { Ok::<_, DispatchError>(io) })
            .map(move |io: UnixStream| (Timed::new(io, bounds.patience(), reception.receive()), None))
            .and_then(http(services.clone(), bounds, routes.clone(), |_: &UnixStream| Presented::Nothing))
    })
}

/// HTTP/1.1 over a stream that may not dawdle.
fn http<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    services: Data<Services>,
    bounds: Bounds,
    routes: impl Routes,
    presented: impl Fn(&S) -> Presented + 'static,
) -> impl ServiceFactory<
    (Timed<S>, Option<SocketAddr>),
    Response = (),
    Error = DispatchError,
    InitError = (),
    Config = (),
> {
    let app = App::new()
        .app_data(services)
        .app_data(bounds)
        .wrap(from_fn(observe))
        .configure(routes)
        .into_factory()
        .map_err(|error| error.error_response());
    HttpService::build()
        .keep_alive(KeepAlive::Timeout(bounds.idle))
        .client_request_timeout(bounds.head_timeout)
        .client_disconnect_timeout(DISCONNECT)
        .on_connect_ext(move |io: &Timed<S>, data: &mut Extensions| {
            data.insert(Peer { presented: presented(io.get_ref()), in_flight: io.in_flight().clone() });
        })
        .h1(map_config(app, |()| AppConfig::default()))
}

/// How long a peer may take to hang up once we have.
const DISCONNECT: Duration = Duration::from_secs(1);

/// Where connections are counted, so that an end can wait for those who are there.
#[derive(Clone)]
struct Reception {
    /// On the listeners of operators nobody is waited for: those who look at `/readyz` come again and again.
    guests: Option<Arc<Ending>>,
    shutdown: GracefulShutdownSignal,
}

impl Reception {
    fn new(services: &Services, bounds: Bounds, shutdown: &GracefulShutdownSignal) -> Self {
        let guests = (bounds.kind != Kind::Admin).then(|| Arc::clone(&services.ending));
        Self { guests, shutdown: shutdown.clone() }
    }

    fn without_delay(&self, io: TcpStream) -> Ready<Result<TcpStream, DispatchError>> {
        if let Some(guests) = &self.guests {
            guests.knock();
        }
        // A socket that takes no option will not carry a handshake either; that is where it shows.
        let _ = io.set_nodelay(true);
        ready(Ok(io))
    }

    fn receive(&self) -> Farewell {
        let shutdown = self.shutdown.clone();
        Farewell::new(async move { shutdown.notified().await }, self.guests.as_ref().map(Ending::enter))
    }
}

/// Parses what the handshake showed.
fn presented(certificates: &[Vec<u8>], most: usize) -> Presented {
    if certificates.is_empty() {
        return Presented::Nothing;
    }
    match Chain::parse(certificates, most) {
        Ok(chain) => Presented::Certificate(Arc::new(PresentedCertificate { chain, via: Via::Handshake })),
        Err(error) => Presented::Malformed(error),
    }
}
