//! RFC 9701: introspection answers that are signed JWTs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::check::{Halt, Outcome, ensure, ensure_equal, fail, not_applicable};
use crate::checks;
use crate::clock;
use crate::jose::Jwt;
use crate::lab::{Answer, Client, Document, Lab, Role, Submission, altered, words};
use crate::wire::Tls;

checks! {
    each_resource_server_gets_signed_answers_about_its_own => ["RFC9701-3-a", "RFC9701-5-h"],
    nobody_else_gets_a_signed_answer_about_a_token => ["RFC9701-3-b"],
    answers_are_encrypted_only_where_that_is_offered => ["RFC9701-3-d"],
    a_signed_answer_comes_to_whoever_asks_for_it => ["RFC9701-4-a"],
    a_signed_answer_is_for_known_callers => ["RFC9701-4-b"],
    a_signed_answer_says_its_type => ["RFC9701-5-a"],
    a_signed_answer_is_of_the_issuer => ["RFC9701-5-b"],
    a_signed_answer_is_for_the_caller => ["RFC9701-5-c"],
    a_signed_answer_says_when_it_was_made (slow) => ["RFC9701-5-d"],
    the_answer_is_inside_token_introspection => ["RFC9701-5-e"],
    a_signed_answer_about_a_bad_token_is_inactive => ["RFC9701-5-f", "RFC9701-5-g"],
    a_signed_answer_cannot_pass_as_a_token => ["RFC9701-5-i"],
    a_caller_without_credentials_gets_400 => ["RFC9701-5-j"],
    an_answer_is_signed_by_a_published_key => ["RFC9701-5-l"],
    a_signed_answer_says_nothing_about_people => ["RFC9701-5-m"],
    more_members_are_inside_token_introspection => ["RFC9701-5-n"],
    an_answer_is_never_unsigned_at_the_wish_of_a_client => ["RFC9701-6-a"],
    encryption_has_an_algorithm_for_its_key => ["RFC9701-6-b"],
    the_algorithms_of_answers_are_announced => ["RFC9701-7-a"],
    a_signed_answer_opens_nothing => ["RFC9701-8.1-a"],
    introspection_refuses_old_tls => ["RFC9701-8.2-a"],
    no_kind_of_answer_is_for_strangers => ["RFC9701-8.2-b"],
}

const KIND: &str = "application/token-introspection+jwt";
const INNER: &str = "token_introspection";

/// The answer to this resource server, asked for as a JWT.
fn asked(lab: &Lab, by: &Client, token: &str) -> Result<(Answer, Jwt), Halt> {
    let answer = lab.introspect(by, token).header("Accept", KIND).send();
    let response = answer.expect_status(200)?;
    let kind = response.header("content-type").unwrap_or_default().to_owned();
    let body = String::from_utf8_lossy(&response.body).into_owned();
    match Jwt::parse(body.trim()) {
        Some(jwt) => Ok((answer, jwt)),
        None if !kind.starts_with(KIND) && !announced(lab)? => {
            not_applicable("the server signs no introspection answers")
        }
        None => fail("a JWT", answer.seen()),
    }
}

fn announced(lab: &Lab) -> Result<bool, Halt> {
    Ok(lab.metadata()?.get("introspection_signing_alg_values_supported").is_some())
}

/// What the resource server is told about a good token, and what of it is `token_introspection`.
fn good(lab: &Lab) -> Result<(Jwt, Value), Halt> {
    let token = lab.good_token(lab.pki_client()?)?;
    let (_, jwt) = asked(lab, lab.resource_server()?, &token.text)?;
    let inner = inner(&jwt);
    ensure_equal("active", &Some(&json!(true)), &inner.get("active"))?;
    Ok((jwt, inner))
}

fn inner(jwt: &Jwt) -> Value {
    jwt.claims.get(INNER).cloned().unwrap_or_default()
}

fn each_resource_server_gets_signed_answers_about_its_own(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Both)?;
    let (first, second) = (lab.resource_server()?, lab.client(Role::SecondResourceServer)?);
    let for_first = lab.good_token(client)?;
    let for_second = lab.token(client).with("resource", lab.second_resource()?).send().expect_token()?;
    for (server, own, foreign) in [(first, &for_first, &for_second), (second, &for_second, &for_first)] {
        let told = inner(&asked(lab, server, &own.text)?.1);
        ensure_equal("active", &Some(&json!(true)), &told.get("active"))?;
        let granted = lab.granted(own)?;
        ensure(words(&told).is_subset(&granted), format_args!("scope out of {granted:?}"), &told)?;
        let told = inner(&asked(lab, server, &foreign.text)?.1);
        ensure_equal("active for the other", &Some(&json!(false)), &told.get("active"))?;
        ensure(words(&told).is_empty(), "no scope of another resource server", told)?;
    }
    Ok(())
}

