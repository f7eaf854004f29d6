//! RFC 8705 §3 and §4: tokens that are bound to the certificate, and how they say so.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::check::{Halt, Outcome, ensure, ensure_equal, fail, not_applicable};
use crate::checks;
use crate::lab::{Client, Document, Lab, Submission, Token};
use crate::pki::{Key, Leaf, Shown};

checks! {
    a_token_is_bound_to_the_certificate => ["RFC8705-3-a", "RFC9700-2.2.1-a", "RFC9700-4.10-a"],
    binding_does_not_depend_on_the_method => ["RFC8705-3-b"],
    a_jwt_carries_the_hash_in_cnf => ["RFC8705-3.1-a"],
    the_hash_is_sha_256_of_the_certificate => ["RFC8705-3.1-b"],
    the_hash_has_no_padding => ["RFC8705-3.1-c"],
    the_hash_has_no_other_characters => ["RFC8705-3.1-d"],
    the_hash_is_of_the_leaf_alone => ["RFC8705-3.1-e"],
    introspection_shows_the_hash => ["RFC8705-3.2-a"],
    binding_is_announced => ["RFC8705-3.3-a"],
    the_wish_for_bound_tokens_is_a_boolean => ["RFC8705-3.4-a"],
    without_a_certificate_nothing_is_bound => ["RFC8705-3.4-b"],
    a_certificate_proves_no_public_client => ["RFC8705-4-a"],
}

const ANNOUNCED: &str = "tls_client_certificate_bound_access_tokens";

/// `x5t#S256` of a token, as it is written.
fn hash(lab: &Lab, token: &Token) -> Result<String, Halt> {
    let confirmation = lab.confirmation(token)?;
    match confirmation.get("x5t#S256").and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None if confirmation.is_null() && lab.metadata()?.get(ANNOUNCED) != Some(&Value::Bool(true)) => {
            not_applicable("the server binds no tokens, and does not say that it does")
        }
        None => fail("cnf with a member x5t#S256 that is a string", confirmation),
    }
}

/// A client of the CA with a certificate whose hash has both letters that base64 writes in two ways.
fn telling_client(lab: &Lab) -> Result<Client, Halt> {
    let host = format!("{}.suite.example", lab.unique());
    let leaf = Leaf::new("any").dns(&host).key(&Key::p256()?);
    let mut shown = lab.issue(&leaf)?;
    while !(shown.thumbprint().contains('-') && shown.thumbprint().contains('_')) {
        shown = lab.issue(&leaf)?;
    }
    lab.register(&Document::pki("san_dns", &host), &shown)
}

fn a_token_is_bound_to_the_certificate(lab: &Lab) -> Outcome {
    for client in [Some(lab.pki_client()?), lab.self_signed_client().ok()].into_iter().flatten() {
        let seen = hash(lab, &lab.good_token(client)?)?;
        ensure(!seen.is_empty(), "a hash of the certificate", seen)?;
    }
    Ok(())
}

fn binding_does_not_depend_on_the_method(lab: &Lab) -> Outcome {
    let key = Key::p256()?;
    let client = lab.asserting_client(&key)?;
    let token = lab.asserted_token(&client, &key)?.send().expect_token()?;
    ensure_equal("x5t#S256", &client.shown.thumbprint(), &hash(lab, &token)?)
}

fn a_jwt_carries_the_hash_in_cnf(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let claims = token.claims()?;
    hash(lab, &token)?;
    let twice = ["x5t#S256", "x5t", "certificate"].into_iter().find(|name| claims.get(*name).is_some());
    ensure(twice.is_none(), "a hash in cnf and nowhere else", claims)
}

fn the_hash_is_sha_256_of_the_certificate(lab: &Lab) -> Outcome {
    let clients = [Some(lab.pki_client()?), lab.self_signed_client().ok()];
    let telling = telling_client(lab)?;
    for client in clients.into_iter().flatten().chain([&telling]) {
        let text = hash(lab, &lab.good_token(client)?)?;
        // Padding and blanks have requirements of their own.
        let bare: String = text.chars().filter(|letter| !letter.is_whitespace() && *letter != '=').collect();
        let expected = URL_SAFE_NO_PAD.decode(client.shown.thumbprint()).ok();
        let holds = expected.is_some() && URL_SAFE_NO_PAD.decode(&bare).ok() == expected;
        ensure(holds, format_args!("x5t#S256 is {}", client.shown.thumbprint()), text)?;
    }
    Ok(())
}

