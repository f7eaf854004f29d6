//! The walk through the checks, in the order in which they are made.
//!
//! Cheap checks come first and can only refuse; acceptance needs the last one of each method: a path to an
//! anchor of the client's own set, no revocation on it, and the registered subject on its leaf (RFC 8705 §2.1),
//! or a registered certificate (RFC 8705 §2.2). Nothing is asked of anybody on the way: what somebody else could
//! still say is written into an [`Errand`], for the caller to run and to come back.

use std::fmt::Display;
use std::sync::Arc;

use super::errand::Errand;
use super::{
    AuthenticatedClient, ClientAuthenticator, Finding, Presented, PresentedCertificate, Reason, Refusal,
    explanation,
};
use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::certificate::KeyUsage;
use crate::pki::revocation::{Consulted, RevocationErrorKind, RevocationMode};
use crate::pki::trust::{PathEntry, TrustErrorKind, TrustedChain};
use crate::pki::{AnchorSetName, Certificate, SubjectMatcher, TrustError};
use crate::registry::{Client, Credential};

/// The most characters of a stranger's value within a sentence of ours (contract ruling 10); the sentence itself is not
/// cut, so that what it says after the value is not lost.
const A_STRANGERS_VALUE: usize = 128;

/// How far to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Depth {
    /// Stop at the first check that fails: what a request needs.
    FirstFailure,
    /// Make every check that can be made: what a person needs.
    EveryCheck,
}

/// One decision on its way.
pub(super) struct Examination<'a> {
    world: &'a ClientAuthenticator,
    depth: Depth,
    now: Timestamp,
    refusal: Option<Refusal>,
    pub(super) findings: Vec<Finding>,
    pub(super) path: Vec<PathEntry>,
    pub(super) consulted: Vec<Consulted>,
    /// What somebody else could still say.
    pub(super) errand: Errand,
}

impl<'a> Examination<'a> {
    pub(super) fn new(world: &'a ClientAuthenticator, depth: Depth, now: Timestamp) -> Self {
        Self {
            world,
            depth,
            now,
            refusal: None,
            findings: Vec::new(),
            path: Vec::new(),
            consulted: Vec::new(),
            errand: Errand::default(),
        }
    }

    /// Finds the client and makes the checks.
    pub(super) fn run(
        &mut self,
        claimed: Option<&str>,
        presented: &Presented,
    ) -> Result<AuthenticatedClient, Refusal> {
        let client = self.client(claimed)?;
        self.judge(client, presented)
    }

    /// Makes the checks. The only place in the house that makes an [`AuthenticatedClient`].
    pub(super) fn judge(
        &mut self,
        client: &Arc<Client>,
        presented: &Presented,
    ) -> Result<AuthenticatedClient, Refusal> {
        self.check(
            "enabled",
            client.enabled,
            Reason::DisabledClient,
            || "enabled: true",
            || format!("enabled: {}", client.enabled),
        )?;
        let (certificate, revocation_unknown) = self.fits(&client.credential, presented)?;
        match self.refusal.take() {
            Some(refusal) => Err(refusal),
            None => Ok(AuthenticatedClient { client: Arc::clone(client), certificate, revocation_unknown }),
        }
    }

    /// Whether the certificate is what the credential wants, and why nobody can say whether it was revoked. Where every
    /// check is made, what failed is in `refusal`.
    pub(super) fn fits(
        &mut self,
        credential: &Credential,
        presented: &Presented,
    ) -> Result<(Arc<PresentedCertificate>, Option<String>), Refusal> {
        let certificate = self.certificate(presented)?;
        let leaf = &certificate.chain.leaf;
        self.validity(leaf)?;
        self.usage(leaf, credential)?;
        let revocation_unknown = match credential {
            Credential::TlsClientAuth { subject, anchors } => {
                // A filter that can only refuse, before OpenSSL reads what a stranger sent.
                self.subject(subject, leaf)?;
                self.vouched_for(subject, anchors, &certificate)?
            }
            Credential::SelfSignedTlsClientAuth { .. } => {
                self.registered(credential, leaf)?;
                None
            }
        };
        Ok((certificate, revocation_unknown))
    }

