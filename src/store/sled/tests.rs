//! What the embedded store adds to the contract of every store: its files, its errors, its forgetting.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::time::Instant;

use ::sled::Db;
use tempfile::TempDir;

use super::format::{Entry, SCHEMA};
use super::*;
use crate::store::record::KEPT;

/// A directory for a store and its id file.
pub(super) struct Place(TempDir);

impl Place {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn id_file(&self) -> PathBuf {
        self.0.path().join("keys/store-id")
    }

    fn open(&self) -> Result<(Sled, Opened), OpenError> {
        Sled::open(&self.data(), &self.id_file())
    }

    pub(super) fn store(&self) -> Sled {
        self.open().unwrap().0
    }

    fn refusal(&self) -> OpenError {
        self.open().map(|(_, opened)| opened).unwrap_err()
    }

    pub(super) fn import(&self, lines: &str) -> Result<u64, OpenError> {
        Sled::import(&self.data(), &self.id_file(), &mut lines.as_bytes())
    }

    /// Changes the database behind the store's back, as damage that sled does not notice.
    pub(super) fn tamper(&self, change: impl FnOnce(&Db)) {
        let db = loop {
            // A store that was just dropped holds its lock for a moment.
            match ::sled::open(self.data()) {
                Ok(db) => break db,
                Err(_) => std::thread::yield_now(),
            }
        };
        change(&db);
        db.flush().unwrap();
    }

    pub(super) fn copy(&self) -> Self {
        let copy = Self::new();
        fs::create_dir_all(copy.data().join("blobs")).unwrap();
        fs::create_dir_all(copy.id_file().parent().unwrap()).unwrap();
        fs::copy(self.id_file(), copy.id_file()).unwrap();
        for file in plain_files(&self.data()).unwrap() {
            fs::copy(&file, copy.data().join(file.file_name().unwrap())).unwrap();
        }
        copy
    }
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds)
}

pub(super) fn client(name: &str) -> ClientId {
    ClientId::parse(name).unwrap()
}

pub(super) fn jti(number: u16) -> Jti {
    Jti::from_bytes(std::array::from_fn(|place| number.to_be_bytes()[place % 2]))
}

pub(super) async fn is_good(store: &Sled, number: u16, issued_at: i64) -> bool {
    let token = TokenKey {
        jti: jti(number),
        client: client("billing"),
        issued_at: at(issued_at),
        signed_by: String::new(),
    };
    store.standing(&token).await.unwrap() == Standing::Good
}

pub(super) async fn revoke(store: &Sled, numbers: std::ops::Range<u16>) {
    for number in numbers {
        store.revoke(jti(number), at(1_000), at(2_000)).await.unwrap();
    }
}

pub(super) fn export(store: &Sled) -> String {
    let mut lines = Vec::new();
    store.export(&mut lines).unwrap();
    String::from_utf8(lines).unwrap()
}

fn assert_damaged(place: &Place, what: &str) {
    let refusal = place.refusal();
    assert!(matches!(refusal, OpenError::Damaged(_)) && refusal.to_string().contains(what), "{refusal:?}");
}

#[tokio::test]
async fn a_store_is_made_once_for_its_owner_alone_and_found_again() {
    let place = Place::new();
    let (store, opened) = place.open().unwrap();
    assert_eq!(opened, Opened::Created);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.data()), 0o700);
    revoke(&store, 1..2).await;
    drop(store);
    let (store, opened) = place.open().unwrap();
    assert_eq!(opened, Opened::Existing);
    assert!(!is_good(&store, 1, 1_000).await && is_good(&store, 2, 1_000).await);
    for file in plain_files(&place.data()).unwrap() {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(store.path(), &place.data());
}

#[test]
fn a_store_whose_id_file_is_gone_is_adopted() {
    let place = Place::new();
    let id = place.store().check().unwrap().id;
    fs::remove_file(place.id_file()).unwrap();
    assert_eq!(place.open().unwrap().1, Opened::Adopted);
    assert_eq!(fs::read_to_string(place.id_file()).unwrap().trim(), id);
    assert_eq!(place.open().unwrap().1, Opened::Existing);
}

