//! What a check is, and what comes of it.

use std::fmt::Display;

use serde::Serialize;

use crate::lab::Lab;

/// One test of one or several requirements of the register.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The name of its function.
    pub name: &'static str,
    /// The requirements that it tests.
    pub rows: &'static [&'static str],
    /// Whether others may run at the same time.
    pub beside: Beside,
    /// The test.
    pub run: fn(&Lab) -> Outcome,
}

impl Check {
    /// Whether this is its name, one of its requirements, or the specification of one.
    #[must_use]
    pub fn is_called(&self, word: &str) -> bool {
        let of =
            |row: &&str| *row == word || row.strip_prefix(word).is_some_and(|rest| rest.starts_with('-'));
        self.name == word || self.rows.iter().any(of)
    }
}

/// Whom a check may run beside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Beside {
    /// Any other.
    Others,
    /// Any other; it waits long, and so begins before the rest.
    Early,
    /// None: it measures time, floods the server, or changes something for all.
    Nobody,
}

/// `Ok` is a pass; everything else ends the check where it is, with `?`.
pub type Outcome = Result<(), Halt>;

/// Why a check ends before its end.
#[derive(Clone, Debug)]
pub enum Halt {
    /// The server does something else than it should.
    Fail {
        /// What it should have done.
        expected: String,
        /// What it did.
        seen: String,
    },
    /// The requirement does not bind this server.
    NotApplicable(String),
    /// The requirement binds, but nothing can be seen of it from here.
    Untestable(String),
}

/// What came of a check.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The server does what it should.
    Pass,
    /// It does not.
    Fail {
        /// What it should have done.
        expected: String,
        /// What it did.
        seen: String,
    },
    /// It does not, and its documentation says that and why.
    Diverges {
        /// What it should have done.
        expected: String,
        /// What it did.
        seen: String,
        /// Why, in its own words.
        why: String,
    },
    /// The requirement does not bind this server.
    NotApplicable {
        /// Why not.
        why: String,
    },
    /// Nothing can be seen of it.
    Untestable {
        /// Why not.
        why: String,
    },
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(()) => Self::Pass,
            Err(Halt::Fail { expected, seen }) => Self::Fail { expected, seen },
            Err(Halt::NotApplicable(why)) => Self::NotApplicable { why },
            Err(Halt::Untestable(why)) => Self::Untestable { why },
        }
    }
}

/// OpenSSL could not make what the check needs: nothing that the server could be blamed for.
impl From<openssl::error::ErrorStack> for Halt {
    fn from(error: openssl::error::ErrorStack) -> Self {
        Self::Untestable(format!("the suite cannot make what it needs: {error}"))
    }
}

/// The server should have done one thing and did another.
///
/// # Errors
/// Always.
pub fn fail<T>(expected: impl Display, seen: impl Display) -> Result<T, Halt> {
    Err(Halt::Fail { expected: expected.to_string(), seen: seen.to_string() })
}

/// The requirement does not bind this server.
///
/// # Errors
/// Always.
pub fn not_applicable<T>(why: impl Display) -> Result<T, Halt> {
    Err(Halt::NotApplicable(why.to_string()))
}

/// The requirement binds, but nothing can be seen of it from here.
///
/// # Errors
/// Always.
pub fn untestable<T>(why: impl Display) -> Result<T, Halt> {
    Err(Halt::Untestable(why.to_string()))
}

/// Goes on if it holds.
///
/// # Errors
/// `Fail` if it does not.
pub fn ensure(holds: bool, expected: impl Display, seen: impl Display) -> Outcome {
    if holds { Ok(()) } else { fail(expected, seen) }
}

/// Goes on if both are equal.
///
/// # Errors
/// `Fail` if they are not; `what` is the name of the value.
pub fn ensure_equal<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, seen: &T) -> Outcome {
    ensure(expected == seen, format_args!("{what} is {expected:?}"), format_args!("{what} is {seen:?}"))
}