    fn client(&mut self, claimed: Option<&str>) -> Result<&'a Arc<Client>, Refusal> {
        let world = self.world;
        let Some(claimed) = claimed.filter(|claimed| !claimed.is_empty()) else {
            return Err(self.refuse("client_id", Reason::MissingClientId, "a client_id", "none"));
        };
        let known = ClientId::parse(claimed).ok().and_then(|id| world.registry.find(&id));
        let Some(client) = known else {
            let seen = format_args!("{claimed:.A_STRANGERS_VALUE$}");
            return Err(self.refuse("client_id", Reason::UnknownClient, "a registered client_id", seen));
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
            || leaf.purposes().map_or_else(|| "none".to_owned(), |usages| cut(&usages.join(" "))),
        )?;
        let Credential::TlsClientAuth { .. } = credential else {
            // `openssl req -x509` makes CA certificates; pinned, they are as good as any other. No path is built that
            // would be about the key, and behind a proxy no handshake of ours either.
            let fault = leaf.key_fault();
            return self.check(
                "key",
                fault.is_none(),
                Reason::WeakKey,
                || "EC, Ed25519, or RSA of 2048 to 8192 bits",
                || fault.as_deref().unwrap_or("one of these").to_owned(),
            );
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

    /// RFC 8705 §2.2: the certificate is compared, never the key in it.
    fn registered(&mut self, credential: &Credential, leaf: &Certificate) -> Result<(), Refusal> {
        let (world, thumbprint) = (self.world, leaf.thumbprint());
        let is_listed = world.lists(credential, thumbprint);
        if !is_listed {
            self.errand.ask_for_set(world, credential, self.now);
        }
        self.check(
            "registered certificate",
            is_listed,
            Reason::NotRegistered,
            || explanation::registered_certificates(world, credential),
            || thumbprint,
        )
    }

    /// A path to an anchor of the client's set, nothing on it revoked, and only then the subject: on the leaf of a
    /// chain that is both. Gives why the revocation status is not known, where that is accepted.
    fn vouched_for(
        &mut self,
        subject: &SubjectMatcher,
        anchors: &AnchorSetName,
        certificate: &Arc<PresentedCertificate>,
    ) -> Result<Option<String>, Refusal> {
        let expected = || format!("a path to an anchor of {anchors}");
        match self.world.trust.verify(&certificate.chain, anchors, self.now) {
            Ok(trusted) => {
                self.note("path", expected, || "one");
                self.current(subject, anchors, trusted)
            }
            Err(error) => {
                self.path.clone_from(&error.path);
                let (world, chain) = (self.world, &certificate.chain);
                let seen = || explanation::broken_path(world, chain, anchors, &error);
                self.check("path", false, reason_of(&error), expected, seen)?;
                Ok(None)
            }
        }
    }

    fn current(
        &mut self,
        subject: &SubjectMatcher,
        anchors: &AnchorSetName,
        trusted: TrustedChain<'_>,
    ) -> Result<Option<String>, Refusal> {
        let revocation = &self.world.revocation;
        if self.depth == Depth::EveryCheck {
            self.path = trusted.path().to_vec();
            self.consulted = revocation.consult(&trusted, anchors, self.now);
        }
        let mode = revocation.policy(anchors).map_or(RevocationMode::Off, |policy| policy.mode);
        let expected = || match mode {
            RevocationMode::Off => "nothing: revocation is off for this anchor set",
            RevocationMode::Prefer => "no certificate of the path known to be revoked",
            RevocationMode::Require => "every certificate of the path known not to be revoked",
        };
        match revocation.check(trusted, anchors, self.now) {
            Ok(current) => {
                self.errand.ask_responders(current.questions());
                let seen = || match (mode, current.unknown()) {
                    (RevocationMode::Off, _) => "not asked".to_owned(),
                    (_, Some(why)) => format!("unknown: {why}"),
                    (_, None) => "good".to_owned(),
                };
                self.note("revocation", expected, seen);
                // The decision itself.
                self.subject(subject, current.leaf())?;
                Ok(current.unknown().map(str::to_owned))
            }
            Err(error) => {
                let reason = match error.kind {
                    RevocationErrorKind::Revoked => Reason::Revoked,
                    RevocationErrorKind::Unknown => {
                        self.errand.ask_responders(&error.questions);
                        Reason::RevocationUnknown
                    }
                };
                self.check("revocation", false, reason, expected, || error)?;
                Ok(None)
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

fn cut(value: &str) -> String {
    format!("{value:.A_STRANGERS_VALUE$}")
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
