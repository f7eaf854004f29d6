//! RFC 6750, at the demo resource servers: tokens in the `Authorization` header, and challenges where they do not do.

use url::Url;

use crate::check::{Halt, Outcome, ensure, fail};
use crate::checks;
use crate::lab::{Answer, Body, Client, Lab, Token};
use crate::wire::Tls;

checks! {
    a_token_in_the_authorization_header_is_taken => ["RFC6750-2.1-a"],
    a_token_sent_in_two_ways_is_invalid_request => ["RFC6750-2-a"],
    what_does_not_do_is_answered_with_a_challenge => ["RFC6750-3-a"],
    the_challenge_is_bearer_with_a_parameter => ["RFC6750-3-b"],
    parameters_of_a_challenge_are_there_once_and_clean => ["RFC6750-3-c"],
    every_fault_has_its_status => ["RFC6750-3.1-a"],
    without_a_token_there_is_no_error_code => ["RFC6750-3.1-b"],
    tokens_are_taken_over_tls_only => ["RFC6750-5.3-a"],
}

fn a_token_in_the_authorization_header_is_taken(lab: &Lab) -> Outcome {
    let (client, token) = holder(lab)?;
    for api in apis(lab)? {
        lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
        // The name of a scheme has no case (RFC 9110 §11.1).
        let small = lab.get(&api).header("Authorization", &format!("bearer {}", token.text));
        small.certificate(&client.shown).send().expect_status(200)?;
    }
    Ok(())
}

fn a_token_sent_in_two_ways_is_invalid_request(lab: &Lab) -> Outcome {
    let (client, token) = holder(lab)?;
    for api in apis(lab)? {
        let once = lab.call(&api, &token.text, Some(&client.shown));
        once.clone().send().expect_status(200)?;
        let form = Body::Form(vec![("access_token".to_owned(), token.text.clone())]);
        once.clone().method("POST").with_body(form).send().expect_challenge(400, Some("invalid_request"))?;
        let mut query = api.clone();
        query.query_pairs_mut().append_pair("access_token", &token.text);
        once.at(&query).send().expect_challenge(400, Some("invalid_request"))?;
    }
    Ok(())
}

fn what_does_not_do_is_answered_with_a_challenge(lab: &Lab) -> Outcome {
    for answer in refusals(lab)? {
        let status = answer.expect_answer()?.status;
        ensure(status != 200, "a refusal", answer.seen())?;
        ensure(
            answer.header("www-authenticate").is_some(),
            "WWW-Authenticate",
            format_args!("none, with {status}"),
        )?;
    }
    Ok(())
}

fn the_challenge_is_bearer_with_a_parameter(lab: &Lab) -> Outcome {
    for answer in refusals(lab)? {
        ensure(!challenge(&answer)?.is_empty(), "Bearer and at least one parameter", answer.seen())?;
    }
    Ok(())
}

