//! TLS handshakes: by rustls, with a resolver that shows whatever it is given; by OpenSSL where a check has to offer what
//! rustls knows nothing of (old versions, weak suites, weak keys); or none at all.

mod resumption;

use std::fmt;
use std::net::TcpStream;
use std::sync::Arc;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SignatureScheme, StreamOwned, SupportedProtocolVersion,
};

use super::Stream;
use crate::pki::Shown;

/// How to connect.
#[derive(Clone, Copy, Debug, Default)]
pub enum Tls {
    /// TLS 1.3 and 1.2.
    #[default]
    Modern,
    /// TLS 1.2 and nothing else.
    Only12,
    /// TLS 1.3 and nothing else.
    Only13,
    /// By OpenSSL at security level 0, with these versions and ciphers (of its own language); the server's certificate is
    /// not looked at.
    Offer {
        /// The lowest version.
        min: SslVersion,
        /// The highest.
        max: SslVersion,
        /// The suites up to TLS 1.2.
        ciphers: &'static str,
    },
    /// TLS 1.2, in a session that an earlier connection began, if the server keeps sessions.
    Resumed12,
    /// TLS 1.3, likewise.
    Resumed13,
    /// No TLS.
    Plain,
}

impl Tls {
    /// All that OpenSSL can, for keys and certificates that rustls would not load.
    pub const OPENSSL: Self =
        Self::Offer { min: SslVersion::TLS1_2, max: SslVersion::TLS1_3, ciphers: "ALL" };
    /// TLS 1.0 and 1.1.
    pub const OLD: Self = Self::Offer { min: SslVersion::TLS1, max: SslVersion::TLS1_1, ciphers: "ALL" };
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Modern => f.write_str("TLS 1.3 or 1.2"),
            Self::Only12 => f.write_str("TLS 1.2 only"),
            Self::Only13 => f.write_str("TLS 1.3 only"),
            Self::Offer { ciphers, .. } => write!(f, "TLS by OpenSSL, ciphers {ciphers}"),
            Self::Resumed12 => f.write_str("TLS 1.2, a session taken up again"),
            Self::Resumed13 => f.write_str("TLS 1.3, a session taken up again"),
            Self::Plain => f.write_str("no TLS"),
        }
    }
}

/// What a handshake came to.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// The version, as people write it; empty without TLS.
    pub version: String,
    /// The suite, in the spelling of the stack.
    pub suite: String,
}

impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.version.is_empty() {
            f.write_str("no TLS")
        } else {
            write!(f, "{} {}", self.version, self.suite)
        }
    }
}

/// Does the handshake; the error says what came instead.
pub(crate) fn handshake(
    tcp: TcpStream,
    host: &str,
    shown: Option<&Shown>,
    tls: Tls,
    roots: &[Vec<u8>],
) -> Result<(Box<dyn Stream>, Handshake), String> {
    match tls {
        Tls::Modern => {
            by_rustls(tcp, host, &config(shown, &[&rustls::version::TLS13, &rustls::version::TLS12], roots)?)
        }
        Tls::Only12 => by_rustls(tcp, host, &config(shown, &[&rustls::version::TLS12], roots)?),
        Tls::Only13 => by_rustls(tcp, host, &config(shown, &[&rustls::version::TLS13], roots)?),
        Tls::Offer { min, max, ciphers } => by_openssl(tcp, host, shown, (min, max), ciphers),
        Tls::Resumed12 => resumption::again(tcp, host, &config(shown, &[&rustls::version::TLS12], roots)?),
        Tls::Resumed13 => resumption::again(tcp, host, &config(shown, &[&rustls::version::TLS13], roots)?),
        Tls::Plain => Ok((Box::new(tcp), Handshake::default())),
    }
}

fn by_rustls(
    tcp: TcpStream,
    host: &str,
    config: &Arc<ClientConfig>,
) -> Result<(Box<dyn Stream>, Handshake), String> {
    let stream = connection(tcp, host, config)?;
    let handshake = handshake_of(&stream.conn);
    Ok((Box::new(stream), handshake))
}

fn config(
    shown: Option<&Shown>,
    versions: &[&'static SupportedProtocolVersion],
    roots: &[Vec<u8>],
) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut store = RootCertStore::empty();
    for root in roots {
        store
            .add(CertificateDer::from(root.clone()))
            .map_err(|error| format!("the CA of the server: {error}"))?;
    }
    let certified = shown.map(|shown| certified(shown, &provider)).transpose()?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?
        .with_root_certificates(store)
        .with_client_cert_resolver(Arc::new(Show(certified)));
    Ok(Arc::new(config))
}

fn connection(
    mut tcp: TcpStream,
    host: &str,
    config: &Arc<ClientConfig>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let mut connection =
        ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())?;
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp).map_err(|error| format!("handshake: {error}"))?;
    }
    Ok(StreamOwned::new(connection, tcp))
}

fn handshake_of(connection: &ClientConnection) -> Handshake {
    Handshake {
        version: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
            other => format!("{other:?}"),
        },
        suite: connection
            .negotiated_cipher_suite()
            .map(|suite| format!("{:?}", suite.suite()))
            .unwrap_or_default(),
    }
}

/// Not by `from_der`, which parses the leaf and refuses what a check may need to show.
fn certified(shown: &Shown, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, String> {
    let key = shown.key.pkcs8().map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let key =
        provider.key_provider.load_private_key(key).map_err(|error| format!("this side's key: {error}"))?;
    let chain = shown.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

fn by_openssl(
    tcp: TcpStream,
    host: &str,
    shown: Option<&Shown>,
    (min, max): (SslVersion, SslVersion),
    ciphers: &str,
) -> Result<(Box<dyn Stream>, Handshake), String> {
    let connector =
        connector(shown, min, max, ciphers).map_err(|error| format!("this side cannot offer it: {error}"))?;
    let stream = connector.connect(host, tcp).map_err(|error| format!("handshake: {error}"))?;
    let handshake = Handshake {
        version: stream.ssl().version_str().replace("TLSv", "TLS "),
        suite: stream.ssl().current_cipher().map(|cipher| cipher.name().to_owned()).unwrap_or_default(),
    };
    Ok((Box::new(stream), handshake))
}

fn connector(
    shown: Option<&Shown>,
    min: SslVersion,
    max: SslVersion,
    ciphers: &str,
) -> Result<SslConnector, openssl::error::ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_security_level(0);
    builder.set_min_proto_version(Some(min))?;
    builder.set_max_proto_version(Some(max))?;
    builder.set_cipher_list(&format!("{ciphers}:@SECLEVEL=0"))?;
    if let Some(shown) = shown {
        let mut chain = shown.chain.iter();
        if let Some(leaf) = chain.next() {
            builder.set_certificate(X509::from_der(leaf)?.as_ref())?;
        }
        for above in chain {
            builder.add_extra_chain_cert(X509::from_der(above)?)?;
        }
        builder.set_private_key(shown.key.openssl())?;
    }
    Ok(builder.build())
}

#[derive(Debug)]
struct Show(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Show {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
