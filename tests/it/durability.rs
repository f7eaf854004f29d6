//! A revocation that was answered is never lost: not to kill -9, not to SIGTERM, not to a power cut, not to a damaged,
//! vanished, full or failing store. Nearly all of it on the built program, because a process that is killed cannot be
//! simulated inside of one. A few rounds of each here; `make test-faults` does all of them and prints the figures.

mod calls;
mod clocks;
mod damage;
mod disks;
mod figures;
mod kills;
mod mounts;
mod power;
mod system_calls;

use std::fs;
use std::io;
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
        assert_eq!(talk.active_of(&ended), 0);
        assert!(talk.is_active(&sister));
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

/// A set-up on disk that the program is started on again and again.
struct Place {
    /// Its directory goes when this is dropped.
    setup: Setup,
    /// Where it is: the directory of the set-up, or a disk that it was moved to.
    root: PathBuf,
    billing: Shown,
    gateway: Shown,
    /// DER of the CA that vouches for the server.
    server_ca: Vec<u8>,
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
        let server_ca = setup.pki.server_ca.identity().certificate_der().to_vec();
        Self { root: setup.directory.path().to_path_buf(), setup, billing, gateway, server_ca }
    }

    /// Everything that the server has, on another disk.
    fn moved_to(mut self, root: &Path) -> Self {
        copy(self.path(), root);
        self.root = root.to_path_buf();
        self
    }

    fn path(&self) -> &Path {
        &self.root
    }

    fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn start(&self) -> Serving {
        Serving::start(self.path())
    }

    fn talk(&self, serving: &Serving) -> Talk {
        self.try_talk(serving).unwrap()
    }

    /// Fails where the server has ended.
    fn try_talk(&self, serving: &Serving) -> io::Result<Talk> {
        let connect = |shown| {
            let config = Connection::config(&self.server_ca, Some(shown), None);
            Connection::open(serving.address(), config)
        };
        Ok(Talk { billing: connect(&self.billing)?, gateway: connect(&self.gateway)? })
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

    fn introspect(&mut self, token: &str) -> io::Result<Response> {
        self.gateway.post("/introspect", &[("client_id", "gateway"), ("token", token)])
    }

    fn is_active(&mut self, token: &str) -> bool {
        let answer = self.introspect(token).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["active"].as_bool().unwrap()
    }

    fn active_of(&mut self, tokens: &[String]) -> usize {
        tokens.iter().filter(|token| self.is_active(token)).count()
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
            self.0.fetch_add(1, Ordering::Relaxed);
            let seen = talk.introspect(&token);
            worked.ended.push(token);
            let Ok(seen) = seen else { break };
            assert_eq!((seen.status, &seen.json()["active"]), (200, &false.into()), "{seen:?}");
        }
        worked
    }
}

/// Copies what is in a directory into another one; sockets are left out.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Runs a program of the system that must do what it is asked.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
