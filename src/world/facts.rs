//! What is known of the world outside, whatever configuration is in force: revocation lists, answers of responders,
//! certificates that clients publish, and the one way out. Made once and shared by every world of a server.
//!
//! Nothing here asks the network: that is for the background (`tasks`) and for `ClientAuthenticator::authenticate_asking`.
//! What was fetched earlier is read from the disk, beside the store. A list that cannot be had, or is not a better one,
//! changes nothing: the one in force stays until its `nextUpdate`, and from then on the policy of the anchor set decides.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use url::Url;

use crate::authn::{ClientAuthenticator, Remote};
use crate::clock::Timestamp;
use crate::config::{self, AnchorSetSource, Config, CrlSource, FileRef};
use crate::document::Problems;
use crate::pki::fetch::{Outgoing, OutgoingSettings, shared};
use crate::pki::revocation::crl::{CrlError, CrlSummary, Crls};
use crate::pki::revocation::ocsp::OcspCache;
use crate::pki::revocation::sources::{CrlFetcher, CrlUrl};
use crate::pki::revocation::{Revocation, RevocationMode, SetRevocation};
use crate::pki::{AnchorSet, AnchorSetName, Certificate, TrustStore};
use crate::registry::remote::JwkSets;
use crate::registry::{Client, Credential, Registry};

/// The largest file of revocation lists that is read.
const MAX_BYTES: u64 = 64 << 20;

/// Everything that outlives a reload.
pub struct Facts {
    /// The one way out.
    pub outgoing: Arc<Outgoing>,
    /// Fetches the lists that are named by URL.
    pub lists: CrlFetcher,
    /// The certificates that clients publish.
    pub jwk_sets: Arc<JwkSets>,
    crls: Arc<Crls>,
    ocsp: Arc<OcspCache>,
    /// What became of the files, so that a hundred thousand entries that did not change are not read again.
    offered: Mutex<BTreeMap<(AnchorSetName, PathBuf), Offered>>,
}

/// A file that was offered.
struct Offered {
    /// SHA-256 over the file, and over those who may have signed what is in it.
    content: [u8; 32],
    outcome: Result<Vec<CrlSummary>, CrlError>,
}

impl Facts {
    /// As far as they are on the disk. Where the way out is not as it should be, nobody is reached by it, and the problems
    /// say why.
    pub fn new(config: &Config) -> (Arc<Self>, Problems) {
        let (settings, problems) = match config.outgoing_settings() {
            Ok(settings) => (settings, Problems::default()),
            Err(problems) => (OutgoingSettings::default(), problems),
        };
        // The settings have been tried already.
        let outgoing = Outgoing::new(&settings).map_or_else(|_| shared(), Arc::new);
        let (crls, directory) = (Arc::<Crls>::default(), config.fetched_directory());
        let facts = Self {
            lists: CrlFetcher::new(directory.join("crl"), Arc::clone(&crls), Arc::clone(&outgoing)),
            jwk_sets: Arc::new(JwkSets::new(Some(directory.join("jwks")), Arc::clone(&outgoing))),
            outgoing,
            crls,
            ocsp: Arc::default(),
            offered: Mutex::default(),
        };
        (Arc::new(facts), problems)
    }

    /// How a world asks.
    pub(super) fn remote(&self, config: &Config) -> Remote {
        Remote {
            jwk_sets: Arc::clone(&self.jwk_sets),
            outgoing: Arc::clone(&self.outgoing),
            max_certificates: config.clients.max_certificates,
        }
    }

    /// Reads the lists of every anchor set, and joins what is known with the policies of the configuration. Files in
    /// `unsettled` are still being written and are left alone.
    pub(super) fn revocation(
        &self,
        config: &Config,
        trust: &TrustStore,
        unsettled: &BTreeSet<PathBuf>,
        now: Timestamp,
    ) -> (Arc<Revocation>, Problems) {
        let mut problems = Problems::default();
        let (mut policies, mut urls) = (BTreeMap::new(), Vec::new());
        for source in &config.trust_anchors {
            let policy = SetRevocation {
                mode: source.revocation,
                crl: !source.crl.is_empty(),
                ocsp: source.ocsp.as_ref().map(|ocsp| ocsp.url.clone()),
            };
            policies.insert(source.name.clone(), policy);
            let Some(set) = trust.set(&source.name) else { continue };
            // Read once more, because they outlive the set; they have been read before, so none is lost.
            let issuers: Arc<[Certificate]> =
                issuers(set).filter_map(|issuer| Certificate::parse(issuer.der()).ok()).collect();
            for crl in &source.crl {
                match crl {
                    CrlSource::Url(url) => {
                        urls.push(CrlUrl { url: url.url.clone(), issuers: Arc::clone(&issuers) });
                    }
                    CrlSource::File(file) if unsettled.contains(&file.path) => {}
                    CrlSource::File(file) => self.offer(source, file, &issuers, now, &mut problems),
                }
            }
        }
        // What became of the files is told as long as it is so, by `Facts::troubles`.
        let _ = self.lists.want(urls, now);
        let revocation = Revocation::new(policies, Arc::clone(&self.crls), Arc::clone(&self.ocsp));
        (Arc::new(revocation), problems)
    }

