//! What the peer brought, before anybody judged it.

use std::sync::Arc;

use crate::pki::{Certificate, CertificateError, Chain};

/// How the certificate reached us, and so who saw the proof that its key is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Via {
    /// We saw the signature of the handshake ourselves.
    Handshake,
    /// A proxy saw it, and proved to us that it is the one of the configuration (RFC 9440 §4).
    Forwarded,
    /// An operator gave the file to a command; nothing is proven, nothing is issued.
    File,
}

/// A certificate whose key the peer holds. Whether we believe it is another question.
#[derive(Debug)]
pub struct PresentedCertificate {
    /// The leaf and what came with it.
    pub chain: Chain,
    /// The road it came by.
    pub via: Via,
}

/// A peer's answer to the request for a certificate.
#[derive(Clone, Debug)]
pub enum Presented {
    /// It showed none (RFC 8446 §4.4.2.4 lets it).
    Nothing,
    /// It showed something that is not a certificate, or too much of it.
    Malformed(CertificateError),
    /// It showed one, and holds its key.
    Certificate(Arc<PresentedCertificate>),
}

impl Presented {
    /// The certificate itself, if there is one.
    pub fn leaf(&self) -> Option<&Certificate> {
        match self {
            Self::Certificate(certificate) => Some(&certificate.chain.leaf),
            Self::Nothing | Self::Malformed(_) => None,
        }
    }
}
