//! The lists in force, by the key of their issuer, and those that wait for their issuer to be seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::list::{self, List};
use super::signer::{self, Mismatch};
use super::{CrlError, CrlSummary, Offered};
use crate::pki::certificate::Certificate;
use crate::pki::name::DistinguishedName;

/// The most lists that wait, and the most octets of them: plain http brings what strangers on the way put there.
const MAX_ASIDE: usize = 64;
const MAX_ASIDE_BYTES: usize = 64 * 1024 * 1024;

/// Everything that is known.
#[derive(Default)]
pub(super) struct Issuers {
    /// SHA-256 of the `SubjectPublicKeyInfo`.
    by_key: BTreeMap<[u8; 32], Issuer>,
    /// The oldest first.
    aside: Vec<Arc<Aside>>,
}

struct Issuer {
    /// One of its certificates; by it the next list is verified, also where only clients send it.
    certificate: Arc<Certificate>,
    /// One of each scope, the newest.
    lists: Vec<Arc<List>>,
}

/// A list with the certificate by which its signature holds.
pub(super) struct Verified {
    key: [u8; 32],
    issuer: Arc<Certificate>,
    list: Arc<List>,
}

impl Verified {
    pub(super) fn new(issuer: Arc<Certificate>, list: List) -> Self {
        Self { key: issuer.key_hash(), issuer, list: Arc::new(list) }
    }

    /// `issuer` as it is shared in `known`, or a copy.
    pub(super) fn by(issuer: &Certificate, known: &[Arc<Certificate>], list: List) -> Self {
        let shared = known.iter().find(|known| known.thumbprint() == issuer.thumbprint());
        let copy = || Certificate::parse(issuer.der()).expect("it was parsed from these octets before");
        Self::new(shared.map_or_else(|| Arc::new(copy()), Arc::clone), list)
    }

    /// By one key: newer and older ones of the two replace each other.
    fn is_of_the_series_of(&self, other: &Self) -> bool {
        self.key == other.key && self.list.is_of_the_series_of(&other.list)
    }
}

/// A list whose issuer has not been seen.
pub(super) struct Aside {
    der: Vec<u8>,
    issuer: DistinguishedName,
    summary: CrlSummary,
    /// Keys of issuers of its name that did not sign it, or may not.
    tried: Mutex<Vec<[u8; 32]>>,
}

impl Aside {
    pub(super) fn new(der: Vec<u8>, list: &List) -> Self {
        Self { der, issuer: list.issuer.clone(), summary: list.summary(None), tried: Mutex::default() }
    }

    /// To be held while one more is tried.
    pub(super) fn tried(&self) -> MutexGuard<'_, Vec<[u8; 32]>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never blocks, because whoever tries needs the lock that the caller holds. One that is being tried is waiting.
    fn may_wait_for(&self, issuer: &Certificate) -> bool {
        match self.tried.try_lock() {
            Ok(tried) => !tried.contains(&issuer.key_hash()),
            Err(TryLockError::Poisoned(tried)) => !tried.into_inner().contains(&issuer.key_hash()),
            Err(TryLockError::WouldBlock) => true,
        }
    }

    /// Whether this issuer signed it; gives the list.
    pub(super) fn verify(&self, issuer: &Certificate) -> Result<List, Mismatch> {
        let (list, signed) = list::parse(&self.der).map_err(|error| Mismatch::Fault(error.to_string()))?;
        signer::verify(&list, &signed, issuer).map(|()| list)
    }
}

impl Issuers {
    /// The lists that were signed with this issuer's key.
    pub(super) fn lists_of(&self, issuer: &Certificate) -> &[Arc<List>] {
        self.by_key.get(&issuer.key_hash()).map_or(&[], |known| known.lists.as_slice())
    }

