//! `POST /introspect` (RFC 7662): what a resource server may know.

use serde_json::{Value, json};

use crate::support::server::{API, ISSUER};
use crate::support::{Server, Setup};

#[test]
fn an_active_token_is_told_with_its_binding_and_nothing_else() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    let answer = server.introspect(&token, &[]);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    let now = server.now();
    let expected = json!({
        "active": true, "scope": "read write", "client_id": "billing", "token_type": "Bearer", "exp": now + 300,
        "iat": now, "sub": "billing", "aud": API, "iss": ISSUER, "jti": body["jti"],
        "cnf": { "x5t#S256": billing.thumbprint() },
    });
    assert_eq!(body, expected);
    assert_eq!(
        server.introspect(&token, &[("token_type_hint", "refresh_token")]).json(),
        expected,
        "a hint changes nothing"
    );
}

#[test]
fn every_token_that_is_not_good_gets_the_same_octets() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let good = server.good_token("billing", &billing);
    let revoked = server.good_token("billing", &billing);
    assert_eq!(server.revoke("billing", &billing, &revoked).status, 200);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let mut forged = vec![
        revoked,
        "garbage".to_owned(),
        "a.b.c".to_owned(),
        ".....".to_owned(),
        format!("{message}."),
        format!("{message}.{}", &signature[1..]),
        format!("{good}x"),
        format!("{good}="),
        format!(" {good}"),
        "x".repeat(40_000),
    ];
    for odd_header in [
        json!({ "typ": "at+jwt", "alg": "none" }),
        json!({ "typ": "at+jwt", "alg": "nOnE", "kid": "x" }),
        json!({ "typ": "JWT", "alg": "ES256", "kid": part(header)["kid"] }),
        json!({ "typ": "at+jwt", "alg": "HS256", "kid": part(header)["kid"] }),
        json!({ "typ": "at+jwt", "alg": "ES256", "kid": part(header)["kid"], "crit": ["x"] }),
        json!({ "typ": "at+jwt", "alg": "ES256", "kid": part(header)["kid"], "jku": "https://evil.example" }),
        json!({ "typ": "at+jwt", "alg": "ES256", "kid": "../../dev/null" }),
    ] {
        forged.push(format!("{}.{payload}.{signature}", encode(&odd_header)));
        forged.push(format!("{}.{payload}.", encode(&odd_header)));
    }
    let mut claims = part(payload);
    claims["exp"] = json!(server.now() + 900_000);
    forged.push(format!("{header}.{}.{signature}", encode(&claims)));

    let inactive = server.introspect("unknown", &[]);
    assert_eq!(inactive.body, b"{\"active\":false}");
    for token in forged {
        let answer = server.introspect(&token, &[]);
        assert_eq!((answer.status, &answer.body), (200, &inactive.body), "{}", &token[..token.len().min(80)]);
        assert_eq!(answer.sorted_headers(), inactive.sorted_headers());
    }
    assert!(server.is_active(&good), "none of this harmed the good one");
}

fn part(text: &str) -> Value {
    use base64::Engine as _;
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

fn encode(value: &Value) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
}

#[test]
fn a_token_is_active_up_to_its_last_second() {
    let server = Server::start();
    let token = server.good_token("billing", &server.setup.pki.client("billing.example.com"));
    server.setup.clock.advance(std::time::Duration::from_secs(299));
    assert!(server.is_active(&token));
    server.setup.clock.advance(std::time::Duration::from_secs(1));
    assert!(!server.is_active(&token));
}

#[test]
fn a_token_from_the_future_is_not_active() {
    let server = Server::start();
    let token = server.good_token("billing", &server.setup.pki.client("billing.example.com"));
    server.setup.clock.set(server.setup.pki.now.minus(std::time::Duration::from_secs(60)));
    assert!(!server.is_active(&token));
}

#[test]
fn a_caller_sees_tokens_of_its_audience_only_and_its_own_not_at_all() {
    let setup = Setup::new();
    setup.client(
        "other",
        "tls_client_auth_san_dns: other.example.com\nresources: [https://other.example.com]\n",
    );
    setup.client(
        "reader",
        "tls_client_auth_san_dns: reader.example.com\nintrospection: { resources: [https://else.example.com] }\n",
    );
    let server = setup.start();
    let pki = &server.setup.pki;
    let (billing, other, reader) = (
        pki.client("billing.example.com"),
        pki.client("other.example.com"),
        pki.client("reader.example.com"),
    );
    let token = server.good_token("billing", &billing);
    let elsewhere = server.good_token("other", &other);
    assert!(!server.is_active(&elsewhere), "of another audience");
    for (client, shown) in [("billing", &billing), ("reader", &reader)] {
        let answer =
            server.connect(Some(shown)).post("/introspect", &[("client_id", client), ("token", &token)]);
        assert_eq!(answer.unwrap().json(), json!({ "active": false }), "{client}");
    }
}

#[test]
fn without_a_token_there_is_nothing_to_say_but_only_to_a_proven_caller() {
    let server = Server::start();
    let gateway = server.setup.pki.client("gateway.example.com");
    let missing = server.connect(Some(&gateway)).post("/introspect", &[("client_id", "gateway")]).unwrap();
    assert_eq!((missing.status, missing.error().as_str()), (400, "invalid_request"));
    let unproven = server.connect(None).post("/introspect", &[("client_id", "gateway")]).unwrap();
    assert_eq!((unproven.status, unproven.error().as_str()), (400, "invalid_client"));
}

#[test]
fn the_caller_hears_400_without_credentials_and_401_with_wrong_ones() {
    let server = Server::start();
    let (gateway, other) =
        (server.setup.pki.client("gateway.example.com"), server.setup.pki.client("other.example.com"));
    let ask =
        |shown: Option<_>, form: &[(&str, &str)]| server.connect(shown).post("/introspect", form).unwrap();
    for answer in
        [ask(None, &[("client_id", "gateway"), ("token", "x")]), ask(Some(&gateway), &[("token", "x")])]
    {
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client"));
        assert_eq!(answer.header("www-authenticate"), None);
    }
    for client in ["gateway", "unknown"] {
        let answer = ask(Some(&other), &[("client_id", client), ("token", "x")]);
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
        assert_eq!(answer.header("www-authenticate"), Some("Mutual-TLS realm=\"https://as.example.com\""));
    }
}
