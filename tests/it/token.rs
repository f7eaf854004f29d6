//! `POST /token`: what a proven client gets.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::support::server::{API, ISSUER};
use crate::support::{Server, Setup};

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn a_client_gets_a_token_bound_to_the_certificate_of_its_connection() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let answer = server.token("billing", Some(&billing));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    let body = answer.json();
    assert_eq!(
        (&body["token_type"], &body["expires_in"], &body["scope"]),
        (&"Bearer".into(), &300.into(), &"read write".into())
    );

    let token = body["access_token"].as_str().unwrap();
    let (header, claims) = (part(token, 0), part(token, 1));
    assert_eq!((&header["typ"], &header["alg"]), (&"at+jwt".into(), &"ES256".into()));
    let now = server.now();
    let expected = serde_json::json!({
        "iss": ISSUER, "sub": "billing", "aud": API, "client_id": "billing", "scope": "read write",
        "iat": now, "exp": now + 300, "jti": claims["jti"], "cnf": { "x5t#S256": billing.thumbprint() },
    });
    assert_eq!(claims, expected);
    assert_eq!(claims["jti"].as_str().unwrap().len(), 22);
}

#[test]
fn the_key_set_verifies_the_token_for_every_algorithm() {
    for algorithm in ["ES256", "PS256", "EdDSA", "RS256"] {
        let server =
            Setup { more: format!("signing: {{ algorithm: {algorithm} }}\n"), ..Setup::new() }.start();
        let token = server.good_token("billing", &server.setup.pki.client("billing.example.com"));
        let keys = server.connect(None).get("/jwks").unwrap().json();
        let kid = part(&token, 0)["kid"].clone();
        let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap().clone();
        assert_eq!((&key["alg"], &key["use"]), (&algorithm.into(), &"sig".into()));
        assert!(key.get("d").is_none());
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key).unwrap();
        let mut validation = jsonwebtoken::Validation::new(algorithm.parse().unwrap());
        validation.set_audience(&[API]);
        validation.validate_exp = false;
        let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
        jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
    }
}

#[test]
fn scope_is_what_was_asked_for_and_never_more_than_was_registered() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let ask = |scope: &str| {
        let form = [("grant_type", "client_credentials"), ("client_id", "billing"), ("scope", scope)];
        server.connect(Some(&billing)).post("/token", &form).unwrap()
    };
    assert_eq!(ask("write").json()["scope"], "write");
    assert_eq!(ask("write read write").json()["scope"], "read write");
    assert_eq!(ask("").json()["scope"], "read write", "an empty parameter counts as absent");
    for scope in
        ["admin", "read admin", "Read", "read  write", " read", "a\"b", "é", "read\u{7f}", &"x ".repeat(5000)]
    {
        let answer = ask(scope);
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_scope"), "{scope:?}");
    }
}

#[test]
fn a_client_without_scope_gets_tokens_without_and_may_not_ask() {
    let setup = Setup::new();
    setup.client("plain", "tls_client_auth_san_dns: plain.example.com\n");
    let server = setup.start();
    let plain = server.setup.pki.client("plain.example.com");
    let answer = server.token("plain", Some(&plain)).json();
    assert!(answer.get("scope").is_none());
    let token = answer["access_token"].as_str().unwrap().to_owned();
    assert!(part(&token, 1).get("scope").is_none());
    assert!(server.introspect(&token, &[]).json().get("scope").is_none());
    let form = [("grant_type", "client_credentials"), ("client_id", "plain"), ("scope", "read")];
    assert_eq!(server.connect(Some(&plain)).post("/token", &form).unwrap().error(), "invalid_scope");
}

#[test]
fn the_longest_scope_and_resource_make_a_token_that_is_still_one() {
    let scope = |length: usize| {
        let words: String = (0..)
            .flat_map(|number: u32| format!("w{number} ").into_bytes())
            .map(char::from)
            .take(length)
            .collect();
        // The last character may be a blank, which no scope ends with.
        words.trim_end().to_owned() + if words.ends_with(' ') { "w" } else { "" }
    };
    let resource = format!("https://api.example.com/{}", "r".repeat(2048 - 24));
    let setup = Setup { more: "signing: { algorithm: RS256 }\n".to_owned(), ..Setup::new() };
    setup.client(
        "wide",
        &format!(
            "tls_client_auth_san_dns: wide.example.com\nscope: {}\nresources: [{resource}]\n",
            scope(4096)
        ),
    );
    setup.client("wider", &format!("tls_client_auth_san_dns: wider.example.com\nscope: {}\n", scope(4096)));
    setup.client(
        "reader",
        &format!(
            "tls_client_auth_san_dns: reader.example.com\ngrant_types: []\nintrospection: {{ resources: [{resource}] }}\n"
        ),
    );
    let server = setup.start();
    let token = server.good_token("wide", &server.setup.pki.client("wide.example.com"));
    assert!(token.len() < 16 * 1024, "{}", token.len());
    let form = [("client_id", "reader"), ("token", token.as_str())];
    let reader = server.setup.pki.client("reader.example.com");
    let answer = server.connect(Some(&reader)).post("/introspect", &form).unwrap().json();
    assert_eq!(answer["active"], true);
    assert_eq!(answer["aud"], resource.as_str());
    // One character more is no document, and the client stays as it was.
    server
        .setup
        .client("wider", &format!("tls_client_auth_san_dns: wider.example.com\nscope: {}\n", scope(4097)));
    let problems = server.reload();
    assert!(problems.iter().any(|problem| problem.contains("at most 4096 characters")), "{problems:?}");
    server.good_token("wider", &server.setup.pki.client("wider.example.com"));
}

