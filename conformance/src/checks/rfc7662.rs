//! RFC 7662: introspection. What the request has to be, who may ask, and what an active token looks like; tokens that are not
//! active are in `rfc7662_state.rs`.

use serde_json::{Value, json};

use crate::check::{Outcome, ensure, ensure_equal, not_applicable};
use crate::checks;
use crate::lab::{Body, Lab, Role};
use crate::wire::Tls;

/// The members that IANA has registered for answers of introspection, but for those about people.
const REGISTERED: [&str; 25] = [
    "active",
    "scope",
    "client_id",
    "username",
    "token_type",
    "exp",
    "iat",
    "nbf",
    "sub",
    "aud",
    "iss",
    "jti",
    "cnf",
    "act",
    "may_act",
    "permissions",
    "authorization_details",
    "acr",
    "auth_time",
    "vot",
    "vtm",
    "ace_profile",
    "cnonce",
    "cti",
    "exi",
];

checks! {
    introspection_is_https_only => ["RFC7662-2-a"],
    introspection_takes_a_form => ["RFC7662-2.1-a"],
    introspection_needs_one_token => ["RFC7662-2.1-b"],
    a_wrong_hint_does_not_hide_a_token => ["RFC7662-2.1-c"],
    a_hint_that_means_nothing_changes_nothing => ["RFC7662-2.1-d"],
    introspection_ignores_what_it_does_not_know => ["RFC7662-2.1-e"],
    introspection_is_not_for_everybody => ["RFC7662-2.1-g", "RFC7662-4-f"],
    the_answer_is_json_with_a_boolean => ["RFC7662-2.2-a"],
    the_members_have_their_types => ["RFC7662-2.2-b"],
    the_members_are_those_of_the_token => ["RFC7662-2.2-c"],
    the_members_are_registered_names => ["RFC7662-2.2-d", "RFC7662-2.2-e"],
    each_resource_server_sees_its_own_tokens => ["RFC7662-2.2-f", "RFC7662-4-e"],
    wrong_credentials_at_introspection_are_401 => ["RFC7662-2.3-a"],
    a_bad_bearer_token_at_introspection_is_401 => ["RFC7662-2.3-b"],
    a_client_without_the_right_learns_nothing => ["RFC7662-4-g"],
    introspection_works_with_tls_1_2 => ["RFC7662-4-h"],
    introspection_refuses_get => ["RFC7662-4-i"],
    what_is_told_is_told_to_one_and_not_stored => ["RFC7662-5-a"],
}

fn introspection_is_https_only(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    ensure(lab.is_active(&token.text)?, "an answer over TLS", "none")?;
    lab.expect_https_only("introspection_endpoint")
}

fn introspection_takes_a_form(lab: &Lab) -> Outcome {
    let server = lab.resource_server()?;
    let token = lab.good_token(lab.pki_client()?)?;
    let form = lab.introspect(server, &token.text);
    let answer = form.clone().send().expect_json(200)?;
    ensure_active(&answer)?;
    let body = json!({"client_id": server.id, "token": token.text}).to_string();
    let request = form.with_body(Body::Octets(body.into_bytes())).header("Content-Type", "application/json");
    request.send().expect_form_wanted()
}

fn introspection_needs_one_token(lab: &Lab) -> Outcome {
    let server = lab.resource_server()?;
    let token = lab.good_token(lab.pki_client()?)?;
    let request = lab.introspect(server, &token.text);
    request.clone().send().expect_json(200)?;
    for wrong in [
        request.clone().without("token"),
        request.clone().set("token", ""),
        request.clone().with("token", &token.text),
        request.with("token", "another"),
    ] {
        wrong.send().expect_refused()?;
    }
    Ok(())
}

fn a_wrong_hint_does_not_hide_a_token(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    for hint in ["access_token", "refresh_token"] {
        let request = lab.introspect(lab.resource_server()?, &token.text);
        let answer = request.with("token_type_hint", hint).send().expect_json(200)?;
        ensure_active(&answer)?;
    }
    Ok(())
}

