//! What the example resource server does beyond what all of them must: the same for every path, method and request,
//! FAPI's interaction id, any certificate but none without its key, and a close look at every JWT.

use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::x509::{X509Builder, X509NameBuilder};
use serde_json::{Value, json};

use super::{Pair, assert_admitted, assert_refused, authorization_server};
use crate::support::api::{self, Api, Language, SCOPE, Way};
use crate::support::server::API;
use crate::support::{Connection, Shown, TlsVersion};

#[test]
fn the_answer_tells_what_the_token_says_and_who_checked_it() {
    for (way, checked_by) in [(Way::Introspection, "introspection"), (Way::Local, "local")] {
        let pair = Pair::start(Language::Rust, way);
        let (billing, token) = pair.client("billing");
        let answer = pair.api.with_token(Some(&billing), &token);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let expected = json!({
            "client_id": "billing", "sub": "billing", "scope": "invoices:read invoices:write", "aud": API,
            "iss": pair.server.setup.issuer, "exp": pair.server.now() + 300,
            "cnf": { "x5t#S256": billing.thumbprint() }, "checked_by": checked_by,
        });
        assert_eq!(answer.json(), expected);
    }
}

#[test]
fn every_path_method_and_request_of_a_connection_is_protected_alike() {
    let pair = Pair::start(Language::Rust, Way::Local);
    let (billing, token) = pair.client("billing");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let mut kept = pair.api.connect(Some(&billing));
    for target in ["/", "/invoices/1?page=2", "/.well-known/x", "/%2e%2e/"] {
        let answer = api::get(&mut kept, target, &[bearer.trim_end()]).unwrap();
        assert_admitted(&answer, "billing", target);
        assert_refused(&api::get(&mut kept, target, &[]).unwrap(), 401, None, target);
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request =
            |lines: &str| format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{lines}\r\n");
        kept.send(request(&bearer).as_bytes()).unwrap();
        assert_admitted(&kept.receive().unwrap(), "billing", method);
        kept.send(request("").as_bytes()).unwrap();
        assert_refused(&kept.receive().unwrap(), 401, None, method);
    }
}

#[test]
fn a_token_in_a_form_is_refused_alone_and_beside_another() {
    let pair = Pair::start(Language::Rust, Way::Local);
    let (billing, token) = pair.client("billing");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let post = |form: &[(&str, &str)], lines: &str| {
        pair.api.connect(Some(&billing)).post_with("/", form, lines).unwrap()
    };
    for lines in ["", &*bearer] {
        let answer = post(&[("a", "b"), ("access_token", &token)], lines);
        assert_refused(&answer, 400, Some("invalid_request"), lines);
    }
    assert_admitted(&post(&[("a", "b")], &bearer), "billing", "a form without one");
    let large = "x".repeat(100_000);
    assert_refused(&post(&[("a", &large)], &bearer), 400, Some("invalid_request"), "a large form");
}

#[test]
fn the_interaction_id_of_a_client_comes_back_and_one_is_made_where_there_is_none() {
    let pair = Pair::start(Language::Rust, Way::Introspection);
    let (billing, token) = pair.client("billing");
    let bearer = format!("Authorization: Bearer {token}");
    let id_of = |lines: &[&str]| {
        let answer = pair.api.get(Some(&billing), "/", lines);
        answer.header("x-fapi-interaction-id").unwrap().to_owned()
    };
    for id in ["3f9a1c0e-5b7d-4e2a-9c41-d6e8f0a1b2c3", "3F9A1C0E-5B7D-4E2A-9C41-D6E8F0A1B2C3"] {
        let line = format!("X-FAPI-Interaction-ID: {id}");
        assert_eq!(id_of(&[&bearer, &line]), id, "admitted");
        assert_eq!(id_of(&[&line]), id, "refused");
    }
    let id = "x-fapi-interaction-id: 3f9a1c0e-5b7d-4e2a-9c41-d6e8f0a1b2c3";
    let mut made = Vec::new();
    for lines in [
        &[&*bearer][..],
        &[],
        &[&*bearer, "x-fapi-interaction-id: 1"],
        &[&*bearer, "x-fapi-interaction-id: 3f9a1c0e-5b7d-4e2a-9c41-d6e8f0a1b2cg"],
        &[&*bearer, "x-fapi-interaction-id: 3f9a1c0e-5b7d-4e2a-9c41-d6e8f0a1b2c3x"],
        &[&*bearer, id, id],
    ] {
        let fresh = id_of(lines);
        let parts: Vec<_> = fresh.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{fresh}");
        assert!(
            fresh.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        );
        assert!(
            parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']),
            "version 4: {fresh}"
        );
        assert!(!made.contains(&fresh) && !id.ends_with(&fresh));
        made.push(fresh);
    }
}

