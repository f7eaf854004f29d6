//! What two documents cannot both say, whichever files they are in: one `client_id` for two clients, and one
//! rule for two enabled clients under anchors that share a key, so that one certificate would be both.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::client::{Client, Credential};
use super::reading::Registered;
use crate::document::{At, Problems};
use crate::oauth::ClientId;
use crate::pki::{AnchorSetName, SubjectMatcher, Thumbprint, TrustStore};

/// A client that wants to be in the next registry.
pub(super) struct Claimant<'r> {
    pub(super) file: &'r Arc<Path>,
    pub(super) registered: &'r Registered,
    /// The client of this id that the same file had, which nobody can take its place from.
    pub(super) live: Option<&'r Client>,
}

/// Two clients that cannot both be.
pub(super) struct Clash {
    /// The files that bring it; none if both clients were live, and it was the configuration that changed.
    pub(super) culprits: Vec<Arc<Path>>,
    pub(super) problems: Problems,
}

/// Every clash among the claimants.
pub(super) fn find(claimants: &[Claimant<'_>], trust: &TrustStore) -> Vec<Clash> {
    let mut clashes = Vec::new();
    same_id(claimants, &mut clashes);
    same_rule(claimants, trust, &mut clashes);
    clashes
}

fn same_id(claimants: &[Claimant<'_>], clashes: &mut Vec<Clash>) {
    let mut holders: HashMap<&ClientId, Side<'_>> = HashMap::new();
    let sides = claimants.iter().map(|claimant| {
        let is_live = claimant.live.is_some();
        Side {
            file: claimant.file,
            at: &claimant.registered.id_at,
            client: &claimant.registered.client,
            is_live,
        }
    });
    for side in live_first(sides) {
        if let Some(holder) = holders.get(&side.client.id) {
            let what = |_: &Side<'_>| format!("the client_id {:?} is there twice", side.client.id.as_str());
            clashes.push(clash(holder, &side, what, "give each client an id of its own"));
        } else {
            holders.insert(&side.client.id, side);
        }
    }
}

fn same_rule(claimants: &[Claimant<'_>], trust: &TrustStore, clashes: &mut Vec<Clash>) {
    let mut groups: HashMap<&SubjectMatcher, Vec<(&AnchorSetName, Side<'_>)>> = HashMap::new();
    let sides =
        claimants.iter().filter(|claimant| rule(&claimant.registered.client).is_some()).map(|claimant| {
            let client = &claimant.registered.client;
            let is_live = claimant.live.is_some_and(|live| rule(live) == rule(client));
            Side { file: claimant.file, at: &claimant.registered.rule_at, client, is_live }
        });
    for side in live_first(sides) {
        let Some((subject, anchors)) = rule(side.client) else { continue };
        let holders = groups.entry(subject).or_default();
        // One holder per set is enough to compare with, so that many equal rules do not make very many pairs.
        if let Some((_, holder)) = holders.iter().find(|(other, _)| share_a_key(trust, anchors, other)) {
            if holder.client.id != side.client.id {
                let other = |other: &Side<'_>| {
                    let id = other.client.id.as_str();
                    format!("the client {id:?} has an equal rule under anchors that share a key")
                };
                let instead = "register another subject, disable one of the two, or keep their anchors apart";
                clashes.push(clash(holder, &side, other, instead));
            }
        } else {
            holders.push((anchors, side));
        }
    }
}

/// One of the two in a clash.
struct Side<'r> {
    file: &'r Arc<Path>,
    at: &'r At,
    client: &'r Arc<Client>,
    is_live: bool,
}

/// What makes a certificate this client's, if it is enabled and of a PKI.
fn rule(client: &Client) -> Option<(&SubjectMatcher, &AnchorSetName)> {
    match &client.credential {
        Credential::TlsClientAuth { subject, anchors } if client.enabled => Some((subject, anchors)),
        _ => None,
    }
}

fn share_a_key(trust: &TrustStore, one: &AnchorSetName, other: &AnchorSetName) -> bool {
    one == other
        || match (trust.set(one), trust.set(other)) {
            (Some(one), Some(other)) => one.shares_anchor_key_with(other),
            _ => false,
        }
}

/// The live ones are asked first, so that it is the newcomers who find the place taken.
fn live_first<'r>(sides: impl Iterator<Item = Side<'r>>) -> impl Iterator<Item = Side<'r>> {
    let (live, new): (Vec<_>, Vec<_>) = sides.partition(|side| side.is_live);
    live.into_iter().chain(new)
}

/// Whoever is new is at fault, both if both are; each file hears of it at its own line. `what` is said of the
/// other.
fn clash(holder: &Side<'_>, side: &Side<'_>, what: impl Fn(&Side<'_>) -> String, instead: &str) -> Clash {
    let mut found = Clash { culprits: Vec::new(), problems: Problems::default() };
    let mut note = |at: &At, other: &Side<'_>| {
        let (line, column) = (other.at.line, other.at.column);
        let place = format!("{} ({}:{line}:{column})", what(other), other.file.display());
        found.problems.error(at, place, instead);
    };
    if holder.file == side.file {
        note(side.at, holder);
        found.culprits.push(side.file.clone());
        return found;
    }
    for (one, other) in [(side, holder), (holder, side)] {
        if !one.is_live {
            note(one.at, other);
            found.culprits.push(one.file.clone());
        }
    }
    if holder.is_live && side.is_live {
        // Both stay: it was their anchors that changed, and nobody's file is at fault.
        note(side.at, holder);
    }
    found
}

/// One certificate, or one set of them, registered by two clients: legal, because `client_id` decides, and
/// seldom meant.
pub(super) fn shared_certificates<'r>(registered: impl Iterator<Item = &'r Arc<Registered>>) -> Problems {
    let mut problems = Problems::default();
    let mut holders: HashMap<Thumbprint, &ClientId> = HashMap::new();
    let mut publishers: HashMap<&Url, &ClientId> = HashMap::new();
    for registered in registered {
        let id = &registered.client.id;
        if let Some(uri) = registered.client.credential.jwks_uri() {
            let holder = *publishers.entry(uri).or_insert(id);
            if holder != id {
                let what = format!(
                    "the client {:?} has this jwks_uri too, so each certificate there is both clients'",
                    holder.as_str()
                );
                problems.warning(&registered.rule_at, what, "give each client a set of its own");
            }
        }
        for place in &registered.pins {
            let holder = *holders.entry(place.thumbprint).or_insert(id);
            if holder != id {
                let what = format!("the client {:?} has registered this certificate too", holder.as_str());
                problems.warning(&place.at, what, "give each client a certificate of its own");
            }
        }
    }
    problems
}