fn nobody_else_gets_a_signed_answer_about_a_token(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    let told = inner(&asked(lab, lab.resource_server()?, &token.text)?.1);
    ensure_equal("active for its audience", &Some(&json!(true)), &told.get("active"))?;
    let (_, jwt) = asked(lab, lab.client(Role::SecondResourceServer)?, &token.text)?;
    ensure_equal(INNER, &json!({"active": false}), &inner(&jwt))?;
    let answer = lab.introspect(lab.other_client()?, &token.text).header("Accept", KIND).send();
    if answer.status() != Some(200) {
        return answer.expect_refused();
    }
    let (_, jwt) = asked(lab, lab.other_client()?, &token.text)?;
    ensure_equal(INNER, &json!({"active": false}), &inner(&jwt))
}

/// Whether the metadata say that answers can be encrypted.
fn encrypts(lab: &Lab) -> Result<bool, Halt> {
    let metadata = lab.metadata()?;
    let lists =
        ["introspection_encryption_alg_values_supported", "introspection_encryption_enc_values_supported"];
    Ok(lists.iter().any(|list| metadata.get(*list).is_some()))
}

fn document(lab: &Lab) -> Document {
    Document::pki("san_dns", &format!("{}.suite.example", lab.unique()))
}

fn answers_are_encrypted_only_where_that_is_offered(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let (answer, _) = asked(lab, lab.resource_server()?, &token.text)?;
    let parts = answer.expect_status(200)?.body.split(|octet| *octet == b'.').count();
    ensure_equal("the parts of an answer that nobody wants encrypted", &3, &parts)?;
    lab.accepted(&document(lab))?;
    let wish = document(lab).with("introspection_encrypted_response_alg", "ECDH-ES");
    match lab.submit(&wish)? {
        Submission::Refused { error, said } => {
            ensure(error == "invalid_client_metadata", "invalid_client_metadata", &said)?;
            ensure(!encrypts(lab)?, "what the metadata offer can be registered", said)
        }
        // Who does not know a member reads over it (RFC 7591 §2), and does not answer that it is registered.
        Submission::Accepted { answer, .. } => {
            let registered = answer.get("introspection_encrypted_response_alg").is_some();
            ensure(encrypts(lab)? || !registered, "no member that means nothing to the server", answer)
        }
    }
}

fn a_signed_answer_comes_to_whoever_asks_for_it(lab: &Lab) -> Outcome {
    let server = lab.resource_server()?;
    let token = lab.good_token(lab.pki_client()?)?;
    let (answer, _) = asked(lab, server, &token.text)?;
    let kind = answer.header("content-type").unwrap_or("none");
    ensure(kind.starts_with(KIND), format_args!("Content-Type: {KIND}"), kind)?;
    for accept in ["application/json", "*/*"] {
        lab.introspect(server, &token.text).header("Accept", accept).send().expect_json(200)?;
    }
    lab.introspect(server, &token.text).send().expect_json(200)?;
    Ok(())
}

fn a_signed_answer_is_for_known_callers(lab: &Lab) -> Outcome {
    let server = lab.resource_server()?;
    let token = lab.good_token(lab.pki_client()?)?;
    asked(lab, server, &token.text)?;
    let bare = lab.introspect(server, &token.text).no_certificate().header("Accept", KIND);
    bare.clone().send().expect_refused()?;
    let bearer = bare.without("client_id").header("Authorization", &format!("Bearer {}", token.text));
    bearer.send().expect_refused()
}

fn a_signed_answer_says_its_type(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let (answer, jwt) = asked(lab, lab.resource_server()?, &token.text)?;
    ensure_equal("typ", &"token-introspection+jwt", &jwt.header_text("typ"))?;
    let kind = answer.header("content-type").unwrap_or_default();
    ensure_equal("Content-Type", &KIND, &kind.split(';').next().unwrap_or_default().trim())
}

