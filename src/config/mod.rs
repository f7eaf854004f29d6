//! `certbound.yaml`, read and typed: what each module wants, in the settings types of that module.
//!
//! Nothing below imports this module; `app`, `tasks` and `cli` hand its parts down. Every problem of the
//! file is found in one run, with its line and column. Whether named files hold what they should is asked
//! where they are read: anchors in [`Config::trust_store`], certificates of the server by `http`, clients by
//! `registry`, signing keys by `keys`.

mod anchors;
mod document;
pub mod file;
mod forwarded;
mod listeners;
mod outgoing;
mod secret;
mod section;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

pub use forwarded::{Forwarded, ForwardedBind, ProxyBasic, ProxyCertificate, ProxySource};
pub use secret::SecretRef;
pub use store::{PostgresSource, StoreSettings};

use crate::document::{At, Problems};
use crate::keys::{Schedule, SigningAlgorithm};
use crate::oauth::{Audience, BaseUrl, Issuer};
use crate::pki::fetch::AddressBlock;
use crate::pki::revocation::RevocationMode;
use crate::pki::{AnchorSetName, Profile};
use crate::registry::RegistrySettings;

/// The longest path of a unix socket, in bytes: `sun_path` has 108, one of them the end (unix(7)).
pub const SOCKET_PATH_MAX: usize = 107;

/// A configuration without errors, unless it is a [`Config::draft`].
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it came from.
    pub file: PathBuf,
    /// `issuer`, as written (RFC 8414 §2).
    pub issuer: Issuer,
    /// What `mtls_endpoint_aliases` is built from (RFC 8705 §5); the issuer where the file says nothing.
    pub mtls_base_url: BaseUrl,
    /// At least one of them is [`Listener::Mtls`] or [`Listener::Forwarded`].
    pub listeners: Vec<Listener>,
    /// The named anchor sets, in the order of the file. Their names are distinct.
    pub trust_anchors: Vec<AnchorSetSource>,
    /// What tokens look like where a client says nothing else.
    pub tokens: Tokens,
    /// The signing keys.
    pub signing: Signing,
    /// The client documents.
    pub clients: Clients,
    /// Where revocations are remembered.
    pub store: StoreSettings,
    /// The socket by which commands reach a running server: `control.sock` in the parent directory of the
    /// store, with a database in `signing.directory`, unless the file says otherwise; at most [`SOCKET_PATH_MAX`] bytes.
    pub control: PathBuf,
    /// What a stranger can take up.
    pub limits: Limits,
    /// How long before its end a certificate is warned of.
    pub expiry_warn: Duration,
    /// Who else is told.
    pub webhook: Option<Webhook>,
    /// How servers are reached that the configuration or a client names.
    pub outgoing: OutgoingSource,
    /// The log on standard error.
    pub log: Log,
    /// `service_documentation` of the metadata (RFC 8414 §2): an http or https URL.
    pub service_documentation: Option<String>,
}

/// A file that the configuration names, and where it does so.
#[derive(Clone, Debug)]
pub struct FileRef {
    /// The file; a relative path has already been put below the directory of the configuration.
    pub path: PathBuf,
    /// Where it is named, for problems with its contents.
    pub at: At,
}

impl AsRef<Path> for FileRef {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// One entry of `listeners`.
#[derive(Clone, Debug)]
pub enum Listener {
    /// Asks for a client certificate; requests are judged one by one.
    Mtls {
        /// Where it listens.
        bind: SocketAddr,
        /// What it shows.
        tls: ServerTls,
        /// Who gets past the handshake.
        door: Door,
    },
    /// Never asks for a certificate: for browsers, metadata and JWKS.
    Public {
        /// Where it listens.
        bind: SocketAddr,
        /// What it shows.
        tls: ServerTls,
    },
    /// Behind a proxy that ended TLS; the only place where a certificate is read from a header.
    Forwarded(Box<Forwarded>),
    /// Probes and metrics, without TLS.
    Admin {
        /// Where it listens.
        bind: AdminBind,
    },
}

/// `client_certificate`: a filter at the handshake, never the decision.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Door {
    /// `request`: a peer without a certificate gets in, and `invalid_client` where it would need one.
    #[default]
    Ask,
    /// `require`: a peer without a certificate gets no connection.
    Require,
}

