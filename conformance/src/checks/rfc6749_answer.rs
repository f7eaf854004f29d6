//! RFC 6749 §4.4.3, §5, §10.3 and §10.10: what the token endpoint answers, to good requests and to bad ones.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use crate::check::{Halt, Outcome, ensure, ensure_equal, not_applicable, untestable};
use crate::checks;
use crate::lab::{Answer, Body, Lab, Request, altered, repeated_member};
use crate::wire::Tls;

/// The error codes that are registered for the token endpoint.
const CODES: [&str; 11] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "invalid_dpop_proof",
    "use_dpop_nonce",
    "invalid_authorization_details",
    "temporarily_unavailable",
];
/// How many tokens are looked at to see what differs between them.
const TOKENS: usize = 48;

checks! {
    no_member_of_an_answer_is_repeated => ["RFC6749-3.2-h"],
    there_is_no_refresh_token => ["RFC6749-4.4.3-a", "RFC9700-4.14.2-a", "FAPI2SP-5.3.2.1-i"],
    an_answer_is_a_token_or_an_error => ["RFC6749-4.4.3-b"],
    a_token_comes_with_its_type => ["RFC6749-5.1-a"],
    the_lifetime_is_told => ["RFC6749-5.1-b"],
    a_token_comes_as_json => ["RFC6749-5.1-d"],
    nothing_secret_may_be_stored => ["RFC6749-5.1-e"],
    pragma_says_no_cache => ["RFC6749-5.1-f"],
    errors_are_400_with_a_registered_code => ["RFC6749-5.2-a"],
    a_malformed_request_is_invalid_request => ["RFC6749-5.2-b"],
    all_reasons_of_invalid_client_look_alike => ["RFC6749-5.2-c"],
    a_401_has_a_challenge => ["RFC6749-5.2-d"],
    an_authorization_header_is_answered_by_its_scheme => ["RFC6749-5.2-e"],
    a_client_without_the_grant_is_unauthorized => ["RFC6749-5.2-f", "RFC9701-3-c"],
    an_unknown_grant_is_unsupported => ["RFC6749-5.2-g"],
    an_unknown_scope_is_invalid => ["RFC6749-5.2-h"],
    an_error_code_has_only_its_characters => ["RFC6749-5.2-i"],
    an_error_description_has_only_its_characters => ["RFC6749-5.2-j"],
    an_error_uri_is_a_uri => ["RFC6749-5.2-k"],
    errors_of_all_endpoints_are_json => ["RFC6749-5.2-l"],
    the_log_has_no_tokens (slow) => ["RFC6749-10.3-a"],
    an_altered_token_is_inactive => ["RFC6749-10.3-b"],
    an_altered_token_opens_nothing => ["RFC6749-10.3-b", "FAPI2SP-5.3.4-c"],
    tokens_cannot_be_guessed => ["RFC6749-10.10-a", "FAPI2SP-5.4.1-f"],
    tokens_cannot_be_guessed_by_far => ["RFC6749-10.10-b"],
}

fn no_member_of_an_answer_is_repeated(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let good = lab.token(client).send();
    good.expect_token()?;
    for answer in [vec![good], provoked(lab)?].concat() {
        let repeated = repeated_member(&answer.expect_answer()?.body);
        ensure(repeated.is_none(), "every member once", repeated.unwrap_or_default())?;
    }
    Ok(())
}

fn there_is_no_refresh_token(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    ensure(token.answer.get("refresh_token").is_none(), "no refresh_token", &token.answer)
}

fn an_answer_is_a_token_or_an_error(lab: &Lab) -> Outcome {
    let good = lab.good_token(lab.pki_client()?)?;
    ensure(good.answer.get("error").is_none(), "a token and no error", &good.answer)?;
    for answer in provoked(lab)? {
        let object = answer.expect_json(answer.expect_answer()?.status)?;
        let error = object.get("error").is_some_and(Value::is_string) && object.get("access_token").is_none();
        ensure(error, "an error and no token", answer.seen())?;
    }
    Ok(())
}

