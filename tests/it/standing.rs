//! A token stands as long as the certificate that it is bound to would still be the client's: in the registry, among the
//! anchors, by the set that the client publishes.

use std::time::Duration;

use certbound::pki::workshop::{Authority, Template};

use crate::support::pki::DAY;
use crate::support::server::eventually;
use crate::support::web::Web;
use crate::support::{Server, Setup, Shown};

const MINUTE: Duration = Duration::from_secs(60);

/// With a gateway that is no client of `corp`, so that it can introspect whatever becomes of that.
fn setup(more: &str) -> Setup {
    let mut setup = Setup::new().with_pinned_gateway();
    setup.client("orders", "tls_client_auth_san_dns: orders.example.com\nscope: read\n");
    more.clone_into(&mut setup.more);
    setup
}

fn readyz(server: &Server) -> String {
    String::from_utf8(server.admin("/readyz").body).unwrap()
}

#[test]
fn a_token_ends_when_its_certificate_would_not_be_the_clients_any_more() {
    let setup = setup("");
    let server = setup.start();
    let (billing, orders) =
        (server.setup.pki.client("billing.example.com"), server.setup.pki.client("orders.example.com"));
    let (token, other) = (server.good_token("billing", &billing), server.good_token("orders", &orders));
    server.setup.client("billing", "tls_client_auth_san_dns: another.example.com\nscope: read write\n");
    assert_eq!(server.reload(), Vec::<String>::new());
    assert!(!server.is_active(&token), "another subject");
    assert!(server.is_active(&other));
    let next = crate::support::Pki::new();
    server.setup.write("corp.pem", next.corp.identity().certificate_pem());
    assert_eq!(server.reload(), Vec::<String>::new());
    assert!(!server.is_active(&other), "another CA");
    server.setup.write("corp.pem", server.setup.pki.corp.identity().certificate_pem());
    assert_eq!(server.reload(), Vec::<String>::new());
    assert!(server.is_active(&other), "and it is what is so now that counts");
}

#[test]
fn a_token_stands_on_the_path_that_its_client_comes_by_now() {
    let setup = setup("");
    let now = setup.pki.now;
    let issuing = setup.pki.corp.intermediate(&Template::new("Issuing", now.minus(DAY), now.plus(DAY * 365)));
    let issuing = issuing.unwrap();
    let template = Template { dns: vec!["billing.example.com".to_owned()], ..setup.pki.template("b") };
    let leaf = Shown::from(&issuing.issue(&template).unwrap());
    let server = setup.start();
    let first = leaf.clone().with(&[issuing.identity().certificate_der()]);
    let token = server.good_token("billing", &first);
    // Another root takes the place of the first, and has certified the issuing CA anew.
    let root = Authority::new(&Template::new("Next CA", now.minus(DAY), now.plus(DAY * 3650))).unwrap();
    let cross = certified_by(&root, &issuing);
    server.setup.write("corp.pem", root.identity().certificate_pem());
    assert_eq!(server.reload(), Vec::<String>::new());
    assert!(!server.is_active(&token), "there is no path that anybody has shown");
    let second = leaf.with(&[&cross]);
    let next = server.good_token("billing", &second);
    assert!(server.is_active(&next) && server.is_active(&token));
    let server = server.stop().start();
    assert!(server.is_active(&next), "and after a restart");
}

/// A certificate of `ca` by another CA: its name, its key.
fn certified_by(root: &Authority, ca: &Authority) -> Vec<u8> {
    use openssl::x509::{X509, X509Builder, extension};
    let own = X509::from_der(ca.identity().certificate_der()).unwrap();
    let issuer = X509::from_der(root.identity().certificate_der()).unwrap();
    let key = openssl::pkey::PKey::private_key_from_pkcs8(&root.identity().key_der()).unwrap();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(own.serial_number()).unwrap();
    builder.set_subject_name(own.subject_name()).unwrap();
    builder.set_issuer_name(issuer.subject_name()).unwrap();
    builder.set_not_before(own.not_before()).unwrap();
    builder.set_not_after(own.not_after()).unwrap();
    builder.set_pubkey(&own.public_key().unwrap()).unwrap();
    let constraints = extension::BasicConstraints::new().critical().ca().build().unwrap();
    builder.append_extension(constraints).unwrap();
    let usage = extension::KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap();
    builder.append_extension(usage).unwrap();
    builder.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
    builder.build().to_der().unwrap()
}

#[test]
fn a_client_publishes_its_certificates_and_changes_them() {
    let pki = crate::support::Pki::new();
    let web = Web::https(&pki.server);
    let setup = setup("outgoing: { ca: server-ca.pem, allow: [127.0.0.0/8, \"::1\"] }\n");
    setup.write("server-ca.pem", pki.server_ca.identity().certificate_pem());
    let uri = web.url("/jwks.json");
    setup.write("clients.d/edge.yaml", format!(
        "client_id: edge\ntoken_endpoint_auth_method: self_signed_tls_client_auth\njwks_uri: {uri}\nscope: read\n"
    ));
    let (first, second) = (pki.self_signed("edge 1"), pki.self_signed("edge 2"));
    let server = setup.start();
    assert_eq!(
        server.token("edge", Some(&first)).status,
        400,
        "there is nothing yet, and that is no fault of ours"
    );
    eventually("it is told", || readyz(&server).contains("the jwks_uri of client edge"));
    web.put("/jwks.json", jwks(&[&first]));
    server.setup.clock.advance(MINUTE + Duration::from_secs(1));
    let token = server.good_token("edge", &first);
    assert!(server.is_active(&token));

    // The next certificate is asked for when it is shown, and strangers do not make more of that.
    web.put("/jwks.json", jwks(&[&first, &second]));
    server.setup.clock.advance(MINUTE + Duration::from_secs(1));
    let before = web.asked("/jwks.json");
    assert_eq!(server.token("edge", Some(&second)).status, 200);
    for _ in 0..3 {
        assert_eq!(server.token("edge", Some(&pki.self_signed("stranger"))).status, 400);
    }
    assert_eq!(web.asked("/jwks.json"), before + 1);

    // What is not published any more has ended, with its tokens.
    web.put("/jwks.json", jwks(&[&second]));
    server.setup.clock.advance(MINUTE + Duration::from_secs(1));
    assert_eq!(server.token("edge", Some(&pki.self_signed("stranger"))).status, 400);
    assert_eq!(server.token("edge", Some(&first)).status, 400);
    assert!(!server.is_active(&token));
    let server = server.stop();
    drop(web);
    let server = server.start();
    assert_eq!(server.token("edge", Some(&second)).status, 200, "the last good set outlives a restart");
}

fn jwks(certificates: &[&Shown]) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let key = |shown: &&Shown| {
        let x509 = openssl::x509::X509::from_der(&shown.chain[0]).unwrap();
        let ec = x509.public_key().unwrap().ec_key().unwrap();
        let mut context = openssl::bn::BigNumContext::new().unwrap();
        let point = ec
            .public_key()
            .to_bytes(ec.group(), openssl::ec::PointConversionForm::UNCOMPRESSED, &mut context)
            .unwrap();
        serde_json::json!({
            "kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..]), "x5c": [STANDARD.encode(&shown.chain[0])],
        })
    };
    serde_json::json!({ "keys": certificates.iter().map(key).collect::<Vec<_>>() }).to_string()
}
