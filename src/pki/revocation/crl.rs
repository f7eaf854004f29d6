//! Certificate revocation lists (RFC 5280 §5): verified once when they are offered, kept by the key of their issuer,
//! and asked for each certificate of a path.
//!
//! A list is a fact about one CA, whatever file or URL it came from and whichever anchor set wants to know, so all
//! sets share what is here, and it outlives every reload. Two CAs of one name never answer for each other. `list`
//! reads the octets, `extensions` what a list says about itself, `signer` whether its issuer made it; OpenSSL is
//! never given a list (with 100,000 entries it takes milliseconds for each path). Where lists come from is left to
//! `sources`, what an unknown status means to [`super::Revocation`].
//!
//! All that grows with a list is done when it is offered, and without a lock: it is read, and what is signed becomes a
//! digest. So a list that waits for its issuer costs the request that shows the issuer one check of a signature; where
//! the algorithm takes no digest (Ed25519, Ed448), a list of more than 1 MiB does not wait but is refused.

mod extensions;
mod issuers;
mod list;
mod signer;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::issuers::{Aside, Issuers, Verified};
use self::list::List;
use self::signer::{Mismatch, Seal};
use crate::clock::Timestamp;
use crate::pki::certificate::Certificate;
use crate::pki::files::{self, FileError};

/// The newest list of every issuer, whatever file or URL it came from. Lives as long as the server.
#[derive(Default)]
pub struct Crls {
    issuers: RwLock<Issuers>,
}

/// A list that was taken, or was there already.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CrlSummary {
    /// RFC 4514.
    pub issuer: String,
    /// SHA-256 of the issuer's `SubjectPublicKeyInfo`; None while no certificate of the issuer has been seen.
    pub issuer_key: Option<[u8; 32]>,
    /// The CRL number (RFC 5280 §5.2.3), decimal.
    pub number: String,
    /// When it was made.
    pub this_update: Timestamp,
    /// When there will be a newer one.
    pub next_update: Timestamp,
    /// Revoked certificates.
    pub entries: usize,
}

/// Why a list is not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CrlError {
    /// No PEM or DER of a list.
    #[error("this is not a certificate revocation list in PEM or DER: {0}")]
    Malformed(String),
    /// The signature does not hold, or the issuer may not sign lists.
    #[error("{0}")]
    Forged(String),
    /// A delta, an indirect list, a scope or critical extension that is not understood.
    #[error("{0}")]
    Unsupported(String),
    /// With a lower number than the one in force.
    #[error(
        "it has CRL number {offered}, and {in_force} is in force: an older list never replaces a newer one"
    )]
    Older {
        /// Of the list.
        offered: String,
        /// Of the list that stays.
        in_force: String,
    },
    /// `thisUpdate` is later than now.
    #[error("it is from the future: thisUpdate is {0}")]
    Future(Timestamp),
}

/// What the lists say of one certificate.
#[derive(Debug)]
pub enum CrlStatus {
    /// A current list of its issuer covers it and does not have it.
    Good(CrlSource),
    /// A list of its issuer has it.
    Revoked {
        /// `revocationDate`.
        at: Timestamp,
        /// `reasonCode`.
        reason: Option<RevocationReason>,
        /// The list.
        source: CrlSource,
    },
    /// No list that is current covers it.
    Unknown {
        /// For people.
        why: String,
        /// A list that would, if it were current.
        source: Option<CrlSource>,
    },
}

/// One list, to be named in a sentence: `CRL 12 of CN=Corp CA, next update 2026-12-01T00:00:00Z`.
#[derive(Clone)]
pub struct CrlSource(Arc<List>);

/// Why a certificate was revoked (RFC 5280 §5.3.1). `removeFromCRL` is not among them: it is of delta CRLs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum RevocationReason {
    /// Somebody chose to say so.
    Unspecified = 0,
    /// The subject's key may be in other hands.
    KeyCompromise = 1,
    /// The CA's key may be in other hands.
    CaCompromise = 2,
    /// The subject's name or other data changed.
    AffiliationChanged = 3,
    /// There is another certificate.
    Superseded = 4,
    /// Not needed any more.
    CessationOfOperation = 5,
    /// For the time being; counts as revoked.
    CertificateHold = 6,
    /// A privilege in it was taken back.
    PrivilegeWithdrawn = 9,
    /// The attribute authority's key may be in other hands.
    AaCompromise = 10,
}

