//! Several nodes on one database, behind a load balancer: real processes, and what they answer while they, the load
//! balancer's choice and the database come and go.

mod cable;
mod checker;
mod faults;
mod history;
mod load;
mod nodes;
mod report;

use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use checker::check;
use faults::{Event, fail_overs, heals, live_through, was_felt};
use history::{Outcome, Via};
use load::{Chance, Stage, Worker};
use nodes::{Cluster, HAPROXY, NODES};
use report::report;

use crate::support::server::eventually;

/// What is promised for the return of the database; a busy machine has a second more.
const RECOVERY: Duration = Duration::from_secs(6);

/// Whether there are minutes to spend.
#[expect(clippy::disallowed_methods, reason = "a test looks at how long it may take")]
fn is_long() -> bool {
    std::env::var_os("CERTBOUND_FAULTS").is_some_and(|value| value == "long")
}

#[test]
fn no_history_of_three_nodes_has_an_active_token_that_was_ended_whatever_is_done_to_them() {
    let mut cluster = Cluster::start();
    let balancer = cluster.balancer();
    let stage = Stage::new(&cluster, Some(balancer.address()));
    let history = live_through(&mut cluster, &stage, &schedule());
    let violations = check(&history);
    println!("{}", report(&history, &violations));
    assert!(violations.is_empty(), "{}", report(&history, &violations));
    for fault in &history.faults {
        assert!(was_felt(&history, fault), "nobody noticed {fault:?}");
    }
    for over in fail_overs(&history) {
        assert!(over.back.is_some_and(|back| back <= RECOVERY), "{over:?}");
    }
}

/// What is done, one after the other. In a long round each of it many times, in an order that is the same each time.
fn schedule() -> Vec<Event> {
    let once = vec![
        Event::KillNode(0),
        Event::SetClock(120),
        Event::FreezeNode(0),
        Event::Rotate(1),
        Event::KillDatabase,
        Event::FreezeDatabase,
        Event::RemoveKey(2),
    ];
    if !is_long() {
        return once;
    }
    let mut chance = Chance(0x2545_f491_4f6c_dd1d);
    let mut all = Vec::new();
    for round in 0..7 {
        let node = round % NODES;
        let mut events = vec![
            Event::KillNode(node),
            Event::KillNode((node + 1) % NODES),
            Event::FreezeNode(node),
            Event::CutOff((node + 2) % NODES),
            Event::SetClock(if round % 2 == 0 { 120 } else { -120 }),
            Event::KillDatabase,
            Event::FreezeDatabase,
            Event::RemoveClient(node),
            Event::Rotate(node),
            Event::RemoveKey(node),
        ];
        while !events.is_empty() {
            all.push(events.swap_remove(chance.below(events.len())));
        }
    }
    all
}

#[test]
fn the_page_prints_the_configuration_of_the_load_balancer_word_for_word() {
    let page = include_str!("../../docs/scaling.md");
    assert!(page.contains(&format!("```haproxy\n{HAPROXY}```\n")));
}

#[test]
fn a_rolling_restart_under_load_fails_no_request() {
    let mut cluster = Cluster::start();
    let balancer = cluster.balancer();
    let stage = Stage::new(&cluster, Some(balancer.address()));
    let operations = scope(|scope| {
        let at_work: Vec<_> = (0..4)
            .map(|client| {
                let worker = Worker::new(&stage, client);
                scope.spawn(move || worker.work(client, Via::Balancer, Duration::from_millis(5)))
            })
            .collect();
        sleep(Duration::from_millis(500));
        for node in &mut cluster.nodes {
            node.restart();
            node.becomes("ready");
            // Until the load balancer has seen it twice.
            sleep(Duration::from_millis(1500));
        }
        stage.end();
        at_work.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    let failed: Vec<_> = operations.iter().filter(|operation| !operation.succeeded()).collect();
    println!("{} operations, {} failed", operations.len(), failed.len());
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), operations.len());
    assert!(operations.len() > 500, "{}", operations.len());
}

