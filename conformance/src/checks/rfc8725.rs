//! RFC 8725 at the authorization server: tokens that come back to it are judged by what it knows of its keys, and never by
//! what they say of themselves.

use openssl::pkey::{PKey, Public};
use serde_json::{Value, json};

use crate::check::{Halt, Outcome, ensure, untestable};
use crate::checks;
use crate::jose::{Jwt, public, sign, sign_hs256, with_member};
use crate::lab::{Lab, Token};
use crate::pki::Key;

checks! {
    the_algorithm_is_that_of_the_key => ["RFC8725-3.1-a", "FAPI2SP-5.4.1-a"],
    the_algorithm_is_that_of_an_rsa_key_too (slow) => ["RFC8725-3.1-a"],
    keys_of_others_sign_no_token => ["RFC8725-3.8-a", "FAPI2SP-5.4.1-a"],
    a_token_is_no_client_assertion => ["RFC8725-3.11-a"],
    a_jwt_of_another_kind_is_no_active_token => ["RFC8725-3.11-a", "FAPI2SP-5.4.1-a"],
}

fn the_algorithm_is_that_of_the_key(lab: &Lab) -> Outcome {
    other_algorithms_are_inactive(lab)
}

fn the_algorithm_is_that_of_an_rsa_key_too(lab: &Lab) -> Outcome {
    other_algorithms_are_inactive(&lab.variant("rs256")?)
}

/// The secret is what everybody knows of the key; and keys of other kinds under the same name.
fn other_algorithms_are_inactive(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let (jwt, published) = lab.verified(&token)?;
    let key = known(&published)?;
    let mut others = Vec::new();
    for secret in [key.public_key_to_pem()?, key.public_key_to_der()?, published.to_string().into_bytes()] {
        others.push(sign_hs256(&with_member(&jwt.header, "alg", json!("HS256")), &jwt.claims, &secret)?);
    }
    let own = jwt.header_text("alg");
    for (algorithm, key) in [
        ("ES256", Key::p256()?),
        ("RS256", Key::rsa(2048)?),
        ("PS256", Key::rsa(2048)?),
        ("EdDSA", Key::ed25519()?),
    ] {
        if algorithm != own {
            others.push(sign(&with_member(&jwt.header, "alg", json!(algorithm)), &jwt.claims, &key)?);
        }
    }
    only_the_token_is_active(lab, &token, &others)
}

fn keys_of_others_sign_no_token(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    let jwt = token.jwt()?;
    let key = &client.shown.key;
    let jwk = client.shown.jwk()?;
    let x5c = jwk.get("x5c").cloned().unwrap_or_default();
    let mut others = Vec::new();
    for (name, value) in [
        ("kid", jwt.header.get("kid").cloned().unwrap_or_default()),
        ("kid", json!(lab.unique())),
        ("jwk", jwk),
        ("x5c", x5c),
        ("x5t#S256", json!(client.shown.thumbprint())),
    ] {
        let header = with_member(&with_member(&jwt.header, name, value), "alg", json!("ES256"));
        others.push(sign(&header, &jwt.claims, key)?);
    }
    only_the_token_is_active(lab, &token, &others)
}

fn a_token_is_no_client_assertion(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    token.jwt()?;
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let request = lab.token(client).with("client_assertion_type", kind).with("client_assertion", &token.text);
    request.no_certificate().send().expect_refused()
}

fn a_jwt_of_another_kind_is_no_active_token(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let same = Token { text: lab.forged(&token, |_, _| {})?, answer: token.answer.clone() };
    let mut others = Vec::new();
    for typ in ["JWT", "token-introspection+jwt", "dpop+jwt", "logout+jwt"] {
        others.push(lab.forged(&token, |header, _| header["typ"] = json!(typ))?);
    }
    only_the_token_is_active(lab, &same, &others)
}

fn only_the_token_is_active(lab: &Lab, token: &Token, others: &[String]) -> Outcome {
    ensure(lab.is_active(&token.text)?, "the token itself is active", "it is not")?;
    for other in others {
        let header = Jwt::parse(other).map(|jwt| jwt.header).unwrap_or_default();
        ensure(
            !lab.is_active(other)?,
            format_args!("a token with the header {header} is inactive"),
            "it is active",
        )?;
    }
    Ok(())
}

fn known(jwk: &Value) -> Result<PKey<Public>, Halt> {
    public(jwk).map_or_else(|| untestable(format_args!("the suite cannot use the key {jwk}")), Ok)
}