    /// One certificate of every issuer that has a list.
    pub(super) fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.by_key.values().map(|issuer| Arc::clone(&issuer.certificate)).collect()
    }

    /// The lists aside that bear this issuer's name and were not yet tried with its key.
    pub(super) fn waiting_for(&self, issuer: &Certificate) -> Vec<Arc<Aside>> {
        let untried = |aside: &&Arc<Aside>| aside.issuer == *issuer.subject() && aside.may_wait_for(issuer);
        self.aside.iter().filter(untried).map(Arc::clone).collect()
    }

    /// For people.
    pub(super) fn why_nothing_covers(&self, issuer: &Certificate) -> String {
        let name = issuer.subject();
        if !self.lists_of(issuer).is_empty() {
            return format!("no CRL of {name} covers this certificate");
        }
        if self.aside.iter().any(|aside| aside.issuer == *name) {
            return format!("there is a CRL of a {name}, signed with another key than this issuer's");
        }
        format!("there is no CRL of {name}")
    }

    /// All or nothing. A list that is older than the one in force is an error, unless a newer one came with it.
    pub(super) fn take(&mut self, offered: &[Offered]) -> Result<Vec<CrlSummary>, CrlError> {
        for one in offered.iter().filter_map(Offered::verified) {
            let Some(in_force) = self.in_force(one) else { continue };
            let is_as_new =
                |other: &Verified| other.is_of_the_series_of(one) && other.list.number() >= in_force.number();
            if !offered.iter().filter_map(Offered::verified).any(is_as_new) {
                return Err(CrlError::Older {
                    offered: one.list.number().to_string(),
                    in_force: in_force.number().to_string(),
                });
            }
        }
        for one in offered {
            match one {
                Offered::Verified(verified) => self.put(verified),
                Offered::Aside(aside) => self.keep_aside(aside),
            }
        }
        Ok(offered.iter().filter_map(|one| self.summary(one)).collect())
    }

    /// A list that waited has found its issuer.
    pub(super) fn adopt(&mut self, aside: &Arc<Aside>, verified: &Verified) {
        self.aside.retain(|other| !Arc::ptr_eq(other, aside));
        self.put(verified);
    }

    pub(super) fn summaries(&self) -> Vec<CrlSummary> {
        let in_force = self
            .by_key
            .iter()
            .flat_map(|(key, issuer)| issuer.lists.iter().map(|list| list.summary(Some(*key))));
        let mut summaries: Vec<_> = in_force.collect();
        summaries.sort_by(|one, other| one.issuer.cmp(&other.issuer)); // stable: then by key, then as they came
        summaries.extend(self.aside.iter().map(|aside| aside.summary.clone()));
        summaries
    }

    /// Replaces the list of this series that is in force, if there is none that is as new.
    fn put(&mut self, verified: &Verified) {
        let issuer = self
            .by_key
            .entry(verified.key)
            .or_insert_with(|| Issuer { certificate: Arc::clone(&verified.issuer), lists: Vec::new() });
        match issuer.lists.iter_mut().find(|list| list.is_of_the_series_of(&verified.list)) {
            Some(list) if list.rank() >= verified.list.rank() => {}
            Some(list) => *list = Arc::clone(&verified.list),
            None => issuer.lists.push(Arc::clone(&verified.list)),
        }
    }

    fn in_force(&self, verified: &Verified) -> Option<&Arc<List>> {
        let issuer = self.by_key.get(&verified.key)?;
        issuer.lists.iter().find(|list| list.is_of_the_series_of(&verified.list))
    }

    fn keep_aside(&mut self, aside: &Arc<Aside>) {
        if self.aside.iter().any(|other| other.der == aside.der) {
            return;
        }
        self.aside.push(Arc::clone(aside));
        while self.aside.len() > MAX_ASIDE || self.octets_aside() > MAX_ASIDE_BYTES {
            self.aside.remove(0);
        }
    }

    fn octets_aside(&self) -> usize {
        self.aside.iter().map(|aside| aside.der.len()).sum()
    }

    fn summary(&self, offered: &Offered) -> Option<CrlSummary> {
        match offered {
            Offered::Verified(verified) => Some(self.in_force(verified)?.summary(Some(verified.key))),
            Offered::Aside(aside) => Some(aside.summary.clone()),
        }
    }
}

impl Offered {
    fn verified(&self) -> Option<&Verified> {
        match self {
            Self::Verified(verified) => Some(verified),
            Self::Aside(_) => None,
        }
    }
}
