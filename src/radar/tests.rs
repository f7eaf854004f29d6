//! A year passes in a test: who is told when, how often, and in which words.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use base64::Engine as _;

use super::*;
use crate::pki::workshop::{Authority, Identity, LeafPurpose, Template};
use crate::pki::{AnchorSetName, Profile, TrustStore};
use crate::registry::{Registry, RegistrySettings};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const WARN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

fn days(count: i64) -> Timestamp {
    Timestamp::from_unix(NOW.as_unix() + count * 24 * 60 * 60)
}

/// A CA that ends in 400 days, with what it takes to have clients.
struct Office {
    ca: Authority,
    directory: tempfile::TempDir,
}

impl Office {
    fn open() -> Self {
        let template = Template::new("Office CA", days(-100), days(400));
        Self { ca: Authority::new(&template).unwrap(), directory: tempfile::tempdir().unwrap() }
    }

    fn leaf(&self, name: &str, purpose: LeafPurpose, begins: Timestamp, ends: Timestamp) -> Identity {
        let mut template = Template::new(name, begins, ends);
        template.purpose = purpose;
        self.ca.issue(&template).unwrap()
    }

    fn self_signed(&self, file: &str, ends: Timestamp) -> Identity {
        let identity = Identity::self_signed(&Template::new(file, days(-10), ends)).unwrap();
        fs::write(self.directory.path().join(file), identity.certificate_pem()).unwrap();
        identity
    }

    fn world(&self, documents: &str) -> ClientAuthenticator {
        fs::write(self.directory.path().join("clients.yaml"), documents).unwrap();
        let anchor = Certificate::parse(self.ca.identity().certificate_der()).unwrap();
        let set = AnchorSet::unchecked(vec![anchor], Vec::new(), Profile::Compatible);
        let trust = TrustStore::new([(AnchorSetName::new("corp"), set)].into());
        let settings = RegistrySettings {
            directory: self.directory.path().to_owned(),
            max_certificates: 5,
            default_resource: Some(crate::oauth::Audience::parse("https://api.example.com").unwrap()),
        };
        let (registry, problems) = Registry::load(&settings, None, &trust, &BTreeSet::default(), NOW);
        assert!(!problems.has_errors(), "{problems:?}");
        ClientAuthenticator::new(registry, Arc::new(trust))
    }
}

const PKI_CLIENT: &str = "client_id: billing
token_endpoint_auth_method: tls_client_auth
tls_client_auth_subject_dn: CN=billing
contacts: [billing-team@example.com]
";

const PINNED_CLIENT: &str = "client_id: edge
token_endpoint_auth_method: self_signed_tls_client_auth
certificates: [one.pem, two.pem]
";

fn sighting(client: &str, identity: &Identity, first_seen: Timestamp) -> Sighting {
    let chain = vec![identity.certificate_der().to_vec()];
    let thumbprint = Certificate::parse(&chain[0]).unwrap().thumbprint();
    let client = ClientId::parse(client).unwrap();
    Sighting { client, thumbprint, chain, first_seen, last_seen: NOW }
}

fn newest<const N: usize>(seen: [Sighting; N]) -> Newest {
    Newest::of(seen)
}

fn warnings(expiries: &[Expiry]) -> Vec<String> {
    expiries.iter().filter_map(|expiry| expiry.warning(WARN, NOW)).collect()
}

#[test]
fn the_certificate_that_counts_is_the_newest_that_was_seen() {
    let office = Office::open();
    let world = office.world(PKI_CLIENT);
    let old = office.leaf("billing", LeafPurpose::Client, days(-300), days(10));
    let new = office.leaf("billing", LeafPurpose::Client, days(-20), days(340));
    let before = expiries(&world, &newest([sighting("billing", &old, days(-290))]), []);
    let said = warnings(&before);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("client billing expires in 10 days"), "{said:?}");
    assert!(said[0].ends_with("contact billing-team@example.com"), "{said:?}");
    let both = [sighting("billing", &old, days(-290)), sighting("billing", &new, days(-19))];
    assert!(warnings(&expiries(&world, &newest(both), [])).is_empty());
}

#[test]
fn a_pin_whose_successor_is_in_use_is_nobodys_business_and_one_that_waits_is_named() {
    let office = Office::open();
    let one = office.self_signed("one.pem", days(20));
    let two = office.self_signed("two.pem", days(200));
    let world = office.world(PINNED_CLIENT);
    let unseen = warnings(&expiries(&world, &newest([sighting("edge", &one, days(-5))]), []));
    assert_eq!(unseen.len(), 1, "{unseen:?}");
    assert!(unseen[0].contains("registered and has never been seen"), "{unseen:?}");
    let moved = [sighting("edge", &one, days(-5)), sighting("edge", &two, days(-1))];
    assert!(warnings(&expiries(&world, &newest(moved), [])).is_empty());
    fs::write(office.directory.path().join("two.pem"), one.certificate_pem()).unwrap();
    let alone = warnings(&expiries(&office.world(PINNED_CLIENT), &Newest::default(), []));
    assert!(alone[0].contains("client add-certificate"), "{alone:?}");
}

