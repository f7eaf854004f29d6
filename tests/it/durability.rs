//! A revocation that was answered is never lost: not to kill -9, not to SIGTERM, not to a damaged, vanished or full
//! store. All of it on the built program, because a process that is killed cannot be simulated inside of one.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::program::{Serving, complaint, json};
use crate::support::server::eventually;
use crate::support::{Connection, Response, Setup, Shown};

#[test]
fn a_revocation_that_was_answered_outlives_kill_9_fifty_times() {
    let place = Place::new();
    let mut serving = place.start();
    let (mut ended, mut living) = (Vec::new(), Vec::new());
    for round in 1..=50 {
        let mut talk = place.talk(&serving);
        let (token, sister) = (talk.token(), talk.token());
        let answer = talk.revoke(&token);
        serving.kill();
        assert_eq!(answer.unwrap().status, 200);
        serving = place.start();
        let mut talk = place.talk(&serving);
        assert!(!talk.is_active(&token), "round {round} lost a revocation");
        assert!(talk.is_active(&sister), "round {round} lost a token");
        ended.push(token);
        living.push(sister);
    }
    let mut talk = place.talk(&serving);
    assert!(!ended.iter().any(|token| talk.is_active(token)), "a later round lost an earlier revocation");
    assert!(living.iter().all(|token| talk.is_active(token)), "a later round lost an earlier token");
    let checked = json(0, place.path(), &["store", "check"]);
    assert_eq!(checked["revoked_tokens"], 50);
    serving.kill();
    assert_eq!(json(0, place.path(), &["store", "check"]), checked, "with the socket of the dead beside it");
}

