//! RFC 9068 §4 and §5: what the server announces to those who read its tokens, and what the demo resource server does with
//! tokens of which one thing is wrong.

use serde_json::{Value, json};

use crate::check::{Halt, Outcome, ensure, not_applicable};
use crate::checks;
use crate::jose::{public, sign, sign_hs256, unsigned, with_member};
use crate::lab::{Client, Document, Lab, Role, Submission, Token};
use crate::pki::Key;

/// Ten minutes.
const LONG_AGO: i64 = 600;

/// What is wrong with a token: a change of its header and claims.
type Change<'a> = &'a dyn Fn(&mut Value, &mut Value);

checks! {
    the_metadata_name_issuer_and_keys => ["RFC9068-4-a"],
    a_jwt_of_another_type_is_no_token => ["RFC9068-4-c", "RFC9068-4-h"],
    a_token_of_another_issuer_opens_nothing => ["RFC9068-4-d", "RFC9068-4-h"],
    a_token_for_another_resource_opens_nothing => [
        "RFC9068-4-e", "RFC9068-4-h", "RFC9700-2.3-c", "RFC9700-4.9.3-a",
    ],
    a_token_that_the_server_did_not_sign_opens_nothing => ["RFC9068-4-f", "RFC9068-4-h"],
    an_expired_token_opens_nothing => ["RFC9068-4-g", "RFC9068-4-h", "FAPI2SP-5.3.4-c"],
    a_token_without_the_scope_is_not_enough => ["RFC9068-4-i", "FAPI2SP-5.3.4-d"],
    clients_do_not_choose_their_names => ["RFC9068-5-a"],
    resources_have_audiences_of_their_own => ["RFC9068-5-b"],
    a_token_opens_its_own_resource_alone => ["RFC9068-5-b"],
}

fn the_metadata_name_issuer_and_keys(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    let text = |name: &str| document.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    ensure(text("issuer") && text("jwks_uri"), "issuer and jwks_uri", &document)?;
    lab.keys().map(drop)
}

/// The token opens the resource; then each of the others has to be refused as `invalid_token`.
fn only_the_token_opens(lab: &Lab, client: &Client, token: &Token, others: &[String]) -> Outcome {
    let api = lab.local_api()?;
    lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
    for other in others {
        lab.call(&api, other, Some(&client.shown)).send().expect_challenge(401, Some("invalid_token"))?;
    }
    Ok(())
}

/// As [`only_the_token_opens`], after showing that what the suite signs with the key of the server is a token as any other.
fn only_without_change(lab: &Lab, changes: &[Change<'_>]) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    let same = Token { text: lab.forged(&token, |_, _| {})?, answer: token.answer.clone() };
    let others = changes.iter().map(|change| lab.forged(&token, *change)).collect::<Result<Vec<_>, _>>()?;
    only_the_token_opens(lab, client, &same, &others)
}

fn a_jwt_of_another_type_is_no_token(lab: &Lab) -> Outcome {
    only_without_change(
        lab,
        &[
            &|header, _| header["typ"] = json!("JWT"),
            &|header, _| header["typ"] = json!("token-introspection+jwt"),
            &|header, _| {
                if let Some(members) = header.as_object_mut() {
                    members.remove("typ");
                }
            },
        ],
    )
}

fn a_token_of_another_issuer_opens_nothing(lab: &Lab) -> Outcome {
    let issuer = lab.issuer();
    only_without_change(
        lab,
        &[
            &|_, claims| claims["iss"] = json!(format!("{issuer}/")),
            &|_, claims| claims["iss"] = json!(issuer.to_ascii_uppercase()),
            &|_, claims| claims["iss"] = json!("https://other.suite.example"),
            &|_, claims| {
                if let Some(members) = claims.as_object_mut() {
                    members.remove("iss");
                }
            },
        ],
    )
}

fn a_token_for_another_resource_opens_nothing(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Both)?;
    let token = lab.good_token(client)?;
    let other = lab.token(client).set("resource", lab.second_resource()?).send().expect_token()?;
    only_the_token_opens(lab, client, &token, &[other.text])?;
    only_without_change(
        lab,
        &[&|_, claims| claims["aud"] = json!([]), &|_, claims| {
            if let Some(members) = claims.as_object_mut() {
                members.remove("aud");
            }
        }],
    )
}

