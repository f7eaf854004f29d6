//! Whole servers on one database: every key is published everywhere before it signs, a revoked one ends everywhere, and
//! what a node cannot do without the database it says, and does again when it is back.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use certbound::app::StartError;
use certbound::http::Kind;
use serde_json::json;

use super::{Cluster, Shifted, kid_of, kids, readiness, within};
use crate::support::Server;
use crate::support::postgres::Postgres;
use crate::support::program::{self, Serving};

#[test]
fn three_nodes_share_their_keys_and_each_knows_the_tokens_of_the_others() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes();
    let all: BTreeSet<_> = nodes.iter().map(kids).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all.first().unwrap().len(), 2, "the signer and its standby");
    for node in &nodes {
        let token = node.good_token("billing", &cluster.billing());
        assert!(nodes.iter().all(|other| other.is_active(&token)));
        assert_eq!(readiness(node).1, "ready");
    }
    within(5, "everybody is counted", || {
        nodes.iter().all(|node| node.metrics().contains("\ncertbound_nodes 3\n"))
    });
    let [first, second, third] = nodes;
    third.stop();
    within(3, "a node that ends is gone at once", || {
        [&first, &second].iter().all(|node| node.metrics().contains("\ncertbound_nodes 2\n"))
    });
}

/// Ends those who issue, also where a test fails.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Asks every node for tokens and for its key set, again and again, while `acts` is done. No key may sign a token that
/// is not in the set of every node from before, but for one that is being revoked: a node that has not heard of that yet
/// goes on with it.
fn while_all_issue(
    cluster: &Cluster,
    nodes: &[Server],
    acts: impl FnOnce(&OnceLock<String>),
) -> BTreeSet<String> {
    let (is_over, signed, revoked) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()), OnceLock::new());
    std::thread::scope(|scope| {
        for node in nodes {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    // What everybody publishes before the token is asked for has to have the token's key; a set that
                    // changes meanwhile has the old and the new one.
                    let before: Vec<BTreeSet<String>> =
                        nodes.iter().map(|node| kids(node).into_iter().collect()).collect();
                    let token = node.good_token("billing", &cluster.billing());
                    let kid = kid_of(&token);
                    let is_everywhere = before.iter().all(|set| set.contains(&kid));
                    assert!(
                        is_everywhere || revoked.get() == Some(&kid),
                        "{kid} signs and is not in {before:?}"
                    );
                    signed.lock().unwrap().insert(kid);
                }
            });
        }
        let _end = AtTheEnd(&is_over);
        acts(&revoked);
    });
    signed.into_inner().unwrap()
}

#[test]
fn every_key_is_in_the_set_of_every_node_before_it_signs() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes();
    let signed = while_all_issue(&cluster, &nodes, |revoked| {
        // A regular rotation: the standby's time comes, without anybody doing anything.
        let standby = kids(&nodes[0]).remove(1);
        cluster.sql(&format!(
            "UPDATE certbound.signing_keys SET signs_from = floor(extract(epoch FROM clock_timestamp()))::bigint + 3
             WHERE kid = '{standby}'; UPDATE certbound.store SET keys_generation = keys_generation + 1"
        ));
        within(20, "it has a standby of its own", || nodes.iter().all(|node| kids(node).len() == 3));
        for node in [&nodes[1], &nodes[2]] {
            let answer = node.control("POST", "keys/rotate", Some(json!({ "now": true })));
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(answer.json().get("unconfirmed").is_none(), "{answer:?}");
        }
        let stolen = kid_of(&nodes[0].good_token("billing", &cluster.billing()));
        revoked.set(stolen.clone()).unwrap();
        assert_eq!(nodes[0].control("DELETE", &format!("keys/{stolen}"), None).status, 204);
        for node in nodes.iter().chain(&nodes) {
            assert_ne!(kid_of(&node.good_token("billing", &cluster.billing())), stolen, "from the answer on");
        }
    });
    assert!(signed.len() >= 4, "{signed:?}");
}

#[test]
fn a_key_revoked_on_one_node_signs_and_counts_nowhere_from_the_answer_on() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes();
    let tokens: Vec<_> = nodes.iter().map(|node| node.good_token("billing", &cluster.billing())).collect();
    let kid = kid_of(&tokens[0]);
    let answer = nodes[1].control("DELETE", &format!("keys/{kid}"), None);
    assert_eq!(answer.status, 204, "{answer:?}");
    for node in &nodes {
        assert!(!kids(node).contains(&kid), "published");
        assert!(tokens.iter().all(|token| !node.is_active(token)), "active");
        let token = node.good_token("billing", &cluster.billing());
        assert!(kid_of(&token) != kid && nodes.iter().all(|other| other.is_active(&token)));
    }
    assert_eq!(nodes[0].control("DELETE", "keys/unknown", None).status, 404);
}

