//! RFC 9700: what experience has taught. Much of it is tested with the specification that it is about.

use std::fs;

use serde_json::{Value, json};

use crate::check::{Outcome, ensure, ensure_equal, untestable};
use crate::checks;
use crate::lab::Lab;

checks! {
    nobody_is_sent_where_a_request_says => ["RFC9700-2.1-a", "FAPI2SP-5.3.2.1-g"],
    a_token_has_no_more_scope_than_was_asked_for => ["RFC9700-2.3-a", "RFC9700-2.3-d", "FAPI2SP-5.3.2.1-m"],
    there_is_no_password_grant => ["RFC9700-2.4-a", "FAPI2SP-5.3.2.1-b"],
    no_shared_secret_is_offered => ["RFC9700-2.5-b", "FAPI2SP-5.3.2.1-f"],
    a_request_does_not_say_who_the_token_is_about => ["RFC9700-2.6-b", "RFC9700-4.15-a"],
    pages_of_others_cannot_use_credentials => ["RFC9700-2.6-d"],
    resource_servers_write_down_no_tokens => ["RFC9700-4.9.3-b"],
}

const ELSEWHERE: &str = "https://elsewhere.example/";

fn nobody_is_sent_where_a_request_says(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let names = ["redirect_uri", "post_logout_redirect_uri", "next", "url", "return_to", "target_link_uri"];
    for endpoint in ["token_endpoint", "introspection_endpoint", "revocation_endpoint", "jwks_uri"] {
        for mut url in lab.urls(endpoint)? {
            let plain = url.clone();
            url.query_pairs_mut().extend_pairs(names.map(|name| (name, ELSEWHERE)));
            let post = lab.post(&plain).certificate(&client.shown).with("client_id", &client.id);
            let post = names.iter().fold(post, |post, name| post.with(name, ELSEWHERE));
            for request in [lab.get(&url), lab.post(&url), post] {
                let answer = request.send();
                let status = answer.expect_answer()?.status;
                ensure(!(300..400).contains(&status), "no redirection", answer.seen())?;
                let location = answer.header("location").unwrap_or_default();
                ensure(!location.contains("elsewhere"), "no Location out of the request", location)?;
            }
        }
    }
    Ok(())
}

fn a_token_has_no_more_scope_than_was_asked_for(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let (first, second) = lab.scope();
    for asked in [first, second] {
        let token = lab.token(client).set("scope", asked).send().expect_token()?;
        let granted = lab.granted(&token)?;
        ensure(granted.iter().eq([asked]), format_args!("the scope {asked:?}"), format_args!("{granted:?}"))?;
    }
    Ok(())
}

fn there_is_no_password_grant(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let request = lab.token(client).set("grant_type", "password");
    let request = request.with("username", "somebody").with("password", "secret");
    request.send().expect_error(400, "unsupported_grant_type")?;
    let listed = lab.offers("grant_types_supported", "password")?;
    ensure(!listed, "no password in grant_types_supported", lab.metadata()?)
}

fn no_shared_secret_is_offered(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    // Without the member, client_secret_basic would be the default (RFC 8414 §2).
    let list = lab.metadata()?.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
    let asymmetric = |method: &Value| {
        let text = method.as_str().unwrap_or_default();
        !text.starts_with("client_secret_") && text != "none"
    };
    let all = list.is_some_and(|list| !list.is_empty() && list.iter().all(asymmetric));
    ensure(all, "methods without shared secrets, and nothing else", lab.metadata()?)?;
    let bare = lab.token(client).no_certificate();
    bare.clone().with("client_secret", "secret").send().expect_refused()?;
    // "client:secret"
    bare.header("Authorization", "Basic Y2xpZW50OnNlY3JldA==").send().expect_refused()
}

fn a_request_does_not_say_who_the_token_is_about(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    let request = lab.token(client);
    let names = ["sub", "subject", "username", "azp", "iss"];
    let answer = names.iter().fold(request, |request, name| request.with(name, &other.id)).send();
    if answer.status() != Some(200) {
        return answer.expect_error(400, "invalid_request");
    }
    let token = answer.expect_token()?;
    let told = lab.introspection(&token.text)?;
    for whole in [token.claims().ok(), Some(told)].into_iter().flatten() {
        if let Some(sub) = whole.get("sub") {
            ensure_equal("sub", &json!(client.id), sub)?;
        }
        ensure_equal("client_id", &Some(&json!(client.id)), &whole.get("client_id"))?;
    }
    Ok(())
}

fn pages_of_others_cannot_use_credentials(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let with_origin = lab.token(client).header("Origin", "https://elsewhere.example");
    let answer = with_origin.clone().send();
    answer.expect_token()?;
    let preflight = with_origin.method("OPTIONS").header("Access-Control-Request-Method", "POST").send();
    for answer in [answer, preflight] {
        answer.expect_answer()?;
        let credentials = answer.header("access-control-allow-credentials").unwrap_or_default();
        let origin = answer.header("access-control-allow-origin");
        let open = origin.is_some() && credentials.eq_ignore_ascii_case("true");
        ensure(!open, "no page of another origin may show the client's certificate", answer.seen())?;
    }
    Ok(())
}

fn resource_servers_write_down_no_tokens(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    let mut apis = vec![lab.local_api()?, lab.introspecting_api()?];
    for api in &mut apis {
        lab.call(api, &token.text, Some(&client.shown)).send().expect_status(200)?;
        lab.call(api, &token.text, None).send().expect_answer()?;
        api.query_pairs_mut().append_pair("access_token", &token.text);
        lab.get(api).certificate(&client.shown).send().expect_answer()?;
    }
    // They log where the server does, if the suite has started both.
    let beside = lab.target().config.log.as_deref().and_then(|log| log.parent());
    let logs = ["api-local.log", "api-introspecting.log"].map(|name| beside.map(|beside| beside.join(name)));
    for log in logs {
        let Some(Ok(text)) = log.map(fs::read) else {
            return untestable("the suite does not know where the demo resource servers log");
        };
        let signature = token.text.rsplit('.').next().unwrap_or(&token.text);
        let kept = String::from_utf8_lossy(&text).contains(signature);
        ensure(!kept, "no token in the log", "the token is in it")?;
    }
    Ok(())
}