#[test]
fn a_certificate_without_its_key_gets_no_connection_to_the_example() {
    let pair = Pair::start(Language::Rust, Way::Local);
    let (billing, token) = pair.client("billing");
    let stolen = Shown { chain: billing.chain.clone(), key: pair.certificate("thief").key };
    let root = pair.server.setup.pki.server_ca.identity().certificate_der().to_vec();
    let bearer = format!("Authorization: Bearer {token}");
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let ask = |shown: &Shown| {
            let config = Connection::config(&root, Some(shown), Some(version));
            api::get(&mut Connection::open(pair.api.address(), config)?, "/", &[&bearer])
        };
        assert_admitted(&ask(&billing).unwrap(), "billing", "the key is there");
        assert!(ask(&stolen).is_err(), "{version:?}");
    }
}

#[test]
fn the_leaf_alone_is_the_certificate_of_a_connection_to_the_example() {
    let pair = Pair::start(Language::Rust, Way::Local);
    let (billing, token) = pair.client("billing");
    let thief = pair.certificate("thief").with(&[&billing.chain[0]]);
    assert_refused(&pair.api.with_token(Some(&thief), &token), 401, Some("invalid_token"), "behind its own");
}

#[test]
fn certificates_of_version_1_are_as_good_as_others_to_the_example() {
    let old = version_1();
    let pair = Pair::start_with(Language::Rust, Way::Introspection, &|setup| {
        setup.write("clients.d/old.der", &old.chain[0]);
        let method = "self_signed_tls_client_auth";
        let document = format!(
            "client_id: old\ntoken_endpoint_auth_method: {method}\ncertificates: [old.der]\nscope: {SCOPE}\n"
        );
        setup.write("clients.d/old.yaml", document);
    });
    let token = pair.server.good_token("old", &old);
    let local = Api::start(Language::Rust, Way::Local, &pair.server);
    let root = pair.server.setup.pki.server_ca.identity().certificate_der().to_vec();
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        for api in [&pair.api, &local] {
            let config = Connection::config(&root, Some(&old), Some(version));
            let mut connection = Connection::open(api.address(), config).unwrap();
            let answer =
                api::get(&mut connection, "/", &[&format!("Authorization: Bearer {token}")]).unwrap();
            assert_admitted(&answer, "old", "version 1");
        }
    }
}

/// A self-signed certificate without extensions, of the version that has none.
fn version_1() -> Shown {
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "old").unwrap();
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(0).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    Shown { chain: vec![builder.build().to_der().unwrap()], key: key.private_key_to_pkcs8().unwrap() }
}