fn the_hash_has_no_padding(lab: &Lab) -> Outcome {
    let text = hash(lab, &lab.good_token(lab.pki_client()?)?)?;
    ensure(!text.contains('='), "base64url without padding", text)
}

fn the_hash_has_no_other_characters(lab: &Lab) -> Outcome {
    let text = hash(lab, &lab.good_token(&telling_client(lab)?)?)?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '=');
    ensure(text.chars().all(plain), "letters, digits, - and _ only", format_args!("{text:?}"))
}

fn the_hash_is_of_the_leaf_alone(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let leaf = Leaf::new("any").dns(&host).key(&Key::p256()?);
    let [first, second] = [lab.issue(&leaf)?, lab.issue(&leaf)?];
    let below = lab.ca()?.authority(&Leaf::authority("Suite issuing CA"))?.issue(&leaf)?;
    let client = lab.register(&Document::pki("san_dns", &host), &first)?;
    let bound = |shown: &Shown| hash(lab, &lab.token(&client).certificate(shown).send().expect_token()?);
    let [first, second] = [bound(&first)?, bound(&second)?];
    ensure(first != second, "two hashes for two certificates over one key", &first)?;
    ensure_equal("x5t#S256 of a leaf with a chain", &below.thumbprint(), &bound(&below)?)
}

fn introspection_shows_the_hash(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    hash(lab, &token)?;
    let answer = lab.introspection(&token.text)?;
    ensure_equal("active", &Some(&json!(true)), &answer.get("active"))?;
    let told = answer.get("cnf").and_then(|cnf| cnf.get("x5t#S256")).and_then(Value::as_str);
    ensure(told.is_some(), "cnf with x5t#S256 at the top of the answer", &answer)?;
    // An opaque token says nothing else of itself.
    let expected = token.claims().ok().and_then(|claims| Some(claims.get("cnf")?.get("x5t#S256")?.clone()));
    let expected = expected.unwrap_or_else(|| json!(client.shown.thumbprint()));
    ensure_equal("x5t#S256", &expected.as_str(), &told)
}

fn binding_is_announced(lab: &Lab) -> Outcome {
    let bound = !lab.confirmation(&lab.good_token(lab.pki_client()?)?)?.is_null();
    match lab.metadata()?.get(ANNOUNCED) {
        Some(Value::Bool(true)) => ensure(bound, "bound tokens, as the metadata say", "a token without cnf"),
        Some(Value::Bool(false)) | None if !bound => not_applicable("the server binds no tokens"),
        other => fail(
            format_args!("{ANNOUNCED}: true"),
            other.map_or_else(|| "it is not there, which means false".to_owned(), ToString::to_string),
        ),
    }
}

fn the_wish_for_bound_tokens_is_a_boolean(lab: &Lab) -> Outcome {
    let document = || Document::pki("san_dns", &format!("{}.suite.example", lab.unique()));
    if let Submission::Accepted { answer, .. } = lab.accepted(&document())? {
        let shown = answer.get(ANNOUNCED).is_none_or(Value::is_boolean);
        ensure(shown, format_args!("{ANNOUNCED} is a boolean or left out"), answer)?;
    }
    if let Submission::Refused { .. } = lab.submit(&document().with(ANNOUNCED, true))? {
        return not_applicable("a client cannot choose: there is no such member");
    }
    lab.expect_metadata_refused(&document().with(ANNOUNCED, "true"))
}

fn without_a_certificate_nothing_is_bound(lab: &Lab) -> Outcome {
    let key = Key::p256()?;
    let client = lab.asserting_client(&key)?;
    lab.asserted_token(&client, &key)?.send().expect_token()?;
    let answer = lab.asserted_token(&client, &key)?.no_certificate().send();
    if answer.status() != Some(200) {
        return answer.expect_refused();
    }
    let confirmation = lab.confirmation(&answer.expect_token()?)?;
    ensure(confirmation.get("x5t#S256").is_none(), "an unbound token", confirmation)
}

fn a_certificate_proves_no_public_client(lab: &Lab) -> Outcome {
    let shown = &lab.pki_client()?.shown;
    lab.good_token(lab.pki_client()?)?;
    match lab.submit(&Document::of("none"))? {
        Submission::Refused { .. } => not_applicable("the server has no public clients for this grant"),
        Submission::Accepted { client_id, .. } => {
            let client = Client { id: client_id, shown: shown.clone() };
            lab.settle(&client);
            lab.token(&client).send().expect_error_of(400, &["unauthorized_client", "invalid_client"])
        }
    }
}
