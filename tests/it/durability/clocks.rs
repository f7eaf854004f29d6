//! A wall clock that jumps, years ahead or back, in the real process, while it runs and between two starts: what was revoked
//! stays so at whatever time it is then, and when the clock is right again tokens are issued and good.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use certbound::pki::workshop::{Authority, Identity, Template};

use super::figures::left_out;
use super::{Place, Talk};
use crate::support::Shown;
use crate::support::pki::DAY;
use crate::support::program::{Serving, program};
use crate::support::server::eventually;

/// Debian's `libfaketime`.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
];

/// Ten years ahead, an hour back, ten years back, in seconds.
const JUMPS: [i64; 3] = [315_360_000, -3_600, -315_360_000];

#[test]
fn what_was_revoked_stays_so_at_whatever_time_the_clock_says_while_it_runs() {
    let Some(clock) = FakeClock::find() else { return };
    let place = Place::of_decades();
    FakeClock::set(&place, 0);
    let serving = clock.start(&place);
    let mut talk = place.talk(&serving);
    let mut ended = vec![talk.token()];
    assert_eq!(talk.revoke(&ended[0]).unwrap().status, 200);
    for jump in JUMPS {
        let of_before = talk.token();
        FakeClock::set(&place, jump);
        none_is_active(&mut talk, &ended, jump);
        // One of this wrong time, ended in it; one of it, and one of the right time, ended in the other.
        let [here, there] = [0; 2].map(|_| talk.token());
        for token in [&here, &of_before] {
            assert_eq!(talk.revoke(token).unwrap().status, 200);
        }
        ended.extend([here, of_before]);
        none_is_active(&mut talk, &ended, jump);
        FakeClock::set(&place, 0);
        assert_eq!(talk.revoke(&there).unwrap().status, 200);
        ended.push(there);
        none_is_active(&mut talk, &ended, 0);
        FakeClock::set(&place, jump);
        none_is_active(&mut talk, &ended, jump);
        FakeClock::set(&place, 0);
        let fresh = talk.token();
        eventually("the tokens of the right time are good", || talk.is_active(&fresh));
    }
    drop(talk);
    serving.kill();
    let serving = clock.start(&place);
    none_is_active(&mut place.talk(&serving), &ended, 0);
}

#[test]
fn what_was_revoked_stays_so_at_whatever_time_the_clock_says_at_start() {
    let Some(clock) = FakeClock::find() else { return };
    let place = Place::of_decades();
    FakeClock::set(&place, 0);
    let serving = clock.start(&place);
    let mut talk = place.talk(&serving);
    let mut ended = vec![talk.token()];
    assert_eq!(talk.revoke(&ended[0]).unwrap().status, 200);
    drop(talk);
    serving.kill();
    for jump in JUMPS {
        for offset in [jump, 0] {
            FakeClock::set(&place, offset);
            let began = Instant::now();
            let serving = clock.start(&place);
            assert!(began.elapsed() < Duration::from_secs(5), "{jump}: {:?}", began.elapsed());
            let mut talk = place.talk(&serving);
            none_is_active(&mut talk, &ended, offset);
            let short = talk.token();
            assert_eq!(talk.revoke(&short).unwrap().status, 200);
            assert!(!talk.is_active(&short));
            ended.push(short);
            if offset == 0 {
                eventually("a new token of the right time is good", || {
                    let next = talk.token();
                    talk.is_active(&next)
                });
            }
            drop(talk);
            serving.kill();
        }
    }
}

fn none_is_active(talk: &mut Talk, ended: &[String], jump: i64) {
    assert_eq!(talk.active_of(ended), 0, "of {} at {jump} s", ended.len());
}

/// A clock of the machine that the test sets, for one process.
struct FakeClock(&'static str);

impl FakeClock {
    fn find() -> Option<Self> {
        let found = LIBRARIES.into_iter().find(|library| Path::new(library).exists());
        if found.is_none() {
            left_out("clocks that jump", "libfaketime is not installed (scripts/packages test)");
        }
        found.map(Self)
    }

    /// So many seconds off.
    fn set(place: &Place, seconds: i64) {
        let (file, new) = (place.path().join("clock"), place.path().join("clock.new"));
        fs::write(&new, format!("{seconds:+}")).unwrap();
        fs::rename(new, file).unwrap();
    }

    fn start(&self, place: &Place) -> Serving {
        let mut command: Command = program(place.path());
        command
            .arg("serve")
            .env("LD_PRELOAD", self.0)
            .env("FAKETIME_TIMESTAMP_FILE", place.path().join("clock"))
            .env("FAKETIME_NO_CACHE", "1")
            // The machine's other clock goes on as it does when somebody sets the time.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Serving::run(&mut command, place.path()).unwrap_or_else(|refused| panic!("{refused:?}"))
    }
}

impl Place {
    /// With certificates that are valid at every time that the clock will say.
    fn of_decades() -> Self {
        let mut place = Self::new();
        let now = place.setup.pki.now;
        let template = |cn: &str| Template::new(cn, now.minus(DAY * 365 * 12), now.plus(DAY * 365 * 12));
        let corp = Authority::new(&template("Corp CA of decades")).unwrap();
        let server_ca = Authority::new(&template("Server CA of decades")).unwrap();
        let server: Identity = server_ca
            .issue(&Template {
                purpose: certbound::pki::workshop::LeafPurpose::Server,
                dns: vec!["localhost".to_owned()],
                ..template("localhost")
            })
            .unwrap();
        place.setup.write("corp.pem", corp.identity().certificate_pem());
        place.setup.write("server.pem", server.certificate_pem());
        place.setup.write("server.key", server.key_pem().as_str());
        let client = |dns: &str| {
            Shown::from(&corp.issue(&Template { dns: vec![dns.to_owned()], ..template(dns) }).unwrap())
        };
        place.billing = client("billing.example.com");
        place.gateway = client("gateway.example.com");
        place.server_ca = server_ca.identity().certificate_der().to_vec();
        place
    }
}