/// Where an admin listener without TLS may listen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AdminBind {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A unix socket; at most [`SOCKET_PATH_MAX`] bytes.
    Unix(PathBuf),
}

/// `tls` of a listener.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Certificate and key of the server.
    pub identity: IdentitySource,
    /// How long a session may be resumed; None is `off` (decision I: a resumed handshake carries neither
    /// `Certificate` nor `CertificateVerify`, which RFC 8705 §2 wants).
    pub resumption: Option<Duration>,
    /// Where the map stands.
    pub at: At,
}

/// Where certificate and key of the server are.
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// Two PEM or DER files.
    Files {
        /// The certificate, and after it what else the handshake sends.
        certificate: FileRef,
        /// Its private key.
        key: FileRef,
    },
    /// One PKCS#12 file (RFC 7292).
    Pkcs12 {
        /// The file.
        file: FileRef,
        /// What opens it.
        password: SecretRef,
    },
}

/// One entry of `trust_anchors`.
#[derive(Clone, Debug)]
pub struct AnchorSetSource {
    /// The name that clients use.
    pub name: AnchorSetName,
    /// The anchors.
    pub file: FileRef,
    /// What helps clients that send their leaf only.
    pub intermediates: Option<FileRef>,
    /// Which rules a path keeps.
    pub profile: Profile,
    /// How much revocation matters: `require` where `crl` or `ocsp` is given and the file says nothing else.
    pub revocation: RevocationMode,
    /// Where its lists are.
    pub crl: Vec<CrlSource>,
    /// Its responder.
    pub ocsp: Option<UrlRef>,
    /// Where the entry begins.
    pub at: At,
}

/// One entry of `crl`.
#[derive(Clone, Debug)]
pub enum CrlSource {
    /// `{file: …}`: PEM or DER.
    File(FileRef),
    /// `{url: …}`: fetched ahead.
    Url(UrlRef),
}

/// A URL that the configuration names, and where it does so: http or https, without user information or fragment.
#[derive(Clone, Debug)]
pub struct UrlRef {
    /// The URL.
    pub url: Url,
    /// Where it is named.
    pub at: At,
}

/// `outgoing`.
#[derive(Clone, Debug, Default)]
pub struct OutgoingSource {
    /// The CAs that may vouch for servers; none: the system's roots.
    pub ca: Option<FileRef>,
    /// Addresses that may be reached though they are private.
    pub allow: Vec<AddressBlock>,
}

/// `expiry.webhook`.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Whom to tell.
    pub url: UrlRef,
    /// What signs the message.
    pub secret: Option<SecretRef>,
}

/// `tokens`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tokens {
    /// `access_token_lifetime`: 1 s to 24 h.
    pub lifetime: Duration,
    /// The audience where neither the request nor the client names one.
    pub resource: Option<Audience>,
}

/// `signing`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signing {
    /// Where the keys and `store-id` are.
    pub directory: PathBuf,
    /// What new keys are made for.
    pub algorithm: SigningAlgorithm,
    /// How long a key signs; longer than [`crate::keys::rotation::PUBLISH_BEFORE`].
    pub rotate_every: Duration,
    /// What seals the keys in the database, and puts them there: 32 bytes in base64. Only with a store in a database;
    /// without it the keys are in the directory.
    pub sealing_key: Option<SecretRef>,
}

/// `clients`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Clients {
    /// Where the documents are.
    pub directory: PathBuf,
    /// How many certificates one client may have.
    pub max_certificates: usize,
    /// How often the whole directory is read, whatever the watcher said.
    pub rescan: Duration,
}

/// `limits`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Request line and headers, in bytes.
    pub head: usize,
    /// The same on a forwarded listener, where certificates are in the headers: more, unless `head` is given.
    pub forwarded_head: usize,
    /// The body of a request, in bytes.
    pub body: usize,
    /// Time for the head.
    pub head_timeout: Duration,
    /// Time for the body.
    pub body_timeout: Duration,
    /// How long a connection may say nothing between two requests.
    pub idle: Duration,
    /// Connections at once, over all listeners.
    pub connections: usize,
    /// Certificates in a chain.
    pub chain: usize,
}