#[test]
fn a_resource_is_one_of_the_registered_ones_or_invalid_target() {
    let setup = Setup::new();
    setup.client(
        "billing",
        "tls_client_auth_san_dns: billing.example.com\nresources: [https://one.example.com, https://two.example.com]\n",
    );
    let server = setup.start();
    let billing = server.setup.pki.client("billing.example.com");
    let ask = |resources: &[&str]| {
        let mut form = vec![("grant_type", "client_credentials"), ("client_id", "billing")];
        form.extend(resources.iter().map(|resource| ("resource", *resource)));
        server.connect(Some(&billing)).post("/token", &form).unwrap()
    };
    let audience =
        |resources: &[&str]| part(ask(resources).json()["access_token"].as_str().unwrap(), 1)["aud"].clone();
    assert_eq!(audience(&[]), "https://one.example.com", "the first is the default");
    assert_eq!(audience(&["https://two.example.com"]), "https://two.example.com");
    assert_eq!(
        audience(&["https://two.example.com", "", "https://two.example.com"]),
        "https://two.example.com"
    );
    for resources in [
        &["https://one.example.com", "https://two.example.com"][..],
        &[API],
        &["https://two.example.com/"],
        &["https://two.example.com#x"],
        &["two"],
    ] {
        let answer = ask(resources);
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_target"), "{resources:?}");
    }
}

#[test]
fn a_token_ends_no_later_than_its_certificate() {
    let server = Server::start();
    let template = server.setup.pki.template("billing");
    let now = server.setup.pki.now;
    let ends = now.plus(std::time::Duration::from_secs(100));
    let shown = server.setup.pki.issue(&certbound::pki::workshop::Template {
        dns: vec!["billing.example.com".to_owned()],
        not_after: ends,
        ..template
    });
    let token = server.token("billing", Some(&shown)).json();
    assert_eq!(token["expires_in"], 100);
    assert_eq!(part(token["access_token"].as_str().unwrap(), 1)["exp"], ends.as_unix());

    server.setup.clock.advance(std::time::Duration::from_secs(99));
    assert_eq!(server.token("billing", Some(&shown)).json()["expires_in"], 1);
    server.setup.clock.advance(std::time::Duration::from_secs(1));
    let refused = server.token("billing", Some(&shown));
    assert_eq!(
        (refused.status, refused.error().as_str()),
        (400, "invalid_client"),
        "less than a second is left"
    );
}

#[test]
fn a_client_has_its_own_lifetime_if_it_says_so() {
    let setup = Setup::new();
    setup.client("billing", "tls_client_auth_san_dns: billing.example.com\naccess_token_lifetime: 90s\n");
    let server = setup.start();
    let billing = server.setup.pki.client("billing.example.com");
    assert_eq!(server.token("billing", Some(&billing)).json()["expires_in"], 90);
}

#[test]
fn the_grant_type_decides_in_the_order_of_the_rfc() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let gateway = server.setup.pki.client("gateway.example.com");
    let ask = |client, shown, form: &[(&str, &str)]| {
        let mut form = form.to_vec();
        form.push(("client_id", client));
        server.connect(Some(shown)).post("/token", &form).unwrap().error()
    };
    assert_eq!(ask("billing", &billing, &[]), "invalid_request");
    assert_eq!(ask("billing", &billing, &[("grant_type", "")]), "invalid_request");
    assert_eq!(ask("billing", &billing, &[("Grant_Type", "client_credentials")]), "invalid_request");
    for unknown in ["password", "refresh_token", "client_credentials ", "CLIENT_CREDENTIALS"] {
        assert_eq!(
            ask("billing", &billing, &[("grant_type", unknown), ("scope", "nope")]),
            "unsupported_grant_type"
        );
    }
    let form = [("grant_type", "client_credentials"), ("scope", "nope")];
    assert_eq!(ask("gateway", &gateway, &form), "unauthorized_client");
    assert_eq!(ask("billing", &gateway, &[]), "invalid_client", "who comes before what");
}