#[test]
fn a_vanished_store_is_not_made_anew() {
    let place = Place::new();
    drop(place.store());
    fs::remove_dir_all(place.data()).unwrap();
    assert_damaged(&place, "vanished");
    assert!(!place.data().exists());
}

#[test]
fn an_emptied_store_is_not_made_anew() {
    let place = Place::new();
    drop(place.store());
    OpenOptions::new().write(true).open(database(&place.data())).unwrap().set_len(0).unwrap();
    assert_damaged(&place, "");
    for file in plain_files(&place.data()).unwrap() {
        fs::remove_file(file).unwrap();
    }
    assert_damaged(&place, "vanished");
    fs::write(database(&place.data()), "").unwrap();
    assert_damaged(&place, "it is empty");
}

#[test]
fn another_store_in_its_place_is_refused() {
    let (place, other) = (Place::new(), Place::new());
    drop((place.store(), other.store()));
    fs::remove_dir_all(place.data()).unwrap();
    fs::rename(other.data(), place.data()).unwrap();
    assert_damaged(&place, "names store");
    fs::write(place.id_file(), "").unwrap();
    assert_damaged(&place, "holds no store id");
}

#[test]
fn a_second_process_is_told_that_the_store_is_held() {
    let place = Place::new();
    let store = place.store();
    for refusal in
        [place.refusal(), Sled::init_forget(&place.data(), &place.id_file(), at(1_000)).unwrap_err()]
    {
        assert!(matches!(refusal, OpenError::Held(_)), "{refusal:?}");
        assert!(refusal.to_string().contains(place.data().to_str().unwrap()));
    }
    drop(store);
    assert_eq!(place.open().unwrap().1, Opened::Existing);
}

#[test]
fn a_store_of_a_newer_program_is_refused_by_its_format() {
    let place = Place::new();
    drop(place.store());
    place.tamper(|db| drop(db.insert(format::HEAD, &(SCHEMA + 1).to_be_bytes()).unwrap()));
    let refusal = place.refusal();
    assert!(matches!(&refusal, OpenError::Io(what) if what.contains("format 2")), "{refusal:?}");
}

#[tokio::test]
async fn an_entry_that_was_lost_changed_or_brought_back_is_noticed() {
    let whole = Place::new();
    let store = whole.store();
    revoke(&store, 1..20).await;
    drop(store);
    let key = format::token_key(&jti(7));
    let tampered: [fn(&Db, &[u8]); 5] = [
        |db, key| drop(db.remove(key).unwrap()),
        |db, key| drop(db.insert(key, &[0; 16]).unwrap()),
        |db, key| drop(db.insert(key, b"short").unwrap()),
        |db, _| drop(db.insert(format::token_key(&jti(99)), &[0; 16]).unwrap()),
        |db, _| drop(db.pop_max().unwrap()), // the order of forgetting
    ];
    for tamper in tampered {
        let place = whole.copy();
        place.tamper(|db| tamper(db, &key));
        assert_damaged(&place, "");
    }
}

#[tokio::test]
async fn check_notices_damage_in_an_open_store() {
    let place = Place::new();
    let store = place.store();
    revoke(&store, 1..4).await;
    store.revoke_issued_before(&client("billing"), at(5), at(6)).await.unwrap();
    store.roll_call(&[client("billing")].into(), at(5), at(6)).await.unwrap();
    let report = store.check().unwrap();
    assert_eq!((report.revoked_tokens, report.revoked_clients, report.clients), (3, 1, 1));
    store.shared.read(|db| db.remove(format::token_key(&jti(2))).map_err(failed)).unwrap();
    assert!(matches!(store.check(), Err(StoreError::Corrupt { .. })));
}

