//! Time as the protocols speak of it: whole seconds since 1970 (`NumericDate`, RFC 7519 §2).
//!
//! The clock is read once per request and once per background tick; everything below takes `now` as
//! an argument. The only reader of the machine's clock is [`SystemClock`]; a lint forbids the rest. Where several
//! nodes share a database, its clock counts and not the machine's: [`NodeClock`].

mod node;

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use node::{MOST_SKEW, NodeClock, Skew};

/// Whole seconds since 1970-01-01T00:00:00Z, what RFC 7519 §2 calls a `NumericDate`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The end of all times that can be printed: 9999-12-31T23:59:59Z (RFC 5280 §4.1.2.5).
    pub const MAX: Self = Self(253_402_300_799);

    /// From seconds since 1970.
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// As seconds since 1970.
    pub const fn as_unix(self) -> i64 {
        self.0
    }

    /// This moment and `duration` (whole seconds) more.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
    }

    /// This moment less `duration` (whole seconds).
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an RFC 3339 date-time such as `2026-01-31T08:00:00Z`.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(|at| Self(at.unix_timestamp()))
    }

    /// `YYYYMMDDThhmmssZ`, the form in the names of signing keys.
    pub fn compact(self) -> String {
        self.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect()
    }

    /// Reads what [`Timestamp::compact`] writes.
    pub fn parse_compact(text: &str) -> Option<Self> {
        let digits = |range: std::ops::Range<usize>| text.get(range);
        if text.len() != 16 {
            return None;
        }
        let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
        let (hour, minute, second) = (digits(9..11)?, digits(11..13)?, digits(13..15)?);
        let at = Self::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))?;
        (at.compact() == text).then_some(at)
    }
}

/// RFC 3339 in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OffsetDateTime::from_unix_timestamp(self.0).ok().and_then(|at| at.format(&Rfc3339).ok()) {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}s", self.0),
        }
    }
}

/// Where `now` comes from.
pub trait Clock: Send + Sync {
    /// The present second.
    fn now(&self) -> Timestamp;

    /// Milliseconds since 1970, as far as the clock knows them: what two clocks are compared by.
    fn now_millis(&self) -> i64 {
        self.now().as_unix().saturating_mul(1000)
    }

    /// How far the machine's clock is from the one that counts, if that is more than [`MOST_SKEW`]: nothing may be issued
    /// then. A clock that is compared with no other is never off.
    fn off(&self) -> Option<Skew> {
        None
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now_millis() / 1000)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now_millis(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A clock that stands until it is moved: a year of rotation in a millisecond.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Standing at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves the hands, backwards too.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compact_time_reads_back_as_written() {
        let at = Timestamp::from_unix(1_790_000_123);
        assert_eq!(Timestamp::parse_compact(&at.compact()), Some(at));
        assert_eq!(at.compact().len(), 16);
    }

    #[test]
    fn what_is_not_a_compact_time_is_none() {
        for text in
            ["", "20260101", "20261301T000000Z", "2026-01-01T00:00", "20260101X000000Z", "20260101T000000é"]
        {
            assert_eq!(Timestamp::parse_compact(text), None, "{text}");
        }
    }

    #[test]
    fn since_never_goes_below_zero() {
        let at = Timestamp::from_unix(10);
        assert_eq!(at.since(Timestamp::from_unix(20)), Duration::ZERO);
        assert_eq!(at.since(Timestamp::from_unix(3)), Duration::from_secs(7));
    }
}
