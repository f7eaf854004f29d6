//! The named anchor sets of one configuration, and what was accepted a moment ago.
//!
//! Trust is decided per request, on connections of any age; validating a path takes a fraction of a
//! millisecond, so an accepted verdict is remembered for at most 60 s of our own clock, and never past a
//! notAfter in the path. A refusal is never remembered. Revocation, names and pins are not part of the
//! verdict and are asked every time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::{
    AnchorSet, AnchorSetName, PathEntry, Purpose, TrustError, TrustErrorKind, ValidPath, update_with_length,
};
use crate::clock::Timestamp;
use crate::pki::certificate::{Certificate, Chain, Thumbprint};

/// How long a verdict may be used.
const LIFETIME: Duration = Duration::from_secs(60);

/// How many verdicts are kept, of about four kilobytes each: nearly all of it is the leaf.
const ENTRIES: u64 = 8192;

/// How many certificates of issuers are kept for all verdicts together.
const ISSUERS: u64 = 1024;

/// The named anchor sets of one configuration.
pub struct TrustStore {
    sets: BTreeMap<AnchorSetName, AnchorSet>,
    accepted: Cache<[u8; 32], Accepted>,
    /// One copy of each certificate above a leaf, however many leaves there are.
    issuers: Cache<Thumbprint, Arc<Certificate>>,
}

#[derive(Clone)]
struct Accepted {
    at: Timestamp,
    /// The earliest notAfter of the path.
    until: Timestamp,
    path: Arc<[PathEntry]>,
    certificates: Arc<[Arc<Certificate>]>,
}

impl TrustStore {
    /// Of these sets, with nothing remembered.
    pub fn new(sets: BTreeMap<AnchorSetName, AnchorSet>) -> Self {
        Self { sets, accepted: Cache::new(ENTRIES), issuers: Cache::new(ISSUERS) }
    }

    /// The set of this name.
    pub fn set(&self, name: &AnchorSetName) -> Option<&AnchorSet> {
        self.sets.get(name)
    }

    /// In order.
    pub fn names(&self) -> impl Iterator<Item = &AnchorSetName> {
        self.sets.keys()
    }

    /// Whether `chain` leads to an anchor of the set, for client authentication.
    pub fn verify<'c>(
        &self,
        chain: &'c Chain,
        against: &AnchorSetName,
        now: Timestamp,
    ) -> Result<TrustedChain<'c>, TrustError> {
        let set = self.set(against).ok_or_else(|| TrustError {
            kind: TrustErrorKind::Untrusted,
            depth: 0,
            detail: format!("there is no anchor set named {against}"),
            path: Vec::new(),
        })?;
        let key = key(chain, set);
        if let Some(accepted) = self.accepted.get(&key).filter(|accepted| accepted.holds(now)) {
            return Ok(accepted.of(chain));
        }
        let ValidPath { entries, certificates, until } = set.find_path(chain, Purpose::Client, now)?;
        let shared = certificates.into_iter().enumerate().map(|(depth, certificate)| match depth {
            0 => certificate,
            _ => self.issuers.get_with(certificate.thumbprint(), || certificate),
        });
        let accepted = Accepted { at: now, until, path: entries.into(), certificates: shared.collect() };
        self.accepted.insert(key, accepted.clone());
        Ok(accepted.of(chain))
    }
}

impl Accepted {
    /// A clock that was set back makes it void too: before `at` nothing was looked at.
    fn holds(&self, now: Timestamp) -> bool {
        self.at <= now && now.since(self.at) < LIFETIME && now <= self.until
    }

    fn of(self, chain: &Chain) -> TrustedChain<'_> {
        TrustedChain { chain, path: self.path, certificates: self.certificates }
    }
}

/// The whole chain as it was presented, and everything in the set that decides.
fn key(chain: &Chain, set: &AnchorSet) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(set.content_hash());
    update_with_length(&mut hash, chain.leaf.der());
    for intermediate in &chain.intermediates {
        update_with_length(&mut hash, intermediate);
    }
    hash.finalize().into()
}

/// A path to an anchor exists, in time and for client authentication. Made by [`TrustStore::verify`] only.
#[derive(Debug)]
pub struct TrustedChain<'c> {
    chain: &'c Chain,
    path: Arc<[PathEntry]>,
    certificates: Arc<[Arc<Certificate>]>,
}

impl<'c> TrustedChain<'c> {
    /// The certificate that the path begins with.
    pub fn leaf(&self) -> &'c Certificate {
        &self.chain.leaf
    }

    /// Leaf first, anchor last.
    pub fn path(&self) -> &[PathEntry] {
        &self.path
    }

    /// The path itself, leaf first, anchor last; parsed once for each verdict that is remembered.
    pub fn certificates(&self) -> &Arc<[Arc<Certificate>]> {
        &self.certificates
    }
}
