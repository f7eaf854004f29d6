//! The one way out: HTTP for CRLs, OCSP, `jwks_uri` and webhooks, with bounds on everything.
//!
//! Only URLs that the operator configured come here, never one that a certificate names. Still the answer is a
//! stranger's: how much of it is read and how long it may take is bounded (RFC 9110 §17.5), it is asked for and taken
//! uncompressed, a redirect (RFC 9110 §15.4) leads to the same host only and never from https to http, and neither a
//! URL nor a name leads to an address inside (loopback, private, link-local, …) that `outgoing.allow` does not name.
//! No proxies, no cookies, HTTP/1.1, a connection for each exchange. Servers are judged by `outgoing.ca` or the
//! system's roots. Which scheme a URL may have where, when to ask again, and what an answer means is the caller's.

mod address;
mod connection;
mod freshness;
#[cfg(test)]
pub(crate) mod server;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use url::Url;

pub use address::{AddressBlock, AddressBlockError};
use connection::Connections;
pub(crate) use connection::{find, innermost};

/// How many redirects are followed.
const REDIRECTS: usize = 3;
/// The longest `ETag` or `Last-Modified` that is kept.
const LONGEST_VALIDATOR: usize = 1024;

/// What is asked of outgoing connections (`outgoing` of the configuration).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OutgoingSettings {
    /// DER of the CAs that may vouch for servers; empty: the system's roots.
    pub roots: Vec<Vec<u8>>,
    /// Private, loopback and link-local addresses that may be reached all the same.
    pub allow: Vec<AddressBlock>,
}

/// The one way out. Settings are replaced at a reload; a request in flight keeps those it began with.
pub struct Outgoing {
    in_force: RwLock<Arc<Connections>>,
}

/// How much a fetch may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FetchBounds {
    /// The largest body, in bytes.
    pub size: usize,
    /// For the whole exchange: names, connections, redirects and the body.
    pub time: Duration,
}

/// What a server said to ask next time (RFC 9110 §13.1).
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

/// The answer to a conditional GET.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fetched {
    /// 304: what is known still holds.
    Unchanged {
        /// How long it may be used without asking again (RFC 9111 §4.2.1), if the server said so.
        fresh: Option<Duration>,
    },
    /// 200.
    Body {
        /// The body, never compressed.
        bytes: Vec<u8>,
        /// For the next request.
        validators: Validators,
        /// How long it may be used without asking again (RFC 9111 §4.2.1), if the server said so.
        fresh: Option<Duration>,
    },
}

/// Why nothing came. Says the URL's host and what to do, never a path, a query or a body.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

impl Outgoing {
    /// With these settings; fails if a root cannot be used. The system's roots are read when they are first needed.
    pub fn new(settings: &OutgoingSettings) -> Result<Self, FetchError> {
        Ok(Self { in_force: RwLock::new(Arc::new(Connections::new(settings)?)) })
    }

    /// Puts other settings in force; on an error the old ones stay.
    pub fn replace(&self, settings: &OutgoingSettings) -> Result<(), FetchError> {
        let replacement = Arc::new(Connections::new(settings)?);
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = replacement;
        Ok(())
    }

    /// Whether the URL may be asked at all: http or https, no user information, and (for an address literal) the
    /// address. `check` and `serve` call it for every configured URL; who takes https only looks at the scheme, and no
    /// redirect changes it back.
    pub fn permits(&self, url: &Url) -> Result<(), FetchError> {
        self.in_force().permits(url)
    }

    /// A conditional GET (RFC 9110 §13). One redirect after another is followed on the same host only, three at most.
    pub async fn get(
        &self,
        url: &Url,
        known: &Validators,
        bounds: FetchBounds,
    ) -> Result<Fetched, FetchError> {
        within(bounds, url, fetch(&self.in_force(), url, known, bounds.size)).await
    }

    /// A POST without redirects; 2xx gives the body.
    pub async fn post(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        bounds: FetchBounds,
    ) -> Result<Vec<u8>, FetchError> {
        within(bounds, url, submit(&self.in_force(), url, headers, body, bounds.size)).await
    }

