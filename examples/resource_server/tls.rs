//! TLS with any client certificate or none.
//!
//! A resource server need not judge the certificate (RFC 8705 §6.2): the authorization server did, before it bound a token
//! to it. What must be known is that the peer holds the key of the certificate it shows, and that is what the signature in
//! the handshake proves.

use std::any::Any;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, PeerMisbehaved, ServerConfig, SignatureScheme,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The settings of the listener.
pub(crate) fn settings(certificate: &Path, key: &Path) -> Result<ServerConfig, Box<dyn Error>> {
    let in_file = |path: &Path, error: &dyn Error| format!("{}: {error}", path.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| in_file(certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| in_file(key, &error))?;
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(Arc::new(AnyCertificate(algorithms)))
        .with_single_cert(chain, key)
        .map_err(|error| in_file(certificate, &error))?;
    // A resumed session would carry the certificate of an earlier handshake; here each connection proves its own.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The certificate that the peer of a connection showed, as DER.
pub(crate) struct ClientCertificate(Vec<u8>);

impl ClientCertificate {
    pub(crate) fn der(&self) -> &[u8] {
        &self.0
    }
}

/// Keeps the leaf with the connection, for its requests. Only the first certificate is the peer's own; the rest of what it
/// sent proves nothing.
pub(crate) fn remember_certificate(io: &dyn Any, data: &mut Extensions) {
    let Some(io) = io.downcast_ref::<TlsStream<TcpStream>>() else { return };
    if let Some([leaf, ..]) = io.get_ref().1.peer_certificates() {
        data.insert(ClientCertificate(leaf.to_vec()));
    }
}

/// Believes no certificate and checks every signature.
///
/// rustls asks twice: whether the certificate is trusted, and whether the signature over the handshake was made with its
/// key. The first is answered with yes, because nothing here depends on it. The second has to be checked: whoever returned
/// `HandshakeSignatureValid::assertion()` unseen would take a copy of a certificate for its owner, and certificates are
/// public.
///
/// The signature is checked with the bare key, so that certificates of X.509 version 1 are as good as others. Without
/// those, `rustls::crypto::verify_tls12_signature` and `verify_tls13_signature` with the certificate do the same.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyCertificate {
    /// A client without a certificate is told so in HTTP, and not by a broken connection.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No names of CAs: many clients keep a certificate to themselves that is not from one of them.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let scheme = self.0.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, algorithms) = scheme.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let key = public_key(certificate)?;
        let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
        // The schemes of TLS 1.2 leave the curve open.
        if algorithms.iter().any(|one| key.verify_signature(*one, message, signed.signature()).is_ok()) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature_with_raw_key(message, &public_key(certificate)?, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The key of a certificate, with its type.
fn public_key(
    certificate: &CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'static>, CertificateError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], certificate)) => Ok(certificate.tbs_certificate.subject_pki.raw.to_vec().into()),
        _ => Err(CertificateError::BadEncoding),
    }
}