fn a_token_comes_with_its_type(lab: &Lab) -> Outcome {
    for client in [lab.pki_client()?, lab.self_signed_client()?] {
        let token = lab.good_token(client)?;
        let kind = token.answer.get("token_type").and_then(Value::as_str).unwrap_or_default();
        ensure(kind.eq_ignore_ascii_case("bearer"), "token_type is Bearer", &token.answer)?;
    }
    Ok(())
}

fn the_lifetime_is_told(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let told = token.answer.get("expires_in").and_then(Value::as_i64).unwrap_or_default();
    ensure(told > 0, "expires_in is a positive integer", &token.answer)?;
    let whole = match token.claims() {
        Ok(claims) => claims,
        Err(_) => lab.introspection(&token.text)?,
    };
    let at = |name: &str| whole.get(name).and_then(Value::as_i64);
    let (Some(from), Some(to)) = (at("iat"), at("exp")) else { return Ok(()) };
    let lifetime = to.saturating_sub(from);
    ensure(lifetime.abs_diff(told) <= 1, format_args!("expires_in is {lifetime}, as exp - iat"), told)
}

fn a_token_comes_as_json(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let number = token.answer.get("expires_in").is_none_or(Value::is_number);
    ensure(number, "expires_in is a number", &token.answer)?;
    for name in ["access_token", "token_type", "scope"] {
        let text = token.answer.get(name).is_none_or(Value::is_string);
        ensure(text, format_args!("{name} is a string"), &token.answer)?;
    }
    Ok(())
}

fn nothing_secret_may_be_stored(lab: &Lab) -> Outcome {
    let (client, server) = (lab.pki_client()?, lab.resource_server()?);
    let good = lab.token(client).send();
    let token = good.expect_token()?;
    good.expect_no_store()?;
    for answer in provoked(lab)? {
        answer.expect_no_store()?;
    }
    lab.introspect(server, &token.text).send().expect_no_store()?;
    lab.introspect(server, "nobody-s-token").send().expect_no_store()?;
    lab.introspect(server, &token.text).no_certificate().send().expect_no_store()?;
    lab.revoke(client, &token.text).no_certificate().send().expect_no_store()?;
    lab.revoke(client, &token.text).send().expect_no_store()
}

fn pragma_says_no_cache(lab: &Lab) -> Outcome {
    let answer = lab.token(lab.pki_client()?).send();
    answer.expect_token()?;
    let pragma = answer.header("pragma").unwrap_or("none");
    ensure(pragma.eq_ignore_ascii_case("no-cache"), "Pragma: no-cache", format_args!("Pragma: {pragma}"))
}

fn errors_are_400_with_a_registered_code(lab: &Lab) -> Outcome {
    lab.good_token(lab.pki_client()?)?;
    for answer in provoked(lab)? {
        // What is no form may also be refused by HTTP's own status for that.
        let status = if answer.status() == Some(415) { 415 } else { 400 };
        answer.expect_error_of(status, &CODES)?;
    }
    Ok(())
}

fn a_malformed_request_is_invalid_request(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let request = lab.token(client);
    request.clone().without("grant_type").send().expect_error(400, "invalid_request")?;
    request.clone().with("client_id", &client.id).send().expect_error(400, "invalid_request")?;
    let octets = request.clone().with_body(Body::Octets(b"{\"grant_type\":".to_vec()));
    let octets = octets.header("Content-Type", "application/json").send();
    let status = if octets.status() == Some(415) { 415 } else { 400 };
    octets.expect_error(status, "invalid_request")?;
    let two = request.with("client_secret", "secret").send();
    two.expect_error_of(400, &["invalid_request", "invalid_client"])
}