fn a_hint_that_means_nothing_changes_nothing(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let request = lab.introspect(lab.resource_server()?, &token.text);
    let without = request.clone().send().expect_json(200)?;
    ensure_active(&without)?;
    let with = request.with("token_type_hint", "garbage").send().expect_json(200)?;
    ensure_equal("the answer", &without, &with)
}

fn introspection_ignores_what_it_does_not_know(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let request = lab.introspect(lab.resource_server()?, &token.text);
    let without = request.clone().send().expect_json(200)?;
    let with = request.with("x_unknown", "1").with("foo", "bar").send().expect_json(200)?;
    ensure_active(&with)?;
    ensure_equal("the answer", &without, &with)
}

fn introspection_is_not_for_everybody(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let request = lab.introspect(lab.resource_server()?, &token.text);
    request.clone().send().expect_json(200)?;
    for url in lab.urls("introspection_endpoint")? {
        let bare = request.clone().at(&url).no_certificate();
        bare.clone().send().expect_refused()?;
        bare.without("client_id").send().expect_refused()?;
    }
    Ok(())
}

fn the_answer_is_json_with_a_boolean(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    for (text, active) in [(token.text.as_str(), true), ("nobody-s-token", false)] {
        let answer = lab.introspection(text)?;
        ensure_equal("active", &Some(&Value::Bool(active)), &answer.get("active"))?;
    }
    Ok(())
}

fn the_members_have_their_types(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let answer = lab.introspection(&token.text)?;
    ensure_active(&answer)?;
    let holds = |name: &str, what: &str, is: fn(&Value) -> bool| {
        let seen = answer.get(name);
        ensure(seen.is_none_or(is), format_args!("{name} is {what}"), format_args!("{seen:?}"))
    };
    for name in ["scope", "client_id", "username", "token_type", "sub", "iss", "jti"] {
        holds(name, "a string", Value::is_string)?;
    }
    for name in ["exp", "iat", "nbf"] {
        holds(name, "an integer", |value| value.is_u64() || value.is_i64())?;
    }
    holds("aud", "a string or a list of them", |value| {
        value.is_string() || value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
    })?;
    let scope = answer.get("scope").and_then(Value::as_str).unwrap_or("-");
    ensure(!scope.split(' ').any(str::is_empty), "scope is words with one space between them", scope)?;
    match (token.claims(), answer.get("exp")) {
        (Ok(claims), Some(exp)) => ensure_equal("exp", &claims.get("exp"), &Some(exp)),
        _ => Ok(()),
    }
}

fn the_members_are_those_of_the_token(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    let answer = lab.introspection(&token.text)?;
    ensure_active(&answer)?;
    for (name, expected) in [("client_id", client.id.as_str()), ("iss", lab.issuer())] {
        let seen = answer.get(name).and_then(Value::as_str).unwrap_or(expected);
        ensure_equal(name, &expected, &seen)?;
    }
    let kind = answer.get("token_type").and_then(Value::as_str).unwrap_or("Bearer");
    ensure(kind.eq_ignore_ascii_case("bearer"), "token_type is Bearer", kind)?;
    let Ok(claims) = token.claims() else { return Ok(()) };
    for name in ["client_id", "sub", "iss", "jti", "aud", "iat", "scope", "cnf"] {
        if let Some(seen) = answer.get(name) {
            ensure_equal(name, &claims.get(name), &Some(seen))?;
        }
    }
    Ok(())
}

fn the_members_are_registered_names(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let answer = lab.introspection(&token.text)?;
    ensure_active(&answer)?;
    let names = answer.as_object().into_iter().flat_map(|members| members.keys());
    // A name that others cannot have by chance, a URI for instance, needs no registration.
    let unknown: Vec<_> = names
        .filter(|name| !REGISTERED.contains(&name.as_str()) && !name.contains([':', '/', '.']))
        .collect();
    ensure(unknown.is_empty(), "registered names, or names like URIs", format_args!("{unknown:?}"))
}

