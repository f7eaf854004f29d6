//! RFC 8705 §3 and §6: what a resource server does with a bound token; and certificates that come through a proxy.

use serde_json::json;

use crate::check::{Outcome, ensure_equal};
use crate::checks;
use crate::lab::{Document, Lab, client_cert};
use crate::pki::Leaf;

checks! {
    the_same_certificate_opens_the_resource => ["RFC8705-3-c"],
    another_certificate_is_invalid_token => [
        "RFC8705-3-d", "RFC8705-3-e", "RFC9701-8.1-b", "RFC9700-4.9.3-a", "FAPI2SP-5.3.4-e",
    ],
    no_certificate_is_invalid_token => ["RFC8705-3-f"],
    an_introspecting_resource_server_compares_the_hash => ["RFC8705-3.2-b"],
    a_resource_server_needs_no_trust_in_the_chain => ["RFC8705-6.2-a"],
    a_certificate_may_come_through_a_proxy => ["RFC8705-6.5-a"],
    a_changed_certificate_needs_a_new_token => ["RFC8705-6.3-a"],
}

fn the_same_certificate_opens_the_resource(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    for api in [lab.local_api()?, lab.introspecting_api()?] {
        lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
    }
    Ok(())
}

fn another_certificate_is_invalid_token(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    let token = lab.good_token(client)?;
    let api = lab.local_api()?;
    lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
    lab.call(&api, &token.text, Some(&other.shown)).send().expect_challenge(401, Some("invalid_token"))
}

fn no_certificate_is_invalid_token(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    for api in [lab.local_api()?, lab.introspecting_api()?] {
        lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
        lab.call(&api, &token.text, None).send().expect_challenge(401, Some("invalid_token"))?;
    }
    Ok(())
}

fn an_introspecting_resource_server_compares_the_hash(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    let token = lab.good_token(client)?;
    let api = lab.introspecting_api()?;
    lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
    lab.call(&api, &token.text, Some(&other.shown)).send().expect_challenge(401, Some("invalid_token"))
}

fn a_resource_server_needs_no_trust_in_the_chain(lab: &Lab) -> Outcome {
    let client = lab.self_signed_client()?;
    let token = lab.good_token(client)?;
    for api in [lab.local_api()?, lab.introspecting_api()?] {
        lab.call(&api, &token.text, Some(&client.shown)).send().expect_status(200)?;
    }
    Ok(())
}

fn a_certificate_may_come_through_a_proxy(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let request = lab.forwarded_token(client)?.header("Client-Cert", &client_cert(&client.shown));
    let token = request.send().expect_token()?;
    let confirmation = lab.confirmation(&token)?;
    ensure_equal("cnf", &json!({"x5t#S256": client.shown.thumbprint()}), &confirmation)
}

fn a_changed_certificate_needs_a_new_token(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let [first, second] =
        [lab.issue(&Leaf::new("first").dns(&host))?, lab.issue(&Leaf::new("second").dns(&host))?];
    let client = lab.register(&Document::pki("san_dns", &host), &first)?;
    let old = lab.good_token(&client)?;
    let new = lab.token(&client).certificate(&second).send().expect_token()?;
    for api in [lab.local_api()?, lab.introspecting_api()?] {
        lab.call(&api, &old.text, Some(&second)).send().expect_challenge(401, Some("invalid_token"))?;
        lab.call(&api, &new.text, Some(&second)).send().expect_status(200)?;
    }
    Ok(())
}
