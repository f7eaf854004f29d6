//! The beat of a node among several: every second, on a thread of its own, so that neither a reload nor a slow disk delays
//! it and every node can count on the others.
//!
//! | what is heard | what is done |
//! |---|---|
//! | the time of the database | the clock of this node follows it; one that is off is told |
//! | another generation of the signing keys | they are read again, and the next beat says so at once |
//! | another version of the roll | the roll of clients is called again |
//! | another configuration, a node that has left | `/readyz`, the log; the roll is called again |
//! | a database that went back in time | nothing of it is believed any more until it is the right one again |

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::{every, report};
use crate::admin::Administration;
use crate::clock::{Clock as _, NodeClock, Skew};
use crate::cluster::{Agreement, Hearing, Node, Report};
use crate::database::DatabaseError;
use crate::document::{At, Problems};
use crate::http::Services;
use crate::keys::{KeysError, Place, Plan, Reading};
use crate::store::postgres::Postgres;
use crate::world;

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// How many times one beat may lead to the next: the keys were read, or made.
const AT_ONCE: usize = 4;

/// This node, and what it has heard so far.
pub struct Beat {
    /// Its row.
    pub node: Node,
    /// The clock that follows the database's.
    pub clock: Arc<NodeClock>,
    /// What requests work with.
    pub services: Arc<Services>,
    /// Where the keys are, and when they come and go.
    pub administration: Arc<Administration>,
    /// The store in the database that the nodes share.
    pub store: Arc<Postgres>,
    /// Counts up whenever the roll of clients has to be called again.
    pub rolls: watch::Sender<u64>,
    /// What was heard.
    pub heard: Heard,
}

/// A beat that goes on.
pub struct Beating(JoinHandle<()>);

impl Beating {
    /// Returns when it has said goodbye.
    pub fn wait(self) {
        // A panic on that thread has been told by the panic hook; there is nothing to add.
        let _ = self.0.join();
    }
}

/// What is known from earlier beats.
#[derive(Default)]
pub struct Heard {
    agreement: Agreement,
    others: BTreeSet<String>,
    roll_version: Option<i64>,
    /// The generation of the keys in force; `None` before they were read.
    generation: Option<i64>,
    /// What the schedule goes by; `None` while the keys cannot be changed from here.
    plan: Option<Plan>,
    is_condemned: bool,
    is_off: bool,
}

