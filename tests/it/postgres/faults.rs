//! The database dies, freezes, is full, is slow: nobody waits for long, nothing piles up, and it is found again.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::*;
use crate::support::server::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_database_is_an_error_in_time_and_found_again_by_itself() {
    let server = Server::own();
    let place = Place::at(&server);
    let store = place.store();
    let ended = token("billing", at(0));
    store.revoke(ended.jti, at(1), NEVER).await.unwrap();
    for round in 0..2 {
        server.kill();
        is_unavailable(&store).await;
        server.start();
        println!("back after it was killed: {:?}", recovers(&store).await);
        assert!(has_ended(&store, &ended).await, "round {round}");
        let other = token("billing", at(0));
        store.revoke(other.jti, at(1), NEVER).await.unwrap();
        assert!(has_ended(&store, &other).await);
    }
    server.end();
    is_unavailable(&store).await;
    let (late, opened) = place.open().unwrap();
    assert!(matches!(opened, Opened::OutOfReach(_)), "{opened:?}");
    is_unavailable(&late).await;
    server.start();
    println!("back after it was ended: {:?}", recovers(&store).await);
    let other = token("billing", at(0));
    eventually_writes(&late, &other).await;
    assert!(has_ended(&late, &ended).await && has_ended(&late, &other).await);
}

