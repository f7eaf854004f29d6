//! Mutual TLS: whoever comes gets in, with any certificate or with none. Who that is, others decide.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod, SslVerifyMode, SslVersion};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{self, CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
};

use super::Fault;
use crate::wire::Stream;

/// What takes connections on one port.
pub(super) enum Acceptor {
    Rustls(Arc<ServerConfig>),
    /// By OpenSSL, with suites that rustls does not have.
    Weak(Box<SslAcceptor>),
    /// TLS by rustls, and plain HTTP where somebody begins so.
    Either(Arc<ServerConfig>),
}

/// A connection, and the certificates that were shown on it, the leaf first.
pub(super) type Accepted = (Box<dyn Stream>, Vec<Vec<u8>>);

impl Acceptor {
    /// With the certificate of the suite's server in this directory; `alias`: for the port of clients with certificates.
    pub(super) fn new(at: &Path, alias: bool, is: impl Fn(Fault) -> bool) -> Result<Self, String> {
        let name = if alias && is(Fault::CertificateOfAnotherName) { "other" } else { "server" };
        let file = |end: &str| at.join(format!("{name}.{end}"));
        if is(Fault::WeakSuites) {
            let wrong = |error: openssl::error::ErrorStack| error.to_string();
            let mut builder = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).map_err(wrong)?;
            builder.set_security_level(0);
            builder.set_cipher_list("ALL:eNULL:@SECLEVEL=0").map_err(wrong)?;
            builder.set_max_proto_version(Some(SslVersion::TLS1_2)).map_err(wrong)?;
            builder.set_certificate_chain_file(file("pem")).map_err(wrong)?;
            builder.set_private_key_file(file("key"), SslFiletype::PEM).map_err(wrong)?;
            builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
            builder.set_session_id_context(b"mutant").map_err(wrong)?;
            return Ok(Self::Weak(Box::new(builder.build())));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions: &[_] = if is(Fault::NoTls12) {
            &[&rustls::version::TLS13]
        } else {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        };
        let certificates = |path| -> Result<Vec<_>, String> {
            let read = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
            read.collect::<Result<_, _>>().map_err(|error| error.to_string())
        };
        let verifier: Arc<dyn ClientCertVerifier> = if is(Fault::OnlyKnownIssuers) {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(at.join("client-ca.pem"))?);
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            builder.allow_unauthenticated().build().map_err(|error| error.to_string())?
        } else {
            let mandatory = alias && is(Fault::CertificatesAreMandatory);
            Arc::new(Anybody { provider: Arc::clone(&provider), mandatory })
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let builder = if !alias && is(Fault::NobodyIsAsked) {
            builder.with_no_client_auth()
        } else {
            builder.with_client_cert_verifier(verifier)
        };
        let key = PrivateKeyDer::from_pem_file(file("key")).map_err(|error| error.to_string())?;
        let config = builder.with_single_cert(certificates(file("pem"))?, key);
        let config = Arc::new(config.map_err(|error| error.to_string())?);
        Ok(if is(Fault::AnswersWithoutTls) { Self::Either(config) } else { Self::Rustls(config) })
    }

    /// Does the handshake.
    pub(super) fn accept(&self, tcp: TcpStream) -> io::Result<Accepted> {
        match self {
            Self::Rustls(config) => by_rustls(config, tcp),
            Self::Either(config) => {
                let mut first = [0];
                tcp.peek(&mut first)?;
                if first == [0x16] { by_rustls(config, tcp) } else { Ok((Box::new(tcp), Vec::new())) }
            }
            Self::Weak(acceptor) => {
                let stream = acceptor.accept(tcp).map_err(io::Error::other)?;
                let leaf = stream.ssl().peer_certificate().and_then(|leaf| leaf.to_der().ok());
                Ok((Box::new(stream), leaf.into_iter().collect()))
            }
        }
    }
}

fn by_rustls(config: &Arc<ServerConfig>, mut tcp: TcpStream) -> io::Result<Accepted> {
    let mut connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp)?;
    }
    let shown = connection.peer_certificates().unwrap_or_default();
    let shown = shown.iter().map(|der| der.to_vec()).collect();
    Ok((Box::new(StreamOwned::new(connection, tcp)), shown))
}

/// Takes every certificate whose key signs the handshake.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
    mandatory: bool,
}

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
