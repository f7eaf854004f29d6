//! Everything that the configuration names, read and checked as a whole: the one way to a world, for the start, for
//! every reload and for `certbound check`.

mod candidate;
mod expiry;
mod facts;
mod reload;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use candidate::candidate;
pub use facts::{Facts, published};
pub use reload::{InForce, Reloaded};

use sha2::{Digest as _, Sha256};

use crate::authn::ClientAuthenticator;
use crate::clock::Timestamp;
use crate::config::{self, AnchorSetSource, Config, CrlSource, FileRef, IdentitySource, Listener, ServerTls};
use crate::document::{At, Problem, Problems, Severity};
use crate::http::Policy;
use crate::http::probes::HealthProblem;
use crate::http::tls::ServerIdentity;
use crate::keys::{Directory, KeyFileError, Reading, SealingKey, SigningKeys};
use crate::oauth::Issuer;
use crate::pki::Certificate;
use crate::pki::files::{self, Bundle};
use crate::registry::{Credential, Registry};

/// The largest file of the server's own that is read.
const MAX_FILE: u64 = 1024 * 1024;

/// The clients, anchors and revocation policies of a configuration, checked against each other.
pub struct World {
    /// Decides.
    pub authenticator: ClientAuthenticator,
    /// What needs somebody, but stops nothing; in a [`World::draft`], errors too.
    pub warnings: Problems,
}

impl World {
    /// Reads everything for a start: one error anywhere, and there is no world but all the problems.
    pub fn start(config: &Config, now: Timestamp) -> Result<(Self, Arc<Facts>), Problems> {
        let (facts, mut warnings) = Facts::new(config);
        let Self { authenticator, warnings: found } = Self::draft(config, &facts, now);
        warnings.0.extend(found.0);
        let (registry, trust) = (authenticator.registry(), authenticator.trust());
        warnings.0.extend(config.outdated_anchors(trust, registry, now).0);
        for forwarded in config.forwarded() {
            // What stands in it is for the listener; here it is tried.
            warnings.0.extend(forwarded.proxy().err().into_iter().flat_map(|problems| problems.0));
        }
        warnings.0.extend(config.database_problems());
        for tls in listeners_with_tls(config) {
            match server_bundle(tls).and_then(|bundle| {
                let odd = out_of_date(tls, &bundle, now);
                identity(tls, bundle).map(|_| odd)
            }) {
                Ok(odd) => warnings.0.extend(odd),
                Err(found) => warnings.0.extend(found.0),
            }
        }
        match sealing_key(config) {
            Ok(None) if config.signing.directory.exists() => {
                let found = Directory::open(&config.signing.directory).map(|directory| directory.read());
                let found = found.map_or_else(|error| errors_of(&[error]), |reading| problems_of(&reading));
                warnings.0.extend(found);
            }
            Ok(_) => {}
            Err(problems) => warnings.0.extend(problems.0),
        }
        if warnings.has_errors() { Err(warnings) } else { Ok((Self { authenticator, warnings }, facts)) }
    }

    /// Reads what decides about clients and goes on after an error, for `explain` and `plan`: a broken file is no reason
    /// to be silent about the others. Nothing may be served from a draft.
    pub fn draft(config: &Config, facts: &Facts, now: Timestamp) -> Self {
        let (trust, mut warnings) = config.trust_draft(now);
        let trust = Arc::new(trust);
        let (registry, problems) =
            Registry::load(&config.registry_settings(), None, &trust, &BTreeSet::new(), now);
        warnings.0.extend(problems.0);
        warnings.0.extend(out_of_reach(&registry, facts).0);
        let (revocation, problems) = facts.revocation(&config.trust_anchors, &trust, &BTreeSet::new(), now);
        warnings.0.extend(problems.0);
        let authenticator = ClientAuthenticator::new(registry, trust)
            .with_revocation(revocation)
            .with_remote(facts.remote(config));
        Self { authenticator, warnings }
    }

    /// Everything that `serve` would refuse or warn of, without making or changing anything, and without asking anybody.
    pub fn check(config: &Config, now: Timestamp) -> Problems {
        match Self::start(config, now) {
            Ok((Self { authenticator, mut warnings }, _)) => {
                // What nobody uses and what will end one day makes no server degraded.
                warnings.0.extend(config.unused_anchors(authenticator.registry()).0);
                warnings.0.extend(expiry::about_to_end(config, &authenticator, now).0);
                warnings
            }
            Err(problems) => problems,
        }
    }
}

