//! The way of a certificate from `next` to `retiring`, told by when it was seen.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::document::At;
use crate::oauth::ClientId;
use crate::pki::workshop::{Identity, Template};
use crate::pki::{AnchorSetName, SubjectMatcher};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn certificate(days: u64) -> Arc<Certificate> {
    let until = NOW.plus(Duration::from_secs(days * 86_400));
    let made =
        Identity::self_signed(&Template::new("edge", NOW.minus(Duration::from_secs(999)), until)).unwrap();
    Arc::new(Certificate::parse(made.certificate_der()).unwrap())
}

fn client(credential: Credential) -> Client {
    Client {
        id: ClientId::parse("edge").unwrap(),
        name: None,
        credential,
        enabled: true,
        grants: [].into(),
        scope: crate::oauth::Scope::default(),
        resources: Vec::new(),
        lifetime: None,
        introspects: [].into(),
        contacts: Vec::new(),
        at: At::whole(Path::new("edge.yaml")),
    }
}

fn listing(certificates: &[&Arc<Certificate>]) -> (Client, BTreeMap<Thumbprint, Pin>) {
    let pin = |certificate: &Arc<Certificate>| Pin {
        certificate: Some(Arc::clone(certificate)),
        source: "edge.pem".to_owned(),
    };
    let pins: BTreeMap<_, _> = certificates.iter().map(|one| (one.thumbprint(), pin(one))).collect();
    (client(Credential::SelfSignedTlsClientAuth { pins: pins.clone(), jwks_uri: None }), pins)
}

fn sighting(certificate: &Certificate, first: i64, last: i64) -> Sighting {
    Sighting {
        client: ClientId::parse("edge").unwrap(),
        thumbprint: certificate.thumbprint(),
        chain: vec![certificate.der().to_vec()],
        first_seen: Timestamp::from_unix(NOW.as_unix() - first),
        last_seen: Timestamp::from_unix(NOW.as_unix() - last),
    }
}

fn states(described: &[Value]) -> Vec<(&str, &str)> {
    described.iter().map(|one| (one["x5t#S256"].as_str().unwrap(), one["state"].as_str().unwrap())).collect()
}

#[test]
fn a_certificate_is_next_until_it_is_seen_and_then_the_older_one_is_retiring() {
    let (old, new) = (certificate(10), certificate(400));
    let (client, pins) = listing(&[&old, &new]);
    let [first, second] = [&old, &new].map(|one| one.thumbprint().to_string());
    let seen = [sighting(&old, 5_000, 60)];
    assert_eq!(
        states(&describe(&client, &pins, &[], &[], NOW)).iter().filter(|one| one.1 == "next").count(),
        2
    );
    assert_eq!(
        states(&describe(&client, &pins, &[], &seen, NOW)),
        [(&*second, "next"), (&*first, "current")]
    );
    let seen = [sighting(&old, 5_000, 1), sighting(&new, 100, 90)];
    assert_eq!(
        states(&describe(&client, &pins, &[], &seen, NOW)),
        [(&*second, "current"), (&*first, "retiring")],
        "the newest by first sight, though the old one was used later"
    );
}

#[test]
fn of_two_that_were_first_seen_in_one_second_the_one_added_later_is_current() {
    let (one, other) = (certificate(10), certificate(400));
    let (client, pins) = listing(&[&one, &other]);
    let seen = [sighting(&one, 100, 1), sighting(&other, 100, 2)];
    for (first, second) in [(&one, &other), (&other, &one)] {
        let listed = [first.thumbprint(), second.thumbprint()];
        let described = describe(&client, &pins, &listed, &seen, NOW);
        let [first, second] = listed.map(|listed| listed.to_string());
        assert_eq!(states(&described), [(&*second, "current"), (&*first, "retiring")]);
    }
}

#[test]
fn what_is_not_registered_any_more_has_no_say_in_the_states() {
    let (old, new) = (certificate(10), certificate(400));
    let (client, pins) = listing(&[&old]);
    let seen = [sighting(&old, 5_000, 60), sighting(&new, 100, 90)];
    assert_eq!(
        states(&describe(&client, &pins, &[], &seen, NOW)),
        [(&*old.thumbprint().to_string(), "current")]
    );
}

#[test]
fn a_client_of_a_ca_has_the_certificates_that_were_seen() {
    let (old, new) = (certificate(10), certificate(400));
    let subject = SubjectMatcher::parse("tls_client_auth_san_dns", "edge.example.com").unwrap();
    let client = client(Credential::TlsClientAuth { subject, anchors: AnchorSetName::new("corp") });
    let seen = [sighting(&old, 5_000, 60), sighting(&new, 100, 90)];
    let described = describe(&client, &BTreeMap::new(), &[], &seen, NOW);
    let [first, second] = [&old, &new].map(|one| one.thumbprint().to_string());
    assert_eq!(states(&described), [(&*second, "current"), (&*first, "retiring")]);
    assert_eq!(described[0]["source"], "seen");
    assert_eq!(described[0]["subject"], "CN=edge");
    assert_eq!((&described[0]["days_left"], &described[1]["days_left"]), (&json!(400), &json!(10)));
}

#[test]
fn of_a_bare_thumbprint_is_known_what_was_seen() {
    let shown = certificate(10);
    let pins =
        BTreeMap::from([(shown.thumbprint(), Pin { certificate: None, source: "x5t#S256".to_owned() })]);
    let client = client(Credential::SelfSignedTlsClientAuth { pins: pins.clone(), jwks_uri: None });
    let unseen = &describe(&client, &pins, &[], &[], NOW)[0];
    assert!(unseen["subject"].is_null() && unseen["days_left"].is_null() && unseen["last_seen"].is_null());
    let seen = &describe(&client, &pins, &[], &[sighting(&shown, 10, 5)], NOW)[0];
    assert_eq!((&seen["subject"], &seen["state"]), (&json!("CN=edge"), &json!("current")));
}

#[test]
fn days_left_are_whole_days_and_negative_as_soon_as_they_are_over() {
    for (seconds, left) in [(0, 0), (86_399, 0), (86_400, 1), (-1, -1), (-86_400, -1), (-86_401, -2)] {
        assert_eq!(days(Timestamp::from_unix(NOW.as_unix() + seconds), NOW), left, "{seconds}");
    }
}