fn each_resource_server_sees_its_own_tokens(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Both)?;
    let (first, second) = (lab.resource_server()?, lab.client(Role::SecondResourceServer)?);
    let for_first = lab.good_token(client)?;
    let for_second = lab.token(client).with("resource", lab.second_resource()?).send().expect_token()?;
    for (server, own, foreign) in [(first, &for_first, &for_second), (second, &for_second, &for_first)] {
        let answer = lab.introspect(server, &own.text).send().expect_json(200)?;
        ensure_active(&answer)?;
        let answer = lab.introspect(server, &foreign.text).send().expect_json(200)?;
        ensure_equal("active for the other", &Some(&json!(false)), &answer.get("active"))?;
    }
    Ok(())
}

fn wrong_credentials_at_introspection_are_401(lab: &Lab) -> Outcome {
    let (client, server) = (lab.pki_client()?, lab.resource_server()?);
    let token = lab.good_token(client)?;
    ensure(lab.is_active(&token.text)?, "active for the right certificate", "inactive")?;
    let answer = lab.introspect(server, &token.text).certificate(&client.shown).send();
    answer.expect_error(401, "invalid_client")
}

fn a_bad_bearer_token_at_introspection_is_401(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let request = lab.introspect(lab.resource_server()?, &token.text);
    request.clone().send().expect_json(200)?;
    let bearer = request.no_certificate().header("Authorization", "Bearer no-token-of-anybody");
    bearer.send().expect_challenge(401, Some("invalid_token"))
}

fn a_client_without_the_right_learns_nothing(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    ensure(lab.is_active(&token.text)?, "active for the resource server", "inactive")?;
    let answer = lab.introspect(client, &token.text).send();
    if answer.status() == Some(403) {
        return ensure(answer.json().get("active").is_none(), "a refusal and nothing else", answer.seen());
    }
    ensure_equal("active", &Some(&json!(false)), &answer.expect_json(200)?.get("active"))
}

fn introspection_works_with_tls_1_2(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let request = lab.introspect(lab.resource_server()?, &token.text).tls(Tls::Only12);
    let answer = request.send().expect_json(200)?;
    ensure_active(&answer)
}

fn introspection_refuses_get(lab: &Lab) -> Outcome {
    let server = lab.resource_server()?;
    let token = lab.good_token(lab.pki_client()?)?;
    let request = lab.introspect(server, &token.text);
    request.clone().send().expect_json(200)?;
    let mut url = lab.endpoint("introspection_endpoint")?;
    url.set_query(Some(&request.form_text()));
    let answer = lab.get(&url).certificate(&server.shown).send();
    if answer.status() == Some(200) {
        return not_applicable("the server takes tokens in the query as well, which it may");
    }
    answer.expect_only_post()
}

fn what_is_told_is_told_to_one_and_not_stored(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let answer = lab.introspect(lab.resource_server()?, &token.text).send();
    let told = answer.expect_json(200)?;
    ensure_active(&told)?;
    answer.expect_no_store()?;
    // Whoever is no audience of the token hears nothing of what is in it.
    let other = lab.introspect(lab.client(Role::SecondResourceServer)?, &token.text).send();
    other.expect_no_store()?;
    let private = ["client_id", "sub", "scope", "cnf", "jti", "username"];
    let seen: Vec<_> = private.iter().filter(|name| other.json().get(**name).is_some()).collect();
    ensure(seen.is_empty(), "nothing about the token", format_args!("{seen:?}: {}", other.seen()))
}

fn ensure_active(answer: &Value) -> Outcome {
    ensure_equal("active", &Some(&Value::Bool(true)), &answer.get("active"))
}
