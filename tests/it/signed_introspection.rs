//! Introspection with a signed answer (RFC 9701).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::server::{API, ISSUER};
use crate::support::{Response, Server, Setup, Shown};

const SIGNED: &str = "application/token-introspection+jwt";

/// What `client` hears of a token if it asks for this type.
fn ask(server: &Server, (client, shown): (&str, &Shown), token: &str, accept: &str) -> Response {
    let form = [("client_id", client), ("token", token)];
    let accept = format!("Accept: {accept}\r\n");
    server.connect(Some(shown)).post_with("/introspect", &form, &accept).unwrap()
}

fn gateway(server: &Server) -> Shown {
    server.setup.pki.client("gateway.example.com")
}

/// Header and claims of a JWS, which must be signed with this algorithm by a key of the published set.
fn verified(server: &Server, answer: &Response, algorithm: &str) -> (Value, Value) {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(SIGNED)), "{answer:?}");
    let jws = String::from_utf8(answer.body.clone()).unwrap();
    let (message, signature) = jws.rsplit_once('.').unwrap();
    let [header, claims] = message.split('.').collect::<Vec<_>>()[..] else { panic!("{jws}") };
    let part = |text| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    let (header, claims): (Value, Value) = (part(header), part(claims));
    let keys = server.connect(None).get("/jwks").unwrap().json();
    let key =
        keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap().clone();
    let key = jsonwebtoken::DecodingKey::from_jwk(&serde_json::from_value(key).unwrap()).unwrap();
    let algorithm = algorithm.parse().unwrap();
    assert!(jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, algorithm).unwrap());
    (header, claims)
}

#[test]
fn a_signed_answer_is_for_its_reader_alone_and_holds_the_answer_inside() {
    for algorithm in ["ES256", "PS256", "EdDSA", "RS256"] {
        let more = format!("signing: {{ algorithm: {algorithm} }}\n");
        let server = Setup { more, ..Setup::new() }.start();
        let token = server.good_token("billing", &server.setup.pki.client("billing.example.com"));
        server.setup.clock.advance(std::time::Duration::from_secs(7));
        let answer = ask(&server, ("gateway", &gateway(&server)), &token, SIGNED);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("pragma"), Some("no-cache"));

        let (header, claims) = verified(&server, &answer, algorithm);
        let typ = "token-introspection+jwt";
        assert_eq!(header, json!({ "typ": typ, "alg": algorithm, "kid": header["kid"] }));
        // Without `sub` and `exp` at the top (RFC 9701 §5), and `iat` is now, not that of the token.
        let inside = server.introspect(&token, &[]).json();
        assert_eq!(inside["active"], true);
        assert_eq!(
            claims,
            json!({ "iss": ISSUER, "aud": "gateway", "iat": server.now(), "token_introspection": inside })
        );

        let metadata = server.connect(None).get("/.well-known/oauth-authorization-server").unwrap().json();
        assert_eq!(metadata["introspection_signing_alg_values_supported"], json!([algorithm]));
    }
}

#[test]
fn each_resource_server_gets_answers_with_its_own_name() {
    let setup = Setup::new();
    setup.client("second", &format!(
        "tls_client_auth_san_dns: second.example.com\ngrant_types: []\nintrospection: {{ resources: [{API}] }}\n"
    ));
    let server = setup.start();
    let token = server.good_token("billing", &server.setup.pki.client("billing.example.com"));
    for client in ["gateway", "second"] {
        let shown = server.setup.pki.client(&format!("{client}.example.com"));
        let (_, claims) = verified(&server, &ask(&server, (client, &shown), &token, SIGNED), "ES256");
        assert_eq!(
            (&claims["aud"], &claims["token_introspection"]["active"]),
            (&client.into(), &true.into())
        );
    }
}

