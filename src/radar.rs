//! The end of every certificate and list that somebody depends on, and who has to be told before it comes.
//!
//! Pure: [`expiries`] says what ends when, [`Radar::sweep`] what is news since the last look. To log it, to count it
//! and to post it ([`webhook`]) is the caller's. A certificate is refused after its `notAfter` whether anybody was told
//! or not (`authn`).

pub mod webhook;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::authn::ClientAuthenticator;
use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::revocation::RevocationMode;
use crate::pki::revocation::crl::CrlSummary;
use crate::pki::{AnchorSet, Certificate, Thumbprint};
use crate::registry::{Client, Credential, Pin};
use crate::store::evidence::{RefusalRecord, Sighting};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Whoever was told is told again when no more than this many days are left.
const STAGES: [u32; 6] = [14, 7, 3, 2, 1, 0];

/// What has an end; the label `kind` of `certbound_certificate_expiry_seconds`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The certificate that a client uses: the newest that was seen.
    Client,
    /// A registered certificate.
    Pin,
    /// A CA that may vouch.
    Anchor,
    /// A revocation list: its `nextUpdate`.
    Crl,
    /// What a listener shows.
    Server,
}

impl Kind {
    /// The word of the metric and of the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Pin => "pin",
            Self::Anchor => "anchor",
            Self::Crl => "crl",
            Self::Server => "server",
        }
    }
}

/// Something that ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expiry {
    /// What it is.
    pub kind: Kind,
    /// Which one: the client, its certificate, the anchor set and subject, the issuer of a list, a subject.
    pub name: String,
    /// Whose it is, if a client's.
    pub client: Option<ClientId>,
    /// Whom to ask about that client (RFC 7591 §2 `contacts`).
    pub contacts: Vec<String>,
    /// `notAfter`, or `nextUpdate` of a list.
    pub ends: Timestamp,
    /// How long before its end it is worth a word, if less than is configured: a list that is made anew each week is
    /// always about to end.
    pub warn_at_most: Option<Duration>,
    /// What follows it, if something does.
    pub successor: Successor,
}

/// Whether the end matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Successor {
    /// Nothing takes its place yet.
    None,
    /// Another certificate is registered, and has never been seen.
    Registered,
    /// Another certificate has been seen since: nobody has to do anything.
    InUse,
}

/// A word to whoever can act.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Notice {
    /// What it is about.
    pub kind: Kind,
    /// Which one.
    pub name: String,
    /// Whose it is, if a client's.
    pub client_id: Option<String>,
    /// Whom to ask about that client.
    pub contacts: Vec<String>,
    /// When it ends, RFC 3339; None where the notice is not about an end.
    pub ends: Option<String>,
    /// Seconds until then, negative after it.
    pub seconds_left: Option<i64>,
    /// The sentence.
    pub what: String,
}

/// Of each client the certificate that was first seen last: the one that it uses.
#[derive(Debug, Default)]
pub struct Newest(BTreeMap<ClientId, Certificate>);

impl Newest {
    /// Looks through what was seen, in any order.
    pub fn of(sightings: impl IntoIterator<Item = Sighting>) -> Self {
        let mut newest: BTreeMap<ClientId, Sighting> = BTreeMap::new();
        for sighting in sightings {
            let known = newest.get(&sighting.client);
            if known.is_none_or(|known| known.first_seen <= sighting.first_seen) {
                newest.insert(sighting.client.clone(), sighting);
            }
        }
        let leaf = |sighting: Sighting| Certificate::parse(sighting.chain.first()?).ok();
        Self(newest.into_iter().filter_map(|(client, sighting)| Some((client, leaf(sighting)?))).collect())
    }
}

/// Everything that ends. `servers` are the subjects of the listeners' certificates with their `notAfter`.
pub fn expiries(
    world: &ClientAuthenticator,
    newest: &Newest,
    servers: impl IntoIterator<Item = (String, Timestamp)>,
) -> Vec<Expiry> {
    let mut all = Vec::new();
    let plain = |kind, name, ends| Expiry {
        kind,
        name,
        client: None,
        contacts: Vec::new(),
        ends,
        warn_at_most: None,
        successor: Successor::None,
    };
    all.extend(servers.into_iter().map(|(subject, ends)| plain(Kind::Server, subject, ends)));
    for name in world.trust().names() {
        for anchor in world.trust().set(name).into_iter().flat_map(AnchorSet::anchors) {
            all.push(plain(Kind::Anchor, format!("{name} {}", anchor.subject()), anchor.not_after()));
        }
    }
    for list in lists_that_count(world) {
        let life = list.next_update.since(list.this_update);
        let expiry = plain(Kind::Crl, list.issuer, list.next_update);
        all.push(Expiry { warn_at_most: Some(life / 10), ..expiry });
    }
    for client in world.registry().clients().filter(|client| client.enabled) {
        let (pins, seen) = (world.pins(client), newest.0.get(&client.id));
        all.extend(seen.map(|leaf| in_use(client, leaf, &pins)));
        all.extend(registered(client, seen, &pins));
    }
    all
}

