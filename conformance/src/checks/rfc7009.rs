//! RFC 7009: revocation.

use std::time::Duration;

use serde_json::{Value, json};

use crate::check::{Outcome, ensure, ensure_equal, not_applicable};
use crate::checks;
use crate::jose::sign;
use crate::lab::{Body, Lab, altered};
use crate::pki::Key;
use crate::wire::Tls;

checks! {
    a_token_can_be_revoked => ["RFC7009-2-b"],
    the_revocation_endpoint_has_no_fragment => ["RFC7009-2-c"],
    revocation_is_https_only => ["RFC7009-2-d"],
    revocation_is_where_plain_http_is => ["RFC7009-2-e"],
    no_revocation_endpoint_is_published_as_http => ["RFC7009-2-f"],
    revocation_needs_a_token_in_a_form => ["RFC7009-2.1-a"],
    a_wrong_hint_does_not_save_a_token => ["RFC7009-2.1-b"],
    a_hint_may_be_anything => ["RFC7009-2.1-c"],
    revocation_begins_with_the_client => ["RFC7009-2.1-d"],
    the_token_of_another_stays => ["RFC7009-2.1-e", "RFC7009-5-c"],
    revocation_holds_from_the_answer_on => ["RFC7009-2.1-f"],
    a_revoked_token_opens_nothing => ["RFC7009-2.1-f", "FAPI2SP-5.3.4-c"],
    an_invalid_token_is_revoked_already => ["RFC7009-2.2-a"],
    an_unknown_hint_gets_the_same_answer => ["RFC7009-2.2-b"],
    errors_of_revocation_are_those_of_oauth => ["RFC7009-2.2.1-a"],
    a_200_of_revocation_is_never_empty_talk => ["RFC7009-2.2.1-b"],
    revocation_runs_no_script => ["RFC7009-2.3-a"],
    a_flood_of_revocations_is_endured (alone) => ["RFC7009-5-a"],
    a_wrong_hint_costs_little (alone) => ["RFC7009-5-b"],
}

fn a_token_can_be_revoked(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    ensure(lab.is_active(&token.text)?, "a fresh token is active", "it is not")?;
    lab.revoke(client, &token.text).send().expect_status(200)?;
    ensure(!lab.is_active(&token.text)?, "a revoked token is inactive", "it is active")
}

fn the_revocation_endpoint_has_no_fragment(lab: &Lab) -> Outcome {
    for url in lab.urls("revocation_endpoint")? {
        ensure(!url.as_str().contains('#'), "a URL without fragment", &url)?;
    }
    Ok(())
}

fn revocation_is_https_only(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    for tls in [Tls::Only12, Tls::Modern] {
        let token = lab.good_token(client)?;
        lab.revoke(client, &token.text).tls(tls).send().expect_status(200)?;
    }
    lab.expect_https_only("revocation_endpoint")
}

fn revocation_is_where_plain_http_is(lab: &Lab) -> Outcome {
    let url = lab.endpoint("revocation_endpoint")?;
    let plain = lab.get(&url).tls(Tls::Plain).send();
    match plain.status() {
        Some(404) => ensure(false, "where plain HTTP is answered, so is revocation", plain.seen()),
        Some(status) if status < 400 => Ok(()),
        _ => not_applicable("the host answers no plain HTTP where its endpoints are"),
    }
}

fn no_revocation_endpoint_is_published_as_http(lab: &Lab) -> Outcome {
    let metadata = lab.metadata()?;
    let aliases = metadata.get("mtls_endpoint_aliases");
    let published = [Some(metadata), aliases].into_iter().flatten();
    let published: Vec<_> = published.filter_map(|of| of.get("revocation_endpoint")?.as_str()).collect();
    if published.is_empty() {
        return not_applicable("the metadata have no revocation_endpoint");
    }
    let https = |url: &&str| url.to_ascii_lowercase().starts_with("https://");
    ensure(published.iter().all(https), "https URLs", published.join(", "))
}

