//! The time of several nodes is that of their database; a machine whose clock is off issues nothing (decision Q).

use certbound::clock::Clock as _;
use serde_json::json;

use super::{Cluster, Shifted, readiness, within};
use crate::support::postgres::Postgres;
use crate::support::{Response, Server};

/// 503, to be tried again, without a word of why.
fn assert_refuses(server: &Server, cluster: &Cluster) {
    let answer = server.token("billing", Some(&cluster.billing()));
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.json()["error"], "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), Some("5"));
}

fn issued_at(token: &str) -> i64 {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    serde_json::from_slice::<serde_json::Value>(&claims).unwrap()["iat"].as_i64().unwrap()
}

fn get(server: &Server, path: &str) -> Response {
    server.connect(None).get(path).unwrap()
}

#[test]
fn a_node_that_is_six_seconds_off_when_it_starts_issues_nothing_and_does_the_rest() {
    let cluster = Cluster::new();
    let good = cluster.node();
    let token = good.good_token("billing", &cluster.billing());
    for seconds in [6, -6] {
        let clock = Shifted::by(seconds);
        let node = cluster.node_by(clock.clone()).unwrap_or_else(|error| panic!("{error:?}"));
        assert_refuses(&node, &cluster);
        let (status, word, problems) = readiness(&node);
        assert_eq!((status, word.as_str()), (503, "unready"), "{problems}");
        assert!(problems.contains("clock"), "{problems}");
        assert!(node.is_active(&token), "introspection goes on, by the database's time");
        assert_eq!(get(&node, "/jwks").status, 200);
        assert_eq!(get(&node, "/.well-known/oauth-authorization-server").status, 200);
        let skew = node.metrics();
        let skew = skew.lines().find_map(|line| line.strip_prefix("certbound_clock_skew_seconds ")).unwrap();
        assert!(
            (skew.parse::<f64>().unwrap() - f64::from(i32::try_from(seconds).unwrap())).abs() < 1.5,
            "{skew}"
        );
        clock.set(0);
        let fresh = node.good_token("billing", &cluster.billing());
        assert!(good.is_active(&fresh), "set right, it issues from the next request on");
        assert_eq!(readiness(&node).0, 200);
    }
}

#[test]
fn a_clock_that_jumps_stops_the_next_request_and_the_database_may_be_away() {
    let database = Postgres::own();
    let cluster = Cluster::on(&database);
    let clock = Shifted::by(0);
    let node = cluster.node_by(clock.clone()).unwrap_or_else(|error| panic!("{error:?}"));
    node.good_token("billing", &cluster.billing());
    for seconds in [3600, -3600, 6, -6] {
        clock.set(seconds);
        assert_refuses(&node, &cluster);
        clock.set(0);
        node.good_token("billing", &cluster.billing());
    }
    database.kill();
    node.good_token("billing", &cluster.billing());
    clock.set(-60);
    assert_refuses(&node, &cluster);
    clock.set(0);
    node.good_token("billing", &cluster.billing());
    let (status, word, _) = readiness(&node);
    assert_eq!((status, word.as_str()), (200, "degraded"), "the database is away");
}

#[test]
fn nodes_that_are_four_seconds_off_issue_by_the_time_of_the_database_and_their_tokens_can_be_ended() {
    let cluster = Cluster::new();
    let right = cluster.node();
    for seconds in [4, -4] {
        let node = cluster.node_by(Shifted::by(seconds)).unwrap_or_else(|error| panic!("{error:?}"));
        let token = node.good_token("billing", &cluster.billing());
        let now = Shifted::by(0).now().as_unix();
        assert!((issued_at(&token) - now).abs() <= 1, "{} at {now}", issued_at(&token));
        assert!(right.is_active(&token) && node.is_active(&token));
        let answer = right.control("POST", "clients/billing/revoke", Some(json!({})));
        assert!(answer.status < 300, "{answer:?}");
        assert!(!right.is_active(&token) && !node.is_active(&token));
        let next = node.good_token("billing", &cluster.billing());
        within(5, "a token issued after the answer is good", || right.is_active(&next));
    }
}