    fn offer(
        &self,
        set: &AnchorSetSource,
        file: &FileRef,
        issuers: &[Certificate],
        now: Timestamp,
        problems: &mut Problems,
    ) {
        let path = file.path.display();
        let bytes = match read(file) {
            Ok(bytes) => bytes,
            Err(error) => {
                let what = format!("the revocation list {path} of `{}` cannot be read: {error}", set.name);
                problems.error(
                    &file.at,
                    what,
                    "put the current list of the CA there; until then the last one counts",
                );
                return;
            }
        };
        let (key, content) = ((set.name.clone(), file.path.clone()), content_hash(&bytes, issuers));
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let known = offered.get(&key).filter(|offered| offered.content == content);
        let outcome = match known {
            // What is from the future is offered until its time has come.
            Some(Offered { outcome, .. }) if !matches!(outcome, Err(CrlError::Future(_))) => outcome.clone(),
            _ => self.crls.offer(&bytes, issuers, now),
        };
        match &outcome {
            Ok(lists) => {
                for list in lists.iter().filter(|list| self.is_aside(list)) {
                    let what = format!(
                        "{path}: no CA of `{}` has signed this revocation list of {}; it counts once a client shows the \
                         CA that has",
                        set.name, list.issuer
                    );
                    let instead = "put the list there that a CA of this anchor set has signed, or name that CA in the \
                                   `intermediates` of the set";
                    problems.warning(&file.at, what, instead);
                }
                for list in lists.iter().filter(|list| list.next_update < now) {
                    let what = format!(
                        "{path}: the revocation list of {} is out of date since {}",
                        list.issuer, list.next_update
                    );
                    problems.warning(
                        &file.at,
                        what,
                        "put the current list of the CA there, `openssl ca -gencrl`",
                    );
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
        offered.insert(key, Offered { content, outcome });
    }

    /// Whether it waits for its issuer to be seen.
    fn is_aside(&self, list: &CrlSummary) -> bool {
        let is_it = |other: &CrlSummary| (&other.issuer, &other.number) == (&list.issuer, &list.number);
        let lists = self.crls.summaries();
        list.issuer_key.is_none() && !lists.iter().any(|other| other.issuer_key.is_some() && is_it(other))
    }

    /// What is wrong now with what `world` depends on, one sentence each.
    pub fn troubles(&self, world: &ClientAuthenticator, now: Timestamp) -> Vec<String> {
        let mut troubles = self.lists_that_are_not_current(world, now);
        troubles.extend(self.lists.troubles());
        troubles.extend(self.ocsp.troubles(now));
        for (client, uri) in published(world.registry()).filter(|(client, _)| client.enabled) {
            let trouble = self.jwk_sets.of(uri).trouble.clone();
            troubles
                .extend(trouble.map(|trouble| format!("the jwks_uri of client {}: {trouble}", client.id)));
        }
        troubles
    }

    fn lists_that_are_not_current(&self, world: &ClientAuthenticator, now: Timestamp) -> Vec<String> {
        let (lists, mut troubles) = (self.crls.summaries(), BTreeSet::new());
        for name in world.trust().names() {
            let policy = world.revocation().policy(name);
            let Some(policy) = policy.filter(|policy| policy.crl && policy.mode != RevocationMode::Off)
            else {
                continue;
            };
            for issuer in world.trust().set(name).into_iter().flat_map(issuers) {
                match lists.iter().find(|list| list.issuer_key == Some(issuer.key_hash())) {
                    Some(list) if list.next_update < now => {
                        let (issuer, since) = (&list.issuer, list.next_update);
                        troubles
                            .insert(format!("the revocation list of {issuer} is out of date since {since}"));
                    }
                    Some(_) => {}
                    None if policy.ocsp.is_some() => {}
                    None => {
                        let subject = issuer.subject();
                        troubles
                            .insert(format!("anchor set `{name}`: there is no revocation list of {subject}"));
                    }
                }
            }
        }
        troubles.into_iter().collect()
    }
}

/// The clients that publish their certificates, and where.
pub fn published(registry: &Registry) -> impl Iterator<Item = (&Arc<Client>, &Url)> {
    registry.clients().filter_map(|client| match &client.credential {
        Credential::SelfSignedTlsClientAuth { jwks_uri: Some(uri), .. } => Some((client, uri)),
        _ => None,
    })
}

/// Those of a set who may have signed a list.
fn issuers(set: &AnchorSet) -> impl Iterator<Item = &Certificate> {
    set.anchors().iter().chain(set.intermediates())
}

fn read(file: &FileRef) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    config::file::open(&file.path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it has more than 64 MiB"));
    }
    Ok(bytes)
}

fn content_hash(bytes: &[u8], issuers: &[Certificate]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for issuer in issuers {
        hash.update(issuer.thumbprint().as_bytes());
    }
    hash.update(bytes);
    hash.finalize().into()
}
