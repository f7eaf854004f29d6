//! The laws of forgetting: what goes, and what stays however much there is.

use std::collections::BTreeSet;
use std::time::Duration;

use certbound::clock::Timestamp;
use certbound::store::evidence::{
    Evidence, REFUSAL_LIFE, REFUSALS_OF_A_CLIENT, REFUSALS_OF_CLIENTS, REFUSALS_OF_STRANGERS, RefusalRecord,
    SIGHTING_LIFE, SIGHTING_NEEDED, SIGHTINGS_KEPT, Sighting,
};

use super::{SECOND, references, refusal, sighting, thumbprint};
use crate::store_contract::{Place, at, client};

pub(super) async fn old_refusals_are_forgotten_and_not_a_second_before<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    store.note_refusals(&[refusal(1, at(0)), refusal(2, at(1)), refusal(3, at(500))]).await.unwrap();
    assert_eq!(store.forget_evidence(at(0).plus(REFUSAL_LIFE)).await, Ok(0));
    assert_eq!(store.forget_evidence(at(0).plus(REFUSAL_LIFE).plus(SECOND)).await, Ok(1));
    assert_eq!(store.refusal("0000-0000-0000-0001").await, Ok(None));
    assert_eq!(references(&store, 9).await, ["0000-0000-0000-0003", "0000-0000-0000-0002"]);
}

pub(super) async fn of_too_many_refusals_of_strangers_the_oldest_are_forgotten<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let of_client = refusal_of("billing", 99_999, at(-9));
    store.note_refusals(std::slice::from_ref(&of_client)).await.unwrap();
    let many = u32::try_from(REFUSALS_OF_STRANGERS).unwrap() + 1_234;
    // Two in each second, so that time alone does not tell them apart. Whom strangers claim to be is all the same.
    let all: Vec<_> = (0..many)
        .map(|number| RefusalRecord {
            claimed: (number % 3 > 0).then(|| format!("client-{number}")),
            is_registered: number % 3 == 0,
            ..refusal(number, at(i64::from(number / 2)))
        })
        .collect();
    for some in all.chunks(700) {
        store.note_refusals(some).await.unwrap();
    }
    store.forget_evidence(at(9_999)).await.unwrap();
    assert_eq!(store.forget_evidence(at(9_999)).await, Ok(0));
    let left: BTreeSet<_> = references(&store, usize::MAX).await.into_iter().collect();
    let newest = all[1_234..].iter().map(|record| record.reference.clone());
    assert_eq!(left, newest.chain([of_client.reference.clone()]).collect());
    assert_eq!(store.refusal(&all[1_233].reference).await, Ok(None));
    assert!(store.refusal(&all[1_234].reference).await.unwrap().is_some());
    assert_eq!(store.refusal(&of_client.reference).await, Ok(Some(of_client)));
}

pub(super) async fn of_too_many_refusals_of_clients_the_oldest_of_each_and_of_all_are_forgotten<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let of_one = u32::try_from(REFUSALS_OF_A_CLIENT).unwrap();
    let stranger = refusal(99_999, at(-9));
    let loud: Vec<_> = (0..of_one + 50).map(|number| refusal_of("loud", number, at(number.into()))).collect();
    store.note_refusals(&[std::slice::from_ref(&stranger), &loud].concat()).await.unwrap();
    assert_eq!(store.forget_evidence(at(9_999)).await, Ok(50));
    assert_eq!(store.refusal(&loud[49].reference).await, Ok(None));
    assert!(store.refusal(&loud[50].reference).await.unwrap().is_some());

    // As many later ones of others as there is room for, but ten.
    let room = u32::try_from(REFUSALS_OF_CLIENTS).unwrap() - 10;
    let other = |number| refusal_of(&format!("client-{}", number % 100), 1_000 + number, at(1_000));
    let others: Vec<_> = (0..room).map(other).collect();
    for some in others.chunks(900) {
        store.note_refusals(some).await.unwrap();
    }
    store.forget_evidence(at(9_999)).await.unwrap();
    assert_eq!(store.forget_evidence(at(9_999)).await, Ok(0));
    let left: BTreeSet<_> = references(&store, usize::MAX).await.into_iter().collect();
    let kept = loud.iter().rev().take(10).chain(&others).chain([&stranger]);
    assert_eq!(left, kept.map(|record| record.reference.clone()).collect());
}

pub(super) async fn a_refusal_that_is_noted_again_counts_where_it_was_noted_last<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let many = u32::try_from(REFUSALS_OF_A_CLIENT).unwrap() + 20;
    let of_client: Vec<_> =
        (0..many).map(|number| refusal_of("billing", number, at(number.into()))).collect();
    store.note_refusals(&of_client).await.unwrap();
    let of_strangers: Vec<_> = (0..15).map(|number| refusal(number, at(number.into()))).collect();
    store.note_refusals(&of_strangers).await.unwrap();
    assert_eq!(store.forget_evidence(at(9_999)).await, Ok(5));
    for (number, record) in (0..15).zip(&of_strangers) {
        assert_eq!(store.refusal(&record.reference).await, Ok(Some(record.clone())), "{number}");
    }
    assert_eq!(store.refusal(&of_client[19].reference).await, Ok(None));
}

