//! What a long round found, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::checker::{Rule, Violation};
use super::faults::fail_overs;
use super::history::{Call, Fault, History, Moment, Outcome};

/// Operations, faults, fail-over times and violations.
pub(super) fn report(history: &History, violations: &[Violation]) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").unwrap();
    let lasted = history.operations.last().map_or(Moment::ZERO, |last| last.end);
    line(format_args!("{} operations in {:.0} s", history.operations.len(), lasted.as_secs_f64()));
    line(format_args!("{:<44} {:>8} {:>8} {:>8} {:>8}", "operation", "200", "503", "other", "no answer"));
    let mut counted: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for operation in &history.operations {
        let column = match operation.outcome {
            Outcome::Status(503) => 1,
            Outcome::Status(_) => 2,
            Outcome::Lost(_) => 3,
            _ => 0,
        };
        counted.entry(name(&operation.call)).or_default()[column] += 1;
    }
    for (name, [good, unavailable, other, lost]) in counted {
        line(format_args!("{name:<44} {good:>8} {unavailable:>8} {other:>8} {lost:>8}"));
    }
    line(format_args!(
        "{:<44} {:>8} {:>10} {:>12}",
        "fault (worst of each)", "times", "served in", "healed in"
    ));
    let mut by_kind: BTreeMap<&str, (usize, Duration, Duration)> = BTreeMap::new();
    for over in fail_overs(history) {
        let (times, away, back) = by_kind.entry(over.kind.name()).or_default();
        *times += 1;
        *away = (*away).max(over.away.unwrap_or_default());
        *back = (*back).max(over.back.unwrap_or_default());
    }
    for (name, (times, away, back)) in by_kind {
        line(format_args!(
            "{name:<44} {times:>8} {:>8.2} s {:>10.2} s",
            away.as_secs_f64(),
            back.as_secs_f64()
        ));
    }
    line(format_args!("{} violations", violations.len()));
    let mut by_rule: BTreeMap<Rule, Vec<&str>> = BTreeMap::new();
    for Violation { rule, what } in violations {
        by_rule.entry(*rule).or_default().push(what);
    }
    for (rule, found) in by_rule {
        line(format_args!("{} {rule:?}", found.len()));
        for what in found.iter().take(6) {
            line(format_args!("  {what}"));
        }
    }
    if !violations.is_empty() {
        for Fault { kind, node, begin, end } in &history.faults {
            line(format_args!("  {kind:?} at {node:?} from {begin:?} to {end:?}"));
        }
    }
    text
}

fn name(call: &Call) -> &'static str {
    match call {
        Call::Issue { .. } => "issue",
        Call::Introspect { .. } => "introspect",
        Call::Revoke { .. } => "revoke",
        Call::RevokeClient { .. } => "revoke --client",
        Call::KeySet => "key set",
        Call::Rotate => "keys rotate --now",
        Call::RemoveKey { .. } => "keys revoke",
    }
}
