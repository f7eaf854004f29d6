//! The radar at work: every minute what ends when is counted and, when it is news, told: in the log and to the webhook.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::every;
use crate::config::{Config, Webhook};
use crate::http::{STORE_PATIENCE, Services};
use crate::oauth::ClientId;
use crate::radar::webhook::{Deliveries, Delivery};
use crate::radar::{Notice, Radar, expiries, without_client_auth};
use crate::store::evidence::{RefusalRecord, Sighting};
use crate::telemetry::CertificateLabels;
use crate::world::{self, Facts};

/// How often what was seen is read from the store, which may be long.
const READ_AGAIN: Duration = Duration::from_secs(10 * 60);

/// How many of the latest refusals are looked through for a certificate that lacks clientAuth.
const REFUSALS: usize = 1000;

/// How often it is looked whether something waits for the webhook.
const POST: Duration = Duration::from_secs(5);

/// What is remembered from one look to the next.
pub(super) struct Outlook {
    radar: Radar,
    /// Of each client the certificate that was first seen last, without the rest of its chain.
    newest: Vec<Sighting>,
    refusals: Vec<RefusalRecord>,
    read: Option<Instant>,
    post: mpsc::Sender<Post>,
}

/// What goes to the webhook, and which one that is now.
pub(super) struct Post {
    webhook: Option<Webhook>,
    notices: Vec<Notice>,
}

impl Outlook {
    /// Nothing seen and nothing told yet; what there is to post comes out of the receiver.
    pub(super) fn new() -> (Self, mpsc::Receiver<Post>) {
        let (post, posts) = mpsc::channel(16);
        let (newest, refusals) = (Vec::new(), Vec::new());
        (Self { radar: Radar::default(), newest, refusals, read: None, post }, posts)
    }

    /// Counts everything that ends.
    pub(super) fn count(&self, services: &Services, config: &Config) {
        let (world, now) = (services.authenticator.load(), services.clock.now());
        let family = &services.metrics.certificate_expiry_seconds;
        family.clear();
        for expiry in expiries(&world, &self.newest, world::shown(config)) {
            let seconds = expiry.ends.as_unix().saturating_sub(now.as_unix());
            let labels = CertificateLabels { kind: expiry.kind.as_str(), name: expiry.name };
            family.get_or_create(&labels).set(seconds);
        }
    }

    /// Tells what is news.
    pub(super) async fn look(&mut self, services: &Services, config: &Config) {
        if self.read.is_none_or(|read| read.elapsed() >= READ_AGAIN) {
            self.read(services).await;
        }
        let (world, now) = (services.authenticator.load(), services.clock.now());
        let ends = expiries(&world, &self.newest, world::shown(config));
        let odd = without_client_auth(&world, &self.newest, &self.refusals);
        let notices = self.radar.sweep(&ends, odd, config.expiry_warn, now);
        for notice in &notices {
            tracing::warn!(
                kind = notice.kind.as_str(),
                name = notice.name,
                client_id = notice.client_id,
                contacts = (!notice.contacts.is_empty()).then(|| notice.contacts.join(", ")),
                ends = notice.ends,
                seconds_left = notice.seconds_left,
                what = notice.what,
                "expiry"
            );
        }
        // With the receiver gone the server ends; with sixteen waiting it has other troubles, and the log has it.
        let _ = self.post.try_send(Post { webhook: config.webhook.clone(), notices });
    }

    /// A store that does not answer leaves what was read before.
    async fn read(&mut self, services: &Services) {
        let reading = async {
            let seen = services.witness.sightings(None).await?;
            Ok::<_, crate::store::StoreError>((seen, services.witness.refusals(REFUSALS).await?))
        };
        if let Ok(Ok((seen, refusals))) = timeout(STORE_PATIENCE, reading).await {
            self.newest = newest_of_each(seen);
            self.refusals = refusals;
            self.read = Some(Instant::now());
        }
    }
}

fn newest_of_each(seen: Vec<Sighting>) -> Vec<Sighting> {
    let mut newest: BTreeMap<ClientId, Sighting> = BTreeMap::new();
    for mut sighting in seen {
        let is_older = |other: &Sighting| sighting.first_seen < other.first_seen;
        if newest.get(&sighting.client).is_some_and(is_older) {
            continue;
        }
        sighting.chain.truncate(1);
        newest.insert(sighting.client.clone(), sighting);
    }
    newest.into_values().collect()
}

/// Posts what there is to post, until the server ends.
pub(super) async fn deliver(services: Arc<Services>, facts: Arc<Facts>, mut posts: mpsc::Receiver<Post>) {
    let mut deliveries = Deliveries::default();
    let mut webhook: Option<Webhook> = None;
    let mut ticks = every(POST);
    loop {
        tokio::select! {
            post = posts.recv() => {
                let Some(post) = post else { return };
                webhook = post.webhook;
                deliveries.add(post.notices);
            }
            _ = ticks.tick() => {}
        }
        let Some(webhook) = &webhook else {
            deliveries = Deliveries::default();
            continue;
        };
        let secret = match webhook.secret.as_ref().map(crate::config::SecretRef::read).transpose() {
            Ok(secret) => secret,
            Err(error) => {
                tracing::error!(error, "the webhook is not called: its secret cannot be read");
                continue;
            }
        };
        let now = services.clock.now();
        match deliveries.deliver(&webhook.url.url, secret.as_ref(), &facts.outgoing, now).await {
            Delivery::Nothing => {}
            Delivery::Taken(notices) => tracing::info!(notices, "the webhook has taken what was told"),
            Delivery::Failed { error, again } => {
                tracing::warn!(%error, again = %again, "the webhook does not take what is told");
            }
        }
    }
}
