//! The machine's clock, asked in one place: what the suite makes (certificates, assertions) has dates.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a program of its own, which no test has to wind forward")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// The time in seconds since 1970, as in claims (RFC 7519 §2, `NumericDate`).
#[must_use]
pub fn seconds() -> u64 {
    now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}