#[test]
fn a_revocation_on_one_node_ends_the_token_on_every_node_with_the_next_request() {
    let cluster = Cluster::start();
    let stage = Stage::new(&cluster, None);
    let mut worker = Worker::new(&stage, 0);
    let rounds = if is_long() { 1000 } else { 60 };
    for round in 0..rounds {
        let at = |step: usize| Via::Node((round + step) % NODES);
        let token = worker.issue(at(0), 0).unwrap();
        assert_eq!(worker.standing(at(1), &token), Outcome::Active, "round {round}");
        assert_eq!(worker.end_token(at(2), 0, &token), Outcome::Done);
        for step in 0..NODES {
            assert_eq!(worker.standing(at(step), &token), Outcome::Inactive, "round {round}, {:?}", at(step));
        }
    }
    println!("{rounds} revocations, each asked about at {NODES} nodes at once");
}

#[test]
fn a_node_that_has_lost_its_database_says_so_issues_tokens_and_heals_by_itself() {
    let cluster = Cluster::start();
    let stage = Stage::new(&cluster, None);
    let mut worker = Worker::new(&stage, 0);
    let (lost, other) = (Via::Node(1), Via::Node(0));
    let [ended, before] = [(); 2].map(|()| worker.issue(lost, 0).unwrap());
    assert_eq!(worker.standing(lost, &ended), Outcome::Active, "so that it may be remembered");
    cluster.nodes[1].cable.cut();
    assert_eq!(worker.end_token(other, 0, &ended), Outcome::Done);
    let began = Instant::now();
    for round in 0..20 {
        let asked = Instant::now();
        assert_eq!(worker.standing(lost, &ended), Outcome::Status(503), "round {round}");
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    }
    assert!(began.elapsed() < Duration::from_secs(6), "each of them waited: {:?}", began.elapsed());
    assert_eq!(worker.end_token(lost, 0, &before), Outcome::Status(503));
    let during = worker.issue(lost, 0).expect("issuing needs no database");
    assert_eq!(worker.standing(other, &during), Outcome::Active);
    cluster.nodes[1].becomes("degraded");
    let before_it = cluster.nodes[1].config_hash();
    for node in &cluster.nodes {
        // Something that the database is told once it is there again.
        node.write_client("newcomer");
    }
    eventually("it is read", || cluster.nodes[1].config_hash() != before_it);
    cluster.nodes[1].cable.mend();
    let mended = Instant::now();
    heals("the node hears of the database again", &mut worker, lost, &during);
    assert!(mended.elapsed() < RECOVERY, "{:?}", mended.elapsed());
    assert_eq!(worker.standing(lost, &ended), Outcome::Inactive, "what happened meanwhile");
    assert_eq!(worker.end_token(lost, 0, &before), Outcome::Done);
    cluster.nodes[1].becomes("ready");
    assert!(mended.elapsed() < RECOVERY, "{:?}", mended.elapsed());
}

#[test]
fn different_clients_on_two_nodes_are_seen_and_end_no_token() {
    let cluster = Cluster::start();
    let stage = Stage::new(&cluster, None);
    let mut worker = Worker::new(&stage, 0);
    let guest = 2;
    let token = worker.issue(Via::Node(0), guest).unwrap();
    let same = cluster.nodes[0].config_hash();
    assert!(cluster.nodes.iter().all(|node| node.config_hash() == same));
    cluster.nodes[1].remove_client("guest");
    eventually("the client is gone there", || worker.issue(Via::Node(1), guest).is_none());
    for node in &cluster.nodes {
        node.becomes("degraded");
        let metrics = String::from_utf8(node.probe("/metrics").unwrap().body).unwrap();
        assert!(
            metrics.contains(&format!("certbound_config_info{{hash=\"{}\"}} 1", node.config_hash())),
            "{metrics}"
        );
    }
    assert_ne!(cluster.nodes[1].config_hash(), same);
    // A client that is gone from everywhere for five seconds loses its tokens.
    let gone = Instant::now();
    while gone.elapsed() < Duration::from_secs(8) {
        for node in [0, 2] {
            assert_eq!(
                worker.standing(Via::Node(node), &token),
                Outcome::Active,
                "after {:?}",
                gone.elapsed()
            );
        }
        assert_eq!(worker.standing(Via::Node(1), &token), Outcome::Inactive);
        sleep(Duration::from_millis(100));
    }
    cluster.nodes[1].write_client("guest");
    heals("the client is back", &mut worker, Via::Node(1), &token);
    cluster.is_whole();
}
