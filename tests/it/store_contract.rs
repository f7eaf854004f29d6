//! The contract of a token store as one battery. Every store runs it: implement [`Place`] for it and add
//! a line `store_contract!(name, Place)` at the end, and one in `evidence`.

#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use certbound::clock::Timestamp;
use certbound::oauth::{ClientId, Jti};
use certbound::store::evidence::Evidence;
use certbound::store::{Standing, TokenKey, TokenStore};

/// Where a store keeps what it remembers; nothing is there at first.
pub(crate) trait Place {
    type Store: TokenStore + Evidence + 'static;

    fn fresh() -> Self;

    /// Opens the store; again, after the one before was dropped.
    fn open(&self) -> Self::Store;
}

/// Runs every law on one kind of store.
macro_rules! store_contract {
    ($name:ident, $place:ty) => {
        store_contract!($name, $place:
            a_token_that_nothing_ended_is_good,
            a_revoked_token_has_ended_and_no_other,
            revoking_again_keeps_the_first_moment,
            the_tokens_of_a_client_end_up_to_and_including_the_moment,
            an_earlier_moment_shortens_nothing,
            clients_whose_names_begin_alike_are_different,
            sixty_four_tasks_write_and_read_at_once,
            what_was_answered_survives_reopening,
            a_client_that_is_seen_first_keeps_its_tokens,
            a_client_that_was_gone_for_less_than_five_seconds_keeps_its_tokens,
            a_client_that_was_gone_for_five_seconds_loses_its_tokens,
            gone_since_is_the_first_time_it_was_missed,
            gone_since_survives_reopening,
            a_clock_that_went_back_does_not_make_an_absence_short,
            nothing_is_forgotten_before_its_end,
            a_longer_end_given_later_counts,
            what_is_forgotten_does_not_come_to_life,
            a_store_that_is_well_says_so,
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

pub(crate) const NEVER: Timestamp = Timestamp::MAX;

pub(crate) fn at(seconds: i64) -> Timestamp {
    // Long past by any clock: a store may have one of its own.
    Timestamp::from_unix(1_700_000_000 + seconds)
}

pub(crate) fn client(name: &str) -> ClientId {
    ClientId::parse(name).unwrap()
}

fn clients(names: &[&str]) -> BTreeSet<ClientId> {
    names.iter().map(|name| client(name)).collect()
}

pub(crate) fn token(of: &str, issued_at: Timestamp) -> TokenKey {
    TokenKey { jti: Jti::fresh().unwrap(), client: client(of), issued_at, signed_by: "a key".to_owned() }
}

async fn is_good(store: &impl TokenStore, token: &TokenKey) -> bool {
    store.standing(token).await.unwrap() == Standing::Good
}

async fn a_token_that_nothing_ended_is_good<P: Place>() {
    let (place, token) = (P::fresh(), token("billing", at(0)));
    assert_eq!(place.open().standing(&token).await, Ok(Standing::Good));
}

async fn a_revoked_token_has_ended_and_no_other<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let (ended, other) = (token("billing", at(0)), token("billing", at(0)));
    store.revoke(ended.jti, at(7), at(300)).await.unwrap();
    assert_eq!(store.standing(&ended).await, Ok(Standing::Revoked { at: at(7) }));
    assert!(is_good(&store, &other).await);
}

async fn revoking_again_keeps_the_first_moment<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let ended = token("billing", at(0));
    for now in [7, 9, 5] {
        store.revoke(ended.jti, at(now), at(300)).await.unwrap();
    }
    assert_eq!(store.standing(&ended).await, Ok(Standing::Revoked { at: at(7) }));
}

async fn the_tokens_of_a_client_end_up_to_and_including_the_moment<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    store.revoke_issued_before(&client("billing"), at(10), NEVER).await.unwrap();
    for (issued_at, good) in [(0, false), (9, false), (10, false), (11, true)] {
        assert_eq!(is_good(&store, &token("billing", at(issued_at))).await, good, "issued at {issued_at}");
        assert!(is_good(&store, &token("edge-7", at(issued_at))).await);
    }
}

