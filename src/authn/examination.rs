//! The walk through the checks, in the order in which they are made.
//!
//! Cheap checks come first and can only refuse; acceptance needs the last one of each method: a path to an
//! anchor of the client's own set and the registered subject on its leaf (RFC 8705 §2.1), or a registered
//! certificate (RFC 8705 §2.2).

use std::fmt::Display;
use std::sync::Arc;

use serde::Serialize;

use super::{
    AuthenticatedClient, ClientAuthenticator, Finding, Presented, PresentedCertificate, Reason, Refusal,
};
use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::certificate::{AltName, KeyUsage};
use crate::pki::name::RdnDifference;
use crate::pki::trust::{PathEntry, TrustErrorKind};
use crate::pki::{AnchorSetName, Certificate, SubjectMatcher, TrustError};
use crate::registry::{Client, Credential};

/// How far to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Depth {
    /// Stop at the first check that fails: what a request needs.
    FirstFailure,
    /// Make every check that can be made: what a person needs.
    EveryCheck,
}

/// A decision with everything that led to it (contract of `certbound explain`).
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
    /// The source of the revocation status.
    pub revocation: RevocationStatus,
    /// The lines of the client document that would accept this certificate.
    pub accepting_yaml: Option<String>,
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
    /// The policy of the anchor set.
    pub policy: &'static str,
}

/// One decision on its way.
pub(super) struct Examination<'a> {
    world: &'a ClientAuthenticator,
    depth: Depth,
    now: Timestamp,
    findings: Vec<Finding>,
    refusal: Option<Refusal>,
    path: Vec<PathEntry>,
}

impl<'a> Examination<'a> {
    pub(super) fn new(world: &'a ClientAuthenticator, depth: Depth, now: Timestamp) -> Self {
        Self { world, depth, now, findings: Vec::new(), refusal: None, path: Vec::new() }
    }

    /// Makes the checks. The only place in the house that makes an [`AuthenticatedClient`].
    pub(super) fn run(
        &mut self,
        claimed: Option<&str>,
        presented: &Presented,
    ) -> Result<AuthenticatedClient, Refusal> {
        let client = self.client(claimed)?;
        self.check(
            "enabled",
            client.enabled,
            Reason::DisabledClient,
            || "enabled: true",
            || format!("enabled: {}", client.enabled),
        )?;
        let certificate = self.certificate(presented)?;
        let leaf = &certificate.chain.leaf;
        self.validity(leaf)?;
        self.usage(leaf, &client.credential)?;
        match &client.credential {
            Credential::TlsClientAuth { subject, anchors } => {
                // A filter that can only refuse, before OpenSSL reads what a stranger sent.
                self.subject(subject, leaf)?;
                self.trusted(subject, anchors, &certificate)?;
            }
            Credential::SelfSignedTlsClientAuth { pins } => {
                // RFC 8705 §2.2: the certificate is compared, never the key in it.
                self.check(
                    "registered certificate",
                    pins.contains_key(&leaf.thumbprint()),
                    Reason::NotRegistered,
                    || pins.keys().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
                    || leaf.thumbprint(),
                )?;
            }
        }
        match self.refusal.take() {
            Some(refusal) => Err(refusal),
            None => Ok(AuthenticatedClient { client: Arc::clone(client), certificate }),
        }
    }

    /// Everything that was found, for a person.
    pub(super) fn explanation(
        self,
        claimed: &str,
        presented: &Presented,
        refusal: Option<Refusal>,
    ) -> Explanation {
        let client = ClientId::parse(claimed).ok().and_then(|id| self.world.registry.find(&id));
        let leaf = match presented {
            Presented::Certificate(certificate) => Some(&certificate.chain.leaf),
            Presented::Nothing | Presented::Malformed(_) => None,
        };
        let credential = client.map(|client| &client.credential);
        let dn_difference = match (credential, leaf) {
            (Some(Credential::TlsClientAuth { subject: SubjectMatcher::Dn(expected), .. }), Some(leaf)) => {
                expected.difference(leaf.subject())
            }
            _ => Vec::new(),
        };
        let path = self
            .path
            .iter()
            .map(|step| PathStep { subject: step.subject.clone(), thumbprint: step.thumbprint.to_string() });
        Explanation {
            client_id: claimed.to_owned(),
            accepted: refusal.is_none(),
            reason: refusal.map(|refusal| refusal.reason),
            reference: None,
            at: self.now.to_string(),
            dn_difference,
            path: path.collect(),
            revocation: RevocationStatus { policy: "off" },
            accepting_yaml: credential
                .zip(leaf)
                .and_then(|(credential, leaf)| accepting_yaml(credential, leaf)),
            checks: self.findings,
        }
    }