/// The lists that clients are judged by: those of a CA in a set that asks for lists. Any other is of a set that is gone,
/// or waits for an issuer under a name that a stranger chose.
fn lists_that_count(world: &ClientAuthenticator) -> Vec<CrlSummary> {
    let mut issuers = BTreeSet::new();
    for name in world.trust().names() {
        let policy = world.revocation().policy(name);
        if policy.is_some_and(|policy| policy.crl && policy.mode != RevocationMode::Off) {
            let sets = world.trust().set(name).into_iter();
            let all = sets.flat_map(|set| set.anchors().iter().chain(set.intermediates()));
            issuers.extend(all.map(Certificate::key_hash));
        }
    }
    let mut lists = world.revocation().crls().summaries();
    lists.retain(|list| list.issuer_key.is_some_and(|key| issuers.contains(&key)));
    lists
}

/// The certificate that a client uses.
fn in_use(client: &Client, leaf: &Certificate, pins: &BTreeMap<Thumbprint, Pin>) -> Expiry {
    // What a CA will issue next is not known before it is seen. Of a registered certificate the end is told as that of
    // the pin; where only its thumbprint is registered, or not even that is known, this is the one place that has it.
    let is_told_as_pin = pins.get(&leaf.thumbprint()).is_some_and(|pin| pin.certificate.is_some());
    Expiry {
        kind: Kind::Client,
        name: client.id.to_string(),
        client: Some(client.id.clone()),
        contacts: client.contacts.clone(),
        ends: leaf.not_after(),
        warn_at_most: None,
        successor: if is_told_as_pin { Successor::InUse } else { Successor::None },
    }
}

fn registered(client: &Client, seen: Option<&Certificate>, pins: &BTreeMap<Thumbprint, Pin>) -> Vec<Expiry> {
    let known: Vec<_> =
        pins.iter().filter_map(|(thumbprint, pin)| Some((*thumbprint, pin.certificate.as_ref()?))).collect();
    let last_of_all = seen.map(Certificate::thumbprint);
    let expiry = |(thumbprint, certificate): &(_, &std::sync::Arc<Certificate>)| {
        let later = |(other, another): &&(_, &std::sync::Arc<Certificate>)| {
            other != thumbprint && another.not_after() > certificate.not_after()
        };
        let successor = match known.iter().find(later) {
            None => Successor::None,
            Some(_) if known.iter().filter(later).any(|(other, _)| Some(*other) == last_of_all) => {
                Successor::InUse
            }
            Some(_) => Successor::Registered,
        };
        Expiry {
            kind: Kind::Pin,
            name: format!("{} {thumbprint}", client.id),
            client: Some(client.id.clone()),
            contacts: client.contacts.clone(),
            ends: certificate.not_after(),
            warn_at_most: None,
            successor,
        }
    };
    known.iter().map(expiry).collect()
}

/// Clients whose newest certificate was refused because its extended key usage lacks clientAuth: what happens when a
/// public CA stops issuing it, and noticed here before the one in use ends. `refusals` are newest first.
pub fn without_client_auth(
    world: &ClientAuthenticator,
    newest: &Newest,
    refusals: &[RefusalRecord],
) -> Vec<Notice> {
    let mut notices: BTreeMap<ClientId, Notice> = BTreeMap::new();
    for refusal in refusals.iter().filter(|refusal| refusal.reason == "wrong_usage") {
        let client = refusal.claimed.as_deref().and_then(|id| ClientId::parse(id).ok());
        let Some(client) = client.and_then(|id| world.registry().find(&id)).filter(|client| client.enabled)
        else {
            continue;
        };
        let leaf = refusal.chain.first().and_then(|text| STANDARD.decode(text).ok());
        let Some(leaf) = leaf.and_then(|der| Certificate::parse(&der).ok()) else { continue };
        let is_theirs = match &client.credential {
            Credential::TlsClientAuth { subject, .. } => subject.matches(&leaf),
            // Such a certificate cannot be registered, so whose it is cannot be told.
            Credential::SelfSignedTlsClientAuth { .. } => false,
        };
        let is_newest = newest.0.get(&client.id).is_none_or(|seen| seen.not_before() < leaf.not_before());
        if leaf.allows_client_auth() || !is_theirs || !is_newest {
            continue;
        }
        notices.entry(client.id.clone()).or_insert_with(|| Notice {
            kind: Kind::Client,
            name: client.id.to_string(),
            client_id: Some(client.id.to_string()),
            contacts: client.contacts.clone(),
            ends: None,
            seconds_left: None,
            what: format!(
                "the newest certificate of client {} lacks clientAuth in its extended key usage (issued by {}); it is \
                 refused",
                client.id,
                leaf.issuer()
            ),
        });
    }
    notices.into_values().collect()
}

