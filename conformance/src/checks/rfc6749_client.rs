//! RFC 6749 §2, §3.2.1, §4.4 and §10: who the client is, by what it says so, and what it is registered for.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use crate::check::{Halt, Outcome, ensure, not_applicable, untestable};
use crate::checks;
use crate::lab::{Client, Document, Lab, Request, Submission};
use crate::pki::Leaf;

/// How long a second client may take to get in where one of its name is there already; it never should.
const SETTLED: Duration = Duration::from_secs(5);

checks! {
    a_client_id_alone_proves_nothing => ["RFC6749-2.2-a"],
    client_identifiers_are_unique (slow) => ["RFC6749-2.2-b", "RFC7591-3.2.1-b"],
    the_methods_of_the_metadata_are_those_that_work => ["RFC6749-2.3-a"],
    two_ways_to_authenticate_are_one_too_many => ["RFC6749-2.3-b"],
    public_clients_get_nothing => ["RFC6749-2.3-c", "RFC6749-4.4-a", "RFC9700-2.5-a", "FAPI2SP-5.3.2.1-c"],
    passwords_are_taken_or_refused_by_basic => ["RFC6749-2.3.1-a"],
    a_password_is_decoded_before_it_is_compared => ["RFC6749-2.3.1-b"],
    credentials_in_the_uri_do_not_count => ["RFC6749-2.3.1-c"],
    guessing_a_password_is_slowed_down (alone) => ["RFC6749-2.3.1-d"],
    the_registered_credential_decides_who_gets_in (slow) => ["RFC6749-2.3.2-a"],
    a_client_that_nobody_knows_is_refused => ["RFC6749-3.2.1-a"],
    a_client_id_that_the_certificate_contradicts_is_refused => ["RFC6749-3.2.1-b"],
    no_token_without_authentication => ["RFC6749-4.4.2-b", "RFC9700-2.5-a"],
    a_disabled_client_gets_nothing (slow) => ["RFC6749-4.4.2-b"],
    no_endpoint_serves_a_client_without_its_certificate => ["RFC6749-10.2-a"],
    a_scope_is_for_those_registered_for_it => ["RFC6749-10.3-c"],
    the_token_endpoint_proves_who_it_is => ["RFC6749-10.9-a"],
}

fn a_client_id_alone_proves_nothing(lab: &Lab) -> Outcome {
    for client in [lab.pki_client()?, lab.self_signed_client()?] {
        lab.good_token(client)?;
        for url in lab.urls("token_endpoint")? {
            lab.token(client).at(&url).no_certificate().send().expect_refused()?;
        }
    }
    Ok(())
}

fn client_identifiers_are_unique(lab: &Lab) -> Outcome {
    let hosts = [lab.unique(), lab.unique()].map(|name| format!("{name}.suite.example"));
    let [host, other_host] = &hosts;
    let shown = lab.issue(&Leaf::new("first").dns(host))?;
    let other = lab.issue(&Leaf::new("second").dns(other_host))?;
    let first = lab.register(&Document::pki("san_dns", host), &shown)?;
    lab.good_token(&first)?;
    let same = Document::pki("san_dns", other_host).with("client_id", first.id.as_str());
    match lab.submit(&same)? {
        Submission::Refused { .. } => return Ok(()),
        Submission::Accepted { client_id, .. } if client_id != first.id => return Ok(()),
        Submission::Accepted { .. } => {}
    }
    // A registrar that takes whatever it is given leaves the refusal to the server.
    let unseen = lab.unseen();
    lab.eventually(SETTLED, || unseen.token(&first).certificate(&other).send().status() == Some(200));
    lab.token(&first).certificate(&other).send().expect_refused()?;
    lab.good_token(&first)?;
    Ok(())
}

fn the_methods_of_the_metadata_are_those_that_work(lab: &Lab) -> Outcome {
    for (method, client) in
        [("tls_client_auth", lab.pki_client()), ("self_signed_tls_client_auth", lab.self_signed_client())]
    {
        let offered = lab.offers("token_endpoint_auth_methods_supported", method)?;
        // Nobody can be registered for a method that the server does not have.
        let Ok(client) = client else {
            ensure(!offered, format_args!("a client can use {method}"), "none could be registered")?;
            continue;
        };
        let answer = lab.token(client).send();
        let works = answer.status() == Some(200);
        let (expected, seen) = (said(offered), said(works));
        ensure(
            works == offered,
            format_args!("{method} {expected}, as the metadata say"),
            format_args!("it {seen}: {}", answer.seen()),
        )?;
    }
    Ok(())
}

