//! Everything that the configuration names, read again while a world is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Facts, World, out_of_reach};
use crate::authn::ClientAuthenticator;
use crate::clock::Timestamp;
use crate::config::{AnchorSetSource, Config};
use crate::document::{At, Problems};
use crate::oauth::ClientId;
use crate::pki::{AnchorSetName, TrustStore};
use crate::registry::{Credential, Registry};

/// How many clients one sentence names.
const NAMED: usize = 100;

/// What a reload finds.
#[derive(Clone, Copy)]
pub struct InForce<'a> {
    /// Decides.
    pub authenticator: &'a ClientAuthenticator,
    /// Where its anchor sets and their lists come from.
    pub sets: &'a [AnchorSetSource],
}

/// What a reload leaves.
pub struct Reloaded {
    /// Decides from now on.
    pub authenticator: ClientAuthenticator,
    /// Where its anchor sets and their lists come from: those of the configuration, or, where these cannot be had or
    /// lack one that clients name, those that were in force.
    pub sets: Vec<AnchorSetSource>,
    /// What needs somebody.
    pub problems: Problems,
}

impl World {
    /// Reads everything again while `previous` is in force. What is wrong keeps what it had; the files in `unsettled` are
    /// still being written and keep what they had without being wrong. Anchor sets that stay keep their policies, and
    /// also their lists: these go on being read and fetched, so that whoever is revoked meanwhile is.
    pub fn reload(
        config: &Config,
        facts: &Facts,
        previous: InForce<'_>,
        unsettled: &BTreeSet<PathBuf>,
        now: Timestamp,
    ) -> Reloaded {
        let mut problems = Problems::default();
        let before = previous.authenticator;
        let (mut trust, mut sets) = match config.trust_store(now) {
            Ok((trust, warnings)) => {
                problems.0.extend(warnings.0);
                (Arc::new(trust), config.trust_anchors.as_slice())
            }
            Err(errors) => {
                problems.0.extend(errors.0);
                (Arc::clone(before.trust()), previous.sets)
            }
        };
        let settings = config.registry_settings();
        let load =
            |trust: &TrustStore| Registry::load(&settings, Some(before.registry()), trust, unsettled, now);
        let (mut registry, mut found) = load(&trust);
        // The file of such a client fell back to what it had, and that names a set which the new trust has not; or a
        // listener that waits for a restart does.
        let mut missed = sets_that_clients_miss(&registry, &trust, &config.file);
        missed.0.extend(sets_that_proxies_miss(config, &trust).0);
        if missed.has_errors() {
            problems.0.extend(missed.0);
            (trust, sets) = (Arc::clone(before.trust()), previous.sets);
            (registry, found) = load(&trust);
        }
        problems.0.extend(found.0);
        problems.0.extend(out_of_reach(&registry, facts).0);
        let in_force = Config { trust_anchors: sets.to_vec(), ..config.clone() };
        problems.0.extend(in_force.outdated_anchors(&trust, &registry, now).0);
        let (revocation, found) = facts.revocation(sets, &trust, unsettled, now);
        problems.0.extend(found.0);
        let authenticator = ClientAuthenticator::new(registry, trust)
            .with_revocation(revocation)
            .with_remote(facts.remote(config));
        Reloaded { authenticator, sets: in_force.trust_anchors, problems }
    }
}

/// One error for each set that is not in `trust` although clients name it.
fn sets_that_clients_miss(registry: &Registry, trust: &TrustStore, file: &Path) -> Problems {
    let mut missed: BTreeMap<&AnchorSetName, BTreeSet<&ClientId>> = BTreeMap::new();
    for client in registry.clients() {
        if let Credential::TlsClientAuth { anchors, .. } = &client.credential
            && trust.set(anchors).is_none()
        {
            missed.entry(anchors).or_default().insert(&client.id);
        }
    }
    let mut problems = Problems::default();
    for (set, clients) in missed {
        let named: Vec<_> = clients.iter().take(NAMED).map(|id| format!("`{id}`")).collect();
        let more = match clients.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let what = format!(
            "the anchor set `{set}` has been removed while clients name it: {}{more}",
            named.join(", ")
        );
        let instead = "keep the set until no client names it; until then all anchor sets stay as they were, \
                       with their lists and responders";
        problems.error(&At::whole(file), what, instead);
    }
    problems
}

/// One error for each set that is not in `trust` although the proxy of a listener in force has to prove itself by it.
fn sets_that_proxies_miss(config: &Config, trust: &TrustStore) -> Problems {
    let mut problems = Problems::default();
    for set in config.proxy_sets().filter(|set| trust.set(set).is_none()) {
        let what = format!(
            "the anchor set `{set}` has been removed while the proxy of a listener in force needs it"
        );
        let instead = "keep the set until no listener names it; until then all anchor sets stay as they were";
        problems.error(&At::whole(config.file.as_path()), what, instead);
    }
    problems
}
