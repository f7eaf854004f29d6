//! From a certificate and a `client_id` to a proven client (RFC 8705 §2).
//!
//! One function decides, [`ClientAuthenticator::authenticate`], and the same function explains: asked for
//! every check instead of the first that fails, it is [`ClientAuthenticator::explain`]. The registered
//! credential says which method applies, never the shape of the request. Which words a stranger hears of
//! a refusal is the edge's business (`http::failure`); what is here goes to the log.

mod examination;
mod presented;
mod refusal;

use std::sync::Arc;

pub use examination::Explanation;
pub use presented::{Presented, PresentedCertificate, Via};
pub use refusal::{Finding, Reason, Refusal};

use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::{Certificate, Thumbprint, TrustStore};
use crate::registry::{Client, Credential, Registry};
use examination::{Depth, Examination};

/// The world a decision is made in: clients and the anchors they name. Immutable; replaced whole.
pub struct ClientAuthenticator {
    registry: Registry,
    trust: Arc<TrustStore>,
}

impl ClientAuthenticator {
    /// Joins a registry with the trust it was checked against.
    pub fn new(registry: Registry, trust: Arc<TrustStore>) -> Self {
        Self { registry, trust }
    }

    /// The clients of this world.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The anchors of this world.
    pub fn trust(&self) -> &Arc<TrustStore> {
        &self.trust
    }

    /// Decides whether the peer that presented this certificate is the client it claims to be
    /// (RFC 8705 §2.1, §2.2). `claimed` is the `client_id` of the request, if there was one.
    pub fn authenticate(
        &self,
        claimed: Option<&str>,
        presented: &Presented,
        now: Timestamp,
    ) -> Result<AuthenticatedClient, Refusal> {
        Examination::new(self, Depth::FirstFailure, now).run(claimed, presented)
    }

    /// Makes the same decision, but goes through every check and keeps what each expected and saw.
    pub fn explain(&self, claimed: &str, presented: &Presented, now: Timestamp) -> Explanation {
        let mut examination = Examination::new(self, Depth::EveryCheck, now);
        let outcome = examination.run(Some(claimed), presented);
        examination.explanation(claimed, presented, outcome.err())
    }

    /// The client whose token this is, if it is still registered and enabled and, where it registered
    /// certificates, still lists the one the token is bound to. What ended in the registry ends at
    /// introspection with the next request.
    pub fn still_vouches_for(&self, client: &ClientId, bound_to: Thumbprint) -> Option<&Arc<Client>> {
        let client = self.registry.find(client).filter(|client| client.enabled)?;
        match &client.credential {
            Credential::TlsClientAuth { .. } => Some(client),
            Credential::SelfSignedTlsClientAuth { pins } => pins.contains_key(&bound_to).then_some(client),
        }
    }
}

/// The client and the certificate that proved it. Made by [`ClientAuthenticator::authenticate`] only.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    client: Arc<Client>,
    certificate: Arc<PresentedCertificate>,
}

impl AuthenticatedClient {
    /// Its registration.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The certificate of this connection, to which everything issued now is bound.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate.chain.leaf
    }
}
