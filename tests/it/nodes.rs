//! Several nodes on one database: shared signing keys, one time, and each knows of the others.

mod clocks;
mod keys;
mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use certbound::app::StartError;
use certbound::clock::{Clock, SystemClock, Timestamp};
use serde_json::Value;

use crate::support::postgres::Postgres;
use crate::support::{Pki, Server, Setup, Shown};

/// The clock of a machine that is wrong by some seconds.
struct Shifted(AtomicI64);

impl Shifted {
    fn by(seconds: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(seconds * 1000)))
    }

    fn set(&self, seconds: i64) {
        self.0.store(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.now_millis().div_euclid(1000))
    }

    fn now_millis(&self) -> i64 {
        SystemClock.now_millis() + self.0.load(Ordering::SeqCst)
    }
}

/// What the nodes of one cluster have in common.
struct Cluster {
    pki: Pki,
    url: String,
    sealing: String,
}

impl Cluster {
    fn new() -> Self {
        Self::on(Postgres::shared())
    }

    fn on(server: &Postgres) -> Self {
        let mut key = [0; 32];
        openssl::rand::rand_bytes(&mut key).unwrap();
        Self { pki: Pki::new(), url: server.fresh(), sealing: STANDARD.encode(key) }
    }

    /// A node that is not at work yet, with a directory of its own.
    fn setup(&self) -> Setup {
        let mut setup = Setup::of(self.pki.clone());
        setup.write("database", &self.url);
        setup.write("sealing", &self.sealing);
        "store: { postgres: { url: { file: database }, pool: 4 } }\nsigning: { sealing_key: { file: sealing } }\n\
         control: control.sock\n"
            .clone_into(&mut setup.more);
        setup
    }

    fn node(&self) -> Server {
        self.node_by(Shifted::by(0)).unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn node_by(&self, clock: Arc<Shifted>) -> Result<Server, StartError> {
        self.setup().start_by(clock)
    }

    fn nodes(&self) -> [Server; 3] {
        [self.node(), self.node(), self.node()]
    }

    fn billing(&self) -> Shown {
        self.pki.client("billing.example.com")
    }

    fn sql(&self, statement: &str) -> String {
        Postgres::shared().sql(Postgres::database(&self.url), statement)
    }
}

fn kids(server: &Server) -> Vec<String> {
    let keys = server.connect(None).get("/jwks").unwrap().json();
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn kid_of(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

/// Status and problems of `/readyz`.
fn readiness(server: &Server) -> (u16, String, String) {
    let answer = server.admin("/readyz");
    let json = answer.json();
    (answer.status, json["status"].as_str().unwrap().to_owned(), json["problems"].to_string())
}

/// Waits for what must be true within some seconds.
fn within(seconds: u64, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
