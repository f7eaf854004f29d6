//! Everything that happens without a request: one loop that owns every change, so that no two meet, and beside it the
//! loops that ask others (`outside`) and that tell what ends (`expiry`). Where several nodes share a database, the
//! [`beat`] has a thread of its own.
//!
//! | when | what |
//! |---|---|
//! | a file changed and has stood still, or the periodic scan | clients, anchors, revocation lists, server certificates |
//! | SIGHUP, or an order over the control socket | the configuration too |
//! | another node marked a client as gone, or has left | the roll of clients |
//! | every two seconds, if the store has yet to hear who is there | the roll of clients |
//! | every minute | rotation of the signing keys of a directory, forgetting in the store, the [radar](crate::radar) |
//! | every hour | everything that a file names, because dates pass without a change |

pub mod beat;
mod expiry;
mod outside;
mod roll;
mod stillness;
mod watcher;

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::admin::{Administration, Order};
use crate::clock::Timestamp;
use crate::config::{AnchorSetSource, Config};
use crate::document::{At, Problems, Severity};
use crate::http::Services;
use crate::http::tls::ServerIdentity;
use crate::keys::{Change, Place, next_step};
use crate::oauth::ClientId;
use crate::registry::{Difference, Registry};
use crate::store::evidence::Evidence;
use crate::telemetry::{self, OpLabel};
use crate::world::{self, Facts, InForce, Reloaded, World};
use expiry::{Outlook, deliver};
use outside::Outside;
use stillness::{Fingerprint, Stillness};
use watcher::{Watcher, named_files};

/// How often a file that moves is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How often the slow things are done.
const MINUTE: Duration = Duration::from_secs(60);

/// How soon a store that did not take the roll of clients is told again. It may hang, and then each time holds everything up.
const ROLL_AGAIN: Duration = Duration::from_secs(2);

/// How often everything is read again though nothing has changed: certificates expire without a change.
const HOUR: Duration = Duration::from_secs(3600);

/// What the loops work on.
pub struct Background {
    /// What requests work with.
    pub services: Arc<Services>,
    /// What is known of the world outside.
    pub facts: Arc<Facts>,
    /// What was seen, as the store has it.
    pub evidence: Arc<dyn Evidence>,
    /// What commands work with.
    pub administration: Arc<Administration>,
    /// The server's certificates, in the order of the listeners that have one.
    pub identities: Vec<Arc<ServerIdentity>>,
    /// The configuration in force, but for its anchor sets.
    pub config: Config,
    /// Where the anchor sets in force and their lists come from: `config.trust_anchors`, or what was in force before
    /// where that cannot take effect.
    pub sets: Vec<AnchorSetSource>,
    /// From the control socket.
    pub orders: mpsc::Receiver<Order>,
    /// Becomes true when the server ends.
    pub ended: watch::Receiver<bool>,
    /// What was wrong when it was last told.
    pub told: Problems,
    /// Changes when the store has to hear again who is there.
    pub rolls: watch::Receiver<u64>,
    /// Who was there when, as far as it has yet to hear it; the oldest first.
    pub unheard: VecDeque<(Timestamp, BTreeSet<ClientId>)>,
    /// Who was there when the store heard it last; nothing before that.
    pub heard: Option<BTreeSet<ClientId>>,
}

/// Runs until the server ends.
pub async fn run(background: Background) {
    let outside = Outside {
        services: Arc::clone(&background.services),
        facts: Arc::clone(&background.facts),
        evidence: Arc::clone(&background.evidence),
    };
    let ended = background.ended.clone();
    let (outlook, posts) = Outlook::new();
    let posting = deliver(Arc::clone(&background.services), Arc::clone(&background.facts), posts);
    tokio::join!(changes(background, outlook), outside.run(ended), posting);
}