fn revocation_needs_a_token_in_a_form(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    let request = lab.revoke(client, &token.text);
    for wrong in [request.clone().without("token"), request.clone().set("token", "")] {
        wrong.send().expect_refused()?;
    }
    let body = json!({"client_id": client.id, "token": token.text}).to_string();
    let octets = request.clone().with_body(Body::Octets(body.into_bytes()));
    octets.header("Content-Type", "application/json").send().expect_form_wanted()?;
    let mut url = lab.endpoint("revocation_endpoint")?;
    url.set_query(Some(&request.form_text()));
    lab.get(&url).certificate(&client.shown).send().expect_only_post()?;
    ensure(lab.is_active(&token.text)?, "a refused request revokes nothing", "the token is inactive")?;
    request.send().expect_status(200)?;
    ensure(!lab.is_active(&token.text)?, "the right request revokes", "the token is active")
}

fn a_wrong_hint_does_not_save_a_token(lab: &Lab) -> Outcome {
    revoked_with_hint(lab, "refresh_token")
}

fn a_hint_may_be_anything(lab: &Lab) -> Outcome {
    revoked_with_hint(lab, "xyz")
}

fn revoked_with_hint(lab: &Lab, hint: &str) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    ensure(lab.is_active(&token.text)?, "a fresh token is active", "it is not")?;
    lab.revoke(client, &token.text).with("token_type_hint", hint).send().expect_status(200)?;
    ensure(!lab.is_active(&token.text)?, "a revoked token is inactive", "it is active")
}

fn revocation_begins_with_the_client(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    let token = lab.good_token(client)?;
    lab.revoke(client, &token.text).certificate(&other.shown).send().expect_refused()?;
    lab.revoke(client, &token.text).no_certificate().send().expect_refused()?;
    // Before the token is looked at: a missing one is not what is wrong.
    let neither = lab.revoke(client, "").certificate(&other.shown).without("token").send();
    neither.expect_refused()?;
    ensure(lab.is_active(&token.text)?, "the token is still active", "it is not")?;
    lab.revoke(client, &token.text).send().expect_status(200)?;
    Ok(())
}

fn the_token_of_another_stays(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    let (token, own) = (lab.good_token(client)?, lab.good_token(other)?);
    let refused = lab.revoke(other, &token.text).send();
    refused.expect_refused()?;
    ensure(lab.is_active(&token.text)?, "the token of the other client is still active", "it is not")?;
    lab.revoke(other, &own.text).send().expect_status(200)?;
    ensure(!lab.is_active(&own.text)?, "the client's own token is inactive", "it is active")
}

fn revocation_holds_from_the_answer_on(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    for _ in 0..5 {
        let token = lab.good_token(client)?;
        ensure(lab.is_active(&token.text)?, "a fresh token is active", "it is not")?;
        lab.revoke(client, &token.text).send().expect_status(200)?;
        ensure(!lab.is_active(&token.text)?, "the token is inactive at once", "it is active")?;
    }
    Ok(())
}

fn a_revoked_token_opens_nothing(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let api = lab.introspecting_api()?;
    let token = lab.good_token(client)?;
    let call = lab.call(&api, &token.text, Some(&client.shown));
    call.clone().send().expect_status(200)?;
    lab.revoke(client, &token.text).send().expect_status(200)?;
    call.send().expect_challenge(401, Some("invalid_token"))
}

fn an_invalid_token_is_revoked_already(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    for _ in 0..2 {
        lab.revoke(client, &token.text).send().expect_status(200)?;
    }
    lab.revoke(client, "no-token-of-anybody").send().expect_status(200)?;
    let claims = token.claims().unwrap_or_else(|_| json!({"sub": client.id}));
    let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": "another"});
    let mut foreign = claims;
    if let Some(members) = foreign.as_object_mut() {
        members.insert("iss".to_owned(), json!("https://another.suite.example"));
    }
    lab.revoke(client, &sign(&header, &foreign, &Key::p256()?)?).send().expect_status(200)?;
    // One that is over can only be made with the key of the server.
    let over = lab.forged(&token, |_, claims| {
        for name in ["iat", "exp"] {
            if let Some(Value::Number(at)) = claims.get(name).cloned()
                && let Some(members) = claims.as_object_mut()
            {
                members.insert(name.to_owned(), json!(at.as_i64().unwrap_or_default().saturating_sub(7200)));
            }
        }
    });
    if let Ok(over) = over {
        lab.revoke(client, &over).send().expect_status(200)?;
    }
    Ok(())
}