const fn said(works: bool) -> &'static str {
    if works { "works" } else { "does not work" }
}

fn two_ways_to_authenticate_are_one_too_many(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let assertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    for two in [
        lab.token(client).with("client_secret", "secret"),
        lab.token(client).with("client_assertion_type", assertion).with("client_assertion", "e30.e30.AAAA"),
    ] {
        two.send().expect_refused()?;
    }
    Ok(())
}

fn public_clients_get_nothing(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    match lab.submit(&Document::of("none"))? {
        Submission::Refused { .. } => Ok(()),
        Submission::Accepted { client_id, .. } => {
            let public = Client { id: client_id, shown: client.shown.clone() };
            lab.settle(&public);
            for request in [lab.token(&public), lab.token(&public).no_certificate()] {
                request.send().expect_refused()?;
            }
            Ok(())
        }
    }
}

fn passwords_are_taken_or_refused_by_basic(lab: &Lab) -> Outcome {
    if lab.offers("token_endpoint_auth_methods_supported", "client_secret_basic")? {
        let (client, secret) = password_client(lab)?;
        by_basic(lab, &client, &encoded(&client.id), &encoded(&secret)).send().expect_token()?;
        return Ok(());
    }
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let answer = by_basic(lab, client, &client.id, "secret").send();
    answer.expect_error(401, "invalid_client")?;
    let challenge = answer.header("www-authenticate").unwrap_or("none");
    ensure(challenge.to_ascii_lowercase().starts_with("basic"), "WWW-Authenticate: Basic …", challenge)
}

fn a_password_is_decoded_before_it_is_compared(lab: &Lab) -> Outcome {
    let (client, secret) = password_client(lab)?;
    let percent = |text: &str| text.bytes().map(|octet| format!("%{octet:02X}")).collect::<Vec<_>>().concat();
    by_basic(lab, &client, &percent(&client.id), &percent(&secret)).send().expect_token()?;
    by_basic(lab, &client, &percent(&client.id), &percent("another")).send().expect_refused()
}

fn credentials_in_the_uri_do_not_count(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let mut url = lab.endpoint("token_endpoint")?;
    url.query_pairs_mut().append_pair("client_id", &client.id).append_pair("client_secret", "secret");
    let without = lab.token(client).without("client_id").at(&url);
    without.clone().send().expect_refused()?;
    without.no_certificate().send().expect_refused()
}

fn guessing_a_password_is_slowed_down(lab: &Lab) -> Outcome {
    let (client, secret) = password_client(lab)?;
    let (id, secret) = (encoded(&client.id), encoded(&secret));
    by_basic(lab, &client, &id, &secret).send().expect_token()?;
    let guesses: Vec<_> = (0..200).map(|guess| by_basic(lab, &client, &id, &guess.to_string())).collect();
    let answers = lab.in_a_row(&guesses);
    let limited = answers.iter().any(|(answer, _)| answer.status() == Some(429));
    let median = |answers: &[(crate::lab::Answer, Duration)]| {
        let mut taken: Vec<_> = answers.iter().map(|(_, time)| *time).collect();
        taken.sort();
        taken.get(taken.len() / 2).copied().unwrap_or_default()
    };
    let (early, late) = answers.split_at(answers.len() / 2);
    let slower = median(late) > median(early).saturating_mul(3);
    let seen = format!("{:?} at first, {:?} later, and no 429", median(early), median(late));
    ensure(limited || slower, "wrong passwords are slowed down, or answered with 429", seen)
}

fn the_registered_credential_decides_who_gets_in(lab: &Lab) -> Outcome {
    let shown = Leaf::new("another").self_signed()?;
    let another = lab.register(&Document::self_signed(&[&shown])?, &shown)?;
    for [one, two] in [[lab.pki_client()?, lab.other_client()?], [lab.self_signed_client()?, &another]] {
        lab.good_token(one)?;
        lab.good_token(two)?;
        lab.token(one).certificate(&two.shown).send().expect_refused()?;
        lab.token(two).certificate(&one.shown).send().expect_refused()?;
    }
    Ok(())
}