    fn in_force(&self) -> Arc<Connections> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Without roots of its own and without exceptions.
impl Default for Outgoing {
    fn default() -> Self {
        Self { in_force: RwLock::new(Arc::default()) }
    }
}

/// An outgoing without roots of its own and without exceptions, shared.
pub fn shared() -> Arc<Outgoing> {
    Arc::default()
}

impl FetchError {
    /// About the host of the URL, which `what` says something of.
    fn about(url: &Url, what: impl std::fmt::Display) -> Self {
        let host = url.host_str().unwrap_or("the URL");
        Self(match url.port() {
            Some(port) => format!("{host}:{port} {what}"),
            None => format!("{host} {what}"),
        })
    }
}

async fn within<T>(
    bounds: FetchBounds,
    url: &Url,
    exchange: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    tokio::time::timeout(bounds.time, exchange).await.unwrap_or_else(|_| {
        let limit = bounds.time.as_secs_f32();
        Err(FetchError::about(url, format_args!("did not finish its answer within {limit} s")))
    })
}

async fn fetch(
    connections: &Connections,
    url: &Url,
    known: &Validators,
    size: usize,
) -> Result<Fetched, FetchError> {
    let mut url = url.clone();
    for _ in 0..=REDIRECTS {
        let request = connections.request(Method::GET, &url)?.headers(known.conditions());
        let response = send(&url, request).await?;
        match response.status() {
            StatusCode::OK => {
                return Ok(Fetched::Body {
                    validators: Validators::of(response.headers()),
                    fresh: freshness::lifetime(response.headers()),
                    bytes: body(&url, response, size).await?,
                });
            }
            StatusCode::NOT_MODIFIED if *known != Validators::default() => {
                return Ok(Fetched::Unchanged { fresh: freshness::lifetime(response.headers()) });
            }
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => url = target(&url, &response)?,
            status => return Err(FetchError::about(&url, format_args!("answered {status}"))),
        }
    }
    Err(FetchError::about(
        &url,
        format_args!("redirects more than {REDIRECTS} times; configure the last URL"),
    ))
}

async fn submit(
    connections: &Connections,
    url: &Url,
    headers: &[(&str, &str)],
    content: Vec<u8>,
    size: usize,
) -> Result<Vec<u8>, FetchError> {
    let mut request = connections.request(Method::POST, url)?.body(content);
    for (name, value) in headers {
        let unfit = || FetchError::about(url, format_args!("cannot be sent the header {name}"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
        request = request.header(name, HeaderValue::from_str(value).map_err(|_| unfit())?);
    }
    let response = send(url, request).await?;
    match response.status() {
        status if status.is_success() => body(url, response, size).await,
        status if status.is_redirection() => Err(FetchError::about(
            url,
            format_args!("answered {status}, and no redirect of a POST is followed; configure the last URL"),
        )),
        status => Err(FetchError::about(url, format_args!("answered {status}"))),
    }
}

async fn send(url: &Url, request: RequestBuilder) -> Result<Response, FetchError> {
    request.send().await.map_err(|error| connection::failure(url, &error))
}

/// Where a redirect leads: to the same host, and not from https to http. The address is looked at again by whoever
/// makes the request.
fn target(url: &Url, response: &Response) -> Result<Url, FetchError> {
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let Some(next) = location.and_then(|location| url.join(location).ok()) else {
        return Err(FetchError::about(url, "redirects to nowhere"));
    };
    if next.host() != url.host() {
        let host = next.host_str().unwrap_or("no host");
        return Err(FetchError::about(
            url,
            format_args!("redirects to another host, {host}; configure that URL if it is meant"),
        ));
    }
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(FetchError::about(url, "redirects from https to http"));
    }
    Ok(next)
}

/// The body, uncompressed and within its bound, which is looked at before and while reading.
async fn body(url: &Url, mut response: Response, size: usize) -> Result<Vec<u8>, FetchError> {
    let codings = response.headers().get_all(header::CONTENT_ENCODING);
    if codings.iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(FetchError::about(url, "sent a compressed body, though it was asked not to"));
    }
    let too_large =
        || FetchError::about(url, format_args!("sent more than the {size} bytes that are taken here"));
    let declared = usize::try_from(response.content_length().unwrap_or(0)).map_err(|_| too_large())?;
    if declared > size {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(declared);
    while let Some(chunk) = response.chunk().await.map_err(|error| connection::failure(url, &error))? {
        if chunk.len() > size - bytes.len() {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            let text = headers.get(name).and_then(|value| value.to_str().ok());
            text.filter(|text| text.len() <= LONGEST_VALIDATOR).map(str::to_owned)
        };
        Self { etag: text(header::ETAG), last_modified: text(header::LAST_MODIFIED) }
    }

    /// RFC 9110 §13.1.2 and §13.1.3. What cannot be a header, because a file held it that was tampered with, is left
    /// out: the answer is then the whole body.
    fn conditions(&self) -> HeaderMap {
        let known = [(header::IF_NONE_MATCH, &self.etag), (header::IF_MODIFIED_SINCE, &self.last_modified)];
        let pairs = known
            .into_iter()
            .filter_map(|(name, value)| Some((name, HeaderValue::from_str(value.as_deref()?).ok()?)));
        pairs.collect()
    }
}

#[cfg(test)]
mod tests;