    fn client(&mut self, claimed: Option<&str>) -> Result<&'a Arc<Client>, Refusal> {
        let world = self.world;
        let Some(claimed) = claimed.filter(|claimed| !claimed.is_empty()) else {
            return Err(self.refuse("client_id", Reason::MissingClientId, "a client_id", "none"));
        };
        let known = ClientId::parse(claimed).ok().and_then(|id| world.registry.find(&id));
        let Some(client) = known else {
            return Err(self.refuse("client_id", Reason::UnknownClient, "a registered client_id", claimed));
        };
        self.note("client_id", || "a registered client_id", || client.id.to_string());
        Ok(client)
    }

    fn certificate(&mut self, presented: &Presented) -> Result<Arc<PresentedCertificate>, Refusal> {
        // The hint matters: some clients stay silent because TLS offered no algorithm for their key.
        const EXPECTED: &str = "a certificate whose key TLS can use here (P-256, P-384, P-521, Ed25519, RSA of 2048 bits or more)";
        match presented {
            Presented::Nothing => Err(self.refuse("certificate", Reason::NoCertificate, EXPECTED, "none")),
            Presented::Malformed(error) => Err(self.refuse(
                "certificate",
                Reason::MalformedCertificate,
                "a well-formed certificate",
                error,
            )),
            Presented::Certificate(certificate) => {
                self.note("certificate", || "a certificate", || certificate.chain.leaf.thumbprint());
                Ok(Arc::clone(certificate))
            }
        }
    }

    /// Both ends count (RFC 5280 §4.1.2.5); and a token needs at least one second to live.
    fn validity(&mut self, leaf: &Certificate) -> Result<(), Refusal> {
        let now = self.now;
        self.check(
            "not before",
            leaf.not_before() <= now,
            Reason::NotYetValid,
            || format!("valid by {now}"),
            || leaf.not_before(),
        )?;
        self.check(
            "not after",
            now < leaf.not_after(),
            Reason::Expired,
            || format!("valid after {now}"),
            || leaf.not_after(),
        )
    }

    /// What the certificate was made for. The path engine looks at the same extensions, but refuses less than we do.
    fn usage(&mut self, leaf: &Certificate, credential: &Credential) -> Result<(), Refusal> {
        self.check(
            "extended key usage",
            leaf.allows_client_auth(),
            Reason::WrongUsage,
            || "none, or one with clientAuth",
            || leaf.purposes().map_or_else(|| "none".to_owned(), |usages| usages.join(" ")),
        )?;
        let Credential::TlsClientAuth { .. } = credential else {
            // `openssl req -x509` makes CA certificates; pinned, they are as good as any other.
            return Ok(());
        };
        self.check(
            "basic constraints",
            !leaf.is_ca(),
            Reason::WrongUsage,
            || "not a CA",
            || {
                if leaf.is_ca() { "CA:TRUE" } else { "not a CA" }
            },
        )?;
        self.check(
            "key usage",
            leaf.key_usage().is_none_or(KeyUsage::digital_signature),
            Reason::WrongUsage,
            || "none, or one with digitalSignature",
            || leaf.key_usage().map_or_else(|| "none".to_owned(), |usage| usage.names().join(" ")),
        )
    }

    fn subject(&mut self, subject: &SubjectMatcher, leaf: &Certificate) -> Result<(), Refusal> {
        self.check(
            subject.parameter(),
            subject.matches(leaf),
            Reason::SubjectMismatch,
            || subject.to_string(),
            || subject.seen(leaf),
        )
    }

    fn trusted(
        &mut self,
        subject: &SubjectMatcher,
        anchors: &AnchorSetName,
        certificate: &Arc<PresentedCertificate>,
    ) -> Result<(), Refusal> {
        match self.world.trust.verify(&certificate.chain, anchors, self.now) {
            Ok(trusted) => {
                self.note("path", || format!("a path to an anchor of {anchors}"), || "one");
                if self.depth == Depth::EveryCheck {
                    self.path = trusted.path().to_vec();
                }
                // The decision itself: the registered subject on a leaf that has a path.
                self.subject(subject, trusted.leaf())
            }
            Err(error) => {
                self.path.clone_from(&error.path);
                let expected = || format!("a path to an anchor of {anchors}");
                self.check("path", false, reason_of(&error), expected, || error)
            }
        }
    }

    /// Records a check; a failed one ends the walk, or is remembered as the reason if everything is to be seen.
    fn check<E: Display, S: Display>(
        &mut self,
        check: &'static str,
        ok: bool,
        reason: Reason,
        expected: impl FnOnce() -> E,
        seen: impl FnOnce() -> S,
    ) -> Result<(), Refusal> {
        if ok {
            self.note(check, expected, seen);
            return Ok(());
        }
        let refusal = self.refuse(check, reason, expected(), seen());
        match self.depth {
            Depth::FirstFailure => Err(refusal),
            Depth::EveryCheck => {
                self.refusal.get_or_insert(refusal);
                Ok(())
            }
        }
    }

    /// A check that nothing after it can do without. The reason stays that of the first failure.
    fn refuse(
        &mut self,
        check: &'static str,
        reason: Reason,
        expected: impl Display,
        seen: impl Display,
    ) -> Refusal {
        let finding = Finding { check, ok: false, expected: expected.to_string(), seen: seen.to_string() };
        self.keep(&finding);
        self.refusal.clone().unwrap_or(Refusal { reason, finding })
    }

    /// A check that held is worth words only to a person.
    fn note<E: Display, S: Display>(
        &mut self,
        check: &'static str,
        expected: impl FnOnce() -> E,
        seen: impl FnOnce() -> S,
    ) {
        if self.depth == Depth::EveryCheck {
            let (expected, seen) = (expected().to_string(), seen().to_string());
            self.keep(&Finding { check, ok: true, expected, seen });
        }
    }

    /// The subject is checked twice, as a filter and as the decision; a person sees it once.
    fn keep(&mut self, finding: &Finding) {
        if self.depth == Depth::EveryCheck && !self.findings.contains(finding) {
            self.findings.push(finding.clone());
        }
    }
}

