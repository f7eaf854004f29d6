//! The one HTTP client of the commands: over TLS with any client certificate, and over the control socket.
//!
//! A certificate is presented as it is (RFC 8705 §2): rustls is given the key behind a resolver of our own,
//! because every convenience on the way parses the leaf and refuses X.509 version 1, which servers are asked
//! by `openssl x509 -req` to accept. Whether key and certificate belong together is asked of OpenSSL
//! beforehand. No proxy, no redirect; the server is judged by the given roots alone.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use reqwest::tls::{TlsInfo, Version};
use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore, SignatureScheme};
use serde_json::Value;
use tokio::runtime::Runtime;
use url::Url;
use zeroize::Zeroizing;

use crate::pki::fetch::{find, innermost};
use crate::pki::files::key_matches;

use super::files;
use super::output::Fault;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the control socket may stay silent: a check of a large store takes its time.
const LONG_PATIENCE: Duration = Duration::from_secs(120);
/// The longest answer that is read.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// A certificate with its key: who we are.
pub(super) struct Identity {
    /// DER, leaf first.
    pub(super) chain: Vec<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
}

impl Identity {
    /// From files; the key comes from `cert` where there is no `key`. The certificate of the key is the leaf,
    /// wherever it stands in its file.
    pub(super) fn read(cert: &Path, key: Option<&Path>, password_file: Option<&Path>) -> Result<Self, Fault> {
        let shown = files::bundle(cert, password_file)?;
        let key = match key {
            Some(path) => files::bundle(path, password_file)?
                .key
                .ok_or_else(|| Fault::Usage(format!("{}: there is no private key in it", path.display())))?,
            None => shown.key.ok_or_else(|| {
                Fault::Usage(format!("{}: there is no private key in it; name it with --key", cert.display()))
            })?,
        };
        if shown.certificates.is_empty() {
            return Err(Fault::Usage(format!("{}: there is no certificate in it", cert.display())));
        }
        Self::new(shown.certificates, key).ok_or_else(|| {
            Fault::Usage(format!("{}: the private key is not that of a certificate in it", cert.display()))
        })
    }

    /// `None` if `key` (PKCS#8) belongs to none of `certificates` (DER).
    pub(super) fn new(mut certificates: Vec<Vec<u8>>, key: Zeroizing<Vec<u8>>) -> Option<Self> {
        let leaf = certificates.iter().position(|der| key_matches(der, &key))?;
        certificates.swap(0, leaf);
        Some(Self { chain: certificates, key })
    }

    /// The same client, who sends the leaf and nothing along with it.
    pub(super) fn without_chain(&self) -> Self {
        Self { chain: vec![self.leaf().to_vec()], key: self.key.clone() }
    }

    /// The leaf as DER.
    pub(super) fn leaf(&self) -> &[u8] {
        self.chain.first().map_or(&[], Vec::as_slice)
    }

    fn certified(&self, provider: &CryptoProvider) -> Result<CertifiedKey, Fault> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.to_vec()));
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| Fault::Usage(format!("the private key is of no use in TLS: {error}")))?;
        Ok(CertifiedKey::new(self.chain.iter().cloned().map(CertificateDer::from).collect(), key))
    }
}

/// Who vouches for the server.
pub(super) enum Roots<'a> {
    /// These certificates (DER), whose file is named for the error message.
    Given { certificates: &'a [Vec<u8>], name: String },
    /// Those of the machine.
    System,
}

impl Roots<'_> {
    fn store(&self) -> Result<RootCertStore, Fault> {
        let mut store = RootCertStore::empty();
        match self {
            Self::Given { certificates, name } => {
                for (number, der) in (1..).zip(*certificates) {
                    store.add(CertificateDer::from(der.as_slice()).into_owned()).map_err(|error| {
                        Fault::Usage(format!(
                            "{name}: certificate {number} cannot vouch for a server here ({error}); a CA \
                             made by `openssl req -new -x509` or `certbound cert new-ca` can"
                        ))
                    })?;
                }
                if store.is_empty() {
                    return Err(Fault::Usage(format!("{name}: there is no certificate in it")));
                }
            }
            Self::System => {
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if store.is_empty() {
                    return Err(Fault::Usage(
                        "the system has no CA certificates; name some with --ca".into(),
                    ));
                }
            }
        }
        Ok(store)
    }
}

/// Whether the server asked for a certificate in the handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Request {
    /// No: a public listener, or a proxy that ends TLS.
    NotAsked,
    /// Asked, and ours was sent.
    Sent,
    /// Asked, but for signatures that our kind of key cannot make.
    NoCommonSignature,
}

/// Presents the same certificate to whoever asks, and remembers being asked.
#[derive(Debug)]
struct Presented {
    certified: Option<Arc<CertifiedKey>>,
    request: AtomicU8,
}

