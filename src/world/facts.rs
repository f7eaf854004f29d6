//! What is known of the world outside, whatever configuration is in force: revocation lists, answers of responders,
//! certificates that clients publish, and the one way out. Made once and shared by every world of a server.
//!
//! Nothing here asks the network: that is for the background (`tasks`) and for `ClientAuthenticator::authenticate_asking`.
//! What was fetched earlier is read from the disk, beside the store. A list that cannot be had, or is not a better one,
//! changes nothing: the one in force stays until its `nextUpdate`, and from then on the policy of the anchor set decides.

mod lists;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use url::Url;

use crate::authn::{ClientAuthenticator, Remote};
use crate::clock::Timestamp;
use crate::config::{self, AnchorSetSource, Config, CrlSource, FileRef};
use crate::document::{At, Problems};
use crate::pki::fetch::{Outgoing, OutgoingSettings, shared};
use crate::pki::revocation::crl::{CrlError, CrlSummary, Crls};
use crate::pki::revocation::ocsp::OcspCache;
use crate::pki::revocation::sources::{CrlFetcher, CrlUrl};
use crate::pki::revocation::{Revocation, SetRevocation};
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

    /// Reads the lists of the anchor sets in `sets`, and joins what is known with their policies. Files in `unsettled` are
    /// still being written and are left alone.
    pub(super) fn revocation(
        &self,
        sets: &[AnchorSetSource],
        trust: &TrustStore,
        unsettled: &BTreeSet<PathBuf>,
        now: Timestamp,
    ) -> (Arc<Revocation>, Problems) {
        let mut problems = Problems::default();
        let (mut policies, mut urls, mut named) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        for source in sets {
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
                    CrlSource::File(file) => {
                        named.insert((source.name.clone(), file.path.clone()));
                        if !unsettled.contains(&file.path) {
                            problems.0.extend(self.offer(source, file, &issuers, now).0);
                        }
                    }
                }
            }
        }
        self.offered().retain(|file, _| named.contains(file));
        // What became of the files is told as long as it is so, by `Facts::troubles`.
        let _ = self.lists.want(urls, now);
        let revocation = Revocation::new(policies, Arc::clone(&self.crls), Arc::clone(&self.ocsp));
        (Arc::new(revocation), problems)
    }

    /// Reads one file of lists, takes in what is good, and says what is not.
    fn offer(
        &self,
        set: &AnchorSetSource,
        file: &FileRef,
        issuers: &[Certificate],
        now: Timestamp,
    ) -> Problems {
        match read(file) {
            Ok(bytes) => {
                let outcome = self.judge((set.name.clone(), file.path.clone()), &bytes, issuers, now);
                lists::of_file(&set.name, file, &outcome, &self.crls.summaries(), now)
            }
            Err(error) => lists::unreadable(&set.name, file, &error),
        }
    }

    /// What becomes of the bytes of a file; what became of them before, if they and the issuers are the same.
    fn judge(
        &self,
        name: (AnchorSetName, PathBuf),
        bytes: &[u8],
        issuers: &[Certificate],
        now: Timestamp,
    ) -> Result<Vec<CrlSummary>, CrlError> {
        let content = content_hash(bytes, issuers);
        let mut offered = self.offered();
        let known = offered.get(&name).filter(|offered| offered.content == content);
        let outcome = match known {
            // What is from the future is offered until its time has come.
            Some(Offered { outcome, .. }) if !matches!(outcome, Err(CrlError::Future(_))) => outcome.clone(),
            _ => self.crls.offer(bytes, issuers, now),
        };
        offered.insert(name, Offered { content, outcome: outcome.clone() });
        outcome
    }

    /// What is wrong now with what `world` depends on, by where it comes from. Nothing wrong is said too.
    pub fn troubles(&self, world: &ClientAuthenticator, now: Timestamp) -> [(&'static str, Problems); 3] {
        let mut of_lists = lists::not_current(world, |list| self.file_of(list), now);
        for trouble in self.lists.troubles() {
            let instead = "see to the server of the list; an address that is refused and meant belongs in \
                           outgoing.allow";
            of_lists.warning(&nowhere(), trouble, instead);
        }
        let mut of_responders = Problems::default();
        for trouble in self.ocsp.troubles(now) {
            let instead =
                "see to the responder; an address that is refused and meant belongs in outgoing.allow";
            of_responders.warning(&nowhere(), trouble, instead);
        }
        let mut of_clients = Problems::default();
        for (client, uri) in published(world.registry()).filter(|(client, _)| client.enabled) {
            if let Some(trouble) = &self.jwk_sets.of(uri).trouble {
                let what = format!("the jwks_uri of client {}: {trouble}", client.id);
                let instead = "see to the set with whoever publishes it; an address that is refused and meant \
                               belongs in outgoing.allow";
                of_clients.warning(&client.at, what, instead);
            }
        }
        [("revocation_lists", of_lists), ("responders", of_responders), ("published", of_clients)]
    }

    /// The file that a list in force was read from, if it was one.
    fn file_of(&self, list: &CrlSummary) -> Option<PathBuf> {
        let has_it = |offered: &Offered| offered.outcome.as_ref().is_ok_and(|lists| lists.contains(list));
        let offered = self.offered();
        offered.iter().find(|(_, offered)| has_it(offered)).map(|((_, file), _)| file.clone())
    }

    fn offered(&self) -> MutexGuard<'_, BTreeMap<(AnchorSetName, PathBuf), Offered>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nowhere() -> At {
    At::whole(Path::new(""))
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
