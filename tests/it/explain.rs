//! What `explain` says of a decision: where the path broke, who was asked about revocation, and the line that would
//! accept the certificate, which is tried before it is believed.

use std::sync::Arc;

use certbound::authn::{Explanation, Presented, PresentedCertificate, Reason, Via};
use certbound::oauth::ClientId;
use certbound::pki::workshop::{Authority, Template};
use certbound::pki::{Certificate, Chain, files};
use certbound::registry::Addition;
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

/// Puts the lines in the place of those with the same keys, and the certificate in the file that they name last.
fn apply(setup: &Setup, client: &str, lines: &str, shown: &Shown) {
    let file = format!("clients.d/{client}.yaml");
    let mut document = std::fs::read_to_string(setup.path(&file)).unwrap();
    for line in lines.lines() {
        let key = line.split(':').next().unwrap();
        let replaces = |old: &str| match key {
            key if key.starts_with("tls_client_auth_") => old.starts_with("tls_client_auth_"),
            key => old.starts_with(&format!("{key}:")),
        };
        if let Some(names) = line.strip_prefix("certificates: [") {
            let name = names.trim_end_matches(']').rsplit(", ").next().unwrap();
            setup.write(&format!("clients.d/{name}"), files::to_pem(&shown.chain[0]));
        }
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
            apply(&setup, client, &lines, &shown);
            let then = explain(&setup, client, &shown);
            assert!(then.accepted, "{what}: {then:#?}");
            assert_eq!(then.accepting_yaml, None, "{what}: there is nothing to write");
        }
        setup.write(&format!("clients.d/{client}.yaml"), document);
    }
}

/// The document of a self-signed client with this line.
fn self_signed(setup: &Setup, id: &str, line: &str) {
    let text = format!("client_id: {id}\ntoken_endpoint_auth_method: self_signed_tls_client_auth\n{line}\n");
    setup.write(&format!("clients.d/{id}.yaml"), text);
}

/// The JWK that a client would have to publish.
fn jwk(setup: &Setup, shown: &Shown) -> String {
    self_signed(setup, "publishing", "jwks_uri: https://edge.example.com/jwks.json");
    let config = setup.config();
    let (facts, _) = Facts::new(&config);
    let world = World::draft(&config, &facts, setup.pki.now).authenticator;
    let client = world.registry().find(&ClientId::parse("publishing").unwrap()).unwrap();
    let certificate = Certificate::parse(&shown.chain[0]).unwrap();
    let Some(Addition::Published { jwk, .. }) = world.registry().addition(client, &certificate) else {
        panic!("it publishes its certificates")
    };
    jwk.unwrap()
}

#[test]
fn a_certificate_is_proposed_in_the_way_in_which_the_client_registers_those_it_has() {
    let setup = Setup::new();
    let (old, next) = (setup.pki.self_signed("old"), setup.pki.self_signed("next"));
    let jwks = format!("jwks: {{keys: [{}]}}", jwk(&setup, &old));
    setup.write("clients.d/old.der", &old.chain[0]);
    for (line, key) in [
        ("certificates: [old.der]".to_owned(), "certificates: [old.der, edge."),
        (format!("x5t#S256: [{}]", old.thumbprint()), "x5t#S256: ["),
        (jwks, "jwks: {keys: ["),
    ] {
        for also in ["", "\nenabled: false"] {
            self_signed(&setup, "edge", &format!("{line}{also}"));
            let explanation = explain(&setup, "edge", &next);
            let lines = explanation.accepting_yaml.unwrap();
            assert!(lines.starts_with(key), "{lines}");
            let is_file = key.starts_with("certificates");
            let command = explanation
                .accepting_step
                .filter(|step| step.contains("certbound client add-certificate edge FILE"));
            assert_eq!(command.is_some(), is_file, "{lines}");
            assert_eq!(lines.contains("enabled: true"), !also.is_empty(), "{lines}");
            apply(&setup, "edge", &lines, &next);
            for shown in [&old, &next] {
                assert!(explain(&setup, "edge", shown).accepted, "{lines}");
            }
        }
    }
}

#[test]
fn where_no_line_registers_a_certificate_it_is_said_what_does() {
    let mut setup = Setup::new();
    let (old, next) = (setup.pki.self_signed("old"), setup.pki.self_signed("next"));
    self_signed(&setup, "edge", "jwks_uri: https://edge.example.com/jwks.json");
    let explanation = explain(&setup, "edge", &next);
    assert_eq!((explanation.reason, &explanation.accepting_yaml), (Some(Reason::NotRegistered), &None));
    let step = explanation.accepting_step.unwrap();
    assert!(step.contains("publish") && step.contains("https://edge.example.com/jwks.json"), "{step}");

    // Nothing is proposed beyond what one client may have, a file that is away included.
    setup.more = "clients: { max_certificates: 2 }\n".to_owned();
    setup.pinned("edge", &[&old, &setup.pki.self_signed("other")]);
    let full = explain(&setup, "edge", &next);
    assert_eq!((full.accepting_yaml, full.accepting_step), (None, None));
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
