//! Connections under one set of settings: how they are made, and why one failed, in words.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use url::{Host, Url};

use super::address::{AddressBlock, Refused, Resolver, permitted};
use super::{FetchError, OutgoingSettings};

/// How long all addresses of a name together may take to answer a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Connections under one set of settings. What no request has needed yet is not made yet.
#[derive(Default)]
pub(super) struct Connections {
    allow: Arc<[AddressBlock]>,
    /// None: the system's.
    roots: Option<RootCertStore>,
    http: OnceLock<Client>,
    https: OnceLock<Client>,
}

impl Connections {
    /// Fails if a root cannot be used.
    pub(super) fn new(settings: &OutgoingSettings) -> Result<Self, FetchError> {
        let mut roots = RootCertStore::empty();
        for (number, der) in (1..).zip(&settings.roots) {
            roots.add(CertificateDer::from(der.as_slice()).into_owned()).map_err(|error| {
                FetchError(format!("certificate {number} of outgoing.ca cannot vouch for a server ({error})"))
            })?;
        }
        let roots = (!roots.is_empty()).then_some(roots);
        Ok(Self { allow: settings.allow.as_slice().into(), roots, ..Self::default() })
    }

    /// See [`super::Outgoing::permits`].
    pub(super) fn permits(&self, url: &Url) -> Result<(), FetchError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError(format!(
                "a URL with the scheme {} is not fetched: http or https is",
                url.scheme()
            )));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::about(
                url,
                "is named with a user or password in the URL, which are not sent",
            ));
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(FetchError("a URL without a host is not fetched".to_owned())),
        };
        permitted(literal, &self.allow)
            .map_err(|Refused(kind)| FetchError::about(url, format_args!("is {kind}")))
    }

    /// A request, if the URL is permitted: each step of a redirect comes through here.
    pub(super) fn request(&self, method: Method, url: &Url) -> Result<RequestBuilder, FetchError> {
        self.permits(url)?;
        let client = if url.scheme() == "https" {
            made(&self.https, || self.client(self.trusted()?))?
        } else {
            made(&self.http, || self.client(RootCertStore::empty()))?
        };
        Ok(client.request(method, url.clone()))
    }

    fn trusted(&self) -> Result<RootCertStore, FetchError> {
        if let Some(roots) = &self.roots {
            return Ok(roots.clone());
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(FetchError("the system has no CA certificates; name some in outgoing.ca".to_owned()));
        }
        Ok(roots)
    }

    /// The provider is named, so that none has to be installed for the process. No connection is kept for a later
    /// exchange: it would belong to the event loop that made it, and may be dead by then.
    fn client(&self, roots: RootCertStore) -> Result<Client, FetchError> {
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| FetchError(format!("there is no TLS for outgoing connections: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let uncompressed = (header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(Resolver { allow: Arc::clone(&self.allow) }))
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("certbound/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([uncompressed]))
            .build()
            .map_err(|error| FetchError(format!("there is no client for outgoing connections: {error}")))
    }
}

/// What is in the cell; made now if nothing is. A failure leaves it empty, for the next to try.
fn made(
    cell: &OnceLock<Client>,
    make: impl FnOnce() -> Result<Client, FetchError>,
) -> Result<&Client, FetchError> {
    if let Some(client) = cell.get() {
        return Ok(client);
    }
    let client = make()?;
    Ok(cell.get_or_init(|| client))
}

/// Why a request failed, without what the server sent and without the URL.
pub(super) fn failure(url: &Url, error: &reqwest::Error) -> FetchError {
    if let Some(Refused(why)) = find::<Refused>(error) {
        return FetchError::about(url, why);
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return FetchError::about(url, of_tls(tls));
    }
    if let Some(io) = find::<io::Error>(error) {
        return FetchError::about(url, of_io(io));
    }
    if error.is_timeout() {
        return FetchError::about(url, "does not take connections");
    }
    FetchError::about(url, format_args!("gave no whole answer: {}", innermost(error)))
}

fn of_tls(error: &rustls::Error) -> &'static str {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "shows a certificate that nobody trusted vouches for; name the CA that issued it in outgoing.ca"
        }
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "shows a certificate for other names",
        Tls::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "shows a certificate that is not within its validity",
        Tls::InvalidCertificate(_) => {
            "shows a certificate that does not do: it has to be version 3, no CA, and for TLS servers"
        }
        Tls::AlertReceived(_) => "ended the TLS handshake",
        Tls::InvalidMessage(_) => "speaks no TLS on this port",
        Tls::PeerIncompatible(_) => "has no version or cipher of TLS in common with us",
        _ => "failed in the TLS handshake",
    }
}

fn of_io(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "does not listen on this port; is the URL right?".to_owned(),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::UnexpectedEof
        | ErrorKind::BrokenPipe => "cut the connection".to_owned(),
        ErrorKind::TimedOut => "does not take connections".to_owned(),
        kind => format!("cannot be reached: {kind}"),
    }
}

/// The first cause of this type, inside of I/O errors too.
pub(crate) fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The words of the last cause; the outer ones say only that a request failed, and name its URL.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut last: &dyn Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
