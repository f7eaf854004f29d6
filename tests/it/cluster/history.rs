//! What several nodes were asked and what they answered, with times of one monotonic clock, and what was done to them
//! meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Since the history began.
pub(super) type Moment = Duration;

/// Everything that happened.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Unix time, in seconds, at which the history began.
    pub(super) began: f64,
    pub(super) operations: Vec<Operation>,
    pub(super) faults: Vec<Fault>,
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// Who asked. Nobody asks twice at once.
    pub(super) worker: usize,
    pub(super) via: Via,
    pub(super) begin: Moment,
    pub(super) end: Moment,
    pub(super) call: Call,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Via {
    /// One of the nodes, and nobody knows which.
    Balancer,
    Node(usize),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Call {
    Issue { client: Name },
    Introspect { token: Name },
    Revoke { token: Name },
    RevokeClient { client: Name },
    KeySet,
    Rotate,
    RemoveKey { kid: Name },
}

/// A `client_id`, a `jti` or a `kid`.
pub(super) type Name = Arc<str>;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Issued(Token),
    Active,
    Inactive,
    /// What was to be ended has ended.
    Done,
    Published(BTreeSet<Name>),
    /// No 200.
    Status(u16),
    /// No answer.
    Lost(String),
}

/// What an issued token says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Token {
    pub(super) jti: Name,
    pub(super) client: Name,
    pub(super) kid: Name,
    /// `iat`.
    pub(super) issued_at: i64,
}

/// Something that was done to a node, or to all.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// `None`: every node has it.
    pub(super) node: Option<usize>,
    /// Before it was done.
    pub(super) begin: Moment,
    /// After it was undone.
    pub(super) end: Moment,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    /// SIGKILL, until another process listens in its place.
    NodeKilled,
    /// SIGSTOP, until SIGCONT.
    NodeFrozen,
    /// The node's way to the database takes nothing, until it does.
    NodeCutOff,
    /// The wall clock two minutes off.
    ClockOff,
    /// SIGKILL, until it takes connections again.
    DatabaseKilled,
    /// SIGSTOP, until SIGCONT.
    DatabaseFrozen,
    /// The node's `clients.d` lacks this client.
    ClientGone(Name),
}

impl Operation {
    /// Whether the answer is what was asked for.
    pub(super) fn succeeded(&self) -> bool {
        !matches!(self.outcome, Outcome::Status(_) | Outcome::Lost(_))
    }

    pub(super) fn took(&self) -> Duration {
        self.end.saturating_sub(self.begin)
    }
}

impl Kind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::NodeKilled => "node killed (-9) and started",
            Self::NodeFrozen => "node frozen and resumed",
            Self::NodeCutOff => "node cut off from the database",
            Self::ClockOff => "clock of a node 120 s off and back",
            Self::DatabaseKilled => "database killed (-9) and started",
            Self::DatabaseFrozen => "database frozen and resumed",
            Self::ClientGone(_) => "client missing in clients.d of one node",
        }
    }

    /// Whether it is the database that does not answer, for the nodes that have it.
    pub(super) fn is_of_the_database(&self) -> bool {
        matches!(self, Self::DatabaseKilled | Self::DatabaseFrozen | Self::NodeCutOff)
    }

    /// How long after its end it may still be felt: what is promised.
    pub(super) fn recovery(&self) -> Duration {
        let seconds = match self {
            // Five seconds from the database's return.
            Self::DatabaseKilled | Self::DatabaseFrozen | Self::NodeCutOff => 5,
            // Connections that died are noticed when they are used again; one beat; two seconds for a changed file.
            Self::NodeKilled | Self::NodeFrozen | Self::ClockOff => 2,
            Self::ClientGone(_) => 4,
        };
        Duration::from_secs(seconds)
    }
}