pub(super) async fn sightings_that_were_not_used_for_long_are_forgotten_and_not_a_second_before<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let (old, used) = (sighting("billing", 1, at(0), at(0)), sighting("billing", 2, at(0), at(0)));
    store.note_all_first(&[old.clone(), used.clone()]).await.unwrap();
    store.note_again(&[(used.client.clone(), used.thumbprint, at(1))]).await.unwrap();
    let end = at(0).plus(SIGHTING_LIFE);
    assert_eq!(store.forget_evidence(end).await, Ok(0));
    assert_eq!(store.forget_evidence(end.plus(SECOND)).await, Ok(1));
    assert_eq!(store.sighting(&old.client, old.thumbprint).await, Ok(None));
    assert_eq!(store.sightings(None).await, Ok(vec![sighting("billing", 2, at(0), at(1))]));
    // Seen once more it is new.
    let anew = Sighting { chain: vec![vec![3]], ..sighting("billing", 1, end, end) };
    store.note_first(&anew).await.unwrap();
    assert_eq!(store.sighting(&old.client, old.thumbprint).await, Ok(Some(anew)));
}

pub(super) async fn of_too_many_certificates_of_a_client_those_used_last_are_kept<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let many = u32::try_from(SIGHTINGS_KEPT).unwrap() + 20;
    let all: Vec<_> =
        (0..many).map(|number| sighting("billing", number, at(number.into()), at(number.into()))).collect();
    store.note_all_first(&all).await.unwrap();
    let others: Vec<_> = ["b", "billing ", "edge-7"].map(|name| sighting(name, 1, at(-9), at(-9))).into();
    store.note_all_first(&others).await.unwrap();
    // The very first one is in use again.
    store.note_again(&[(client("billing"), thumbprint(0), at(5_000))]).await.unwrap();
    assert_eq!(store.forget_evidence(at(6_000).plus(SIGHTING_NEEDED)).await, Ok(20));
    let left: Vec<_> = store.sightings(Some(&client("billing"))).await.unwrap();
    let left: Vec<_> = left.into_iter().map(|seen| seen.thumbprint).collect();
    assert_eq!(left, std::iter::once(0).chain(21..many).map(thumbprint).collect::<Vec<_>>());
    assert_eq!(store.sightings(None).await.unwrap().len(), SIGHTINGS_KEPT + others.len());
}

pub(super) async fn no_certificate_is_forgotten_while_tokens_that_are_bound_to_it_can_live<P: Place>() {
    // A token lives a day, and a use is written within a minute.
    let a_token_lives = Duration::from_secs(24 * 3600 + 60);
    let place = P::fresh();
    let store = place.open();
    let many = u32::try_from(SIGHTINGS_KEPT).unwrap() * 3;
    let all: Vec<_> =
        (0..many).map(|number| sighting("billing", number, at(-9), at(number.into()))).collect();
    store.note_all_first(&all).await.unwrap();
    let too_many = u64::try_from(all.len() - SIGHTINGS_KEPT).unwrap();
    for moment in [at(0), at(many.into()), at(0).plus(a_token_lives), at(0).plus(SIGHTING_NEEDED)] {
        assert_eq!(store.forget_evidence(moment).await, Ok(0));
    }
    assert_eq!(store.sightings(None).await.unwrap().len(), all.len());
    assert_eq!(store.forget_evidence(at(0).plus(SIGHTING_NEEDED).plus(SECOND)).await, Ok(1));
    assert_eq!(store.sighting(&client("billing"), thumbprint(0)).await, Ok(None));
    assert!(store.sighting(&client("billing"), thumbprint(1)).await.unwrap().is_some());
    // A use keeps it on.
    store.note_again(&[(client("billing"), thumbprint(1), at(many.into()))]).await.unwrap();
    assert_eq!(store.forget_evidence(at(many.into()).plus(SIGHTING_NEEDED)).await, Ok(too_many - 1));
    assert!(store.sighting(&client("billing"), thumbprint(1)).await.unwrap().is_some());
}

pub(super) async fn what_was_forgotten_is_unknown_when_it_is_used_again<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let seen = sighting("billing", 1, at(0), at(0));
    store.note_first(&seen).await.unwrap();
    let again = [(seen.client.clone(), seen.thumbprint, at(10))];
    assert_eq!(store.note_again(&again).await, Ok(vec![]));
    assert_eq!(store.forget_evidence(at(11).plus(SIGHTING_LIFE)).await, Ok(1));
    assert_eq!(store.note_again(&again).await, Ok(vec![(seen.client.clone(), seen.thumbprint)]));
    assert_eq!(store.sightings(None).await, Ok(vec![]));
    store.note_first(&seen).await.unwrap();
    assert_eq!(store.note_again(&again).await, Ok(vec![]));
    assert_eq!(store.sightings(None).await, Ok(vec![sighting("billing", 1, at(0), at(10))]));
}

pub(super) async fn forgetting_thousands_leaves_the_rest<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let all: Vec<_> = (0..3_000_u32)
        .map(|number| Sighting {
            chain: vec![vec![1; 50]],
            // Half of them not used for long.
            ..sighting(&format!("client-{}", number / 10), number, at(0), at(i64::from(number % 2) * 5_000))
        })
        .collect();
    store.note_all_first(&all).await.unwrap();
    assert_eq!(store.forget_evidence(at(2_000).plus(SIGHTING_LIFE)).await, Ok(1_500));
    let left = store.sightings(None).await.unwrap();
    assert_eq!(left.len(), 1_500);
    assert!(left.iter().all(|seen| seen.last_seen == at(5_000) && seen.chain == [[1; 50]]));
}

/// A refusal of a registered client.
fn refusal_of(client: &str, number: u32, when: Timestamp) -> RefusalRecord {
    RefusalRecord { claimed: Some(client.into()), is_registered: true, ..refusal(number, when) }
}
