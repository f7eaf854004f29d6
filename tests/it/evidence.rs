//! The contract of an evidence as one battery. Every store runs it beside that of `store_contract`, in the same places:
//! add a line `evidence_contract!(name, Place)` at the end.

#![cfg(test)]

mod forgetting;

use std::sync::Arc;
use std::time::Duration;

use certbound::clock::Timestamp;
use certbound::oauth::ClientId;
use certbound::pki::Thumbprint;
use certbound::store::evidence::{Evidence, RefusalRecord, SIGHTING_LIFE, Sighting};
use certbound::store::{Standing, TokenStore};

use self::forgetting::{
    a_refusal_that_is_noted_again_counts_where_it_was_noted_last, forgetting_thousands_leaves_the_rest,
    no_certificate_is_forgotten_while_tokens_that_are_bound_to_it_can_live,
    of_too_many_certificates_of_a_client_those_used_last_are_kept,
    of_too_many_refusals_of_clients_the_oldest_of_each_and_of_all_are_forgotten,
    of_too_many_refusals_of_strangers_the_oldest_are_forgotten,
    old_refusals_are_forgotten_and_not_a_second_before,
    sightings_that_were_not_used_for_long_are_forgotten_and_not_a_second_before,
    what_was_forgotten_is_unknown_when_it_is_used_again,
};
use crate::store_contract::{NEVER, Place, at, client, token};

/// Runs every law on one kind of store.
macro_rules! evidence_contract {
    ($name:ident, $place:ty) => {
        evidence_contract!($name, $place:
            what_was_never_seen_is_unknown,
            a_first_sight_is_there_whole_when_it_is_answered,
            what_was_answered_survives_reopening,
            the_earlier_first_and_the_later_last_moment_are_kept,
            several_first_sights_at_once_are_as_one_after_the_other,
            later_uses_move_on_and_never_back,
            a_later_use_of_an_unknown_certificate_makes_no_sighting,
            one_certificate_of_two_clients_is_two_sightings,
            the_sightings_of_a_client_are_its_own,
            sightings_come_in_the_order_of_their_first_sight,
            a_refusal_is_found_however_its_reference_is_written,
            a_refusal_reads_back_whatever_a_stranger_sent,
            a_refusal_that_is_noted_again_is_one,
            the_latest_refusals_come_first,
            old_refusals_are_forgotten_and_not_a_second_before,
            of_too_many_refusals_of_strangers_the_oldest_are_forgotten,
            of_too_many_refusals_of_clients_the_oldest_of_each_and_of_all_are_forgotten,
            a_refusal_that_is_noted_again_counts_where_it_was_noted_last,
            sightings_that_were_not_used_for_long_are_forgotten_and_not_a_second_before,
            of_too_many_certificates_of_a_client_those_used_last_are_kept,
            no_certificate_is_forgotten_while_tokens_that_are_bound_to_it_can_live,
            what_was_forgotten_is_unknown_when_it_is_used_again,
            forgetting_thousands_leaves_the_rest,
            sixty_four_tasks_note_and_read_at_once,
            evidence_and_revocations_do_not_touch_each_other,
        );
    };
    ($name:ident, $place:ty: $($law:ident,)+) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $law() {
                    super::$law::<$place>().await;
                }
            )+
        }
    };
}

const SECOND: Duration = Duration::from_secs(1);

fn thumbprint(number: u32) -> Thumbprint {
    Thumbprint::of(&number.to_be_bytes())
}

/// The `number`th certificate of a client, seen from `first` to `last`.
fn sighting(of: &str, number: u32, first: Timestamp, last: Timestamp) -> Sighting {
    let chain = vec![number.to_be_bytes().repeat(200), vec![7; 1_000]];
    Sighting { client: client(of), thumbprint: thumbprint(number), chain, first_seen: first, last_seen: last }
}

fn refusal(number: u32, when: Timestamp) -> RefusalRecord {
    let digits = format!("{number:016}");
    let quarters: Vec<_> = (0..4).map(|quarter| &digits[quarter * 4..quarter * 4 + 4]).collect();
    RefusalRecord {
        reference: quarters.join("-"),
        at: when.as_unix(),
        claimed: Some("billing".into()),
        is_registered: false,
        path: "/token".into(),
        listener: "mtls".into(),
        reason: "subject_mismatch".into(),
        check: "subject".into(),
        expected: "DNS:billing.example.com".into(),
        seen: "DNS:edge.example.com".into(),
        chain: vec!["MIIB".into()],
    }
}

