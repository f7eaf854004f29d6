//! Behind a proxy: whose certificate a request brings, when it brings one (contract §3, rulings 16 to 18, RFC 9440 §4).

mod headers;
mod proof;
mod sockets;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certbound::clock::Timestamp;
use certbound::http::Kind;
use certbound::http::forwarded::Dialect;
use certbound::pki::workshop::Template;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::X509;

use crate::support::crl::List;
use crate::support::pki::DAY;
use crate::support::upstream::{Upstream, has_chain, lines};
use crate::support::{Response, Server, Setup, Shown};

const LOOPBACK: &str = "address: [127.0.0.1/32]";

/// A listener of a dialect without TLS, with these proofs.
fn listener(dialect: Dialect, proxy: &str) -> String {
    format!("  - {{ kind: forwarded, bind: 127.0.0.1:0, dialect: {dialect}, proxy: {{ {proxy} }} }}\n")
}

/// A server behind a proxy that speaks RFC 9440.
fn rfc9440() -> Setup {
    Setup { listeners: listener(Dialect::Rfc9440, LOOPBACK), ..Setup::new() }
}

fn upstream(server: &Server) -> Upstream {
    Upstream::tcp(server.address(Kind::Forwarded))
}

fn header(shown: &Shown) -> String {
    lines(Dialect::Rfc9440, &shown.chain)
}

/// What a token is bound to.
fn bound_to(answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    claims["cnf"]["x5t#S256"].as_str().unwrap().to_owned()
}

fn is_refused(server: &Server, answer: &Response, reason: &str) {
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client"), "{answer:?}");
    assert_eq!(server.refusal(answer)[0], reason, "{answer:?}");
}

#[test]
fn a_certificate_is_taken_from_the_header_of_every_dialect() {
    let listeners = Dialect::ALL.iter().map(|dialect| listener(*dialect, LOOPBACK)).collect();
    let setup = Setup { listeners, ..Setup::new() };
    let until = setup.pki.now.plus(DAY * 365);
    let sub = setup.pki.corp.intermediate(&Template::new("Sub CA", setup.pki.now.minus(DAY), until)).unwrap();
    let dns = vec!["billing.example.com".to_owned()];
    let below = sub.issue(&Template { dns, ..setup.pki.template("billing") }).unwrap();
    let below = Shown::from(&below).with(&[sub.identity().certificate_der()]);
    let server = setup.start();
    let billing = server.setup.pki.client("billing.example.com");
    for (dialect, address) in Dialect::ALL.into_iter().zip(server.addresses(Kind::Forwarded)) {
        let mut upstream = Upstream::tcp(address);
        let answer = upstream.token("billing", &lines(dialect, &billing.chain));
        assert_eq!(bound_to(&answer), billing.thumbprint(), "{dialect}");
        let answer = upstream.token("billing", &lines(dialect, &below.chain));
        if has_chain(dialect) {
            assert_eq!(bound_to(&answer), below.thumbprint(), "{dialect}");
        } else {
            is_refused(&server, &answer, "untrusted");
        }
        // One header of each other dialect, alone, is never a certificate of this one.
        for other in Dialect::ALL.into_iter().filter(|other| *other != dialect) {
            let answer = upstream.token("billing", &lines(other, &billing.chain));
            assert_eq!(
                (answer.status, answer.error().as_str()),
                (400, "invalid_request"),
                "{dialect} {other}"
            );
        }
    }
}

#[test]
fn the_header_may_have_another_name_and_then_the_usual_one_is_refused() {
    let listeners = "  - { kind: forwarded, bind: 127.0.0.1:0, dialect: azure, header: X-Our-Cert, \
                     proxy: { address: [127.0.0.1/32] } }\n";
    let server = Setup { listeners: listeners.to_owned(), ..Setup::new() }.start();
    let billing = server.setup.pki.client("billing.example.com");
    let usual = lines(Dialect::Azure, &billing.chain);
    let ours = usual.replace("X-ARR-ClientCert", "X-Our-Cert");
    let mut upstream = upstream(&server);
    assert_eq!(bound_to(&upstream.token("billing", &ours)), billing.thumbprint());
    let answer = upstream.token("billing", &usual);
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
    // Elsewhere it is dropped under this name too.
    assert_eq!(
        server.connect(None).post_with("/token", &[("client_id", "billing")], &ours).unwrap().status,
        400
    );
    assert!(server.metrics().contains("certbound_headers_dropped_total 1\n"), "{}", server.metrics());
}