/// Remembers who was told what.
#[derive(Debug, Default)]
pub struct Radar {
    told: BTreeMap<(Kind, String), u32>,
}

impl Radar {
    /// What there is to tell now: each end once when `warn` before it has come, and again 14, 7, 3, 2 and 1 days before
    /// and when it is there. `others` are told once, until they are gone.
    pub fn sweep(
        &mut self,
        expiries: &[Expiry],
        others: Vec<Notice>,
        warn: Duration,
        now: Timestamp,
    ) -> Vec<Notice> {
        let mut still = BTreeMap::new();
        let mut news = Vec::new();
        for expiry in expiries {
            let Some(what) = expiry.warning(warn, now) else { continue };
            let key = (expiry.kind, format!("{} {}", expiry.name, expiry.ends));
            let stage = stage(expiry.ends, now);
            // Two listeners may show one certificate.
            if !still.contains_key(&key) && self.told.get(&key).is_none_or(|told| stage < *told) {
                news.push(expiry.notice(what, now));
            }
            still.insert(key, stage);
        }
        for notice in others {
            let key = (notice.kind, notice.what.clone());
            if !self.told.contains_key(&key) {
                news.push(notice);
            }
            still.insert(key, 0);
        }
        self.told = still;
        news
    }
}

/// The fewer days are left, the lower.
fn stage(ends: Timestamp, now: Timestamp) -> u32 {
    let left = ends.since(now);
    STAGES.into_iter().filter(|days| left <= DAY * *days).min().unwrap_or(u32::MAX)
}

impl Expiry {
    /// Whether somebody should be told, and the sentence.
    pub fn warning(&self, warn: Duration, now: Timestamp) -> Option<String> {
        let warn = self.warn_at_most.map_or(warn, |most| most.min(warn));
        if self.ends > now.plus(warn) || self.successor == Successor::InUse {
            return None;
        }
        let (what, ends, ended) = match self.kind {
            Kind::Client => (format!("the certificate in use by client {}", self.name), "expires", "expired"),
            Kind::Pin => (format!("the registered certificate {}", self.name), "expires", "expired"),
            Kind::Anchor => (format!("the anchor {}", self.name), "expires", "expired"),
            Kind::Crl => (format!("the revocation list of {}", self.name), "runs out", "ran out"),
            Kind::Server => (format!("the server's certificate {}", self.name), "expires", "expired"),
        };
        let when = if self.ends < now {
            format!("{ended} on {}", self.ends)
        } else {
            format!("{ends} in {} ({})", left(self.ends.since(now)), self.ends)
        };
        let next = match (self.successor, self.kind) {
            (Successor::Registered, _) => "; the next one is registered and has never been seen",
            (_, Kind::Pin) => "; register the next one beside it: certbound client add-certificate",
            _ => "",
        };
        let contacts = match self.contacts.as_slice() {
            [] => String::new(),
            contacts => format!("; contact {}", contacts.join(", ")),
        };
        Some(format!("{what} {when}{next}{contacts}"))
    }

    fn notice(&self, what: String, now: Timestamp) -> Notice {
        Notice {
            kind: self.kind,
            name: self.name.clone(),
            client_id: self.client.as_ref().map(ToString::to_string),
            contacts: self.contacts.clone(),
            ends: Some(self.ends.to_string()),
            seconds_left: Some(self.ends.as_unix().saturating_sub(now.as_unix())),
            what,
        }
    }
}

/// `12 days`, `5 hours`: as exact as anybody needs it.
fn left(duration: Duration) -> String {
    let hours = duration.as_secs() / 3600;
    match hours {
        0 => format!("{} minutes", duration.as_secs() / 60),
        1..48 => format!("{hours} hours"),
        _ => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests;