fn a_signed_answer_is_of_the_issuer(lab: &Lab) -> Outcome {
    let issuer = lab.metadata()?.get("issuer").cloned().unwrap_or_default();
    ensure_equal("iss", &Some(&issuer), &good(lab)?.0.claims.get("iss"))
}

fn a_signed_answer_is_for_the_caller(lab: &Lab) -> Outcome {
    let server = lab.resource_server()?;
    let (jwt, _) = good(lab)?;
    let aud = jwt.claims.get("aud").cloned().unwrap_or_default();
    let only = match &aud {
        Value::Array(list) if list.len() == 1 => list.first().cloned().unwrap_or_default(),
        single => single.clone(),
    };
    let known = [Some(server.id.as_str()), lab.target().config.resource.as_deref()];
    let known = only.as_str().is_some_and(|aud| known.contains(&Some(aud)));
    ensure(known, format_args!("aud is the caller, {}, and nobody else", server.id), aud)
}

fn a_signed_answer_says_when_it_was_made(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let began = clock::seconds();
    asked(lab, lab.resource_server()?, &token.text)?;
    // So that the token is clearly older than the answer.
    lab.eventually(Duration::from_secs(10), || clock::seconds() >= began + 7);
    let (_, jwt) = asked(lab, lab.resource_server()?, &token.text)?;
    let (iat, now) = (jwt.claims.get("iat").and_then(Value::as_u64), clock::seconds());
    ensure(iat.is_some_and(|iat| iat.abs_diff(now) <= 5), format_args!("iat at {now}"), jwt.claims)
}

fn the_answer_is_inside_token_introspection(lab: &Lab) -> Outcome {
    let (jwt, inner) = good(lab)?;
    let told = inner.get("active").is_some_and(Value::is_boolean);
    ensure(told, "token_introspection with a boolean active", &jwt.claims)?;
    let outside = ["active", "scope", "client_id"].into_iter().find(|name| jwt.claims.get(*name).is_some());
    ensure(outside.is_none(), "nothing of the answer at the top level", jwt.claims)
}

fn a_signed_answer_about_a_bad_token_is_inactive(lab: &Lab) -> Outcome {
    good(lab)?;
    let (client, server) = (lab.pki_client()?, lab.resource_server()?);
    let revoked = lab.good_token(client)?.text;
    lab.revoke(client, &revoked).send().expect_status(200)?;
    let mut bad = altered(&lab.good_token(client)?.text);
    bad.extend([revoked, "no-token-of-anybody".to_owned()]);
    for token in bad {
        ensure_equal(INNER, &json!({"active": false}), &inner(&asked(lab, server, &token)?.1))?;
    }
    Ok(())
}

fn a_signed_answer_cannot_pass_as_a_token(lab: &Lab) -> Outcome {
    let (jwt, _) = good(lab)?;
    let token_like = ["sub", "exp"].into_iter().find(|name| jwt.claims.get(*name).is_some());
    ensure(token_like.is_none(), "neither sub nor exp at the top level", jwt.claims)
}

fn a_caller_without_credentials_gets_400(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    asked(lab, lab.resource_server()?, &token.text)?;
    let usual = lab.conventional("introspection_endpoint")?;
    let request = lab.introspect(lab.resource_server()?, &token.text).no_certificate().header("Accept", KIND);
    let mut answer = request.clone().without("client_id").send();
    if answer.response().is_none() {
        // A listener for certificates alone may insist on one.
        answer = request.at(&usual).without("client_id").send();
    }
    answer.expect_error_of(400, &["invalid_client", "invalid_request"])?;
    answer.expect_status(400).map(drop)
}

fn an_answer_is_signed_by_a_published_key(lab: &Lab) -> Outcome {
    let (jwt, _) = good(lab)?;
    let alg = jwt.header_text("alg");
    ensure(!alg.eq_ignore_ascii_case("none"), "a signature", &jwt.header)?;
    if announced(lab)? {
        let listed = lab.offers("introspection_signing_alg_values_supported", alg)?;
        ensure(listed, format_args!("{alg} in introspection_signing_alg_values_supported"), lab.metadata()?)?;
    }
    let signed = lab.keys()?.iter().any(|key| jwt.is_signed_by(key));
    ensure(signed, "a signature by a published key", jwt.header)
}

