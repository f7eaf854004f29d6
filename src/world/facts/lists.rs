//! What is told of revocation lists: when a file of them is read, and as long as one that is needed is not current.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::{issuers, nowhere};
use crate::authn::ClientAuthenticator;
use crate::clock::Timestamp;
use crate::config::FileRef;
use crate::document::{At, Problems};
use crate::pki::AnchorSetName;
use crate::pki::revocation::RevocationMode;
use crate::pki::revocation::crl::{CrlError, CrlSummary};

/// What helps against a list that has run out.
const RENEW: &str = "put the current list of the CA there, `openssl ca -gencrl`";

/// A file that cannot be read.
pub(super) fn unreadable(set: &AnchorSetName, file: &FileRef, error: &io::Error) -> Problems {
    let mut problems = Problems::default();
    let what = format!("the revocation list {} of `{set}` cannot be read: {error}", file.path.display());
    let instead = "put the current list of the CA there; until then the last one counts";
    problems.error(&file.at, what, instead);
    problems
}

/// A file that was offered. `in_force` are all lists that are known since.
pub(super) fn of_file(
    set: &AnchorSetName,
    file: &FileRef,
    outcome: &Result<Vec<CrlSummary>, CrlError>,
    in_force: &[CrlSummary],
    now: Timestamp,
) -> Problems {
    let mut problems = Problems::default();
    let path = file.path.display();
    match outcome {
        Ok(lists) => {
            for list in lists.iter().filter(|list| waits_for_its_issuer(list, in_force)) {
                let what = format!(
                    "{path}: no CA of `{set}` has signed this revocation list of {}; it counts once a client shows \
                     the CA that has",
                    list.issuer
                );
                let instead = "put the list there that a CA of this anchor set has signed, or name that CA in the \
                               `intermediates` of the set";
                problems.warning(&file.at, what, instead);
            }
            for list in lists.iter().filter(|list| list.next_update < now) {
                problems.warning(&file.at, format!("{path}: {}", out_of_date(list)), RENEW);
            }
        }
        // Dates are no errors (contract ruling 16), and neither is a newer list from somewhere else.
        Err(error @ (CrlError::Older { .. } | CrlError::Future(_))) => {
            let instead = "put the newest list of the CA there; the one that was in force stays";
            problems.warning(&file.at, format!("{path}: {error}"), instead);
        }
        Err(error) => {
            let instead = "put the list there that the CA of this anchor set has signed, in PEM or DER; \
                           the one that was in force stays";
            problems.error(&file.at, format!("{path}: {error}"), instead);
        }
    }
    problems
}

/// The lists that `world` needs and that have run out or are missing. `file_of` gives the file that a list came from.
pub(super) fn not_current(
    world: &ClientAuthenticator,
    file_of: impl Fn(&CrlSummary) -> Option<PathBuf>,
    now: Timestamp,
) -> Problems {
    let lists = world.revocation().crls().summaries();
    // Sets may share a CA; each sentence once.
    let mut found: BTreeMap<String, (At, &str)> = BTreeMap::new();
    for name in world.trust().names() {
        let policy = world.revocation().policy(name);
        let Some(policy) = policy.filter(|policy| policy.crl && policy.mode != RevocationMode::Off) else {
            continue;
        };
        for issuer in world.trust().set(name).into_iter().flat_map(issuers) {
            // A CA may have a list for each scope (RFC 5280 §5.2.5), and each of them is needed.
            let of_issuer: Vec<_> =
                lists.iter().filter(|list| list.issuer_key == Some(issuer.key_hash())).collect();
            for list in of_issuer.iter().filter(|list| list.next_update < now) {
                let told = match file_of(list) {
                    Some(file) => (At::whole(file), RENEW),
                    None => (nowhere(), "see to it that the CA publishes its next list"),
                };
                found.insert(out_of_date(list), told);
            }
            if of_issuer.is_empty() && policy.ocsp.is_none() {
                let what =
                    format!("anchor set `{name}`: there is no revocation list of {}", issuer.subject());
                found.insert(what, (nowhere(), "name the list of this CA in the `crl` of the anchor set"));
            }
        }
    }
    let mut problems = Problems::default();
    for (what, (at, instead)) in found {
        problems.warning(&at, what, instead);
    }
    problems
}

fn waits_for_its_issuer(list: &CrlSummary, in_force: &[CrlSummary]) -> bool {
    let is_it = |other: &CrlSummary| (&other.issuer, &other.number) == (&list.issuer, &list.number);
    list.issuer_key.is_none() && !in_force.iter().any(|other| other.issuer_key.is_some() && is_it(other))
}

fn out_of_date(list: &CrlSummary) -> String {
    format!("the revocation list of {} is out of date since {}", list.issuer, list.next_update)
}
