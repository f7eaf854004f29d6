//! Whether a token stands with the certificate that it is bound to (RFC 7009 §3, RFC 7662 §4): what has ended in the
//! registry, among the anchors or in a revocation list ends at introspection with the next request.
//!
//! A token says the thumbprint of its certificate. The chain behind it, which only whoever saw it can know, is the
//! caller's to bring. An *unknown* revocation status ends no token: nothing has ended, and no new ones are issued.

use std::sync::Arc;

use super::ClientAuthenticator;
use super::errand::Errand;
use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::revocation::{RevocationError, RevocationErrorKind, RevocationMode};
use crate::pki::{AnchorSetName, Chain, Thumbprint, TrustError};
use crate::registry::{Client, Credential};

/// Why a token does not stand any more. For the log; a stranger hears `{"active":false}`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoLonger {
    /// No client has this `client_id`, or it is disabled.
    #[error("its client is not registered any more, or is disabled")]
    Client,
    /// The client does not list the certificate any more (RFC 8705 §2.2).
    #[error("its certificate is not a registered one of the client any more")]
    Registered,
    /// The client is registered with a subject that the certificate does not have (RFC 8705 §2.1).
    #[error("its certificate does not carry the registered subject of the client any more")]
    Subject,
    /// No path leads to an anchor of the client's set any more.
    #[error("its certificate is not trusted any more: {0}")]
    Trusted(TrustError),
    /// A certificate of the path was revoked.
    #[error("its certificate was revoked: {0}")]
    Current(RevocationError),
    /// Nobody here has seen the certificate, so nobody can say that it was not revoked, and the set requires to know.
    #[error("its certificate was never seen here, so that nobody can say whether it was revoked")]
    Known,
}

impl ClientAuthenticator {
    /// The client whose token this is, as long as the certificate that it is bound to would still be the client's.
    ///
    /// Where the chain behind the thumbprint is not known (never seen, or seen by a store that was lost) a token of a
    /// PKI client stands on the registration alone; under `revocation: require` it does not stand.
    pub fn still_vouches_for(
        &self,
        client: &ClientId,
        bound_to: Thumbprint,
        chain_behind: Option<&Chain>,
        now: Timestamp,
    ) -> Result<&Arc<Client>, NoLonger> {
        self.stands(client, bound_to, chain_behind, now, &mut Errand::default())
    }

    /// The same, after asking the responder that has not been asked about the certificate yet, as after a restart: once,
    /// and for 2 s at most.
    pub async fn still_vouches_for_asking(
        &self,
        client: &ClientId,
        bound_to: Thumbprint,
        chain_behind: Option<&Chain>,
        now: Timestamp,
    ) -> Result<&Arc<Client>, NoLonger> {
        let mut errand = Errand::default();
        let outcome = self.stands(client, bound_to, chain_behind, now, &mut errand);
        match &self.remote {
            Some(remote) if !errand.is_empty() => {
                errand.run(remote, &self.revocation, now).await;
                self.still_vouches_for(client, bound_to, chain_behind, now)
            }
            _ => outcome,
        }
    }

    fn stands(
        &self,
        client: &ClientId,
        bound_to: Thumbprint,
        chain_behind: Option<&Chain>,
        now: Timestamp,
        errand: &mut Errand,
    ) -> Result<&Arc<Client>, NoLonger> {
        let client = self.registry.find(client).filter(|client| client.enabled).ok_or(NoLonger::Client)?;
        match &client.credential {
            credential @ Credential::SelfSignedTlsClientAuth { .. } => {
                if !self.lists(credential, bound_to) {
                    return Err(NoLonger::Registered);
                }
            }
            Credential::TlsClientAuth { subject, anchors } => match chain_behind {
                Some(chain) if !subject.matches(&chain.leaf) => return Err(NoLonger::Subject),
                Some(chain) => self.still_trusts(chain, anchors, now, errand)?,
                None if self.requires_to_know(anchors) => return Err(NoLonger::Known),
                None => {}
            },
        }
        Ok(client)
    }

    fn still_trusts(
        &self,
        chain: &Chain,
        anchors: &AnchorSetName,
        now: Timestamp,
        errand: &mut Errand,
    ) -> Result<(), NoLonger> {
        let trusted = self.trust.verify(chain, anchors, now).map_err(NoLonger::Trusted)?;
        match self.revocation.check(trusted, anchors, now) {
            Ok(current) => errand.ask_responders(current.questions()),
            Err(error) if error.kind == RevocationErrorKind::Revoked => return Err(NoLonger::Current(error)),
            Err(error) => errand.ask_responders(&error.questions),
        }
        Ok(())
    }

    fn requires_to_know(&self, anchors: &AnchorSetName) -> bool {
        self.revocation.policy(anchors).is_some_and(|policy| policy.mode == RevocationMode::Require)
    }
}
