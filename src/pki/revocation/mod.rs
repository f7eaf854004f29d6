//! Whether a certificate of a path was revoked (RFC 5280 §6.3, RFC 6960): the policy of each anchor set, over lists
//! (`crl`) and answers of responders (`ocsp`) that are facts about issuers, whichever set asks.
//!
//! A decision is a look-up at every request, so that a certificate which was revoked a moment ago is refused on a
//! connection opened an hour ago. Unknown is not good (RFC 5280 §6.3.3): `require` refuses it, `prefer` accepts it and
//! tells. Fetching and asking are left to `sources` and to whoever gets the questions; nothing that a certificate
//! names is ever fetched.

pub mod crl;
pub mod ocsp;
mod signature;
pub mod sources;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;
use url::Url;

use super::certificate::Certificate;
use super::trust::{AnchorSetName, PathEntry, TrustedChain};
use crate::clock::Timestamp;
use crl::{CrlStatus, Crls};
use ocsp::{OcspCache, OcspStatus, Question};

/// `revocation` of an anchor set.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RevocationMode {
    /// Nobody is asked.
    #[default]
    Off,
    /// A revoked certificate is refused; an unknown status is accepted and told.
    Prefer,
    /// Unknown is not good (RFC 5280 §6.3.3): refused like any other.
    Require,
}

impl RevocationMode {
    /// As the configuration writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Prefer => "prefer",
            Self::Require => "require",
        }
    }
}

impl fmt::Display for RevocationMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not a mode.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("revocation is `off`, `prefer` or `require`")]
pub struct RevocationModeError;

impl FromStr for RevocationMode {
    type Err = RevocationModeError;

    fn from_str(text: &str) -> Result<Self, RevocationModeError> {
        [Self::Off, Self::Prefer, Self::Require]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or(RevocationModeError)
    }
}

/// What one anchor set asks, and whom.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SetRevocation {
    /// How much it matters.
    pub mode: RevocationMode,
    /// Whether the set has CRLs.
    pub crl: bool,
    /// The responder of the set.
    pub ocsp: Option<Url>,
}

/// The policies of all anchor sets, over lists and answers that outlive a reload.
pub struct Revocation {
    sets: BTreeMap<AnchorSetName, SetRevocation>,
    crls: Arc<Crls>,
    ocsp: Arc<OcspCache>,
}

impl Revocation {
    /// Joins policies with what is known.
    pub fn new(sets: BTreeMap<AnchorSetName, SetRevocation>, crls: Arc<Crls>, ocsp: Arc<OcspCache>) -> Self {
        Self { sets, crls, ocsp }
    }

    /// Nobody asks.
    pub fn off() -> Self {
        Self::new(BTreeMap::new(), Arc::default(), Arc::default())
    }

    /// The policy of a set.
    pub fn policy(&self, set: &AnchorSetName) -> Option<&SetRevocation> {
        self.sets.get(set)
    }

    /// The lists.
    pub fn crls(&self) -> &Arc<Crls> {
        &self.crls
    }

    /// The answers of responders.
    pub fn ocsp(&self) -> &Arc<OcspCache> {
        &self.ocsp
    }

