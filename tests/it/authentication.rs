//! Client authentication: every rule × right, wrong, missing, almost right (RFC 8705 §2).

use std::time::Duration;

use certbound::pki::workshop::{Authority, LeafPurpose, Template};

use crate::support::pki::DAY;
use crate::support::{Server, Setup, Shown, TlsVersion};

fn refused(server: &Server, client: &str, shown: Option<&Shown>, why: &str) {
    let answer = server.token(client, shown);
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client"), "{why}: {answer:?}");
}

fn accepted(server: &Server, client: &str, shown: &Shown, why: &str) {
    let answer = server.token(client, Some(shown));
    assert_eq!(answer.status, 200, "{why}: {answer:?}");
}

/// A template with exactly these alternative names.
fn names(server: &Server, with: impl FnOnce(&mut Template)) -> Shown {
    let mut template = server.setup.pki.template("somebody");
    with(&mut template);
    server.setup.pki.issue(&template)
}

#[test]
fn a_dns_name_is_compared_whole_and_without_case() {
    let server = Server::start();
    let dns = |name: &str| names(&server, |template| template.dns = vec![name.to_owned()]);
    accepted(&server, "billing", &dns("billing.example.com"), "right");
    accepted(&server, "billing", &dns("BILLING.example.COM"), "other case");
    let two = names(&server, |template| {
        template.dns = vec!["other.example.com".into(), "billing.example.com".into()];
    });
    accepted(&server, "billing", &two, "one of two");
    for wrong in [
        "other.example.com",
        "*.example.com",
        "a.billing.example.com",
        "illing.example.com",
        "billing.example.com.evil.com",
    ] {
        refused(&server, "billing", Some(&dns(wrong)), wrong);
    }
    let common_name =
        names(&server, |template| template.subject = vec![("CN".into(), "billing.example.com".into())]);
    refused(&server, "billing", Some(&common_name), "the name as CN");
    let uri = names(&server, |template| template.uri = vec!["billing.example.com".into()]);
    refused(&server, "billing", Some(&uri), "the name as URI");
    refused(&server, "billing", None, "no certificate");
}

#[test]
fn a_uri_is_exact_but_for_scheme_and_host() {
    let setup = Setup::new();
    setup.client("svc", "tls_client_auth_san_uri: spiffe://example.org/ns/prod/sa/Svc\n");
    let server = setup.start();
    let uri = |uri: &str| names(&server, |template| template.uri = vec![uri.to_owned()]);
    accepted(&server, "svc", &uri("spiffe://example.org/ns/prod/sa/Svc"), "right");
    for wrong in [
        "spiffe://example.org/ns/prod/sa/svc",
        "spiffe://example.org/ns/prod/sa/Svc/",
        "spiffe://example.org/ns/prod/sa/%53vc",
        "spiffe://example.org/ns/prod/sa/Sv",
        "spiffe://example.org/ns/prod/sa/Svc?x",
    ] {
        refused(&server, "svc", Some(&uri(wrong)), wrong);
    }
}

#[test]
fn an_ip_address_is_compared_as_octets() {
    let setup = Setup::new();
    setup.client("v4", "tls_client_auth_san_ip: 192.0.2.1\n");
    setup.client("v6", "tls_client_auth_san_ip: '2001:DB8:0:0::1'\n");
    let server = setup.start();
    let ip = |ip: &str| names(&server, |template| template.ip = vec![ip.parse().unwrap()]);
    accepted(&server, "v4", &ip("192.0.2.1"), "right");
    accepted(&server, "v6", &ip("2001:db8::1"), "another text of the same address");
    refused(&server, "v4", Some(&ip("::ffff:192.0.2.1")), "mapped");
    refused(&server, "v4", Some(&ip("192.0.2.11")), "longer");
    refused(&server, "v6", Some(&ip("2001:db8::2")), "other");
    let dns = names(&server, |template| template.dns = vec!["192.0.2.1".into()]);
    refused(&server, "v4", Some(&dns), "the address as DNS name");
}