/// `log`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Log {
    /// How a line is written.
    pub format: LogFormat,
    /// The least severe line that is written.
    pub level: Level,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// `log.level`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Level {
    /// What needs somebody.
    Error,
    /// What will need somebody.
    Warn,
    /// One line per request, and what changed.
    #[default]
    Info,
    /// What helps when something is odd.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Config {
    /// Reads a configuration for a server to run on: None as soon as there is one error, and all problems.
    pub fn load(path: &Path) -> (Option<Self>, Problems) {
        let (draft, problems) = Self::draft(path);
        (draft.filter(|_| !problems.has_errors()), problems)
    }

    /// Reads a configuration for `check`, which goes on after an error: defaults stand in for values that
    /// are wrong, and what could not be read at all is left out, so that anchors and clients can be looked
    /// at in the same run. None only where the file is no map. Nothing may be served from a draft.
    pub fn draft(path: &Path) -> (Option<Self>, Problems) {
        document::read_file(path)
    }

    /// What the registry wants to know.
    pub fn registry_settings(&self) -> RegistrySettings {
        RegistrySettings {
            directory: self.clients.directory.clone(),
            max_certificates: self.clients.max_certificates,
            default_resource: self.tokens.resource.clone(),
        }
    }

    /// Where what was fetched from elsewhere is kept, so that a restart does not depend on the network: beside the store.
    pub fn fetched_directory(&self) -> PathBuf {
        self.store.beside("fetched", &self.signing.directory)
    }

    /// What the rotation of signing keys wants to know.
    pub fn schedule(&self) -> Schedule {
        Schedule { algorithm: self.signing.algorithm, rotate_every: self.signing.rotate_every }
    }

    /// The keys whose change from this configuration to `next` needs a restart; everything else takes
    /// effect on SIGHUP (contract §3 and ruling 13). Of a listener that is all but the identity it shows.
    pub fn restart_needed(&self, next: &Self) -> Vec<&'static str> {
        let listeners_differ = self.listeners.len() != next.listeners.len()
            || self.listeners.iter().zip(&next.listeners).any(|(now, next)| !now.same_door(next));
        [
            ("issuer", self.issuer != next.issuer),
            ("mtls_base_url", self.mtls_base_url != next.mtls_base_url),
            ("listeners", listeners_differ),
            ("signing.directory", self.signing.directory != next.signing.directory),
            ("signing.algorithm", self.signing.algorithm != next.signing.algorithm),
            ("signing.rotate_every", self.signing.rotate_every != next.signing.rotate_every),
            ("signing.sealing_key", self.signing.sealing_key != next.signing.sealing_key),
            ("store", self.store != next.store),
            ("control", self.control != next.control),
            ("limits.head", self.limits.heads() != next.limits.heads()),
            ("limits.head_timeout", self.limits.head_timeout != next.limits.head_timeout),
            ("limits.idle", self.limits.idle != next.limits.idle),
            ("limits.connections", self.limits.connections != next.limits.connections),
            ("log.format", self.log.format != next.log.format),
            ("service_documentation", self.service_documentation != next.service_documentation),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}

impl Limits {
    fn heads(&self) -> (usize, usize) {
        (self.head, self.forwarded_head)
    }
}

impl Listener {
    /// `mtls`, `public`, `forwarded` or `admin`, as in the file and in the log.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Mtls { .. } => "mtls",
            Self::Public { .. } => "public",
            Self::Forwarded(_) => "forwarded",
            Self::Admin { .. } => "admin",
        }
    }

    /// Whether the socket can stay open when `other` takes the place of this one: everything is equal but
    /// the files of the identity, which are read again.
    fn same_door(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mtls { bind, tls, door }, Self::Mtls { bind: b, tls: t, door: d }) => {
                bind == b && tls.resumption == t.resumption && door == d
            }
            (Self::Public { bind, tls }, Self::Public { bind: b, tls: t }) => {
                bind == b && tls.resumption == t.resumption
            }
            (Self::Forwarded(one), Self::Forwarded(other)) => one.same_door(other),
            (Self::Admin { bind }, Self::Admin { bind: b }) => bind == b,
            _ => false,
        }
    }
}

/// As it is written behind `bind:`.
impl fmt::Display for AdminBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
