//! The radar at work: every minute what ends when is counted and, when it is news, told: in the log and to the webhook.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::every;
use crate::clock::Timestamp;
use crate::config::{Config, Webhook};
use crate::http::{STORE_PATIENCE, Services};
use crate::radar::webhook::{Deliveries, Delivery};
use crate::radar::{Expiry, Newest, Notice, Radar, expiries, without_client_auth};
use crate::store::evidence::RefusalRecord;
use crate::telemetry::{CertificateLabels, Metrics};
use crate::world::Facts;

/// How often what was seen is read from the store, which may be long.
const READ_AGAIN: Duration = Duration::from_secs(10 * 60);

/// How many of the latest refusals are looked through for a certificate that lacks clientAuth.
const REFUSALS: usize = 1000;

/// How often it is looked whether something waits for the webhook.
const POST: Duration = Duration::from_secs(5);

/// What is remembered from one look to the next.
pub(super) struct Outlook {
    radar: Radar,
    newest: Newest,
    refusals: Vec<RefusalRecord>,
    read: Option<Instant>,
    gauges: Gauges,
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
        let outlook = Self {
            radar: Radar::default(),
            newest: Newest::default(),
            refusals: Vec::new(),
            read: None,
            gauges: Gauges::default(),
            post,
        };
        (outlook, posts)
    }

    /// Counts everything that ends, and tells what is news. `shown` are the subjects and ends of what the listeners show.
    pub(super) async fn look(
        &mut self,
        services: &Services,
        config: &Config,
        shown: Vec<(String, Timestamp)>,
    ) {
        if self.read.is_none_or(|read| read.elapsed() >= READ_AGAIN) {
            self.read(services).await;
        }
        let (world, now) = (services.authenticator.load(), services.clock.now());
        let ends = expiries(&world, &self.newest, shown);
        self.gauges.set(&services.metrics, &ends, now);
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
        let Ok(Ok((seen, refusals))) = timeout(STORE_PATIENCE, reading).await else { return };
        // Certificates are parsed, one of each client: not where the server's other business waits for it.
        if let Ok(newest) = tokio::task::spawn_blocking(|| Newest::of(seen)).await {
            (self.newest, self.refusals) = (newest, refusals);
            self.read = Some(Instant::now());
        }
    }
}

/// `certbound_certificate_expiry_seconds`. Whoever reads it while it is set finds every gauge, the old or the new value.
#[derive(Default)]
struct Gauges(HashSet<CertificateLabels>);

impl Gauges {
    fn set(&mut self, metrics: &Metrics, ends: &[Expiry], now: Timestamp) {
        let mut seconds: HashMap<CertificateLabels, i64> = HashMap::new();
        for expiry in ends {
            let labels = CertificateLabels { kind: expiry.kind.as_str(), name: expiry.name.clone() };
            let left = expiry.ends.as_unix().saturating_sub(now.as_unix());
            // Where two have one name, the one that ends first counts.
            seconds.entry(labels).and_modify(|least| *least = left.min(*least)).or_insert(left);
        }
        let family = &metrics.certificate_expiry_seconds;
        for (labels, seconds) in &seconds {
            family.get_or_create(labels).set(*seconds);
        }
        for gone in self.0.iter().filter(|labels| !seconds.contains_key(labels)) {
            family.remove(gone);
        }
        self.0 = seconds.into_keys().collect();
    }
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
                let dropped = deliveries.add(post.notices);
                if dropped > 0 {
                    tracing::error!(notices = dropped, "the webhook does not take what is told; the oldest is dropped");
                }
            }
            _ = ticks.tick() => {}
        }
        let Some(webhook) = &webhook else {
            deliveries = Deliveries::default();
            continue;
        };
        let now = services.clock.now();
        if !deliveries.is_due(now) {
            continue;
        }
        let secret = match webhook.secret.as_ref().map(crate::config::SecretRef::read).transpose() {
            Ok(secret) => secret,
            Err(error) => {
                let again = deliveries.put_off(now);
                tracing::error!(error, again = %again, "the webhook is not called: its secret cannot be read");
                continue;
            }
        };
        match deliveries.deliver(&webhook.url.url, secret.as_ref(), &facts.outgoing, now).await {
            Delivery::Nothing => {}
            Delivery::Taken(notices) => tracing::info!(notices, "the webhook has taken what was told"),
            Delivery::Failed { error, again } => {
                tracing::warn!(%error, again = %again, "the webhook does not take what is told");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radar::{Kind, Successor};

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn expiry(name: &str, seconds: u64) -> Expiry {
        Expiry {
            kind: Kind::Anchor,
            name: name.to_owned(),
            client: None,
            contacts: Vec::new(),
            ends: NOW.plus(Duration::from_secs(seconds)),
            warn_at_most: None,
            successor: Successor::None,
        }
    }

    fn gauge(metrics: &Metrics, name: &str) -> Option<i64> {
        let labels = CertificateLabels { kind: "anchor", name: name.to_owned() };
        metrics.certificate_expiry_seconds.get(&labels).map(|gauge| gauge.get())
    }

    #[test]
    fn a_gauge_lives_as_long_as_what_it_counts_and_tells_of_the_first_to_end() {
        let (metrics, mut gauges) = (Metrics::new(), Gauges::default());
        gauges.set(&metrics, &[expiry("a", 9), expiry("a", 5), expiry("a", 7), expiry("b", 3)], NOW);
        assert_eq!((gauge(&metrics, "a"), gauge(&metrics, "b")), (Some(5), Some(3)));
        gauges.set(&metrics, &[expiry("b", 3)], NOW.plus(Duration::from_secs(4)));
        assert_eq!((gauge(&metrics, "a"), gauge(&metrics, "b")), (None, Some(-1)));
    }

    #[test]
    fn whoever_reads_while_it_is_set_finds_every_gauge() {
        let (metrics, mut gauges) = (Metrics::new(), Gauges::default());
        let ends: Vec<_> = (0..50).map(|number| expiry(&number.to_string(), number)).collect();
        gauges.set(&metrics, &ends, NOW);
        std::thread::scope(|scope| {
            let setting = scope.spawn(|| (0..500).for_each(|_| gauges.set(&metrics, &ends, NOW)));
            while !setting.is_finished() {
                assert_eq!(gauge(&metrics, "49"), Some(49));
            }
        });
    }
}