#[test]
fn an_email_address_is_exact_before_the_at_and_without_case_after_it() {
    let setup = Setup::new();
    setup.client("mail", "tls_client_auth_san_email: Ops@example.com\n");
    let server = setup.start();
    let email = |email: &str| names(&server, |template| template.email = vec![email.to_owned()]);
    accepted(&server, "mail", &email("Ops@example.com"), "right");
    accepted(&server, "mail", &email("Ops@EXAMPLE.com"), "host in other case");
    refused(&server, "mail", Some(&email("ops@example.com")), "local part in other case");
    refused(&server, "mail", Some(&email("Ops@example.com.evil")), "longer");
}

#[test]
fn a_distinguished_name_is_a_structure_and_not_a_text() {
    let setup = Setup::new();
    setup.client("dn", "tls_client_auth_subject_dn: 'CN=svc,OU=Ops,O=Ex\\, Ltd'\n");
    let server = setup.start();
    let dn = |parts: &[(&str, &str)]| {
        names(&server, |template| {
            template.subject =
                parts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        })
    };
    let right = [("O", "Ex, Ltd"), ("OU", "Ops"), ("CN", "svc")];
    accepted(&server, "dn", &dn(&right), "right");
    accepted(&server, "dn", &dn(&[("O", "EX,  ltd"), ("OU", "ops"), ("CN", " SVC ")]), "case and blanks");
    for (why, wrong) in [
        ("reversed", &[("CN", "svc"), ("OU", "Ops"), ("O", "Ex, Ltd")][..]),
        ("shorter", &[("O", "Ex, Ltd"), ("CN", "svc")]),
        ("longer", &[("C", "GB"), ("O", "Ex, Ltd"), ("OU", "Ops"), ("CN", "svc")]),
        ("twice", &[("O", "Ex, Ltd"), ("OU", "Ops"), ("CN", "svc"), ("CN", "svc")]),
        ("other type", &[("O", "Ex, Ltd"), ("OU", "Ops"), ("OU", "svc")]),
        ("inner text", &[("O", "Ex, Ltd"), ("CN", "svc,OU=Ops")]),
        ("prefix", &[("O", "Ex, Ltd"), ("OU", "Ops"), ("CN", "svc2")]),
    ] {
        refused(&server, "dn", Some(&dn(wrong)), why);
    }
}

#[test]
fn a_registered_certificate_is_the_certificate_and_not_its_key() {
    let setup = Setup::new();
    let template = setup.pki.template("edge-7");
    let (one, two) = (setup.pki.self_signed("edge-7"), setup.pki.self_signed("edge-7 next"));
    setup.pinned("edge-7", &[&one, &two]);
    let issued = setup.pki.issue(&template);
    setup.pinned("edge-8", &[&issued]);
    let server = setup.start();
    accepted(&server, "edge-7", &one, "the first");
    accepted(&server, "edge-7", &two, "the second");
    accepted(&server, "edge-8", &issued, "issued by a CA, registered as it is");
    let corp = server.setup.pki.corp.identity().certificate_der().to_vec();
    accepted(&server, "edge-8", &issued.clone().with(&[&corp]), "with its CA");
    refused(&server, "edge-7", Some(&issued), "another client's");
    refused(&server, "edge-7", None, "none");

    // The same key in a new certificate is a new certificate.
    let key = openssl::pkey::PKey::private_key_from_der(&one.key).unwrap();
    let again = crate::openssl_certificates::certificate("edge-7", &key, None, |_| {});
    let again = Shown { chain: vec![again.to_der().unwrap()], key: one.key.clone() };
    refused(&server, "edge-7", Some(&again), "the same key");
    let behind = Shown { chain: vec![again.chain[0].clone(), one.chain[0].clone()], key: one.key.clone() };
    refused(&server, "edge-7", Some(&behind), "the registered one in second place");
}

#[test]
fn the_leaf_alone_speaks_for_the_client() {
    // CVE-2023-2422: the victim's certificate further down the chain.
    let server = Server::start();
    let victim = server.setup.pki.client("billing.example.com");
    let own = server.setup.pki.client("mallory.example.com");
    refused(&server, "billing", Some(&own.with(&[&victim.chain[0]])), "the victim second");
}

