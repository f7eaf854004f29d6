//! What no history of several nodes may contain. A pure function, so that it is known to find what it looks for.
//!
//! The bound is zero: an introspection that begins after the answer to a revocation has ended never says active, on any
//! node, whatever is done to nodes and database. Everything else that goes wrong has to be explained by a fault that the
//! same node has at that time, and no fault explains an `active` or a token that nobody can verify.

use std::collections::HashMap;
use std::time::Duration;

use super::history::{Call, Fault, History, Kind, Moment, Name, Operation, Outcome, Token, Via};

mod keys;
#[cfg(test)]
mod tests;

/// Something that must not be.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) rule: Rule,
    pub(super) what: String,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Rule {
    /// Active after it had been ended.
    ActiveAfterItsEnd,
    /// Active after it had been inactive.
    ActiveAgain,
    /// Inactive though nobody had ended it.
    Forgotten,
    /// Issued by a node whose clock was off.
    IssuedByAWrongClock,
    /// `iat` is not the time at which it was issued.
    WrongTime,
    /// Signed by a key that a node had not published.
    NotPublished,
    /// A node's key set lacks a key that has signed.
    NotVerifiable,
    /// A removed key is published, or signs.
    RemovedKeyInUse,
    /// A registered client was refused.
    LostClient,
    /// 503 without a fault that explains it.
    Unavailable,
    /// Another 5xx, or a status that has no place here.
    WrongStatus,
    /// No answer from a node that was up.
    NoAnswer,
    /// An answer that took too long.
    Slow,
}

/// Every violation, in the order of the history.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let known = Known::of(history);
    let mut found: Vec<_> =
        history.operations.iter().flat_map(|operation| known.wrong_with(operation)).collect();
    found.extend(keys::check(history));
    found
}

/// No answer of a healthy server takes longer.
const LONGEST: Duration = Duration::from_secs(5);

/// A command that waits for all nodes may take as long as they have, and then says so.
const LONGEST_OF_KEYS: Duration = Duration::from_secs(8);

/// 503 because of the database: two seconds are promised, and one is for a busy machine.
const LONGEST_503: Duration = Duration::from_secs(3);

/// How far off an `iat` may be: a node that is further off does not issue. One second is for rounding.
const SKEW: f64 = 6.0;

/// When a node knows that its clock is off: after one beat, and one second for a busy machine.
const BEAT: Duration = Duration::from_secs(2);

/// What the history says of tokens, by token.
struct Known<'h> {
    history: &'h History,
    issued: HashMap<&'h Name, (&'h Token, Moment)>,
    ends: HashMap<&'h Name, End>,
    /// When an introspection that no fault explains had said inactive.
    inactive: HashMap<&'h Name, Moment>,
    of_clients: Vec<(&'h Name, &'h Operation)>,
    of_keys: Vec<(&'h Name, &'h Operation)>,
}

/// The end of one token.
#[derive(Clone, Copy)]
struct End {
    /// When it was first asked for; it may have happened since, whatever the answer was.
    asked: Moment,
    /// When the first 200 had come.
    done: Option<Moment>,
}

impl<'h> Known<'h> {
    fn of(history: &'h History) -> Self {
        let mut known = Self {
            history,
            issued: HashMap::new(),
            ends: HashMap::new(),
            inactive: HashMap::new(),
            of_clients: Vec::new(),
            of_keys: Vec::new(),
        };
        for operation in &history.operations {
            match (&operation.call, &operation.outcome) {
                (Call::Issue { .. }, Outcome::Issued(token)) => {
                    known.issued.insert(&token.jti, (token, operation.end));
                }
                (Call::Revoke { token }, outcome) => known.revoke(token, operation, outcome),
                (Call::RevokeClient { client }, _) => known.of_clients.push((client, operation)),
                (Call::RemoveKey { kid }, _) => known.of_keys.push((kid, operation)),
                _ => {}
            }
        }
        for operation in &history.operations {
            let (Call::Introspect { token }, Outcome::Inactive) = (&operation.call, &operation.outcome)
            else {
                continue;
            };
            if !known.may_be_inactive_here(token, operation) {
                let first = known.inactive.entry(token).or_insert(operation.end);
                *first = operation.end.min(*first);
            }
        }
        known
    }