fn a_token_that_the_server_did_not_sign_opens_nothing(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    let (jwt, published) = lab.verified(&token)?;
    let with = |name: &str, value: &str| with_member(&jwt.header, name, json!(value));
    let stranger = match jwt.header_text("alg") {
        "RS256" | "PS256" => Key::rsa(2048)?,
        "EdDSA" | "Ed25519" => Key::ed25519()?,
        _ => Key::p256()?,
    };
    let mut others = vec![
        sign(&jwt.header, &jwt.claims, &stranger)?,
        sign(&with("kid", &lab.unique()), &jwt.claims, &stranger)?,
    ];
    for none in ["none", "NONE"] {
        others.push(format!("{}.", unsigned(&with("alg", none), &jwt.claims)));
    }
    let hmac = with("alg", "HS256");
    others.push(sign_hs256(&hmac, &jwt.claims, published.to_string().as_bytes())?);
    if let Some(key) = public(&published) {
        others.push(sign_hs256(&hmac, &jwt.claims, &key.public_key_to_pem()?)?);
        others.push(sign_hs256(&hmac, &jwt.claims, &key.public_key_to_der()?)?);
    }
    only_the_token_opens(lab, client, &token, &others)
}

fn an_expired_token_opens_nothing(lab: &Lab) -> Outcome {
    only_without_change(
        lab,
        &[
            &|_, claims| {
                let issued = claims.get("iat").and_then(Value::as_i64).unwrap_or_default();
                claims["iat"] = json!(issued - 2 * LONG_AGO);
                claims["exp"] = json!(issued - LONG_AGO);
            },
            &|_, claims| {
                if let Some(members) = claims.as_object_mut() {
                    members.remove("exp");
                }
            },
        ],
    )
}

fn a_token_without_the_scope_is_not_enough(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    // The demo resource servers ask for the first word.
    let (needed, other) = lab.scope();
    let enough = lab.token(client).with("scope", needed).send().expect_token()?;
    let not_enough = lab.token(client).with("scope", other).send().expect_token()?;
    for api in [lab.local_api()?, lab.introspecting_api()?] {
        lab.call(&api, &enough.text, Some(&client.shown)).send().expect_status(200)?;
        let answer = lab.call(&api, &not_enough.text, Some(&client.shown)).send();
        answer.expect_challenge(403, Some("insufficient_scope"))?;
    }
    Ok(())
}

fn clients_do_not_choose_their_names(lab: &Lab) -> Outcome {
    let dynamic = lab.target().config.registrar.as_ref().is_some_and(|registrar| registrar.rfc7591.is_some());
    if !dynamic {
        return not_applicable("clients do not register themselves: who runs the server names them");
    }
    let host = format!("{}.suite.example", lab.unique());
    let victim = &lab.pki_client()?.id;
    let document = Document::pki("san_dns", &host).with("client_id", victim.as_str());
    match lab.submit(&document)? {
        Submission::Accepted { client_id, .. } => {
            ensure(client_id != *victim, "a client_id that the server chose", &client_id)
        }
        Submission::Refused { .. } => Ok(()),
    }
}

fn resources_have_audiences_of_their_own(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Both)?;
    let token = lab.good_token(client)?;
    let other = lab.token(client).set("resource", lab.second_resource()?).send().expect_token()?;
    let [one, two] = [audience(&token)?, audience(&other)?];
    ensure(one != two, "another aud for another resource", &one)
}

fn a_token_opens_its_own_resource_alone(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Both)?;
    let token = lab.good_token(client)?;
    let other = lab.token(client).set("resource", lab.second_resource()?).send().expect_token()?;
    only_the_token_opens(lab, client, &token, &[other.text])
}

fn audience(token: &Token) -> Result<Value, Halt> {
    Ok(token.claims()?.get("aud").cloned().unwrap_or_default())
}