#[test]
fn identity_is_of_the_request_and_never_of_the_connection() {
    let mut setup = rfc9440();
    let names: Vec<_> = (0..10).map(|number| format!("client-{number}")).collect();
    let mut certificates = BTreeMap::new();
    for name in &names {
        let dns = format!("{name}.example.com");
        setup.client(name, &format!("tls_client_auth_san_dns: {dns}\n"));
        certificates.insert(name.clone(), setup.pki.client(&dns));
    }
    let pinned = setup.pki.self_signed("edge");
    setup.pinned("edge", &[&pinned]);
    certificates.insert("edge".to_owned(), pinned);
    setup.more = "limits: { idle: 1m }\n".to_owned();
    let server = setup.start();
    let known: Vec<_> = certificates.iter().collect();
    let mut upstream = upstream(&server);
    for number in 0..1000_u32 {
        // In no order, and every time in the same.
        let picks = openssl::sha::sha256(&number.to_be_bytes()).map(usize::from);
        let (claimed, shown) = (known[picks[0] % known.len()].0, picks[1] % (known.len() + 1));
        match known.get(shown) {
            None => is_refused(&server, &upstream.token(claimed, ""), "no_certificate"),
            Some((name, certificate)) if *name == claimed => {
                assert_eq!(
                    bound_to(&upstream.token(claimed, &header(certificate))),
                    certificate.thumbprint()
                );
            }
            Some((_, certificate)) => {
                let answer = upstream.token(claimed, &header(certificate));
                assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client"), "{answer:?}");
            }
        }
    }
}

#[test]
fn the_certificate_in_a_header_is_judged_as_any_other() {
    let mut setup = rfc9440();
    setup.anchors = ", crl: [{ file: corp.crl }]".to_owned();
    let pki = &setup.pki;
    let revoked = pki.client("billing.example.com");
    setup.write("corp.crl", List::new(1, pki.now).revoking(&revoked.chain[0]).signed_by(&pki.corp));
    let expired =
        Template { not_after: pki.now.minus(DAY), not_before: pki.now.minus(DAY * 9), ..pki.template("b") };
    let expired = pki.issue(&Template { dns: vec!["billing.example.com".to_owned()], ..expired });
    let stranger = pki.self_signed("billing.example.com");
    let server_certificate = Shown::from(&pki.server);
    let (good, gateway) = (pki.client("billing.example.com"), pki.client("gateway.example.com"));
    let pinned = pki.self_signed("edge");
    setup.pinned("edge", &[&pinned]);
    let server = setup.start();
    let mut upstream = upstream(&server);
    for (shown, reason) in [
        (&revoked, "revoked"),
        (&expired, "expired"),
        (&stranger, "subject_mismatch"),
        (&gateway, "subject_mismatch"),
        (&server_certificate, "wrong_usage"),
    ] {
        is_refused(&server, &upstream.token("billing", &header(shown)), reason);
    }
    is_refused(&server, &upstream.token("edge", &header(&good)), "not_registered");
    assert_eq!(bound_to(&upstream.token("edge", &header(&pinned))), pinned.thumbprint());
    let answer = upstream.token("billing", &header(&good));
    assert_eq!(bound_to(&answer), good.thumbprint());

    // The other two endpoints stand behind the same door.
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let seen = [("client_id", "gateway"), ("token", token.as_str())];
    assert_eq!(upstream.post("/introspect", &seen, &header(&gateway)).json()["active"], true);
    assert_eq!(upstream.post("/introspect", &seen, &header(&good)).status, 401);
    let mine = [("client_id", "billing"), ("token", token.as_str())];
    assert_eq!(upstream.post("/revoke", &mine, &header(&good)).status, 200);
    assert_eq!(upstream.post("/introspect", &seen, &header(&gateway)).json()["active"], false);
}

