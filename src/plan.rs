//! Which clients would stop or start working in another world, told from the certificates that were seen.
//!
//! Nothing is predicted: the candidate is a whole [`ClientAuthenticator`], and every recorded certificate is put to the
//! decision of the token endpoint in both worlds. Reading a candidate is left to `world`, which records there are to
//! `store`, and what a script makes of it to `cli`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::authn::{
    AuthenticatedClient, ClientAuthenticator, Errand, Presented, PresentedCertificate, Reason, Refusal, Via,
};
use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::{Chain, Thumbprint};
use crate::store::evidence::{RefusalRecord, Sighting};

/// What is older tells nothing of today: a certificate that nobody has shown for a month is out of use.
pub const RECENT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// About how many certificates others are asked at once.
const AT_ONCE: usize = 32;

/// The most certificates in a recorded chain; it was within the bounds of its time when it was recorded.
const LONGEST_CHAIN: usize = 16;

/// The most characters of a detail: what a stranger showed has no other bound.
const LONGEST_DETAIL: usize = 400;

/// What would change.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Plan {
    /// How many certificates of the last 30 days had been accepted; with none of them the plan says nothing.
    pub recorded: usize,
    /// Certificates that are accepted now and would not be.
    pub stop: Vec<Change>,
    /// Certificates that are refused now and would be accepted.
    pub start: Vec<Change>,
    /// Certificates of which the same is said in both worlds.
    pub unchanged: usize,
    /// Certificates of which nothing can be said, because a revocation status could not be had.
    pub unknown: Vec<Change>,
}

/// One certificate of one client.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Change {
    /// Whose.
    pub client_id: String,
    /// Which.
    #[serde(rename = "x5t#S256")]
    pub thumbprint: String,
    /// RFC 4514.
    pub subject: String,
    /// When it last authenticated, RFC 3339; None for one that was only ever refused.
    pub last_seen: Option<String>,
    /// The reason of the refusal, in the world that refuses.
    pub reason: String,
    /// The check that fails there, with what it expects and sees.
    pub detail: String,
}

