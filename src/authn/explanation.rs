//! A decision with everything that led to it, for people: what `certbound explain` prints.
//!
//! Nothing here decides. The checks are those of the real decision ([`super::examination`]); this adds what helps to
//! read them: names side by side, the path, who was asked about revocation, and what to write ([`super::remedy`]).

use serde::Serialize;

use super::examination::Examination;
use super::remedy::Remedy;
use super::{ClientAuthenticator, Finding, Presented, Reason, Refusal};
use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::certificate::{Certificate, Chain};
use crate::pki::name::RdnDifference;
use crate::pki::revocation::{Consulted, RevocationMode};
use crate::pki::trust::TrustErrorKind;
use crate::pki::{AnchorSet, AnchorSetName, SubjectMatcher, Thumbprint, TrustError};
use crate::registry::Credential;

/// A decision with everything that led to it (contract §5).
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The client asked about.
    pub client_id: String,
    /// What the token endpoint would have said.
    pub accepted: bool,
    /// The reason of the refusal.
    pub reason: Option<Reason>,
    /// The reference of the refused request, where there was one.
    pub reference: Option<String>,
    /// The moment decided for, RFC 3339.
    pub at: String,
    /// Each check in order.
    pub checks: Vec<Finding>,
    /// The registered and the presented name, RDN by RDN, where they differ.
    pub dn_difference: Vec<RdnDifference>,
    /// The path, leaf first, as far as it was built.
    pub path: Vec<PathStep>,
    /// Who was asked whether a certificate of the path was revoked.
    pub revocation: RevocationStatus,
    /// The lines of the client document that would accept this certificate, if there are any; none for one that is
    /// accepted.
    pub accepting_yaml: Option<String>,
    /// What has to be done beside them, or instead of them where no line does it: a file to be written, a set to be
    /// published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepting_step: Option<String>,
}

/// One certificate of the path.
#[derive(Clone, Debug, Serialize)]
pub struct PathStep {
    /// RFC 4514.
    pub subject: String,
    /// RFC 8705 §3.1.
    #[serde(rename = "x5t#S256")]
    pub thumbprint: String,
}

/// Where the revocation status came from.
#[derive(Clone, Debug, Serialize)]
pub struct RevocationStatus {
    /// The policy of the anchor set: `off`, `prefer` or `require`.
    pub policy: &'static str,
    /// What each source said of each certificate of the path.
    pub sources: Vec<Consulted>,
}

impl Explanation {
    /// Everything that was found on the way to `refusal`, or to none.
    pub(super) fn of(
        examination: Examination<'_>,
        (world, now): (&ClientAuthenticator, Timestamp),
        (claimed, presented): (&str, &Presented),
        refusal: Option<Refusal>,
    ) -> Self {
        let client = ClientId::parse(claimed).ok().and_then(|id| world.registry.find(&id));
        let credential = client.map(|client| &client.credential);
        let remedy = client
            .filter(|_| refusal.is_some())
            .map(|client| Remedy::find(world, client, presented, now))
            .unwrap_or_default();
        let policy = match credential {
            Some(Credential::TlsClientAuth { anchors, .. }) => world.revocation.policy(anchors),
            _ => None,
        };
        let step = |subject: &str, thumbprint: Thumbprint| PathStep {
            subject: subject.to_owned(),
            thumbprint: thumbprint.to_string(),
        };
        Self {
            client_id: claimed.to_owned(),
            accepted: refusal.is_none(),
            reason: refusal.map(|refusal| refusal.reason),
            reference: None,
            at: now.to_string(),
            dn_difference: dn_difference(credential, presented.leaf()),
            path: examination.path.iter().map(|entry| step(&entry.subject, entry.thumbprint)).collect(),
            revocation: RevocationStatus {
                policy: policy.map_or(RevocationMode::Off, |policy| policy.mode).as_str(),
                sources: examination.consulted,
            },
            accepting_yaml: remedy.yaml,
            accepting_step: remedy.step,
            checks: examination.findings,
        }
    }
}

fn dn_difference(credential: Option<&Credential>, leaf: Option<&Certificate>) -> Vec<RdnDifference> {
    match (credential, leaf) {
        (Some(Credential::TlsClientAuth { subject: SubjectMatcher::Dn(expected), .. }), Some(leaf)) => {
            expected.difference(leaf.subject())
        }
        _ => Vec::new(),
    }
}

/// Which certificates a self-signed client may show, in words.
pub(super) fn registered_certificates(world: &ClientAuthenticator, credential: &Credential) -> String {
    let Credential::SelfSignedTlsClientAuth { jwks_uri, .. } = credential else { return String::new() };
    let pins = world.pins_of(credential);
    let listed = pins.keys().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    let listed = if listed.is_empty() { "none is there".to_owned() } else { listed };
    let Some(uri) = jwks_uri else { return listed };
    let trouble = world.remote.as_ref().and_then(|remote| remote.jwk_sets.of(uri).trouble.clone());
    let trouble = trouble.map(|trouble| format!("; {trouble}")).unwrap_or_default();
    format!("one that is published at {uri}: {listed}{trouble}")
}

/// Where the path broke and why, in words. Two CAs of one name are what nobody sees by looking, so that is said.
pub(super) fn broken_path(
    world: &ClientAuthenticator,
    chain: &Chain,
    anchors: &AnchorSetName,
    error: &TrustError,
) -> String {
    let namesake = (error.kind == TrustErrorKind::Untrusted)
        .then(|| namesake(world.trust.set(anchors)?, chain, error))
        .flatten();
    match namesake {
        Some(anchor) => format!(
            "{error}; {anchors} has an anchor named {} too, with another key, and a CA is its key, not its name",
            anchor.subject()
        ),
        None => error.to_string(),
    }
}

/// The anchor that has the name of the issuer of the certificate where the path broke, and is not it.
fn namesake<'a>(set: &'a AnchorSet, chain: &Chain, error: &TrustError) -> Option<&'a Certificate> {
    let broken = error.path.get(error.depth)?.thumbprint;
    let of_chain = || chain.intermediates.iter().find(|der| Thumbprint::of(der) == broken);
    let parsed;
    let certificate = if chain.leaf.thumbprint() == broken {
        &chain.leaf
    } else {
        parsed = Certificate::parse(of_chain()?).ok()?;
        &parsed
    };
    let on_path = |anchor: &Certificate| error.path.iter().any(|step| step.thumbprint == anchor.thumbprint());
    set.anchors().iter().find(|anchor| anchor.subject() == certificate.issuer() && !on_path(anchor))
}
