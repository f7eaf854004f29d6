//! When keys come and go: a pure function of the keys, the schedule and the time.
//!
//! A new key lies in the directory, and so in the published set, [`PUBLISH_BEFORE`] before it signs; an old
//! one stays for [`VERIFY_AFTER`], the longest life of a token. The plan of a regular rotation depends on
//! the keys alone and not on the second in which it is asked for, so several nodes that share a directory
//! come to the same file name without a lock. Doing what is planned is `directory.rs`'s.

use std::time::Duration;

use super::{KeyId, SigningAlgorithm, SigningKey, SigningKeys};
use crate::clock::Timestamp;

/// How long a key is published before it signs: three times as long as the key set may be cached.
pub const PUBLISH_BEFORE: Duration = Duration::from_secs(15 * 60);

/// How long a key verifies after its last signature: the longest life of an access token.
pub const VERIFY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How long before its begin a key is made. Within the difference to [`PUBLISH_BEFORE`] every node finds
/// the same begin, however late its tick.
const PREPARE_BEFORE: Duration = PUBLISH_BEFORE.saturating_mul(2);

const SECOND: Duration = Duration::from_secs(1);

/// What the configuration says about signing keys.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What new keys are for. A change is a rotation.
    pub algorithm: SigningAlgorithm,
    /// How long a key signs.
    pub rotate_every: Duration,
}

/// What rotation wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing before this moment.
    Wait {
        /// When to ask again.
        until: Timestamp,
    },
    /// Make a key of the schedule's algorithm.
    Create {
        /// When it begins to sign.
        signs_from: Timestamp,
    },
    /// Delete a key that verifies no more.
    Forget {
        /// Which.
        id: KeyId,
    },
}

/// When a key that somebody asked for begins to sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begin {
    /// At once: verifiers that cache the key set meet a `kid` they do not know.
    Now,
    /// When it has been published for [`PUBLISH_BEFORE`].
    Published,
}

impl Begin {
    /// The begin of a key that comes to `keys` at `now`. The first key signs at once in any case.
    pub fn signs_from(self, keys: &SigningKeys, now: Timestamp) -> Timestamp {
        match self {
            Self::Published if !keys.is_empty() => now.plus(PUBLISH_BEFORE),
            Self::Published | Self::Now => now,
        }
    }
}

/// What is to be done at `now`; at most one thing, the most urgent first. To be asked at least once a
/// minute, and again after every step.
///
/// - Without any key: a key that signs at once.
/// - The next key begins when the present one has signed for `rotate_every`, or at once if the algorithm
///   was changed; but not before it has been published for [`PUBLISH_BEFORE`].
/// - A key is forgotten [`VERIFY_AFTER`] after the next one began. The last key is never forgotten.
pub fn next_step(keys: &SigningKeys, schedule: &Schedule, now: Timestamp) -> Step {
    let Some(due) = next_begin(keys, schedule, now) else { return Step::Create { signs_from: now } };
    let prepare = due.minus(PREPARE_BEFORE);
    if prepare <= now {
        return Step::Create { signs_from: due };
    }
    let ends = || keys.with_ends().filter_map(|(key, end)| Some((key, end?)));
    if let Some((key, _)) = ends().find(|&(_, end)| end < now) {
        return Step::Forget { id: key.id().clone() };
    }
    let until = ends().map(|(_, end)| end.plus(SECOND)).fold(prepare, Timestamp::min);
    Step::Wait { until }
}

/// When the first key begins that is not there yet; `None` without any key.
///
/// Goes along the keys from the one that signs as long as each begins in time to relieve the one before:
/// a key whose begin lies in the far future (a clock was wrong when it was made) does not hold up rotation.
fn next_begin(keys: &SigningKeys, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    let after = |key: &SigningKey| {
        let signs_for =
            if key.algorithm() == schedule.algorithm { schedule.rotate_every.max(SECOND) } else { SECOND };
        key.signs_from().plus(signs_for).max(now.plus(PUBLISH_BEFORE))
    };
    let signer = keys.signer(now).ok()?;
    let later = keys.all().iter().skip_while(|key| key.id() != signer.id()).skip(1);
    let mut due = after(signer);
    for key in later {
        if key.signs_from() > due {
            break;
        }
        due = after(key);
    }
    Some(due)
}

#[cfg(test)]
mod tests;
