//! When keys that several nodes share come and go: pure functions of the keys, the schedule and the time.
//!
//! There is always a standby: the key that signs next is made when the present one begins, and so lies in the published
//! set of every node for a whole period. A regular rotation then needs nobody, not even the database, and `keys rotate
//! --now` or the removal of the signer goes on with a key that every verifier has had the time to fetch. Keys are planned
//! by what can be read of them without opening them, so a damaged one is in nobody's way. Doing what is planned, and under
//! which lock, is `shared.rs`'s; keys in a directory have no standby and a plan of their own (`rotation.rs`).

use std::time::Duration;

use super::{Begin, KeyId, PUBLISH_BEFORE, Schedule, SigningAlgorithm, VERIFY_AFTER};
use crate::clock::Timestamp;

const SECOND: Duration = Duration::from_secs(1);

/// What is known of a key without opening it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// Its `kid`.
    pub id: KeyId,
    /// What it signs with.
    pub algorithm: SigningAlgorithm,
    /// When it begins to sign.
    pub signs_from: Timestamp,
}

/// One change to the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Edit {
    /// Make a key of the schedule's algorithm.
    Create {
        /// When it begins to sign.
        signs_from: Timestamp,
    },
    /// Have a key begin at another time than it would.
    Begin {
        /// Which.
        id: KeyId,
        /// When it begins to sign.
        signs_from: Timestamp,
    },
    /// Delete a key that verifies no more, or that never signed and never will.
    Forget {
        /// Which.
        id: KeyId,
    },
}

/// The keys of one moment, in the order in which they begin to sign.
#[derive(Clone, Debug, Default)]
pub struct Plan(Vec<Held>);

impl Plan {
    /// Puts keys in order.
    pub fn new(mut keys: Vec<Held>) -> Self {
        keys.sort_by(|a, b| a.signs_from.cmp(&b.signs_from).then_with(|| a.id.cmp(&b.id)));
        Self(keys)
    }

    /// What is to be done at `now`; at most one thing, to be asked again when it is done. With nothing to do there is a
    /// signer, and a standby behind it.
    ///
    /// - Without any key: a key that signs at once.
    /// - A standby begins when the signer has signed for `rotate_every`, or, if it or the signer is not of the schedule's
    ///   algorithm, in [`PUBLISH_BEFORE`] with a key that is. One that was planned later is moved; never one that was
    ///   planned earlier: somebody may have asked for it.
    /// - A key is forgotten [`VERIFY_AFTER`] after the next one began.
    pub fn next_edit(&self, schedule: &Schedule, now: Timestamp) -> Option<Edit> {
        let Some((signer, after)) = self.signer(now) else {
            return Some(Edit::Create { signs_from: now });
        };
        let ends = self.0.iter().zip(self.0.iter().skip(1));
        if let Some((retired, _)) =
            ends.into_iter().find(|(_, next)| next.signs_from.plus(VERIFY_AFTER) < now)
        {
            return Some(Edit::Forget { id: retired.id.clone() });
        }
        let signs_for = if signer.algorithm == schedule.algorithm { schedule.rotate_every } else { SECOND };
        let published = now.plus(PUBLISH_BEFORE);
        let due = signer.signs_from.plus(signs_for.max(SECOND)).max(published);
        match after.first() {
            None => Some(Edit::Create { signs_from: due }),
            Some(next) if next.algorithm != schedule.algorithm && next.signs_from > published => {
                Some(Edit::Forget { id: next.id.clone() })
            }
            Some(next) if next.signs_from > due => Some(Edit::Begin { id: next.id.clone(), signs_from: due }),
            Some(_) => None,
        }
    }

    /// What makes the standby begin because somebody asked for it (`keys rotate`); `None` if it begins as early already.
    pub fn rotation(&self, begin: Begin, now: Timestamp) -> Option<Edit> {
        let begins = match begin {
            Begin::Now => self.free_second(now, None),
            Begin::Published => now.plus(PUBLISH_BEFORE),
        };
        match self.standby(now) {
            None if self.0.is_empty() => Some(Edit::Create { signs_from: now }),
            // The standby began this very second, and the next one is published first.
            None => Some(Edit::Create { signs_from: now.plus(PUBLISH_BEFORE) }),
            Some(standby) if standby.signs_from <= begins => None,
            Some(standby) => Some(Edit::Begin { id: standby.id.clone(), signs_from: begins }),
        }
    }

    /// What makes the standby begin because the key `removed` is taken out of the set; `None` if that one did not sign.
    pub fn relief(&self, removed: &KeyId, now: Timestamp) -> Option<Edit> {
        let (signer, after) = self.signer(now)?;
        if signer.id != *removed {
            return None;
        }
        let signs_from = self.free_second(now, Some(removed));
        Some(match after.first() {
            Some(standby) => Edit::Begin { id: standby.id.clone(), signs_from },
            None => Edit::Create { signs_from },
        })
    }

    /// The key that signs after the signer of `now`.
    pub fn standby(&self, now: Timestamp) -> Option<&Held> {
        self.signer(now).and_then(|(_, after)| after.first())
    }

    /// As [`super::SigningKeys::signer`]; and the keys after it.
    fn signer(&self, now: Timestamp) -> Option<(&Held, &[Held])> {
        let begun = self.0.partition_point(|key| key.signs_from <= now);
        self.0.get(begun.saturating_sub(1)..)?.split_first()
    }

    /// The first second from `now` on in which a key that begins is the newest: one second has one signer.
    fn free_second(&self, now: Timestamp, without: Option<&KeyId>) -> Timestamp {
        let begun = self.0.iter().filter(|key| key.signs_from <= now && Some(&key.id) != without);
        begun.map(|key| key.signs_from.plus(SECOND)).fold(now, Timestamp::max)
    }
}

#[cfg(test)]
mod tests;
