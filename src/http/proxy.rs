//! The proxy in front of a `forwarded` listener: the proof that a request comes from it, and the certificate that it
//! hands on (RFC 9440 §4).
//!
//! Everything is asked for each request and nothing is remembered, because one connection of a proxy carries the requests
//! of many clients. The proof comes first: of a request without it no header is read (contract §6, ruling 17). What the
//! header says is `forwarded`'s business; whether the certificate in it is a client's, is decided by `authn` as of any
//! other. `X-Forwarded-For` and its kin are read by nobody.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, PROXY_AUTHORIZATION};
use actix_web::web::Data;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Services;
use super::failure::Failure;
use super::forwarded::HeaderReader;
use crate::authn::{Presented, PresentedCertificate, Refusal, Via};
use crate::pki::Chain;
use crate::pki::fetch::AddressBlock;
use crate::registry::Credential;

/// What one `forwarded` listener asks of its proxy, and how it reads what the proxy hands on.
pub struct Proxy {
    /// Who may speak.
    pub proof: ProxyProof,
    /// What it says.
    pub reader: HeaderReader,
}

/// Who may hand on certificates: all of what is given must hold, and nothing at all lets nobody in.
#[derive(Default)]
pub struct ProxyProof {
    /// Whether the listener is a unix socket; the system has let nobody in then whom the mode of its file keeps out.
    pub unix_socket: bool,
    /// The addresses that it may come from; none: any.
    pub addresses: Vec<AddressBlock>,
    /// What its own certificate must be.
    pub certificate: Option<Credential>,
    /// What it must send in `Proxy-Authorization`.
    pub password: Option<ProxyPassword>,
}

/// The credentials of HTTP's Basic scheme (RFC 7617): a hash of them, which is all that is needed to compare.
pub struct ProxyPassword([u8; 32]);

impl Proxy {
    /// What the client showed to the proxy. `own` is what the proxy showed to us, and never the client's.
    pub(super) async fn presented(
        &self,
        request: &HttpRequest,
        own: &Presented,
    ) -> Result<Presented, Failure> {
        let services = request.app_data::<Data<Services>>().expect("every listener has the services");
        let proven = self.proof.holds(request, own, services).await;
        proven.map_err(|refusal| Failure::invalid_client(refusal, None))?;
        let found = self.reader.read(request.headers()).map_err(Failure::certificate_header)?;
        let Some(certificates) = found else { return Ok(Presented::Nothing) };
        let chain = Chain::parse(&certificates, services.policy.load().chain);
        let chain = chain.map_err(Failure::certificate_header)?;
        Ok(Presented::Certificate(Arc::new(PresentedCertificate { chain, via: Via::Forwarded })))
    }
}

impl ProxyProof {
    /// Whether there is anything to hold.
    pub fn is_empty(&self) -> bool {
        !self.unix_socket
            && self.addresses.is_empty()
            && self.certificate.is_none()
            && self.password.is_none()
    }

    async fn holds(
        &self,
        request: &HttpRequest,
        own: &Presented,
        services: &Services,
    ) -> Result<(), Refusal> {
        if self.is_empty() {
            return Err(Refusal::proxy("proxy", "a proof", "a listener that knows none"));
        }
        self.comes_from(request.peer_addr().map(|address| address.ip()))?;
        if let Some(password) = &self.password {
            password.is_in(request.headers())?;
        }
        let Some(credential) = &self.certificate else { return Ok(()) };
        let recognised =
            services.authenticator.load().recognise_asking(credential, own, services.clock.now()).await;
        recognised.map_err(|refusal| {
            let finding = refusal.finding;
            let expected = format!("{}: {}", finding.check, finding.expected);
            Refusal::proxy("proxy certificate", expected, finding.seen)
        })
    }

    fn comes_from(&self, peer: Option<IpAddr>) -> Result<(), Refusal> {
        let is_listed = |peer: IpAddr| self.addresses.iter().any(|block| block.contains(peer));
        if self.addresses.is_empty() || peer.is_some_and(is_listed) {
            return Ok(());
        }
        let blocks: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let seen = peer.map_or_else(|| "none".to_owned(), |peer| peer.to_canonical().to_string());
        Err(Refusal::proxy("proxy address", blocks.join(" "), seen))
    }
}

impl ProxyPassword {
    /// Of this user; there is no colon in its name (RFC 7617 §2).
    pub fn new(username: &str, password: &SecretString) -> Self {
        let mut hash = Sha256::new();
        hash.update(username);
        hash.update(":");
        hash.update(password.expose_secret());
        Self(hash.finalize().into())
    }

    /// Whether it stands in the one `Proxy-Authorization` of the request. What stands there instead is never repeated.
    fn is_in(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let refused =
            |seen: &str| Err(Refusal::proxy("proxy password", "one Proxy-Authorization: Basic", seen));
        let mut lines = headers.get_all(PROXY_AUTHORIZATION);
        let (only, more) = (lines.next(), lines.next());
        let Some(only) = only else { return refused("none") };
        if more.is_some() {
            return refused("several");
        }
        let Some(credentials) = only.to_str().ok().and_then(basic) else {
            return refused("something else");
        };
        // Of equal length, and compared to the end: how far a guess is right takes no time.
        let shown: [u8; 32] = Sha256::digest(&credentials).into();
        if bool::from(shown.ct_eq(&self.0)) { Ok(()) } else { refused("other credentials") }
    }
}

/// RFC 7617 §2: the scheme in any case, and `user:password` in base64.
fn basic(value: &str) -> Option<Vec<u8>> {
    let (scheme, credentials) = value.trim().split_once(' ')?;
    let credentials = credentials.trim_start_matches(' ');
    if scheme.eq_ignore_ascii_case("basic") { STANDARD.decode(credentials).ok() } else { None }
}
