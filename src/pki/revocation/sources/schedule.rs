//! When a URL is asked again: pure functions of what is known and of the time.

use std::time::Duration;

use crate::clock::Timestamp;

/// The shortest time between two answers that could be used.
const SHORTEST: Duration = Duration::from_secs(60);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// The wait after the first failure; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(15);
/// The longest wait after a failure while the list at hand holds.
const LONGEST_RETRY: Duration = Duration::from_secs(10 * 60);

/// The life of a list (RFC 5280 §5.1.2.4 and §5.1.2.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Validity {
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
}

impl Validity {
    /// Whether the list has not ended yet.
    pub(super) fn holds(self, now: Timestamp) -> bool {
        now <= self.next_update
    }

    /// When nine tenths of it are over.
    fn ripe(self) -> Timestamp {
        let life = self.next_update.since(self.this_update);
        self.next_update.minus(life / 10)
    }
}

/// Whether it is time. An appointment that is farther off than any that is ever made is one of a clock that was set back.
pub(super) fn is_due(due: Option<Timestamp>, now: Timestamp) -> bool {
    due.is_none_or(|due| due <= now || due > now.plus(LONGEST))
}

/// After an answer: when it is not fresh any more, but within a minute and an hour, and before the list ends. When nine
/// tenths of its life are over, after half of what is left; once it has ended, every minute.
pub(super) fn after_success(fresh: Option<Duration>, validity: Validity, now: Timestamp) -> Timestamp {
    let stale = now.plus(fresh.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST));
    let aim =
        if now < validity.ripe() { validity.ripe() } else { now.plus(validity.next_update.since(now) / 2) };
    stale.min(aim.max(now.plus(SHORTEST)))
}

/// After so many failures in a row: 15 s, and twice as long each time, up to ten minutes; up to one where no list
/// holds, and not long after the one that does has ended.
pub(super) fn after_failure(failures: u32, validity: Option<Validity>, now: Timestamp) -> Timestamp {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let wait = FIRST_RETRY.saturating_mul(doubled);
    match validity.filter(|validity| validity.holds(now)) {
        None => now.plus(wait.min(SHORTEST)),
        Some(validity) => {
            now.plus(wait.min(LONGEST_RETRY)).min(validity.next_update.max(now.plus(wait.min(SHORTEST))))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_000_000);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(NOW.as_unix() + seconds)
    }

    fn validity(this_update: i64, next_update: i64) -> Validity {
        Validity { this_update: at(this_update), next_update: at(next_update) }
    }

    #[test]
    fn an_answer_is_asked_for_again_by_its_freshness_and_before_the_list_ends() {
        let week = validity(0, 7 * 86_400);
        let table = [
            (None, week, 3600, "at least every hour"),
            (Some(86_400), week, 3600, "at least every hour, however fresh"),
            (Some(900), week, 900, "when it is not fresh any more"),
            (Some(0), week, 60, "at most every minute"),
            (None, validity(0, 1000), 900, "when nine tenths of a short life are over"),
            (Some(300), validity(0, 1000), 300, "fresh for less than nine tenths of a life"),
            (None, validity(-9000, 1000), 500, "in the last tenth, after half of what is left"),
            (None, validity(-86_400, 90), 60, "near the end, every minute"),
            (None, validity(-86_400, 0), 60, "in the last second"),
            (Some(3600), validity(-86_400, -1), 60, "when it has ended, every minute, however fresh"),
            (None, validity(100, -100), 60, "a life that ends before it begins"),
        ];
        for (fresh, validity, seconds, what) in table {
            let fresh = fresh.map(Duration::from_secs);
            assert_eq!(after_success(fresh, validity, NOW), at(seconds), "{what}");
        }
    }

    #[test]
    fn failures_are_repeated_at_longer_and_longer_intervals() {
        let week = Some(validity(0, 7 * 86_400));
        let table = [
            (week, [15, 30, 60, 120, 240, 480, 600, 600], "ten minutes at most"),
            (None, [15, 30, 60, 60, 60, 60, 60, 60], "one at most while there is no list"),
            (Some(validity(-100, -1)), [15, 30, 60, 60, 60, 60, 60, 60], "or it has ended"),
            (Some(validity(0, 200)), [15, 30, 60, 120, 200, 200, 200, 200], "or is about to end"),
            (Some(validity(0, 20)), [15, 30, 60, 60, 60, 60, 60, 60], "or ends within a minute"),
        ];
        for (validity, waits, what) in table {
            for (failures, seconds) in (1..).zip(waits) {
                assert_eq!(after_failure(failures, validity, NOW), at(seconds), "{what}: {failures}");
            }
        }
        assert_eq!(after_failure(u32::MAX, None, NOW), at(60));
    }

    #[test]
    fn a_url_is_due_at_first_then_at_its_time_and_after_a_clock_that_was_set_back() {
        assert!(is_due(None, NOW));
        assert!(is_due(Some(at(0)), NOW) && is_due(Some(at(-1)), NOW));
        assert!(!is_due(Some(at(1)), NOW) && !is_due(Some(at(3600)), NOW));
        assert!(is_due(Some(at(3601)), NOW));
    }

    proptest! {
        #[test]
        fn the_next_time_is_within_a_minute_and_an_hour(
            fresh in proptest::option::of(0..10_000_000_u64), begin in -10_000_000..10_000_000_i64, life in -100..10_000_000_i64
        ) {
            let next = after_success(fresh.map(Duration::from_secs), validity(begin, begin + life), NOW);
            prop_assert!(next >= at(60) && next <= at(3600), "{}", next);
            prop_assert!(next <= at(begin + life).max(at(60)), "{}", next);
        }
    }
}
