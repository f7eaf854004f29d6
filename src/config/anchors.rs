//! From the files that `trust_anchors` names to the anchor sets that judge (decisions H and M).
//!
//! Every file of every set is read and every problem told at once. Dates are warnings here (contract
//! ruling 16); that they leave a client without any anchor is for [`Config::outdated_anchors`] to say, once
//! the clients are known.

use std::collections::BTreeMap;
use std::io::Read as _;

use super::file::open;
use super::{AnchorSetSource, Config, FileRef};
use crate::clock::Timestamp;
use crate::document::Problems;
use crate::pki::files::{self, FileError};
use crate::pki::trust::is_below_public_ca;
use crate::pki::{AnchorSet, AnchorSetName, Certificate, TrustStore};
use crate::registry::{Client, Credential, Registry};

/// The most bytes of one file of anchors: ten times all the roots of the web.
const MAX_BYTES: u64 = 4 << 20;

impl Config {
    /// Reads the anchor sets. The store comes with its warnings; an error anywhere gives all the problems.
    pub fn trust_store(&self, now: Timestamp) -> Result<(TrustStore, Problems), Problems> {
        let (trust, problems) = self.trust_draft(now);
        if problems.has_errors() { Err(problems) } else { Ok((trust, problems)) }
    }

    /// Reads the anchor sets and goes on after an error: a set that cannot be had is there by its name and vouches for
    /// nobody, so that the clients that name it can be looked at in the same run.
    pub fn trust_draft(&self, now: Timestamp) -> (TrustStore, Problems) {
        let mut problems = Problems::default();
        let read = self.trust_anchors.iter().map(|source| {
            let set = source.read(now, &mut problems);
            let nobody = || AnchorSet::unchecked(Vec::new(), Vec::new(), source.profile);
            (source.name.clone(), set.unwrap_or_else(nobody))
        });
        let sets: BTreeMap<_, _> = read.collect();
        (TrustStore::new(sets), problems)
    }

    /// The sets of which no anchor is within its validity although an enabled client names them: the one
    /// case in which a date is an error at start (contract ruling 16).
    pub fn outdated_anchors(&self, trust: &TrustStore, clients: &Registry, now: Timestamp) -> Problems {
        let mut problems = Problems::default();
        for source in &self.trust_anchors {
            // a set that could not be had has none, and that was said where it was read
            let outdated = trust.set(&source.name).is_some_and(|set| {
                let anchors = set.anchors();
                !anchors.is_empty() && anchors.iter().all(|anchor| date_problem(anchor, now).is_some())
            });
            let client = clients.clients().find(|client| client.enabled && names(client, &source.name));
            if let (true, Some(client)) = (outdated, client) {
                let what = format!(
                    "no anchor of `{}` is within its validity, and client `{}` can come by no other",
                    source.name, client.id
                );
                let instead =
                    format!("put a CA certificate that is valid now into {}", source.file.path.display());
                problems.error(&source.file.at, what, instead);
            }
        }
        problems
    }

    /// A warning for each set that no client names, not even one that is switched off, and no listener of a proxy: nobody
    /// misses it, and it would vouch for whoever comes to name it next.
    pub fn unused_anchors(&self, clients: &Registry) -> Problems {
        let mut problems = Problems::default();
        for source in &self.trust_anchors {
            let is_named = clients.clients().any(|client| names(client, &source.name));
            if !is_named && !self.proxy_sets().any(|set| *set == source.name) {
                let what = format!("no client names the anchor set `{}`", source.name);
                let instead =
                    format!("remove the set, or write `trust_anchors: {}` where it belongs", source.name);
                problems.warning(&source.file.at, what, instead);
            }
        }
        problems
    }
}

fn names(client: &Client, set: &AnchorSetName) -> bool {
    matches!(&client.credential, Credential::TlsClientAuth { anchors, .. } if anchors == set)
}

impl AnchorSetSource {
    fn read(&self, now: Timestamp, problems: &mut Problems) -> Option<AnchorSet> {
        let anchors = certificates(&self.file, now, problems);
        let intermediates = match &self.intermediates {
            Some(file) => certificates(file, now, problems)?,
            None => Vec::new(),
        };
        match AnchorSet::new(anchors?, intermediates, self.profile) {
            Ok(set) => {
                self.warn_of_public_issuers(&set, problems);
                Some(set)
            }
            Err(errors) => {
                for error in errors {
                    let what = format!("{}: {}", self.file.path.display(), error.what);
                    problems.error(&self.file.at, what, error.instead);
                }
                None
            }
        }
    }

    fn warn_of_public_issuers(&self, set: &AnchorSet, problems: &mut Problems) {
        for anchor in set.anchors().iter().filter(|anchor| is_below_public_ca(anchor)) {
            let what = format!(
                "{}: the anchor {} was issued by a public web CA; if it issues to others than these clients, any of \
                 them could be vouched for here",
                self.file.path.display(),
                anchor.subject()
            );
            problems.warning(&self.file.at, what, "a CA that issues to these clients alone");
        }
    }
}

/// Every certificate of a file, with a warning for each that is out of its validity.
fn certificates(file: &FileRef, now: Timestamp, problems: &mut Problems) -> Option<Vec<Certificate>> {
    let path = file.path.display();
    let mut bytes = Vec::new();
    let read = open(&file.path).and_then(|open| open.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let instead = "put the certificates of the CA there, or name the file where they are";
        problems.error(&file.at, format!("{path} cannot be read: {error}"), instead);
        return None;
    }
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        problems.error(
            &file.at,
            format!("{path} has more than 4 MiB"),
            "keep the CAs that your clients have",
        );
        return None;
    }
    let found = files::certificates(&bytes)
        .and_then(|found| if found.is_empty() { Err(FileError::Nothing) } else { Ok(found) });
    match found {
        Ok(found) => {
            for certificate in &found {
                if let Some(what) = date_problem(certificate, now) {
                    let what = format!("{path}: the certificate of {} {what}", certificate.subject());
                    problems.warning(
                        &file.at,
                        what,
                        "put the CA's current certificate beside it or in its place",
                    );
                }
            }
            Some(found)
        }
        Err(error) => {
            problems.error(&file.at, format!("{path}: {error}"), remedy(&error));
            None
        }
    }
}

fn remedy(error: &FileError) -> &'static str {
    match error {
        FileError::PrivateKey => {
            "remove the key from this file: here belong the certificates of the CA, its key belongs to the CA"
        }
        FileError::Nothing => "put the PEM or DER certificates of the CA into this file",
        _ => "replace it by the PEM certificates of the CA, `openssl x509 -in FILE -out ca.pem`",
    }
}

/// What is wrong with the date; notAfter is inclusive (RFC 5280 §4.1.2.5).
fn date_problem(certificate: &Certificate, now: Timestamp) -> Option<String> {
    if certificate.not_after() < now {
        Some(format!("has expired on {}", certificate.not_after()))
    } else if now < certificate.not_before() {
        Some(format!("is not valid before {}", certificate.not_before()))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
