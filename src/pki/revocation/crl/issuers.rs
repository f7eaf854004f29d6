//! The lists in force, by the key of their issuer, and those that wait for their issuer to be seen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::list::List;
use super::signer::{self, Seal};
use super::{CrlError, CrlSummary, Offered};
use crate::pki::certificate::Certificate;

/// The most lists that wait, and the most octets of them: plain http brings what strangers on the way put there.
const MAX_ASIDE: usize = 64;
const MAX_ASIDE_BYTES: usize = 64 * 1024 * 1024;

/// The most octets that each key has to read anew (Ed25519, Ed448) of a list that waits.
const MAX_WHOLE_BYTES: usize = 1024 * 1024;

/// How many keys a list that waits remembers not to be of. The oldest is forgotten, so that no number of namesakes
/// keeps the list from its issuer; one that is forgotten costs a check of a signature, as each certificate of a path does.
const MAX_TRIED: usize = 16;

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
    pub(super) fn new(issuer: Arc<Certificate>, list: Arc<List>) -> Self {
        Self { key: issuer.key_hash(), issuer, list }
    }

    /// `issuer` as it is shared in `known`, or a copy.
    pub(super) fn by(issuer: &Certificate, known: &[Arc<Certificate>], list: Arc<List>) -> Self {
        let shared = known.iter().find(|known| known.thumbprint() == issuer.thumbprint());
        let copy = || Certificate::parse(issuer.der()).expect("it was parsed from these octets before");
        Self::new(shared.map_or_else(|| Arc::new(copy()), Arc::clone), list)
    }

    /// By one key: newer and older ones of the two replace each other.
    fn is_of_the_series_of(&self, other: &Self) -> bool {
        self.key == other.key && self.list.is_of_the_series_of(&other.list)
    }
}

/// A list whose issuer has not been seen: read, but for who signed it.
pub(super) struct Aside {
    list: Arc<List>,
    seal: Seal,
    summary: CrlSummary,
    /// Of the list as it came, and of what is kept of it to be verified.
    octets: usize,
    /// Keys of issuers of its name that did not sign it, or may not; the oldest first.
    tried: Mutex<VecDeque<[u8; 32]>>,
}

impl Aside {
    /// Refuses what could not be verified within a request.
    pub(super) fn new(list: Arc<List>, seal: Seal, octets: usize) -> Result<Self, CrlError> {
        if seal.octets() > MAX_WHOLE_BYTES {
            return Err(CrlError::Unsupported(format!(
                "it is larger than 1 MiB, of a kind of signature that is verified over all of it, and no CA that is \
                 known here is its issuer {}: name the CA in `intermediates`",
                list.issuer
            )));
        }
        let octets = octets + seal.octets();
        Ok(Self { summary: list.summary(None), list, seal, octets, tried: Mutex::default() })
    }

    /// The list, if this issuer signed it; else the issuer is remembered. One check of a signature, and no lock.
    pub(super) fn verify(&self, issuer: &Arc<Certificate>) -> Option<Verified> {
        if signer::verify(&self.list, &self.seal, issuer).is_err() {
            self.give_up(issuer.key_hash());
            return None;
        }
        Some(Verified::new(Arc::clone(issuer), Arc::clone(&self.list)))
    }

    fn give_up(&self, key: [u8; 32]) {
        let mut tried = self.tried();
        if tried.contains(&key) {
            return;
        }
        if tried.len() >= MAX_TRIED {
            tried.pop_front();
        }
        tried.push_back(key);
    }

    fn may_wait_for(&self, issuer: &Certificate) -> bool {
        self.list.issuer == *issuer.subject() && !self.tried().contains(&issuer.key_hash())
    }

    fn tried(&self) -> MutexGuard<'_, VecDeque<[u8; 32]>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.aside.iter().filter(|aside| aside.may_wait_for(issuer)).map(Arc::clone).collect()
    }

    /// For people.
    pub(super) fn why_nothing_covers(&self, issuer: &Certificate) -> String {
        let name = issuer.subject();
        if !self.lists_of(issuer).is_empty() {
            return format!("no CRL of {name} covers this certificate");
        }
        if self.aside.iter().any(|aside| aside.list.issuer == *name) {
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
        if self.aside.iter().any(|other| other.seal.is_that_of(&aside.seal)) {
            return;
        }
        self.aside.push(Arc::clone(aside));
        while self.aside.len() > MAX_ASIDE || self.octets_aside() > MAX_ASIDE_BYTES {
            self.aside.remove(0);
        }
    }

    fn octets_aside(&self) -> usize {
        self.aside.iter().map(|aside| aside.octets).sum()
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