    /// Asks for every certificate of the path but the anchor. A look-up, no I/O: what only a responder can say is in
    /// `questions`, for the caller to ask and to come back.
    pub fn check<'c>(
        &self,
        chain: TrustedChain<'c>,
        set: &AnchorSetName,
        now: Timestamp,
    ) -> Result<CurrentChain<'c>, RevocationError> {
        let Doubt { unknown, questions } = self.check_path(chain.certificates(), set, now)?;
        Ok(CurrentChain { chain, unknown, questions })
    }

    /// [`Revocation::check`] for a path (leaf first, anchor last) that was validated for any purpose.
    pub fn check_path(
        &self,
        path: &[Arc<Certificate>],
        set: &AnchorSetName,
        now: Timestamp,
    ) -> Result<Doubt, RevocationError> {
        let Some(policy) = self.policy(set).filter(|policy| policy.mode != RevocationMode::Off) else {
            return Ok(Doubt::default());
        };
        let mut first_unknown = None;
        let mut questions = Vec::new();
        for (depth, (certificate, issuer)) in with_issuers(path).enumerate() {
            let place = || place(depth, certificate);
            match self.standing(policy, certificate, issuer, now) {
                Standing::Good => {}
                Standing::Revoked(what) => {
                    let detail = format!("{} {what}", place());
                    let kind = RevocationErrorKind::Revoked;
                    return Err(RevocationError { kind, depth, detail, questions: Vec::new() });
                }
                Standing::Unknown { why, question } => {
                    questions.extend(question);
                    first_unknown.get_or_insert_with(|| {
                        (depth, format!("it is not known whether {} was revoked: {why}", place()))
                    });
                }
            }
        }
        match (first_unknown, policy.mode) {
            (None, _) => Ok(Doubt::default()),
            (Some((depth, detail)), RevocationMode::Require) => {
                Err(RevocationError { kind: RevocationErrorKind::Unknown, depth, detail, questions })
            }
            (Some((_, detail)), _) => Ok(Doubt { unknown: Some(detail), questions }),
        }
    }

    /// What each source says of each certificate of the path, for people.
    pub fn consult(&self, chain: &TrustedChain<'_>, set: &AnchorSetName, now: Timestamp) -> Vec<Consulted> {
        let Some(policy) = self.policy(set).filter(|policy| policy.mode != RevocationMode::Off) else {
            return Vec::new();
        };
        let mut consulted = Vec::new();
        for (certificate, issuer) in with_issuers(chain.certificates()) {
            let subject = certificate.subject().to_string();
            if policy.crl {
                consulted.push(Consulted::of_crl(
                    subject.clone(),
                    issuer,
                    self.crls.status(certificate, issuer, now),
                ));
            }
            if let Some(responder) = &policy.ocsp {
                let status = self.ocsp.status(responder, certificate, issuer, now);
                consulted.push(Consulted::of_ocsp(subject, responder, status));
            }
        }
        consulted
    }

    /// The lists first, then the responder. A source that says revoked decides; one that says good is enough.
    fn standing(
        &self,
        policy: &SetRevocation,
        certificate: &Arc<Certificate>,
        issuer: &Arc<Certificate>,
        now: Timestamp,
    ) -> Standing {
        let mut is_good = false;
        let mut doubts = Vec::new();
        if policy.crl {
            match self.crls.status(certificate, issuer, now) {
                CrlStatus::Good(_) => is_good = true,
                CrlStatus::Revoked { at, reason, source } => {
                    return Standing::Revoked(format!(
                        "was revoked {}, says {source}",
                        when_and_why(at, reason)
                    ));
                }
                CrlStatus::Unknown { why, .. } => doubts.push(why),
            }
        }
        let mut question = None;
        if let Some(responder) = &policy.ocsp {
            match self.ocsp.status(responder, certificate, issuer, now) {
                OcspStatus::Good { .. } => is_good = true,
                OcspStatus::Revoked { at, reason } => {
                    let when_and_why = when_and_why(at, reason);
                    return Standing::Revoked(format!("was revoked {when_and_why}, says OCSP {responder}"));
                }
                OcspStatus::Unknown { .. } if is_good => {}
                OcspStatus::Unknown { why, askable } => {
                    doubts.push(why);
                    question = askable.then(|| Question {
                        responder: responder.clone(),
                        certificate: Arc::clone(certificate),
                        issuer: Arc::clone(issuer),
                    });
                }
            }
        }
        match (is_good, doubts.is_empty()) {
            (true, _) => Standing::Good,
            (false, false) => Standing::Unknown { why: doubts.join("; "), question },
            (false, true) => {
                Standing::Unknown { why: "the set has neither a CRL nor a responder".into(), question }
            }
        }
    }
}

/// What is left open about a path that the policy lets pass.
#[derive(Debug, Default)]
pub struct Doubt {
    /// Why the status is not known, where the policy is `prefer`.
    pub unknown: Option<String>,
    /// What a responder could still say.
    pub questions: Vec<Question>,
}

