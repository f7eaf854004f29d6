//! RFC 6749 §3.2, §3.3, §4.4.2, §4.5 and appendix B: the request at the token endpoint. Who the client is comes in
//! `rfc6749_client.rs`, the answer in `rfc6749_answer.rs`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::check::{Outcome, ensure, ensure_equal, not_applicable};
use crate::checks;
use crate::lab::{Body, Lab, Request, words};

checks! {
    the_token_endpoint_has_no_fragment => ["RFC6749-3.2-a"],
    a_query_of_the_token_endpoint_is_kept => ["RFC6749-3.2-b"],
    the_token_endpoint_is_https_only => ["RFC6749-3.2-c"],
    the_token_endpoint_takes_only_post => ["RFC6749-3.2-d"],
    an_empty_parameter_is_an_absent_one => ["RFC6749-3.2-e"],
    an_unknown_parameter_is_ignored => ["RFC6749-3.2-f"],
    a_repeated_parameter_is_refused => ["RFC6749-3.2-g"],
    a_scope_is_a_list_of_words_with_case => ["RFC6749-3.3-a"],
    the_order_of_a_scope_means_nothing => ["RFC6749-3.3-b"],
    too_much_scope_is_refused_or_reduced => ["RFC6749-3.3-c"],
    what_is_granted_is_said => ["RFC6749-3.3-d", "RFC6749-5.1-c"],
    no_scope_is_a_default_or_an_error => ["RFC6749-3.3-e"],
    scopes_are_documented => ["RFC6749-3.3-f"],
    the_grant_type_is_there_and_exact => ["RFC6749-4.4.2-a"],
    a_token_request_is_a_form => ["RFC6749-4.4.2-c"],
    grants_that_nobody_knows_are_refused => ["RFC6749-4.5-a"],
    a_form_is_percent_decoded_and_read_as_utf_8 => ["RFC6749-B-a"],
}

fn the_token_endpoint_has_no_fragment(lab: &Lab) -> Outcome {
    for url in lab.urls("token_endpoint")? {
        ensure(!url.as_str().contains('#'), "a URL without fragment", &url)?;
    }
    Ok(())
}

fn a_query_of_the_token_endpoint_is_kept(lab: &Lab) -> Outcome {
    if lab.endpoint("token_endpoint")?.query().is_none() {
        return not_applicable("the token endpoint has no query");
    }
    lab.good_token(lab.pki_client()?)?;
    Ok(())
}

fn the_token_endpoint_is_https_only(lab: &Lab) -> Outcome {
    lab.good_token(lab.pki_client()?)?;
    lab.expect_https_only("token_endpoint")
}

fn the_token_endpoint_takes_only_post(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let request = lab.token(client);
    let mut url = lab.endpoint("token_endpoint")?;
    url.set_query(Some(&request.form_text()));
    lab.get(&url).certificate(&client.shown).send().expect_only_post()?;
    for method in ["GET", "PUT", "DELETE"] {
        request.clone().method(method).send().expect_only_post()?;
    }
    Ok(())
}

fn an_empty_parameter_is_an_absent_one(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let usual = lab.good_token(client)?;
    let needed = &lab.target().config.token_parameters;
    if !needed.contains_key("scope") {
        let empty = lab.token(client).with("scope", "").send().expect_token()?;
        ensure_equal("the scope without words", &lab.granted(&usual)?, &lab.granted(&empty)?)?;
        ensure_equal("the answer's scope", &words(&usual.answer), &words(&empty.answer))?;
    }
    if !needed.contains_key("resource") {
        lab.token(client).with("resource", "").send().expect_token()?;
    }
    lab.token(client).set("grant_type", "").send().expect_error(400, "invalid_request")
}

