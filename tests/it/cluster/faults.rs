//! What is done to nodes and database while they are asked, and undone.

use std::thread::sleep;
use std::time::Duration;

use super::history::{Call, Fault, History, Kind, Moment, Name, Operation, Outcome, Via};
use super::load::{Stage, Worker, everybody};
use super::nodes::Cluster;
use crate::support::server::eventually;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    KillNode(usize),
    FreezeNode(usize),
    CutOff(usize),
    SetClock(i64),
    KillDatabase,
    FreezeDatabase,
    /// The node's `clients.d` loses the client, for longer than a client may be gone from everywhere.
    RemoveClient(usize),
    Rotate(usize),
    RemoveKey(usize),
}

/// The only node whose clock can be set.
const WITH_A_CLOCK: usize = 2;

/// The client that is missing at times.
const GUEST: &str = "guest";

/// Everything that happened while all this was done, one after the other.
pub(super) fn live_through(cluster: &mut Cluster, stage: &Stage, events: &[Event]) -> History {
    let controls: Vec<_> = cluster.nodes.iter().map(super::nodes::Node::control).collect();
    let mut history = History { began: stage.began, ..History::default() };
    std::thread::scope(|scope| {
        let at_work = everybody(scope, stage, controls);
        // Whatever goes wrong here, those who ask come to their end.
        let over = Over(stage);
        let mut doing = Doing { cluster, stage, orders: Worker::new(stage, 30), faults: Vec::new() };
        sleep(Duration::from_millis(500));
        for event in events {
            doing.one(*event);
            sleep(Duration::from_millis(300));
        }
        let Doing { orders, faults, .. } = doing;
        drop(over);
        history.faults = faults;
        history.operations = orders.operations;
        for worker in at_work {
            history.operations.extend(worker.join().unwrap());
        }
    });
    history.operations.sort_by_key(|operation| operation.begin);
    history
}

struct Over<'s>(&'s Stage);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct Doing<'c> {
    cluster: &'c mut Cluster,
    stage: &'c Stage,
    orders: Worker<'c>,
    faults: Vec<Fault>,
}

impl Doing<'_> {
    fn one(&mut self, event: Event) {
        let begin = self.stage.now();
        match event {
            Event::KillNode(node) => {
                self.cluster.nodes[node].kill();
                sleep(Duration::from_secs(1));
                self.cluster.nodes[node].start();
                self.note(Kind::NodeKilled, Some(node), begin);
            }
            Event::FreezeNode(node) => {
                self.stage.set_frozen(node, true);
                self.cluster.nodes[node].serving().signal("STOP");
                sleep(Duration::from_millis(2500));
                self.cluster.nodes[node].serving().signal("CONT");
                self.stage.set_frozen(node, false);
                self.note(Kind::NodeFrozen, Some(node), begin);
            }
            Event::CutOff(node) => {
                self.cluster.nodes[node].cable.cut();
                sleep(Duration::from_secs(4));
                self.cluster.nodes[node].cable.mend();
                self.note(Kind::NodeCutOff, Some(node), begin);
            }
            Event::SetClock(off) => {
                self.cluster.nodes[WITH_A_CLOCK].set_clock(off);
                sleep(Duration::from_secs(4));
                self.cluster.nodes[WITH_A_CLOCK].set_clock(0);
                self.note(Kind::ClockOff, Some(WITH_A_CLOCK), begin);
            }
            Event::KillDatabase => {
                self.cluster.postgres.kill();
                sleep(Duration::from_millis(2500));
                self.cluster.postgres.start();
                self.note(Kind::DatabaseKilled, None, begin);
            }
            Event::FreezeDatabase => {
                self.cluster.postgres.stop();
                sleep(Duration::from_secs(3));
                self.cluster.postgres.cont();
                self.note(Kind::DatabaseFrozen, None, begin);
            }
            Event::RemoveClient(node) => {
                self.cluster.nodes[node].remove_client(GUEST);
                sleep(Duration::from_secs(8));
                self.cluster.nodes[node].write_client(GUEST);
                self.note(Kind::ClientGone(GUEST.into()), Some(node), begin);
            }
            Event::Rotate(node) => self.ordered(node, &Call::Rotate),
            Event::RemoveKey(node) => {
                let kid = self.signer(node);
                self.ordered(node, &Call::RemoveKey { kid });
            }
        }
        self.cluster.is_whole();
    }

    fn note(&mut self, kind: Kind, node: Option<usize>, begin: Moment) {
        self.faults.push(Fault { kind, node, begin, end: self.stage.now() });
    }

    /// With every node there and well, an order is carried out.
    fn ordered(&mut self, node: usize, call: &Call) {
        let control = self.cluster.nodes[node].control();
        let outcome = self.orders.order(node, &control, call.clone());
        assert_eq!(outcome, Outcome::Done, "{call:?} at node {node}");
    }

    fn signer(&self, node: usize) -> Name {
        let keys = self.cluster.nodes[node].control().ask("GET", "keys", "").unwrap().json();
        let keys = keys["keys"].as_array().unwrap();
        let signing = keys.iter().find(|key| key["state"] == "signing").unwrap();
        signing["kid"].as_str().unwrap().into()
    }
}

