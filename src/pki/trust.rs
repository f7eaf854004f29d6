//! Path validation (RFC 5280 §6.1): whether a chain leads from a leaf to one of the anchors that may vouch
//! for it, in time and for the purpose. The only place that decides so.
//!
//! OpenSSL builds and judges the path (`engine`), other paths are tried where its first choice fails
//! (`search`), and what OpenSSL lets through is refused afterwards (`rules`, `constraints`, `keys`). The
//! profile [`Profile::Compatible`] is §6.1 as written, because the CA that `openssl req -x509` makes and the
//! leaf that `openssl x509 -req` makes are what most people have; [`Profile::Strict`] adds what §4 asks of a
//! conforming CA. Left to others: revocation, and the leaf policy of a client (no CA, digitalSignature) to
//! the authenticator.

mod constraints;
mod engine;
mod keys;
mod lint;
mod rules;
mod search;
mod store;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use openssl::x509::X509;
use sha2::{Digest as _, Sha256};

use super::certificate::{Certificate, Chain, Thumbprint};
use crate::clock::Timestamp;

pub(in crate::pki) use keys::fault as key_fault;
pub use lint::is_below_public_ca;
pub use store::{TrustStore, TrustedChain};

/// The name of an anchor set, as `trust_anchors` of the configuration gives it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AnchorSetName(Box<str>);

impl AnchorSetName {
    /// As written.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AnchorSetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much is asked of a path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Profile {
    /// RFC 5280 §6.1 as written.
    #[default]
    Compatible,
    /// Also what RFC 5280 §4 asks of conforming CAs.
    Strict,
}

impl Profile {
    /// As the configuration writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compatible => "compatible",
            Self::Strict => "strict",
        }
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        [Self::Compatible, Self::Strict]
            .into_iter()
            .find(|profile| profile.as_str() == text)
            .ok_or(ProfileError)
    }
}

/// Not the name of a profile.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a profile is `compatible` or `strict`")]
pub struct ProfileError;

/// What the leaf is to be used for (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// TLS client authentication.
    Client,
    /// TLS server authentication.
    Server,
    /// Whatever it says.
    Any,
}

/// Anchors that may vouch, intermediates that help, and the rules: one named entry of `trust_anchors`.
///
/// A CA is its key: sets are compared by the keys of their anchors, never by names.
pub struct AnchorSet {
    anchors: Vec<Certificate>,
    intermediates: Vec<Certificate>,
    parsed_anchors: Vec<X509>,
    parsed_intermediates: Vec<X509>,
    anchor_keys: BTreeSet<[u8; 32]>,
    profile: Profile,
    content_hash: [u8; 32],
}

/// What is wrong with which anchor.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what}")]
pub struct AnchorError {
    /// What is wrong with which anchor.
    pub what: String,
    /// What to do, such as the openssl line that makes a right one.
    pub instead: String,
}

impl AnchorSet {
    /// Refuses an empty set, an anchor that is no CA, one that is a CA of the web (by its key), and one that could
    /// never validate anything, at whatever time: all of them at once. Expiry is no error here, see [`AnchorSet::validity_warnings`].
    pub fn new(
        anchors: Vec<Certificate>,
        intermediates: Vec<Certificate>,
        profile: Profile,
    ) -> Result<Self, Vec<AnchorError>> {
        let errors = lint::anchors(&anchors, profile);
        if errors.is_empty() { Ok(Self::unchecked(anchors, intermediates, profile)) } else { Err(errors) }
    }

    /// Without the lint, for `cert verify`, which judges the path and nothing else.
    pub fn unchecked(anchors: Vec<Certificate>, intermediates: Vec<Certificate>, profile: Profile) -> Self {
        Self {
            parsed_anchors: engine::parse_all(anchors.iter().map(Certificate::der)),
            parsed_intermediates: engine::parse_all(intermediates.iter().map(Certificate::der)),
            anchor_keys: anchors.iter().map(Certificate::key_hash).collect(),
            content_hash: content_hash(&anchors, &intermediates, profile),
            anchors,
            intermediates,
            profile,
        }
    }

    /// The anchors, in file order.
    pub fn anchors(&self) -> &[Certificate] {
        &self.anchors
    }

    /// The intermediates that help, in file order.
    pub fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    /// The profile that paths are judged by.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Whether one CA, which is to say one key, is in both sets.
    pub fn shares_anchor_key_with(&self, other: &Self) -> bool {
        !self.anchor_keys.is_disjoint(&other.anchor_keys)
    }