/// The very first thing that a node does that started without its database.
async fn eventually_writes(store: &Store, ended: &TokenKey) {
    let began = Instant::now();
    while let Err(error) = store.revoke(ended.jti, at(1), NEVER).await {
        assert!(matches!(error, StoreError::Unavailable(_)) && began.elapsed() < RECOVERS_WITHIN, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_piles_up_before_a_frozen_database() {
    const CALLS: usize = 5_000;
    let server = Server::own();
    let place = Place::at(&server);
    let store = Arc::new(place.store());
    let ended = token("billing", at(0));
    store.revoke(ended.jti, at(1), NEVER).await.unwrap();
    server.stop();
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let (store, ended) = (Arc::clone(&store), ended.clone());
        calls.spawn(async move {
            let began = Instant::now();
            let is_answered = match number % 2 {
                0 => store.standing(&ended).await.is_ok(),
                _ => store.revoke(token("billing", at(0)).jti, at(0), NEVER).await.is_ok(),
            };
            (is_answered, began.elapsed())
        });
    }
    let answers = calls.join_all().await;
    let slowest = answers.iter().map(|answer| answer.1).max().unwrap();
    println!("{CALLS} calls before a frozen database: the slowest {slowest:?}, all {:?}", began.elapsed());
    assert!(answers.iter().all(|answer| !answer.0) && slowest < ANSWERS_WITHIN, "{slowest:?}");
    let began = Instant::now();
    for _ in 0..1_000 {
        assert!(store.standing(&ended).await.is_err());
    }
    println!("1000 calls when it is known to be out: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    server.cont();
    println!("back after it was frozen: {:?}", recovers(&store).await);
    assert!(has_ended(&store, &ended).await);
    // Of the connections of before none is left over.
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'certbound'";
    let began = Instant::now();
    while server.sql("postgres", count).parse::<usize>().unwrap() > place.pool {
        assert!(began.elapsed() < RECOVERS_WITHIN, "{}", server.sql("postgres", count));
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_spoils_no_connection_and_says_nothing_of_the_database() {
    let place = Place::new();
    let store = place.store();
    let ended = token("billing", at(0));
    store.revoke(ended.jti, at(1), NEVER).await.unwrap();
    for micros in 0..400 {
        let call = store.standing(&ended);
        let _ = tokio::time::timeout(Duration::from_micros(micros * 5), call).await;
        let write = store.revoke(token("billing", at(0)).jti, at(1), NEVER);
        let _ = tokio::time::timeout(Duration::from_micros(micros * 5), write).await;
        assert!(has_ended(&store, &ended).await);
    }
}

#[tokio::test]
async fn connections_that_were_cut_are_made_again() {
    let place = Place::new();
    let store = Arc::new(place.store());
    let ended = token("billing", at(0));
    store.revoke(ended.jti, at(1), NEVER).await.unwrap();
    let mut load = JoinSet::new();
    for _ in 0..8 {
        let (store, ended) = (Arc::clone(&store), ended.clone());
        load.spawn(async move {
            for _ in 0..60 {
                match store.standing(&ended).await {
                    Ok(standing) => assert_ne!(standing, Standing::Good),
                    Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
                }
            }
        });
    }
    for _ in 0..5 {
        place.disconnect();
    }
    load.join_all().await;
    recovers(&store).await;
    assert!(has_ended(&store, &ended).await);
}

#[tokio::test]
async fn a_server_without_room_is_used_with_the_connections_that_there_are() {
    let place = Place { pool: 8, ..Place::new() };
    drop(place.store());
    // The limit is not for the superuser.
    let database = Server::database(&place.url).to_owned();
    let role = format!("role_{database}");
    place.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA certbound TO {role};
         GRANT ALL ON ALL TABLES IN SCHEMA certbound TO {role}; ALTER DATABASE {database} CONNECTION LIMIT 2"
    ));
    let mine = Place { url: place.url.replace("postgres@", &format!("{role}@")), ..place };
    let store = Arc::new(mine.store());
    let mut load = JoinSet::new();
    for _ in 0..64 {
        let store = Arc::clone(&store);
        load.spawn(async move {
            let ended = token("billing", at(0));
            store.revoke(ended.jti, at(1), NEVER).await.unwrap();
            assert!(has_ended(&store, &ended).await);
        });
    }
    load.join_all().await;
    mine.sql(&format!("ALTER DATABASE {database} CONNECTION LIMIT 0"));
    mine.disconnect();
    is_unavailable(&store).await;
    mine.sql(&format!("ALTER DATABASE {database} CONNECTION LIMIT 2"));
    recovers(&store).await;
}

#[tokio::test]
async fn a_statement_that_waits_too_long_is_ended_and_the_others_go_on() {
    let place = Place::new();
    let store = place.store();
    let ended = token("billing", at(0));
    store.revoke(ended.jti, at(1), NEVER).await.unwrap();
    let database = Server::database(&place.url).to_owned();
    let holder = std::thread::spawn(move || {
        let hold = "BEGIN; LOCK TABLE certbound.ended_clients; SELECT pg_sleep(3); COMMIT";
        Server::shared().sql(&database, hold)
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted
        AND relation = 'certbound.ended_clients'::regclass";
    while place.sql(waits) != "1" {}
    let began = Instant::now();
    let refused = store.revoke_issued_before(&ended.client, at(5), NEVER).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(began.elapsed() < ANSWERS_WITHIN);
    let other = token("billing", at(9));
    store.revoke(other.jti, at(9), NEVER).await.unwrap();
    holder.join().unwrap();
    assert!(has_ended(&store, &other).await);
    store.revoke_issued_before(&ended.client, at(5), NEVER).await.unwrap();
}

/// What databases that scale out say when two meet, and a strict isolation level.
#[tokio::test]
async fn what_met_other_work_is_done_again() {
    let place = Place::new();
    drop(place.store());
    place.sql(
        "CREATE SEQUENCE public.times; GRANT ALL ON SEQUENCE public.times TO PUBLIC;
         CREATE FUNCTION public.meet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('public.times') % 4 = 0 THEN RAISE EXCEPTION 'met' USING ERRCODE = '40001'; END IF;
            RETURN NEW; END $$;
         CREATE TRIGGER meet BEFORE INSERT OR UPDATE ON certbound.ended_tokens
            FOR EACH ROW EXECUTE FUNCTION public.meet()",
    );
    place.sql(&format!(
        "ALTER DATABASE {} SET default_transaction_isolation = 'serializable'",
        Server::database(&place.url)
    ));
    let store = Arc::new(place.store());
    let mut load = JoinSet::new();
    for _ in 0..16 {
        let store = Arc::clone(&store);
        load.spawn(async move {
            let ended = token("billing", at(0));
            store.revoke(ended.jti, at(1), NEVER).await.unwrap();
            assert!(has_ended(&store, &ended).await);
            store.roll_call(&[ended.client.clone()].into(), at(1), NEVER).await.unwrap();
        });
    }
    load.join_all().await;
    place.sql("ALTER SEQUENCE public.times INCREMENT BY 4 RESTART WITH 4");
    let refused = store.revoke(token("billing", at(0)).jti, at(1), NEVER).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(_))), "it always meets: {refused:?}");
}

/// Whatever was answered is there after the server and all its processes were killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_killed_loses_no_answered_revocation() {
    let server = Server::own();
    let place = Place::at(&server);
    let store = Arc::new(place.store());
    let mut all = Vec::new();
    for _ in 0..rounds(3, 50) {
        let mut load = JoinSet::new();
        for _ in 0..4 {
            let store = Arc::clone(&store);
            load.spawn(async move {
                let mut answered = Vec::new();
                loop {
                    let ended = token("billing", at(0));
                    if store.revoke(ended.jti, at(1), NEVER).await.is_err() {
                        return answered;
                    }
                    answered.push(ended);
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(u64::from(token("a", at(0)).jti.as_bytes()[0]))).await;
        server.kill();
        all.extend(load.join_all().await.into_iter().flatten());
        server.start();
        recovers(&store).await;
        for ended in &all {
            assert!(has_ended(&store, ended).await);
        }
    }
    println!("{} revocations answered, none lost", all.len());
    assert!(all.len() > 10);
}

/// How often a loop runs: `make test-faults` asks for many rounds.
#[expect(clippy::disallowed_methods, reason = "how thorough a test is, is said from outside")]
fn rounds(short: u32, long: u32) -> u32 {
    if std::env::var("CERTBOUND_FAULTS").is_ok_and(|rounds| rounds == "long") { long } else { short }
}

/// How many answers a second there are is printed and not judged; that each costs the database one transaction is.
#[tokio::test(flavor = "multi_thread")]
async fn whether_a_token_stands_is_one_statement() {
    let place = Place { pool: 8, ..Place::new() };
    let store = Arc::new(place.store());
    let some = token("billing", at(0));
    recovers(&store).await;
    let count = || {
        place.sql("SELECT pg_stat_clear_snapshot(); SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    };
    let _ = count();
    for tasks in [1, 8, 64] {
        let (began, each) = (Instant::now(), 1_600 / tasks);
        let mut load = JoinSet::new();
        for _ in 0..tasks {
            let (store, some) = (Arc::clone(&store), some.clone());
            load.spawn(async move {
                for _ in 0..each {
                    assert!(!has_ended(&store, &some).await);
                }
            });
        }
        load.join_all().await;
        let each_second = f64::from(each * tasks) / began.elapsed().as_secs_f64();
        println!("standings a second, {tasks} at once, pool 8: {each_second:.0}");
    }
    // The server counts when a connection ends, or now and then.
    let calls = "SELECT coalesce(sum(idx_scan + seq_scan), 0) FROM pg_stat_all_tables WHERE schemaname = 'certbound' \
        AND relname = 'store'";
    drop(store);
    eventually("the looks are counted", || place.sql(calls).parse::<u32>().unwrap() >= 3 * 1_600);
    assert!(place.sql(calls).parse::<u32>().unwrap() < 3 * 1_600 + 100, "{}", place.sql(calls));
}