/// A `jwks_uri` that may not be asked as things are configured (decision U).
fn out_of_reach(registry: &Registry, facts: &Facts) -> Problems {
    let mut problems = Problems::default();
    for client in registry.clients() {
        let Credential::SelfSignedTlsClientAuth { jwks_uri: Some(uri), .. } = &client.credential else {
            continue;
        };
        if let Err(error) = facts.outgoing.permits(uri) {
            let what = format!("the jwks_uri of client `{}`: {error}", client.id);
            let instead = "name the address in outgoing.allow if it is meant, or publish the set elsewhere";
            problems.error(&client.at, what, instead);
        }
    }
    problems
}

/// The signing keys of the directory; the first is made if there is none. An error in any file stops a start.
pub fn signing_keys(config: &Config, now: Timestamp) -> Result<(SigningKeys, Directory), Problems> {
    let stop = |error: KeyFileError| Problems(errors_of(&[error]));
    let directory = signing_directory(config)?;
    let mut reading = directory.read();
    if reading.keys.is_empty() && reading.errors.is_empty() {
        directory.create(config.signing.algorithm, now).map_err(stop)?;
        reading = directory.read();
    }
    let problems = Problems(problems_of(&reading));
    if problems.has_errors() { Err(problems) } else { Ok((reading.keys, directory)) }
}

/// What seals the signing keys in the database; `None` where they are in the directory. What it is stands in no problem.
pub fn sealing_key(config: &Config) -> Result<Option<SealingKey>, Problems> {
    use secrecy::ExposeSecret as _;
    let Some(source) = &config.signing.sealing_key else { return Ok(None) };
    let wrong = |what: String| {
        let mut problems = Problems::default();
        let instead = "put there what `openssl rand -base64 32` prints, the same for every node";
        problems.error(&At::whole(config.file.as_path()), format!("signing.sealing_key: {what}"), instead);
        problems
    };
    let text = source.read().map_err(wrong)?;
    SealingKey::parse(text.expose_secret()).map(Some).map_err(|error| wrong(format!("{source}: {error}")))
}

/// `signing.directory`, made if it is missing. Also where the keys are elsewhere: `store-id` lies there.
pub fn signing_directory(config: &Config) -> Result<Directory, Problems> {
    Directory::open(&config.signing.directory).map_err(|error| Problems(errors_of(&[error])))
}

/// What a reading of the signing keys found wrong, as `check` and the log tell it.
pub fn problems_of(reading: &Reading) -> Vec<Problem> {
    let mut problems = errors_of(&reading.errors);
    problems.extend(reading.warnings.iter().map(|odd| key_problem(odd, Severity::Warning)));
    problems
}

fn errors_of(errors: &[KeyFileError]) -> Vec<Problem> {
    errors.iter().map(|error| key_problem(error, Severity::Error)).collect()
}

fn key_problem(error: &KeyFileError, severity: Severity) -> Problem {
    let file = PathBuf::from(&error.file);
    Problem { severity, file, line: 0, column: 0, what: error.what.clone(), instead: error.instead.clone() }
}

/// The `tls` of each listener that has one, in the order of the configuration.
pub fn listeners_with_tls(config: &Config) -> impl Iterator<Item = &ServerTls> {
    config.listeners.iter().filter_map(|listener| match listener {
        Listener::Mtls { tls, .. } | Listener::Public { tls, .. } => Some(tls),
        Listener::Forwarded(forwarded) => forwarded.tls.as_ref(),
        Listener::Admin { .. } => None,
    })
}

/// Certificate and key of a listener.
pub fn server_identity(tls: &ServerTls) -> Result<ServerIdentity, Problems> {
    identity(tls, server_bundle(tls)?)
}

fn identity(tls: &ServerTls, bundle: Bundle) -> Result<ServerIdentity, Problems> {
    ServerIdentity::new(bundle).map_err(|error| {
        let mut problems = Problems::default();
        let instead = "name the certificate of this server and the private key it was made for";
        problems.error(&tls.at, error.to_string(), instead);
        problems
    })
}

