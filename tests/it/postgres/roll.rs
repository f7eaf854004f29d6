//! Roll calls of nodes whose `clients.d` differ.

use std::collections::BTreeSet;

use certbound::oauth::ClientId;

use super::*;
use crate::store_contract::client;

fn clients(names: &[&str]) -> BTreeSet<ClientId> {
    names.iter().map(|name| client(name)).collect()
}

fn version(place: &Place) -> u64 {
    place.sql("SELECT roll_version FROM certbound.store").parse().unwrap()
}

#[tokio::test]
async fn a_client_that_one_node_lacks_keeps_its_tokens() {
    let one = Place::new();
    let two = one.another_node();
    let (first, second) = (one.store(), two.store());
    let (both, fewer) = (clients(&["billing", "edge-7"]), clients(&["billing"]));
    second.roll_call(&both, at(0), NEVER).await.unwrap();
    let before = version(&one);
    first.roll_call(&fewer, at(10), NEVER).await.unwrap();
    assert!(version(&one) > before, "whoever has it is told");
    // Who has it says so within the second.
    assert_eq!(second.roll_call(&both, at(11), NEVER).await, Ok(vec![]));
    let after = version(&one);
    // The one that lacks it has said so once.
    for later in [20, 30, 40] {
        assert_eq!(first.roll_call(&fewer, at(later), NEVER).await, Ok(vec![]));
        assert_eq!(second.roll_call(&both, at(later), NEVER).await, Ok(vec![]));
    }
    assert_eq!(version(&one), after);
    assert!(!has_ended(&first, &token("edge-7", at(5))).await);
    // Given to the first, too, it has not been away.
    assert_eq!(first.roll_call(&both, at(50), NEVER).await, Ok(vec![]));
    assert!(!has_ended(&first, &token("edge-7", at(5))).await);
}

#[tokio::test]
async fn a_client_that_all_nodes_lack_is_gone_and_its_tokens_end_once_when_it_is_back() {
    let one = Place::new();
    let two = one.another_node();
    let (first, second) = (one.store(), two.store());
    let (both, fewer) = (clients(&["billing", "edge-7"]), clients(&["billing"]));
    first.roll_call(&both, at(0), NEVER).await.unwrap();
    first.roll_call(&fewer, at(10), NEVER).await.unwrap();
    second.roll_call(&fewer, at(12), NEVER).await.unwrap();
    assert_eq!(second.roll_call(&both, at(20), NEVER).await, Ok(vec![client("edge-7")]));
    assert_eq!(first.roll_call(&both, at(21), NEVER).await, Ok(vec![]), "it came back once");
    for store in [&first, &second] {
        assert!(has_ended(store, &token("edge-7", at(20))).await);
        assert!(!has_ended(store, &token("edge-7", at(21))).await);
    }
    // Missed once more, it is gone once more.
    first.roll_call(&fewer, at(30), NEVER).await.unwrap();
    assert_eq!(first.roll_call(&both, at(40), NEVER).await, Ok(vec![client("edge-7")]));
}

#[tokio::test]
async fn when_the_last_node_that_had_a_client_has_left_it_is_missed_again() {
    let one = Place::new();
    let two = one.another_node();
    let first = one.store();
    let (both, fewer) = (clients(&["billing", "edge-7"]), clients(&["billing"]));
    first.roll_call(&fewer, at(0), NEVER).await.unwrap();
    {
        let second = two.store();
        second.roll_call(&both, at(1), NEVER).await.unwrap();
        first.roll_call(&fewer, at(2), NEVER).await.unwrap();
        second.roll_call(&both, at(3), NEVER).await.unwrap();
    }
    first.report_anew();
    first.roll_call(&fewer, at(10), NEVER).await.unwrap();
    assert_eq!(first.roll_call(&both, at(20), NEVER).await, Ok(vec![client("edge-7")]));
}

#[tokio::test]
async fn ten_thousand_clients_are_called_in_time() {
    let place = Place::new();
    let store = place.store();
    let all: BTreeSet<_> = (0..10_001).map(|number| client(&format!("client-{number}"))).collect();
    store.roll_call(&all, at(0), NEVER).await.unwrap();
    let began = Instant::now();
    store.roll_call(&all, at(1), NEVER).await.unwrap();
    println!("a roll call of 10,001 clients: {:?}", began.elapsed());
    store.roll_call(&clients(&["client-7"]), at(10), NEVER).await.unwrap();
    assert_eq!(store.roll_call(&all, at(20), NEVER).await.unwrap().len(), 10_000);
    assert!(has_ended(&store, &token("client-9999", at(20))).await);
    assert!(!has_ended(&store, &token("client-7", at(20))).await);
}