fn all_reasons_of_invalid_client_look_alike(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    lab.good_token(client)?;
    let mut seen: Option<(u16, BTreeSet<String>)> = None;
    for request in [
        lab.token(client).set("client_id", &lab.unique()),
        lab.token(client).no_certificate(),
        lab.token(client).certificate(&other.shown),
        lab.token(lab.self_signed_client()?).certificate(&client.shown),
        lab.token(client).no_certificate().with("client_secret", "secret"),
    ] {
        let answer = request.send();
        answer.expect_invalid_client()?;
        let members = answer.json();
        let names = members.as_object().into_iter().flat_map(|members| members.keys().cloned()).collect();
        let this = (answer.expect_answer()?.status, names);
        let first = seen.get_or_insert_with(|| this.clone());
        ensure_equal("status and members, whatever the reason", &*first, &this)?;
    }
    Ok(())
}

fn a_401_has_a_challenge(lab: &Lab) -> Outcome {
    let (client, server) = (lab.pki_client()?, lab.resource_server()?);
    let token = lab.good_token(client)?;
    let mut answers = provoked(lab)?;
    answers.push(lab.token(client).no_certificate().header("Authorization", "Basic Og==").send());
    answers.push(lab.introspect(server, &token.text).no_certificate().send());
    answers.push(lab.introspect(server, &token.text).certificate(&client.shown).send());
    answers.push(lab.revoke(client, &token.text).certificate(&server.shown).send());
    for answer in answers {
        let challenged = answer.expect_answer()?.header("www-authenticate").is_some();
        ensure(answer.status() != Some(401) || challenged, "a 401 with WWW-Authenticate", answer.seen())?;
    }
    Ok(())
}

fn an_authorization_header_is_answered_by_its_scheme(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    // "client:wrong", and what is no base64.
    for credentials in ["Basic Y2xpZW50Ondyb25n", "basic !"] {
        let answer = lab.token(client).no_certificate().header("Authorization", credentials).send();
        answer.expect_error(401, "invalid_client")?;
        let challenge = answer.header("www-authenticate").unwrap_or("none").to_ascii_lowercase();
        let matching = challenge.starts_with("basic ") && challenge.contains("realm=");
        ensure(matching, "WWW-Authenticate: Basic realm=…", challenge)?;
    }
    Ok(())
}

fn a_client_without_the_grant_is_unauthorized(lab: &Lab) -> Outcome {
    let server = lab.resource_server()?;
    let token = lab.good_token(lab.pki_client()?)?;
    ensure(lab.is_active(&token.text)?, "the client without the grant is authenticated", "it is not")?;
    lab.token(server).send().expect_error(400, "unauthorized_client")
}

fn an_unknown_grant_is_unsupported(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    lab.token(client).set("grant_type", "foo").send().expect_error(400, "unsupported_grant_type")
}

fn an_unknown_scope_is_invalid(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let registered = lab.granted(&lab.good_token(client)?)?;
    let answer = lab.token(client).with("scope", "not_registered").send();
    if answer.status() != Some(200) {
        return answer.expect_error(400, "invalid_scope");
    }
    let token = answer.expect_token()?;
    let granted = lab.granted(&token)?;
    ensure(
        granted.is_subset(&registered),
        format_args!("words of {registered:?}"),
        format_args!("{granted:?}"),
    )
}

fn an_error_code_has_only_its_characters(lab: &Lab) -> Outcome {
    for answer in provoked(lab)? {
        let code = answer.json().get("error").and_then(Value::as_str).unwrap_or_default().to_owned();
        ensure(!code.is_empty() && code.chars().all(is_allowed), "an error code in ASCII", answer.seen())?;
    }
    Ok(())
}

fn an_error_description_has_only_its_characters(lab: &Lab) -> Outcome {
    for answer in provoked(lab)? {
        let object = answer.json();
        ensure(object.get("error").is_some(), "an error", answer.seen())?;
        let Some(description) = object.get("error_description") else { continue };
        let allowed = description.as_str().is_some_and(|text| text.chars().all(is_allowed));
        ensure(
            allowed,
            "error_description without quotes, backslashes, line ends and the like",
            description,
        )?;
    }
    Ok(())
}

