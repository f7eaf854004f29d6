//! RFC 7662 §2.2 and §4: the state of a token. What makes one inactive, and how little is said of it then.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::check::{Halt, Outcome, ensure, ensure_equal};
use crate::checks;
use crate::jose::{Jwt, public, sign, sign_hs256, unsigned};
use crate::lab::{Lab, Role, Token, altered};
use crate::pki::Key;

/// How long tokens of the variant `short` may live at most, with what clocks may differ.
const SHORT: Duration = Duration::from_secs(15);

checks! {
    a_token_of_another_issuer_is_inactive => ["RFC7662-2.1-f"],
    a_bad_token_is_inactive_and_no_error => ["RFC7662-2.2-g", "RFC7662-2.3-c"],
    all_inactive_tokens_get_the_same_octets => ["RFC7662-2.2-h", "RFC7662-4-j"],
    a_token_ends_with_its_time (slow) => ["RFC7662-4-a"],
    a_token_of_the_future_is_inactive => ["RFC7662-4-b"],
    a_revoked_token_is_inactive_at_once => ["RFC7662-4-c"],
    the_signature_of_a_token_is_verified => ["RFC7662-4-d", "FAPI2SP-5.4.1-c", "FAPI2SP-5.4.1-a"],
    a_resource_server_uses_no_answer_beyond_the_time (slow) => ["RFC7662-4-k"],
    probing_for_tokens_is_endured (alone) => ["RFC7662-4-l"],
}

fn a_token_of_another_issuer_is_inactive(lab: &Lab) -> Outcome {
    let token = active_token(lab)?;
    ensure_inactive(lab, &foreign(&token)?)
}

fn a_bad_token_is_inactive_and_no_error(lab: &Lab) -> Outcome {
    let token = active_token(lab)?;
    for bad in bad_tokens(lab, &token)? {
        ensure_inactive(lab, &bad)?;
    }
    let other =
        lab.introspect(lab.client(Role::SecondResourceServer)?, &token.text).send().expect_json(200)?;
    ensure_equal("active for another resource server", &Some(&json!(false)), &other.get("active"))
}

fn all_inactive_tokens_get_the_same_octets(lab: &Lab) -> Outcome {
    let token = active_token(lab)?;
    let server = lab.resource_server()?;
    let mut first: Option<(Vec<u8>, BTreeSet<String>)> = None;
    let mut answers = Vec::new();
    for bad in bad_tokens(lab, &token)? {
        answers.push(lab.introspect(server, &bad).send());
    }
    answers.push(lab.introspect(lab.client(Role::SecondResourceServer)?, &token.text).send());
    for answer in answers {
        let members = answer.expect_json(200)?;
        ensure_equal("the answer", &json!({"active": false}), &members)?;
        let response = answer.expect_answer()?;
        // Their order says nothing.
        let names = response.headers.iter().map(|(name, _)| name.to_ascii_lowercase());
        let names: BTreeSet<_> = names.collect();
        let seen = (response.body.clone(), names);
        let first = first.get_or_insert_with(|| seen.clone());
        ensure_equal("the body", &first.0, &seen.0)?;
        ensure_equal("the names of the headers", &first.1, &seen.1)?;
    }
    Ok(())
}

fn a_token_ends_with_its_time(lab: &Lab) -> Outcome {
    let lab = lab.variant("short")?;
    let token = active_token(&lab)?;
    let unseen = lab.unseen();
    lab.eventually(SHORT, || matches!(unseen.is_active(&token.text), Ok(false)));
    ensure_inactive(&lab, &token.text)
}

fn a_token_of_the_future_is_inactive(lab: &Lab) -> Outcome {
    let token = active_token(lab)?;
    let at = |later: i64| {
        lab.forged(&token, |_, claims| {
            let iat = claims.get("iat").and_then(Value::as_i64).unwrap_or_default();
            set(claims, "nbf", &json!(iat.saturating_add(later)));
        })
    };
    let begun = at(0)?;
    ensure(lab.is_active(&begun)?, "a token that has begun is active", "it is not")?;
    ensure_inactive(lab, &at(120)?)
}

fn a_revoked_token_is_inactive_at_once(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let (token, sister) = (active_token(lab)?, active_token(lab)?);
    lab.revoke(client, &token.text).send().expect_status(200)?;
    ensure_inactive(lab, &token.text)?;
    ensure(lab.is_active(&sister.text)?, "the client's other token stays active", "it is inactive")
}

