//! Which database is taken and which is refused: never an empty, another, newer, damaged or read-only one.

use std::fs;

use super::*;
use crate::store_contract::client;

#[tokio::test]
async fn a_store_is_made_once_found_again_and_adopted_by_another_node() {
    let place = Place::new();
    let (store, opened) = place.open().unwrap();
    assert_eq!(opened, Opened::Created);
    let ended = token("billing", at(0));
    store.revoke(ended.jti, at(1), NEVER).await.unwrap();
    assert_eq!(place.open().unwrap().1, Opened::Existing);
    let other = place.another_node();
    let (second, opened) = other.open().unwrap();
    assert_eq!(opened, Opened::Adopted);
    assert_eq!(other.open().unwrap().1, Opened::Existing);
    let id = fs::read_to_string(place.id_file()).unwrap();
    assert_eq!(fs::read_to_string(other.id_file()).unwrap(), id);
    assert!(has_ended(&second, &ended).await, "on the other node from the answer on");
    assert_eq!(second.check().await.unwrap().id, id.trim());
}

#[test]
fn of_many_nodes_that_start_at_once_on_an_empty_database_all_run_on_one_store() {
    let place = Place::new();
    let nodes: Vec<_> = (0..8).map(|_| place.another_node()).collect();
    let opened: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = nodes.iter().map(|node| scope.spawn(|| node.open().unwrap().1)).collect();
        started.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(opened.iter().filter(|opened| **opened == Opened::Created).count(), 1, "{opened:?}");
    let ids: std::collections::BTreeSet<_> =
        nodes.iter().map(|node| fs::read_to_string(node.id_file()).unwrap()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(place.sql("SELECT count(*) FROM certbound.migrations"), "1");
}

#[test]
fn another_store_in_the_database_is_damage() {
    let (one, other) = (Place::new(), Place::new());
    drop((one.store(), other.store()));
    fs::copy(other.id_file(), one.id_file()).unwrap();
    let refusal = one.refusal();
    assert!(matches!(&refusal, OpenError::Damaged(what) if what.contains("names store")), "{refusal:?}");
    fs::write(one.id_file(), "no id").unwrap();
    assert!(matches!(one.refusal(), OpenError::Damaged(_)));
}

#[tokio::test]
async fn an_empty_database_in_its_place_is_damage_and_is_not_filled() {
    let place = Place::new();
    let store = place.store();
    let ended = token("billing", at(0));
    store.revoke(ended.jti, at(1), NEVER).await.unwrap();
    place.sql("ALTER SCHEMA certbound RENAME TO elsewhere");
    is_corrupt(&store).await;
    place.disconnect();
    is_corrupt(&store).await;
    let refusal = place.refusal();
    assert!(matches!(&refusal, OpenError::Damaged(what) if what.contains("empty")), "{refusal:?}");
    assert_eq!(place.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'certbound'"), "0");
    place.sql("ALTER SCHEMA elsewhere RENAME TO certbound");
    recovers(&store).await;
    assert!(has_ended(&store, &ended).await);
}

#[tokio::test]
async fn a_store_that_changes_under_a_node_is_noticed_by_every_call() {
    let place = Place::new();
    let store = place.store();
    place.sql("UPDATE certbound.store SET id = '\\x00112233445566778899aabbccddeeff'");
    is_corrupt(&store).await;
    assert!(store.forget_expired(now()).await.is_ok(), "there is nothing to forget");
    place.sql("DELETE FROM certbound.store");
    is_corrupt(&store).await;
    place.disconnect();
    is_corrupt(&store).await;
}

#[tokio::test]
async fn without_one_of_its_tables_nothing_is_good() {
    for table in ["ended_tokens", "ended_clients", "signing_keys", "store"] {
        let place = Place::new();
        let store = place.store();
        assert!(!has_ended(&store, &token("billing", at(0))).await);
        place.sql(&format!("DROP TABLE certbound.{table}"));
        let standing = store.standing(&token("billing", at(0))).await;
        assert!(matches!(standing, Err(StoreError::Corrupt { .. })), "{table}: {standing:?}");
        place.disconnect();
        let standing = store.standing(&token("billing", at(0))).await;
        assert!(matches!(standing, Err(StoreError::Corrupt { .. })), "{table}: {standing:?}");
    }
}

#[tokio::test]
async fn a_column_of_another_type_is_damage() {
    let place = Place::new();
    let store = place.store();
    let ended = token("billing", at(0));
    store.revoke(ended.jti, at(1), NEVER).await.unwrap();
    place.sql("ALTER TABLE certbound.ended_tokens ALTER ended_at TYPE text USING 'x'");
    place.disconnect();
    let standing = store.standing(&ended).await;
    assert!(standing.is_err(), "{standing:?}");
    let again = store.standing(&ended).await;
    assert!(matches!(again, Err(StoreError::Corrupt { .. })), "{again:?}");
}

#[tokio::test]
async fn tables_of_a_newer_program_are_refused_unless_it_says_that_they_need_not_be() {
    let place = Place::new();
    let store = place.store();
    // A step that an older program can work beside, as when nodes are replaced one after the other.
    place.sql("INSERT INTO certbound.migrations VALUES (2, 'more', 1)");
    place.disconnect();
    recovers(&store).await;
    assert_eq!(place.open().unwrap().1, Opened::Existing);
    place.sql("INSERT INTO certbound.migrations VALUES (3, 'other', 3)");
    let refusal = place.refusal();
    assert!(matches!(&refusal, OpenError::Io(what) if what.contains("newer certbound")), "{refusal:?}");
    place.disconnect();
    is_unavailable(&store).await;
    place.sql("DELETE FROM certbound.migrations WHERE number = 3");
    recovers(&store).await;
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_not_used() {
    let place = Place::new();
    let store = place.store();
    let ended = token("billing", at(0));
    store.revoke(ended.jti, at(1), NEVER).await.unwrap();
    let database = Server::database(&place.url).to_owned();
    place.sql(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on"));
    place.disconnect();
    is_unavailable(&store).await;
    assert!(matches!(place.open().unwrap().1, Opened::OutOfReach(_)));
    place.sql(&format!(
        "SET transaction_read_only = off; ALTER DATABASE {database} RESET default_transaction_read_only"
    ));
    println!("back after it was read-only: {:?}", recovers(&store).await);
    store.revoke(ended.jti, at(1), NEVER).await.unwrap();
}

#[tokio::test]
async fn a_commit_is_on_disk_whatever_the_database_was_told() {
    let place = Place::new();
    drop(place.store());
    place.sql(&format!("ALTER DATABASE {} SET synchronous_commit = off", Server::database(&place.url)));
    let store = place.store();
    let shown = store.database().query("SELECT current_setting('synchronous_commit')", vec![]).await.unwrap();
    assert_eq!(shown[0].get::<_, String>(0), "on");
}

#[tokio::test]
async fn a_role_without_rights_is_told_so_and_shows_nothing() {
    let place = Place::new();
    drop(place.store());
    let role = format!("poor_{}", Server::database(&place.url));
    place.sql(&format!("CREATE ROLE {role} LOGIN"));
    let poor = Place { url: place.url.replace("postgres@", &format!("{role}:hunter2@")), ..place };
    let refusal = poor.refusal();
    assert!(matches!(&refusal, OpenError::Io(what) if what.contains("permission denied")), "{refusal:?}");
    assert!(!format!("{refusal:?} {refusal}").contains("hunter2"));
}

#[tokio::test]
async fn a_new_start_ends_every_token_issued_so_far_and_keeps_the_signing_keys() {
    let place = Place::new();
    let store = place.store();
    store.revoke(token("billing", at(0)).jti, at(1), NEVER).await.unwrap();
    place.sql(
        "INSERT INTO certbound.signing_keys VALUES ('kid', 'ES256', 1, '\\x01', NULL);
         UPDATE certbound.store SET seal = '\\x07', keys_generation = 4",
    );
    let before = fs::read_to_string(place.id_file()).unwrap();
    let moment = Store::init_forget(&place.settings(), &place.id_file(), at(0)).unwrap();
    assert!(moment >= now(), "by the clock of the database");
    assert_ne!(fs::read_to_string(place.id_file()).unwrap(), before);
    is_corrupt(&store).await;
    let (anew, opened) = place.open().unwrap();
    assert_eq!(opened, Opened::Existing);
    assert!(has_ended(&anew, &token("edge-7", moment)).await);
    let later = moment.plus(Duration::from_secs(1));
    assert!(!has_ended(&anew, &token("edge-7", later)).await);
    assert_eq!(place.sql("SELECT kid, encode(sealed, 'hex') FROM certbound.signing_keys"), "kid|01");
    assert_eq!(place.sql("SELECT encode(seal, 'hex'), keys_generation FROM certbound.store"), "07|5");
    assert_eq!(anew.check().await.unwrap().revoked_tokens, 0);
    // After any damage, as often as one likes, and where there was nothing.
    place.sql("DROP TABLE certbound.store, certbound.migrations");
    for _ in 0..2 {
        Store::init_forget(&place.settings(), &place.id_file(), at(0)).unwrap();
    }
    assert_eq!(place.open().unwrap().1, Opened::Existing);
    assert_eq!(
        place.sql("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'certbound_forgotten_%'"),
        "3"
    );
    let empty = Place::new();
    Store::init_forget(&empty.settings(), &empty.id_file(), at(0)).unwrap();
    assert_eq!(empty.open().unwrap().1, Opened::Existing);
}

#[tokio::test]
async fn the_tokens_of_a_key_that_was_removed_have_ended() {
    let place = Place::new();
    let store = place.store();
    let [removed, other] =
        ["removed", "other"].map(|kid| TokenKey { signed_by: kid.to_owned(), ..token("billing", at(0)) });
    for kid in ["removed", "other"] {
        place.sql(&format!(
            "INSERT INTO certbound.signing_keys VALUES ('{kid}', 'ES256', {}, '\\x01', NULL)",
            kid.len()
        ));
    }
    assert!(!has_ended(&store, &removed).await);
    place.sql("UPDATE certbound.signing_keys SET removed = 1700000009 WHERE kid = 'removed'");
    assert_eq!(store.standing(&removed).await, Ok(Standing::Revoked { at: at(9) }));
    assert!(!has_ended(&store, &other).await);
}

/// Decision Q: another node's clock may be ahead of this one.
#[tokio::test]
async fn the_moment_up_to_which_a_client_ends_is_the_databases_and_a_second() {
    let place = Place::new();
    let store = place.store();
    let before = now();
    let moment = store.moment(at(0)).await.unwrap();
    assert!(moment > before && moment <= now().plus(Duration::from_secs(1)), "{moment}");
    let ahead = now().plus(Duration::from_secs(60));
    assert_eq!(store.moment(ahead).await, Ok(ahead));
}

/// A node whose clock is a year ahead must not make the others forget.
#[tokio::test]
async fn nothing_is_forgotten_that_is_needed_by_the_clock_of_the_database() {
    let place = Place::new();
    let store = place.store();
    let (ended, until) = (token("billing", now()), now().plus(Duration::from_secs(30 * 3600)));
    store.revoke(ended.jti, now(), until).await.unwrap();
    store.revoke_issued_before(&client("edge-7"), now(), until).await.unwrap();
    store.roll_call(&[client("gone")].into(), now(), until).await.unwrap();
    store.roll_call(&[].into(), now(), until).await.unwrap();
    let year = now().plus(Duration::from_secs(365 * 24 * 3600));
    assert_eq!(store.forget_expired(year).await, Ok(0));
    assert!(has_ended(&store, &ended).await);
    assert!(!has_ended(&store, &token("billing", now())).await);
    assert_eq!(store.check().await.unwrap().clients, 1);
}

#[tokio::test]
async fn what_was_condemned_answers_nobody_until_it_is_absolved() {
    let place = Place::new();
    let store = place.store();
    store.database().condemn(Some("it went back in time".to_owned()));
    is_corrupt(&store).await;
    assert!(store.database().regardless().query("SELECT 1", vec![]).await.is_ok());
    store.database().condemn(None);
    recovers(&store).await;
}