impl Presented {
    fn request(&self) -> Request {
        match self.request.load(Ordering::SeqCst) {
            0 => Request::NotAsked,
            1 => Request::Sent,
            _ => Request::NoCommonSignature,
        }
    }
}

impl ResolvesClientCert for Presented {
    /// The server's hints about CAs are not heeded: a self-signed certificate is on nobody's list (RFC 8705
    /// §2.2).
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let certified = self.certified.as_ref()?;
        let fits = certified.key.choose_scheme(schemes).is_some();
        self.request.store(if fits { 1 } else { 2 }, Ordering::SeqCst);
        fits.then(|| Arc::clone(certified))
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}

/// A client over (mutual) TLS.
pub(super) struct TlsClient {
    http: reqwest::Client,
    presented: Arc<Presented>,
    runtime: Runtime,
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
    /// `TLSv1.3`
    pub(super) tls_version: Option<&'static str>,
}

/// Why there is no answer, and what to do about it.
#[derive(Debug)]
pub(super) struct NoReply {
    pub(super) what: String,
    pub(super) hint: String,
}

impl TlsClient {
    /// Presents `identity` where asked, and believes `roots`.
    pub(super) fn new(identity: Option<&Identity>, roots: &Roots<'_>) -> Result<Self, Fault> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certified = identity.map(|identity| identity.certified(&provider)).transpose()?;
        let presented =
            Arc::new(Presented { certified: certified.map(Arc::new), request: AtomicU8::default() });
        let resolver: Arc<dyn ResolvesClientCert> = Arc::<Presented>::clone(&presented);
        let config = config(provider, roots.store()?)?.with_client_cert_resolver(resolver);
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .tls_info(true)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .map_err(|error| Fault::Usage(format!("no client for TLS: {error}")))?;
        Ok(Self { http, presented, runtime: runtime()? })
    }

    /// Sends a form, as RFC 6749 appendix B has it.
    pub(super) fn post_form(&self, url: &Url, fields: &[(&str, &str)]) -> Result<Reply, NoReply> {
        self.post_form_with(url, fields, &[])
    }

    /// The same with more header lines, one for each name and value.
    pub(super) fn post_form_with(
        &self,
        url: &Url,
        fields: &[(&str, &str)],
        headers: &[(String, String)],
    ) -> Result<Reply, NoReply> {
        let post = self.http.post(url.clone()).form(fields);
        self.send(headers.iter().fold(post, |post, (name, value)| post.header(name, value)))
    }

    /// Whether any handshake until now asked for a certificate.
    pub(super) fn request(&self) -> Request {
        self.presented.request()
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<Reply, NoReply> {
        self.runtime.block_on(async {
            let mut response = request.send().await.map_err(|error| no_reply(&error))?;
            let tls_version =
                response.extensions().get::<TlsInfo>().and_then(TlsInfo::version).and_then(version_name);
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| no_reply(&error))? {
                body.extend_from_slice(&chunk);
                if body.len() > LONGEST_ANSWER {
                    let hint = "is this a token endpoint?".to_owned();
                    return Err(NoReply { what: "the answer is longer than 1 MiB".to_owned(), hint });
                }
            }
            let body = String::from_utf8_lossy(&body).into_owned();
            Ok(Reply { status: response.status().as_u16(), body, tls_version })
        })
    }
}

fn version_name(version: Version) -> Option<&'static str> {
    [(Version::TLS_1_3, "TLSv1.3"), (Version::TLS_1_2, "TLSv1.2")]
        .into_iter()
        .find_map(|(known, name)| (known == version).then_some(name))
}

/// The socket of a running server.
pub(super) struct ControlSocket {
    http: reqwest::Client,
    runtime: Runtime,
}

