//! A simulation (`attacks.md` §4): random schedules of everything that can happen to a server, each decided by a seed, with
//! an oracle that holds every answer against the invariants I1 to I7.
//!
//! The server is the real one from the octets of a request down, in this process and without sockets; the clock, the
//! files, the background and the store are in the hands of the schedule. A seed that fails is a regression: it goes to
//! [`REGRESSIONS`].

mod cast;
mod files;
mod lines;
pub(crate) mod memory;
mod model;
mod outage;
mod random;
mod run;
mod schedule;
mod server;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use self::cast::Who;
use self::files::Directory;
use self::memory::Disk;
use self::run::{Shelf, Violation, run};
use self::schedule::{By, Change, Confirm, Resource, Scope, Shows, Step, schedule};
use crate::store_contract::Place as _;

/// Seeds that failed once.
const REGRESSIONS: &[u64] = &[];

/// How many schedules are run, and with `CERTBOUND_FAULTS=long`.
const SHORT: u64 = 1_000;
const LONG: u64 = 10_000;

/// The same on sled.
const SHORT_ON_SLED: u64 = 40;
const LONG_ON_SLED: u64 = 300;

/// Schedules at once. They wait for a store that hangs much longer than they work, so there are many more than cores.
const AT_ONCE: usize = 12;

#[test]
fn random_schedules_keep_the_invariants() {
    let seeds = seeds(SHORT, LONG);
    let count = seeds.len();
    let began = Instant::now();
    check(&seeds, |_| Shelf::Memory(Disk::fresh()));
    println!("{count} schedules in {:.1?}", began.elapsed());
}

/// Found by seeds, and kept as steps: what a seed means may change.
#[test]
fn schedules_that_once_broke_an_invariant_keep_them() {
    let issue = || Step::Issue {
        client: Who::Meter,
        shows: Shows::Right,
        scope: Scope::Unsaid,
        resource: Resource::First,
    };
    let ask = || Step::Introspect {
        token: 0,
        reader: Who::Gateway,
        shows: Shows::Right,
        confirm: Confirm::NotAsked,
    };
    let change = |change| Step::Change { change, reload: true };
    let fails = || Step::StoreFails { keeps: false };
    let schedules = [
        // Introspection waited for a store that hung, for as long as it hung.
        vec![issue(), ask(), Step::StoreHangsOnce { keeps: false }, ask()],
        // Revoking a token that was not valid yet, because the clock had gone back, was answered 200 and ended nothing.
        vec![
            issue(),
            Step::Jump(-3600),
            Step::Revoke { token: 0, by: By::Owner, shows: Shows::Right },
            Step::Jump(3600),
            ask(),
        ],
        // The same has to hold when the clock runs ahead for a while, and the store forgets meanwhile.
        vec![
            Step::Issue {
                client: Who::Edge,
                shows: Shows::Right,
                scope: Scope::Unsaid,
                resource: Resource::First,
            },
            Step::Revoke { token: 0, by: By::Owner, shows: Shows::Right },
            Step::Jump(26 * 3600),
            Step::Minute,
            Step::Jump(-25 * 3600),
            ask(),
        ],
        // A client that went and came back while the store was down had its earlier tokens again,
        vec![
            issue(),
            fails(),
            change(Change::Remove(Who::Meter)),
            Step::Wait(6),
            change(Change::Enable(Who::Meter)),
            Step::StoreRecovers,
            Step::Second,
            ask(),
        ],
        // and one that came back then had them until the next minute.
        vec![
            issue(),
            change(Change::Remove(Who::Meter)),
            Step::Wait(6),
            fails(),
            change(Change::Enable(Who::Meter)),
            Step::StoreRecovers,
            ask(),
        ],
    ];
    let stage = Stage::new(|_| Shelf::Memory(Disk::fresh()));
    for steps in schedules {
        if let Err(Violation { what, trail, .. }) = stage.play(&steps) {
            panic!("{what}\n{trail}");
        }
    }
}

#[test]
fn random_schedules_keep_the_invariants_on_the_embedded_store() {
    let seeds = seeds(SHORT_ON_SLED, LONG_ON_SLED);
    let count = seeds.len();
    let began = Instant::now();
    check(&seeds, |directory| Shelf::Sled {
        path: directory.path("store/data"),
        id: directory.path("store/store-id"),
    });
    println!("{count} schedules on sled in {:.1?}", began.elapsed());
}

/// One seed, or those that failed once and then as many as there is time for.
fn seeds(short: u64, long: u64) -> Vec<u64> {
    if let Some(seed) = variable("CERTBOUND_SEED") {
        return vec![seed.parse().expect("CERTBOUND_SEED is a number")];
    }
    let count = if variable("CERTBOUND_FAULTS").as_deref() == Some("long") { long } else { short };
    REGRESSIONS.iter().copied().chain(0..count).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test is told so which seed to run, and how many")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

type OpenShelf = fn(&Directory) -> Shelf;

/// Runs them all; the first that fails is made short and told.
fn check(seeds: &[u64], shelf: OpenShelf) {
    let (next, stop, failed) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(seeds.len()) {
            scope.spawn(|| {
                let stage = Stage::new(shelf);
                while !stop.load(Ordering::Relaxed) {
                    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let Some(&seed) = seeds.get(index) else { return };
                    let steps = schedule(seed);
                    if let Err(violation) = stage.play(&steps) {
                        let is_first = !stop.swap(true, Ordering::Relaxed);
                        if is_first {
                            let told = tell(&stage, seed, index, steps, violation);
                            failed.lock().unwrap().replace(told);
                        }
                    }
                }
            });
        }
    });
    if let Some(told) = failed.into_inner().unwrap() {
        panic!("{told}");
    }
}

/// A thread with everything that a schedule needs.
struct Stage {
    directory: Directory,
    shelf: OpenShelf,
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new(shelf: OpenShelf) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { directory: Directory::new(), shelf, runtime }
    }

    fn play(&self, steps: &[Step]) -> Result<(), Violation> {
        let _hearing = lines::hear();
        let played = run(&self.directory, (self.shelf)(&self.directory), steps);
        tokio::task::LocalSet::new().block_on(&self.runtime, played)
    }

    /// Takes steps out as long as it fails all the same.
    fn shorten(&self, mut steps: Vec<Step>, mut violation: Violation) -> (Vec<Step>, Violation) {
        steps.truncate(violation.step);
        let mut size = steps.len() / 2;
        while size > 0 {
            let mut begin = 0;
            while begin < steps.len() {
                let end = (begin + size).min(steps.len());
                let fewer = [&steps[..begin], &steps[end..]].concat();
                match self.play(&fewer) {
                    Ok(()) => begin = end,
                    Err(shorter) => {
                        steps = fewer;
                        steps.truncate(shorter.step);
                        violation = shorter;
                    }
                }
            }
            size /= 2;
        }
        (steps, violation)
    }
}

fn tell(stage: &Stage, seed: u64, index: usize, steps: Vec<Step>, violation: Violation) -> String {
    let mut told = String::new();
    let Violation { step, what, trail } = &violation;
    let _ = writeln!(told, "seed {seed} (schedule {index}), step {step}: {what}\n{trail}\n");
    let (steps, violation) = stage.shorten(steps, violation);
    let Violation { what, trail, .. } = &violation;
    let _ = writeln!(told, "the same in {} steps: {what}\n{trail}\n", steps.len());
    let _ = write!(told, "CERTBOUND_SEED={seed} cargo test --test it simulation -- --nocapture");
    told
}