/// Damage of every kind to the files of a store: it opens with everything that was acknowledged, or not.
#[tokio::test]
async fn a_damaged_store_never_opens_with_less() {
    let whole = Place::new();
    let store = whole.store();
    revoke(&store, 0..900).await;
    drop(store);
    let size = fs::metadata(database(&whole.data())).unwrap().len();
    let mut refused = 0;
    for round in 0..24_u64 {
        let place = whole.copy();
        let spot = size * (round + 1) / 25;
        let file = OpenOptions::new().read(true).write(true).open(database(&place.data())).unwrap();
        match round % 3 {
            0 => file.set_len(spot).unwrap(),
            1 => file.write_all_at(&[0; 4096], spot).unwrap(),
            _ => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, spot).unwrap();
                file.write_all_at(&[byte[0] ^ 1], spot).unwrap();
            }
        }
        let start = Instant::now();
        match place.open() {
            Ok((store, _)) => {
                assert_ne!(round % 3, 0, "cut off at {spot} of {size}");
                for number in 0..900 {
                    assert!(!is_good(&store, number, 1_000).await, "token {number}, damage at {spot}");
                }
            }
            Err(OpenError::Damaged(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        assert!(start.elapsed() < PATIENCE + Duration::from_secs(2));
    }
    assert!(refused >= 8, "{refused}");
}

#[tokio::test]
async fn sleds_other_files_may_be_damaged_too() {
    let whole = Place::new();
    let store = whole.store();
    revoke(&store, 0..50).await;
    drop(store);
    drop(whole.store()); // leaves a snapshot that is used
    for file in plain_files(&whole.data()).unwrap() {
        let name = file.file_name().unwrap();
        for damage in [&b""[..], b"x", &[0xFF; 64]] {
            let place = whole.copy();
            fs::write(place.data().join(name), damage).unwrap();
            if let Ok((store, _)) = place.open() {
                for number in 0..50 {
                    assert!(!is_good(&store, number, 1_000).await, "{name:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_snapshot_that_was_cut_short_is_no_damage() {
    let place = Place::new();
    revoke(&place.store(), 1..2).await;
    fs::write(place.data().join("snap.FFFFFFFFFFFFFFFF.generating"), "half").unwrap();
    assert!(!is_good(&place.store(), 1, 1_000).await);
}

#[tokio::test]
async fn where_a_batch_was_on_its_way_the_database_is_written_again() {
    use std::os::unix::fs::MetadataExt as _;
    let place = Place::new();
    revoke(&place.store(), 1..2).await;
    let file = || fs::metadata(database(&place.data())).unwrap().ino();
    let before = file();
    drop(place.store());
    assert_eq!(file(), before, "nothing was on its way");
    identity::Acknowledged::open(&place.data()).unwrap().doubt().unwrap();
    let store = place.store();
    assert_ne!(file(), before);
    revoke(&store, 2..3).await;
    drop(store);
    let store = place.store();
    assert!(!is_good(&store, 1, 1_000).await && !is_good(&store, 2, 1_000).await);
}

#[tokio::test]
async fn writes_that_come_together_share_a_batch() {
    let place = Place::new();
    let store = Arc::new(place.store());
    let mut together = tokio::task::JoinSet::new();
    for number in 0..256 {
        let store = Arc::clone(&store);
        together.spawn(async move { store.revoke(jti(number), at(1_000), at(2_000)).await });
    }
    for outcome in together.join_all().await {
        outcome.unwrap();
    }
    assert!(store.batches() < 64, "{} batches", store.batches());
    let before = store.batches();
    store.revoke(jti(3), at(1_500), at(2_000)).await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(store.batches(), before, "what changes nothing costs no fsync");
}

#[tokio::test]
async fn a_directory_that_is_taken_away_stops_writes_until_it_is_back() {
    let place = Place::new();
    let store = place.store();
    revoke(&store, 1..2).await;
    let elsewhere = place.0.path().join("elsewhere");
    fs::rename(place.data(), &elsewhere).unwrap();
    for outcome in [store.revoke(jti(2), at(1_000), at(2_000)).await, store.ping().await] {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    assert!(!is_good(&store, 1, 1_000).await && is_good(&store, 2, 1_000).await);
    fs::rename(elsewhere, place.data()).unwrap();
    revoke(&store, 2..3).await;
    drop(store);
    assert!(!is_good(&place.store(), 2, 1_000).await);
}

#[tokio::test]
async fn an_entry_is_forgotten_when_nobody_can_need_it_and_not_a_second_before() {
    let place = Place::new();
    let store = place.store();
    let long = at(1_000).plus(KEPT).plus(Duration::from_secs(500));
    store.revoke(jti(1), at(1_000), at(1_300)).await.unwrap();
    store.revoke(jti(2), at(1_000), long).await.unwrap();
    let due = at(1_000).plus(KEPT);
    assert_eq!(store.forget_expired(due.minus(Duration::from_secs(1))).await, Ok(0));
    assert_eq!(store.forget_expired(due).await, Ok(1));
    assert_eq!(store.forget_expired(long.minus(Duration::from_secs(1))).await, Ok(0));
    // Put off by a later call.
    store.revoke(jti(2), at(1_000), long.plus(Duration::from_secs(1))).await.unwrap();
    assert_eq!(store.forget_expired(long).await, Ok(0));
    assert_eq!(store.forget_expired(long.plus(Duration::from_secs(1))).await, Ok(1));
    assert_eq!(store.check().unwrap().revoked_tokens, 0);
}

#[tokio::test]
async fn thousands_are_forgotten_and_the_store_stays_sound() {
    let place = Place::new();
    let store = Arc::new(place.store());
    let mut all = tokio::task::JoinSet::new();
    for number in 0..2_500 {
        let store = Arc::clone(&store);
        all.spawn(async move { store.revoke(jti(number), at(1_000), at(2_000)).await });
    }
    assert!(all.join_all().await.iter().all(Result::is_ok));
    store.revoke(jti(9_999), at(500_000), at(500_001)).await.unwrap();
    assert_eq!(store.forget_expired(at(300_000)).await, Ok(2_500));
    assert_eq!(store.check().unwrap().revoked_tokens, 1);
    assert!(is_good(&store, 9_998, 1_001).await && !is_good(&store, 1, 1_000).await);
    drop(store);
    let store = place.store();
    assert!(!is_good(&store, 9_999, 500_000).await && !is_good(&store, 1, 1_000).await);
}

#[tokio::test]
async fn a_client_that_is_gone_for_long_is_forgotten_and_its_tokens_stay_ended() {
    let place = Place::new();
    let store = place.store();
    let both = [client("billing"), client("edge-7")].into();
    store.roll_call(&both, at(1_000), at(2_000)).await.unwrap();
    store.roll_call(&[client("edge-7")].into(), at(1_100), at(2_000)).await.unwrap();
    assert_eq!(store.forget_expired(at(1_100).plus(KEPT)).await, Ok(1));
    assert_eq!(store.check().unwrap().clients, 1);
    // The clock was wrong: it is still the same day, and the client comes back.
    assert_eq!(store.roll_call(&both, at(1_103), at(2_000)).await, Ok(vec![]));
    assert!(!is_good(&store, 1, 1_050).await && is_good(&store, 1, 1_103).await);
}

#[tokio::test]
async fn a_new_start_ends_every_token_issued_so_far_and_keeps_the_old_files_aside() {
    let place = Place::new();
    let store = place.store();
    let old = store.check().unwrap().id;
    revoke(&store, 1..2).await;
    drop(store);
    for now in [5_000, 5_000, 6_000] {
        Sled::init_forget(&place.data(), &place.id_file(), at(now)).unwrap();
    }
    let (store, opened) = place.open().unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_ne!(store.check().unwrap().id, old);
    assert!(!is_good(&store, 2, 6_000).await && is_good(&store, 2, 6_001).await);
    assert!(database(&place.data().join("forgotten-19700101T012320Z-2")).exists());
}

#[test]
fn a_new_start_is_possible_after_any_damage_and_where_there_was_nothing() {
    let place = Place::new();
    Sled::init_forget(&place.data(), &place.id_file(), at(1)).unwrap();
    fs::write(database(&place.data()), vec![7; 1 << 20]).unwrap();
    assert!(place.open().is_err());
    Sled::init_forget(&place.data(), &place.id_file(), at(2)).unwrap();
    assert_eq!(place.open().unwrap().1, Opened::Existing);
    fs::remove_dir_all(place.data()).unwrap();
    Sled::init_forget(&place.data(), &place.id_file(), at(3)).unwrap();
    assert_eq!(place.open().unwrap().1, Opened::Existing);
}

#[tokio::test]
async fn an_export_is_imported_whole_under_its_id() {
    let place = Place::new();
    Sled::init_forget(&place.data(), &place.id_file(), at(100)).unwrap();
    let store = place.store();
    revoke(&store, 0..1_200).await;
    store.revoke_issued_before(&client("edge 7/\"x\""), at(700), at(800)).await.unwrap();
    store.roll_call(&[client("a"), client("b")].into(), at(5), at(6)).await.unwrap();
    store.roll_call(&[client("a")].into(), at(7), at(8)).await.unwrap();
    let lines = export(&store);
    let id = store.check().unwrap().id;
    assert!(lines.starts_with(&format!("{{\"store_id\":\"{id}\",\"format\":1}}\n")), "{lines}");
    assert!(lines.ends_with("{\"records\":1203}\n"));

    let other = Place::new();
    assert_eq!(other.import(&lines).unwrap(), 1_203);
    let (copy, opened) = other.open().unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(copy.check(), store.check());
    assert_eq!(export(&copy), lines);
    assert!(!is_good(&copy, 1_199, 1_000).await && !is_good(&copy, 5_000, 100).await);
    assert_eq!(copy.forget_expired(at(1_000).plus(KEPT)).await, Ok(1_202));
}

#[test]
fn an_import_makes_a_new_store_or_nothing() {
    let place = Place::new();
    let store = place.store();
    let lines = export(&store);
    drop(store);
    let refused = |outcome: Result<u64, OpenError>, why: &str| {
        let refusal = outcome.unwrap_err();
        assert!(matches!(&refusal, OpenError::Io(what) if what.contains(why)), "{refusal:?}");
    };
    refused(place.import(&lines), "not empty");
    let other = Place::new();
    drop(other.store());
    fs::remove_dir_all(other.data()).unwrap();
    refused(other.import(&lines), "names another");
    let id = "{\"store_id\":\"00112233445566778899aabbccddeeff\",\"format\":1}\n";
    for (lines, why) in [
        ("", "nothing"),
        ("{}\n", "line 1"),
        (&id.replace(":1}", ":2}"), "format is 2"),
        (id, "ends early"),
        (&format!("{id}{{\"records\":1}}\n"), "1 records were exported, here are 0"),
        (&format!("{id}{{\"records\":0}}\n{{\"records\":0}}\n"), "line 3"),
        (&format!("{id}{{\"revoked_token\":{{\"jti\":\"x\",\"at\":1,\"until\":2}}}}\n"), "line 2"),
        (&format!("{id}{{\"unknown\":1}}\n"), "line 2"),
    ] {
        let empty = Place::new();
        refused(empty.import(lines), why);
        assert!(!empty.data().exists() && !empty.id_file().exists(), "{why}");
    }
}

#[test]
fn an_import_that_was_cut_short_is_no_store() {
    let place = Place::new();
    drop(make(&place.data(), StoreId::UNFINISHED, None).unwrap());
    assert_damaged(&place, "not finished");
}

#[test]
fn the_records_of_one_name_differ_by_kind() {
    let mark = Mark { at: at(1), until: at(2) };
    let name = client("billing");
    let (one, two) = (Entry::Client(name.clone(), mark), Entry::Presence(name, None));
    assert_ne!(one.key(), two.key());
}