fn a_client_that_nobody_knows_is_refused(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    lab.token(client).no_certificate().send().expect_refused()?;
    lab.token(client).set("client_id", &lab.unique()).send().expect_refused()
}

fn a_client_id_that_the_certificate_contradicts_is_refused(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    lab.good_token(client)?;
    let answer = lab.token(client).set("client_id", &other.id).send();
    answer.expect_refused()
}

fn no_token_without_authentication(lab: &Lab) -> Outcome {
    for client in [lab.pki_client()?, lab.self_signed_client()?] {
        lab.good_token(client)?;
        lab.token(client).no_certificate().send().expect_refused()?;
        let stranger = Leaf::new(&lab.unique()).self_signed()?;
        lab.token(client).certificate(&stranger).send().expect_refused()?;
    }
    Ok(())
}

fn a_disabled_client_gets_nothing(lab: &Lab) -> Outcome {
    let hosts = [lab.unique(), lab.unique()].map(|name| format!("{name}.suite.example"));
    let [host, enabled_host] = &hosts;
    let shown = lab.issue(&Leaf::new("disabled").dns(host))?;
    let Submission::Accepted { client_id, .. } =
        lab.accepted(&lab.disabled(Document::pki("san_dns", host))?)?
    else {
        return untestable("the registration came to nothing");
    };
    // Registered after it, and in: so the server knows the first as well.
    let enabled_shown = lab.issue(&Leaf::new("enabled").dns(enabled_host))?;
    lab.good_token(&lab.register(&Document::pki("san_dns", enabled_host), &enabled_shown)?)?;
    lab.token(&Client { id: client_id, shown }).send().expect_refused()
}

fn no_endpoint_serves_a_client_without_its_certificate(lab: &Lab) -> Outcome {
    let (client, server) = (lab.pki_client()?, lab.resource_server()?);
    let token = lab.good_token(client)?;
    lab.token(client).no_certificate().send().expect_refused()?;
    lab.introspect(server, &token.text).no_certificate().send().expect_refused()?;
    lab.revoke(client, &token.text).no_certificate().send().expect_refused()?;
    ensure(lab.is_active(&token.text)?, "the token is still active", "it is not")?;
    lab.revoke(client, &token.text).send().expect_status(200)?;
    Ok(())
}

fn a_scope_is_for_those_registered_for_it(lab: &Lab) -> Outcome {
    let (_, second) = lab.scope();
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    lab.good_token(other)?;
    let token = lab.token(client).with("scope", second).send().expect_token()?;
    ensure(lab.granted(&token)?.contains(second), "the scope that was asked for", "another")?;
    let answer = lab.token(other).with("scope", second).send();
    if answer.status() != Some(200) {
        return answer.expect_refused();
    }
    let granted = lab.granted(&answer.expect_token()?)?;
    ensure(!granted.contains(second), format_args!("nothing of {second:?}"), format_args!("{granted:?}"))
}

fn the_token_endpoint_proves_who_it_is(lab: &Lab) -> Outcome {
    // A connection is only made if the server's certificate is by its CA and for its name.
    for url in lab.urls("token_endpoint")? {
        lab.token(lab.pki_client()?).at(&url).send().expect_answer()?;
    }
    lab.expect_https_only("token_endpoint")
}

/// A client with a password, if the server has such clients.
fn password_client(lab: &Lab) -> Result<(Client, String), Halt> {
    if !lab.offers("token_endpoint_auth_methods_supported", "client_secret_basic")? {
        return not_applicable("the server has no clients with passwords (client_secret_basic)");
    }
    let Submission::Accepted { client_id, answer } = lab.accepted(&Document::of("client_secret_basic"))?
    else {
        return untestable("the registration came to nothing");
    };
    match answer.get("client_secret").and_then(Value::as_str) {
        Some(secret) => {
            let shown = lab.pki_client()?.shown.clone();
            Ok((Client { id: client_id, shown }, secret.to_owned()))
        }
        None => untestable("registration gives no password"),
    }
}

/// A token request by this identifier and password, encoded already, without a certificate.
fn by_basic<'lab>(lab: &'lab Lab, client: &Client, id: &str, secret: &str) -> Request<'lab> {
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    lab.token(client).no_certificate().header("Authorization", &basic)
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}