fn an_unknown_parameter_is_ignored(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let usual = lab.good_token(client)?;
    let other = lab.token(client).with("foo", "bar").with("x_y", "1").send().expect_token()?;
    let names = |answer: &Value| -> BTreeSet<String> {
        answer.as_object().into_iter().flat_map(|members| members.keys().cloned()).collect()
    };
    ensure_equal("the members of the answer", &names(&usual.answer), &names(&other.answer))?;
    ensure_equal("the scope", &lab.granted(&usual)?, &lab.granted(&other)?)
}

fn a_repeated_parameter_is_refused(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    let (first, second) = lab.scope();
    lab.token(client).with("scope", first).send().expect_token()?;
    let once = lab.token(client);
    for twice in [
        once.clone().with("grant_type", "client_credentials"),
        once.clone().with("grant_type", "another"),
        once.clone().with("client_id", &client.id),
        once.clone().with("client_id", &other.id),
        once.clone().with("scope", first).with("scope", first),
        once.clone().with("scope", first).with("scope", second),
    ] {
        twice.send().expect_refused()?;
    }
    // A parameter that nobody knows may be refused or ignored, as one likes.
    let unknown = once.with("foo", "1").with("foo", "2").send();
    if unknown.status() == Some(200) {
        unknown.expect_token()?;
        return Ok(());
    }
    unknown.expect_refused()
}

fn a_scope_is_a_list_of_words_with_case(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let (first, second) = lab.scope();
    let both = format!("{first} {second}");
    let token = lab.token(client).with("scope", &both).send().expect_token()?;
    ensure_equal("the scope", &set([first, second]), &lab.granted(&token)?)?;
    for wrong in [swapped(first), format!("{first}\"b"), format!("{first}\\b")] {
        as_an_unknown_scope(lab, lab.token(client).with("scope", &wrong))?;
    }
    Ok(())
}

fn the_order_of_a_scope_means_nothing(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let (first, second) = lab.scope();
    for scope in [format!("{first} {second}"), format!("{second} {first}")] {
        let token = lab.token(client).with("scope", &scope).send().expect_token()?;
        ensure_equal("the scope", &set([first, second]), &lab.granted(&token)?)?;
    }
    Ok(())
}

fn too_much_scope_is_refused_or_reduced(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let (first, _) = lab.scope();
    lab.token(client).with("scope", first).send().expect_token()?;
    let answer = lab.token(client).with("scope", &format!("{first} not_registered")).send();
    if answer.status() != Some(200) {
        return answer.expect_refused();
    }
    let token = answer.expect_token()?;
    ensure_equal("the granted scope", &set([first]), &lab.granted(&token)?)?;
    ensure_equal("the scope of the answer", &set([first]), &words(&token.answer))
}

fn what_is_granted_is_said(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let (first, second) = lab.scope();
    let usual = lab.token(client);
    lab.good_token(client)?;
    for asked in [set([]), set([first]), set([first, second]), set([first, "not_registered"])] {
        let scope = asked.iter().cloned().collect::<Vec<_>>().join(" ");
        let request = if asked.is_empty() { usual.clone() } else { usual.clone().with("scope", &scope) };
        let answer = request.send();
        if answer.status() != Some(200) {
            answer.expect_refused()?;
            continue;
        }
        let token = answer.expect_token()?;
        let granted = lab.granted(&token)?;
        let said = token.answer.get("scope").is_some();
        ensure(said || granted == asked, "the scope that was granted, as it is another", answer.seen())?;
        if said {
            ensure_equal("the scope of the answer", &granted, &words(&token.answer))?;
        }
    }
    Ok(())
}

fn no_scope_is_a_default_or_an_error(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let (first, second) = lab.scope();
    lab.token(client).with("scope", first).send().expect_token()?;
    let answer = lab.token(client).without("scope").send();
    if answer.status() != Some(200) {
        return answer.expect_error(400, "invalid_scope");
    }
    let token = answer.expect_token()?;
    let said = words(&token.answer);
    ensure(!said.is_empty(), "the default scope is said", answer.seen())?;
    let registered = set([first, second]);
    ensure(said.is_subset(&registered), format_args!("words of {registered:?}"), format_args!("{said:?}"))
}