impl ControlSocket {
    /// `None` if no server is there: no file, or nobody listens. Any other error is wrong usage, so that no
    /// command works behind the back of a server that it may not talk to.
    pub(super) fn reach(path: &Path) -> Result<Option<Self>, Fault> {
        match UnixStream::connect(path) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(Fault::Usage(format!("{}: {error}", path.display()))),
        }
        // The TLS side is never used; giving it keeps the builder from looking for the system's roots.
        let unused = config(Arc::new(aws_lc_rs::default_provider()), RootCertStore::empty())?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(unused.with_no_client_auth())
            .unix_socket(path)
            .redirect(reqwest::redirect::Policy::none())
            .read_timeout(LONG_PATIENCE)
            .build()
            .map_err(|error| Fault::Usage(format!("no client for {}: {error}", path.display())))?;
        Ok(Some(Self { http, runtime: runtime()? }))
    }

    /// The JSON at a path below `/api/v1`. What the server refuses is a fault with its words; so below.
    pub(super) fn get(&self, path: &[&str]) -> Result<Value, Fault> {
        self.ask(self.http.get(api_url(path)?))
    }

    /// The same with a query.
    pub(super) fn get_with(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Fault> {
        let mut url = api_url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        self.ask(self.http.get(url))
    }

    /// The same; `None` if there is nothing of this name.
    pub(super) fn find(&self, path: &[&str]) -> Result<Option<Value>, Fault> {
        self.runtime.block_on(async {
            let response = self.http.get(api_url(path)?).send().await.map_err(broken)?;
            if response.status() == reqwest::StatusCode::NOT_FOUND {
                return Ok(None);
            }
            json_of(accepted(response).await?).await.map(Some)
        })
    }

    /// Orders something; gives the JSON of the answer.
    pub(super) fn post(&self, path: &[&str], body: &Value) -> Result<Value, Fault> {
        self.ask(self.http.post(api_url(path)?).json(body))
    }

    /// Removes what the path names; gives the JSON of the answer, null if it has none.
    pub(super) fn delete(&self, path: &[&str]) -> Result<Value, Fault> {
        self.ask(self.http.delete(api_url(path)?))
    }

    fn ask(&self, request: reqwest::RequestBuilder) -> Result<Value, Fault> {
        self.runtime.block_on(async {
            let response = request.send().await.map_err(broken)?;
            json_of(accepted(response).await?).await
        })
    }

    /// A request whose answer may be of any length; `take` gets it piece by piece.
    pub(super) fn stream(
        &self,
        path: &[&str],
        mut take: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let request = self.http.get(api_url(path)?);
        self.runtime.block_on(async {
            let mut response = accepted(request.send().await.map_err(broken)?).await?;
            while let Some(chunk) = response.chunk().await.map_err(broken)? {
                take(&chunk)?;
            }
            Ok(())
        })
    }
}

fn api_url(path: &[&str]) -> Result<Url, Fault> {
    let mut url = Url::parse("http://localhost/api/v1")
        .map_err(|error| Fault::Usage(format!("control socket: {error}")))?;
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.extend(path);
    }
    Ok(url)
}

/// The JSON of a yes; a yes may have none.
async fn json_of(response: reqwest::Response) -> Result<Value, Fault> {
    let body = response.text().await.map_err(broken)?;
    if body.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&body).map_err(|error| Fault::Usage(format!("the server's answer: {error}")))
}

/// The response if it is a yes, else its `error` and `error_description`.
async fn accepted(response: reqwest::Response) -> Result<reqwest::Response, Fault> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body: Value =
        response.text().await.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let what = text("error_description").or_else(|| text("error"));
    let what = what.map_or_else(|| format!("the server answered {status}"), str::to_owned);
    Err(if text("error") == Some("store_damaged") { Fault::Damaged(what) } else { Fault::Refused(what) })
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn broken(error: reqwest::Error) -> Fault {
    Fault::Usage(format!("the control socket of the server: {}", innermost(&error)))
}

fn config(
    provider: Arc<CryptoProvider>,
    roots: RootCertStore,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, Fault> {
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| Fault::Usage(format!("TLS: {error}")))?
        .with_root_certificates(roots))
}

/// An event loop for one command.
pub(super) fn runtime() -> Result<Runtime, Fault> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::Usage(format!("the system gives no event loop: {error}")))
}

fn no_reply(error: &reqwest::Error) -> NoReply {
    let what = innermost(error);
    let hint = if let Some(tls) = find::<rustls::Error>(error) {
        tls_hint(tls).to_owned()
    } else if error.is_timeout() {
        "there was no answer within 10 seconds".to_owned()
    } else if let Some(io) = find::<io::Error>(error) {
        io_hint(io.kind()).to_owned()
    } else {
        "no connection: is the URL right?".to_owned()
    };
    NoReply { what, hint }
}

fn io_hint(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ConnectionRefused => "nobody listens there: is the server running, and on this port?",
        ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
            "the connection was cut: is this a TLS port?"
        }
        _ => "no connection: is the name in the URL right?",
    }
}

fn tls_hint(error: &rustls::Error) -> &'static str {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "nobody who is trusted vouches for the server's certificate: name the CA that issued it with --ca"
        }
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server's certificate is for other names: use one of them in --url",
        Tls::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "the server's certificate is not within its validity",
        Tls::InvalidCertificate(_) => {
            "the server's certificate does not do here: it has to be version 3, no CA, and for TLS servers"
        }
        Tls::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server demands a certificate and could do nothing with this one's kind of key"
        }
        Tls::AlertReceived(AlertDescription::DecryptError) => {
            "the server could not check the signature of this kind of key (RSA of 2048 bits, P-256, P-384 \
             and Ed25519 are taken everywhere)"
        }
        Tls::AlertReceived(_) => {
            "the server ended the handshake: a proxy before it may judge certificates, or demand another version \
             of TLS"
        }
        Tls::InvalidMessage(_) => "there is no TLS on this port",
        Tls::PeerIncompatible(_) => "the server and we have no version or cipher of TLS in common",
        _ => "the TLS handshake failed",
    }
}

#[cfg(test)]
mod tests;
