//! What is shown, and that the document can be pasted.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

use tempfile::TempDir;

use crate::clock::Timestamp;
use crate::oauth::Audience;
use crate::pki::workshop::{Authority, Identity, Template};
use crate::pki::{AnchorSet, AnchorSetName, Profile, TrustStore};
use crate::registry::{Registry, RegistrySettings};

fn template(cn: &str) -> Template {
    Template::new(cn, Timestamp::from_unix(1_790_000_000), Timestamp::from_unix(1_800_000_000))
}

#[test]
fn the_document_of_an_issued_certificate_has_exactly_one_rule() {
    let ca = Authority::new(&template("CA")).unwrap();
    let mut template = template("billing");
    template.dns = vec!["billing.example.com".into()];
    let der = ca.issue(&template).unwrap();
    let certificate = Certificate::parse(der.certificate_der()).unwrap();
    let document = Shown::of(&certificate, Path::new("/tmp/billing.pem")).client_document;
    let rules: Vec<_> = document.lines().filter(|line| line.starts_with("tls_client_auth_")).collect();
    assert_eq!(rules, ["tls_client_auth_san_dns: \"billing.example.com\""]);
    assert!(document.contains("# or, instead: tls_client_auth_subject_dn: \"CN=billing\""), "{document}");
    assert!(document.starts_with("client_id: \"billing\"\n"));
}

#[test]
fn the_document_of_a_self_signed_certificate_registers_its_thumbprint() {
    let identity = Identity::self_signed(&template("edge")).unwrap();
    let certificate = Certificate::parse(identity.certificate_der()).unwrap();
    let shown = Shown::of(&certificate, Path::new("-"));
    assert!(shown.client_document.contains("self_signed_tls_client_auth"));
    assert!(shown.client_document.contains(&certificate.thumbprint().to_string()));
    assert!(shown.client_document.starts_with("client_id: \"my-client\"\n"));
}

#[test]
fn the_json_has_the_fields_of_the_contract() {
    let identity = Identity::self_signed(&template("edge")).unwrap();
    let certificate = Certificate::parse(identity.certificate_der()).unwrap();
    let json = Shown::of(&certificate, Path::new("edge.pem")).json();
    let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "client_document",
            "extended_key_usage",
            "issuer",
            "key",
            "key_usage",
            "not_after",
            "not_before",
            "san",
            "serial",
            "spki_sha256",
            "subject",
            "x5t#S256",
        ]
    );
    assert_eq!(json["extended_key_usage"], json!(["clientAuth"]));
    assert_eq!(json["not_after"], "2027-01-15T08:00:00Z");
}

#[test]
fn the_document_can_be_pasted() {
    let ca = Authority::new(&template("CA")).unwrap();
    let anchor = Certificate::parse(ca.identity().certificate_der()).unwrap();
    let set = AnchorSet::new(vec![anchor], Vec::new(), Profile::Strict).ok().unwrap();
    let trust = TrustStore::new(BTreeMap::from([(AnchorSetName::new("corp"), set)]));
    let mut odd = template("");
    odd.subject = vec![("O".into(), "A: \"b\" #c, \\d".into()), ("CN".into(), "*".into())];
    let issued = ca.issue(&odd).unwrap();
    let alone = Identity::self_signed(&template("edge")).unwrap();
    let directory = TempDir::new().unwrap();
    for (name, identity) in [("issued", &issued), ("alone", &alone)] {
        let certificate = Certificate::parse(identity.certificate_der()).unwrap();
        let document = Shown::of(&certificate, Path::new(name)).client_document;
        std::fs::write(directory.path().join(format!("{name}.yaml")), document).unwrap();
    }
    let settings = RegistrySettings {
        directory: directory.path().to_owned(),
        max_certificates: 5,
        default_resource: Audience::parse("https://api.example.com").ok(),
    };
    let now = Timestamp::from_unix(1_795_000_000);
    let (registry, problems) = Registry::load(&settings, None, &trust, &BTreeSet::new(), now);
    assert!(!problems.has_errors(), "{problems:?}");
    assert_eq!(registry.clients().count(), 2);
}
