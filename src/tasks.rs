//! Everything that happens without a request: one loop that owns it all, so that no two changes meet.
//!
//! | when | what |
//! |---|---|
//! | a file changed and has stood still, or the periodic scan | clients, anchors, server certificates |
//! | SIGHUP, or an order over the control socket | the configuration too |
//! | every minute | rotation of signing keys, forgetting in the store, seconds to expiry |
//! | every hour | everything that a file names, because dates pass without a change |

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::admin::{Administration, Order, until_no_token_is_left};
use crate::authn::ClientAuthenticator;
use crate::clock::Timestamp;
use crate::config::{Config, IdentitySource};
use crate::document::{Problems, Severity};
use crate::http::tls::ServerIdentity;
use crate::http::{STORE_PATIENCE, Services};
use crate::keys::{Change, next_step};
use crate::oauth::ClientId;
use crate::pki::{AnchorSet, Certificate};
use crate::registry::{Credential, Difference, Registry, Stamp};
use crate::store::StoreError;
use crate::telemetry::{self, CertificateLabels, OpLabel};
use crate::world::{self, World};

/// How long a file must have stood still before it is read; half a document is a document in YAML.
const STILL: Duration = Duration::from_secs(1);

/// How often a file that moves is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How often the slow things are done.
const MINUTE: Duration = Duration::from_secs(60);

/// How often everything is read again though nothing has changed: certificates expire without a change.
const HOUR: Duration = Duration::from_secs(3600);

/// What the loop works on.
pub struct Background {
    /// What requests work with.
    pub services: Arc<Services>,
    /// What commands work with.
    pub administration: Arc<Administration>,
    /// The server's certificates, in the order of the listeners that have one.
    pub identities: Vec<Arc<ServerIdentity>>,
    /// The configuration in force.
    pub config: Config,
    /// From the control socket.
    pub orders: mpsc::Receiver<Order>,
    /// Becomes true when the server ends.
    pub ended: watch::Receiver<bool>,
    /// What was wrong when it was last told.
    pub told: Problems,
    /// Whether the store has yet to hear who is there.
    pub roll_due: bool,
}

