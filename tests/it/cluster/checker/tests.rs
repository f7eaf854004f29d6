//! Histories that nobody lived through: what the checker passes, and what it does not.

use super::super::history::{Call, Fault, History, Kind, Name, Operation, Outcome, Token, Via};
use super::{Rule, check};
use std::time::Duration;

const BEGAN: f64 = 1_000_000.0;

/// A history of one client, one key and one token, in milliseconds.
fn history(more: impl IntoIterator<Item = Operation>) -> History {
    let first = [keys(0, 0, &["k1"]), keys(1, 5, &["k1"]), issue(0, 100, "t1", "k1")];
    History { began: BEGAN, operations: first.into_iter().chain(more).collect(), faults: Vec::new() }
}

/// An operation of ten milliseconds.
fn operation(via: Via, begin: u64, call: Call, outcome: Outcome) -> Operation {
    let at = Duration::from_millis;
    Operation { worker: 0, via, begin: at(begin), end: at(begin + 10), call, outcome }
}

fn issue(node: usize, begin: u64, jti: &str, kid: &str) -> Operation {
    let issued_at = 1_000_000 + i64::try_from(begin / 1000).unwrap();
    let token = Token { jti: jti.into(), client: "billing".into(), kid: kid.into(), issued_at };
    operation(Via::Node(node), begin, asked(), Outcome::Issued(token))
}

fn asked() -> Call {
    Call::Issue { client: "billing".into() }
}

fn introspect(node: usize, begin: u64, outcome: Outcome) -> Operation {
    operation(Via::Node(node), begin, Call::Introspect { token: "t1".into() }, outcome)
}

fn revoke(begin: u64, outcome: Outcome) -> Operation {
    operation(Via::Node(0), begin, Call::Revoke { token: "t1".into() }, outcome)
}

fn revoke_client(begin: u64) -> Operation {
    operation(Via::Node(0), begin, Call::RevokeClient { client: "billing".into() }, Outcome::Done)
}

fn remove_key(begin: u64) -> Operation {
    operation(Via::Node(0), begin, Call::RemoveKey { kid: "k1".into() }, Outcome::Done)
}

fn keys(node: usize, begin: u64, kids: &[&str]) -> Operation {
    let kids = kids.iter().map(|kid| Name::from(*kid)).collect();
    operation(Via::Node(node), begin, Call::KeySet, Outcome::Published(kids))
}

fn fault(kind: Kind, node: Option<usize>, begin: u64, end: u64) -> Fault {
    Fault { kind, node, begin: Duration::from_millis(begin), end: Duration::from_millis(end) }
}

fn rules(history: &History) -> Vec<Rule> {
    check(history).into_iter().map(|violation| violation.rule).collect()
}

/// What is wrong with this, with nothing and then with one fault.
fn with(operations: Vec<Operation>, fault: Fault) -> (Vec<Rule>, Vec<Rule>) {
    let mut history = history(operations);
    let without = rules(&history);
    history.faults.push(fault);
    (without, rules(&history))
}

#[test]
fn a_history_without_a_fault_passes() {
    let good = history([
        introspect(1, 200, Outcome::Active),
        revoke(300, Outcome::Done),
        introspect(1, 305, Outcome::Active),
        introspect(2, 311, Outcome::Inactive),
        keys(1, 400, &["k1", "k2"]),
        keys(0, 400, &["k1", "k2"]),
        issue(1, 500, "t2", "k2"),
    ]);
    assert_eq!(rules(&good), [], "the second `active` began before the answer had come");
}

