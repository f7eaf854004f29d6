//! FAPI 2.0 Security Profile, for clients with certificates. Much of it is tested with the specification that it is about.

use openssl::nid::Nid;
use openssl::ssl::SslVersion;
use serde_json::{Value, json};

use crate::check::{Outcome, ensure, fail, untestable};
use crate::checks;
use crate::jose;
use crate::lab::{Document, Lab, Submission};
use crate::pki::{Key, Leaf, SERVER_AUTH};
use crate::wire::Tls;

checks! {
    everything_goes_over_tls => ["FAPI2SP-5.2.1-a"],
    keys_are_published_over_tls_only => ["FAPI2SP-5.4.2-a"],
    no_endpoint_speaks_old_tls => ["FAPI2SP-5.2.1-b"],
    the_best_common_version_of_tls_is_spoken => ["FAPI2SP-5.2.1-c"],
    the_host_of_a_jwks_uri_is_verified (slow) => ["FAPI2SP-5.2.1-e"],
    only_recommended_suites_are_spoken => ["FAPI2SP-5.2.2-a"],
    every_token_is_bound_to_its_sender => ["FAPI2SP-5.3.2.1-d", "FAPI2SP-5.3.2.1-e"],
    the_scheme_of_a_token_has_no_case => ["FAPI2SP-5.3.4-a"],
    a_token_in_a_query_opens_nothing => ["FAPI2SP-5.3.4-b"],
    tokens_are_signed_as_fapi_says => ["FAPI2SP-5.4.1-b"],
    short_rsa_keys_are_refused (slow) => ["FAPI2SP-5.4.1-d"],
    small_curves_are_refused => ["FAPI2SP-5.4.1-e"],
    no_token_says_where_its_key_is => ["FAPI2SP-5.4.2-b"],
}

const ENDPOINTS: [&str; 4] = ["token_endpoint", "introspection_endpoint", "revocation_endpoint", "jwks_uri"];

fn everything_goes_over_tls(lab: &Lab) -> Outcome {
    let metadata = lab.metadata()?;
    let aliases = metadata.get("mtls_endpoint_aliases");
    for object in [Some(metadata), aliases].into_iter().flatten() {
        for (name, value) in object.as_object().into_iter().flatten() {
            let named = name.ends_with("_endpoint") || name.ends_with("_uri") || name == "issuer";
            if let (true, Some(url)) = (named, value.as_str()) {
                ensure(url.starts_with("https://"), format_args!("{name} is an https URL"), url)?;
            }
        }
    }
    let document = |uri: &str| Document::of("self_signed_tls_client_auth").with("jwks_uri", uri);
    let host = format!("{}.suite.example", lab.unique());
    let accepted = lab.submit(&document(&format!("https://{host}/jwks.json")))?;
    if let Submission::Refused { .. } = accepted {
        // Nobody's keys are fetched from anywhere.
        return Ok(());
    }
    lab.expect_metadata_refused(&document(&format!("http://{host}/jwks.json")))
}

fn keys_are_published_over_tls_only(lab: &Lab) -> Outcome {
    lab.key_set()?;
    lab.expect_https_only("jwks_uri")
}

fn no_endpoint_speaks_old_tls(lab: &Lab) -> Outcome {
    for endpoint in ENDPOINTS {
        for url in lab.urls(endpoint)? {
            let shown = &lab.pki_client()?.shown;
            lab.get(&url).certificate(shown).tls(Tls::OPENSSL).send().expect_answer()?;
            for version in [SslVersion::TLS1, SslVersion::TLS1_1] {
                let tls = Tls::Offer { min: version, max: version, ciphers: "ALL" };
                lab.get(&url).certificate(shown).tls(tls).send().expect_alert()?;
            }
        }
    }
    Ok(())
}