    fn revoke(&mut self, token: &'h Name, operation: &Operation, outcome: &Outcome) {
        let end = self.ends.entry(token).or_insert(End { asked: operation.begin, done: None });
        end.asked = end.asked.min(operation.begin);
        if *outcome == Outcome::Done {
            end.done = Some(end.done.map_or(operation.end, |done| done.min(operation.end)));
        }
    }

    fn wrong_with(&self, operation: &Operation) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut add = |rule, what: String| {
            let Operation { via, begin, end, call, .. } = operation;
            found.push(Violation {
                rule,
                what: format!("{call:?} via {via:?} at {begin:?} to {end:?}: {what}"),
            });
        };
        match &operation.outcome {
            Outcome::Active => self.active(operation, &mut add),
            Outcome::Inactive => self.inactive(operation, &mut add),
            Outcome::Issued(token) => self.issued(token, operation, &mut add),
            Outcome::Status(status) => self.status(*status, operation, &mut add),
            Outcome::Lost(why) if !self.explained(operation, is_of_the_process) => {
                add(Rule::NoAnswer, why.clone());
            }
            Outcome::Lost(_) | Outcome::Done | Outcome::Published(_) => {}
        }
        let longest = match operation.call {
            Call::RemoveKey { .. } | Call::Rotate => LONGEST_OF_KEYS,
            _ => LONGEST,
        };
        let frozen = |kind: &Kind| *kind == Kind::NodeFrozen;
        if operation.took() > longest && !self.explained(operation, frozen) {
            add(Rule::Slow, format!("{:?}", operation.took()));
        }
        found
    }

    fn active(&self, operation: &Operation, add: &mut impl FnMut(Rule, String)) {
        let Call::Introspect { token: jti } = &operation.call else { return };
        let began = operation.begin;
        if let Some(done) = self.ends.get(jti).and_then(|end| end.done).filter(|done| *done < began) {
            add(Rule::ActiveAfterItsEnd, format!("its revocation was answered at {done:?}"));
        }
        if let Some(first) = self.inactive.get(jti).filter(|first| **first < began) {
            add(Rule::ActiveAgain, format!("it was inactive at {first:?}"));
        }
        let Some((token, issued)) = self.issued.get(jti) else { return };
        let over = |ended: &&(&Name, &Operation)| ended.1.outcome == Outcome::Done && ended.1.end < began;
        let of_client = self
            .of_clients
            .iter()
            .filter(|(client, ended)| **client == token.client && *issued < ended.begin);
        if let Some((_, ended)) = of_client.clone().find(over) {
            add(Rule::ActiveAfterItsEnd, format!("its client's tokens were ended at {:?}", ended.end));
        }
        if let Some((_, ended)) = self.of_keys.iter().filter(|(kid, _)| **kid == token.kid).find(over) {
            add(Rule::ActiveAfterItsEnd, format!("its key was removed at {:?}", ended.end));
        }
    }

    fn inactive(&self, operation: &Operation, add: &mut impl FnMut(Rule, String)) {
        let Call::Introspect { token: jti } = &operation.call else { return };
        let Some((token, _)) = self.issued.get(jti) else { return };
        let asked = |of: &[(&Name, &Operation)], name: &Name| {
            of.iter().any(|(is, ended)| *is == name && ended.begin <= operation.end)
        };
        let ended = self.ends.get(jti).is_some_and(|end| end.asked <= operation.end)
            || asked(&self.of_clients, &token.client)
            || asked(&self.of_keys, &token.kid);
        if !ended && !self.may_be_inactive_here(jti, operation) {
            add(Rule::Forgotten, "nobody had ended it".to_owned());
        }
    }

    /// Whether the node had a reason of its own to say inactive: it had lost the client, or could not know.
    fn may_be_inactive_here(&self, jti: &Name, operation: &Operation) -> bool {
        let client = self.issued.get(jti).map(|(token, _)| &token.client);
        self.explained(operation, |kind| match kind {
            Kind::ClientGone(gone) => Some(gone) == client,
            kind => kind.is_of_the_database(),
        })
    }

    fn issued(&self, token: &Token, operation: &Operation, add: &mut impl FnMut(Rule, String)) {
        let wrong = |fault: &&Fault| {
            fault.kind == Kind::ClockOff
                && fault.node.is_some_and(|node| operation.via == Via::Node(node))
                && operation.begin >= fault.begin + BEAT
                && operation.end <= fault.end
        };
        if let Some(fault) = self.history.faults.iter().find(wrong) {
            add(Rule::IssuedByAWrongClock, format!("its clock was off since {:?}", fault.begin));
        }
        let at = |moment: Moment| self.history.began + moment.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
        let issued = token.issued_at as f64;
        if issued < at(operation.begin) - SKEW || issued > at(operation.end) + SKEW {
            add(Rule::WrongTime, format!("iat {} and not {}", token.issued_at, at(operation.begin)));
        }
    }

    fn status(&self, status: u16, operation: &Operation, add: &mut impl FnMut(Rule, String)) {
        match (status, &operation.call) {
            // Issuing needs no database, and waits for nobody; a wrong clock is all that stops it.
            (503, Call::Issue { .. }) => {
                if !self.explained(operation, |kind| *kind == Kind::ClockOff) {
                    add(Rule::LostClient, "503".to_owned());
                }
            }
            (503, Call::KeySet) => add(Rule::WrongStatus, "the key set needs nobody: 503".to_owned()),
            (503, _) => {
                if !self.explained(operation, |kind| kind.is_of_the_database() || *kind == Kind::NodeFrozen) {
                    add(Rule::Unavailable, "503".to_owned());
                }
                let frozen = |kind: &Kind| *kind == Kind::NodeFrozen;
                if operation.took() > LONGEST_503
                    && !self.explained(operation, frozen)
                    && !waits(&operation.call)
                {
                    add(Rule::Slow, format!("503 after {:?}", operation.took()));
                }
            }
            (400 | 401, call) => {
                let client = match call {
                    Call::Issue { client } => Some(client),
                    Call::Revoke { token } => self.issued.get(token).map(|(token, _)| &token.client),
                    _ => None,
                };
                if !self.explained(
                    operation,
                    |kind| matches!(kind, Kind::ClientGone(gone) if Some(gone) == client),
                ) {
                    add(Rule::LostClient, status.to_string());
                }
            }
            _ => add(Rule::WrongStatus, status.to_string()),
        }
    }

    /// Whether the node that was asked had such a fault then, or has just been rid of it.
    fn explained(&self, operation: &Operation, by: impl Fn(&Kind) -> bool) -> bool {
        self.history.faults.iter().any(|fault| by(&fault.kind) && concerns(fault, operation))
    }
}

/// Whether a fault, or what is left of it, and an operation met.
fn concerns(fault: &Fault, operation: &Operation) -> bool {
    let same_node = match (fault.node, operation.via) {
        (Some(node), Via::Node(asked)) => node == asked,
        (None, _) | (_, Via::Balancer) => true,
    };
    same_node && operation.end >= fault.begin && operation.begin <= fault.end + fault.kind.recovery()
}

fn is_of_the_process(kind: &Kind) -> bool {
    matches!(kind, Kind::NodeKilled | Kind::NodeFrozen)
}

/// Whether its answer waits for other nodes, or for the end of a second.
fn waits(call: &Call) -> bool {
    matches!(call, Call::RevokeClient { .. } | Call::RemoveKey { .. } | Call::Rotate)
}