#[test]
fn a_certificate_without_its_key_gets_no_connection() {
    let server = Server::start();
    let victim = server.setup.pki.client("billing.example.com");
    let own = server.setup.pki.client("mallory.example.com");
    let stolen = Shown { chain: victim.chain, key: own.key };
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let root = server.setup.pki.server_ca.identity().certificate_der();
        let config = crate::support::Connection::config(root, Some(&stolen), Some(version));
        let address = server.address(certbound::http::Kind::Mtls);
        let outcome = crate::support::Connection::open(address, config).and_then(|mut connection| {
            connection.post("/token", &[("grant_type", "client_credentials"), ("client_id", "billing")])
        });
        assert!(outcome.is_err(), "{version:?}: {outcome:?}");
    }
}

#[test]
fn another_ca_of_the_same_name_vouches_for_nobody_here() {
    let server = Server::start();
    let pki = &server.setup.pki;
    let twin =
        Authority::new(&Template::new("Corp CA", pki.now.minus(DAY), pki.now.plus(DAY * 3650))).unwrap();
    let template = Template { dns: vec!["billing.example.com".into()], ..pki.template("billing") };
    let forged = Shown::from(&twin.issue(&template).unwrap());
    refused(&server, "billing", Some(&forged), "a twin of the CA");
    refused(&server, "billing", Some(&forged.with(&[twin.identity().certificate_der()])), "with its root");
    let own = Shown::from(&certbound::pki::workshop::Identity::self_signed(&template).unwrap());
    refused(&server, "billing", Some(&own), "self-signed with the right name");
}

#[test]
fn each_client_has_the_anchors_it_names_and_no_others() {
    let mut setup = Setup::new();
    let pki = &setup.pki;
    let partner =
        Authority::new(&Template::new("Partner CA", pki.now.minus(DAY), pki.now.plus(DAY * 3650))).unwrap();
    let of_partner = |dns: &str| {
        let template = Template { dns: vec![dns.to_owned()], ..pki.template("somebody") };
        Shown::from(&partner.issue(&template).unwrap())
    };
    let (wrong, right) = (of_partner("billing.example.com"), of_partner("partner.example.com"));
    setup.write("partner.pem", partner.identity().certificate_pem());
    setup.anchors = " }\n  partner: { file: partner.pem".to_owned();
    setup.client("billing", "tls_client_auth_san_dns: billing.example.com\ntrust_anchors: corp\n");
    setup.client("gateway", "tls_client_auth_san_dns: gateway.example.com\ntrust_anchors: corp\n");
    setup.client("partner", "tls_client_auth_san_dns: partner.example.com\ntrust_anchors: partner\n");
    let server = setup.start();
    accepted(&server, "partner", &right, "its own CA");
    refused(&server, "billing", Some(&wrong), "the partner's CA");
    accepted(&server, "billing", &server.setup.pki.client("billing.example.com"), "corp");
}

#[test]
fn an_intermediate_comes_from_the_client_or_from_the_configuration() {
    let setup = Setup::new();
    let issuing = setup.pki.corp.intermediate(&setup.pki.template("Issuing CA")).unwrap();
    let template = Template { dns: vec!["billing.example.com".into()], ..setup.pki.template("billing") };
    let leaf = Shown::from(&issuing.issue(&template).unwrap());
    let whole = leaf.clone().with(&[issuing.identity().certificate_der()]);
    setup.write("issuing.pem", issuing.identity().certificate_pem());
    let server = setup.start();
    accepted(&server, "billing", &whole, "sent along");
    refused(&server, "billing", Some(&leaf), "missing");

    let mut setup = server.stop();
    setup.anchors = ", intermediates: issuing.pem".to_owned();
    let server = setup.start();
    accepted(&server, "billing", &leaf, "configured");
}

#[test]
fn a_certificate_is_good_from_its_first_second_to_its_last() {
    let server = Server::start();
    let pki = &server.setup.pki;
    let (from, to) = (pki.now.plus(Duration::from_secs(100)), pki.now.plus(Duration::from_secs(200)));
    let template = Template { not_before: from, not_after: to, ..pki.template("billing") };
    let shown = pki.issue(&Template { dns: vec!["billing.example.com".into()], ..template.clone() });
    let pinned = Shown::from(&certbound::pki::workshop::Identity::self_signed(&template).unwrap());
    server.setup.pinned("edge", &[&pinned]);
    server.reload();
    let at = |seconds: u64| server.setup.clock.set(pki.now.plus(Duration::from_secs(seconds)));
    for (client, shown) in [("billing", &shown), ("edge", &pinned)] {
        at(99);
        refused(&server, client, Some(shown), "a second early");
        at(100);
        accepted(&server, client, shown, "the first second");
        at(199);
        accepted(&server, client, shown, "the last second that a token can live");
        at(201);
        refused(&server, client, Some(shown), "a second late");
    }
}