#[test]
fn an_active_that_begins_after_the_end_of_a_token_is_found() {
    let late = || introspect(2, 311, Outcome::Active);
    let ended = [Rule::ActiveAfterItsEnd];
    assert_eq!(rules(&history([revoke(300, Outcome::Done), late()])), ended);
    assert_eq!(
        rules(&history([late(), revoke(300, Outcome::Done)])),
        ended,
        "in whatever order it was written"
    );
    assert_eq!(rules(&history([revoke_client(300), late()])), ended);
    let more_keys = [keys(0, 350, &["k2"]), keys(1, 350, &["k2"])];
    assert_eq!(rules(&history([remove_key(300), late()].into_iter().chain(more_keys))), ended);
    for outcome in [Outcome::Status(503), Outcome::Lost("hung up".into())] {
        let broken = fault(Kind::NodeFrozen, Some(0), 290, 320);
        assert_eq!(with(vec![revoke(300, outcome), late()], broken).1, [], "nobody had promised anything");
    }
    for kind in [Kind::DatabaseFrozen, Kind::NodeFrozen, Kind::ClockOff, Kind::ClientGone("billing".into())] {
        let found = with(vec![revoke(300, Outcome::Done), late()], fault(kind, Some(2), 0, 9000)).1;
        assert_eq!(found, ended, "no fault excuses it");
    }
}

#[test]
fn what_was_issued_after_the_end_of_its_clients_tokens_may_be_active() {
    assert_eq!(rules(&history([revoke_client(50), introspect(1, 300, Outcome::Active)])), []);
    assert_eq!(
        rules(&history([revoke_client(105), introspect(1, 300, Outcome::Active)])),
        [],
        "at the same time"
    );
}

#[test]
fn an_active_after_an_inactive_is_found_unless_the_node_that_said_inactive_could_not_know() {
    let again = || {
        vec![
            revoke(300, Outcome::Status(503)),
            introspect(1, 320, Outcome::Inactive),
            introspect(2, 340, Outcome::Active),
        ]
    };
    let broken = |node| fault(Kind::NodeCutOff, Some(node), 290, 330);
    assert_eq!(
        with(again(), broken(0)),
        (vec![Rule::Unavailable, Rule::ActiveAgain], vec![Rule::ActiveAgain])
    );
    assert_eq!(with(again(), broken(1)).1, [Rule::Unavailable]);
}

#[test]
fn a_token_that_is_inactive_though_nobody_ended_it_is_found() {
    let forgotten = || vec![introspect(1, 300, Outcome::Inactive)];
    let gone = |client: &str, node| fault(Kind::ClientGone(client.into()), Some(node), 200, 400);
    assert_eq!(with(forgotten(), gone("billing", 1)), (vec![Rule::Forgotten], vec![]));
    assert_eq!(with(forgotten(), gone("billing", 2)).1, [Rule::Forgotten], "another node");
    assert_eq!(with(forgotten(), gone("edge-7", 1)).1, [Rule::Forgotten], "another client");
    assert_eq!(with(forgotten(), fault(Kind::DatabaseFrozen, None, 200, 400)).1, []);
    assert_eq!(
        rules(&history([revoke(400, Outcome::Done), introspect(1, 300, Outcome::Inactive)])),
        [Rule::Forgotten]
    );
}

#[test]
fn a_node_whose_clock_is_off_issues_nothing_after_a_beat() {
    let off = |node| fault(Kind::ClockOff, Some(node), 1000, 8000);
    let operations = || vec![issue(0, 2000, "t2", "k1"), issue(0, 3500, "t3", "k1")];
    assert_eq!(with(operations(), off(0)), (vec![], vec![Rule::IssuedByAWrongClock]));
    assert_eq!(with(operations(), off(1)).1, []);
    let mut early = issue(0, 2000, "t2", "k1");
    if let Outcome::Issued(token) = &mut early.outcome {
        token.issued_at += 120;
    }
    assert_eq!(with(vec![early], off(0)).1, [Rule::WrongTime]);
}

#[test]
fn a_key_that_signs_before_every_node_has_published_it_is_found() {
    let unknown = [issue(0, 500, "t2", "k2"), keys(0, 600, &["k1", "k2"]), keys(1, 600, &["k1", "k2"])];
    assert_eq!(rules(&history(unknown.clone())), [Rule::NotPublished; 2]);
    let one = [keys(0, 400, &["k1", "k2"])].into_iter().chain(unknown);
    assert_eq!(rules(&history(one.clone())), [Rule::NotPublished]);
    assert_eq!(with(one.collect(), fault(Kind::NodeKilled, Some(1), 200, 550)).1, [], "it was not there");
    let nobody = History { operations: vec![issue(0, 0, "t1", "k1")], ..history([]) };
    assert_eq!(rules(&nobody), [Rule::NotPublished]);
}