/// How long it took until those who ask were served again.
#[derive(Clone, Debug)]
pub(super) struct FailOver {
    pub(super) kind: Kind,
    /// From the fault's beginning to everybody's first success through the load balancer. Where it is the database that is
    /// away: the longest that a token took meanwhile.
    pub(super) away: Option<Duration>,
    /// From the fault's end to the first success of whoever asks the node, or each of them, directly.
    pub(super) back: Option<Duration>,
}

/// One for each fault, in their order.
pub(super) fn fail_overs(history: &History) -> Vec<FailOver> {
    let after = |from: Moment, counts: &dyn Fn(&Operation) -> bool| {
        let mut first: std::collections::BTreeMap<(usize, Option<usize>), Moment> =
            std::collections::BTreeMap::new();
        for one in history.operations.iter().filter(|one| one.begin >= from && one.succeeded() && counts(one))
        {
            let node = if let Via::Node(node) = one.via { Some(node) } else { None };
            first.entry((one.worker, node)).or_insert(one.end);
        }
        first.into_values().max().map(|moment| moment.saturating_sub(from))
    };
    let one = |fault: &Fault| {
        let away = if fault.kind.is_of_the_database() {
            let issued = |one: &&Operation| matches!(one.outcome, Outcome::Issued(_));
            let during = |one: &&Operation| one.begin >= fault.begin && one.begin <= fault.end;
            history.operations.iter().filter(issued).filter(during).map(Operation::took).max()
        } else {
            after(fault.begin, &|one| one.via == Via::Balancer)
        };
        let issues = fault.kind == Kind::ClockOff;
        let back = after(fault.end, &|one| {
            let here = match one.via {
                // Whoever has this node for a home: the others come by when they like.
                Via::Node(node) => fault.node.is_none_or(|of| of == node) && one.worker == node + 2,
                Via::Balancer => false,
            };
            here && matches!(one.call, Call::Issue { .. }) == issues
        });
        FailOver { kind: fault.kind.clone(), away, back }
    };
    history.faults.iter().map(one).collect()
}

/// Whether this fault was felt: a fault that nobody notices proves nothing.
pub(super) fn was_felt(history: &History, fault: &Fault) -> bool {
    let felt = |one: &Operation| match &fault.kind {
        Kind::NodeKilled => matches!(one.outcome, Outcome::Lost(_)),
        Kind::NodeFrozen => one.took() > Duration::from_secs(1),
        Kind::ClockOff => matches!((&one.call, &one.outcome), (Call::Issue { .. }, Outcome::Status(503))),
        Kind::ClientGone(gone) => {
            matches!((&one.call, &one.outcome), (Call::Issue { client }, Outcome::Status(400 | 401)) if client == gone)
        }
        kind => {
            assert!(kind.is_of_the_database());
            matches!((&one.call, &one.outcome), (Call::Introspect { .. }, Outcome::Status(503)))
        }
    };
    let here = |one: &Operation| fault.node.is_none_or(|node| one.via == Via::Node(node));
    let during = |one: &Operation| one.end >= fault.begin && one.begin <= fault.end;
    history.operations.iter().any(|one| here(one) && during(one) && felt(one))
}

/// Waits until nobody says 503 any more, for whoever does not go by a history.
pub(super) fn heals(what: &str, worker: &mut Worker<'_>, via: Via, token: &str) {
    eventually(what, || worker.standing(via, token) == Outcome::Active);
}