fn reason_of(error: &TrustError) -> Reason {
    match error.kind {
        TrustErrorKind::Malformed => Reason::MalformedCertificate,
        TrustErrorKind::Untrusted => Reason::Untrusted,
        TrustErrorKind::Expired => Reason::Expired,
        TrustErrorKind::NotYetValid => Reason::NotYetValid,
        TrustErrorKind::WrongUsage => Reason::WrongUsage,
        TrustErrorKind::WeakKey => Reason::WeakKey,
    }
}

/// What to write so that this certificate is the registered one; none where no line can do it.
fn accepting_yaml(credential: &Credential, leaf: &Certificate) -> Option<String> {
    match credential {
        Credential::TlsClientAuth { subject, .. } => {
            let names = || leaf.alt_names().iter();
            let value = match subject {
                SubjectMatcher::Dn(_) => (!leaf.subject().is_empty()).then(|| leaf.subject().to_string()),
                SubjectMatcher::Dns(_) => names().find_map(|name| match name {
                    AltName::Dns(dns) => Some(dns.clone()),
                    _ => None,
                }),
                SubjectMatcher::Uri(_) => names().find_map(|name| match name {
                    AltName::Uri(uri) => Some(uri.clone()),
                    _ => None,
                }),
                SubjectMatcher::Ip(_) => names().find_map(|name| match name {
                    AltName::Ip(ip) => Some(ip.to_string()),
                    _ => None,
                }),
                SubjectMatcher::Email(_) => names().find_map(|name| match name {
                    AltName::Email(email) => Some(email.clone()),
                    _ => None,
                }),
            };
            Some(format!("{}: {}", subject.parameter(), yaml_quoted(&value?)))
        }
        Credential::SelfSignedTlsClientAuth { .. } => Some(format!("x5t#S256: [{}]", leaf.thumbprint())),
    }
}

/// A JSON string is a YAML scalar, whatever is in it.
fn yaml_quoted(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}
