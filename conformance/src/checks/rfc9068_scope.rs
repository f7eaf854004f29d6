//! RFC 9068 §2.2.3 and §3: the scope and the audience of a token, with and without a resource (RFC 8707) that was asked for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::rfc9068::audience;
use crate::check::{Halt, Outcome, ensure, ensure_equal, not_applicable};
use crate::checks;
use crate::lab::{Lab, Role};

checks! {
    the_requested_scope_is_in_the_token => ["RFC9068-2.2.3-a"],
    scope_that_means_nothing_is_in_no_token => ["RFC9068-2.2.3-b"],
    scope_of_another_resource_is_in_no_token => ["RFC9068-2.2.3-b", "RFC8707-2.2-c"],
    aud_is_the_resource_that_was_asked_for => ["RFC9068-3-a"],
    no_token_is_for_two_resources_with_one_scope => ["RFC9068-3-b", "RFC9068-5-c"],
    without_a_resource_aud_is_the_default => ["RFC9068-3-c"],
    the_default_resource_is_that_of_the_scope => ["RFC9068-3-d"],
    scopes_of_two_resources_are_refused => ["RFC9068-3-e"],
}

fn the_requested_scope_is_in_the_token(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let (first, second) = lab.scope();
    for words in [first.to_owned(), format!("{first} {second}")] {
        let claims = lab.token(client).with("scope", &words).send().expect_token()?.claims()?;
        let scope = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
        let (mut asked, mut told): (Vec<_>, Vec<_>) =
            (words.split(' ').collect(), scope.split(' ').collect());
        asked.sort_unstable();
        told.sort_unstable();
        ensure(asked == told, format_args!("scope is the text {words:?}"), &claims)?;
    }
    Ok(())
}

fn scope_that_means_nothing_is_in_no_token(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let (word, _) = lab.scope();
    let token = lab.token(client).with("scope", word).send().expect_token()?;
    token.claims()?;
    let nonsense = lab.unique();
    let answer = lab.token(client).with("scope", &format!("{word} {nonsense}")).send();
    if answer.status() != Some(200) {
        return answer.expect_refused();
    }
    let granted = lab.granted(&answer.expect_token()?)?;
    ensure(!granted.contains(&nonsense), "only scope that means something", format_args!("{granted:?}"))
}

fn scope_of_another_resource_is_in_no_token(lab: &Lab) -> Outcome {
    let (first, second) = scopes_of_resources(lab)?;
    let client = lab.client(Role::Both)?;
    let resource = default_resource(lab)?;
    let asked = format!("{first} {second}");
    let answer = lab.token(client).with("resource", resource).with("scope", &asked).send();
    if answer.status() != Some(200) {
        return answer.expect_refused();
    }
    let granted = lab.granted(&answer.expect_token()?)?;
    ensure(
        !granted.contains(second),
        format_args!("no {second} in a token for {resource}"),
        format_args!("{granted:?}"),
    )
}

fn aud_is_the_resource_that_was_asked_for(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Both)?;
    for resource in [default_resource(lab)?, lab.second_resource()?] {
        let claims = lab.token(client).set("resource", resource).send().expect_token()?.claims()?;
        ensure_equal("aud", &BTreeSet::from([resource.to_owned()]), &audience(&claims)?)?;
    }
    Ok(())
}

fn no_token_is_for_two_resources_with_one_scope(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Both)?;
    let (first, second) = (default_resource(lab)?, lab.second_resource()?);
    for resource in [first, second] {
        lab.token(client).set("resource", resource).send().expect_token()?;
    }
    let (read, write) = lab.scope();
    let asked = format!("{read} {write}");
    let both = lab.token(client).set("resource", first).with("resource", second).with("scope", &asked).send();
    if both.status() != Some(200) {
        return both.expect_refused();
    }
    let claims = both.expect_token()?.claims()?;
    ensure(audience(&claims)?.len() == 1, "a token for one of the two resources, or invalid_target", &claims)
}

fn without_a_resource_aud_is_the_default(lab: &Lab) -> Outcome {
    if lab.target().config.token_parameters.contains_key("resource") {
        return not_applicable("every request of this server has to name a resource");
    }
    let expected = BTreeSet::from([default_resource(lab)?.to_owned()]);
    for role in [Role::Dns, Role::Both] {
        let claims = lab.good_token(lab.client(role)?)?.claims()?;
        ensure_equal("aud", &expected, &audience(&claims)?)?;
    }
    Ok(())
}

fn the_default_resource_is_that_of_the_scope(lab: &Lab) -> Outcome {
    let (first, second) = scopes_of_resources(lab)?;
    let client = lab.client(Role::Both)?;
    for (scope, resource) in [(first, default_resource(lab)?), (second, lab.second_resource()?)] {
        let claims =
            lab.token(client).without("resource").with("scope", scope).send().expect_token()?.claims()?;
        ensure_equal("aud", &BTreeSet::from([resource.to_owned()]), &audience(&claims)?)?;
    }
    Ok(())
}

fn scopes_of_two_resources_are_refused(lab: &Lab) -> Outcome {
    let (first, second) = scopes_of_resources(lab)?;
    let request = lab.token(lab.client(Role::Both)?).without("resource");
    request.clone().with("scope", first).send().expect_token()?;
    request.with("scope", &format!("{first} {second}")).send().expect_error(400, "invalid_scope")
}

/// The resource that tokens are for without being asked.
fn default_resource(lab: &Lab) -> Result<&str, Halt> {
    match &lab.target().config.resource {
        Some(resource) => Ok(resource),
        None => not_applicable("the suite was told of no default resource (resource)"),
    }
}

/// A word that means the default resource, and one that means the second.
fn scopes_of_resources(lab: &Lab) -> Result<(&str, &str), Halt> {
    match &lab.target().config.second_scope {
        Some(second) => Ok((lab.scope().0, second)),
        None => not_applicable("no word of scope of this server belongs to one resource (second_scope)"),
    }
}