fn parameters_of_a_challenge_are_there_once_and_clean(lab: &Lab) -> Outcome {
    for answer in refusals(lab)? {
        let parameters = challenge(&answer)?;
        for (name, value) in &parameters {
            let count = parameters.iter().filter(|(is, _)| is == name).count();
            ensure(count == 1, format_args!("{name} once"), format_args!("{parameters:?}"))?;
            let octets = |allowed: fn(u8) -> bool| value.bytes().all(allowed);
            let clean = match name.as_str() {
                "scope" => octets(|octet| matches!(octet, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)),
                "error" | "error_description" => {
                    octets(|octet| matches!(octet, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
                }
                "error_uri" => octets(|octet| matches!(octet, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)),
                _ => octets(|octet| matches!(octet, 0x20..=0x7e)),
            };
            ensure(
                clean,
                format_args!("{name} has only the characters that are allowed"),
                format_args!("{value:?}"),
            )?;
        }
    }
    Ok(())
}

fn every_fault_has_its_status(lab: &Lab) -> Outcome {
    let (client, token) = holder(lab)?;
    let (_, other) = lab.scope();
    let weak = lab.token(client).with("scope", other).send().expect_token()?;
    for api in apis(lab)? {
        let call = |text: &str| lab.call(&api, text, Some(&client.shown));
        call(&token.text).send().expect_status(200)?;
        let form = Body::Form(vec![("access_token".to_owned(), token.text.clone())]);
        let twice = call(&token.text).method("POST").with_body(form).send();
        twice.expect_challenge(400, Some("invalid_request"))?;
        call("nobody-s-token").send().expect_challenge(401, Some("invalid_token"))?;
        call(&weak.text).send().expect_challenge(403, Some("insufficient_scope"))?;
    }
    Ok(())
}

fn without_a_token_there_is_no_error_code(lab: &Lab) -> Outcome {
    let (client, token) = holder(lab)?;
    for api in apis(lab)? {
        lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
        lab.get(&api).certificate(&client.shown).send().expect_challenge(401, None)?;
        lab.get(&api).send().expect_challenge(401, None)?;
    }
    Ok(())
}

fn tokens_are_taken_over_tls_only(lab: &Lab) -> Outcome {
    let (client, token) = holder(lab)?;
    for api in apis(lab)? {
        ensure(api.scheme() == "https", "an https URL", &api)?;
        lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
        let plain = lab.call(&api, &token.text, None).tls(Tls::Plain).send();
        let refused = plain.status().is_none_or(|status| (400..500).contains(&status));
        ensure(refused, "no answer without TLS, or a refusal", plain.seen())?;
    }
    Ok(())
}

/// A client and a token that opens both resource servers.
fn holder(lab: &Lab) -> Result<(&Client, Token), Halt> {
    let client = lab.pki_client()?;
    Ok((client, lab.token(client).with("scope", lab.scope().0).send().expect_token()?))
}

fn apis(lab: &Lab) -> Result<[Url; 2], Halt> {
    Ok([lab.local_api()?, lab.introspecting_api()?])
}

/// What both resource servers answer without a token, to one that is none, and to one that does not allow enough.
fn refusals(lab: &Lab) -> Result<Vec<Answer>, Halt> {
    let (client, token) = holder(lab)?;
    let (_, other) = lab.scope();
    let weak = lab.token(client).with("scope", other).send().expect_token()?;
    let mut answers = Vec::new();
    for api in apis(lab)? {
        lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
        answers.push(lab.get(&api).certificate(&client.shown).send());
        for text in ["nobody-s-token", weak.text.as_str()] {
            answers.push(lab.call(&api, text, Some(&client.shown)).send());
        }
        answers.push(lab.call(&api, &token.text, None).send());
    }
    Ok(answers)
}

/// The parameters of the challenge, names in small letters.
fn challenge(answer: &Answer) -> Result<Vec<(String, String)>, Halt> {
    let lines: Vec<&str> = answer.expect_answer()?.all("www-authenticate").collect();
    let [line] = lines.as_slice() else {
        return fail("one WWW-Authenticate line", format_args!("{lines:?}"));
    };
    let wrong = || fail("Bearer name=\"value\", …", format_args!("WWW-Authenticate: {line}"));
    let Some((scheme, mut rest)) = line.split_once(' ') else { return wrong() };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return wrong();
    }
    let mut parameters = Vec::new();
    while !rest.is_empty() {
        let Some((name, after)) = rest.split_once("=\"") else { return wrong() };
        let Some((value, after)) = quoted(after) else { return wrong() };
        let token = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_' || octet == b'-';
        if name.is_empty() || !name.bytes().all(token) {
            return wrong();
        }
        parameters.push((name.to_ascii_lowercase(), value));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None if rest.is_empty() => {}
            None => return wrong(),
        }
    }
    Ok(parameters)
}

/// The inside of a quoted string whose first quote has been read, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_quoted_string_ends_at_its_quote_and_not_at_an_escaped_one() {
        assert_eq!(quoted("a b\", c"), Some(("a b".to_owned(), ", c")));
        assert_eq!(quoted("a\\\"b\""), Some(("a\"b".to_owned(), "")));
        assert_eq!(quoted("open"), None);
    }
}