fn an_error_uri_is_a_uri(lab: &Lab) -> Outcome {
    let base = lab.endpoint("token_endpoint")?;
    for answer in provoked(lab)? {
        let object = answer.json();
        ensure(object.get("error").is_some(), "an error", answer.seen())?;
        let Some(uri) = object.get("error_uri") else { continue };
        // A reference may be relative.
        let is_uri = |uri: &str| uri.chars().all(|is| is_allowed(is) && is != ' ') && base.join(uri).is_ok();
        ensure(uri.as_str().is_some_and(is_uri), "error_uri is a URI reference", uri)?;
    }
    Ok(())
}

fn errors_of_all_endpoints_are_json(lab: &Lab) -> Outcome {
    let (client, server) = (lab.pki_client()?, lab.resource_server()?);
    let token = lab.good_token(client)?;
    let mut answers = provoked(lab)?;
    let requests = [lab.token(client), lab.introspect(server, &token.text), lab.revoke(client, &token.text)];
    for request in &requests {
        answers.push(request.clone().no_certificate().send());
        answers.push(request.clone().method("PUT").send());
        answers.push(request.clone().header("Content-Type", "text/plain").send());
        answers.push(request.clone().with_body(Body::None).method("DELETE").send());
    }
    for answer in answers {
        let response = answer.expect_answer()?;
        ensure((400..500).contains(&response.status), "a refusal", answer.seen())?;
        if !response.body.is_empty() {
            let code = answer.expect_json(response.status)?;
            ensure(code.get("error").is_some_and(Value::is_string), "a member error", answer.seen())?;
        }
    }
    Ok(())
}

fn the_log_has_no_tokens(lab: &Lab) -> Outcome {
    let Some(path) = &lab.target().config.log else {
        return untestable("the suite was not told where the server logs (log)");
    };
    let (client, server) = (lab.pki_client()?, lab.resource_server()?);
    let token = lab.good_token(client)?;
    lab.introspect(server, &token.text).send().expect_status(200)?;
    lab.introspect(client, &token.text).send().expect_answer()?;
    for endpoint in ["introspection_endpoint", "revocation_endpoint"] {
        let mut url = lab.endpoint(endpoint)?;
        url.query_pairs_mut().append_pair("token", &token.text);
        lab.get(&url).certificate(&client.shown).send().expect_answer()?;
        lab.post(&url).with("client_id", &token.text).certificate(&client.shown).send().expect_answer()?;
    }
    lab.revoke(client, &token.text).send().expect_status(200)?;
    // A name to wait for: what came before it is written by then.
    let marker = lab.unique();
    lab.token(client).set("client_id", &marker).send().expect_refused()?;
    let read = || fs::read(path).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default();
    lab.eventually(Duration::from_secs(3), || read().contains(&marker));
    let mut outputs = vec![("the log", read())];
    if let Some(admin) = lab.target().config.admin.as_deref().and_then(|url| Url::parse(url).ok()) {
        for path in ["/metrics", "/readyz"] {
            let url = admin.join(path).unwrap_or_else(|_| admin.clone());
            let tls = if url.scheme() == "http" { Tls::Plain } else { Tls::Modern };
            let body = lab.get(&url).tls(tls).send().expect_answer()?.body.clone();
            outputs.push((path, String::from_utf8_lossy(&body).into_owned()));
        }
    }
    let signature = token.text.rsplit('.').next().unwrap_or_default();
    for (name, text) in outputs {
        ensure(!text.is_empty(), format_args!("{name} says something"), "it is empty")?;
        let secrets = text.contains(signature) || text.contains("PRIVATE KEY");
        ensure(!secrets, format_args!("{name} has no token and no private key"), "it has one")?;
    }
    Ok(())
}

fn an_altered_token_is_inactive(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    ensure(lab.is_active(&token.text)?, "a fresh token is active", "it is not")?;
    for bad in altered(&token.text) {
        ensure(
            !lab.is_active(&bad)?,
            "a token of which one character is another is inactive",
            "it is active",
        )?;
    }
    Ok(())
}