#[test]
fn the_tokens_of_a_revoked_key_end_with_the_commit_before_any_node_has_heard_of_it() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes();
    let token = nodes[0].good_token("billing", &cluster.billing());
    assert!(nodes.iter().all(|node| node.is_active(&token)));
    cluster.sql(&format!("UPDATE certbound.signing_keys SET removed = 1 WHERE kid = '{}'", kid_of(&token)));
    assert!(nodes.iter().all(|node| !node.is_active(&token)), "without a new generation of the keys");
}

#[test]
fn a_node_that_starts_without_the_database_issues_nothing_and_recovers_by_itself() {
    let database = Postgres::own();
    let cluster = Cluster::on(&database);
    let setup = {
        let node = cluster.node();
        node.good_token("billing", &cluster.billing());
        node.stop()
    };
    database.kill();
    let node = setup.start_by(Shifted::by(0)).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(node.token("billing", Some(&cluster.billing())).status, 503);
    let (status, word, problems) = readiness(&node);
    assert_eq!((status, word.as_str()), (503, "unready"), "{problems}");
    database.start();
    within(10, "it recovers", || readiness(&node).1 == "ready");
    let token = node.good_token("billing", &cluster.billing());
    assert!(node.is_active(&token));
    database.kill();
    let token = node.good_token("billing", &cluster.billing());
    assert_eq!(readiness(&node).1, "degraded", "it goes on with the keys that it has");
    database.start();
    within(10, "it recovers again", || readiness(&node).1 == "ready");
    assert!(node.is_active(&token));
}

#[test]
fn a_wrong_sealing_key_stops_the_start_and_harms_nobody() {
    let cluster = Cluster::new();
    let node = cluster.node();
    let other = Cluster { sealing: Cluster::on(Postgres::shared()).sealing, ..cluster };
    let Err(StartError::Problems(problems)) = other.node_by(Shifted::by(0)) else { panic!("it starts") };
    let told = format!("{problems:?}");
    assert!(told.contains("sealing key") && !told.contains(&other.sealing), "{told}");
    node.good_token("billing", &other.billing());
    assert_eq!(readiness(&node).1, "ready");
}

#[test]
fn a_key_that_is_damaged_while_nodes_run_is_told_and_goes_on() {
    let cluster = Cluster::new();
    let node = cluster.node();
    let [signer, standby] = kids(&node).try_into().unwrap();
    cluster.sql(&format!(
        "UPDATE certbound.signing_keys SET sealed = (SELECT sealed FROM certbound.signing_keys WHERE kid = '{standby}')
         WHERE kid = '{signer}'; UPDATE certbound.store SET keys_generation = keys_generation + 1"
    ));
    within(5, "it is told", || readiness(&node).2.contains(&signer));
    let token = node.good_token("billing", &cluster.billing());
    assert!(kid_of(&token) == signer && node.is_active(&token), "the old one stays");
}

#[test]
fn nodes_with_other_clients_say_so_and_no_client_loses_its_tokens() {
    let cluster = Cluster::new();
    let (one, other) = (cluster.setup(), cluster.setup());
    other.client("extra", "tls_client_auth_san_dns: extra.example.com\nscope: read\n");
    let start = |setup: crate::support::Setup| {
        setup.start_by(Shifted::by(0)).unwrap_or_else(|error| panic!("{error:?}"))
    };
    let nodes = [start(one), start(other)];
    let extra = nodes[1].good_token("extra", &cluster.pki.client("extra.example.com"));
    let billing = nodes[0].good_token("billing", &cluster.billing());
    within(10, "both say so", || nodes.iter().all(|node| readiness(node).2.contains("other clients")));
    assert!(nodes.iter().all(|node| readiness(node).1 == "degraded"));
    let hashes: BTreeSet<_> = nodes
        .iter()
        .map(|node| {
            let hash = node.admin("/readyz").json()["config_hash"].as_str().unwrap().to_owned();
            let line = format!("certbound_config_info{{hash=\"{hash}\"}} 1");
            assert!(node.metrics().contains(&line), "{}", node.metrics());
            hash
        })
        .collect();
    assert_eq!(hashes.len(), 2);
    // The node that lacks the client calls the roll several times; whoever has it stands up for it.
    for _ in 0..3 {
        nodes[0].reload();
        std::thread::sleep(Duration::from_secs(2));
        assert!(nodes[1].is_active(&extra), "the client is here");
    }
    assert!(nodes.iter().all(|node| node.is_active(&billing)));
}