#[test]
fn the_end_of_what_is_known_by_its_thumbprint_alone_is_told_as_that_of_the_client() {
    let office = Office::open();
    let one = office.self_signed("one.pem", days(10));
    let seen = sighting("edge", &one, days(-5));
    let pinned = "client_id: edge\ntoken_endpoint_auth_method: self_signed_tls_client_auth\ncontacts: [edge@example.com]\n";
    let by_thumbprint = format!("x5t#S256: [{}]", seen.thumbprint);
    for source in [by_thumbprint.as_str(), "jwks_uri: https://edge.example.com/jwks"] {
        let world = office.world(&format!("{pinned}{source}\n"));
        let said = warnings(&expiries(&world, &newest([seen.clone()]), []));
        let [said] = said.as_slice() else { panic!("{source}: {said:?}") };
        assert!(said.contains("in use by client edge expires in 10 days"), "{source}: {said}");
        assert!(said.ends_with("contact edge@example.com"), "{source}: {said}");
    }
    let world = office.world(&format!("{pinned}certificates: [one.pem]\n"));
    let said = warnings(&expiries(&world, &newest([seen]), []));
    assert!(said.len() == 1 && said[0].contains("the registered certificate edge"), "once: {said:?}");
}

#[test]
fn anchors_and_servers_have_their_end_too_and_disabled_clients_have_none() {
    let office = Office::open();
    let world = office.world(&format!("{PKI_CLIENT}enabled: false\n"));
    let leaf = office.leaf("billing", LeafPurpose::Client, days(-300), days(1));
    let all =
        expiries(&world, &newest([sighting("billing", &leaf, days(-1))]), [("CN=as".to_owned(), days(2))]);
    let found: Vec<_> = all.iter().map(|expiry| (expiry.kind, expiry.name.as_str(), expiry.ends)).collect();
    assert_eq!(found, [(Kind::Server, "CN=as", days(2)), (Kind::Anchor, "corp CN=Office CA", days(400))]);
    assert!(all[1].warning(WARN, days(371)).unwrap().contains("corp CN=Office CA expires in 29 days"));
    assert!(all[1].warning(WARN, days(401)).unwrap().contains("expired on"));
}

#[test]
fn each_end_is_told_once_per_stage() {
    let expiry = Expiry {
        kind: Kind::Server,
        name: "CN=as".to_owned(),
        client: None,
        contacts: Vec::new(),
        ends: days(40),
        warn_at_most: None,
        successor: Successor::None,
    };
    let mut radar = Radar::default();
    let mut told = Vec::new();
    for hour in 0..45 * 24 {
        let now = NOW.plus(Duration::from_secs(hour * 3600));
        let news = radar.sweep(std::slice::from_ref(&expiry), Vec::new(), WARN, now);
        told.extend(news.iter().map(|_| 40 - i64::try_from(hour / 24).unwrap()));
    }
    assert_eq!(told, [30, 14, 7, 3, 2, 1, 0]);
    let of_two_listeners = [expiry.clone(), expiry.clone()];
    assert_eq!(Radar::default().sweep(&of_two_listeners, Vec::new(), WARN, days(20)).len(), 1);
    // Renewed, it is news again when its own time has come.
    let renewed = Expiry { ends: days(100), ..expiry };
    assert!(radar.sweep(std::slice::from_ref(&renewed), Vec::new(), WARN, days(45)).is_empty());
    assert_eq!(radar.sweep(&[renewed], Vec::new(), WARN, days(71)).len(), 1);
}

#[test]
fn a_list_is_warned_of_in_the_last_tenth_of_its_life_only() {
    let expiry = Expiry {
        kind: Kind::Crl,
        name: "CN=Corp CA".to_owned(),
        client: None,
        contacts: Vec::new(),
        ends: days(7),
        warn_at_most: Some(DAY),
        successor: Successor::None,
    };
    assert_eq!(expiry.warning(WARN, days(5)), None);
    assert!(
        expiry.warning(WARN, days(6)).unwrap().contains("revocation list of CN=Corp CA runs out in 24 hours")
    );
}

#[test]
fn a_client_whose_new_certificate_lacks_client_auth_is_noticed_until_a_better_one_comes() {
    let office = Office::open();
    let world = office.world(PKI_CLIENT);
    let used = office.leaf("billing", LeafPurpose::Client, days(-50), days(50));
    let server_only = office.leaf("billing", LeafPurpose::Server, days(-2), days(300));
    let refusal = |identity: &Identity, reason: &str| RefusalRecord {
        reference: "0000-0000-0000-0000".to_owned(),
        at: NOW.as_unix(),
        claimed: Some("billing".to_owned()),
        is_registered: true,
        path: "/token".to_owned(),
        listener: "mtls".to_owned(),
        reason: reason.to_owned(),
        check: "extended key usage".to_owned(),
        expected: String::new(),
        seen: String::new(),
        chain: vec![STANDARD.encode(identity.certificate_der())],
    };
    let seen = newest([sighting("billing", &used, days(-49))]);
    let found = without_client_auth(&world, &seen, &[refusal(&server_only, "wrong_usage")]);
    assert_eq!(found.len(), 1);
    assert!(found[0].what.contains("lacks clientAuth") && found[0].contacts == ["billing-team@example.com"]);
    let mut radar = Radar::default();
    assert_eq!(radar.sweep(&[], found.clone(), WARN, NOW).len(), 1);
    assert!(radar.sweep(&[], found, WARN, NOW).is_empty(), "once is enough");

    // Another reason, another subject, or a good certificate that is newer: nothing to tell.
    assert!(without_client_auth(&world, &seen, &[refusal(&server_only, "untrusted")]).is_empty());
    let other = office.leaf("mail", LeafPurpose::Server, days(-2), days(300));
    assert!(without_client_auth(&world, &seen, &[refusal(&other, "wrong_usage")]).is_empty());
    let better = office.leaf("billing", LeafPurpose::Client, days(-1), days(300));
    let seen = newest([sighting("billing", &better, days(-1)), sighting("billing", &used, days(-49))]);
    assert!(without_client_auth(&world, &seen, &[refusal(&server_only, "wrong_usage")]).is_empty());
}