fn an_altered_token_opens_nothing(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    for api in [lab.local_api()?, lab.introspecting_api()?] {
        lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
        for bad in altered(&token.text) {
            let answer = lab.call(&api, &bad, Some(&client.shown)).send();
            answer.expect_challenge(401, Some("invalid_token"))?;
        }
    }
    Ok(())
}

fn tokens_cannot_be_guessed(lab: &Lab) -> Outcome {
    let identifiers = identifiers(lab)?;
    let different: BTreeSet<_> = identifiers.iter().collect();
    ensure_equal("how many of the tokens differ", &TOKENS, &different.len())?;
    let shortest = identifiers.iter().map(String::len).min().unwrap_or_default();
    ensure(shortest >= 22, "22 characters that are drawn by lot, or more", format_args!("{identifiers:?}"))?;
    // Few tokens show less than all that may vary: of 128 bits of chance they show 100 to 120, of a counter about ten.
    let bits = varying(&identifiers);
    ensure(bits > 96.0, "of 128 bits, 96 are seen to vary", format_args!("{bits:.0} in {identifiers:?}"))
}

fn tokens_cannot_be_guessed_by_far(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    // What has to be guessed of a JWT is its signature.
    let guess = token.text.rsplit('.').next().unwrap_or_default();
    ensure(guess.len() >= 27, "27 characters or more", format_args!("{} characters: {guess}", guess.len()))
}

/// What tells many tokens apart: their `jti`, or the whole of them if they are opaque.
fn identifiers(lab: &Lab) -> Result<Vec<String>, Halt> {
    let client = lab.pki_client()?;
    let requests = vec![lab.token(client); TOKENS];
    let mut identifiers = Vec::new();
    for (answer, _) in lab.in_a_row(&requests) {
        let token = answer.expect_token()?;
        match token.claims() {
            Err(_) => identifiers.push(token.text),
            Ok(claims) => match claims.get("jti").and_then(Value::as_str) {
                Some(jti) => identifiers.push(jti.to_owned()),
                None => return not_applicable("the tokens have no identifier (jti)"),
            },
        }
    }
    Ok(identifiers)
}

/// How many bits are seen to vary: at each place, the logarithm of how many characters occur there.
fn varying(texts: &[String]) -> f64 {
    let shortest = texts.iter().map(String::len).min().unwrap_or_default();
    let at = |place: usize| -> BTreeSet<u8> {
        texts.iter().filter_map(|text| text.as_bytes().get(place).copied()).collect()
    };
    (0..shortest).map(|place| f64::from(u32::try_from(at(place).len()).unwrap_or(1)).log2()).sum()
}

/// Errors of many kinds, some of them about values that would break out of the answer if they were repeated in it.
fn provoked(lab: &Lab) -> Result<Vec<Answer>, Halt> {
    let client = lab.pki_client()?;
    let request = lab.token(client);
    let json = request.clone().with_body(Body::Octets(b"{}".to_vec()));
    let hostile = "q\"u\\o\r\nt\u{e9}\u{2028}";
    let requests = [
        request.clone().without("grant_type"),
        request.clone().set("grant_type", "foo"),
        request.clone().set("grant_type", hostile),
        request.clone().with("client_id", &client.id),
        request.clone().set("client_id", &lab.unique()),
        request.clone().set("client_id", hostile),
        request.clone().without("client_id"),
        request.clone().no_certificate(),
        request.clone().with("scope", hostile),
        request.clone().with("client_secret", hostile),
        request.clone().with(hostile, hostile).without("grant_type"),
        request.with_encoded("scope=%C3%28"),
        json.header("Content-Type", "application/json"),
    ];
    let mut answers: Vec<_> = requests.into_iter().map(Request::send).collect();
    // Whether each of these has to be refused is for other requirements.
    answers.retain(|answer| answer.status().is_none_or(|status| (400..500).contains(&status)));
    ensure(!answers.is_empty(), "a refusal of any of these", "none")?;
    Ok(answers)
}

/// `%x20-21 / %x23-5B / %x5D-7E`
const fn is_allowed(is: char) -> bool {
    matches!(is, '\x20'..='\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e')
}