fn a_signed_answer_says_nothing_about_people(lab: &Lab) -> Outcome {
    let (jwt, inner) = good(lab)?;
    let personal =
        ["name", "given_name", "family_name", "email", "phone_number", "address", "birthdate", "picture"];
    for object in [&jwt.claims, &inner] {
        let seen = personal.into_iter().find(|name| object.get(*name).is_some());
        ensure(seen.is_none(), "no claims about a person in what is told of a machine's token", object)?;
    }
    Ok(())
}

fn more_members_are_inside_token_introspection(lab: &Lab) -> Outcome {
    let (jwt, inner) = good(lab)?;
    let plain = lab.introspection(&lab.good_token(lab.pki_client()?)?.text)?;
    for name in ["cnf", "authorization_details", "act"] {
        ensure(jwt.claims.get(name).is_none(), format_args!("no {name} at the top level"), &jwt.claims)?;
        let same = plain.get(name).is_some() == inner.get(name).is_some();
        ensure(same, format_args!("{name} in token_introspection as in the plain answer"), &inner)?;
    }
    Ok(())
}

fn an_answer_is_never_unsigned_at_the_wish_of_a_client(lab: &Lab) -> Outcome {
    let (jwt, _) = good(lab)?;
    lab.accepted(&document(lab))?;
    let wish = |alg: &str| lab.submit(&document(lab).with("introspection_signed_response_alg", alg));
    let member = |answer: &Value| answer.get("introspection_signed_response_alg").cloned();
    for alg in ["none", jwt.header_text("alg")] {
        match wish(alg)? {
            Submission::Refused { error, said } => {
                ensure(error == "invalid_client_metadata", "invalid_client_metadata", said)?;
            }
            Submission::Accepted { answer, .. } => {
                let registered = member(&answer).is_some_and(|seen| seen == "none");
                ensure(!registered, "no client with unsigned answers", answer)?;
            }
        }
    }
    Ok(())
}

fn encryption_has_an_algorithm_for_its_key(lab: &Lab) -> Outcome {
    lab.accepted(&document(lab))?;
    let wish = document(lab).with("introspection_encrypted_response_enc", "A128GCM");
    if !encrypts(lab)? {
        return match lab.submit(&wish)? {
            Submission::Accepted { .. } => not_applicable("answers are not encrypted"),
            Submission::Refused { error, said } => {
                ensure(error == "invalid_client_metadata", "invalid_client_metadata", said)
            }
        };
    }
    lab.expect_metadata_refused(&wish)
}

fn the_algorithms_of_answers_are_announced(lab: &Lab) -> Outcome {
    good(lab)?;
    let list = lab.metadata()?.get("introspection_signing_alg_values_supported").and_then(Value::as_array);
    let Some(list) = list else {
        return fail("introspection_signing_alg_values_supported is a list", lab.metadata()?);
    };
    ensure(!list.is_empty() && !list.contains(&json!("none")), "algorithms, and none is no such", json!(list))
}

fn a_signed_answer_opens_nothing(lab: &Lab) -> Outcome {
    let (client, server) = (lab.pki_client()?, lab.resource_server()?);
    let token = lab.good_token(client)?;
    let (answer, _) = asked(lab, server, &token.text)?;
    let jwt = String::from_utf8_lossy(&answer.expect_status(200)?.body).into_owned();
    for api in [lab.local_api()?, lab.introspecting_api()?] {
        lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
        for shown in [&client.shown, &server.shown] {
            lab.call(&api, jwt.trim(), Some(shown)).send().expect_challenge(401, Some("invalid_token"))?;
        }
    }
    Ok(())
}

fn introspection_refuses_old_tls(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    for url in lab.urls("introspection_endpoint")? {
        let request = lab.introspect(lab.resource_server()?, &token.text).at(&url);
        request.clone().tls(Tls::OPENSSL).send().expect_answer()?;
        request.tls(Tls::OLD).send().expect_alert()?;
    }
    Ok(())
}

fn no_kind_of_answer_is_for_strangers(lab: &Lab) -> Outcome {
    let server = lab.resource_server()?;
    let token = lab.good_token(lab.pki_client()?)?;
    ensure(lab.is_active(&token.text)?, "the token is active", "it is not")?;
    for url in lab.urls("introspection_endpoint")? {
        let bare = lab.introspect(server, &token.text).at(&url).no_certificate();
        for accept in ["application/json", KIND, "*/*", "text/plain"] {
            bare.clone().header("Accept", accept).send().expect_refused()?;
            bare.clone().without("client_id").header("Accept", accept).send().expect_refused()?;
        }
    }
    Ok(())
}
