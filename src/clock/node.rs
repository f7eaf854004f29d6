//! The clock of one node among several: the time of the database that they share (decision Q).
//!
//! Between two readings of the database's clock the machine's monotonic time goes on from the last one. The machine's
//! wall clock decides nothing but is compared: one that is more than [`MOST_SKEW`] away stands on a machine whose time
//! cannot be trusted for certificates and lists either, and nothing is issued there. A jump of the wall clock shows at
//! the next look, the database reachable or not. Who reads the database, and how often, is left to `cluster` and `tasks`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::{Clock, Timestamp};

/// How far the wall clock of a node may be from the database's.
pub const MOST_SKEW: Duration = Duration::from_secs(5);

/// The longest that a reading may have been under way. Its moment is somewhere within that time and is taken to be the
/// middle, so a reading is wrong by half of this at most: less than the second that `TokenStore::moment` adds.
const LONGEST_WAY: Duration = Duration::from_millis(1900);

/// Stands for "not read yet".
const NEVER: i64 = i64::MIN;

/// Time as the shared database tells it; until it has been read for the first time, the machine's.
pub struct NodeClock {
    wall: Arc<dyn Clock>,
    /// What the monotonic time is counted from.
    began: Instant,
    /// The database's time at `began`, in milliseconds since 1970, or [`NEVER`]. One number, so that readers need no lock.
    database: AtomicI64,
}

/// How far a wall clock is from the clock that counts, in milliseconds: positive if it is ahead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Skew(i64);

impl NodeClock {
    /// A clock beside the machine's, `wall`.
    pub fn new(wall: Arc<dyn Clock>) -> Self {
        Self { wall, began: Instant::now(), database: AtomicI64::new(NEVER) }
    }

    /// Monotonic time, to be noted before the database is asked and again when it has answered.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes in that the database's clock said `millis` (since 1970) at some moment between `asked` and `answered`. An
    /// answer that was long under way says too little, and is `false`.
    pub fn read(&self, millis: i64, asked: Duration, answered: Duration) -> bool {
        if answered.saturating_sub(asked) > LONGEST_WAY {
            return false;
        }
        let middle = (asked + answered) / 2;
        self.database.store(millis.saturating_sub(in_millis(middle)), Ordering::Relaxed);
        true
    }

    /// How far the machine's wall clock is from the database's; `None` before the first reading.
    pub fn skew(&self) -> Option<Skew> {
        self.database_millis().map(|database| Skew(self.wall.now_millis().saturating_sub(database)))
    }

    fn database_millis(&self) -> Option<i64> {
        let at_begin = self.database.load(Ordering::Relaxed);
        (at_begin != NEVER).then(|| at_begin.saturating_add(in_millis(self.elapsed())))
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now_millis().div_euclid(1000))
    }

    fn now_millis(&self) -> i64 {
        self.database_millis().unwrap_or_else(|| self.wall.now_millis())
    }

    fn off(&self) -> Option<Skew> {
        self.skew().filter(|skew| skew.0.unsigned_abs() > u64::try_from(MOST_SKEW.as_millis()).unwrap_or(0))
    }
}

impl Skew {
    /// In milliseconds, positive if the wall clock is ahead.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// In seconds, positive if the wall clock is ahead.
    pub fn as_seconds(self) -> f64 {
        // A skew beyond what a double holds exactly (285,000 years) is told well enough.
        let sign = if self.0 < 0 { -1.0 } else { 1.0 };
        sign * Duration::from_millis(self.0.unsigned_abs()).as_secs_f64()
    }
}

/// As `/readyz` and the log say it: `6.2 s ahead of the database's`.
impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.0 < 0 { "behind" } else { "ahead of" };
        write!(f, "{:.1} s {side} the database's", self.as_seconds().abs())
    }
}

fn in_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const DATABASE: i64 = 1_790_000_000;

    /// A node whose database has just said [`DATABASE`], and the hands of its wall clock.
    fn node(ahead: i64) -> (NodeClock, Arc<ManualClock>) {
        let wall = Arc::new(ManualClock::at(Timestamp(DATABASE + ahead)));
        let clock = NodeClock::new(Arc::<ManualClock>::clone(&wall));
        let now = clock.elapsed();
        assert!(clock.read(DATABASE * 1000 + 500, now, now));
        (clock, wall)
    }

    #[test]
    fn the_time_is_the_databases_however_wrong_the_wall_clock_is() {
        for ahead in [-1_000_000, -4, 0, 4, 1_000_000] {
            let (clock, _) = node(ahead);
            assert_eq!(clock.now(), Timestamp(DATABASE), "{ahead}");
        }
    }

    #[test]
    fn before_the_first_reading_the_wall_clock_counts_and_nothing_is_off() {
        let clock = NodeClock::new(Arc::new(ManualClock::at(Timestamp(DATABASE))));
        assert_eq!((clock.now(), clock.off(), clock.skew()), (Timestamp(DATABASE), None, None));
    }

    #[test]
    fn more_than_five_seconds_in_either_direction_are_too_many() {
        for (ahead, is_off) in [(-6, true), (-4, false), (0, false), (5, false), (7, true)] {
            let (clock, _) = node(ahead);
            assert_eq!(clock.off().is_some(), is_off, "{ahead}: {:?}", clock.skew());
        }
        assert_eq!(Skew(6_240).to_string(), "6.2 s ahead of the database's");
        assert_eq!(Skew(-7_000).to_string(), "7.0 s behind the database's");
    }

    #[test]
    fn a_jump_of_the_wall_clock_shows_at_the_next_look_and_does_not_move_the_time() {
        let (clock, wall) = node(0);
        assert_eq!(clock.off(), None);
        wall.advance(Duration::from_secs(3600));
        assert!(clock.off().is_some_and(|skew| skew.as_millis() > 3_590_000));
        assert_eq!(clock.now(), Timestamp(DATABASE));
        wall.set(Timestamp(DATABASE));
        assert_eq!(clock.off(), None, "set right again");
    }

    #[test]
    fn a_reading_that_was_long_under_way_changes_nothing() {
        let (clock, _) = node(0);
        let asked = clock.elapsed();
        assert!(!clock.read(DATABASE * 2000, asked, asked + Duration::from_secs(30)));
        assert_eq!(clock.now(), Timestamp(DATABASE));
    }

    #[test]
    fn the_moment_of_a_reading_is_taken_to_be_the_middle_of_its_way() {
        let clock = NodeClock::new(Arc::new(ManualClock::at(Timestamp(0))));
        assert!(clock.read(1_000_000, Duration::from_secs(100), Duration::from_secs(101)));
        assert_eq!(clock.database.load(Ordering::Relaxed), 1_000_000 - 100_500);
    }
}