#[test]
fn usages_that_do_not_fit_are_refused() {
    let server = Server::start();
    let with = |purpose| {
        names(&server, |template| {
            template.dns = vec!["billing.example.com".into()];
            template.purpose = purpose;
        })
    };
    accepted(&server, "billing", &with(LeafPurpose::Unsaid), "no extended key usage");
    refused(&server, "billing", Some(&with(LeafPurpose::Server)), "serverAuth");
    let ca = server.setup.pki.corp.intermediate(&Template {
        dns: vec!["billing.example.com".into()],
        ..server.setup.pki.template("billing")
    });
    if let Ok(ca) = ca {
        refused(&server, "billing", Some(&Shown::from(ca.identity())), "a CA as a client");
    }
}

#[test]
fn no_client_id_no_client() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    for form in [
        &[("grant_type", "client_credentials")][..],
        &[("grant_type", "client_credentials"), ("client_id", "")],
    ] {
        let answer = server.connect(Some(&billing)).post("/token", form).unwrap();
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client"));
    }
    for odd in
        ["BILLING", "billing ", "../billing", "billing.yaml", "%62illing", "bílling", &"x".repeat(4000)]
    {
        refused(&server, odd, Some(&billing), odd);
    }
    let form = [("grant_type", "client_credentials")];
    let answer = server.connect(Some(&billing)).post("/token?client_id=billing", &form).unwrap();
    assert_eq!(answer.error(), "invalid_client", "a query is no form");
}

#[test]
fn a_method_is_not_exchanged_for_another() {
    let setup = Setup::new();
    let pinned = setup.pki.self_signed("billing.example.com");
    setup.pinned("edge-7", &[&pinned]);
    let server = setup.start();
    let billing = server.setup.pki.client("billing.example.com");
    refused(&server, "billing", Some(&pinned), "a registered certificate for a PKI client");
    refused(&server, "edge-7", Some(&billing), "a PKI certificate for a client with a registered one");
}

#[test]
fn a_client_that_is_switched_off_is_refused_on_the_connection_it_has() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let mut connection = server.connect(Some(&billing));
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    assert_eq!(connection.post("/token", &form).unwrap().status, 200);
    server.setup.client("billing", "tls_client_auth_san_dns: billing.example.com\nenabled: false\n");
    assert_eq!(server.reload(), Vec::<String>::new());
    assert_eq!(connection.post("/token", &form).unwrap().error(), "invalid_client");
}

#[test]
fn an_expiry_is_noticed_on_the_connection_that_was_there_before() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let mut connection = server.connect(Some(&billing));
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    assert_eq!(connection.post("/token", &form).unwrap().status, 200);
    server.setup.clock.advance(DAY * 366);
    assert_eq!(connection.post("/token", &form).unwrap().error(), "invalid_client");
}

#[test]
fn identity_is_of_the_connection_and_never_of_another() {
    let setup = Setup::new();
    setup.client("orders", "tls_client_auth_san_dns: orders.example.com\n");
    let server = setup.start();
    let pki = &server.setup.pki;
    let mut connections = [
        ("billing", server.connect(Some(&pki.client("billing.example.com")))),
        ("orders", server.connect(Some(&pki.client("orders.example.com")))),
        ("nobody", server.connect(None)),
    ];
    for round in 0..30 {
        for (owner, connection) in &mut connections {
            for client in ["billing", "orders"] {
                let form = [("grant_type", "client_credentials"), ("client_id", client)];
                let status = connection.post("/token", &form).unwrap().status;
                assert_eq!(
                    status,
                    if *owner == client { 200 } else { 400 },
                    "{owner} as {client}, round {round}"
                );
            }
        }
    }
}
