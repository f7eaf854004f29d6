//! Where the database is, and how the way there is protected.
//!
//! Over a network always with TLS, verified against a CA and the name of the host: there is no mode in which it is tried
//! and done without. On the same machine (a unix socket, loopback) it may be left out.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How a database is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `postgres://USER:PASSWORD@HOST/DATABASE`, or `key=value` pairs, as libpq reads them.
    pub url: SecretString,
    /// The CAs that may vouch for the server, PEM; none: the system's roots.
    pub ca: Option<PathBuf>,
    /// The most connections.
    pub pool: usize,
}

/// Settings that lead nowhere. Says never what the URL is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DatabaseUrlError(pub String);

impl fmt::Display for DatabaseUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DatabaseUrlError {}

/// What a connection is made with.
pub(super) struct Target {
    /// One for each host that the URL names: each has its own time, so that one that hangs does not hide the next.
    pub(super) hosts: Vec<Config>,
    pub(super) tls: MakeRustlsConnect,
}

impl Settings {
    /// Whether URL and CA can be used; nothing is connected.
    pub fn check(&self) -> Result<(), DatabaseUrlError> {
        self.target().map(drop)
    }

    pub(super) fn target(&self) -> Result<Target, DatabaseUrlError> {
        let mut config = parse(self.url.expose_secret())?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("the database URL names no host"));
        }
        let mode = if is_on_this_machine(&config) && config.get_ssl_mode() != SslMode::Require {
            SslMode::Disable
        } else {
            SslMode::Require
        };
        let roots = if mode == SslMode::Require { self.roots()? } else { RootCertStore::empty() };
        config.ssl_mode(mode).target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name("certbound");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Target { hosts: one_by_one(&config), tls: MakeRustlsConnect::new(tls) })
    }

    fn roots(&self) -> Result<RootCertStore, DatabaseUrlError> {
        let mut roots = RootCertStore::empty();
        let Some(file) = &self.ca else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        let unreadable = |error: String| DatabaseUrlError(format!("{}: {error}", file.display()));
        let certificates = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unreadable(error.to_string()))?;
        for certificate in certificates {
            roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(unreadable("there is no certificate in it".into()));
        }
        Ok(roots)
    }
}

/// Reads the URL. `sslmode` as it is meant: what is not `require` or stricter is for this machine only.
fn parse(url: &str) -> Result<Config, DatabaseUrlError> {
    const MODE: &str = "sslmode=";
    let mut text = url.to_owned();
    let mode = text.find(MODE).and_then(|at| text.get(at + MODE.len()..));
    let mode =
        mode.map(|rest| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).next().unwrap_or(""));
    let mode = mode.map(str::to_owned);
    if let Some(strict @ ("verify-ca" | "verify-full")) = mode.as_deref() {
        // The driver does not know them; ours verifies both, always.
        text = text.replacen(&format!("{MODE}{strict}"), &format!("{MODE}require"), 1);
    }
    let is_half = matches!(mode.as_deref(), Some("prefer" | "allow"));
    if is_half {
        return Err(wrong("`sslmode` is `require` or left out: TLS is not tried and then done without"));
    }
    // What exactly is wrong stays here: it could be a part of the password.
    let config = Config::from_str(&text).map_err(|_| {
        wrong("the database URL is not one: write `postgres://USER:PASSWORD@HOST/DATABASE`, with %XX for odd characters")
    })?;
    if mode.as_deref() == Some("disable") && !is_on_this_machine(&config) {
        return Err(wrong(
            "`sslmode=disable` is for a database on this machine; leave it out, and name its CA in `ca`",
        ));
    }
    Ok(config)
}

/// The driver tries the hosts of one configuration in turn and has a limit for each, but none for a host that takes the
/// connection and then says nothing.
fn one_by_one(config: &Config) -> Vec<Config> {
    let hosts = config.get_hosts();
    let addresses = config.get_hostaddrs();
    let ports = config.get_ports();
    let single = |index: usize| {
        let mut one = Config::new();
        if let Some(host) = hosts.get(index) {
            match host {
                Host::Tcp(name) => one.host(name),
                Host::Unix(path) => one.host_path(path),
            };
        }
        if let Some(address) = addresses.get(index) {
            one.hostaddr(*address);
        }
        if let Some(port) = ports.get(index).or_else(|| ports.first()) {
            one.port(*port);
        }
        if let Some(user) = config.get_user() {
            one.user(user);
        }
        if let Some(password) = config.get_password() {
            one.password(password);
        }
        if let Some(name) = config.get_dbname() {
            one.dbname(name);
        }
        if let Some(options) = config.get_options() {
            one.options(options);
        }
        if let Some(name) = config.get_application_name() {
            one.application_name(name);
        }
        one.ssl_mode(config.get_ssl_mode())
            .ssl_negotiation(config.get_ssl_negotiation())
            .channel_binding(config.get_channel_binding())
            .target_session_attrs(config.get_target_session_attrs())
            .connect_timeout(super::DEADLINE)
            .tcp_user_timeout(Duration::from_secs(5))
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        one
    };
    (0..hosts.len().max(addresses.len())).map(single).collect()
}

fn is_on_this_machine(config: &Config) -> bool {
    let is_here = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    };
    config.get_hosts().iter().all(is_here) && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
}

fn wrong(what: &str) -> DatabaseUrlError {
    DatabaseUrlError(what.to_owned())
}