#[test]
fn a_key_that_proves_too_little_does_not_get_in_by_its_thumbprint_either() {
    let setup = rfc9440();
    let [weak, good] = [1024, 2048].map(|bits| by_rsa(bits, setup.pki.now));
    for (id, shown) in [("weak", &weak), ("good", &good)] {
        let text = format!(
            "client_id: {id}\ntoken_endpoint_auth_method: self_signed_tls_client_auth\nx5t#S256: [{}]\n",
            shown.thumbprint()
        );
        setup.write(&format!("clients.d/{id}.yaml"), text);
    }
    let server = setup.start();
    let mut upstream = upstream(&server);
    assert_eq!(bound_to(&upstream.token("good", &header(&good))), good.thumbprint());
    is_refused(&server, &upstream.token("weak", &header(&weak)), "weak_key");
}

/// A self-signed certificate with an RSA key of so many bits.
fn by_rsa(bits: u32, now: Timestamp) -> Shown {
    let key = PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
    let mut certificate = X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_serial_number(&BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap()).unwrap();
    certificate.set_not_before(&Asn1Time::from_unix(now.minus(DAY).as_unix()).unwrap()).unwrap();
    certificate.set_not_after(&Asn1Time::from_unix(now.plus(DAY * 9).as_unix()).unwrap()).unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    let chain = vec![certificate.build().to_der().unwrap()];
    Shown { chain, key: key.private_key_to_pkcs8().unwrap() }
}

#[test]
fn a_forged_header_on_another_listener_is_dropped_and_counted() {
    let server = rfc9440().start();
    let (billing, gateway) =
        (server.setup.pki.client("billing.example.com"), server.setup.pki.client("gateway.example.com"));
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    for dialect in Dialect::ALL {
        let header = &lines(dialect, &billing.chain);
        let mut with_another = server.connect(Some(&gateway));
        is_refused(&server, &with_another.post_with("/token", &form, header).unwrap(), "subject_mismatch");
        let mut with_none = server.connect(None);
        is_refused(&server, &with_none.post_with("/token", &form, header).unwrap(), "no_certificate");
        let mut public = server.try_connect(Kind::Public, None, None).unwrap();
        is_refused(&server, &public.post_with("/token", &form, header).unwrap(), "no_certificate");
        // And it takes nothing from whoever holds the key.
        let of_another = lines(dialect, &gateway.chain);
        let mut right = server.connect(Some(&billing));
        assert_eq!(bound_to(&right.post_with("/token", &form, &of_another).unwrap()), billing.thumbprint());
    }
    // Four connections, eight dialects; HAProxy has two headers, and apache's is nginx's.
    assert!(server.metrics().contains("certbound_headers_dropped_total 36\n"), "{}", server.metrics());
}

#[test]
fn what_tells_of_addresses_has_no_effect() {
    let setup = Setup { listeners: listener(Dialect::Rfc9440, "address: [10.0.0.7/32]"), ..Setup::new() };
    let server = setup.start();
    let billing = header(&server.setup.pki.client("billing.example.com"));
    for told in [
        "X-Forwarded-For: 10.0.0.7",
        "Forwarded: for=10.0.0.7;by=10.0.0.7",
        "X-Real-IP: 10.0.0.7",
        "X-Client-IP: 10.0.0.7",
        "True-Client-IP: 10.0.0.7",
        "Via: 1.1 10.0.0.7",
        "Max-Forwards: 0",
    ] {
        let answer = upstream(&server).token("billing", &format!("{told}\r\n{billing}"));
        is_refused(&server, &answer, "proxy_refused");
    }
    let mut preamble = upstream(&server);
    preamble.send("PROXY TCP4 10.0.0.7 127.0.0.1 1 2\r\nPOST /token HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = preamble.receive();
    assert_eq!((answer.status, answer.body.len()), (400, 0), "it is no request");
}