async fn references(store: &impl Evidence, limit: usize) -> Vec<String> {
    store.refusals(limit).await.unwrap().into_iter().map(|record| record.reference).collect()
}

async fn what_was_never_seen_is_unknown<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    assert_eq!(store.sighting(&client("billing"), thumbprint(1)).await, Ok(None));
    assert_eq!(store.sightings(None).await, Ok(vec![]));
    assert_eq!(store.sightings(Some(&client("billing"))).await, Ok(vec![]));
    assert_eq!(store.refusal("0000-0000-0000-0001").await, Ok(None));
    assert_eq!(store.refusals(10).await, Ok(vec![]));
    assert_eq!(store.forget_evidence(at(0)).await, Ok(0));
}

async fn a_first_sight_is_there_whole_when_it_is_answered<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let long = vec![vec![0xA5; 40_000], vec![], vec![0; 20_000], vec![0xFF; 5_536]];
    for (number, chain) in (0..).zip([vec![], vec![vec![1]], long]) {
        let seen = Sighting { chain, ..sighting("billing", number, at(1), at(1)) };
        store.note_first(&seen).await.unwrap();
        assert_eq!(store.sighting(&client("billing"), thumbprint(number)).await, Ok(Some(seen)));
    }
}

async fn what_was_answered_survives_reopening<P: Place>() {
    let place = P::fresh();
    for number in 0..4 {
        let store = place.open();
        store.note_first(&sighting("billing", number, at(1), at(1))).await.unwrap();
        store.note_again(&[(client("billing"), thumbprint(0), at(100 + i64::from(number)))]).await.unwrap();
        store.note_refusals(&[refusal(number, at(1))]).await.unwrap();
        drop(store);
        let store = place.open();
        let seen = store.sightings(None).await.unwrap();
        assert_eq!(seen.len(), usize::try_from(number).unwrap() + 1);
        let first = sighting("billing", 0, at(1), at(100 + i64::from(number)));
        assert!(seen.contains(&first), "{seen:?}");
        let written = refusal(number, at(1));
        assert_eq!(store.refusal(&written.reference).await, Ok(Some(written)));
    }
}

async fn the_earlier_first_and_the_later_last_moment_are_kept<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    for (first, last) in [(10, 20), (15, 15), (5, 5), (12, 40), (13, 30)] {
        store.note_first(&sighting("billing", 1, at(first), at(last))).await.unwrap();
    }
    let other_chain = Sighting { chain: vec![vec![9]], ..sighting("billing", 1, at(20), at(20)) };
    store.note_first(&other_chain).await.unwrap();
    let kept = Sighting { first_seen: at(5), last_seen: at(40), ..other_chain };
    assert_eq!(store.sightings(None).await, Ok(vec![kept]), "and the chain that came last");
}

async fn several_first_sights_at_once_are_as_one_after_the_other<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    store.note_all_first(&[]).await.unwrap();
    let mut all: Vec<_> =
        (0..300).map(|number| sighting("billing", number, at(number.into()), at(500))).collect();
    store.note_first(&sighting("billing", 7, at(7), at(600))).await.unwrap();
    let twice = [all.clone(), all.clone()].concat();
    store.note_all_first(&twice).await.unwrap();
    all[7].last_seen = at(600);
    assert_eq!(store.sightings(Some(&client("billing"))).await, Ok(all));
}

async fn later_uses_move_on_and_never_back<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    store.note_first(&sighting("billing", 1, at(10), at(10))).await.unwrap();
    store.note_first(&sighting("edge-7", 2, at(10), at(10))).await.unwrap();
    let again = |of, number, seconds| (client(of), thumbprint(number), at(seconds));
    store.note_again(&[]).await.unwrap();
    store
        .note_again(&[again("billing", 1, 30), again("billing", 1, 20), again("edge-7", 2, 25)])
        .await
        .unwrap();
    store.note_again(&[again("billing", 1, 5)]).await.unwrap();
    let all = [sighting("billing", 1, at(10), at(30)), sighting("edge-7", 2, at(10), at(25))];
    for seen in all {
        assert_eq!(store.sighting(&seen.client, seen.thumbprint).await, Ok(Some(seen)));
    }
}

