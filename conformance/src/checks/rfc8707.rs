//! RFC 8707: which resource a token is for.

use serde_json::Value;

use crate::check::{Halt, Outcome, ensure, ensure_equal, not_applicable};
use crate::checks;
use crate::lab::{Lab, Role, Token, words};

checks! {
    a_resource_is_an_absolute_uri => ["RFC8707-2-a"],
    a_resource_has_no_fragment => ["RFC8707-2-b"],
    a_resource_may_have_a_query => ["RFC8707-2-c"],
    to_name_several_resources_is_no_malformed_request => ["RFC8707-2-d"],
    a_resource_that_nobody_knows_is_an_invalid_target => ["RFC8707-2-e"],
    a_token_is_for_the_resource_that_was_named => [
        "RFC8707-2-f", "RFC8707-2-g", "RFC8707-2.2-a", "RFC9700-2.3-b", "RFC9700-4.10-a",
    ],
    without_a_resource_there_is_a_default_or_an_error => ["RFC8707-2.1-a"],
    a_resource_is_for_those_registered_for_it => ["RFC8707-2.2-b"],
    the_scope_for_a_resource_is_told => ["RFC8707-2.2-d"],
    a_path_below_a_resource_is_another_resource => ["RFC8707-3-a"],
}

/// The resource that the clients of the suite may name.
fn resource(lab: &Lab) -> Result<&str, Halt> {
    match &lab.target().config.resource {
        Some(resource) => Ok(resource),
        None => not_applicable("the suite was told no resource that tokens are for"),
    }
}

/// `aud` of the token, and what the resource server of this role hears of it.
fn audiences(lab: &Lab, token: &Token, server: Role) -> Result<Vec<Value>, Halt> {
    let told = lab.introspect(lab.client(server)?, &token.text).send().expect_json(200)?;
    let claims = token.claims().ok();
    let of = |object: &Value| object.get("aud").cloned().unwrap_or_default();
    Ok(claims.iter().map(of).chain(told.get("aud").cloned()).collect())
}

fn ensure_only(expected: &str, aud: &Value) -> Outcome {
    let only = match aud {
        Value::Array(list) if list.len() == 1 => list.first().and_then(Value::as_str),
        single => single.as_str(),
    };
    ensure_equal("aud", &Some(expected), &only)
}

/// What the server makes of a resource is a token for exactly it, or `invalid_target`.
fn exactly_or_refused(lab: &Lab, role: Role, asked: &str) -> Outcome {
    let answer = lab.token(lab.client(role)?).set("resource", asked).send();
    if answer.status() != Some(200) {
        return answer.expect_error(400, "invalid_target");
    }
    let token = answer.expect_token()?;
    ensure_only(asked, &token.claims()?.get("aud").cloned().unwrap_or_default())
}

fn expect_invalid_targets(lab: &Lab, wrong: &[String]) -> Outcome {
    let client = lab.pki_client()?;
    lab.token(client).set("resource", resource(lab)?).send().expect_token()?;
    for resource in wrong {
        lab.token(client).set("resource", resource).send().expect_error(400, "invalid_target")?;
    }
    Ok(())
}

fn a_resource_is_an_absolute_uri(lab: &Lab) -> Outcome {
    let path = resource(lab)?.split_once("://").map_or("/api", |(_, rest)| rest);
    expect_invalid_targets(lab, &["/api", "rs1", "//api.suite.example", path].map(ToOwned::to_owned))
}

fn a_resource_has_no_fragment(lab: &Lab) -> Outcome {
    let good = resource(lab)?;
    expect_invalid_targets(lab, &[format!("{good}#x"), format!("{good}#"), format!("{good}/#x")])
}

fn a_resource_may_have_a_query(lab: &Lab) -> Outcome {
    lab.token(lab.pki_client()?).set("resource", resource(lab)?).send().expect_token()?;
    exactly_or_refused(lab, Role::Dns, &format!("{}?t=1", resource(lab)?))
}

fn to_name_several_resources_is_no_malformed_request(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Both)?;
    let both = [resource(lab)?, lab.second_resource()?];
    for one in both {
        lab.token(client).set("resource", one).send().expect_token()?;
    }
    let [first, second] = both;
    let answer = lab.token(client).set("resource", first).with("resource", second).send();
    if answer.status() != Some(200) {
        return answer.expect_error(400, "invalid_target");
    }
    let aud = answer.expect_token()?.claims()?.get("aud").cloned().unwrap_or_default();
    let has = |one: &&str| aud.as_array().is_some_and(|list| list.iter().any(|is| is == one));
    ensure(both.iter().all(has), "aud is a list with both", aud)
}

fn a_resource_that_nobody_knows_is_an_invalid_target(lab: &Lab) -> Outcome {
    let unknown = format!("https://{}.unknown.example", lab.unique());
    expect_invalid_targets(
        lab,
        &[unknown, "urn:unknown".to_owned(), "https://[::1".to_owned(), "::".to_owned()],
    )
}

fn a_token_is_for_the_resource_that_was_named(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Both)?;
    let pairs =
        [(resource(lab)?, Role::ResourceServer), (lab.second_resource()?, Role::SecondResourceServer)];
    for (resource, server) in pairs {
        let token = lab.token(client).set("resource", resource).send().expect_token()?;
        for aud in audiences(lab, &token, server)? {
            ensure_only(resource, &aud)?;
        }
    }
    Ok(())
}

fn without_a_resource_there_is_a_default_or_an_error(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Both)?;
    lab.token(client).set("resource", resource(lab)?).send().expect_token()?;
    let answer = lab.token(client).without("resource").send();
    if answer.status() != Some(200) {
        return answer.expect_error(400, "invalid_target");
    }
    for aud in audiences(lab, &answer.expect_token()?, Role::ResourceServer)? {
        ensure_only(resource(lab)?, &aud)?;
    }
    Ok(())
}

fn a_resource_is_for_those_registered_for_it(lab: &Lab) -> Outcome {
    let second = lab.second_resource()?;
    lab.token(lab.client(Role::Both)?).set("resource", second).send().expect_token()?;
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    lab.token(client).set("resource", second).send().expect_error(400, "invalid_target")
}

fn the_scope_for_a_resource_is_told(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Both)?;
    let asked = lab.target().config.scope.clone().unwrap_or_else(|| "read write".to_owned());
    for resource in [resource(lab)?, lab.second_resource()?] {
        let request = lab.token(client).set("resource", resource).set("scope", &asked);
        let token = request.send().expect_token()?;
        let granted = lab.granted(&token)?;
        let complete = asked.split(' ').all(|word| granted.contains(word));
        // Only what is as asked for may be left unsaid.
        if !complete || token.answer.get("scope").is_some() {
            ensure_equal("scope of the answer", &granted, &words(&token.answer))?;
        }
    }
    Ok(())
}

fn a_path_below_a_resource_is_another_resource(lab: &Lab) -> Outcome {
    let good = resource(lab)?;
    lab.token(lab.pki_client()?).set("resource", good).send().expect_token()?;
    for other in ["/t1", "/t1/t2", ".elsewhere.example", "x"] {
        exactly_or_refused(lab, Role::Dns, &format!("{good}{other}"))?;
    }
    Ok(())
}