/// What all sources together say of one certificate.
enum Standing {
    Good,
    Revoked(String),
    Unknown { why: String, question: Option<Question> },
}

/// Every certificate of a path but the anchor, with the one above it.
fn with_issuers(path: &[Arc<Certificate>]) -> impl Iterator<Item = (&Arc<Certificate>, &Arc<Certificate>)> {
    path.iter().zip(path.iter().skip(1))
}

fn place(depth: usize, certificate: &Certificate) -> String {
    // What a stranger showed must not leave the reason no room.
    let subject = certificate.subject().to_string();
    match depth {
        0 => format!("the leaf ({subject:.128})"),
        _ => format!("certificate {depth} of the path ({subject:.128})"),
    }
}

fn when_and_why(at: Timestamp, reason: Option<impl fmt::Display>) -> String {
    reason.map_or_else(|| format!("on {at}"), |reason| format!("on {at} ({reason})"))
}

/// Trusted, and not known to be revoked. Made by [`Revocation::check`] only; only this one shows its leaf.
#[derive(Debug)]
pub struct CurrentChain<'c> {
    chain: TrustedChain<'c>,
    unknown: Option<String>,
    questions: Vec<Question>,
}

impl<'c> CurrentChain<'c> {
    /// The certificate that the path begins with.
    pub fn leaf(&self) -> &'c Certificate {
        self.chain.leaf()
    }

    /// Leaf first, anchor last.
    pub fn path(&self) -> &[PathEntry] {
        self.chain.path()
    }

    /// The path itself, leaf first, anchor last.
    pub fn certificates(&self) -> &Arc<[Arc<Certificate>]> {
        self.chain.certificates()
    }

    /// Why the status is not known, where the policy is `prefer` and accepts that.
    pub fn unknown(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    /// What a responder could still say (only under `prefer`, where the status is unknown).
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }
}

/// What one source said of one certificate.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Consulted {
    /// RFC 4514.
    pub certificate: String,
    /// Such as `CRL 12 of CN=Corp CA, next update 2026-12-01T00:00:00Z`, or `OCSP http://ocsp.example.com`.
    pub source: String,
    /// `good`, `revoked` or `unknown`.
    pub status: &'static str,
    /// When and why revoked, or why nothing is known.
    pub detail: Option<String>,
}

impl Consulted {
    fn of_crl(certificate: String, issuer: &Certificate, status: CrlStatus) -> Self {
        let none = || format!("CRL of {}", issuer.subject());
        let (source, status, detail) = match status {
            CrlStatus::Good(source) => (source.to_string(), "good", None),
            CrlStatus::Revoked { at, reason, source } => {
                (source.to_string(), "revoked", Some(when_and_why(at, reason)))
            }
            CrlStatus::Unknown { why, source } => {
                (source.map_or_else(none, |source| source.to_string()), "unknown", Some(why))
            }
        };
        Self { certificate, source, status, detail }
    }

    fn of_ocsp(certificate: String, responder: &Url, status: OcspStatus) -> Self {
        let (status, detail) = match status {
            OcspStatus::Good { until } => ("good", Some(format!("until {until}"))),
            OcspStatus::Revoked { at, reason } => ("revoked", Some(when_and_why(at, reason))),
            OcspStatus::Unknown { why, .. } => ("unknown", Some(why)),
        };
        Self { certificate, source: format!("OCSP {responder}"), status, detail }
    }
}

/// Why a trusted chain is not current.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct RevocationError {
    /// For machines.
    pub kind: RevocationErrorKind,
    /// Which certificate of the path: 0 is the leaf.
    pub depth: usize,
    /// For people: which certificate, which source, since when or why not known.
    pub detail: String,
    /// What a responder could still say.
    pub questions: Vec<Question>,
}

/// The two ways of not being good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RevocationErrorKind {
    /// It was revoked.
    Revoked,
    /// Nobody can say, and the policy is `require`.
    Unknown,
}
