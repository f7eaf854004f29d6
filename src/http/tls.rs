//! TLS of the listeners (RFC 8705 §2, RFC 9325).
//!
//! On the `mtls` listener the handshake proves one thing: that the peer holds the key of the certificate it shows.
//! Whether that certificate is believed is asked later, for each request, by `authn`. See `ProofOfPossession`.

use std::sync::Arc;
use std::time::Duration;

use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::rt::net::TcpStream;
use moka::sync::Cache;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, CipherSuite, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    ServerConfig, SignatureScheme,
};

use crate::pki::certificate::{Certificate, public_key_of};
use crate::pki::files::Bundle;
use crate::reload::Live;

/// Whether a certificate is asked for at the handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Door {
    /// Never asked for: for browsers, metadata and key sets.
    Never,
    /// Asked for; a peer without one gets an OAuth error, not a broken connection.
    Ask,
    /// A peer without one gets no connection. A filter, never the decision.
    Require,
}

/// The server's own certificate, replaced whole while connections go on.
#[derive(Debug)]
pub struct ServerIdentity(Live<Arc<CertifiedKey>>);

/// Files that are no server identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no certificate.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// There is no private key.
    #[error("there is no private key in it")]
    NoKey,
    /// The key is of a kind that TLS cannot use here.
    #[error("the private key cannot be used for TLS: {0}")]
    Key(Error),
    /// The key is of another certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

impl ServerIdentity {
    /// An identity to begin with.
    pub fn new(bundle: Bundle) -> Result<Self, IdentityError> {
        certified(bundle).map(|key| Self(Live::new(key)))
    }

    /// New handshakes show the new certificate.
    pub fn replace(&self, bundle: Bundle) -> Result<(), IdentityError> {
        certified(bundle).map(|key| drop(self.0.replace(key)))
    }

    /// The certificate that handshakes show now; None if OpenSSL cannot read what rustls sends.
    pub fn leaf(&self) -> Option<Certificate> {
        Certificate::parse(self.0.load().cert.first()?).ok()
    }
}

fn certified(bundle: Bundle) -> Result<Arc<CertifiedKey>, IdentityError> {
    let leaf = bundle.certificates.first().ok_or(IdentityError::NoCertificate)?;
    let key = bundle.key.as_deref().ok_or(IdentityError::NoKey)?;
    if !crate::pki::files::key_matches(leaf, key) {
        return Err(IdentityError::Mismatch);
    }
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
    let key = provider().key_provider.load_private_key(key).map_err(IdentityError::Key)?;
    let chain = bundle.certificates.into_iter().map(CertificateDer::from).collect();
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load()))
    }
}

/// How one listener speaks TLS.
#[derive(Clone, Debug)]
pub struct TlsSettings(ServerConfig);

impl TlsSettings {
    /// What accepts handshakes that way, each within `patience`.
    pub(super) fn acceptor(&self, patience: Duration) -> Acceptor {
        let mut acceptor = Acceptor::new(self.0.clone());
        acceptor.set_handshake_timeout(patience);
        acceptor
    }
}

/// What the peer showed in the handshake, leaf first; of a resumed session, in the first handshake.
pub(super) fn certificates_of(io: &TlsStream<TcpStream>) -> Vec<Vec<u8>> {
    let (_, connection) = io.get_ref();
    connection
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.to_vec())
        .collect()
}

/// The settings of one listener. Nothing in them may be shared with another listener: a session of a listener that asks
/// for no certificate must never be resumed at one that does.
pub fn settings(identity: Arc<ServerIdentity>, door: Door, resumption: Option<Duration>) -> TlsSettings {
    let provider = Arc::new(provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("the provider has suites of both versions");
    let builder = match door {
        Door::Never => builder.with_no_client_auth(),
        Door::Ask | Door::Require => {
            builder.with_client_cert_verifier(Arc::new(ProofOfPossession { door, algorithms }))
        }
    };
    let mut config = builder.with_cert_resolver(identity);
    // The HTTP layer speaks HTTP/1.1 only (h2 0.3 has an open advisory).
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    match (door, resumption) {
        (_, Some(lifetime)) => config.session_storage = Arc::new(Sessions::lasting(lifetime)),
        // RFC 8705 §2 wants the certificate and the proof of its key in the handshake that carries the request; a
        // resumed session has neither.
        (Door::Ask | Door::Require, None) => {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        (Door::Never, None) => {}
    }
    TlsSettings(config)
}

/// TLS 1.3 and the four ECDHE AES-GCM suites of TLS 1.2 (RFC 9325 §4.2).
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| {
        !matches!(
            suite.suite(),
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        )
    });
    provider
}

/// Asks for a certificate and believes none.
///
/// rustls calls this object twice in a handshake: once with the certificate, and once with the signature that the peer
/// made over the transcript (`CertificateVerify`). The first question is whether the certificate is trusted. It is
/// answered with yes for every certificate, because trust is not decided here: a self-signed client and a client of a
/// PKI come in by the same door, a certificate may be revoked while its connection lives, and a handshake that ends in
/// an alert could never become the `invalid_client` that the client's operator can look up. The second question is
/// whether the peer holds the key, and it is answered by checking the signature, always. An implementation that
/// returned `HandshakeSignatureValid::assertion()` there would let everybody in who has seen a certificate; and
/// certificates are public.
///
/// The signature is checked with the bare key of the certificate. rustls' usual way parses the certificate with webpki,
/// which refuses X.509 version 1 and unknown critical extensions with an alert; here those reach the OAuth layer, which
/// accepts the first and refuses the second with a reason.
///
/// No CA names are hinted: with a list of names many clients keep a certificate to themselves that is not from the list
/// (RFC 8446 §4.2.4), and clients with a registered certificate have no CA at all.
#[derive(Debug)]
struct ProofOfPossession {
    door: Door,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for ProofOfPossession {
    fn client_auth_mandatory(&self) -> bool {
        self.door == Door::Require
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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let mapping = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, candidates) = mapping.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let key = public_key(certificate)?;
        let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| bad_encoding())?;
        // In TLS 1.2 a scheme does not fix the curve, so each algorithm of the scheme may be the one.
        if candidates.iter().any(|one| key.verify_signature(*one, message, signed.signature()).is_ok()) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &public_key(certificate)?, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    public_key_of(certificate).map(SubjectPublicKeyInfoDer::from).ok_or_else(bad_encoding)
}

fn bad_encoding() -> Error {
    CertificateError::BadEncoding.into()
}

/// Sessions for those who accept resumption: kept in memory, for so long and no longer.
#[derive(Debug)]
struct Sessions(Cache<Vec<u8>, Vec<u8>>);

impl Sessions {
    fn lasting(lifetime: Duration) -> Self {
        Self(Cache::builder().max_capacity(10_000).time_to_live(lifetime).build())
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.insert(key, value);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.remove(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}
