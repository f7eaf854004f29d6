//! What `certbound check` says of the end of everything that is in files.

use super::{listeners_with_tls, server_bundle};
use crate::authn::ClientAuthenticator;
use crate::clock::Timestamp;
use crate::config::{Config, CrlSource};
use crate::document::{At, Problems};
use crate::pki::{AnchorSet, Certificate};
use crate::radar::{Expiry, Kind, Newest, expiries};

/// The certificates that the listeners will show: their subjects and their ends.
fn shown(config: &Config) -> Vec<(String, Timestamp)> {
    let leaf = |tls| Certificate::parse(server_bundle(tls).ok()?.certificates.first()?).ok();
    let leaves = listeners_with_tls(config).filter_map(leaf);
    leaves.map(|leaf| (leaf.subject().to_string(), leaf.not_after())).collect()
}

/// A warning for everything that will end within `expiry.warn`; what has ended is told where it is read.
pub(super) fn about_to_end(config: &Config, world: &ClientAuthenticator, now: Timestamp) -> Problems {
    let mut problems = Problems::default();
    for expiry in expiries(world, &Newest::default(), shown(config)) {
        if let (false, Some(what)) = (expiry.ends < now, expiry.warning(config.expiry_warn, now)) {
            let instead = match expiry.kind {
                Kind::Pin | Kind::Client => "register the next certificate beside it before then",
                Kind::Anchor => "put the CA's next certificate beside it before then",
                Kind::Crl => "see to it that the CA's next list is there before then",
                Kind::Server => "put the next certificate and its key in their place before then",
            };
            problems.warning(&place(&expiry, config, world), what, instead);
        }
    }
    problems
}

/// Where somebody would change it.
fn place(expiry: &Expiry, config: &Config, world: &ClientAuthenticator) -> At {
    let sets = || config.trust_anchors.iter();
    let found = match expiry.kind {
        Kind::Pin | Kind::Client => {
            let client = expiry.client.as_ref().and_then(|id| world.registry().find(id));
            client.map(|client| client.at.clone())
        }
        Kind::Anchor => {
            let named = sets().find(|set| expiry.name.starts_with(&format!("{} ", set.name)));
            named.map(|set| set.file.at.clone())
        }
        Kind::Crl => {
            let issues = |set: &AnchorSet| {
                let mut all = set.anchors().iter().chain(set.intermediates());
                all.any(|issuer| issuer.subject().to_string() == expiry.name)
            };
            let mut of_issuer = sets().filter(|set| world.trust().set(&set.name).is_some_and(issues));
            of_issuer.find_map(|set| set.crl.first()).map(|source| match source {
                CrlSource::File(file) => file.at.clone(),
                CrlSource::Url(url) => url.at.clone(),
            })
        }
        Kind::Server => listeners_with_tls(config).next().map(|tls| tls.at.clone()),
    };
    found.unwrap_or_else(|| At::whole(config.file.as_path()))
}
