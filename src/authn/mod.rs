//! From a certificate and a `client_id` to a proven client (RFC 8705 §2).
//!
//! One function decides, [`ClientAuthenticator::authenticate`], and the same function explains: asked for
//! every check instead of the first that fails, it is [`ClientAuthenticator::explain`]. The registered
//! credential says which method applies, never the shape of the request. Which words a stranger hears of
//! a refusal is the edge's business (`http::failure`); what is here goes to the log.

mod errand;
mod examination;
mod explanation;
mod presented;
mod refusal;
mod remedy;
mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use errand::{Errand, Remote};
pub use explanation::{Explanation, PathStep, RevocationStatus};
pub use presented::{Presented, PresentedCertificate, Via};
pub use refusal::{Finding, Reason, Refusal};
pub use standing::NoLonger;

use crate::clock::Timestamp;
use crate::pki::revocation::Revocation;
use crate::pki::{Certificate, Chain, Thumbprint, TrustStore};
use crate::registry::{Client, Credential, Pin, Registry};
use examination::{Depth, Examination};

/// How many certificates one client may have where nothing else is said (contract §3).
const DEFAULT_CERTIFICATES: usize = 5;

/// The world a decision is made in: clients, the anchors they name, and what is known of revocation. Immutable;
/// replaced whole.
pub struct ClientAuthenticator {
    registry: Registry,
    trust: Arc<TrustStore>,
    revocation: Arc<Revocation>,
    remote: Option<Remote>,
}

impl ClientAuthenticator {
    /// Joins a registry with the trust it was checked against. Nobody is asked about revocation, and nothing that
    /// clients publish is known.
    pub fn new(registry: Registry, trust: Arc<TrustStore>) -> Self {
        Self { registry, trust, revocation: Arc::new(Revocation::off()), remote: None }
    }

    /// With what is known of revocation.
    #[must_use]
    pub fn with_revocation(self, revocation: Arc<Revocation>) -> Self {
        Self { revocation, ..self }
    }

    /// With the certificates that clients publish, and the way to ask for more.
    #[must_use]
    pub fn with_remote(self, remote: Remote) -> Self {
        Self { remote: Some(remote), ..self }
    }

    /// The clients of this world.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The anchors of this world.
    pub fn trust(&self) -> &Arc<TrustStore> {
        &self.trust
    }

    /// What is known of revocation.
    pub fn revocation(&self) -> &Arc<Revocation> {
        &self.revocation
    }

    /// What clients publish, and the way to ask.
    pub fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// The certificates that a self-signed client may show: those of its document and those that it publishes.
    pub fn pins(&self, client: &Client) -> BTreeMap<Thumbprint, Pin> {
        self.pins_of(&client.credential)
    }

    /// Decides whether the peer that presented this certificate is the client it claims to be
    /// (RFC 8705 §2.1, §2.2). `claimed` is the `client_id` of the request, if there was one. Nobody is asked anything.
    pub fn authenticate(
        &self,
        claimed: Option<&str>,
        presented: &Presented,
        now: Timestamp,
    ) -> Result<AuthenticatedClient, Refusal> {
        Examination::new(self, Depth::FirstFailure, now).run(claimed, presented)
    }

    /// The same decision, after asking whoever can say what is not known (a responder, a `jwks_uri`): once, and for
    /// 2 s at most.
    pub async fn authenticate_asking(
        &self,
        claimed: Option<&str>,
        presented: &Presented,
        now: Timestamp,
    ) -> Result<AuthenticatedClient, Refusal> {
        let (outcome, errand) = self.consider(claimed, presented, now);
        match &self.remote {
            Some(remote) if !errand.is_empty() => {
                errand.run(remote, &self.revocation, now).await;
                self.authenticate(claimed, presented, now)
            }
            _ => outcome,
        }
    }

    /// Decides by the same rules about a peer that is no client and claims nothing: the proxy in front of a listener.
    /// Asks as [`Self::authenticate_asking`] does.
    pub async fn recognise_asking(
        &self,
        credential: &Credential,
        presented: &Presented,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let decide = || {
            let mut examination = Examination::new(self, Depth::FirstFailure, now);
            (examination.fits(credential, presented).map(drop), examination.errand)
        };
        let (outcome, errand) = decide();
        match &self.remote {
            Some(remote) if !errand.is_empty() => {
                errand.run(remote, &self.revocation, now).await;
                decide().0
            }
            _ => outcome,
        }
    }

    /// The decision by what is known, and what somebody else could still say of it: for whoever decides about many, and
    /// asks for all of them at once.
    pub fn consider(
        &self,
        claimed: Option<&str>,
        presented: &Presented,
        now: Timestamp,
    ) -> (Result<AuthenticatedClient, Refusal>, Errand) {
        let mut examination = Examination::new(self, Depth::FirstFailure, now);
        let outcome = examination.run(claimed, presented);
        (outcome, examination.errand)
    }

    /// Makes the same decision, but goes through every check and keeps what each expected and saw.
    pub fn explain(&self, claimed: &str, presented: &Presented, now: Timestamp) -> Explanation {
        let mut examination = Examination::new(self, Depth::EveryCheck, now);
        let outcome = examination.run(Some(claimed), presented);
        Explanation::of(examination, (self, now), (claimed, presented), outcome.err())
    }

    /// The same explanation, after asking as [`Self::authenticate_asking`] does.
    pub async fn explain_asking(&self, claimed: &str, presented: &Presented, now: Timestamp) -> Explanation {
        // What it comes to is said below; here it is about the questions that it leaves.
        let _ = self.authenticate_asking(Some(claimed), presented, now).await;
        self.explain(claimed, presented, now)
    }

    fn max_certificates(&self) -> usize {
        self.remote.as_ref().map_or(DEFAULT_CERTIFICATES, |remote| remote.max_certificates)
    }

    fn pins_of(&self, credential: &Credential) -> BTreeMap<Thumbprint, Pin> {
        let Credential::SelfSignedTlsClientAuth { pins, jwks_uri } = credential else {
            return BTreeMap::new();
        };
        let mut pins = pins.clone();
        if let (Some(uri), Some(remote)) = (jwks_uri, &self.remote) {
            pins.extend(remote.jwk_sets.of(uri).pins.clone());
        }
        pins
    }

    /// RFC 8705 §2.2, for a credential of that method; no other lists certificates.
    fn lists(&self, credential: &Credential, thumbprint: Thumbprint) -> bool {
        let Credential::SelfSignedTlsClientAuth { pins, jwks_uri } = credential else { return false };
        pins.contains_key(&thumbprint)
            || jwks_uri
                .as_ref()
                .zip(self.remote.as_ref())
                .is_some_and(|(uri, remote)| remote.jwk_sets.of(uri).pins.contains_key(&thumbprint))
    }
}

/// The client and the certificate that proved it. Made by [`ClientAuthenticator::authenticate`] only.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    client: Arc<Client>,
    certificate: Arc<PresentedCertificate>,
    revocation_unknown: Option<String>,
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

    /// The certificate with everything that came along.
    pub fn chain(&self) -> &Chain {
        &self.certificate.chain
    }

    /// Why nobody can say whether a certificate of the path was revoked, where the anchor set accepts that
    /// (`revocation: prefer`).
    pub fn revocation_unknown(&self) -> Option<&str> {
        self.revocation_unknown.as_deref()
    }
}