fn scopes_are_documented(lab: &Lab) -> Outcome {
    let metadata = lab.metadata()?;
    let listed = metadata.get("scopes_supported").and_then(Value::as_array);
    let listed = listed.is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string));
    let pages = metadata.get("service_documentation").and_then(Value::as_str);
    let pages = pages.is_some_and(|url| url.starts_with("https://") || url.starts_with("http://"));
    ensure(listed || pages, "scopes_supported or service_documentation in the metadata", "neither")
}

fn the_grant_type_is_there_and_exact(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    lab.token(client).without("grant_type").send().expect_refused()?;
    for wrong in ["Client_Credentials", "client_credentials ", "client-credentials"] {
        lab.token(client).set("grant_type", wrong).send().expect_refused()?;
    }
    Ok(())
}

fn a_token_request_is_a_form(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let form = lab.token(client);
    for kind in [
        "application/x-www-form-urlencoded;charset=UTF-8",
        "Application/X-WWW-Form-Urlencoded ; charset=\"utf-8\"",
    ] {
        form.clone().header("Content-Type", kind).send().expect_token()?;
    }
    let octets = |text: &str| form.clone().with_body(Body::Octets(text.as_bytes().to_vec()));
    let json = json!({"grant_type": "client_credentials", "client_id": client.id}).to_string();
    octets(&json).header("Content-Type", "application/json").send().expect_form_wanted()?;
    octets(&form.form_text()).header("Content-Type", "text/plain").send().expect_form_wanted()?;
    octets(&form.form_text()).send().expect_form_wanted()?;
    let field = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let parts = field("grant_type", "client_credentials") + &field("client_id", &client.id) + "--b--\r\n";
    octets(&parts).header("Content-Type", "multipart/form-data; boundary=b").send().expect_form_wanted()
}

fn grants_that_nobody_knows_are_refused(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    for grant in ["urn:example:unknown", "authorization_code", "password", "refresh_token"] {
        let request = lab.token(client).set("grant_type", grant).with("code", "x").with("refresh_token", "x");
        let answer = request.with("username", "x").with("password", "x").send();
        answer.expect_refused()?;
    }
    Ok(())
}

fn a_form_is_percent_decoded_and_read_as_utf_8(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let (first, second) = lab.scope();
    let encoded = first.bytes().map(|octet| format!("%{octet:02x}")).collect::<Vec<_>>().concat();
    let token = lab.token(client).with_encoded(&format!("scope={encoded}+{second}")).send().expect_token()?;
    ensure_equal("the scope", &set([first, second]), &lab.granted(&token)?)?;
    as_an_unknown_scope(lab, lab.token(client).with_encoded("scope=%C2%A3"))?;
    for broken in ["%C3%28", "%FF", "%zz", "%4"] {
        let answer = lab.token(client).with_encoded(&format!("scope={broken}")).send();
        answer.expect_refused()?;
    }
    Ok(())
}

/// Answered as a scope that nobody has registered: refused, or read over and nothing granted for it.
fn as_an_unknown_scope(lab: &Lab, request: Request<'_>) -> Outcome {
    let unknown = lab.token(lab.pki_client()?).with("scope", "not_registered").send();
    let answer = request.send();
    if unknown.status() != Some(200) {
        return answer.expect_refused();
    }
    let granted = lab.granted(&unknown.expect_token()?)?;
    ensure_equal("the scope", &granted, &lab.granted(&answer.expect_token()?)?)
}

/// A scope as a set.
fn set<const N: usize>(words: [&str; N]) -> BTreeSet<String> {
    words.into_iter().map(ToOwned::to_owned).collect()
}

/// The same word in the other case.
fn swapped(word: &str) -> String {
    let upper = word.to_uppercase();
    if upper == word { word.to_lowercase() } else { upper }
}