/// A warning if the certificate of a listener is outside its validity, which is inclusive (RFC 5280 §4.1.2.5).
pub fn out_of_date(tls: &ServerTls, bundle: &Bundle, now: Timestamp) -> Option<Problem> {
    let leaf = Certificate::parse(bundle.certificates.first()?).ok()?;
    let (begin, end) = (leaf.not_before(), leaf.not_after());
    let what = if end < now {
        format!("the certificate of this listener has expired on {end}")
    } else if now < begin {
        format!("the certificate of this listener is not valid before {begin}")
    } else {
        return None;
    };
    let mut problems = Problems::default();
    problems.warning(&tls.at, what, "put the current certificate and its key in their place");
    problems.0.pop()
}

/// What the files of a listener hold.
pub fn server_bundle(tls: &ServerTls) -> Result<Bundle, Problems> {
    let mut problems = Problems::default();
    let bundle = match &tls.identity {
        IdentitySource::Files { certificate, key } => {
            let (chain, key) = (read(certificate, None, &mut problems), read(key, None, &mut problems));
            chain.zip(key).map(|(chain, key)| Bundle { key: key.key, ..chain })
        }
        IdentitySource::Pkcs12 { file, password } => match password.read() {
            Ok(password) => {
                use secrecy::ExposeSecret as _;
                read(file, Some(password.expose_secret()), &mut problems)
            }
            Err(error) => {
                problems.error(&tls.at, error, "give the password of the PKCS#12 file where this names it");
                None
            }
        },
    };
    bundle.ok_or(problems)
}

fn read(file: &FileRef, password: Option<&str>, problems: &mut Problems) -> Option<Bundle> {
    let path = file.path.display();
    let bytes = match read_bounded(&file.path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let instead = "put the file there, readable for the server, or name the file where it is";
            problems.error(&file.at, format!("{path} cannot be read: {error}"), instead);
            return None;
        }
    };
    match files::read(&bytes, password) {
        Ok(bundle) => Some(bundle),
        Err(error) => {
            let instead = "put a certificate or key in PEM, DER or PKCS#12 there";
            problems.error(&file.at, format!("{path}: {error}"), instead);
            None
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    config::file::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a reload may change of the way requests are handled.
pub fn policy(config: &Config) -> Policy {
    Policy {
        lifetime: config.tokens.lifetime,
        resource: config.tokens.resource.clone(),
        body: config.limits.body,
        body_timeout: config.limits.body_timeout,
        chain: config.limits.chain,
    }
}

/// Problems as `/readyz` shows them.
pub fn health_problems(problems: &Problems) -> Vec<HealthProblem> {
    let shown = |problem: &Problem| HealthProblem {
        what: problem.what.clone(),
        file: problem.file.display().to_string(),
    };
    problems.0.iter().map(shown).collect()
}

/// A hash of the clients and of the revocation policies in force, so that nodes can be compared.
pub fn config_hash(issuer: &Issuer, sets: &[AnchorSetSource], registry: &Registry) -> String {
    let mut clients: Vec<_> = registry.clients().collect();
    clients.sort_by(|one, other| one.id.cmp(&other.id));
    let mut hash = Sha256::new();
    hash.update(issuer.as_str());
    for set in sets {
        let responder = set.ocsp.as_ref().map(|ocsp| ocsp.url.as_str());
        let lists = set.crl.iter().map(|source| match source {
            CrlSource::File(file) => file.path.display().to_string(),
            CrlSource::Url(url) => url.url.to_string(),
        });
        let lists: Vec<_> = lists.collect();
        hash.update(format!("\n{} {} {lists:?} {responder:?}", set.name, set.revocation));
    }
    for client in clients {
        let pins = match &client.credential {
            Credential::TlsClientAuth { subject, anchors } => {
                format!("{} {subject} {anchors}", subject.parameter())
            }
            Credential::SelfSignedTlsClientAuth { pins, jwks_uri } => {
                let pins =
                    pins.keys().map(ToString::to_string).chain(jwks_uri.iter().map(ToString::to_string));
                pins.collect::<Vec<_>>().join(" ")
            }
        };
        let rest = (&client.grants, &client.scope, &client.resources, client.lifetime, &client.introspects);
        hash.update(format!("\n{}\n{}\n{pins}\n{rest:?}", client.id, client.enabled));
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        use std::fmt::Write as _;
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
