//! A fault at the Nth call to the system, for every N: each write, sync, rename and opening below the store's directory
//! fails once, is torn, or is the last thing that the process did; or everything fails from there on until the disk is mended.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::figures::{Dice, Figures, left_out, rounds};
use super::{Place, copy};
use crate::support::program::{Serving, program};
use crate::support::server::eventually;

/// More calls than a run makes.
const ENOUGH: u64 = 1000;

/// How a call fails: how the library is told, and whether those after it fail too.
#[derive(Clone, Copy)]
struct Way {
    how: &'static str,
    lasting: bool,
}

const WAYS: [Way; 6] = [
    Way { how: "5", lasting: false },  // EIO
    Way { how: "28", lasting: false }, // ENOSPC
    Way { how: "torn", lasting: false },
    Way { how: "kill", lasting: false },
    Way { how: "28", lasting: true },
    Way { how: "30", lasting: true }, // EROFS
];

#[test]
fn whichever_call_fails_no_answered_revocation_is_lost() {
    every_call_fails(Before::Used, "a call to the system that fails, on a store that was used");
}

#[test]
fn whichever_call_fails_while_the_store_is_made_the_next_start_is_well() {
    every_call_fails(Before::Nothing, "a call to the system that fails, while the store is made");
}

/// What is there when the server starts.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    /// Revocations.
    Used,
}

fn every_call_fails(before: Before, what: &'static str) {
    let Some(trial) = Trial::new(before) else { return };
    let mut figures = Figures::new(what);
    let mut dice = Dice::new();
    let all = rounds(0, 1) == 1;
    for way in WAYS {
        let mut calls = 0;
        // All of them, or one by chance.
        let mut chosen = Some(1 + dice.below(trial.calls)).into_iter();
        let mut next = |n: u64| if all { Some(n) } else { chosen.next() };
        while let Some(at) = next(calls + 1) {
            calls += 1;
            figures.rounds += 1;
            if !trial.fault(way, at, &mut figures) {
                break; // the run ended before the call came
            }
            assert!(calls < ENOUGH, "the run never ends");
        }
        if all {
            let lasting = if way.lasting { " and all after it" } else { "" };
            figures.note(&format!("{calls} calls, each with {}{lasting}", way.how));
        }
    }
    figures.show();
}

struct Trial {
    place: Place,
    library: PathBuf,
    plan: File,
    /// The directory as it is before each run.
    aside: PathBuf,
    ended: Vec<String>,
    /// How many calls a run makes in which none fails.
    calls: u64,
}

impl Trial {
    fn new(before: Before) -> Option<Self> {
        let place = Place::new();
        let library = compile(place.path())?;
        let mut ended = Vec::new();
        if matches!(before, Before::Used) {
            let serving = place.start();
            let mut talk = place.talk(&serving);
            ended = (0..3).map(|_| talk.token()).collect();
            for token in &ended {
                assert_eq!(talk.revoke(token).unwrap().status, 200);
            }
            serving.kill();
        }
        let aside = place.path().join("aside");
        for part in ["data", "keys"].into_iter().filter(|part| place.path().join(part).exists()) {
            copy(&place.path().join(part), &aside.join(part));
        }
        fs::create_dir_all(&aside).unwrap();
        let plan =
            File::options().read(true).write(true).create_new(true).open(place.path().join("plan")).unwrap();
        let mut trial = Self { place, library, plan, aside, ended, calls: 0 };
        trial.fault(Way { how: "5", lasting: false }, ENOUGH, &mut Figures::new("nothing fails"));
        trial.calls = trial.read(0);
        assert!((10..ENOUGH).contains(&trial.calls), "{} calls were seen", trial.calls);
        Some(trial)
    }