async fn a_later_use_of_an_unknown_certificate_makes_no_sighting<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    store.note_first(&sighting("billing", 1, at(10), at(10))).await.unwrap();
    let unknown = [(client("billing"), thumbprint(2), at(20)), (client("edge-7"), thumbprint(1), at(20))];
    let known = (client("billing"), thumbprint(1), at(5));
    let [one, two] = unknown.clone();
    let given = store.note_again(&[one, known, two]).await.unwrap();
    assert_eq!(given, unknown.map(|(client, thumbprint, _)| (client, thumbprint)));
    assert_eq!(store.sightings(None).await, Ok(vec![sighting("billing", 1, at(10), at(10))]));
}

async fn one_certificate_of_two_clients_is_two_sightings<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let (one, two) = (sighting("billing", 1, at(1), at(1)), sighting("edge-7", 1, at(2), at(9)));
    store.note_first(&one).await.unwrap();
    assert_eq!(store.sighting(&two.client, two.thumbprint).await, Ok(None));
    store.note_first(&two).await.unwrap();
    assert_eq!(store.sightings(None).await, Ok(vec![one, two]));
}

async fn the_sightings_of_a_client_are_its_own<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let names = ["bill", "billing", "Bill", "bil", "bill ", "bill/../bill", "b%ll", "b_ll", "b'll"];
    for name in names {
        for number in 0..3 {
            store.note_first(&sighting(name, number, at(number.into()), at(9))).await.unwrap();
        }
    }
    for name in names {
        let own: Vec<_> = (0..3).map(|number| sighting(name, number, at(number.into()), at(9))).collect();
        assert_eq!(store.sightings(Some(&client(name))).await, Ok(own), "{name}");
    }
    assert_eq!(store.sightings(None).await.unwrap().len(), names.len() * 3);
}

async fn sightings_come_in_the_order_of_their_first_sight<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    for number in 0..600_u32 {
        let first = at(i64::from(number * 7 % 600));
        store.note_first(&sighting(&format!("client-{}", number % 5), number, first, at(999))).await.unwrap();
    }
    let all = store.sightings(None).await.unwrap();
    assert_eq!(all.len(), 600);
    assert!(all.is_sorted_by_key(|seen| seen.first_seen));
}

async fn a_refusal_is_found_however_its_reference_is_written<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let record = RefusalRecord { reference: "01AB-CDEF-GHJK-MNPQ".into(), ..refusal(1, at(1)) };
    store.note_refusals(&[record.clone(), refusal(2, at(1))]).await.unwrap();
    for written in [
        "01AB-CDEF-GHJK-MNPQ",
        "01ABCDEFGHJKMNPQ",
        "01ab-cdef-ghjk-mnpq",
        "oIaBcDeFgHjKmNpQ",
        "OLAB-CDEFGHJKMNPQ",
    ] {
        assert_eq!(store.refusal(written).await, Ok(Some(record.clone())), "{written}");
    }
    for other in ["", "01AB-CDEF-GHJK-MNP", "01AB-CDEF-GHJK-MNPQR", "%", "01AB-CDEF-GHJK-MNPQ\0", "é"] {
        assert_eq!(store.refusal(other).await, Ok(None), "{other}");
    }
}

async fn a_refusal_reads_back_whatever_a_stranger_sent<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let odd = "\u{0}\u{1}\u{7f}\"\\\u{2028}\u{202e}é😀'; DROP TABLE refusals; --".to_owned();
    let record = RefusalRecord {
        claimed: Some(odd.clone()),
        check: odd.clone(),
        expected: odd.repeat(20),
        seen: odd.clone(),
        chain: vec!["A".repeat(10_000), String::new(), odd],
        ..refusal(1, at(-5_000_000_000))
    };
    let nobody = RefusalRecord { claimed: None, chain: Vec::new(), ..refusal(2, at(1)) };
    store.note_refusals(&[record.clone(), nobody.clone()]).await.unwrap();
    assert_eq!(store.refusals(9).await, Ok(vec![nobody, record]));
}