async fn an_earlier_moment_shortens_nothing<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    store.revoke_issued_before(&client("billing"), at(10), at(100_000)).await.unwrap();
    store.revoke_issued_before(&client("billing"), at(5), at(50)).await.unwrap();
    store.forget_expired(at(99_999)).await.unwrap();
    assert!(!is_good(&store, &token("billing", at(10))).await);
    store.revoke_issued_before(&client("billing"), at(12), at(60)).await.unwrap();
    assert!(!is_good(&store, &token("billing", at(12))).await);
    assert!(is_good(&store, &token("billing", at(13))).await);
}

async fn clients_whose_names_begin_alike_are_different<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    store.revoke_issued_before(&client("bill"), at(10), NEVER).await.unwrap();
    for other in ["billing", "Bill", "bil", "bill ", "bill/../bill"] {
        assert!(is_good(&store, &token(other, at(0))).await, "{other}");
    }
}

async fn sixty_four_tasks_write_and_read_at_once<P: Place>() {
    let place = P::fresh();
    let store = Arc::new(place.open());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64_i64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let name = format!("client-{}", task % 8);
            for round in 0..8 {
                let (ended, other) = (token("edge-7", at(0)), token("edge-7", at(0)));
                store.revoke(ended.jti, at(round), NEVER).await.unwrap();
                assert!(!is_good(&*store, &ended).await && is_good(&*store, &other).await);
                store.revoke_issued_before(&client(&name), at(task + round), NEVER).await.unwrap();
                assert!(!is_good(&*store, &token(&name, at(task + round))).await);
            }
        });
    }
    tasks.join_all().await;
    for task in 56..64 {
        let name = format!("client-{}", task % 8);
        assert!(!is_good(&*store, &token(&name, at(task + 7))).await);
        assert!(is_good(&*store, &token(&name, at(task + 8))).await);
    }
}

async fn what_was_answered_survives_reopening<P: Place>() {
    let place = P::fresh();
    let ended = token("billing", at(0));
    for round in 1..4 {
        let store = place.open();
        store.revoke(ended.jti, at(1), NEVER).await.unwrap();
        store.revoke_issued_before(&client("edge-7"), at(round), NEVER).await.unwrap();
        drop(store);
        let store = place.open();
        assert_eq!(store.standing(&ended).await, Ok(Standing::Revoked { at: at(1) }));
        assert!(!is_good(&store, &token("edge-7", at(round))).await);
        assert!(is_good(&store, &token("edge-7", at(round + 1))).await);
    }
}

async fn a_client_that_is_seen_first_keeps_its_tokens<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    for _ in 0..2 {
        let back = store.roll_call(&clients(&["billing", "edge-7"]), at(10), NEVER).await.unwrap();
        assert_eq!(back, []);
    }
    assert!(is_good(&store, &token("billing", at(0))).await);
}

async fn a_client_that_was_gone_for_less_than_five_seconds_keeps_its_tokens<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let both = clients(&["billing", "edge-7"]);
    store.roll_call(&both, at(0), NEVER).await.unwrap();
    store.roll_call(&clients(&["edge-7"]), at(10), NEVER).await.unwrap();
    assert_eq!(store.roll_call(&both, at(14), NEVER).await, Ok(vec![]));
    assert!(is_good(&store, &token("billing", at(0))).await);
}

async fn a_client_that_was_gone_for_five_seconds_loses_its_tokens<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let both = clients(&["billing", "edge-7"]);
    store.roll_call(&both, at(0), NEVER).await.unwrap();
    store.roll_call(&clients(&["edge-7"]), at(10), NEVER).await.unwrap();
    assert_eq!(store.roll_call(&both, at(15), NEVER).await, Ok(vec![client("billing")]));
    assert!(!is_good(&store, &token("billing", at(15))).await);
    assert!(is_good(&store, &token("billing", at(16))).await);
    assert!(is_good(&store, &token("edge-7", at(0))).await);
    assert_eq!(store.roll_call(&both, at(40), NEVER).await, Ok(vec![]), "it came back once");
    assert!(is_good(&store, &token("billing", at(16))).await);
}

async fn gone_since_is_the_first_time_it_was_missed<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    store.roll_call(&clients(&["billing"]), at(0), NEVER).await.unwrap();
    for now in [10, 12, 14] {
        store.roll_call(&clients(&[]), at(now), NEVER).await.unwrap();
    }
    assert_eq!(store.roll_call(&clients(&["billing"]), at(15), NEVER).await, Ok(vec![client("billing")]));
}