    /// One run in which call `at` fails, and a start after it. Whether the call came.
    fn fault(&self, way: Way, at: u64, figures: &mut Figures) -> bool {
        self.restore();
        self.tell([0, at, u64::from(way.lasting)]);
        let mut known = Known { ended: self.ended.clone(), living: None };
        let began = Instant::now();
        match Serving::run(&mut self.command(way), self.place.path()) {
            Ok(serving) => self.run(serving, way, &mut known),
            Err(refused) => {
                let expected: &[Option<i32>] = if way.how == "kill" { &[None] } else { &[Some(1), Some(3)] };
                assert!(expected.contains(&refused.code), "call {at} with {}: {refused:?}", way.how);
                if refused.code.is_some() {
                    assert_eq!(
                        refused.complaint.lines().count(),
                        1,
                        "call {at} with {}: {refused:?}",
                        way.how
                    );
                }
                if refused.after > Duration::from_secs(10) {
                    figures.hangs += 1;
                    figures.note(&format!("call {at} with {}: {refused:?}", way.how));
                }
            }
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "call {at} with {}: {:?}",
            way.how,
            began.elapsed()
        );
        figures.acknowledged += known.ended.len();
        let came = self.read(0) >= at;
        if let Some(serving) = figures.start(&self.place) {
            let mut talk = self.place.talk(&serving);
            let lost = talk.active_of(&known.ended);
            if lost > 0 {
                figures.lost += lost;
                figures.note(&format!("call {at} with {}: {lost} lost", way.how));
            }
            if let Some(living) = known.living {
                assert!(talk.is_active(&living), "call {at} with {}: it ended what lives", way.how);
            }
            let token = talk.token();
            assert_eq!(talk.revoke(&token).unwrap().status, 200, "call {at} with {}", way.how);
            serving.kill();
        } else {
            figures.note(&format!("after call {at} with {}", way.how));
        }
        came
    }

    /// Revocations and introspections, until the process is killed by the fault or by us.
    fn run(&self, serving: Serving, way: Way, known: &mut Known) {
        // Whatever fails here fails because the process has ended.
        let mut go = || -> std::io::Result<()> {
            let mut talk = self.place.try_talk(&serving)?;
            known.living = Some(talk.try_token()?);
            for _ in 0..4 {
                let token = talk.try_token()?;
                let answer = talk.revoke(&token)?;
                assert!(matches!(answer.status, 200 | 503), "{answer:?}");
                if answer.status == 200 {
                    known.ended.push(token.clone());
                }
                let seen = talk.introspect(&token)?;
                assert!(matches!(seen.status, 200 | 503), "{seen:?}");
                assert!(
                    seen.status == 503 || answer.status == 503 || seen.json()["active"] == false,
                    "revoked with 200, and then {seen:?}"
                );
            }
            if way.how == "kill" {
                return Ok(());
            }
            self.tell_lasting(false);
            let token = talk.try_token()?;
            let mut last = Ok(0);
            eventually("the store works again by itself", || {
                last = talk.revoke(&token).map(|answer| answer.status);
                !matches!(last, Ok(503))
            });
            assert_eq!(last?, 200);
            known.ended.push(token);
            Ok(())
        };
        let outcome = go();
        assert!(way.how == "kill" || outcome.is_ok(), "{outcome:?}");
        serving.kill();
    }

    fn command(&self, way: Way) -> Command {
        let mut command = program(self.place.path());
        command
            .arg("serve")
            .env("LD_PRELOAD", &self.library)
            .env("CERTBOUND_FAULT_BELOW", fs::canonicalize(self.place.path()).unwrap().join("data"))
            .env("CERTBOUND_FAULT_PLAN", self.place.path().join("plan"))
            .env("CERTBOUND_FAULT_HOW", way.how);
        command
    }

    fn restore(&self) {
        for part in ["data", "keys"] {
            let _ = fs::remove_dir_all(self.place.path().join(part));
        }
        copy(&self.aside, self.place.path());
    }

    fn tell(&self, numbers: [u64; 3]) {
        self.plan.write_all_at(&numbers.map(u64::to_ne_bytes).concat(), 0).unwrap();
    }

    fn tell_lasting(&self, lasting: bool) {
        self.plan.write_all_at(&u64::from(lasting).to_ne_bytes(), 16).unwrap();
    }

    fn read(&self, index: u64) -> u64 {
        let mut bytes = [0; 8];
        self.plan.read_exact_at(&mut bytes, index * 8).unwrap();
        u64::from_ne_bytes(bytes)
    }
}

/// What must hold after a run.
struct Known {
    ended: Vec<String>,
    living: Option<String>,
}

/// Makes the library, where there is a compiler and a libc that can be spoken to so.
fn compile(directory: &Path) -> Option<PathBuf> {
    let library = directory.join("failing_calls.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/durability/failing_calls.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&library)
        .arg(source)
        .output();
    if made.as_ref().is_ok_and(|output| output.status.success()) {
        return Some(library);
    }
    left_out("calls to the system that fail", &format!("the library cannot be made: {made:?}"));
    None
}