#[test]
fn every_inactive_answer_is_signed_and_says_the_same() {
    let setup = Setup::new();
    setup.client(
        "other",
        "tls_client_auth_san_dns: other.example.com\nresources: [https://other.example.com]\n",
    );
    let server = setup.start();
    let (billing, reader) = (server.setup.pki.client("billing.example.com"), gateway(&server));
    let good = server.good_token("billing", &billing);
    let revoked = server.good_token("billing", &billing);
    assert_eq!(server.revoke("billing", &billing, &revoked).status, 200);
    let elsewhere = server.good_token("other", &server.setup.pki.client("other.example.com"));
    let signed = ask(&server, ("gateway", &reader), &good, SIGNED);
    let signed = String::from_utf8(signed.body).unwrap();

    let unknown = ask(&server, ("gateway", &reader), "unknown", SIGNED);
    let (header, claims) = verified(&server, &unknown, "ES256");
    let nothing = json!({ "active": false });
    assert_eq!(
        claims,
        json!({ "iss": ISSUER, "aud": "gateway", "iat": server.now(), "token_introspection": nothing })
    );
    for token in [revoked, elsewhere, format!("{good}x"), signed] {
        let answer = ask(&server, ("gateway", &reader), &token, SIGNED);
        assert_eq!(answer.sorted_headers(), unknown.sorted_headers());
        assert_eq!(verified(&server, &answer, "ES256"), (header.clone(), claims.clone()));
    }
}

#[test]
fn a_signed_answer_is_never_a_token() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    let signed = ask(&server, ("gateway", &gateway(&server)), &token, SIGNED);
    let signed = String::from_utf8(signed.body).unwrap();
    assert!(!server.is_active(&signed));
    // As a token it would be another client's, and refused; it is none, so there is nothing to end.
    assert_eq!(server.revoke("gateway", &gateway(&server), &signed).status, 200);
    assert!(server.is_active(&token));

    // Nor with the header of the token, whose signature it does not have; nor the other way round.
    let parts = |jws: &str| jws.split('.').map(ToOwned::to_owned).collect::<Vec<_>>();
    let (of_token, of_answer) = (parts(&token), parts(&signed));
    for forged in [
        [&of_token[0], &of_answer[1], &of_answer[2]],
        [&of_answer[0], &of_token[1], &of_token[2]],
        [&of_answer[0], &of_token[1], &of_answer[2]],
    ] {
        assert!(!server.is_active(&forged.map(String::as_str).join(".")));
    }
}

#[test]
fn json_is_the_answer_wherever_the_signed_form_is_not_asked_for_by_name() {
    let server = Server::start();
    let reader = gateway(&server);
    let token = server.good_token("billing", &server.setup.pki.client("billing.example.com"));
    for accept in ["application/json", "*/*", "text/html", "application/token-introspection+jwt;q=0.3, */*"] {
        let answer = ask(&server, ("gateway", &reader), &token, accept);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/json")),
            "{accept}"
        );
        assert_eq!(answer.json()["active"], true);
    }
}

#[test]
fn asking_for_a_signed_answer_changes_nothing_about_errors() {
    let server = Server::start();
    let (reader, stranger) = (gateway(&server), server.setup.pki.client("stranger.example.com"));
    let accept = format!("Accept: {SIGNED}\r\n");
    let both = [("client_id", "gateway"), ("token", "x")];
    for (shown, form, status, error) in [
        (None, &both[..], 400, "invalid_client"),
        (Some(&stranger), &both[..], 401, "invalid_client"),
        (Some(&reader), &both[..1], 400, "invalid_request"),
    ] {
        let answer = server.connect(shown).post_with("/introspect", form, &accept).unwrap();
        assert_eq!((answer.status, answer.error().as_str()), (status, error));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[test]
fn the_metadata_names_the_algorithms_of_the_keys_that_sign_now_and_next() {
    let server = Server::start();
    let supported = || {
        let metadata = server.connect(None).get("/.well-known/oauth-authorization-server").unwrap().json();
        metadata["introspection_signing_alg_values_supported"].clone()
    };
    assert_eq!(supported(), json!(["ES256"]));
    let key = openssl::pkey::PKey::generate_ed25519().unwrap().private_key_to_pem_pkcs8().unwrap();
    server.setup.write("next.pem", key);
    let imported = std::process::Command::new(env!("CARGO_BIN_EXE_certbound"))
        .args(["keys", "import", "next.pem"])
        .current_dir(server.setup.directory.path())
        .output()
        .unwrap();
    assert!(imported.status.success(), "{imported:?}");
    assert_eq!(supported(), json!(["ES256", "EdDSA"]), "published, and not signing yet");
    server.setup.clock.advance(std::time::Duration::from_secs(15 * 60));
    assert_eq!(supported(), json!(["EdDSA"]));
    let (reader, token) = (gateway(&server), "unknown");
    verified(&server, &ask(&server, ("gateway", &reader), token, SIGNED), "EdDSA");
}
