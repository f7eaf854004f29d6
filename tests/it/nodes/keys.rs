//! Signing keys in the database, as several nodes change them at once: one winner, nothing in clear, and what cannot be
//! opened leaves the keys that were.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certbound::clock::Timestamp;
use certbound::cluster::{Node, Report};
use certbound::database::Settings;
use certbound::keys::{Begin, KeysError, Schedule, SealingKey, Shared, SigningAlgorithm, SigningKeys};
use certbound::oauth::{ClientId, Jti};
use certbound::store::postgres::Postgres as Store;
use certbound::store::{Standing, TokenKey, TokenStore as _};
use tempfile::TempDir;

use crate::support::postgres::Postgres;

/// A database with a store in it, and what the nodes of one cluster have in common.
struct Cluster {
    url: String,
    sealing: [u8; 32],
    directory: TempDir,
}

impl Cluster {
    fn new() -> Self {
        let mut sealing = [0; 32];
        openssl::rand::rand_bytes(&mut sealing).unwrap();
        Self { url: Postgres::shared().fresh(), sealing, directory: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> Store {
        let settings = Settings { url: self.url.clone().into(), ca: None, pool: 4 };
        Store::open(&settings, &self.directory.path().join("store-id")).unwrap().0
    }

    /// The keys as a node has them that joins now.
    fn keys(&self) -> Shared {
        self.keys_sealed_with(self.sealing)
    }

    fn keys_sealed_with(&self, key: [u8; 32]) -> Shared {
        Shared::new(self.store().database().clone(), SealingKey::parse(&STANDARD.encode(key)).unwrap())
    }

    /// The keys, with signer and standby.
    async fn tended(&self) -> Shared {
        let keys = self.keys();
        keys.tend(&schedule()).await.unwrap();
        keys
    }

    fn sql(&self, statement: &str) -> String {
        Postgres::shared().sql(Postgres::database(&self.url), statement)
    }
}

fn schedule() -> Schedule {
    Schedule { algorithm: SigningAlgorithm::EdDsa, rotate_every: Duration::from_secs(30 * 86_400) }
}

async fn read(keys: &Shared) -> SigningKeys {
    let reading = keys.read(&SigningKeys::default()).await.unwrap();
    assert!(reading.errors.is_empty(), "{:?}", reading.errors);
    reading.keys
}

fn kids(keys: &SigningKeys) -> Vec<String> {
    keys.all().iter().map(|key| key.id().to_string()).collect()
}

fn now(cluster: &Cluster) -> Timestamp {
    Timestamp::from_unix(
        cluster.sql("SELECT floor(extract(epoch FROM clock_timestamp()))::bigint").parse().unwrap(),
    )
}

/// Does the same on every node at once.
async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    nodes: &[Shared],
    act: impl Fn(Shared) -> F,
) -> Vec<T> {
    let mut tasks = tokio::task::JoinSet::new();
    for keys in nodes {
        tasks.spawn(act(keys.clone()));
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_at_once_make_one_signer_and_one_standby() {
    let cluster = Cluster::new();
    let nodes: Vec<_> = (0..6).map(|_| cluster.keys()).collect();
    for tended in at_once(&nodes, |keys| async move { keys.tend(&schedule()).await }).await {
        tended.unwrap();
    }
    let mut seen = BTreeSet::new();
    for keys in &nodes {
        seen.insert(kids(&read(keys).await));
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen.first().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_rotate_at_the_same_moment_have_one_winner() {
    let cluster = Cluster::new();
    let standby = kids(&read(&cluster.tended().await).await).remove(1);
    let nodes: Vec<_> = (0..6).map(|_| cluster.keys()).collect();
    let rotate = |keys: Shared| async move { keys.rotate(&schedule(), Begin::Published).await };
    for changed in at_once(&nodes, rotate).await {
        assert_eq!(changed.unwrap().kid.as_str(), standby, "the one that was published already");
    }
    assert_eq!(cluster.sql("SELECT count(*) FROM certbound.signing_keys"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_to_be_in_force_at_once_come_one_after_the_other_and_none_is_lost() {
    let cluster = Cluster::new();
    cluster.tended().await;
    cluster.sql("UPDATE certbound.signing_keys SET signs_from = signs_from - 3600");
    let nodes: Vec<_> = (0..4).map(|_| cluster.keys()).collect();
    let rotate = |keys: Shared| async move { keys.rotate(&schedule(), Begin::Now).await };
    let changed: BTreeSet<_> =
        at_once(&nodes, rotate).await.into_iter().map(|changed| changed.unwrap().kid).collect();
    let keys = read(&cluster.keys()).await;
    let signer = keys.signer(now(&cluster)).unwrap().id().clone();
    assert!(!changed.is_empty() && keys.all().len() > changed.len(), "{changed:?} {keys:?}");
    assert!(changed.contains(&signer), "one that somebody was told of signs");
    let begins: BTreeSet<_> = keys.all().iter().map(|key| key.signs_from()).collect();
    assert_eq!(begins.len(), keys.all().len(), "one second has one signer");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_a_revoked_key_have_ended_with_the_commit_and_the_standby_signs() {
    let cluster = Cluster::new();
    let (keys, store) = (cluster.tended().await, cluster.store());
    let [signer, standby] = kids(&read(&keys).await).try_into().unwrap();
    let token = |kid: &str| TokenKey {
        jti: Jti::fresh().unwrap(),
        client: ClientId::parse("billing").unwrap(),
        issued_at: now(&cluster),
        signed_by: kid.to_owned(),
    };
    assert_eq!(store.standing(&token(&signer)).await.unwrap(), Standing::Good);
    let changed = keys.revoke(&signer, &schedule()).await.unwrap().unwrap();
    assert!(changed.unconfirmed.is_empty());
    assert!(matches!(store.standing(&token(&signer)).await.unwrap(), Standing::Revoked { .. }));
    assert_eq!(store.standing(&token(&standby)).await.unwrap(), Standing::Good);
    let after = read(&keys).await;
    assert_eq!(after.signer(now(&cluster)).unwrap().id().as_str(), standby);
    assert!(after.all().len() == 2 && !kids(&after).contains(&signer), "and has a standby itself");
    assert_eq!(keys.revoke("unknown", &schedule()).await.unwrap(), None);
    assert!(keys.revoke(&signer, &schedule()).await.unwrap().is_some(), "twice does no harm");
    let left = cluster.sql("SELECT length(sealed) FROM certbound.signing_keys WHERE removed IS NOT NULL");
    assert_eq!(left, "0", "its private half is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sealing_key_is_named_changes_nothing_and_leaves_the_keys_that_were() {
    let cluster = Cluster::new();
    let before = read(&cluster.tended().await).await;
    let other = cluster.keys_sealed_with([7; 32]);
    let reading = other.read(&before).await.unwrap();
    assert_eq!(kids(&reading.keys), kids(&before), "old keys stay");
    let told = reading.errors[0].to_string();
    assert!(told.contains("sealing key") && !told.contains(&STANDARD.encode([7; 32])), "{told}");
    for refused in [
        other.tend(&schedule()).await.err(),
        other.rotate(&schedule(), Begin::Now).await.err(),
        other.revoke(&kids(&before)[0], &schedule()).await.err(),
    ] {
        assert!(matches!(refused, Some(KeysError::Fault(_))), "{refused:?}");
    }
    assert_eq!(kids(&read(&cluster.keys()).await), kids(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_key_and_one_put_under_another_kid_are_named_and_the_old_ones_stay() {
    let cluster = Cluster::new();
    let keys = cluster.tended().await;
    let before = read(&keys).await;
    let [signer, standby] = kids(&before).try_into().unwrap();
    cluster.sql(&format!(
        "UPDATE certbound.signing_keys SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1) WHERE kid = '{signer}'"
    ));
    let reading = keys.read(&before).await.unwrap();
    assert_eq!(kids(&reading.keys), kids(&before), "old keys stay");
    assert!(reading.errors.len() == 1 && reading.errors[0].file.contains(&signer), "{:?}", reading.errors);
    let fresh = keys.read(&SigningKeys::default()).await.unwrap();
    assert_eq!(kids(&fresh.keys), [standby.as_str()], "whoever starts now has the other");

    cluster.sql(&format!(
        "UPDATE certbound.signing_keys SET sealed = (SELECT sealed FROM certbound.signing_keys WHERE kid = '{standby}')
         WHERE kid = '{signer}'"
    ));
    let reading = keys.read(&before).await.unwrap();
    assert_eq!(kids(&reading.keys), kids(&before));
    assert!(reading.errors[0].what.contains("another kid"), "{:?}", reading.errors);
    // It can be removed all the same.
    assert!(keys.revoke(&signer, &schedule()).await.unwrap().is_some());
    assert_eq!(read(&keys).await.all().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_is_nowhere_in_the_database_in_clear() {
    let cluster = Cluster::new();
    let keys = cluster.tended().await;
    let own = openssl::pkey::PKey::generate_ed25519().unwrap();
    let pem = own.private_key_to_pem_pkcs8().unwrap();
    let imported = keys.import(&pem, &schedule()).await.unwrap();
    assert!(kids(&read(&keys).await).contains(&imported.kid.to_string()));
    let everything =
        cluster.sql("SELECT t::text FROM certbound.signing_keys t; SELECT t::text FROM certbound.store t");
    let private = own.raw_private_key().unwrap();
    let hex =
        cluster.sql(&format!("SELECT encode(decode('{}', 'base64'), 'hex')", STANDARD.encode(&private)));
    assert!(everything.contains(imported.kid.as_str()));
    assert!(!everything.contains(&hex[..16]) && !everything.contains(&STANDARD.encode(&private)[..16]));
    let again = keys.import(&pem, &schedule()).await.unwrap_err();
    assert!(again.to_string().contains("already"), "{again}");
    keys.revoke(imported.kid.as_str(), &schedule()).await.unwrap();
    let again = keys.import(&pem, &schedule()).await.unwrap_err();
    assert!(again.to_string().contains("revoked"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_live_node_lacks_does_not_begin_but_a_stolen_one_goes_and_the_node_is_named() {
    let cluster = Cluster::new();
    let keys = cluster.tended().await;
    let signer = kids(&read(&keys).await).remove(0);
    // A node that lives and never says that it has read the keys.
    let mut node = Node::new(cluster.store().database(), [9; 16], "deaf");
    node.beat(&Report::default()).await.unwrap();
    let lives = async {
        loop {
            node.beat(&Report::default()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let acts = async {
        let refused = keys.rotate(&schedule(), Begin::Now).await.unwrap_err();
        assert!(refused.to_string().contains("deaf/09090909"), "{refused}");
        let changed = keys.revoke(&signer, &schedule()).await.unwrap().unwrap();
        assert_eq!(changed.unconfirmed, ["deaf/09090909"]);
    };
    tokio::select! {
        () = lives => {},
        () = acts => {},
    }
    assert!(!kids(&read(&keys).await).contains(&signer));
    node.leave().await.unwrap();
    assert!(keys.rotate(&schedule(), Begin::Now).await.is_ok(), "nobody lacks it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_hears_of_the_others_until_they_leave() {
    let cluster = Cluster::new();
    let store = Arc::new(cluster.store());
    let mut nodes = [1_u8, 2, 3].map(|id| Node::new(store.database(), [id; 16], "host"));
    let report = |hash: &str| Report { config_hash: hash.to_owned(), ..Report::default() };
    for (node, hash) in nodes.iter_mut().zip(["a", "a", "b"]) {
        node.beat(&report(hash)).await.unwrap();
    }
    let [first, second, third] = &mut nodes;
    let heard = first.beat(&report("a")).await.unwrap();
    let others: Vec<_> =
        heard.others.iter().map(|other| (other.name.as_str(), other.config_hash.as_str())).collect();
    assert_eq!(others, [("host/02020202", "a"), ("host/03030303", "b")]);
    assert!((heard.database_millis / 1000 - now(&cluster).as_unix()).abs() <= 1);
    third.leave().await.unwrap();
    cluster.sql("UPDATE certbound.nodes SET seen = seen - 16 WHERE name = 'host/02020202'");
    assert_eq!(
        first.beat(&report("a")).await.unwrap().others,
        [],
        "one has left, one was not heard for 15 s"
    );
    second.beat(&report("a")).await.unwrap();
    assert_eq!(first.beat(&report("a")).await.unwrap().others.len(), 1, "and is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_went_back_in_time_is_found_out_until_it_is_the_right_one_again() {
    let cluster = Cluster::new();
    let store = cluster.store();
    let mut node = Node::new(store.database(), [1; 16], "host");
    let report = Report::default();
    for _ in 0..5 {
        node.beat(&report).await.unwrap();
    }
    cluster
        .sql("CREATE TABLE now AS SELECT * FROM certbound.nodes; UPDATE certbound.nodes SET beat = beat - 3");
    for _ in 0..6 {
        let refused = node.beat(&report).await.unwrap_err();
        assert!(refused.to_string().contains("back in time"), "{refused}");
    }
    cluster.sql("DELETE FROM certbound.nodes");
    assert!(node.beat(&report).await.is_err(), "gone altogether");
    cluster.sql("INSERT INTO certbound.nodes SELECT * FROM now");
    assert!(node.beat(&report).await.is_ok());
}
