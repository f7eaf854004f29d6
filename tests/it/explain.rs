//! What `explain` says of a decision: where the path broke, who was asked about revocation, and the line that would
//! accept the certificate, which is tried before it is believed.

use std::sync::Arc;

use certbound::authn::{Explanation, Presented, PresentedCertificate, Reason, Via};
use certbound::pki::Chain;
use certbound::pki::workshop::{Authority, Template};
use certbound::world::{Facts, World};

use crate::support::crl::List;
use crate::support::pki::DAY;
use crate::support::{Setup, Shown};

fn explain(setup: &Setup, client: &str, shown: &Shown) -> Explanation {
    let config = setup.config();
    let (facts, problems) = Facts::new(&config);
    assert!(!problems.has_errors(), "{problems:?}");
    let chain = Chain::parse(&shown.chain, 16).unwrap();
    let presented = Presented::Certificate(Arc::new(PresentedCertificate { chain, via: Via::File }));
    let world = World::draft(&config, &facts, setup.pki.now).authenticator;
    world.explain(client, &presented, setup.pki.now)
}

fn check<'e>(explanation: &'e Explanation, name: &str) -> &'e certbound::authn::Finding {
    explanation.checks.iter().find(|check| check.check == name).unwrap_or_else(|| panic!("{explanation:#?}"))
}

/// Puts the lines in the place of those with the same keys, and asks again.
fn apply(setup: &Setup, client: &str, lines: &str) {
    let file = format!("clients.d/{client}.yaml");
    let mut document = std::fs::read_to_string(setup.path(&file)).unwrap();
    for line in lines.lines() {
        let key = line.split(':').next().unwrap();
        let replaces = |old: &str| match key {
            "x5t#S256" => old.starts_with("certificates:") || old.starts_with("jwks_uri:"),
            key if key.starts_with("tls_client_auth_") => old.starts_with("tls_client_auth_"),
            key => old.starts_with(&format!("{key}:")),
        };
        let kept = document.lines().filter(|old| !replaces(old));
        document = kept.chain([line, ""]).collect::<Vec<_>>().join("\n");
    }
    setup.write(&file, document);
}

/// A second anchor set, beside `corp`.
fn with_partner(setup: &mut Setup) -> Authority {
    let (from, to) = (setup.pki.now.minus(DAY), setup.pki.now.plus(DAY * 365));
    let partner = Authority::new(&Template::new("Corp CA", from, to)).unwrap();
    setup.write("partner.pem", partner.identity().certificate_pem());
    setup.anchors.push_str(" }\n  partner: { file: partner.pem");
    setup.client("billing", "tls_client_auth_san_dns: billing.example.com\ntrust_anchors: corp\n");
    setup.client("gateway", "tls_client_auth_san_dns: gateway.example.com\ntrust_anchors: corp\n");
    partner
}

fn issued(ca: &Authority, setup: &Setup, dns: &str) -> Shown {
    Shown::from(&ca.issue(&Template { dns: vec![dns.to_owned()], ..setup.pki.template(dns) }).unwrap())
}

#[test]
fn a_ca_of_the_same_name_is_told_from_the_right_one() {
    let mut setup = Setup::new();
    let partner = with_partner(&mut setup);
    let shown = issued(&partner, &setup, "billing.example.com");
    let explanation = explain(&setup, "billing", &shown);
    assert_eq!(explanation.reason, Some(Reason::Untrusted));
    let path = check(&explanation, "path");
    assert!(!path.ok && path.expected.contains("corp"), "{path:?}");
    assert!(path.seen.contains("the leaf (CN=billing.example.com)"), "{path:?}");
    assert!(path.seen.contains("an anchor named CN=Corp CA too, with another key"), "{path:?}");
    assert_eq!(explanation.accepting_yaml.as_deref(), Some("trust_anchors: partner"));
}