impl Beat {
    /// Begins, on a thread of its own, and returns after the first beats, so that a server that begins to listen has its
    /// time and its keys. A database that is away is no problem of the start; keys that cannot be opened are. From then on
    /// it beats until the server ends, and says goodbye.
    pub fn start(self, ended: watch::Receiver<bool>) -> io::Result<Result<Beating, Problems>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (begun, waiting) = sync_channel(1);
        let run = move || runtime.block_on(self.run(ended, begun));
        let thread = std::thread::Builder::new().name("beat".to_owned()).spawn(run)?;
        let problems = waiting.recv().map_err(io::Error::other)?;
        let is_in_vain = problems.has_errors();
        Ok(if is_in_vain { Err(problems) } else { Ok(Beating(thread)) })
    }

    async fn run(mut self, mut ended: watch::Receiver<bool>, begun: SyncSender<Problems>) {
        let problems = self.beats().await;
        let goes_on = !problems.has_errors();
        // Whoever started this waits for it.
        let _ = begun.send(problems);
        if goes_on {
            let mut ticks = every(EVERY);
            loop {
                tokio::select! {
                    _ = ended.changed() => break,
                    _ = ticks.tick() => drop(self.beats().await),
                }
            }
        }
        if let Err(error) = self.node.leave().await {
            tracing::warn!(%error, "the other nodes were not told that this one ends");
        }
    }

    /// One beat, and those that follow from it; gives what is wrong with the keys.
    async fn beats(&mut self) -> Problems {
        let mut problems = Problems::default();
        for _ in 0..AT_ONCE {
            let hearing = self.say().await;
            self.look_at_the_clock();
            let Some(hearing) = hearing else { break };
            self.look_at_the_others(&hearing);
            match self.look_at_the_keys(hearing.keys_generation).await {
                Ok(Some(found)) => problems = found,
                Ok(None) => break,
                Err(error) => {
                    let mut found = Problems::default();
                    found.error(&At::whole(Path::new("")), error.to_string(), instead(&error));
                    report(&self.services, "keys", &found);
                    // A database that is away is one for later.
                    if let KeysError::Fault(_) = error {
                        problems = found;
                    }
                    break;
                }
            }
        }
        problems
    }

    /// `None` if nobody answered.
    async fn say(&mut self) -> Option<Hearing> {
        let own = Report {
            config_hash: self.services.health.config_hash(),
            keys_generation: self.heard.generation.unwrap_or_default(),
            skew_millis: self.clock.skew().map_or(0, Skew::as_millis),
        };
        let asked = self.clock.elapsed();
        let mut problems = Problems::default();
        let hearing = match self.node.beat(&own).await {
            Ok(hearing) => {
                self.clock.read(hearing.database_millis, asked, self.clock.elapsed());
                self.condemn(None);
                Some(hearing)
            }
            Err(DatabaseError::Corrupt(what)) => {
                let instead = "bring back the right database, or begin anew: certbound store init --forget";
                problems.error(&At::whole(Path::new("")), &what, instead);
                self.condemn(Some(what));
                None
            }
            Err(error) => {
                let instead = "see to the database; this node goes on with the keys that it has";
                problems.error(&At::whole(Path::new("")), format!("the database: {error}"), instead);
                None
            }
        };
        report(&self.services, "nodes", &problems);
        hearing
    }

    fn condemn(&mut self, verdict: Option<String>) {
        if self.heard.is_condemned || verdict.is_some() {
            self.heard.is_condemned = verdict.is_some();
            self.store.database().condemn(verdict);
        }
    }

    /// `/readyz` asks the clock itself; here it is told once, and measured.
    fn look_at_the_clock(&mut self) {
        let seconds = self.clock.skew().map_or(0.0, Skew::as_seconds);
        self.services.metrics.clock_skew_seconds.set(seconds);
        let off = self.clock.off();
        match off {
            Some(skew) if !self.heard.is_off => tracing::error!(%skew, "the clock is off: nothing is issued"),
            None if self.heard.is_off => tracing::info!("the clock is right again: tokens are issued"),
            _ => {}
        }
        self.heard.is_off = off.is_some();
    }

    fn look_at_the_others(&mut self, hearing: &Hearing) {
        let (heard, services) = (&mut self.heard, &self.services);
        let others: BTreeSet<_> = hearing.others.iter().map(|other| other.name.clone()).collect();
        let names = |set: &BTreeSet<String>| set.iter().take(20).cloned().collect::<Vec<_>>().join(" ");
        let (left, come): (BTreeSet<_>, BTreeSet<_>) = (&heard.others - &others, &others - &heard.others);
        if !come.is_empty() || !left.is_empty() {
            tracing::info!(come = names(&come), left = names(&left), nodes = others.len() + 1, "nodes");
        }
        services.metrics.nodes.set(i64::try_from(others.len() + 1).unwrap_or(i64::MAX));
        // Whoever has left may have been the last that had a client.
        let is_before = heard.roll_version.is_some_and(|version| version != hearing.roll_version);
        if !left.is_empty() {
            self.store.report_anew();
        }
        if is_before || !left.is_empty() {
            self.rolls.send_modify(|rolls| *rolls += 1);
        }
        heard.roll_version = Some(hearing.roll_version);
        heard.others = others;
        let mut problems = Problems::default();
        for what in heard.agreement.differences(&services.health.config_hash(), &hearing.others) {
            let instead =
                "give every node the same clients and trust anchors; until then each goes by its own";
            problems.warning(&At::whole(Path::new("")), what, instead);
        }
        report(services, "agreement", &problems);
    }

    /// Reads shared keys that were changed, and changes them if it is time. What is wrong with them if they were read;
    /// `None` if all is as it was.
    async fn look_at_the_keys(&mut self, generation: i64) -> Result<Option<Problems>, KeysError> {
        let administration = Arc::clone(&self.administration);
        let Place::Shared(shared) = &administration.keys else { return Ok(None) };
        let mut read = None;
        if self.heard.generation != Some(generation) {
            let reading = shared.read(&self.services.keys.load()).await?;
            read = Some(self.put_in_force(reading));
        }
        let (schedule, now) = (administration.schedule.load(), self.services.clock.now());
        // By a clock that may be wrong nothing is deleted.
        let is_right = self.services.clock.off().is_none();
        if is_right && self.heard.plan.as_ref().is_some_and(|plan| plan.next_edit(&schedule, now).is_some()) {
            shared.tend(&schedule).await?;
            let reading = shared.read(&self.services.keys.load()).await?;
            read = Some(self.put_in_force(reading));
        }
        Ok(read)
    }

    fn put_in_force(&mut self, reading: Reading) -> Problems {
        let problems = Problems(world::problems_of(&reading));
        let kids = |keys: &crate::keys::SigningKeys| {
            keys.all().iter().map(|key| key.id().to_string()).collect::<BTreeSet<_>>()
        };
        let before = self.services.keys.replace(reading.keys);
        let (before, after) = (kids(&before), kids(&self.services.keys.load()));
        if before != after {
            let names = |set: BTreeSet<&String>| set.into_iter().cloned().collect::<Vec<_>>().join(" ");
            let (come, gone) =
                (names(after.difference(&before).collect()), names(before.difference(&after).collect()));
            tracing::info!(come, gone, "signing keys");
        }
        self.heard.generation = Some(reading.generation);
        self.heard.plan = reading.plan;
        report(&self.services, "keys", &problems);
        problems
    }
}

fn instead(error: &KeysError) -> &str {
    match error {
        KeysError::Fault(fault) => &fault.instead,
        KeysError::Database(_) => "see to the database; the keys that this node has stay in force",
    }
}
