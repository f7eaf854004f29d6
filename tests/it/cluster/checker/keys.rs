//! What no history may contain of signing keys: each is published by every node before it signs and for as long as its
//! tokens live, and one that was removed is neither published nor signs.

use std::collections::{BTreeSet, HashMap};

use super::super::history::{Call, Fault, History, Kind, Moment, Name, Operation, Outcome, Token, Via};
use super::{Rule, Violation, concerns, is_of_the_process};

pub(super) fn check(history: &History) -> Vec<Violation> {
    let sets: Vec<_> = history.operations.iter().filter_map(Set::of).collect();
    let removed = removed(history);
    let mut found = Vec::new();
    for (kid, first) in first_uses(history) {
        found.extend(published_before(kid, first, &sets, &history.faults));
        for set in sets.iter().filter(|set| set.begin >= first.end && !set.kids.contains(kid)) {
            let gone = removed.get(kid).is_some_and(|removal| removal.asked <= set.end);
            // What was frozen or has just been started has its keys read anew within a beat.
            let back =
                history.faults.iter().any(|fault| fault.kind == Kind::NodeFrozen && set.just_had(fault));
            if !gone && !back {
                let what = format!(
                    "{kid}, which had signed at {:?}, at node {} at {:?}",
                    first.end, set.node, set.begin
                );
                found.push(Violation { rule: Rule::NotVerifiable, what });
            }
        }
    }
    found.extend(in_use(history, &removed));
    found
}

/// A key set that a node published.
struct Set<'h> {
    node: usize,
    begin: Moment,
    end: Moment,
    kids: &'h BTreeSet<Name>,
    operation: &'h Operation,
}

impl<'h> Set<'h> {
    fn of(operation: &'h Operation) -> Option<Self> {
        let (Via::Node(node), Outcome::Published(kids)) = (operation.via, &operation.outcome) else {
            return None;
        };
        Some(Self { node, begin: operation.begin, end: operation.end, kids, operation })
    }

    fn just_had(&self, fault: &Fault) -> bool {
        concerns(fault, self.operation)
    }
}

/// Each key with the first answer that it signed.
fn first_uses(history: &History) -> HashMap<&Name, &Operation> {
    let mut first: HashMap<&Name, &Operation> = HashMap::new();
    for operation in &history.operations {
        if let Outcome::Issued(Token { kid, .. }) = &operation.outcome {
            let known = first.entry(kid).or_insert(operation);
            if operation.begin < known.begin {
                *known = operation;
            }
        }
    }
    first
}

/// What each node published last before the key signed has to have it; what a node that was not up then published has
/// no say.
fn published_before(kid: &Name, first: &Operation, sets: &[Set<'_>], faults: &[Fault]) -> Vec<Violation> {
    let mut last: HashMap<usize, &Set<'_>> = HashMap::new();
    for set in sets.iter().filter(|set| set.end <= first.begin) {
        let known = last.entry(set.node).or_insert(set);
        if set.end > known.end {
            *known = set;
        }
    }
    if last.is_empty() {
        let what = format!("{kid}, before any node was asked, at {:?}", first.begin);
        return vec![Violation { rule: Rule::NotPublished, what }];
    }
    let since = |set: &Set<'_>| {
        faults.iter().any(|fault| {
            is_of_the_process(&fault.kind)
                && fault.node.is_none_or(|node| node == set.node)
                && fault.begin <= first.end
                && fault.end + fault.kind.recovery() >= set.begin
        })
    };
    let lacking = last.values().filter(|set| !set.kids.contains(kid) && !since(set));
    let told = lacking.map(|set| Violation {
        rule: Rule::NotPublished,
        what: format!(
            "{kid} signed at {:?}, and node {} had not published it at {:?}",
            first.begin, set.node, set.end
        ),
    });
    told.collect()
}

/// The removal of a key.
struct Removal {
    asked: Moment,
    done: Option<Moment>,
}

fn removed(history: &History) -> HashMap<&Name, Removal> {
    let mut removed = HashMap::new();
    for operation in &history.operations {
        let Call::RemoveKey { kid } = &operation.call else { continue };
        let known = removed.entry(kid).or_insert(Removal { asked: operation.begin, done: None });
        known.asked = known.asked.min(operation.begin);
        if operation.outcome == Outcome::Done {
            known.done = Some(known.done.map_or(operation.end, |done| done.min(operation.end)));
        }
    }
    removed
}

/// What a node that stood still did as it woke is over with its next beat, and no token of it is ever active.
fn in_use(history: &History, removed: &HashMap<&Name, Removal>) -> Vec<Violation> {
    let mut found = Vec::new();
    for operation in &history.operations {
        let over = |kid: &&Name| {
            let done = removed.get(kid).and_then(|removal| removal.done);
            done.is_some_and(|done| operation.begin > done)
        };
        let kids: Vec<&Name> = match &operation.outcome {
            Outcome::Published(kids) => kids.iter().filter(over).collect(),
            Outcome::Issued(token) => Some(&token.kid).into_iter().filter(over).collect(),
            _ => continue,
        };
        let woke = |fault: &Fault| fault.kind == Kind::NodeFrozen && concerns(fault, operation);
        if !history.faults.iter().any(woke) {
            found.extend(kids.into_iter().map(|kid| Violation {
                rule: Rule::RemovedKeyInUse,
                what: format!(
                    "{kid} in {:?} via {:?} at {:?}",
                    operation.call, operation.via, operation.begin
                ),
            }));
        }
    }
    found
}