/// Runs until the server ends.
pub async fn run(mut background: Background) {
    let (notice, mut notices) = mpsc::channel(1);
    let mut watcher = Watcher::start(notice);
    watcher.follow(&background.config, background.services.authenticator.load().registry());
    let mut files = Stillness::default();
    let mut look = every(LOOK);
    let mut rescan = every(background.config.clients.rescan);
    let mut minute = every(MINUTE);
    let mut hour = every(HOUR);
    // Without the handler the process would end; without the stream it only does not hear.
    let mut hangup = signal(SignalKind::hangup()).ok();
    loop {
        tokio::select! {
            _ = background.ended.changed() => return,
            _ = notices.recv() => files.restless = true,
            _ = rescan.tick() => {
                watcher.follow(&background.config, background.services.authenticator.load().registry());
                files.restless = true;
            }
            _ = look.tick(), if files.restless => {
                if let Some(unsettled) = files.look(background.fingerprint()) {
                    background.reload(&unsettled).await;
                    background.read_keys();
                    watcher.follow(&background.config, background.services.authenticator.load().registry());
                }
            }
            _ = minute.tick() => background.every_minute().await,
            _ = hour.tick() => files.doubt(),
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

    /// Reads clients, anchors and server certificates, and puts what is whole in force at once.
    async fn reload(&mut self, unsettled: &BTreeSet<PathBuf>) -> Problems {
        let now = self.services.clock.now();
        let previous = self.services.authenticator.load();
        let World { authenticator, warnings: mut problems } =
            World::reload(&self.config, &previous, unsettled, now);
        problems.0.extend(self.read_identities().0);
        // A client that is back loses its old tokens before it is let in again.
        self.roll_due = !self.take_the_roll(authenticator.registry()).await;
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

    /// Reads the signing keys; a file that is wrong is told, and the key that was read from it stays.
    fn read_keys(&self) {
        let reading = self.administration.keys.reread(&self.services.keys.load());
        let problems = Problems(world::problems_of(&reading));
        self.services.keys.replace(reading.keys);
        report(&self.services, "keys", &problems);
    }

    /// Tells the store who is there, so that it knows who was away. Says whether the store has taken it.
    async fn take_the_roll(&self, registry: &Registry) -> bool {
        let present =
            registry.clients().filter(|client| client.enabled).map(|client| client.id.clone()).collect();
        let now = self.services.clock.now();
        let mut problems = Problems::default();
        // A store that hangs must not keep a change of the clients from taking effect.
        let call = self.services.store.roll_call(&present, now, until_no_token_is_left(now));
        let late = || StoreError::Unavailable("it did not answer in time".to_owned());
        match timeout(STORE_PATIENCE, call).await.unwrap_or_else(|_| Err(late())) {
            Ok(ended) if ended.is_empty() => {}
            Ok(ended) => {
                let ended = ended.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                tracing::info!(clients = ended, "back after being gone; their earlier tokens have ended");
            }
            Err(error) => {
                let at = crate::document::At { file: Arc::from(Path::new("")), line: 0, column: 0 };
                problems.error(
                    &at,
                    format!("the store does not take the roll of clients: {error}"),
                    "see the store",
                );
            }
        }
        report(&self.services, "roll", &problems);
        problems.0.is_empty()
    }

    async fn every_minute(&mut self) {
        self.rotate();
        if self.roll_due {
            self.roll_due = !self.take_the_roll(self.services.authenticator.load().registry()).await;
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
        self.count();
    }

    /// Does what the schedule wants done, one step at a time.
    fn rotate(&self) {
        // Another node may have made a key where no file event tells of it.
        self.read_keys();
        let now = self.services.clock.now();
        let schedule = self.administration.schedule.load();
        let step = next_step(&self.services.keys.load(), &schedule, now);
        match self.administration.keys.carry_out(&step, schedule.algorithm) {
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

    /// What the metrics say of the world.
    fn count(&self) {
        let (metrics, world) = (&self.services.metrics, self.services.authenticator.load());
        let now = self.services.clock.now();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.clients.set(number(world.registry().clients().filter(|client| client.enabled).count()));
        metrics.clients_broken_files.set(number(world.registry().broken_files()));
        metrics.certificate_expiry_seconds.clear();
        for (kind, name, not_after) in expiries(&self.config, &world) {
            let seconds = not_after.as_unix() - now.as_unix();
            metrics.certificate_expiry_seconds.get_or_create(&CertificateLabels { kind, name }).set(seconds);
        }
        self.services.health.set_config_hash(world::config_hash(&self.config, world.registry()));
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut files = Registry::fingerprint(
            &self.config.registry_settings(),
            self.services.authenticator.load().registry(),
        );
        files.extend(
            named_files(&self.config).into_iter().map(|file| (file.clone(), crate::registry::stamp(&file))),
        );
        files
    }
}

/// The end of every certificate that somebody here depends on.
fn expiries(config: &Config, world: &ClientAuthenticator) -> Vec<(&'static str, String, Timestamp)> {
    let mut ends = Vec::new();
    for tls in world::listeners_with_tls(config) {
        let leaf = world::server_bundle(tls)
            .ok()
            .and_then(|bundle| Certificate::parse(bundle.certificates.first()?).ok());
        if let Some(leaf) = leaf {
            ends.push(("server", leaf.subject().to_string(), leaf.not_after()));
        }
    }
    for client in world.registry().clients() {
        if let Credential::SelfSignedTlsClientAuth { pins } = &client.credential {
            for (thumbprint, pin) in pins {
                if let Some(certificate) = &pin.certificate {
                    ends.push(("pin", format!("{} {thumbprint}", client.id), certificate.not_after()));
                }
            }
        }
    }
    for name in world.trust().names() {
        for anchor in world.trust().set(name).into_iter().flat_map(AnchorSet::anchors) {
            ends.push(("anchor", format!("{name} {}", anchor.subject()), anchor.not_after()));
        }
    }
    ends
}

/// The files that the configuration names and that are read again when they change.
fn named_files(config: &Config) -> Vec<PathBuf> {
    let anchors =
        config.trust_anchors.iter().flat_map(|set| std::iter::once(&set.file).chain(&set.intermediates));
    let identities = world::listeners_with_tls(config).flat_map(|tls| match &tls.identity {
        IdentitySource::Files { certificate, key } => vec![certificate, key],
        IdentitySource::Pkcs12 { file, .. } => vec![file],
    });
    anchors.chain(identities).map(|file| file.path.clone()).collect()
}

/// What files look like from outside, by path; a file that is not there is not in it.
type Fingerprint = BTreeMap<PathBuf, Stamp>;

/// Which files have changed, and which of them have come to rest. At the start nothing counts as read: what changed
/// while the server was starting would be missed otherwise.
#[derive(Default)]
struct Stillness {
    /// As it was when it was last read.
    read: Fingerprint,
    /// As it was when it was last looked at.
    seen: Fingerprint,
    /// When a file was last seen to move.
    moved: BTreeMap<PathBuf, Instant>,
    /// Whether there is anything to look at.
    restless: bool,
}

impl Stillness {
    /// Everything is to be read again once it stands still.
    fn doubt(&mut self) {
        self.read.clear();
        self.restless = true;
    }

    /// Everything is about to be read as it is now.
    fn settle(&mut self, current: Fingerprint) {
        self.read.clone_from(&current);
        self.seen = current;
        self.moved.clear();
    }

    /// Compares with what was. Gives the files that still move once there is one that has changed and come to rest.
    fn look(&mut self, current: Fingerprint) -> Option<BTreeSet<PathBuf>> {
        let now = Instant::now();
        for path in differing(&self.seen, &current) {
            self.moved.insert(path, now);
        }
        self.seen = current;
        let changed = differing(&self.read, &self.seen);
        let still = |path: &PathBuf| self.moved.get(path).is_none_or(|moved| now - *moved >= STILL);
        let (settled, unsettled): (BTreeSet<_>, BTreeSet<_>) = changed.into_iter().partition(still);
        self.restless = !unsettled.is_empty();
        if settled.is_empty() {
            return None;
        }
        for path in settled {
            self.moved.remove(&path);
            match self.seen.get(&path) {
                Some(stamp) => drop(self.read.insert(path, *stamp)),
                None => drop(self.read.remove(&path)),
            }
        }
        Some(unsettled)
    }
}

fn differing(one: &Fingerprint, other: &Fingerprint) -> BTreeSet<PathBuf> {
    let paths = one.keys().chain(other.keys());
    paths.filter(|path| one.get(*path) != other.get(*path)).cloned().collect()
}

/// Notices that something has changed in a directory. It may miss things (limits, network file systems): the periodic
/// scan does not.
struct Watcher {
    watcher: Option<RecommendedWatcher>,
    followed: BTreeSet<PathBuf>,
}

impl Watcher {
    fn start(notice: mpsc::Sender<()>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is no change; and one message in the queue is enough.
            if !event.is_ok_and(|event| {
                matches!(event.kind, notify::EventKind::Access(notify::event::AccessKind::Open(_)))
            }) {
                let _ = notice.try_send(());
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "files are not watched; changes are found by the periodic scan");
        }
        Self { watcher: watcher.ok(), followed: BTreeSet::new() }
    }

    /// Watches the directories of everything that may change. Directories and not files: an editor or a mounted
    /// secret replaces a file by another of its name.
    fn follow(&mut self, config: &Config, registry: &Registry) {
        let Some(watcher) = &mut self.watcher else { return };
        let parent = |file: PathBuf| file.parent().map(Path::to_owned);
        let mut wanted: BTreeSet<PathBuf> = named_files(config).into_iter().filter_map(parent).collect();
        wanted.extend(registry.certificate_files().filter_map(|file| parent(file.to_owned())));
        wanted.insert(config.clients.directory.clone());
        wanted.insert(config.signing.directory.clone());
        for directory in self.followed.difference(&wanted) {
            let _ = watcher.unwatch(directory);
        }
        self.followed = wanted
            .into_iter()
            .filter(|directory| {
                let outcome = watcher.watch(directory, RecursiveMode::NonRecursive);
                if let Err(error) = &outcome {
                    tracing::debug!(directory = %directory.display(), %error, "not watched; the periodic scan has it");
                }
                outcome.is_ok()
            })
            .collect();
    }
}
