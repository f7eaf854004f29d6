//! The certificates of a client in their states, told from what is registered and what was seen.
//!
//! A client changes over without an outage by having two certificates for a while. Which of them is coming, which is in
//! use and which may go is nobody's to write down: it follows from when each was first seen.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::pki::{Certificate, Thumbprint};
use crate::registry::{Client, Credential, Pin};
use crate::store::evidence::Sighting;

const DAY: i64 = 24 * 60 * 60;

/// Where a certificate is on its way.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum State {
    /// Registered and never seen.
    Next,
    /// The newest that was seen, by first sight.
    Current,
    /// Seen, and a newer one has been seen for the first time since.
    Retiring,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Current => "current",
            Self::Retiring => "retiring",
        }
    }
}

/// A certificate that a client has.
struct Held {
    thumbprint: Thumbprint,
    /// None where only its thumbprint is known, and it was never seen.
    certificate: Option<Arc<Certificate>>,
    source: String,
    /// First and last.
    seen: Option<(Timestamp, Timestamp)>,
    /// Its place in the document, if it has one there.
    place: Option<usize>,
}

/// Each certificate of the client with its state, the newest first. Of a client that is known by its subject these are the
/// certificates that were seen, and so they are where it publishes its certificates and none are at hand. `listed` is the
/// order of the document, where it has one.
pub(crate) fn describe(
    client: &Client,
    pins: &BTreeMap<Thumbprint, Pin>,
    listed: &[Thumbprint],
    sightings: &[Sighting],
    now: Timestamp,
) -> Vec<Value> {
    let sightings: BTreeMap<_, _> = sightings
        .iter()
        .filter(|sighting| sighting.client == client.id)
        .map(|sighting| (sighting.thumbprint, sighting))
        .collect();
    let is_listed = match &client.credential {
        Credential::TlsClientAuth { .. } => false,
        Credential::SelfSignedTlsClientAuth { jwks_uri, .. } => jwks_uri.is_none() || !pins.is_empty(),
    };
    let mut held: Vec<_> = if is_listed {
        pins.iter().map(|(thumbprint, pin)| Held::listed(*thumbprint, pin, &sightings)).collect()
    } else {
        sightings.values().map(|sighting| Held::seen(sighting)).collect()
    };
    for held in &mut held {
        held.place = listed.iter().position(|listed| *listed == held.thumbprint);
    }
    let mut states = states(held);
    states.sort_by_key(|(state, held)| (*state, Reverse(held.seen), held.thumbprint));
    states.iter().map(|(state, held)| held.json(*state, now)).collect()
}

impl Held {
    fn listed(thumbprint: Thumbprint, pin: &Pin, sightings: &BTreeMap<Thumbprint, &Sighting>) -> Self {
        let sighting = sightings.get(&thumbprint).copied();
        Self {
            thumbprint,
            certificate: pin.certificate.clone().or_else(|| leaf(sighting?)),
            source: pin.source.clone(),
            seen: sighting.map(|sighting| (sighting.first_seen, sighting.last_seen)),
            place: None,
        }
    }

    fn seen(sighting: &Sighting) -> Self {
        Self {
            thumbprint: sighting.thumbprint,
            certificate: leaf(sighting),
            source: "seen".to_owned(),
            seen: Some((sighting.first_seen, sighting.last_seen)),
            place: None,
        }
    }

    fn json(&self, state: State, now: Timestamp) -> Value {
        let certificate = self.certificate.as_deref();
        let moment = |at: Timestamp| at.to_string();
        json!({
            "x5t#S256": self.thumbprint.to_string(),
            "state": state.as_str(),
            "subject": certificate.map(|certificate| certificate.subject().to_string()),
            "source": self.source,
            "not_before": certificate.map(|certificate| moment(certificate.not_before())),
            "not_after": certificate.map(|certificate| moment(certificate.not_after())),
            "days_left": certificate.map(|certificate| days(certificate.not_after(), now)),
            "first_seen": self.seen.map(|(first, _)| moment(first)),
            "last_seen": self.seen.map(|(_, last)| moment(last)),
        })
    }
}

fn leaf(sighting: &Sighting) -> Option<Arc<Certificate>> {
    Certificate::parse(sighting.chain.first()?).ok().map(Arc::new)
}

/// Whole days until then; negative as soon as it is past.
fn days(until: Timestamp, now: Timestamp) -> i64 {
    until.as_unix().saturating_sub(now.as_unix()).div_euclid(DAY)
}

/// The newest by first sight is the current one. Of two that were first seen in one second it is the one that was added
/// later: further down in the document, or made later.
fn states(held: Vec<Held>) -> Vec<(State, Held)> {
    let age = |held: &Held| {
        let made = held.certificate.as_ref().map(|certificate| certificate.not_before());
        Some((held.seen?.0, held.place, made, held.thumbprint))
    };
    let newest = held.iter().filter_map(age).max().map(|(.., thumbprint)| thumbprint);
    let state = |held: &Held| match held.seen {
        None => State::Next,
        Some(_) if newest == Some(held.thumbprint) => State::Current,
        Some(_) => State::Retiring,
    };
    held.into_iter().map(|held| (state(&held), held)).collect()
}

#[cfg(test)]
mod tests;
