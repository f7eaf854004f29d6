//! What is not exactly one certificate header, exactly once, is refused, and never taken for "no certificate".

use certbound::http::Kind;
use certbound::http::forwarded::Dialect;

use super::{bound_to, header, is_refused, listener, rfc9440, upstream};
use crate::support::upstream::{Upstream, lines};
use crate::support::{Response, Server, Setup};

fn is_malformed(answer: &Response, what: &str) {
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{what}: {answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    let says = answer.json()["error_description"].as_str().unwrap().to_owned();
    assert_eq!(says, "The certificate in the header cannot be read", "{what}");
}

#[test]
fn no_header_and_an_empty_one_are_no_certificate() {
    let server = rfc9440().start();
    for none in ["", "Client-Cert:\r\n", "Client-Cert: \t \r\n", "Client-Cert:\r\nClient-Cert-Chain:\r\n"] {
        is_refused(&server, &upstream(&server).token("billing", none), "no_certificate");
    }
}

#[test]
fn a_header_that_is_no_certificate_is_an_error_and_not_no_certificate() {
    let server = rfc9440().start();
    let billing = server.setup.pki.client("billing.example.com");
    let good = header(&billing);
    let value = good.trim_end().strip_prefix("Client-Cert: ").unwrap();
    let der = &billing.chain[0];
    let with = |chain: &[Vec<u8>]| lines(Dialect::Rfc9440, chain);
    for (what, bad) in [
        ("an empty byte sequence", "Client-Cert: ::\r\n".to_owned()),
        ("no byte sequence", good.replace(':', "").replace("Client-Cert", "Client-Cert:")),
        ("a string", format!("Client-Cert: \"{}\"\r\n", value.trim_matches(':'))),
        ("blanks inside", good.replacen("MII", "MI I", 1)),
        ("a list of two", format!("Client-Cert: {value}, {value}\r\n")),
        ("octets after the certificate", with(&[[der.as_slice(), &[0]].concat()])),
        ("half a certificate", with(&[der[..der.len() / 2].to_vec()])),
        ("something else in DER", with(&[vec![0x30, 0x03, 0x02, 0x01, 0x01]])),
        ("a chain without a leaf", format!("Client-Cert-Chain: {value}\r\n")),
        ("a chain with a fault", format!("{good}Client-Cert-Chain: :AA\r\n")),
    ] {
        is_malformed(&upstream(&server).token("billing", &bad), what);
    }
    // One door for all three.
    for path in ["/introspect", "/revoke"] {
        let form = [("client_id", "billing"), ("token", "x")];
        is_malformed(&upstream(&server).post(path, &form, "Client-Cert: ::\r\n"), path);
    }
}

#[test]
fn a_header_in_doubt_is_refused() {
    let server = rfc9440().start();
    let pki = &server.setup.pki;
    let (good, other) =
        (header(&pki.client("billing.example.com")), header(&pki.client("gateway.example.com")));
    let xfcc = lines(Dialect::Envoy, &pki.client("billing.example.com").chain);
    for (what, bad) in [
        ("twice the same", format!("{good}{good}")),
        ("two different", format!("{good}{other}")),
        ("the other first", format!("{other}{good}")),
        ("in another case", format!("{good}{}", good.replace("Client-Cert", "CLIENT-CERT"))),
        ("one of them empty", format!("{good}Client-Cert:\r\n")),
        ("the empty one first", format!("Client-Cert:\r\n{good}")),
        ("a twin with an underscore", format!("{good}{}", other.replace("Client-Cert", "Client_Cert"))),
        ("the twin alone", good.replace("Client-Cert", "client_cert")),
        ("two dialects", format!("{good}{xfcc}")),
        ("another dialect alone", xfcc),
        ("named in Connection", format!("Connection: keep-alive, client-cert\r\n{good}")),
        ("named in Connection alone", "Connection: Client-Cert\r\n".to_owned()),
        ("announced as a trailer", format!("Trailer: Client-Cert\r\n{good}")),
    ] {
        is_malformed(&upstream(&server).token("billing", &bad), what);
    }
    // What is no field by RFC 9112 is refused before there is a request.
    for (what, bad) in [
        ("folded", good.replacen(": ", ":\r\n ", 1)),
        ("folded in the middle", good.replacen("MII", "MII\r\n ", 1)),
        ("a blank before the colon", good.replacen("Client-Cert:", "Client-Cert :", 1)),
        ("a tab before the colon", good.replacen("Client-Cert:", "Client-Cert\t:", 1)),
        ("another hyphen", good.replacen("Client-Cert", "Client\u{ff0d}Cert", 1)),
    ] {
        let answer = upstream(&server).token("billing", &bad);
        assert_eq!((answer.status, answer.body.len()), (400, 0), "{what}");
    }
}

#[test]
fn a_trailer_never_becomes_a_header() {
    let server = rfc9440().start();
    let billing = header(&server.setup.pki.client("billing.example.com"));
    let body = "grant_type=client_credentials&client_id=billing";
    let chunked = |headers: &str, trailers: &str| {
        let mut upstream = upstream(&server);
        upstream.send(&format!(
            "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Transfer-Encoding: chunked\r\n{headers}\r\n{:x}\r\n{body}\r\n0\r\n{trailers}\r\n",
            body.len()
        ));
        upstream.receive()
    };
    assert_eq!(chunked(&billing, "").status, 200, "a chunked body is as good as any other");
    is_refused(&server, &chunked("", &billing), "no_certificate");
    is_malformed(&chunked("Trailer: Client-Cert\r\n", &billing), "announced");
}

#[test]
fn a_head_has_room_for_a_chain_and_for_no_more() {
    let server = Setup { ..rfc9440() }.start();
    let pki = &server.setup.pki;
    let billing = pki.client("billing.example.com");
    let corp = pki.corp.identity().certificate_der().to_vec();
    let others = |count: usize| -> Vec<Vec<u8>> {
        let filler = (0..count).map(|number| pki.self_signed(&format!("filler {number}")).chain.remove(0));
        billing.chain.iter().cloned().chain(filler).collect()
    };
    let sixteen = lines(Dialect::Rfc9440, &others(15));
    assert_eq!(bound_to(&upstream(&server).token("billing", &sixteen)), billing.thumbprint());
    is_malformed(&upstream(&server).token("billing", &lines(Dialect::Rfc9440, &others(16))), "seventeen");
    let with_anchor = lines(Dialect::Rfc9440, &[billing.chain.clone(), vec![corp]].concat());
    assert_eq!(bound_to(&upstream(&server).token("billing", &with_anchor)), billing.thumbprint());

    let long = |bytes: usize| format!("{}X-Long: {}\r\n", header(&billing), "x".repeat(bytes));
    assert_eq!(upstream(&server).token("billing", &long(90 * 1024)).status, 200);
    let answer = upstream(&server).token("billing", &long(96 * 1024));
    assert_eq!((answer.status, answer.body.len()), (431, 0));
    let mut mtls = server.connect(Some(&billing));
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    assert_eq!(mtls.post_with("/token", &form, &long(64 * 1024)).unwrap().status, 431, "64 KiB elsewhere");
}

#[test]
fn a_head_that_is_given_and_a_chain_that_is_given_hold_here_too() {
    let more = "limits: { head: 8KiB, chain: 2 }\n".to_owned();
    let server = Setup { more, ..rfc9440() }.start();
    let pki = &server.setup.pki;
    let billing = pki.client("billing.example.com");
    let with = |count: usize| {
        let more = (0..count).map(|number| pki.self_signed(&format!("filler {number}")).chain.remove(0));
        lines(Dialect::Rfc9440, &billing.chain.iter().cloned().chain(more).collect::<Vec<_>>())
    };
    assert_eq!(upstream(&server).token("billing", &with(1)).status, 200);
    is_malformed(&upstream(&server).token("billing", &with(2)), "three");
    let long = format!("{}X-Long: {}\r\n", with(0), "x".repeat(8 * 1024));
    assert_eq!(upstream(&server).token("billing", &long).status, 431);
}

#[test]
fn more_than_64_kib_of_certificates_is_refused_whatever_the_head_may_have() {
    let setup = Setup::new();
    let more = "limits: { head: 128KiB }\n".to_owned();
    let server = Setup { more, listeners: listener(Dialect::Rfc9440, super::LOOPBACK), ..setup }.start();
    let billing = server.setup.pki.client("billing.example.com");
    let mut large = vec![0x30, 0x83, 0x01, 0x00, 0x00];
    large.resize(large.len() + 0x10000, 0x05);
    let with_large = billing.with(&[&large]);
    is_malformed(&upstream(&server).token("billing", &header(&with_large)), "65 KiB");
}

#[test]
fn a_second_way_to_authenticate_is_refused_behind_a_proxy_too() {
    let server = rfc9440().start();
    let billing = header(&server.setup.pki.client("billing.example.com"));
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    let with_secret = [&form[..], &[("client_secret", "x")]].concat();
    let both = upstream(&server).post("/token", &with_secret, &billing);
    assert_eq!((both.status, both.error().as_str()), (400, "invalid_request"));
    let alone = upstream(&server).post("/token", &with_secret, "");
    assert_eq!((alone.status, alone.error().as_str()), (400, "invalid_client"));
    let with_header =
        upstream(&server).post("/token", &form, &format!("Authorization: Bearer x\r\n{billing}"));
    assert_eq!((with_header.status, with_header.error().as_str()), (401, "invalid_client"));
    // The proxy's own credentials are no client's, and not in the way.
    let of_proxy = format!("Proxy-Authorization: Basic cHJveHk6eA==\r\n{billing}");
    assert_eq!(upstream(&server).post("/token", &form, &of_proxy).status, 200);
}

#[test]
fn the_words_of_a_refusal_do_not_depend_on_the_listener() {
    let server: Server = rfc9440().start();
    let direct = server.token("billing", None);
    let behind = Upstream::tcp(server.address(Kind::Forwarded)).token("billing", "");
    assert_eq!(direct.body_without_reference(), behind.body_without_reference());
    assert_eq!(direct.sorted_headers(), behind.sorted_headers());
}
