//! What a store of tokens keeps, whichever store it is, and for how long.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::oauth::{ClientId, Jti};

/// How long a record is kept at least: the longest life of a token (24 h) and an hour for the clocks. What is forgotten
/// moves the moment up to which every token has ended, and that may not touch a token that can be alive.
pub(super) const KEPT: Duration = Duration::from_secs(25 * 3600);

/// What ended a token or the tokens of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mark {
    /// Tokens with `iat` up to here have ended.
    pub at: Timestamp,
    /// When the last of them would have expired.
    pub until: Timestamp,
}

impl Mark {
    /// From when on it need not be kept.
    pub(super) fn due(self) -> Timestamp {
        self.until.max(self.at.plus(KEPT))
    }
}

/// One record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    Token(Jti, Mark),
    Client(ClientId, Mark),
    /// With the moment since which the client is gone.
    Presence(ClientId, Option<Timestamp>),
}

impl Entry {
    /// From when on nobody needs it; never for a client that is there.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Token(_, mark) | Self::Client(_, mark) => Some(mark.due()),
            Self::Presence(_, since) => since.map(|since| since.plus(KEPT)),
        }
    }

    /// What the moment up to which every token has ended must have reached when this is forgotten: no token that the record ends, or
    /// would end, was issued later.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        match self {
            Self::Token(_, mark) | Self::Client(_, mark) => Some(mark.at),
            Self::Presence(_, since) => *since,
        }
    }
}