#[test]
fn a_change_of_the_keys_that_is_killed_in_the_middle_leaves_the_old_or_the_new() {
    let cluster = Cluster::new();
    let setup = cluster.setup();
    drop(setup.config());
    Serving::start(setup.directory.path()).stop();
    for round in 0..12 {
        let arguments = if round % 3 == 0 { &["keys", "rotate"][..] } else { &["keys", "rotate", "--now"] };
        let mut command = program::program(setup.directory.path());
        let mut child = command
            .args(arguments)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(10 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let keys = program::json(0, setup.directory.path(), &["keys", "list"]);
        let states: Vec<_> =
            keys["keys"].as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect();
        assert_eq!(states.iter().filter(|state| **state == "signing").count(), 1, "{states:?}");
    }
    let serving = Serving::start(setup.directory.path());
    let mut connection = serving.connect(&setup, &cluster.billing());
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    assert_eq!(connection.post("/token", &form).unwrap().status, 200);
    serving.stop();
}

#[test]
fn the_commands_change_shared_keys_with_a_server_and_without() {
    let cluster = Cluster::new();
    let node = cluster.node();
    let elsewhere = cluster.setup();
    drop(elsewhere.config());
    let [signer, standby] = kids(&node).try_into().unwrap();
    let here = elsewhere.directory.path();
    let listed = program::json(0, here, &["keys", "list"]);
    let all: Vec<_> =
        listed["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(all, [signer.as_str(), &standby]);
    let rotated = program::json(0, here, &["keys", "rotate", "--now"]);
    assert_eq!(rotated["kid"], standby.as_str());
    assert_eq!(kid_of(&node.good_token("billing", &cluster.billing())), standby, "in force when it returns");
    let revoked = program::json(0, here, &["keys", "revoke", &standby]);
    assert_eq!(revoked, json!({ "revoked": standby }));
    assert!(!kids(&node).contains(&standby));
    let key = openssl::pkey::PKey::generate_ed25519().unwrap();
    elsewhere.write("own.pem", key.private_key_to_pem_pkcs8().unwrap());
    let imported = program::json(0, here, &["keys", "import", "own.pem"]);
    assert!(kids(&node).contains(&imported["kid"].as_str().unwrap().to_owned()), "published when it returns");
    program::complaint(1, here, &["keys", "revoke", "unknown"]);
    let here = node.setup.directory.path();
    let listed = program::json(0, here, &["keys", "list"]);
    assert_eq!(listed["keys"].as_array().unwrap().len(), kids(&node).len(), "through the server");
    assert!(node.address(Kind::Mtls).port() > 0);
}

#[test]
fn check_says_what_is_wrong_with_a_sealing_key_and_never_what_it_is() {
    let cluster = Cluster::new();
    let setup = cluster.setup();
    drop(setup.config());
    let here = setup.directory.path();
    let check = |code| program::json(code, here, &["check"]).to_string();
    assert!(!check(0).contains("sealing_key"));
    for wrong in ["hunter2", "", &cluster.sealing[4..]] {
        setup.write("sealing", wrong);
        let told = check(1);
        assert!(told.contains("signing.sealing_key") && told.contains("openssl rand -base64 32"), "{told}");
        assert!(wrong.is_empty() || !told.contains(wrong), "{told}");
    }
    std::fs::remove_file(setup.path("sealing")).unwrap();
    assert!(check(1).contains("sealing"), "it is missing");
    let text = std::fs::read_to_string(setup.path("certbound.yaml")).unwrap();
    setup.write("certbound.yaml", text.replace("{ file: sealing }", "hunter2"));
    assert!(!check(1).contains("hunter2"), "written into the configuration");
    let (before, _) = text.split_once("store:").unwrap();
    setup.write("certbound.yaml", format!("{before}signing: {{ sealing_key: {{ file: sealing }} }}\n"));
    assert!(check(1).contains("there is none"), "keys in the database of an embedded store");
}
