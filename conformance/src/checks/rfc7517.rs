//! RFC 7517: the keys that the server publishes; those that clients register are in `rfc7517_client.rs`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::check::{Halt, Outcome, ensure, ensure_equal, not_applicable};
use crate::checks;
use crate::lab::{Lab, repeated_member};

/// Members of private and symmetric keys (RFC 7518 §6.2.2, §6.3.2, §6.4).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

checks! {
    no_member_of_a_published_key_is_repeated => ["RFC7517-4-a"],
    published_keys_have_a_type => ["RFC7517-4.1-a"],
    published_keys_are_for_signatures => ["RFC7517-4.2-a"],
    no_operation_of_a_key_is_repeated => ["RFC7517-4.3-a"],
    use_and_operations_of_a_key_agree => ["RFC7517-4.3-b"],
    the_algorithm_of_a_key_is_that_of_its_tokens => ["RFC7517-4.4-a"],
    published_keys_are_told_apart => ["RFC7517-4.5-a", "FAPI2SP-5.4.2-c"],
    a_token_names_the_key_that_signed_it => ["RFC7517-4.5-b"],
    the_published_set_is_a_list_of_keys => ["RFC7517-5-a"],
    the_published_set_has_its_media_type => ["RFC7517-8.5-a"],
    no_published_key_is_private => ["RFC7517-9.2-a"],
}

fn no_member_of_a_published_key_is_repeated(lab: &Lab) -> Outcome {
    lab.keys()?;
    let answer = lab.get(&lab.conventional("jwks_uri")?).send();
    let repeated = repeated_member(&answer.expect_status(200)?.body);
    ensure(repeated.is_none(), "every member once", repeated.unwrap_or_default())
}

fn published_keys_have_a_type(lab: &Lab) -> Outcome {
    for key in lab.keys()? {
        let known = ["RSA", "EC", "OKP", "AKP"].contains(&text(&key, "kty"));
        ensure(known, "kty is RSA, EC or OKP, in these letters", &key)?;
    }
    Ok(())
}

fn published_keys_are_for_signatures(lab: &Lab) -> Outcome {
    let key = signing_key(lab)?;
    match key.get("use") {
        None => not_applicable("the key that signs tokens does not say what it is for"),
        Some(purpose) => ensure_equal("use", &json!("sig"), purpose),
    }
}

fn no_operation_of_a_key_is_repeated(lab: &Lab) -> Outcome {
    for key in lab.keys()? {
        let operations = operations(&key);
        let different: BTreeSet<_> = operations.iter().map(ToString::to_string).collect();
        ensure(different.len() == operations.len(), "every value of key_ops once", &key)?;
    }
    Ok(())
}

fn use_and_operations_of_a_key_agree(lab: &Lab) -> Outcome {
    for key in lab.keys()? {
        let operations = operations(&key);
        let agree = match text(&key, "use") {
            "sig" => operations.iter().all(|operation| operation == "verify" || operation == "sign"),
            "enc" => operations.iter().all(|operation| operation != "verify" && operation != "sign"),
            _ => true,
        };
        ensure(agree, "use and key_ops are not both there, or agree", &key)?;
    }
    Ok(())
}

fn the_algorithm_of_a_key_is_that_of_its_tokens(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let (jwt, key) = lab.verified(&token)?;
    match key.get("alg") {
        None => not_applicable("the key that signs tokens does not say its algorithm"),
        Some(algorithm) => ensure_equal("alg of the key", &Some(algorithm), &jwt.header.get("alg")),
    }
}

fn published_keys_are_told_apart(lab: &Lab) -> Outcome {
    let keys = lab.keys()?;
    let names: BTreeSet<_> = keys.iter().map(|key| text(key, "kid")).collect();
    let apart = keys.len() == 1 || (names.len() == keys.len() && !names.contains(""));
    ensure(apart, "a kid of its own for every key", json!(keys))?;
    let jwt = lab.good_token(lab.pki_client()?)?.jwt()?;
    let found = keys.iter().filter(|key| key.get("kid") == jwt.header.get("kid")).count();
    ensure(found == 1, "one key with the kid of the token", format_args!("{found} for {}", jwt.header))
}

fn a_token_names_the_key_that_signed_it(lab: &Lab) -> Outcome {
    for client in [lab.pki_client()?, lab.self_signed_client()?] {
        let token = lab.good_token(client)?;
        let (jwt, key) = lab.verified(&token)?;
        if jwt.header.get("kid").is_none() && key.get("kid").is_none() {
            return not_applicable("keys have no kid");
        }
        ensure_equal("kid of the token", &key.get("kid"), &jwt.header.get("kid"))?;
    }
    Ok(())
}

fn the_published_set_is_a_list_of_keys(lab: &Lab) -> Outcome {
    for key in lab.keys()? {
        ensure(key.is_object(), "every key is an object", &key)?;
    }
    Ok(())
}

fn the_published_set_has_its_media_type(lab: &Lab) -> Outcome {
    let answer = lab.get(&lab.conventional("jwks_uri")?).send();
    let kind = answer.expect_status(200)?.header("content-type").unwrap_or("none");
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let good = ["application/jwk-set+json", "application/json"].contains(&essence.as_str());
    ensure(good, "Content-Type: application/jwk-set+json or application/json", kind)
}

fn no_published_key_is_private(lab: &Lab) -> Outcome {
    for key in lab.keys()? {
        let told: Vec<_> = PRIVATE.iter().filter(|member| key.get(**member).is_some()).collect();
        ensure(told.is_empty(), "no private member in a published key", format_args!("{told:?}"))?;
        ensure(text(&key, "kty") != "oct", "no symmetric key among the published ones", &key)?;
    }
    Ok(())
}

/// The published key that signs tokens now.
fn signing_key(lab: &Lab) -> Result<Value, Halt> {
    let token = lab.good_token(lab.pki_client()?)?;
    Ok(lab.verified(&token)?.1)
}

fn text<'key>(key: &'key Value, member: &str) -> &'key str {
    key.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn operations(key: &Value) -> Vec<Value> {
    key.get("key_ops").and_then(Value::as_array).cloned().unwrap_or_default()
}