#[test]
fn whenever_it_is_killed_every_answered_revocation_holds() {
    let place = Place::new();
    let mut serving = place.start();
    for round in 1..=10 {
        let load = Load::default();
        let enough = 1 + random() % 60;
        let talks: Vec<_> = (0..4).map(|_| place.talk(&serving)).collect();
        let workers = thread::scope(|scope| {
            let workers: Vec<_> = talks.into_iter().map(|talk| scope.spawn(|| load.work(talk))).collect();
            eventually("some revocations", || load.answered() >= enough);
            // By its id, so that the connections may stay with their threads.
            let killed = Command::new("sh").args(["-c", "kill -KILL \"$0\"", &serving.id()]).status();
            assert!(killed.unwrap().success());
            workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(serving.ends(), None, "it did not end by the signal");
        serving = place.start();
        let mut talk = place.talk(&serving);
        for Worked { sister, ended } in workers {
            let lost = ended.iter().filter(|token| talk.is_active(token)).count();
            assert_eq!(lost, 0, "of {} in round {round}", ended.len());
            assert!(talk.is_active(&sister), "round {round} ended a token that nobody had revoked");
        }
    }
}

#[test]
fn sigterm_lets_what_is_in_flight_finish_and_loses_nothing() {
    let place = Place::new();
    let mut serving = place.start();
    let mut slow = place.talk(&serving);
    let token = slow.token();
    let body = format!("client_id=billing&token={token}");
    let head = format!(
        "POST /revoke HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let load = Load::default();
    let talks: Vec<_> = (0..4).map(|_| place.talk(&serving)).collect();
    let (workers, took) = thread::scope(|scope| {
        let workers: Vec<_> = talks.into_iter().map(|talk| scope.spawn(|| load.work(talk))).collect();
        eventually("some revocations", || load.answered() >= 20);
        slow.billing.send(&[head.as_bytes(), &body.as_bytes()[..30]].concat()).unwrap();
        let so_far = load.answered();
        eventually("the server has had time to read it", || load.answered() >= so_far + 40);
        let told = Instant::now();
        serving.terminate();
        eventually("nothing new is taken", || TcpStream::connect(serving.address()).is_err());
        slow.billing.send(&body.as_bytes()[30..]).unwrap();
        assert_eq!(slow.billing.receive().unwrap().status, 200, "what was in flight was not answered");
        drop(slow);
        assert_eq!(serving.ends(), Some(0));
        (workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>(), told.elapsed())
    });
    assert!(took < Duration::from_secs(10), "it took {took:?} to end");
    let serving = place.start();
    let mut talk = place.talk(&serving);
    assert!(!talk.is_active(&token));
    for Worked { sister, ended } in workers {
        assert!(!ended.iter().any(|token| talk.is_active(token)));
        assert!(talk.is_active(&sister));
    }
}

#[test]
fn a_store_that_lost_something_is_refused_and_never_served_as_an_empty_one() {
    let store = Whole::new();
    let other = Whole::new();
    let data = store.place.path().join("data");
    store.refuses("the directory is gone", || fs::remove_dir_all(&data).unwrap());
    store.refuses("the directory is empty", || {
        fs::remove_dir_all(&data).unwrap();
        fs::create_dir(&data).unwrap();
    });
    store.refuses("the database is gone", || fs::remove_file(data.join("db")).unwrap());
    store.refuses("the database is empty", || database(&data).set_len(0).unwrap());
    store.refuses("the second half is gone", || database(&data).set_len(used(&data) / 2).unwrap());
    // What was written last may be what was seen, which no start depends on; then every revocation is there.
    store.restore();
    database(&data).set_len(used(&data) - 1).unwrap();
    store.is_refused_or_whole("the last byte is gone");
    store.refuses("it is another store", || {
        fs::remove_dir_all(&data).unwrap();
        copy(&other.aside, &data);
    });
    store.refuses("the id file is empty", || store.place.setup.write("keys/store-id", ""));
    let id = store.id.clone();
    store.place.setup.write("keys/store-id", id);
    store.starts("nothing was done to it");
}

#[test]
fn a_store_with_a_flipped_bit_is_refused_or_whole() {
    let store = Whole::new();
    let data = store.place.path().join("data");
    let used = used(&data);
    for copy in 0..12 {
        store.restore();
        // One in every twelfth of what is used, somewhere in it.
        let at = used * copy / 12 + random() as u64 % (used / 12);
        let bit = random() % 8;
        let mut file = database(&data);
        let mut byte = [0];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[byte[0] ^ (1 << bit)]).unwrap();
        store.is_refused_or_whole(&format!("bit {bit} of byte {at} of {used}"));
    }
}

#[test]
fn a_second_process_on_the_same_store_is_told_which_store_it_is() {
    let place = Place::new();
    let serving = place.start();
    let complaint = complaint(1, place.path(), &["serve"]);
    assert!(complaint.contains("the store at data is held by another process"), "{complaint}");
    assert_eq!(json(0, place.path(), &["store", "check"])["revoked_tokens"], 0, "the first one is at work");
    let mut talk = place.talk(&serving);
    let token = talk.token();
    assert_eq!(talk.revoke(&token).unwrap().status, 200);
    assert!(!talk.is_active(&token));
}

#[test]
fn while_the_disk_is_full_tokens_are_issued_and_revocations_are_refused_with_503() {
    let place = Place::new();
    place.start().stop();
    // As on a full disk, files of this process cannot grow while the limit holds; it is told so and not killed.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" serve", env!("CARGO_BIN_EXE_certbound")]);
    let serving = Serving::run(command.current_dir(place.path()), place.path()).unwrap();
    let limit = |bytes: &str| {
        let set = [format!("--fsize={bytes}:unlimited"), format!("--pid={}", serving.id())];
        Command::new("prlimit").args(set).status().is_ok_and(|status| status.success())
    };
    if !limit("unlimited") {
        return; // not on every system
    }
    let mut talk = place.talk(&serving);
    let (before, during) = (talk.token(), talk.token());
    assert_eq!(talk.revoke(&before).unwrap().status, 200);

    assert!(limit("64"));
    for _ in 0..2 {
        let answer = talk.revoke(&during).unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
    }
    let issued = talk.token();
    assert!(!talk.is_active(&before), "what was acknowledged holds");
    assert!(talk.is_active(&issued));

    assert!(limit("unlimited"));
    eventually("the store works again", || talk.revoke(&during).unwrap().status == 200);
    assert!(!talk.is_active(&before) && !talk.is_active(&during) && talk.is_active(&issued));
    drop(talk);
    serving.kill();
    let serving = place.start();
    let mut talk = place.talk(&serving);
    assert!(!talk.is_active(&before) && !talk.is_active(&during) && talk.is_active(&issued));
}

/// A set-up on disk that the program is started on again and again.
struct Place {
    setup: Setup,
    billing: Shown,
    gateway: Shown,
}

/// The connections of the two who act on it.
struct Talk {
    billing: Connection,
    gateway: Connection,
}

impl Place {
    fn new() -> Self {
        let setup = Setup::new();
        // Longer than any of these tests takes on any machine.
        setup.client("billing", "tls_client_auth_san_dns: billing.example.com\naccess_token_lifetime: 12h\n");
        setup.config();
        let (billing, gateway) =
            (setup.pki.client("billing.example.com"), setup.pki.client("gateway.example.com"));
        Self { setup, billing, gateway }
    }

    fn path(&self) -> &Path {
        self.setup.directory.path()
    }

    fn start(&self) -> Serving {
        Serving::start(self.path())
    }

    fn talk(&self, serving: &Serving) -> Talk {
        Talk {
            billing: serving.connect(&self.setup, &self.billing),
            gateway: serving.connect(&self.setup, &self.gateway),
        }
    }
}

impl Talk {
    fn token(&mut self) -> String {
        self.try_token().unwrap()
    }

    fn try_token(&mut self) -> io::Result<String> {
        let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
        let answer = self.billing.post("/token", &form)?;
        assert_eq!(answer.status, 200, "{answer:?}");
        Ok(answer.json()["access_token"].as_str().unwrap().to_owned())
    }

    fn revoke(&mut self, token: &str) -> io::Result<Response> {
        self.billing.post("/revoke", &[("client_id", "billing"), ("token", token)])
    }

    fn is_active(&mut self, token: &str) -> bool {
        let answer = self.gateway.post("/introspect", &[("client_id", "gateway"), ("token", token)]).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["active"].as_bool().unwrap()
    }
}

/// Several who get tokens and end them for as long as they are answered.
#[derive(Default)]
struct Load(AtomicUsize);

/// What one of them knows when the connection is gone.
struct Worked {
    /// Never revoked.
    sister: String,
    /// Those whose end was answered with 200.
    ended: Vec<String>,
}

impl Load {
    fn answered(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn work(&self, mut talk: Talk) -> Worked {
        let mut worked = Worked { sister: talk.token(), ended: Vec::new() };
        while let Ok(token) = talk.try_token()
            && let Ok(answer) = talk.revoke(&token)
        {
            assert_eq!(answer.status, 200, "{answer:?}");
            worked.ended.push(token);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        worked
    }
}

/// A store with revocations, and a copy of it to begin anew from.
struct Whole {
    place: Place,
    aside: PathBuf,
    id: Vec<u8>,
    ended: Vec<String>,
    living: String,
}

impl Whole {
    fn new() -> Self {
        let place = Place::new();
        let serving = place.start();
        let mut talk = place.talk(&serving);
        let ended: Vec<_> = (0..20).map(|_| talk.token()).collect();
        for token in &ended {
            assert_eq!(talk.revoke(token).unwrap().status, 200);
        }
        let living = talk.token();
        drop(talk);
        serving.stop();
        let aside = place.path().join("aside");
        copy(&place.path().join("data"), &aside);
        let id = fs::read(place.path().join("keys/store-id")).unwrap();
        Self { place, aside, id, ended, living }
    }

    fn restore(&self) {
        let data = self.place.path().join("data");
        let _ = fs::remove_dir_all(&data);
        copy(&self.aside, &data);
    }

    fn refuses(&self, what: &str, damage: impl FnOnce()) {
        self.restore();
        damage();
        assert!(!self.is_refused_or_whole(what), "{what}: it was served");
    }

    fn starts(&self, what: &str) {
        self.restore();
        assert!(self.is_refused_or_whole(what), "{what}: it was refused");
    }

    /// Whether it was served, and then as a whole; else it was refused as it should be.
    fn is_refused_or_whole(&self, what: &str) -> bool {
        match Serving::try_start(self.place.path()) {
            Ok(serving) => {
                let mut talk = self.place.talk(&serving);
                assert!(!self.ended.iter().any(|token| talk.is_active(token)), "{what}: it forgot");
                assert!(talk.is_active(&self.living), "{what}: it ended what lives");
                true
            }
            Err(refused) => {
                let complaint = &refused.complaint;
                assert_eq!(refused.code, Some(3), "{what}: {complaint}");
                assert_eq!(complaint.lines().count(), 1, "{what}: {complaint}");
                for words in ["the store at data is damaged", "a backup", "`certbound store init --forget`"] {
                    assert!(complaint.contains(words), "{what}: {complaint}");
                }
                assert!(refused.after < Duration::from_secs(12), "{what}: after {:?}", refused.after);
                false
            }
        }
    }
}

fn database(data: &Path) -> File {
    File::options().read(true).write(true).open(data.join("db")).unwrap()
}

/// How much of the database was ever written; the rest of the last segment is zeros.
fn used(data: &Path) -> u64 {
    let bytes = fs::read(data.join("db")).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    last as u64 + 1
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A number that differs from run to run.
fn random() -> usize {
    usize::try_from(RandomState::new().build_hasher().finish() >> 33).unwrap()
}