async fn gone_since_survives_reopening<P: Place>() {
    let place = P::fresh();
    place.open().roll_call(&clients(&["billing"]), at(0), NEVER).await.unwrap();
    place.open().roll_call(&clients(&[]), at(10), NEVER).await.unwrap();
    let store = place.open();
    assert_eq!(store.roll_call(&clients(&["billing"]), at(15), NEVER).await, Ok(vec![client("billing")]));
    drop(store);
    assert!(!is_good(&place.open(), &token("billing", at(15))).await);
}

async fn a_clock_that_went_back_does_not_make_an_absence_short<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    store.roll_call(&clients(&["billing"]), at(0), NEVER).await.unwrap();
    store.roll_call(&clients(&[]), at(100_000), NEVER).await.unwrap();
    assert_eq!(store.roll_call(&clients(&["billing"]), at(50), NEVER).await, Ok(vec![client("billing")]));
    assert!(!is_good(&store, &token("billing", at(50))).await);
}

async fn nothing_is_forgotten_before_its_end<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let ended = token("billing", at(0));
    store.revoke(ended.jti, at(0), at(200_000)).await.unwrap();
    store.revoke_issued_before(&client("edge-7"), at(0), at(200_000)).await.unwrap();
    assert_eq!(store.forget_expired(at(199_999)).await, Ok(0));
    assert!(!is_good(&store, &ended).await && !is_good(&store, &token("edge-7", at(0))).await);
    assert_eq!(store.forget_expired(at(200_000)).await, Ok(2));
    assert_eq!(store.forget_expired(at(200_000)).await, Ok(0));
}

async fn a_longer_end_given_later_counts<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let ended = token("billing", at(0));
    for until in [100_000, 300_000, 200_000] {
        store.revoke(ended.jti, at(0), at(until)).await.unwrap();
    }
    assert_eq!(store.forget_expired(at(299_999)).await, Ok(0));
    assert!(!is_good(&store, &ended).await);
    assert_eq!(store.forget_expired(at(300_000)).await, Ok(1));
}

/// A clock that jumps ten years ahead and back: what was forgotten in between has ended all the same, and
/// what is issued after it is good.
async fn what_is_forgotten_does_not_come_to_life<P: Place>() {
    let place = P::fresh();
    let store = place.open();
    let ended = token("billing", at(0));
    store.revoke(ended.jti, at(5), at(300)).await.unwrap();
    store.revoke_issued_before(&client("edge-7"), at(5), at(300)).await.unwrap();
    let years = Duration::from_secs(3600 * 24 * 365 * 10);
    assert_eq!(store.forget_expired(at(0).plus(years)).await, Ok(2));
    drop(store);
    let store = place.open();
    assert!(!is_good(&store, &ended).await && !is_good(&store, &token("edge-7", at(5))).await);
    assert!(
        is_good(&store, &token("billing", at(6))).await && is_good(&store, &token("edge-7", at(6))).await
    );
}

async fn a_store_that_is_well_says_so<P: Place>() {
    let place = P::fresh();
    assert_eq!(place.open().ping().await, Ok(()));
}

pub(crate) mod places {
    use certbound::database::Settings;
    use certbound::store::postgres::Postgres;
    use certbound::store::sled::Sled;
    use tempfile::TempDir;

    use crate::support::postgres::Postgres as Server;

    /// A directory of its own.
    pub(crate) struct Directory(TempDir);

    impl super::Place for Directory {
        type Store = Sled;

        fn fresh() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn open(&self) -> Sled {
            Sled::open(&self.0.path().join("data"), &self.0.path().join("store-id")).unwrap().0
        }
    }

    /// A database of its own.
    pub(crate) struct Database {
        settings: Settings,
        directory: TempDir,
    }

    impl super::Place for Database {
        type Store = Postgres;

        fn fresh() -> Self {
            let settings = Settings { url: Server::shared().fresh().into(), ca: None, pool: 8 };
            Self { settings, directory: tempfile::tempdir().unwrap() }
        }

        fn open(&self) -> Postgres {
            Postgres::open(&self.settings, &self.directory.path().join("store-id")).unwrap().0
        }
    }
}

store_contract!(sled, super::places::Directory);
store_contract!(memory, crate::simulation::memory::Disk);
store_contract!(postgres, super::places::Database);