#[test]
fn what_is_no_access_token_of_the_issuer_is_refused_locally() {
    let pair = Pair::start(Language::Rust, Way::Local);
    let (billing, token) = pair.client("billing");
    let [header, claims] = [0, 1].map(|part| {
        let part = token.split('.').nth(part).unwrap();
        serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    });
    let key = fs::read_dir(pair.server.setup.path("keys"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .unwrap();
    let key = jsonwebtoken::EncodingKey::from_ec_pem(&fs::read(key).unwrap()).unwrap();
    let with = |base: &Value, member: &str, value: Value| {
        let mut changed = base.clone();
        match value {
            Value::Null => drop(changed.as_object_mut().unwrap().remove(member)),
            value => changed[member] = value,
        }
        changed
    };
    let signed = |header: &Value, claims: &Value| {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let algorithm = jsonwebtoken::Algorithm::ES256;
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
        format!("{message}.{signature}")
    };
    let issuer = pair.server.setup.issuer.as_str();
    let now = pair.server.now();

    for (member, value) in [("iss", json!(issuer)), ("aud", json!([API, "https://x.example"]))] {
        let token = signed(&header, &with(&claims, member, value));
        assert_admitted(&pair.api.with_token(Some(&billing), &token), "billing", member);
    }
    let prefixed = signed(&with(&header, "typ", json!("application/AT+JWT")), &claims);
    assert_admitted(&pair.api.with_token(Some(&billing), &prefixed), "billing", "the whole media type");

    for (member, value) in [
        ("iss", json!(format!("{issuer}/"))),
        ("iss", json!([issuer])),
        ("iss", Value::Null),
        ("aud", json!("https://x.example")),
        ("aud", json!([])),
        ("aud", Value::Null),
        ("exp", json!(now - 600)),
        ("exp", json!((now + 300).to_string())),
        ("exp", Value::Null),
        ("nbf", json!(now + 600)),
        ("nbf", json!("9999999999")),
        ("sub", Value::Null),
        ("client_id", Value::Null),
        ("iat", Value::Null),
        ("jti", Value::Null),
        ("cnf", Value::Null),
        ("cnf", json!({})),
        ("cnf", json!({ "jkt": billing.thumbprint() })),
        ("cnf", json!({ "x5t#S256": "" })),
        ("cnf", json!({ "x5t#S256": [billing.thumbprint()] })),
    ] {
        let token = signed(&header, &with(&claims, member, value.clone()));
        let what = format!("{member} {value}");
        assert_refused(&pair.api.with_token(Some(&billing), &token), 401, Some("invalid_token"), &what);
    }
    for (member, value) in [
        ("typ", json!("JWT")),
        ("typ", json!("token-introspection+jwt")),
        ("typ", Value::Null),
        ("alg", json!("none")),
        ("alg", json!("nOnE")),
        ("alg", json!("HS256")),
        ("alg", json!("PS256")),
        ("crit", json!(["exp"])),
        ("kid", Value::Null),
        ("kid", json!("unknown")),
    ] {
        let token = signed(&with(&header, member, value.clone()), &claims);
        let what = format!("{member} {value}");
        for token in [token.clone(), format!("{}.", token.rsplit_once('.').unwrap().0)] {
            assert_refused(&pair.api.with_token(Some(&billing), &token), 401, Some("invalid_token"), &what);
        }
    }
    // The public key as the secret of an HMAC.
    let keys = pair.server.connect(None).get("/jwks").unwrap();
    let secret = jsonwebtoken::EncodingKey::from_secret(keys.json()["keys"][0].to_string().as_bytes());
    let hmac = jsonwebtoken::Header {
        typ: Some("at+jwt".to_owned()),
        kid: header["kid"].as_str().map(ToOwned::to_owned),
        ..jsonwebtoken::Header::default()
    };
    let token = jsonwebtoken::encode(&hmac, &claims, &secret).unwrap();
    assert_refused(&pair.api.with_token(Some(&billing), &token), 401, Some("invalid_token"), "HMAC");
}

#[test]
fn a_resource_server_that_may_not_ask_admits_nobody() {
    let (server, _) = authorization_server(&|setup| {
        setup.client("api-gateway", "tls_client_auth_san_dns: somebody.example.com\ngrant_types: []\n");
    });
    let api = Api::start(Language::Rust, Way::Introspection, &server);
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    assert_eq!(api.with_token(Some(&billing), &token).status, 503);
}

#[test]
fn the_example_says_what_is_wrong_with_its_arguments_and_with_its_issuer() {
    let ended = |command: &mut Command| {
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, usage) = ended(api::bare_example().arg("--help"));
    assert!(code == Some(0) && usage.starts_with("usage: resource_server "), "{usage}");
    for arguments in [
        &[][..],
        &["--local", "--introspect"],
        &["--nothing"],
        &["--local", "--issuer"],
        &["--local", "--issuer", "https://a.example", "--issuer", "https://a.example"],
        &["--local", "--issuer", "a.example", "--resource", "x", "--listen", "127.0.0.1:0"],
        &["--introspect", "--issuer", "https://a.example", "--resource", "x"],
    ] {
        let (code, said) = ended(api::bare_example().args(arguments));
        assert!(code == Some(2) && said.contains("usage: resource_server "), "{arguments:?}: {said}");
    }
    let (server, _) = authorization_server(&|_| {});
    let directory = server.setup.directory.path();
    let alias = server.setup.issuer.replace("localhost", "127.0.0.1");
    let (code, said) = ended(api::example(&alias, Way::Local).current_dir(directory));
    assert!(code == Some(1) && said.contains("is the document of"), "{said}");
    fs::remove_file(directory.join("pki/server.key")).unwrap();
    let (code, said) = ended(api::example(&server.setup.issuer, Way::Local).current_dir(directory));
    assert!(code == Some(1) && said.contains("pki/server.key"), "{said}");
}

#[test]
fn the_example_is_what_an_api_team_could_write() {
    let sources = api::example_sources();
    assert!(sources.len() > 3, "{sources:?}");
    for source in sources {
        let text = fs::read_to_string(&source).unwrap();
        assert!(!text.contains("certbound::"), "{} uses the library", source.display());
        assert!(text.lines().count() <= 200, "{} is too long for an example", source.display());
    }
}
