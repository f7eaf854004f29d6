//! How many rounds, what came of them, and numbers by chance that can be had again.

use std::collections::hash_map::RandomState;
use std::env;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use crate::support::program::Serving;

use super::Place;

/// How long a start may take.
const START: Duration = Duration::from_secs(5);

/// How often something is tried: a few times in `make test`, in full in `make test-faults`.
#[expect(
    clippy::disallowed_methods,
    reason = "it is the test that is told by the environment, not the server"
)]
pub(super) fn rounds(few: usize, full: usize) -> usize {
    if env::var_os("CERTBOUND_FAULTS").is_some_and(|value| value == "long") { full } else { few }
}

/// Says on standard error itself, which is shown for tests that pass too, that a test was left out.
pub(super) fn left_out(what: &str, why: &str) {
    let _ = writeln!(io::stderr(), "\nLEFT OUT: {what}: {why}");
}

/// What came of a loop.
pub(super) struct Figures {
    what: &'static str,
    began: Instant,
    pub(super) rounds: usize,
    /// Writes that were answered with success.
    pub(super) acknowledged: usize,
    /// Of these, those that were not there later.
    pub(super) lost: usize,
    /// Starts that should have gone well.
    failed: usize,
    /// What should have ended and did not.
    pub(super) hangs: usize,
    slowest: Duration,
    more: String,
}

impl Figures {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            began: Instant::now(),
            rounds: 0,
            acknowledged: 0,
            lost: 0,
            failed: 0,
            hangs: 0,
            slowest: Duration::ZERO,
            more: String::new(),
        }
    }

    /// Starts the server again, after a fault that must not keep it from that.
    pub(super) fn start(&mut self, place: &Place) -> Option<Serving> {
        let began = Instant::now();
        match Serving::try_start(place.path()) {
            Ok(serving) => {
                self.slowest = self.slowest.max(began.elapsed());
                Some(serving)
            }
            Err(refused) => {
                self.failed += 1;
                self.note(&format!("round {}: {refused:?}", self.rounds));
                None
            }
        }
    }

    /// A line below the figures.
    pub(super) fn note(&mut self, line: &str) {
        let _ = write!(self.more, "\n    {line}");
    }

    /// Shows them, and is content with nothing but a loop without a loss.
    pub(super) fn show(self) {
        let Self { what, began, rounds, acknowledged, lost, failed, hangs, slowest, more } = self;
        eprintln!(
            "{:>6} {:>12} {:>5} {:>12} {:>5} {:>13} {:>6}\n\
             {rounds:>6} {acknowledged:>12} {lost:>5} {failed:>12} {hangs:>5} {:>13} {:>6}   {what}{more}",
            "rounds",
            "acknowledged",
            "lost",
            "failed opens",
            "hangs",
            "slowest start",
            "took",
            format!("{} ms", slowest.as_millis()),
            format!("{} s", began.elapsed().as_secs()),
        );
        assert_eq!((lost, failed, hangs), (0, 0, 0), "lost, failed opens, hangs: {what}{more}");
        assert!(slowest < START, "a start took {slowest:?}: {what}");
    }
}

/// Numbers by chance, the same again for the same seed.
pub(super) struct Dice(u64);

impl Dice {
    /// With the seed of `CERTBOUND_SEED`, or a new one; says which.
    #[expect(
        clippy::disallowed_methods,
        reason = "it is the test that is told by the environment, not the server"
    )]
    pub(super) fn new() -> Self {
        let given = env::var("CERTBOUND_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        eprintln!("CERTBOUND_SEED={seed}");
        Self(seed)
    }

    /// A number below `end` (`SplitMix64`).
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % end
    }
}