async fn changes(mut background: Background, mut outlook: Outlook) {
    let (notice, mut notices) = mpsc::channel(1);
    let mut watcher = Watcher::start(notice);
    background.follow(&mut watcher);
    let mut files = Stillness::default();
    let mut look = every(LOOK);
    let mut rescan = every(background.config.clients.rescan);
    let mut minute = every(MINUTE);
    let mut roll = every(ROLL_AGAIN);
    let mut hour = every(HOUR);
    // Without the handler the process would end; without the stream it only does not hear.
    let mut hangup = signal(SignalKind::hangup()).ok();
    loop {
        tokio::select! {
            _ = background.ended.changed() => return,
            _ = notices.recv() => files.restless = true,
            _ = rescan.tick() => {
                background.follow(&mut watcher);
                files.restless = true;
            }
            _ = look.tick(), if files.restless => {
                if let Some(unsettled) = files.look(background.fingerprint()) {
                    background.reload(&unsettled).await;
                    background.read_keys();
                    background.follow(&mut watcher);
                }
            }
            _ = minute.tick() => {
                background.every_minute().await;
                outlook.look(&background.services, &background.config, background.shown()).await;
            }
            _ = roll.tick(), if !background.unheard.is_empty() => background.catch_up().await,
            _ = hour.tick() => files.doubt(),
            Ok(()) = background.rolls.changed() => background.call_the_roll().await,
            Some(()) = heard(&mut hangup) => {
                background.reload_all(&mut files).await;
                rescan = every(background.config.clients.rescan);
            }
            Some(order) = background.orders.recv() => match order {
                Order::Reload(done) => {
                    let problems = background.reload_all(&mut files).await;
                    rescan = every(background.config.clients.rescan);
                    // A command that has hung up has its reload all the same.
                    let _ = done.send(problems);
                }
                Order::Files(done) => {
                    // Whoever orders it says that the files are whole.
                    files.settle(background.fingerprint());
                    let problems = background.reload(&BTreeSet::new()).await;
                    background.follow(&mut watcher);
                    let _ = done.send(problems);
                }
                Order::Keys(done) => {
                    background.read_keys();
                    let _ = done.send(());
                }
            },
        }
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn heard(hangup: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    match hangup {
        Some(stream) => stream.recv().await,
        None => std::future::pending().await,
    }
}

/// Tells what is wrong: in the log once, in `/readyz` until it is mended.
pub fn report(services: &Services, source: &'static str, problems: &Problems) {
    if services.health.report(source, world::health_problems(problems)) {
        tell(problems);
    }
}

/// Tells what is wrong in the log.
pub fn tell(problems: &Problems) {
    for problem in &problems.0 {
        let file = problem.file.display().to_string();
        let (line, column, what, instead) = (problem.line, problem.column, &problem.what, &problem.instead);
        match problem.severity {
            Severity::Error => tracing::error!(file, line, column, what, instead, "problem"),
            Severity::Warning => tracing::warn!(file, line, column, what, instead, "problem"),
        }
    }
}

impl Background {
    /// Reads the configuration again, and then everything it names. What needs a restart is told and left alone.
    async fn reload_all(&mut self, files: &mut Stillness) -> Problems {
        let (next, mut problems) = Config::load(&self.config.file);
        if let Some(mut next) = next {
            let restart = self.config.restart_needed(&next);
            if !restart.is_empty() {
                tracing::warn!(changed = restart.join(", "), "restart to apply");
            }
            // What was not applied is not in force, so the next comparison is with what is.
            next.issuer = self.config.issuer.clone();
            next.mtls_base_url = self.config.mtls_base_url.clone();
            next.signing = self.config.signing.clone();
            next.store = self.config.store.clone();
            next.control.clone_from(&self.config.control);
            if restart.contains(&"listeners") {
                next.listeners.clone_from(&self.config.listeners);
            }
            self.config = next;
            self.services.policy.replace(world::policy(&self.config));
            problems.0.extend(self.way_out().0);
            telemetry::set_level(self.config.log.level.as_str());
        }
        // Whoever orders a reload is told again.
        tell(&problems);
        self.services.health.report("configuration", world::health_problems(&problems));
        // Whoever orders a reload says that the files are whole.
        files.settle(self.fingerprint());
        problems.0.extend(self.reload(&BTreeSet::new()).await.0);
        self.read_keys();
        problems
    }

    /// Puts `outgoing` in force. What is wrong with it keeps the way out as it was.
    fn way_out(&self) -> Problems {
        let settings = match self.config.outgoing_settings() {
            Ok(settings) => settings,
            Err(problems) => return problems,
        };
        let mut problems = Problems::default();
        if let Err(error) = self.facts.outgoing.replace(&settings) {
            let at = At::whole(self.config.file.as_path());
            problems.error(&at, error.to_string(), "mend `outgoing`; it stays as it was");
        }
        problems
    }

    /// Reads clients, anchors, revocation lists and server certificates, and puts what is whole in force at once.
    pub async fn reload(&mut self, unsettled: &BTreeSet<PathBuf>) -> Problems {
        let now = self.services.clock.now();
        let previous = self.services.authenticator.load();
        let in_force = InForce { authenticator: &previous, sets: &self.sets };
        let Reloaded { authenticator, sets, mut problems } =
            World::reload(&self.config, &self.facts, in_force, unsettled, now);
        self.sets = sets;
        problems.0.extend(self.read_identities().0);
        // A client that is back loses its old tokens before it is let in again.
        self.take_the_roll(authenticator.registry()).await;
        let difference = authenticator.registry().difference(previous.registry());
        self.services.authenticator.replace(authenticator);
        self.count();
        if difference == Difference::default() && problems == self.told {
            return problems;
        }
        let names =
            |ids: &[ClientId]| ids.iter().take(20).map(ToString::to_string).collect::<Vec<_>>().join(" ");
        tracing::info!(
            added = names(&difference.added),
            changed = names(&difference.changed),
            removed = names(&difference.removed),
            problems = problems.0.len(),
            "reloaded"
        );
        report(&self.services, "clients", &problems);
        self.told.clone_from(&problems);
        problems
    }

    fn read_identities(&self) -> Problems {
        let mut problems = Problems::default();
        for (tls, identity) in world::listeners_with_tls(&self.config).zip(&self.identities) {
            match world::server_bundle(tls) {
                Err(found) => problems.0.extend(found.0),
                Ok(bundle) => {
                    problems.0.extend(world::out_of_date(tls, &bundle, self.services.clock.now()));
                    if let Err(error) = identity.replace(bundle) {
                        let instead = "the certificate that was in force stays; mend the files";
                        problems.error(&tls.at, error.to_string(), instead);
                    }
                }
            }
        }
        problems
    }

    /// Reads the signing keys of a directory; a file that is wrong is told, and the key that was read from it stays. Shared
    /// keys are read by the [`beat`].
    pub fn read_keys(&self) {
        let Place::Directory(directory) = &self.administration.keys else { return };
        let reading = directory.reread(&self.services.keys.load());
        let problems = Problems(world::problems_of(&reading));
        self.services.keys.replace(reading.keys);
        report(&self.services, "keys", &problems);
    }

    /// What is done every minute: rotation, forgetting in the store.
    pub async fn every_minute(&mut self) {
        self.rotate();
        self.forget().await;
        self.count();
    }

    /// Has the store forget what nobody needs; by a clock that may be wrong nothing is.
    async fn forget(&self) {
        if self.services.clock.off().is_some() {
            return;
        }
        let now = self.services.clock.now();
        let began = Instant::now();
        match timeout(MINUTE, self.services.store.forget_expired(now)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "the store does not forget"),
            Err(_) => tracing::error!("the store does not forget in time"),
        }
        let label = OpLabel { op: "forget_expired" };
        self.services.metrics.store_seconds.get_or_create(&label).observe(began.elapsed().as_secs_f64());
    }

    /// Does what the schedule wants done, one step at a time.
    fn rotate(&self) {
        let Place::Directory(directory) = &self.administration.keys else { return };
        // Another node may have made a key where no file event tells of it.
        self.read_keys();
        let now = self.services.clock.now();
        let schedule = self.administration.schedule.load();
        let step = next_step(&self.services.keys.load(), &schedule, now);
        match directory.carry_out(&step, schedule.algorithm) {
            Ok(Change::Nothing) => return,
            Ok(Change::Created(kid)) => tracing::info!(%kid, "signing key made"),
            Ok(Change::AlreadyThere) => tracing::info!("signing key of this period was made by another node"),
            Ok(Change::Forgotten(kid)) => {
                tracing::info!(%kid, "signing key forgotten: its last token has expired");
            }
            Err(error) => tracing::error!(%error, instead = error.instead, "the signing keys do not rotate"),
        }
        self.read_keys();
    }

    /// What metrics, `/readyz` and the other nodes are told of the world.
    pub fn count(&self) {
        let (metrics, world) = (&self.services.metrics, self.services.authenticator.load());
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.clients.set(number(world.registry().clients().filter(|client| client.enabled).count()));
        metrics.clients_broken_files.set(number(world.registry().broken_files()));
        let hash = world::config_hash(&self.config.issuer, &self.sets, world.registry());
        metrics.set_config_hash(hash.clone());
        self.services.health.set_config_hash(hash);
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut files = Registry::fingerprint(
            &self.config.registry_settings(),
            self.services.authenticator.load().registry(),
        );
        files.extend(
            named_files(&self.config, &self.sets)
                .into_iter()
                .map(|file| (file.clone(), crate::registry::stamp(&file))),
        );
        files
    }

    fn follow(&self, watcher: &mut Watcher) {
        watcher.follow(&self.config, &self.sets, self.services.authenticator.load().registry());
    }

    /// What the listeners show: subjects and ends. As it was read, because opening the files again may take a password
    /// and a while.
    fn shown(&self) -> Vec<(String, Timestamp)> {
        let leaves = self.identities.iter().filter_map(|identity| identity.leaf());
        leaves.map(|leaf| (leaf.subject().to_string(), leaf.not_after())).collect()
    }
}
