//! Extensions that a server need not have (RFC 7591, 8693, 9396, 9449, SPIFFE): what it does not offer it does not do by
//! half, and what clients would use it for is refused or without effect.

use serde_json::json;

use crate::check::{Outcome, ensure, ensure_equal, not_applicable};
use crate::checks;
use crate::lab::{Document, Lab, Submission};
use crate::pki::Leaf;

checks! {
    keys_come_from_one_place => ["RFC7591-2-b"],
    keys_are_registered_as_a_set => ["RFC7591-2-c"],
    no_client_is_registered_for_what_it_cannot_do => ["RFC7591-2.1-a"],
    a_token_is_exchanged_only_where_that_is_offered => ["RFC8693-2.1-a"],
    details_are_granted_only_where_that_is_offered => ["RFC9396-10-a"],
    a_token_is_of_the_type_that_is_offered => ["RFC9449-5.1-a"],
    a_method_of_spiffe_is_registered_only_where_it_is_offered => ["SPIFFE-4-a"],
}

fn keys_come_from_one_place(lab: &Lab) -> Outcome {
    let shown = Leaf::new(&lab.unique()).self_signed()?;
    let document = Document::self_signed(&[&shown])?;
    lab.accepted(&document)?;
    lab.expect_metadata_refused(&document.with("jwks_uri", "https://keys.suite.example/jwks.json"))
}

fn keys_are_registered_as_a_set(lab: &Lab) -> Outcome {
    let shown = Leaf::new(&lab.unique()).self_signed()?;
    let set = json!({"keys": [shown.jwk()?]});
    lab.accepted(&Document::keys(&set))?;
    for wrong in [json!(set.to_string()), json!([shown.jwk()?]), json!(7), json!({"keys": shown.jwk()?})] {
        lab.expect_metadata_refused(&Document::keys(&wrong))?;
    }
    Ok(())
}

fn no_client_is_registered_for_what_it_cannot_do(lab: &Lab) -> Outcome {
    let document = Document::pki("san_dns", &format!("{}.suite.example", lab.unique()));
    lab.accepted(&document)?;
    match lab.submit(&document.with("response_types", json!(["code"])))? {
        Submission::Refused { error, said } => {
            ensure(error == "invalid_client_metadata", "invalid_client_metadata", said)
        }
        Submission::Accepted { answer, .. } => {
            let kept = answer.get("response_types") == Some(&json!(["code"]));
            ensure(!kept, "no response type without its grant", answer)
        }
    }
}

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

fn a_token_is_exchanged_only_where_that_is_offered(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let token = lab.good_token(client)?;
    let request = lab.token(client).set("grant_type", EXCHANGE);
    if lab.offers("grant_types_supported", EXCHANGE)? {
        return request.send().expect_error_of(400, &["invalid_request", "unauthorized_client"]);
    }
    let kind = "urn:ietf:params:oauth:token-type:access_token";
    let request = request.with("subject_token", &token.text).with("subject_token_type", kind);
    request.send().expect_error(400, "unsupported_grant_type")
}

fn details_are_granted_only_where_that_is_offered(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    if lab.metadata()?.get("authorization_details_types_supported").is_some() {
        return not_applicable("the server has authorization_details, which the suite does not ask for");
    }
    let details = json!([{"type": "suite", "actions": ["everything"]}]).to_string();
    let answer = lab.token(client).with("authorization_details", &details).send();
    if answer.status() != Some(200) {
        return answer.expect_error_of(400, &["invalid_request", "invalid_authorization_details"]);
    }
    let token = answer.expect_token()?;
    let told = lab.introspection(&token.text)?;
    for whole in [Some(token.answer.clone()), token.claims().ok(), Some(told)].into_iter().flatten() {
        let granted = whole.get("authorization_details").is_some();
        ensure(!granted, "no details that nobody has looked at", whole)?;
    }
    Ok(())
}

fn a_token_is_of_the_type_that_is_offered(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let list = lab.metadata()?.get("dpop_signing_alg_values_supported");
    if let Some(list) = list {
        let symmetric = |alg: &serde_json::Value| {
            alg.as_str().is_none_or(|alg| alg.eq_ignore_ascii_case("none") || alg.starts_with("HS"))
        };
        let good = list.as_array().is_some_and(|list| !list.is_empty() && !list.iter().any(symmetric));
        return ensure(good, "asymmetric algorithms", list);
    }
    let answer = lab.token(client).header("DPoP", "a.b.c").send();
    if answer.status() != Some(200) {
        return answer.expect_error_of(400, &["invalid_request", "invalid_dpop_proof"]);
    }
    let token = answer.expect_token()?;
    let kind = token.answer.get("token_type").and_then(|kind| kind.as_str()).unwrap_or_default();
    ensure_equal("token_type", &"bearer", &kind.to_ascii_lowercase().as_str())?;
    let confirmation = lab.confirmation(&token)?;
    ensure(confirmation.get("jkt").is_none(), "no jkt without proofs", confirmation)
}

fn a_method_of_spiffe_is_registered_only_where_it_is_offered(lab: &Lab) -> Outcome {
    let document = Document::pki("san_uri", &format!("spiffe://suite.example/{}", lab.unique()));
    lab.accepted(&document)?;
    for method in ["spiffe_jwt", "spiffe_x509", "spiffe_wit"] {
        if !lab.offers("token_endpoint_auth_methods_supported", method)? {
            let id = format!("spiffe://suite.example/{}", lab.unique());
            lab.expect_metadata_refused(&Document::of(method).with("spiffe_id", id))?;
        }
    }
    Ok(())
}