fn an_unknown_hint_gets_the_same_answer(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    for known in [true, false] {
        let mut answers = Vec::new();
        for hint in [None, Some("bogus")] {
            let token = if known { lab.good_token(client)?.text } else { "no-token-of-anybody".to_owned() };
            let request = lab.revoke(client, &token);
            let request = match hint {
                Some(hint) => request.with("token_type_hint", hint),
                None => request,
            };
            let answer = request.send();
            answers.push((answer.expect_status(200)?.status, answer.expect_answer()?.body.clone()));
        }
        ensure_equal("the answer", &answers.first(), &answers.last())?;
    }
    Ok(())
}

fn errors_of_revocation_are_those_of_oauth(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    let request = lab.revoke(client, &token.text);
    for (wrong, code) in [
        (request.clone().no_certificate(), "invalid_client"),
        (request.clone().set("client_id", &lab.unique()), "invalid_client"),
        (request.clone().without("token"), "invalid_request"),
    ] {
        wrong.send().expect_error(400, code)?;
    }
    request.send().expect_status(200)?;
    Ok(())
}

fn a_200_of_revocation_is_never_empty_talk(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    let answer = lab.revoke(client, &token.text).with("token_type_hint", "access_token").send();
    if answer.status() == Some(200) {
        return ensure(!lab.is_active(&token.text)?, "after a 200 the token is inactive", "it is active");
    }
    answer.expect_error(400, "unsupported_token_type")
}

fn revocation_runs_no_script(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    let request = lab.revoke(client, &token.text).with("callback", "suite_callback");
    let mut url = lab.endpoint("revocation_endpoint")?;
    url.set_query(Some(&request.form_text()));
    let answer = lab.get(&url).certificate(&client.shown).header("Origin", "https://suite.example").send();
    answer.expect_only_post()?;
    let body = String::from_utf8_lossy(&answer.expect_answer()?.body).into_owned();
    ensure(!body.contains("suite_callback"), "no script in the answer", answer.seen())?;
    ensure(lab.is_active(&token.text)?, "a GET revokes nothing", "the token is inactive")
}

fn a_flood_of_revocations_is_endured(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    let guess = |number: usize| lab.revoke(client, &format!("{}{number}", altered(&token.text).concat()));
    let requests: Vec<_> = (0..300).map(guess).collect();
    for (answer, _) in lab.in_a_row(&requests) {
        let status = answer.expect_answer()?.status;
        ensure(status == 200 || status == 429, "200, or 429 if there are too many", answer.seen())?;
    }
    let unseen = lab.unseen();
    lab.eventually(Duration::from_secs(5), || unseen.token(client).send().status() == Some(200));
    lab.good_token(client)?;
    Ok(())
}

fn a_wrong_hint_costs_little(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let request = lab.revoke(client, "no-token-of-anybody");
    // In turn, so that whatever else the machine does meets both.
    let hints = ["access_token", "refresh_token", "bogus"];
    let requests: Vec<_> =
        (0..120).flat_map(|_| hints).map(|hint| request.clone().with("token_type_hint", hint)).collect();
    let answers = lab.in_a_row(&requests);
    let mut times = Vec::new();
    for at in 0..hints.len() {
        let mut taken = Vec::new();
        for (answer, time) in answers.iter().skip(at).step_by(hints.len()) {
            answer.expect_status(200)?;
            taken.push(*time);
        }
        taken.sort();
        times.push(taken.get(taken.len() / 2).copied().unwrap_or_default());
    }
    let right = times.first().copied().unwrap_or_default();
    let worst = times.iter().max().copied().unwrap_or_default();
    // The last term is for what a network does.
    let at_most = right.saturating_mul(2).saturating_add(Duration::from_millis(2));
    ensure(
        worst <= at_most,
        format_args!("at most {at_most:?} (median)"),
        format_args!("{times:?} for {hints:?}"),
    )
}