fn the_signature_of_a_token_is_verified(lab: &Lab) -> Outcome {
    let token = active_token(lab)?;
    let jwt = token.jwt()?;
    for bad in altered(&token.text) {
        ensure_inactive(lab, &bad)?;
    }
    // The claims of another moment under the signature of this one: nothing is wrong with their form.
    let (signed, signature) = token.text.rsplit_once('.').unwrap_or_default();
    let header = signed.split('.').next().unwrap_or_default();
    let mut claims = jwt.claims.clone();
    set(&mut claims, "scope", &json!("everything"));
    let other = unsigned(&jwt.header, &claims);
    let payload = other.split('.').nth(1).unwrap_or_default();
    ensure_inactive(lab, &format!("{header}.{payload}.{signature}"))?;
    for alg in ["none", "None"] {
        let mut header = jwt.header.clone();
        set(&mut header, "alg", &json!(alg));
        ensure_inactive(lab, &format!("{}.", unsigned(&header, &jwt.claims)))?;
        ensure_inactive(lab, &format!("{}.{signature}", unsigned(&header, &jwt.claims)))?;
    }
    for bad in by_the_public_key(lab, &jwt)? {
        ensure_inactive(lab, &bad)?;
    }
    let key = Key::p256()?;
    for kid in [jwt.header.get("kid").cloned().unwrap_or_default(), json!("no-such-key")] {
        let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": kid});
        ensure_inactive(lab, &sign(&header, &jwt.claims, &key)?)?;
    }
    Ok(())
}

fn a_resource_server_uses_no_answer_beyond_the_time(lab: &Lab) -> Outcome {
    let lab = lab.variant("short")?;
    let api = lab.introspecting_api()?;
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
    let unseen = lab.unseen();
    lab.eventually(SHORT, || {
        unseen.call(&api, &token.text, Some(&client.shown)).send().status() != Some(200)
    });
    lab.call(&api, &token.text, Some(&client.shown)).send().expect_challenge(401, Some("invalid_token"))
}

fn probing_for_tokens_is_endured(lab: &Lab) -> Outcome {
    let server = lab.resource_server()?;
    let token = active_token(lab)?;
    let guess = |number: usize| lab.introspect(server, &format!("{}{number}", altered(&token.text).concat()));
    let requests: Vec<_> = (0..300).map(guess).collect();
    for (answer, _) in lab.in_a_row(&requests) {
        match answer.status() {
            Some(429) => {}
            _ => ensure_equal("active", &Some(&json!(false)), &answer.expect_json(200)?.get("active"))?,
        }
    }
    let unseen = lab.unseen();
    lab.eventually(Duration::from_secs(5), || matches!(unseen.is_active(&token.text), Ok(true)));
    ensure(lab.is_active(&token.text)?, "the good token is still active", "it is not")
}

/// A token that the resource server hears to be active.
fn active_token(lab: &Lab) -> Result<Token, Halt> {
    let token = lab.good_token(lab.pki_client()?)?;
    ensure(lab.is_active(&token.text)?, "a fresh token is active", "it is not")?;
    Ok(token)
}

fn ensure_inactive(lab: &Lab, token: &str) -> Outcome {
    ensure(!lab.is_active(token)?, "the token is inactive", "it is active")
}

/// Tokens with nothing in common but that they are not good: no token, a revoked one, one of another issuer, and one that is
/// over, where the suite can make that.
fn bad_tokens(lab: &Lab, token: &Token) -> Result<Vec<String>, Halt> {
    let client = lab.pki_client()?;
    let revoked = active_token(lab)?;
    lab.revoke(client, &revoked.text).send().expect_status(200)?;
    let mut bad = vec!["no-token-of-anybody".to_owned(), revoked.text, foreign(token)?];
    bad.extend(altered(&token.text));
    let over = lab.forged(token, |_, claims| {
        for name in ["iat", "nbf", "exp"] {
            if let Some(at) = claims.get(name).and_then(Value::as_i64) {
                set(claims, name, &json!(at.saturating_sub(7200)));
            }
        }
    });
    match over {
        Ok(over) => bad.push(over),
        Err(Halt::Fail { expected, seen }) => return Err(Halt::Fail { expected, seen }),
        // Without the server's key there is no such token; the others are bad enough.
        Err(_) => {}
    }
    Ok(bad)
}

/// A token in good form whose issuer is somebody else, signed by a key of that one.
fn foreign(token: &Token) -> Result<String, Halt> {
    let mut claims = token.claims().unwrap_or_else(|_| json!({"sub": "somebody", "exp": 4_102_444_800_i64}));
    set(&mut claims, "iss", &json!("https://another.suite.example"));
    let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": "another"});
    Ok(sign(&header, &claims, &Key::p256()?)?)
}

/// The token with an HMAC whose secret is the published key, in the forms in which a careless verifier has it at hand.
fn by_the_public_key(lab: &Lab, jwt: &Jwt) -> Result<Vec<String>, Halt> {
    let set = lab.get(&lab.endpoint("jwks_uri")?).send().expect_status(200)?.body.clone();
    let set: Value = serde_json::from_slice(&set).unwrap_or_default();
    let Some((jwk, key)) = jwt.key_of(&set).and_then(|jwk| Some((jwk, public(jwk)?))) else {
        return Ok(Vec::new());
    };
    let mut header = jwt.header.clone();
    if let Some(alg) = header.get_mut("alg") {
        *alg = json!("HS256");
    }
    let secrets = [key.public_key_to_pem()?, key.public_key_to_der()?, jwk.to_string().into_bytes()];
    secrets.iter().map(|secret| Ok(sign_hs256(&header, &jwt.claims, secret)?)).collect()
}

fn set(object: &mut Value, name: &str, value: &Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value.clone());
    }
}