async fn a_refusal_that_is_noted_again_is_one<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let long = RefusalRecord { seen: "x".repeat(20_000), ..refusal(1, at(1)) };
    let moved = RefusalRecord { seen: "y".into(), ..refusal(1, at(2)) };
    store.note_refusals(&[]).await.unwrap();
    for record in [long.clone(), long, refusal(1, at(1)), moved.clone(), moved.clone()] {
        store.note_refusals(&[record.clone(), record.clone()]).await.unwrap();
        assert_eq!(store.refusals(9).await, Ok(vec![record.clone()]));
        assert_eq!(store.refusal(&record.reference).await, Ok(Some(record)));
    }
}

async fn the_latest_refusals_come_first<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let mixed: Vec<_> =
        (0..200_u32).map(|number| refusal(number, at(i64::from(number * 77 % 200)))).collect();
    for some in mixed.chunks(30) {
        store.note_refusals(some).await.unwrap();
    }
    for limit in [0, 1, 64, 65, 199, 200, 201, 100_000] {
        let latest = store.refusals(limit).await.unwrap();
        let wanted: Vec<_> = (0..200).rev().take(limit).map(|second| at(second).as_unix()).collect();
        assert_eq!(latest.iter().map(|record| record.at).collect::<Vec<_>>(), wanted);
    }
}

async fn sixty_four_tasks_note_and_read_at_once<P: Place>() {
    let place = P::fresh();
    let store = Arc::new(place.open());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64_u32 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let name: ClientId = client(&format!("client-{}", task % 8));
            for round in 0..8_u32 {
                // Eight tasks bring the same certificate, at different moments.
                let moment = at(i64::from(task * 10 + round));
                store.note_first(&sighting(name.as_str(), round, moment, moment)).await.unwrap();
                let seen = store.sighting(&name, thumbprint(round)).await.unwrap().unwrap();
                assert!(seen.first_seen <= moment && moment <= seen.last_seen);
                store.note_again(&[(name.clone(), thumbprint(round), moment.plus(SECOND))]).await.unwrap();
                let record = refusal(task * 100 + round, moment);
                store.note_refusals(std::slice::from_ref(&record)).await.unwrap();
                assert_eq!(store.refusal(&record.reference).await, Ok(Some(record)));
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(store.refusals(9_999).await.unwrap().len(), 64 * 8);
    for first in 0..8_u32 {
        let seen = store.sightings(Some(&client(&format!("client-{first}")))).await.unwrap();
        let wanted: Vec<_> = (0..8_u32)
            .map(|round| {
                let moment = |task: u32| at(i64::from(task * 10 + round));
                sighting(&format!("client-{first}"), round, moment(first), moment(first + 56).plus(SECOND))
            })
            .collect();
        assert_eq!(seen, wanted);
    }
}

async fn evidence_and_revocations_do_not_touch_each_other<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let (ended, living) = (token("billing", at(0)), token("edge-7", at(0)));
    store
        .note_all_first(&[sighting("billing", 1, at(0), at(0)), sighting("edge-7", 1, at(0), at(0))])
        .await
        .unwrap();
    store.note_refusals(&[refusal(1, at(0))]).await.unwrap();
    store.revoke(ended.jti, at(1), NEVER).await.unwrap();
    let far = at(0).plus(SIGHTING_LIFE).plus(SIGHTING_LIFE);
    assert_eq!(store.forget_expired(far).await, Ok(0));
    assert_eq!(store.sightings(None).await.unwrap().len(), 2);
    assert_eq!(store.forget_evidence(far).await, Ok(3));
    drop(store);
    let store = place.open();
    assert_eq!(store.standing(&ended).await, Ok(Standing::Revoked { at: at(1) }));
    assert_eq!(store.standing(&living).await, Ok(Standing::Good));
}

evidence_contract!(sled, crate::store_contract::places::Directory);
evidence_contract!(memory, crate::simulation::memory::Disk);
evidence_contract!(postgres, crate::store_contract::places::Database);