fn the_best_common_version_of_tls_is_spoken(lab: &Lab) -> Outcome {
    for endpoint in ENDPOINTS {
        for url in lab.urls(endpoint)? {
            for tls in [Tls::Modern, Tls::OPENSSL] {
                match lab.connect(&url, Some(&lab.pki_client()?.shown), tls) {
                    Ok(connection) if connection.handshake.version.ends_with("1.3") => {}
                    Ok(connection) => return fail("TLS 1.3, which both sides have", connection.handshake),
                    Err(failed) => return fail("TLS 1.3", failed.cause),
                }
            }
        }
    }
    Ok(())
}

fn the_host_of_a_jwks_uri_is_verified(lab: &Lab) -> Outcome {
    let shown = Leaf::new("published").self_signed()?;
    let set = json!({"keys": [shown.jwk()?]}).to_string();
    let document = |url: &str| Document::of("self_signed_tls_client_auth").with("jwks_uri", url);
    let good = lab.host(&set)?;
    lab.good_token(&lab.register(&document(&good.url), &shown)?)?;
    let names = Leaf::new("localhost").dns("localhost").ip(&[127, 0, 0, 1]).extended(&[SERVER_AUTH]);
    let hosted = lab.host_with(&names.self_signed()?, &set)?;
    let client = match lab.submit(&document(&hosted.url))? {
        // Fetched at once, and found to be nobody's.
        Submission::Refused { .. } => return Ok(()),
        Submission::Accepted { .. } => lab.register_unproven(&document(&hosted.url), &shown)?,
    };
    lab.token(&client).send().expect_refused()
}

/// Suites of TLS 1.2 that BCP 195 does not recommend, in the language of OpenSSL, so that a server that has one says so.
const POOR: [&str; 6] = [
    "kRSA",
    "CAMELLIA",
    "3DES",
    "aNULL",
    "ECDHE+SHA1",
    "ECDHE+SHA384:ECDHE+SHA256:!AESGCM:!CHACHA20:!AESCCM",
];

fn only_recommended_suites_are_spoken(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let offer = |ciphers| Tls::Offer { min: SslVersion::TLS1_2, max: SslVersion::TLS1_2, ciphers };
    for url in lab.urls("token_endpoint")? {
        let request = lab.token(client).at(&url);
        request.clone().tls(offer("ECDHE+AESGCM")).send().expect_answer()?;
        let mut offered = 0;
        for ciphers in POOR {
            let answer = request.clone().tls(offer(ciphers)).send();
            // Not every OpenSSL has them all.
            if !answer.seen().contains("this side cannot offer it") {
                answer.expect_alert()?;
                offered += 1;
            }
        }
        if offered == 0 {
            return untestable("the OpenSSL of the suite has no suite that is poor enough");
        }
    }
    Ok(())
}

fn every_token_is_bound_to_its_sender(lab: &Lab) -> Outcome {
    for client in [Some(lab.pki_client()?), lab.self_signed_client().ok()].into_iter().flatten() {
        let confirmation = lab.confirmation(&lab.good_token(client)?)?;
        let bound =
            ["x5t#S256", "jkt"].iter().any(|name| confirmation.get(name).is_some_and(Value::is_string));
        ensure(bound, "cnf with x5t#S256 or jkt", confirmation)?;
        for url in lab.urls("token_endpoint")? {
            lab.token(client).at(&url).no_certificate().send().expect_refused()?;
        }
    }
    let key = Key::p256()?;
    let Ok(client) = lab.asserting_client(&key) else { return Ok(()) };
    lab.asserted_token(&client, &key)?.send().expect_token()?;
    lab.asserted_token(&client, &key)?.no_certificate().send().expect_refused()
}

fn the_scheme_of_a_token_has_no_case(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    for api in [lab.local_api()?, lab.introspecting_api()?] {
        for scheme in ["Bearer", "bearer", "bEARER"] {
            let request = lab.get(&api).header("Authorization", &format!("{scheme} {}", token.text));
            request.certificate(&client.shown).send().expect_status(200)?;
        }
    }
    Ok(())
}

