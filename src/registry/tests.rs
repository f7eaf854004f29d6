//! A directory of client documents, made anew for every test, and what a load makes of it.

mod documents;
mod files;
mod published;
mod reload;

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tempfile::TempDir;

use super::*;
use crate::pki::workshop::{Authority, Identity, KeyKind, LeafPurpose, Template};
use crate::pki::{AnchorSet, AnchorSetName, Certificate, Profile};

pub(super) const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

const BILLING: &str = "client_id: billing
token_endpoint_auth_method: tls_client_auth
tls_client_auth_san_dns: billing.example.com
trust_anchors: corp
";

/// A client of this name in the set `corp`.
fn named(name: &str) -> String {
    BILLING.replace("billing", name)
}

/// A self-signed client of this name with these certificate files.
fn pinned(name: &str, files: &str) -> String {
    format!(
        "client_id: {name}\ntoken_endpoint_auth_method: self_signed_tls_client_auth\ncertificates: {files}\n"
    )
}

pub(super) fn template() -> Template {
    Template::new("edge", NOW.minus(days(30)), NOW.plus(days(30)))
}

fn days(count: u64) -> std::time::Duration {
    std::time::Duration::from_secs(count * 24 * 60 * 60)
}

pub(super) fn self_signed(template: &Template) -> Identity {
    Identity::self_signed(template).unwrap()
}

fn anchors(certificates: &[&Authority]) -> AnchorSet {
    let parse = |ca: &&Authority| Certificate::parse(ca.identity().certificate_der()).unwrap();
    AnchorSet::new(certificates.iter().map(parse).collect(), Vec::new(), Profile::Compatible).unwrap()
}

fn authority(name: &str) -> Authority {
    Authority::new(&Template::new(name, NOW.minus(days(300)), NOW.plus(days(300)))).unwrap()
}

/// A directory, and the sets `corp` and `internal`, which have nothing in common.
struct Fixture {
    directory: TempDir,
    settings: RegistrySettings,
    trust: TrustStore,
}

impl Fixture {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let settings = RegistrySettings {
            directory: directory.path().join("clients.d"),
            max_certificates: 5,
            default_resource: Some(Audience::parse("https://api.example.com").unwrap()),
        };
        fs::create_dir(&settings.directory).unwrap();
        let sets =
            [("corp", anchors(&[&authority("Corp")])), ("internal", anchors(&[&authority("Internal")]))];
        let sets = sets.map(|(name, set)| (AnchorSetName::new(name), set));
        Self { directory, settings, trust: TrustStore::new(sets.into()) }
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let fixture = Self::new();
        for (name, content) in files {
            fixture.write(name, content);
        }
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.settings.directory.join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn load(&self, previous: Option<&Registry>) -> (Registry, Vec<String>) {
        self.load_except(previous, &[])
    }

    fn load_except(&self, previous: Option<&Registry>, unsettled: &[&str]) -> (Registry, Vec<String>) {
        let unsettled = unsettled.iter().map(|name| self.path(name)).collect();
        let (registry, problems) = Registry::load(&self.settings, previous, &self.trust, &unsettled, NOW);
        let printed = problems.0.iter().map(ToString::to_string);
        let directory = format!("{}/", self.settings.directory.display());
        (registry, printed.map(|problem| problem.replace(&directory, "")).collect())
    }

    /// The first load, which has to be without any problem.
    fn start(&self) -> Registry {
        let (registry, problems) = self.load(None);
        assert_eq!(problems, [""; 0]);
        registry
    }

    /// The problems of a document, alone in `a.yaml`.
    fn problems_of(&self, document: &str) -> Vec<String> {
        self.write("a.yaml", document);
        let (_, problems) = self.load(None);
        problems.into_iter().map(|problem| problem.replace("a.yaml:", "")).collect()
    }
}

fn find<'r>(registry: &'r Registry, id: &str) -> Option<&'r Arc<Client>> {
    registry.find(&ClientId::parse(id).unwrap())
}

fn ids(registry: &Registry) -> Vec<&str> {
    registry.clients().map(|client| client.id.as_str()).collect()
}

fn pins(registry: &Registry, id: &str) -> usize {
    match &find(registry, id).unwrap().credential {
        Credential::SelfSignedTlsClientAuth { pins, .. } => pins.len(),
        Credential::TlsClientAuth { .. } => panic!("{id} has no pins"),
    }
}

/// The JWK of a certificate of this kind, in JSON.
pub(super) fn jwk(identity: &Identity, kind: KeyKind) -> String {
    let certificate = Certificate::parse(identity.certificate_der()).unwrap();
    let info = certificate.public_key();
    let from_end =
        |skip: usize, take: usize| URL_SAFE_NO_PAD.encode(&info[info.len() - skip - take..info.len() - skip]);
    let key = match kind {
        KeyKind::P256 => {
            format!(r#""kty":"EC","crv":"P-256","x":"{}","y":"{}""#, from_end(32, 32), from_end(0, 32))
        }
        KeyKind::P384 => {
            format!(r#""kty":"EC","crv":"P-384","x":"{}","y":"{}""#, from_end(48, 48), from_end(0, 48))
        }
        // Behind the modulus come tag and length of the exponent. A leading zero means nothing.
        KeyKind::Rsa2048 => format!(r#""kty":"RSA","n":"{}","e":"AAEAAQ""#, from_end(5, 257)),
        KeyKind::Ed25519 => format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, from_end(0, 32)),
    };
    format!(r#"{{{key},"use":"sig","x5c":["{}"]}}"#, STANDARD.encode(identity.certificate_der()))
}
