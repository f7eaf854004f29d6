//! The keys that sign what this server issues: who signs now, who still verifies, what is published.
//!
//! A key is published before it signs and verifies until its last token has expired, so a resource
//! server that caches the set (RFC 7517 §5) never meets a token it cannot check. One key is in
//! `key.rs`. Keys of one node are files (`directory.rs`) and come and go by the plan in `rotation.rs`; keys that several
//! nodes share lie sealed in their database (`shared.rs`, `seal.rs`) and go by `standby.rs`. `place.rs` is either.
//! Tokens are put together and judged in `token`; nothing here knows what is signed.

pub mod directory;
pub mod key;
pub mod place;
pub mod rotation;
pub mod seal;
pub mod shared;
pub mod standby;

use std::sync::Arc;

use serde_json::{Value, json};

pub use directory::{Change, Directory, KeyFileError, Reading};
pub use key::{KeyId, SignError, SigningAlgorithm, SigningKey};
pub use place::{Changed, KeysError, Place};
pub use rotation::{Begin, PUBLISH_BEFORE, Schedule, Step, VERIFY_AFTER, next_step};
pub use seal::{NotASealingKey, SealingKey};
pub use shared::Shared;
pub use standby::Plan;

use crate::clock::Timestamp;

/// The signing keys of one moment. A clone is another handle on the same keys.
#[derive(Clone, Debug, Default)]
pub struct SigningKeys(Arc<[Arc<SigningKey>]>);

/// There is no signing key at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no signing key")]
pub struct NoActiveKey;

impl SigningKeys {
    /// Puts keys in the order in which they begin to sign. Of two with one `kid` the earlier counts: a
    /// `kid` is unique in the set (RFC 7517 §4.5).
    pub fn new(keys: Vec<SigningKey>) -> Self {
        Self::of(keys.into_iter().map(Arc::new).collect())
    }