fn a_token_in_a_query_opens_nothing(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    for mut api in [lab.local_api()?, lab.introspecting_api()?] {
        lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
        api.query_pairs_mut().append_pair("access_token", &token.text);
        let answer = lab.get(&api).certificate(&client.shown).send();
        let refused = matches!(answer.expect_answer()?.status, 400 | 401 | 414);
        ensure(refused, "400 or 401 for a token in the query", answer.seen())?;
    }
    Ok(())
}

fn tokens_are_signed_as_fapi_says(lab: &Lab) -> Outcome {
    let (jwt, key) = lab.verified(&lab.good_token(lab.pki_client()?)?)?;
    let alg = jwt.header_text("alg");
    ensure(matches!(alg, "PS256" | "ES256" | "EdDSA" | "Ed25519"), "PS256, ES256 or EdDSA", alg)?;
    let curve = key.get("crv").and_then(Value::as_str);
    ensure(curve != Some("Ed448"), "EdDSA with Ed25519", key)
}

fn short_rsa_keys_are_refused(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let leaf = Leaf::new("any").dns(&host);
    let good = lab.issue(&leaf.clone().key(&Key::rsa(2048)?))?;
    let client = lab.register(&Document::pki("san_dns", &host), &good)?;
    lab.good_token(&client)?;
    let short = Key::rsa(1024)?;
    let shown = lab.issue(&leaf.key(&short))?;
    lab.token(&client).certificate(&shown).tls(Tls::OPENSSL).send().expect_refused()?;
    lab.expect_metadata_refused(&Document::self_signed(&[&Leaf::new("short")
        .key(&short)
        .self_signed()?])?)?;
    for jwk in lab.variant("ps256")?.keys()?.into_iter().chain(lab.keys()?) {
        if let Some(rsa) = jose::public(&jwk).and_then(|key| key.rsa().ok()) {
            ensure(rsa.size() >= 256, "a published RSA key of 2048 bits", &jwk)?;
        }
    }
    Ok(())
}

fn small_curves_are_refused(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let leaf = Leaf::new("any").dns(&host);
    let shown = lab.issue(&leaf.clone().key(&Key::p256()?))?;
    let client = lab.register(&Document::pki("san_dns", &host), &shown)?;
    for key in [Key::p256()?, Key::ed25519()?] {
        let shown = lab.issue(&leaf.clone().key(&key))?;
        lab.token(&client).certificate(&shown).tls(Tls::OPENSSL).send().expect_token()?;
    }
    let Ok(small) = Key::curve(Nid::X9_62_PRIME192V1) else {
        return untestable("the OpenSSL of the suite has no small curve");
    };
    let shown = lab.issue(&leaf.key(&small))?;
    lab.token(&client).certificate(&shown).tls(Tls::OPENSSL).send().expect_refused()
}

fn no_token_says_where_its_key_is(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let header = token.jwt()?.header;
    for name in ["jku", "x5u"] {
        ensure(header.get(name).is_none(), format_args!("no {name} in a token"), &header)?;
    }
    let key = Key::p256()?;
    let mut jwk = key.jwk()?;
    if let Some(members) = jwk.as_object_mut() {
        members.extend([("kid".to_owned(), json!("elsewhere")), ("use".to_owned(), json!("sig"))]);
    }
    let hosted = lab.host(&json!({"keys": [jwk]}).to_string())?;
    let header =
        json!({"typ": "at+jwt", "alg": "ES256", "kid": "elsewhere", "jku": hosted.url, "x5u": hosted.url});
    let foreign = jose::sign(&header, &token.claims()?, &key)?;
    ensure(lab.is_active(&token.text)?, "the server's own token is active", "it is not")?;
    ensure(!lab.is_active(&foreign)?, "a token by a key at its jku is inactive", "it is active")?;
    ensure(
        hosted.served() == 0,
        "nobody fetches keys from where a token says",
        format_args!("{} times", hosted.served()),
    )
}