    /// SHA-256 over everything that decides: anchors, intermediates, profile.
    pub fn content_hash(&self) -> [u8; 32] {
        self.content_hash
    }

    /// Whether any anchor is within its validity. If not, nothing can be accepted now.
    pub fn any_within_validity(&self, now: Timestamp) -> bool {
        self.anchors.iter().any(|anchor| anchor.not_before() <= now && now <= anchor.not_after())
    }

    /// A sentence for each anchor that is outside its validity.
    pub fn validity_warnings(&self, now: Timestamp) -> Vec<String> {
        let warning = |anchor: &Certificate| {
            let subject = anchor.subject();
            if anchor.not_after() < now {
                return Some(format!("the anchor {subject} expired on {}", anchor.not_after()));
            }
            (now < anchor.not_before())
                .then(|| format!("the anchor {subject} is not valid before {}", anchor.not_before()))
        };
        self.anchors.iter().filter_map(warning).collect()
    }

    /// Path validation and nothing else: no leaf policy, no cache. The path is leaf first, anchor last.
    pub fn verify_path(
        &self,
        chain: &Chain,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Vec<PathEntry>, TrustError> {
        self.find_path(chain, purpose, now).map(|path| path.entries)
    }

    /// [`AnchorSet::verify_path`], giving the certificates themselves, for who has to ask about their revocation.
    pub fn verify_certificates(
        &self,
        chain: &Chain,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Vec<Arc<Certificate>>, TrustError> {
        self.find_path(chain, purpose, now).map(|path| path.certificates)
    }

    fn find_path(&self, chain: &Chain, purpose: Purpose, now: Timestamp) -> Result<ValidPath, TrustError> {
        // possession of a CA's key is no membership: an anchor vouches for others
        if self.anchor_keys.contains(&chain.leaf.key_hash()) {
            return Err(TrustError {
                kind: TrustErrorKind::Untrusted,
                depth: 0,
                detail: "the certificate shown has the key of a trust anchor: an anchor vouches for others, \
                         never for itself"
                    .into(),
                path: vec![PathEntry::of(chain.leaf.der())],
            });
        }
        search::find(self, chain, purpose, now)
    }
}

/// A path that was accepted.
struct ValidPath {
    entries: Vec<PathEntry>,
    /// The same, parsed.
    certificates: Vec<Arc<Certificate>>,
    /// The earliest notAfter in it.
    until: Timestamp,
}

/// One certificate of a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathEntry {
    /// RFC 4514.
    pub subject: String,
    /// Of the certificate.
    pub thumbprint: Thumbprint,
}

impl PathEntry {
    /// What a path says of this certificate.
    pub fn new(certificate: &Certificate) -> Self {
        Self { subject: certificate.subject().to_string(), thumbprint: certificate.thumbprint() }
    }

    /// Of one that may not parse.
    fn of(der: &[u8]) -> Self {
        Self { subject: rules::subject_text(der), thumbprint: Thumbprint::of(der) }
    }
}

/// Those of the closed set of reasons that path validation can give.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TrustErrorKind {
    /// A certificate of the path cannot be read.
    Malformed,
    /// No path, or one that breaks a rule.
    Untrusted,
    /// After a notAfter.
    Expired,
    /// Before a notBefore.
    NotYetValid,
    /// The purpose is not among the usages.
    WrongUsage,
    /// A key or a signature algorithm that is not trusted any more.
    WeakKey,
}

impl TrustErrorKind {
    /// The word for it in logs, audit, metrics and `--format json`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed_certificate",
            Self::Untrusted => "untrusted",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongUsage => "wrong_usage",
            Self::WeakKey => "weak_key",
        }
    }
}

/// Why a chain is not trusted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub struct TrustError {
    /// For machines.
    pub kind: TrustErrorKind,
    /// Which certificate of the path: 0 is the leaf.
    pub depth: usize,
    /// For people.
    pub detail: String,
    /// As far as it was built, leaf first.
    pub path: Vec<PathEntry>,
}

fn content_hash(anchors: &[Certificate], intermediates: &[Certificate], profile: Profile) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(profile.as_str());
    for (list, label) in [(anchors, "anchors"), (intermediates, "intermediates")] {
        hash.update(label);
        for certificate in list {
            update_with_length(&mut hash, certificate.der());
        }
    }
    hash.finalize().into()
}

/// Length first, so that two lists of certificates never hash alike.
fn update_with_length(hash: &mut Sha256, octets: &[u8]) {
    hash.update(u64::try_from(octets.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(octets);
}

#[cfg(test)]
mod tests;