    fn of(mut keys: Vec<Arc<SigningKey>>) -> Self {
        keys.sort_by(|a, b| a.signs_from().cmp(&b.signs_from()).then_with(|| a.id().cmp(b.id())));
        let mut seen = std::collections::HashSet::new();
        keys.retain(|key| seen.insert(key.id().clone()));
        Self(keys.into())
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every key, in the order in which they begin to sign.
    pub fn all(&self) -> &[Arc<SigningKey>] {
        &self.0
    }

    /// The key that signs at `now`: the newest that has begun or, if none has, the earliest.
    pub fn signer(&self, now: Timestamp) -> Result<&Arc<SigningKey>, NoActiveKey> {
        let begun = self.0.iter().rev().find(|key| key.signs_from() <= now);
        begun.or_else(|| self.0.first()).ok_or(NoActiveKey)
    }

    /// The key of this `kid`, compared case by case, unless its last token has expired at `now`. A key
    /// that has not begun verifies too: another node's clock may be ahead of ours.
    pub fn verifier(&self, id: &str, now: Timestamp) -> Option<&Arc<SigningKey>> {
        self.verifying(now).find(|key| key.id().as_str() == id)
    }

    /// The JWK set (RFC 7517 §5): the public half of every key that verifies at `now` or will sign.
    pub fn published(&self, now: Timestamp) -> Value {
        json!({ "keys": self.verifying(now).map(|key| key.jwk()).collect::<Vec<_>>() })
    }

    /// What is signed with at `now`, and will be by the keys that come next; each algorithm once. Empty if there is no key.
    pub fn algorithms(&self, now: Timestamp) -> Vec<SigningAlgorithm> {
        let Ok(signer) = self.signer(now) else { return Vec::new() };
        let mut algorithms = Vec::new();
        for key in self.0.iter().skip_while(|key| key.id() != signer.id()) {
            if !algorithms.contains(&key.algorithm()) {
                algorithms.push(key.algorithm());
            }
        }
        algorithms
    }

    fn verifying(&self, now: Timestamp) -> impl Iterator<Item = &Arc<SigningKey>> {
        self.with_ends().filter(move |(_, end)| end.is_none_or(|end| now <= end)).map(|(key, _)| key)
    }

    /// Each key and the last second in which it verifies. Its last signature is the begin of the next
    /// key; the last key has no end.
    fn with_ends(&self) -> impl Iterator<Item = (&Arc<SigningKey>, Option<Timestamp>)> {
        let ends = self.0.iter().skip(1).map(|next| Some(next.signs_from().plus(VERIFY_AFTER)));
        self.0.iter().zip(ends.chain(std::iter::once(None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    fn keys(begins: &[i64]) -> SigningKeys {
        SigningKeys::new(
            begins.iter().map(|&begin| SigningKey::fresh(SigningAlgorithm::EdDsa, at(begin))).collect(),
        )
    }

    #[test]
    fn the_newest_key_that_has_begun_signs() {
        let keys = keys(&[300, 100, 200]);
        for (now, begin) in
            [(99, 100), (100, 100), (199, 100), (200, 200), (299, 200), (300, 300), (900, 300)]
        {
            assert_eq!(keys.signer(at(now)).unwrap().signs_from(), at(begin), "at {now}");
        }
        assert_eq!(SigningKeys::default().signer(at(0)).unwrap_err(), NoActiveKey);
    }

    #[test]
    fn the_algorithms_are_those_of_the_signer_and_of_the_keys_to_come() {
        let key = |algorithm, begin| SigningKey::fresh(algorithm, at(begin));
        let (es, ed) = (SigningAlgorithm::Es256, SigningAlgorithm::EdDsa);
        let keys = SigningKeys::new(vec![key(ed, 100), key(ed, 200), key(es, 300)]);
        for (now, expected) in [(0, &[ed, es][..]), (100, &[ed, es]), (299, &[ed, es]), (300, &[es])] {
            assert_eq!(keys.algorithms(at(now)), expected, "at {now}");
        }
        assert!(SigningKeys::default().algorithms(at(0)).is_empty());
    }

    #[test]
    fn a_key_verifies_for_a_day_after_the_next_one_began() {
        let keys = keys(&[100, 200]);
        let (first, second) = (keys.all()[0].id().as_str(), keys.all()[1].id().as_str());
        assert!(keys.verifier(first, at(200 + DAY)).is_some());
        assert!(keys.verifier(first, at(201 + DAY)).is_none());
        assert!(keys.verifier(second, at(0)).is_some() && keys.verifier(second, at(999 * DAY)).is_some());
    }

    #[test]
    fn an_unknown_kid_has_no_verifier_and_case_counts() {
        let keys = keys(&[100]);
        let id = keys.all()[0].id().as_str();
        let swapped: String = id
            .chars()
            .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect();
        assert!(keys.verifier(id, at(0)).is_some());
        assert!(keys.verifier(&swapped, at(0)).is_none());
        assert!(keys.verifier("", at(0)).is_none() && keys.verifier(&id[..42], at(0)).is_none());
    }

    #[test]
    fn what_verifies_or_will_sign_is_published_with_public_members_only() {
        let keys = keys(&[100, 200, 2 * DAY]);
        let kids = |now| -> Vec<String> {
            let document = keys.published(at(now));
            let list = document["keys"].as_array().unwrap().clone();
            list.iter().map(|jwk| jwk["kid"].as_str().unwrap().to_owned()).collect()
        };
        let all: Vec<String> = keys.all().iter().map(|key| key.id().to_string()).collect();
        assert_eq!(kids(150), all);
        assert_eq!(kids(201 + DAY), all[1..]);
        assert_eq!(kids(3 * DAY + 1), all[2..]);
    }

    #[test]
    fn one_kid_is_in_the_set_once() {
        let pkcs8 = SigningKey::generate(SigningAlgorithm::EdDsa).unwrap();
        let key =
            |begin| SigningKey::from_pkcs8(SigningAlgorithm::EdDsa, &pkcs8, at(begin)).expect("a good key");
        let keys = SigningKeys::new(vec![key(200), key(100)]);
        assert_eq!(keys.all().len(), 1);
        assert_eq!(keys.all()[0].signs_from(), at(100));
    }

    #[test]
    fn a_clone_shares_the_keys() {
        let keys = keys(&[100]);
        assert!(Arc::ptr_eq(&keys.0, &keys.clone().0));
    }
}