#[test]
fn a_key_set_that_lacks_what_has_signed_is_found() {
    let lacking = || vec![keys(1, 300, &["k2"])];
    let frozen = |node| fault(Kind::NodeFrozen, Some(node), 200, 290);
    assert_eq!(with(lacking(), frozen(1)), (vec![Rule::NotVerifiable], vec![]));
    assert_eq!(with(lacking(), frozen(0)).1, [Rule::NotVerifiable]);
    assert_eq!(rules(&history([remove_key(200), keys(1, 300, &["k2"])])), []);
}

#[test]
fn a_removed_key_is_neither_published_nor_signs() {
    let used = [remove_key(200), keys(1, 205, &["k1"]), keys(1, 300, &["k1"]), issue(1, 300, "t2", "k1")];
    assert_eq!(rules(&history(used)), [Rule::RemovedKeyInUse; 2]);
}

#[test]
fn a_registered_client_gets_its_token_whatever_the_database_does() {
    let refused = |status| vec![operation(Via::Node(1), 300, asked(), Outcome::Status(status))];
    for kind in [Kind::DatabaseKilled, Kind::DatabaseFrozen, Kind::NodeCutOff] {
        assert_eq!(with(refused(503), fault(kind, None, 200, 400)).1, [Rule::LostClient]);
    }
    assert_eq!(
        with(refused(503), fault(Kind::ClockOff, Some(1), 200, 400)),
        (vec![Rule::LostClient], vec![])
    );
    assert_eq!(with(refused(503), fault(Kind::ClockOff, Some(0), 200, 400)).1, [Rule::LostClient]);
    let gone = |client: &str| fault(Kind::ClientGone(client.into()), Some(1), 200, 400);
    assert_eq!(with(refused(401), gone("billing")), (vec![Rule::LostClient], vec![]));
    assert_eq!(with(refused(401), gone("edge-7")).1, [Rule::LostClient]);
    let mut revocation = revoke(300, Outcome::Status(401));
    revocation.via = Via::Node(1);
    assert_eq!(with(vec![revocation], gone("billing")), (vec![Rule::LostClient], vec![]));
}

#[test]
fn a_503_needs_a_fault_of_the_database_and_comes_in_time() {
    let late = |begin: u64, took: u64| {
        let mut asked = introspect(1, begin, Outcome::Status(503));
        asked.end = asked.begin + Duration::from_millis(took);
        vec![asked]
    };
    let down = || fault(Kind::DatabaseKilled, None, 1000, 4000);
    assert_eq!(with(late(2000, 1900), down()), (vec![Rule::Unavailable], vec![]));
    assert_eq!(with(late(8000, 10), down()).1, [], "within five seconds of its return");
    assert_eq!(with(late(9100, 10), down()).1, [Rule::Unavailable]);
    assert_eq!(with(late(2000, 3100), down()).1, [Rule::Slow]);
    assert_eq!(with(late(2000, 10), fault(Kind::ClockOff, Some(1), 1000, 4000)).1, [Rule::Unavailable]);
}

#[test]
fn other_errors_silence_and_slowness_are_found() {
    assert_eq!(rules(&history([introspect(1, 300, Outcome::Status(500))])), [Rule::WrongStatus]);
    assert_eq!(rules(&history([introspect(1, 300, Outcome::Status(401))])), [Rule::LostClient]);
    let silent = || vec![introspect(1, 300, Outcome::Lost("hung up".into()))];
    assert_eq!(with(silent(), fault(Kind::NodeKilled, Some(1), 200, 400)), (vec![Rule::NoAnswer], vec![]));
    assert_eq!(with(silent(), fault(Kind::DatabaseKilled, None, 200, 400)).1, [Rule::NoAnswer]);
    let mut slow = introspect(1, 300, Outcome::Active);
    slow.end += Duration::from_secs(6);
    assert_eq!(
        with(vec![slow.clone()], fault(Kind::NodeFrozen, Some(1), 200, 6000)),
        (vec![Rule::Slow], vec![])
    );
    slow.via = Via::Balancer;
    assert_eq!(with(vec![slow], fault(Kind::NodeFrozen, Some(1), 200, 6000)).1, [], "whichever it was");
}