/// A world that is not in force.
pub struct Prospect {
    /// Decides, as far as it knows.
    pub world: ClientAuthenticator,
    /// Fetches the revocation lists that this world names and that are not at hand; to be awaited before it is asked.
    pub fetching: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What the candidate is compared with.
#[derive(Clone, Copy)]
pub enum InForce<'w> {
    /// The world of the running server.
    World(&'w ClientAuthenticator),
    /// What was said when each certificate was shown, where no server runs.
    AsSeen,
}

impl Plan {
    /// Whether the candidate can be put in force without anybody noticing: something is recorded, and nothing stops.
    pub fn is_harmless(&self) -> bool {
        self.recorded > 0 && self.stop.is_empty()
    }
}

/// Decides about every recorded certificate in both worlds: those that authenticated within [`RECENT`], and those that a
/// registered client was refused with since. Only certificates that are still within their validity count, each once
/// for each client.
///
/// The decisions of thousands of records take seconds, and are made without a pause: not for a thread that serves others.
pub async fn plan(
    in_force: InForce<'_>,
    candidate: &ClientAuthenticator,
    sightings: &[Sighting],
    refusals: &[RefusalRecord],
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    let records = records(in_force, candidate, sightings, refusals, now);
    let records: Vec<_> = records.into_iter().map(|((client, _), record)| (client, record)).collect();
    for records in records.chunks(AT_ONCE) {
        let before = match in_force {
            InForce::World(world) => verdicts(world, records, now).await,
            InForce::AsSeen => records.iter().map(|(_, record)| record.told.clone()).collect(),
        };
        let after = verdicts(candidate, records, now).await;
        for ((client, record), (before, after)) in records.iter().zip(before.into_iter().zip(after)) {
            plan.recorded += usize::from(record.last_seen.is_some());
            plan.take(client, record, before, after);
        }
    }
    plan
}

impl Plan {
    fn take(&mut self, client: &ClientId, record: &Record, before: Verdict, after: Verdict) {
        let leaf = &record.shown.chain.leaf;
        let change = |(reason, detail): Why| Change {
            client_id: client.to_string(),
            thumbprint: leaf.thumbprint().to_string(),
            subject: leaf.subject().to_string(),
            last_seen: record.last_seen.map(|at| at.to_string()),
            reason,
            detail,
        };
        match (before, after) {
            (Verdict::Accepted, Verdict::Refused(why)) => self.stop.push(change(why)),
            (Verdict::Refused(why) | Verdict::Unknown(why), Verdict::Accepted) => {
                self.start.push(change(why));
            }
            (Verdict::Accepted | Verdict::Refused(_), Verdict::Unknown(why)) => {
                self.unknown.push(change(why));
            }
            // Refused is refused, whatever the reason.
            (Verdict::Accepted, Verdict::Accepted)
            | (Verdict::Refused(_) | Verdict::Unknown(_), Verdict::Refused(_))
            | (Verdict::Unknown(_), Verdict::Unknown(_)) => self.unchanged += 1,
        }
    }
}

/// A reason of the closed set, and the check behind it.
type Why = (String, String);

/// What a world says of a certificate.
#[derive(Clone, Debug)]
enum Verdict {
    Accepted,
    Refused(Why),
    /// Refused, because nobody could say whether it was revoked; the next answer may be another one.
    Unknown(Why),
}

/// What a world says of each, after asking once whoever can still say something, for all of them together: a responder
/// that does not answer holds up so many and not each by itself.
async fn verdicts(
    world: &ClientAuthenticator,
    records: &[(ClientId, Record)],
    now: Timestamp,
) -> Vec<Verdict> {
    let mut errand = Errand::default();
    let mut verdicts = Vec::with_capacity(records.len());
    for (client, record) in records {
        let presented = Presented::Certificate(Arc::clone(&record.shown));
        let (outcome, asked) = world.consider(Some(client.as_str()), &presented, now);
        verdicts.push((Verdict::from(outcome), (!asked.is_empty()).then_some((client, presented))));
        errand.join(asked);
    }
    if let Some(remote) = world.remote().filter(|_| !errand.is_empty()) {
        errand.run(remote, world.revocation(), now).await;
    }
    let again = |(verdict, asked): (Verdict, Option<(&ClientId, Presented)>)| match asked {
        Some((client, presented)) => world.authenticate(Some(client.as_str()), &presented, now).into(),
        None => verdict,
    };
    verdicts.into_iter().map(again).collect()
}

impl From<Result<AuthenticatedClient, Refusal>> for Verdict {
    fn from(outcome: Result<AuthenticatedClient, Refusal>) -> Self {
        let Err(refusal) = outcome else { return Self::Accepted };
        let finding = &refusal.finding;
        let detail = detail(finding.check, &finding.expected, &finding.seen);
        let why = (refusal.reason.as_str().to_owned(), detail);
        if refusal.reason == Reason::RevocationUnknown { Self::Unknown(why) } else { Self::Refused(why) }
    }
}

fn detail(check: &str, expected: &str, seen: &str) -> String {
    format!("{check}: expected {expected:.LONGEST_DETAIL$}, seen {seen:.LONGEST_DETAIL$}")
}

/// A certificate that was shown for a client.
struct Record {
    shown: Arc<PresentedCertificate>,
    /// When it last authenticated; None where it never did.
    last_seen: Option<Timestamp>,
    /// What it was told then.
    told: Verdict,
}

/// One record for each client and certificate, in the order of the clients.
fn records(
    in_force: InForce<'_>,
    candidate: &ClientAuthenticator,
    sightings: &[Sighting],
    refusals: &[RefusalRecord],
    now: Timestamp,
) -> BTreeMap<(ClientId, Thumbprint), Record> {
    let mut records = BTreeMap::new();
    for sighting in sightings.iter().filter(|sighting| now.since(sighting.last_seen) <= RECENT) {
        let Some(shown) = still_valid(&sighting.chain, now) else { continue };
        let record = Record { shown, last_seen: Some(sighting.last_seen), told: Verdict::Accepted };
        records.insert((sighting.client.clone(), sighting.thumbprint), record);
    }
    let is_registered = |client: &ClientId| {
        let worlds = match in_force {
            InForce::World(world) => [Some(world), Some(candidate)],
            InForce::AsSeen => [Some(candidate), None],
        };
        worlds.into_iter().flatten().any(|world| world.registry().find(client).is_some())
    };
    for refusal in refusals.iter().filter(|refusal| now.since(Timestamp::from_unix(refusal.at)) <= RECENT) {
        let Some(client) = refusal.claimed.as_deref().and_then(|claimed| ClientId::parse(claimed).ok())
        else {
            continue;
        };
        let chain: Result<Vec<_>, _> = refusal.chain.iter().map(|der| STANDARD.decode(der)).collect();
        let Some(shown) = chain.ok().and_then(|chain| still_valid(&chain, now)) else { continue };
        if is_registered(&client) {
            let why = (refusal.reason.clone(), detail(&refusal.check, &refusal.expected, &refusal.seen));
            // The newest comes first; and what authenticated at any time says more than what was refused.
            records.entry((client, shown.chain.leaf.thumbprint())).or_insert(Record {
                shown,
                last_seen: None,
                told: Verdict::Refused(why),
            });
        }
    }
    records
}

/// The chain as it was presented, if its leaf has not ended by itself: that one stops in every world.
fn still_valid(chain: &[Vec<u8>], now: Timestamp) -> Option<Arc<PresentedCertificate>> {
    let chain = Chain::parse(chain, LONGEST_CHAIN).ok().filter(|chain| now < chain.leaf.not_after())?;
    Some(Arc::new(PresentedCertificate { chain, via: Via::File }))
}

#[cfg(test)]
mod tests;
