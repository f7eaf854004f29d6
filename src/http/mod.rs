//! The edge: the only place that speaks HTTP.
//!
//! Below it nobody knows of statuses, headers or OAuth codes; at it every decision about what a stranger learns is in
//! `failure.rs`. An endpoint is a short list of steps that begins with an authenticated client (`extract.rs`).

pub mod connection;
pub mod discovery;
pub mod ending;
pub mod extract;
pub mod failure;
pub mod forwarded;
pub mod introspect;
pub mod listener;
pub mod observe;
pub mod probes;
pub mod proxy;
mod refused;
pub mod revoke;
pub mod tls;
pub mod token;
pub mod verify;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, Resource, Route, guard};
use tokio::time::timeout;

use crate::authn::ClientAuthenticator;
use crate::clock::{Clock, Timestamp};
use crate::keys::SigningKeys;
use crate::oauth::{Audience, BaseUrl, Issuer};
use crate::reload::Live;
use crate::store::witness::Witness;
use crate::store::{StoreError, TokenStore};
use crate::telemetry::Metrics;
use crate::token::{TokenError, TokenIssuer, TokenVerifier, VerifiedToken};
use discovery::Metadata;
use ending::Ending;
use extract::Endpoint;
use failure::Failure;
use probes::Health;
use proxy::Proxy;

/// Everything that requests need. Only the edge sees it whole; what is below takes what it needs.
pub struct Services {
    /// Who we are.
    pub issuer: Arc<Issuer>,
    /// Where clients with a certificate go.
    pub mtls_base_url: BaseUrl,
    /// Clients and trust, one world at a time.
    pub authenticator: Live<ClientAuthenticator>,
    /// Signs.
    pub tokens: TokenIssuer,
    /// Recognises.
    pub verifier: TokenVerifier,
    /// Remembers what has ended.
    pub store: Arc<dyn TokenStore>,
    /// Remembers what was seen.
    pub witness: Arc<Witness>,
    /// The keys of the moment.
    pub keys: Arc<Live<SigningKeys>>,
    /// The RFC 8414 document.
    pub metadata: Metadata,
    /// Headers with certificates that a `forwarded` listener has under a name of its own; elsewhere they are dropped.
    pub certificate_headers: Vec<String>,
    /// What a reload may change.
    pub policy: Live<Policy>,
    /// Where `now` comes from.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is wrong at the moment.
    pub health: Health,
    /// Whether it is over.
    pub ending: Arc<Ending>,
    /// The store has yet to hear that a client came back: it may call a token good that ended with its client.
    pub roll_is_open: AtomicBool,
}

impl Services {
    /// [`TokenVerifier::verify`], with an answer in time: a store that hangs cannot say that a token was not revoked.
    pub(crate) async fn verify(
        &self,
        jwt: &str,
        world: &ClientAuthenticator,
        now: Timestamp,
    ) -> Result<VerifiedToken, TokenError> {
        if self.roll_is_open.load(Ordering::Acquire) {
            let what = "it has not heard yet which clients are back";
            return Err(StoreError::Unavailable(what.to_owned()).into());
        }
        let verified = self.verifier.verify(jwt, world, &self.witness, now);
        let late = || StoreError::Unavailable("it did not answer in time".to_owned());
        timeout(STORE_PATIENCE, verified).await.unwrap_or_else(|_| Err(late().into()))
    }
}

/// Settings that take effect without a restart.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The life of a token where its client has none of its own.
    pub lifetime: Duration,
    /// The resource that tokens are for where nobody says another.
    pub resource: Option<Audience>,
    /// The largest body, in bytes.
    pub body: usize,
    /// The longest that a body may take.
    pub body_timeout: Duration,
    /// The most certificates in a chain.
    pub chain: usize,
}

/// How long a store may take before the caller hears that it does not answer.
pub const STORE_PATIENCE: Duration = Duration::from_secs(4);

/// What a listener is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Asks for a certificate.
    Mtls,
    /// Never asks.
    Public,
    /// Behind a proxy, which hands certificates on.
    Forwarded,
    /// Probes and metrics.
    Admin,
}

impl Kind {
    /// The word of configuration and log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mtls => "mtls",
            Self::Public => "public",
            Self::Forwarded => "forwarded",
            Self::Admin => "admin",
        }
    }
}

/// The routes of an OAuth listener, below the issuer's path and below that of `mtls_base_url`; `proxy` is there on a
/// `forwarded` listener, and nowhere else is a certificate read from a header, or a question of a proxy answered.
pub fn oauth_routes(
    services: &Services,
    proxy: Option<Data<Proxy>>,
) -> impl Fn(&mut ServiceConfig) + Clone + Send + use<> {
    let (issuer, mtls) = (services.issuer.path().to_owned(), services.mtls_base_url.path().to_owned());
    move |config| {
        let mut below = vec![&issuer];
        if mtls != issuer {
            below.push(&mtls);
        }
        if let Some(proxy) = &proxy {
            config.app_data(proxy.clone());
            for path in &below {
                verify_routes(config, path);
            }
        }
        for path in below {
            let post = |name: &str, endpoint: Endpoint, route: Route| {
                only("POST", &format!("{path}/{name}"), route).app_data(endpoint)
            };
            config.service(post("token", Endpoint::Token, web::post().to(token::token)));
            config.service(post("introspect", Endpoint::Introspect, web::post().to(introspect::introspect)));
            config.service(post("revoke", Endpoint::Revoke, web::post().to(revoke::revoke)));
            config.service(document(&format!("{path}/jwks"), || web::to(discovery::jwks)));
        }
        // RFC 8414 §3.1 inserts the well-known name before the path; OpenID Connect Discovery §4 appends it.
        let names = ["oauth-authorization-server", "openid-configuration"];
        for name in names {
            config
                .service(document(&format!("/.well-known/{name}{issuer}"), || web::to(discovery::metadata)));
        }
        if !issuer.is_empty() {
            let appended = format!("{issuer}/.well-known/openid-configuration");
            config.service(document(&appended, || web::to(discovery::metadata)));
        }
        config.default_service(web::to(nothing_here));
    }
}

/// What a proxy in front of an API asks.
fn verify_routes(config: &mut ServiceConfig, path: &str) {
    config
        .service(web::resource(format!("{path}/verify")).to(verify::by_query))
        .service(web::resource(format!("{path}/verify/{{tail:.*}}")).to(verify::by_headers));
}

/// The routes of the `admin` listener without TLS: probes and metrics only.
pub fn admin_routes(config: &mut ServiceConfig) {
    config
        .service(document("/livez", || web::to(probes::livez)))
        .service(document("/readyz", || web::to(probes::readyz)))
        .service(document("/metrics", || web::to(probes::metrics)))
        .default_service(web::to(nothing_here));
}

/// A document to be read: GET and HEAD.
pub(crate) fn document(path: &str, read: impl Fn() -> Route) -> Resource {
    only("GET, HEAD", path, read().guard(guard::Any(guard::Get()).or(guard::Head())))
}

/// A path for the methods that `allow` names and `route` takes; every other one is 405.
pub(crate) fn only(allow: &'static str, path: &str, route: Route) -> Resource {
    web::resource(path).route(route).default_service(web::to(move || std::future::ready(wrong_method(allow))))
}

fn wrong_method(allow: &'static str) -> Result<HttpResponse, Failure> {
    Err(Failure::wrong_method(allow))
}

async fn nothing_here() -> Result<HttpResponse, Failure> {
    Err(Failure::unread(StatusCode::NOT_FOUND, "There is nothing at this path"))
}