impl RevocationReason {
    /// The word of RFC 5280 §5.3.1.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::AaCompromise => "aACompromise",
        }
    }

    /// The number of `CRLReason`.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// By the number of `CRLReason`; none for 7, which is not used, and 8, `removeFromCRL`.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Unspecified,
            1 => Self::KeyCompromise,
            2 => Self::CaCompromise,
            3 => Self::AffiliationChanged,
            4 => Self::Superseded,
            5 => Self::CessationOfOperation,
            6 => Self::CertificateHold,
            9 => Self::PrivilegeWithdrawn,
            10 => Self::AaCompromise,
            _ => return None,
        })
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Crls {
    /// The most octets that are read as one file of lists.
    pub const MAX_BYTES: usize = 64 * 1024 * 1024;

    /// Reads every list in `bytes` (DER, or PEM blocks), verifies it against those of `issuers` (anchors and
    /// intermediates of the set) that bear its issuer's name, and takes it in if it is not older than the one there.
    /// A list whose issuer is not among them is kept aside until a path shows the issuer (the module says which is not). An expired one is taken (and
    /// answers "unknown"). Any error leaves everything as it was.
    ///
    /// Of two lists with one number the later thisUpdate counts, and then the one that revokes more. The summaries are
    /// those of the lists in force afterwards, in the order of `bytes`.
    pub fn offer(
        &self,
        bytes: &[u8],
        issuers: &[Certificate],
        now: Timestamp,
    ) -> Result<Vec<CrlSummary>, CrlError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(CrlError::Malformed("it is larger than 64 MiB".into()));
        }
        let ders = files::crls(bytes).map_err(|error| {
            CrlError::Malformed(match error {
                FileError::Nothing => "there is none in it".into(),
                other => other.to_string(),
            })
        })?;
        let known = self.read().certificates();
        let mut offered = Vec::with_capacity(ders.len());
        for der in ders {
            offered.push(judge(&der, issuers, &known, now)?);
        }
        self.write().take(&offered)
    }

    /// Every list in force, in a stable order; then those that are kept aside.
    pub fn summaries(&self) -> Vec<CrlSummary> {
        self.read().summaries()
    }

    /// What is known of `certificate`, which `issuer` issued. A look-up: of a list that was kept aside for this issuer
    /// only the signature is verified here, once.
    ///
    /// A list holds up to and including `nextUpdate` (RFC 5280 §6.3.3 (a): "after"). What an older list revoked stays
    /// revoked when the list has run out, because nothing but a newer list takes that back; only a hold, which can be
    /// lifted any time, is unknown then.
    pub fn status(&self, certificate: &Certificate, issuer: &Arc<Certificate>, now: Timestamp) -> CrlStatus {
        let issuers = self.read_with(issuer);
        let mut good = None;
        let mut stale = None;
        for list in issuers.lists_of(issuer) {
            if !list.covers(certificate) {
                continue;
            }
            let is_current = list.is_current(now);
            match list.find(certificate.serial()) {
                Some(entry) if is_current || !entry.is_on_hold() => {
                    let source = CrlSource(Arc::clone(list));
                    return CrlStatus::Revoked { at: entry.at(), reason: entry.reason(), source };
                }
                None if is_current => good = Some(list),
                _ => stale = Some(list),
            }
        }
        match (good, stale) {
            (Some(list), _) => CrlStatus::Good(CrlSource(Arc::clone(list))),
            (None, Some(list)) => CrlStatus::Unknown {
                why: list.why_not_current(now),
                source: Some(CrlSource(Arc::clone(list))),
            },
            (None, None) => CrlStatus::Unknown { why: issuers.why_nothing_covers(issuer), source: None },
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Issuers> {
        self.issuers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Issuers> {
        self.issuers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known, the lists included that were waiting for this issuer to be seen.
    fn read_with(&self, issuer: &Arc<Certificate>) -> RwLockReadGuard<'_, Issuers> {
        let issuers = self.read();
        let waiting = issuers.waiting_for(issuer);
        if waiting.is_empty() {
            return issuers;
        }
        drop(issuers);
        for aside in waiting {
            // without a lock: if several find the issuer at once, each verifies, which is less than a wait
            if let Some(verified) = aside.verify(issuer) {
                self.write().adopt(&aside, &verified);
            }
        }
        self.read()
    }
}

/// Who they are from, not their entries.
impl fmt::Debug for Crls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.summaries()).finish()
    }
}

impl fmt::Display for CrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(list) = self;
        let (number, issuer) = (list.number(), &list.issuer);
        write!(f, "CRL {number} of {issuer}, next update {}", list.next_update)
    }
}

impl fmt::Debug for CrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrlSource({self})")
    }
}

/// A list that was read.
enum Offered {
    /// Its issuer signed it.
    Verified(Verified),
    /// Nobody who is known here could have.
    Aside(Arc<Aside>),
}

fn judge(
    der: &[u8],
    issuers: &[Certificate],
    known: &[Arc<Certificate>],
    now: Timestamp,
) -> Result<Offered, CrlError> {
    let (list, signed) = list::parse(der)?;
    if list.this_update > now {
        return Err(CrlError::Future(list.this_update));
    }
    let (list, seal) = (Arc::new(list), Seal::of(&signed)?);
    let mut fault = None;
    for candidate in issuers {
        match signer::verify(&list, &seal, candidate) {
            Ok(()) => return Ok(Offered::Verified(Verified::by(candidate, known, list))),
            Err(Mismatch::AnotherIssuer) => {}
            Err(Mismatch::Fault(what)) => fault = Some(what),
        }
    }
    // those of other sets, or that only clients send, may sign it; that one of their name did not is no fault
    for candidate in known {
        if signer::verify(&list, &seal, candidate).is_ok() {
            return Ok(Offered::Verified(Verified::new(Arc::clone(candidate), list)));
        }
    }
    match fault {
        Some(what) => Err(CrlError::Forged(what)),
        None => Ok(Offered::Aside(Arc::new(Aside::new(list, seal, der.len())?))),
    }
}

#[cfg(test)]
mod tests;
