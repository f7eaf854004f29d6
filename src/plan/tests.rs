//! Two worlds and what was seen: each certificate on the side where it belongs.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::oauth::Audience;
use crate::pki::workshop::{Authority, Template};
use crate::pki::{AnchorSet, AnchorSetName, Certificate, Profile, TrustStore};
use crate::registry::{Registry, RegistrySettings};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn template(name: &str) -> Template {
    Template::new(name, NOW.minus(DAY * 100), NOW.plus(DAY * 100))
}

fn authority(name: &str) -> Authority {
    Authority::new(&template(name)).unwrap()
}

/// A leaf of this CA with a DNS name.
fn leaf(ca: &Authority, dns: &str) -> Vec<u8> {
    let template = Template { dns: vec![dns.to_owned()], ..template(dns) };
    ca.issue(&template).unwrap().certificate_der().to_vec()
}

/// A world with these clients by DNS name, of one CA.
fn world(ca: &Authority, clients: &[(&str, &str)]) -> ClientAuthenticator {
    let directory = tempfile::tempdir().unwrap();
    for (id, dns) in clients {
        let document = format!(
            "client_id: {id}\ntoken_endpoint_auth_method: tls_client_auth\ntls_client_auth_san_dns: {dns}\n"
        );
        fs::write(directory.path().join(format!("{id}.yaml")), document).unwrap();
    }
    let settings = RegistrySettings {
        directory: directory.path().to_owned(),
        max_certificates: 5,
        default_resource: Some(Audience::parse("https://api.example.com").unwrap()),
    };
    let anchor = Certificate::parse(ca.identity().certificate_der()).unwrap();
    let set = AnchorSet::new(vec![anchor], Vec::new(), Profile::default()).unwrap();
    let trust = TrustStore::new([(AnchorSetName::new("corp"), set)].into());
    let (registry, problems) = Registry::load(&settings, None, &trust, &BTreeSet::new(), NOW);
    assert!(!problems.has_errors(), "{problems:?}");
    ClientAuthenticator::new(registry, Arc::new(trust))
}

fn seen(client: &str, leaf: &[u8], days_ago: u32) -> Sighting {
    Sighting {
        client: ClientId::parse(client).unwrap(),
        thumbprint: Thumbprint::of(leaf),
        chain: vec![leaf.to_vec()],
        first_seen: NOW.minus(DAY * 99),
        last_seen: NOW.minus(DAY * days_ago),
    }
}

fn refused(client: &str, leaf: &[u8]) -> RefusalRecord {
    RefusalRecord {
        reference: "0000-0000-0000-0000".to_owned(),
        at: NOW.minus(DAY).as_unix(),
        claimed: Some(client.to_owned()),
        is_registered: true,
        path: "/token".to_owned(),
        listener: "mtls".to_owned(),
        reason: "subject_mismatch".to_owned(),
        check: "tls_client_auth_san_dns".to_owned(),
        expected: "a".to_owned(),
        seen: "b".to_owned(),
        chain: vec![STANDARD.encode(leaf)],
    }
}

fn ahead(
    in_force: InForce<'_>,
    candidate: &ClientAuthenticator,
    seen: &[Sighting],
    refused: &[RefusalRecord],
) -> Plan {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(plan(in_force, candidate, seen, refused, NOW))
}

fn ids(changes: &[Change]) -> Vec<(&str, &str)> {
    changes.iter().map(|change| (change.client_id.as_str(), change.reason.as_str())).collect()
}

#[test]
fn each_certificate_is_decided_about_in_both_worlds() {
    let (old, new) = (authority("Corp CA"), authority("Corp CA"));
    let current = world(&old, &[("a", "a.example"), ("b", "b.example"), ("c", "c.example")]);
    let candidate = world(&new, &[("a", "a.example"), ("b", "b.example"), ("c", "c.example")]);
    let records = [
        seen("a", &leaf(&old, "a.example"), 1),
        seen("b", &leaf(&new, "b.example"), 1),
        seen("c", &leaf(&authority("Other"), "c.example"), 1),
    ];
    let plan = ahead(InForce::World(&current), &candidate, &records, &[]);
    assert_eq!((plan.recorded, plan.unchanged), (3, 1), "refused in both worlds is no change");
    assert_eq!(ids(&plan.stop), [("a", "untrusted")], "a CA of the same name is another CA");
    assert_eq!(ids(&plan.start), [("b", "untrusted")]);
    assert!(plan.stop[0].detail.starts_with("path: expected a path to an anchor of corp, seen "), "{plan:?}");
    assert_eq!(plan.stop[0].last_seen.as_deref(), Some("2027-01-14T08:00:00Z"));
    assert!(!plan.is_harmless());
    assert!(ahead(InForce::World(&current), &current, &records, &[]).is_harmless());
}

#[test]
fn without_a_server_what_was_said_then_counts() {
    let ca = authority("Corp CA");
    let candidate = world(&ca, &[("a", "a.example")]);
    let good = leaf(&ca, "a.example");
    let plan = ahead(InForce::AsSeen, &candidate, &[seen("a", &good, 1)], &[]);
    assert_eq!((plan.recorded, plan.unchanged, plan.stop.len()), (1, 1, 0));
    let plan = ahead(InForce::AsSeen, &candidate, &[seen("gone", &good, 1)], &[]);
    assert_eq!(ids(&plan.stop), [("gone", "unknown_client")]);
    let plan = ahead(InForce::AsSeen, &candidate, &[], &[refused("a", &good)]);
    assert_eq!(ids(&plan.start), [("a", "subject_mismatch")]);
    assert_eq!(plan.start[0].last_seen, None);
    assert!(!plan.is_harmless(), "no success is recorded");
}

#[test]
fn what_is_old_or_over_or_a_strangers_is_not_looked_at() {
    let ca = authority("Corp CA");
    let candidate = world(&ca, &[("a", "other.example")]);
    let good = leaf(&ca, "a.example");
    let ended = Template { dns: vec!["a.example".to_owned()], ..Template::new("a", NOW.minus(DAY * 9), NOW) };
    let ended = ca.issue(&ended).unwrap().certificate_der().to_vec();
    let records = [seen("a", &good, 31), seen("a", &ended, 1)];
    let refusals = [refused("nobody", &good), RefusalRecord { chain: Vec::new(), ..refused("a", &good) }];
    assert_eq!(ahead(InForce::AsSeen, &candidate, &records, &refusals), Plan::default());
    let plan = ahead(InForce::AsSeen, &candidate, &[seen("a", &good, 30)], &[]);
    assert_eq!(ids(&plan.stop), [("a", "subject_mismatch")]);
}

#[test]
fn a_certificate_counts_once_for_each_client_and_success_says_more_than_refusal() {
    let ca = authority("Corp CA");
    let candidate = world(&ca, &[("a", "a.example"), ("b", "b.example")]);
    let good = leaf(&ca, "a.example");
    let refusals = [refused("a", &good), refused("b", &good), refused("b", &good)];
    let plan = ahead(InForce::AsSeen, &candidate, &[seen("a", &good, 1)], &refusals);
    assert_eq!((plan.recorded, plan.unchanged), (1, 2));
}