#[test]
fn the_proposed_lines_are_what_would_accept_and_nothing_is_proposed_that_would_not() {
    let mut setup = Setup::new();
    let partner = with_partner(&mut setup);
    let (corp, stranger) =
        (setup.pki.corp.clone(), Authority::new(&setup.pki.template("Stranger CA")).unwrap());
    setup.client("off", "tls_client_auth_san_dns: off.example.com\ntrust_anchors: corp\nenabled: false\n");
    let old = setup.pki.self_signed("old");
    setup.pinned("edge", &[&old]);
    let x5t = |shown: &[&Shown]| {
        let mut all: Vec<_> = shown.iter().map(|one| one.thumbprint().parse().unwrap()).collect();
        all.sort_unstable();
        let all: Vec<String> = all.iter().map(certbound::pki::Thumbprint::to_string).collect();
        format!("x5t#S256: [{}]", all.join(", "))
    };
    let next = setup.pki.self_signed("next");
    for (what, client, shown, lines) in [
        (
            "another name",
            "billing",
            issued(&corp, &setup, "bill.example.com"),
            Some("tls_client_auth_san_dns: \"bill.example.com\"".to_owned()),
        ),
        (
            "a name of another kind",
            "billing",
            Shown::from(&corp.issue(&setup.pki.template("billing")).unwrap()),
            Some("tls_client_auth_subject_dn: \"CN=billing\"".to_owned()),
        ),
        (
            "another CA",
            "billing",
            issued(&partner, &setup, "billing.example.com"),
            Some("trust_anchors: partner".to_owned()),
        ),
        (
            "both",
            "billing",
            issued(&partner, &setup, "bill.example.com"),
            Some("trust_anchors: partner\ntls_client_auth_san_dns: \"bill.example.com\"".to_owned()),
        ),
        ("disabled", "off", issued(&corp, &setup, "off.example.com"), Some("enabled: true".to_owned())),
        ("another certificate", "edge", next.clone(), Some(x5t(&[&old, &next]))),
        ("a CA that nobody trusts", "billing", issued(&stranger, &setup, "billing.example.com"), None),
        (
            "expired",
            "billing",
            Shown::from(
                &corp
                    .issue(&Template {
                        dns: vec!["billing.example.com".to_owned()],
                        not_after: setup.pki.now.minus(DAY / 2),
                        ..setup.pki.template("b")
                    })
                    .unwrap(),
            ),
            None,
        ),
    ] {
        let document = std::fs::read(setup.path(&format!("clients.d/{client}.yaml"))).unwrap();
        let explanation = explain(&setup, client, &shown);
        assert!(!explanation.accepted, "{what}");
        assert_eq!(explanation.accepting_yaml, lines, "{what}: {explanation:#?}");
        if let Some(lines) = lines {
            apply(&setup, client, &lines);
            let then = explain(&setup, client, &shown);
            assert!(then.accepted, "{what}: {then:#?}");
            assert_eq!(then.accepting_yaml, None, "{what}: there is nothing to write");
        }
        setup.write(&format!("clients.d/{client}.yaml"), document);
    }
}

#[test]
fn the_rule_of_another_client_is_no_way_out() {
    let setup = Setup::new();
    let template = Template { dns: vec!["gateway.example.com".to_owned()], ..setup.pki.template("") };
    let shown = setup.pki.issue(&template);
    let explanation = explain(&setup, "billing", &shown);
    assert_eq!(explanation.reason, Some(Reason::SubjectMismatch));
    assert_eq!(explanation.accepting_yaml, None, "two clients with one rule are refused");
}

#[test]
fn the_sources_of_a_revocation_status_are_named() {
    let mut setup = Setup::new();
    setup.anchors = ", crl: [{ file: corp.crl }]".to_owned();
    let billing = setup.pki.client("billing.example.com");
    setup.write("corp.crl", List::new(12, setup.pki.now).signed_by(&setup.pki.corp));
    let good = explain(&setup, "billing", &billing);
    assert!(good.accepted && check(&good, "revocation").ok, "{good:#?}");
    assert_eq!((good.revocation.policy, good.revocation.sources.len()), ("require", 1));
    let source = &good.revocation.sources[0];
    assert!(source.source.contains("CRL 12 of CN=Corp CA"), "{source:?}");
    assert_eq!((source.status, source.certificate.as_str()), ("good", "CN=billing.example.com"));

    let list = List::new(13, setup.pki.now).revoking(&billing.chain[0]);
    setup.write("corp.crl", list.signed_by(&setup.pki.corp));
    let revoked = explain(&setup, "billing", &billing);
    assert_eq!(revoked.reason, Some(Reason::Revoked));
    assert_eq!(revoked.revocation.sources[0].status, "revoked");
    assert!(check(&revoked, "revocation").seen.contains("CRL 13"), "{revoked:#?}");
    assert_eq!(revoked.accepting_yaml, None);

    setup.write("corp.crl", list.until(setup.pki.now.minus(DAY / 48)).signed_by(&setup.pki.corp));
    let orders = setup.pki.client("orders.example.com");
    setup.client("orders", "tls_client_auth_san_dns: orders.example.com\n");
    let unknown = explain(&setup, "orders", &orders);
    assert_eq!(unknown.reason, Some(Reason::RevocationUnknown), "{unknown:#?}");
    assert_eq!(unknown.revocation.sources[0].status, "unknown");

    setup.anchors = String::new();
    let off = explain(&setup, "billing", &billing);
    assert_eq!((off.accepted, off.revocation.policy), (true, "off"));
    assert!(off.revocation.sources.is_empty() && check(&off, "revocation").seen.contains("not asked"));
}
