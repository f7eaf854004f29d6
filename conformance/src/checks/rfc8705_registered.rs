//! RFC 8705 §2.2: clients with registered self-signed certificates.

use std::time::Duration;

use serde_json::{Value, json};

use crate::check::{Halt, Outcome, ensure, fail, not_applicable};
use crate::checks;
use crate::lab::{Client, Document, Lab, Submission};
use crate::pki::{Authority, Key, Leaf, Shown};

use super::rfc8705_subject::echoed;

/// The longest that a server may hold on to a `jwks_uri` document that says nothing about it.
const CACHE: Duration = Duration::from_secs(90);

checks! {
    a_registered_certificate_needs_no_chain => ["RFC8705-2.2-a"],
    a_registered_certificate_is_that_certificate => ["RFC8705-2.2-b"],
    a_certificate_over_the_same_key_is_another => ["RFC8705-2.2-c"],
    certificates_at_the_jwks_uri_are_picked_up (slow) => ["RFC8705-2.2-d"],
    every_registered_certificate_is_good => ["RFC8705-2.2-e"],
    an_expired_registered_certificate_is_treated_as_documented => ["RFC8705-2.2-f"],
    the_self_signed_method_has_its_name => ["RFC8705-2.2.1-a"],
    a_bare_key_registers_nothing (slow) => ["RFC8705-2.2.2-a"],
    a_key_and_a_certificate_that_differ_register_nothing (slow) => ["RFC8705-2.2.2-b"],
}

fn a_registered_certificate_needs_no_chain(lab: &Lab) -> Outcome {
    let alone = Leaf::new(&lab.unique()).self_signed()?;
    let of_nobody = Authority::root("Nobody's CA")?.issue(&Leaf::new(&lab.unique()))?;
    for shown in [alone, of_nobody] {
        let client = lab.register(&Document::self_signed(&[&shown])?, &shown)?;
        lab.good_token(&client)?;
    }
    Ok(())
}

fn a_registered_certificate_is_that_certificate(lab: &Lab) -> Outcome {
    let leaf = Leaf::new(&lab.unique());
    let [registered, other] = [leaf.self_signed()?, leaf.self_signed()?];
    let client = lab.register(&Document::self_signed(&[&registered])?, &registered)?;
    lab.good_token(&client)?;
    lab.token(&client).certificate(&other).send().expect_refused()
}

fn a_certificate_over_the_same_key_is_another(lab: &Lab) -> Outcome {
    let leaf = Leaf::new(&lab.unique()).key(&Key::p256()?);
    let [first, renewed] = [leaf.self_signed()?, leaf.days(-1, 700).self_signed()?];
    let client = lab.register(&Document::self_signed(&[&first])?, &first)?;
    lab.good_token(&client)?;
    lab.token(&client).certificate(&renewed).send().expect_refused()?;
    let client = lab.register(&Document::self_signed(&[&first, &renewed])?, &first)?;
    lab.token(&client).certificate(&renewed).send().expect_token()?;
    Ok(())
}

fn certificates_at_the_jwks_uri_are_picked_up(lab: &Lab) -> Outcome {
    let [first, second] = [Leaf::new("first").self_signed()?, Leaf::new("second").self_signed()?];
    let hosted = lab.host(&json!({"keys": [first.jwk()?]}).to_string())?;
    let document = Document::of("self_signed_tls_client_auth").with("jwks_uri", hosted.url.as_str());
    let client = lab.register(&document, &first)?;
    lab.good_token(&client)?;
    hosted.set(&json!({"keys": [second.jwk()?]}).to_string());
    // The limit is the server's: it need not fetch again at once for every unknown certificate.
    lab.eventually(CACHE, || lab.unseen().token(&client).certificate(&second).send().status() == Some(200));
    lab.token(&client).certificate(&second).send().expect_token()?;
    lab.token(&client).certificate(&first).send().expect_refused()
}

fn every_registered_certificate_is_good(lab: &Lab) -> Outcome {
    let three = ["first", "second", "third"].map(|name| Leaf::new(name).self_signed());
    let [first, second, third] = three;
    let (first, second, third) = (first?, second?, third?);
    let client = lab.register(&Document::self_signed(&[&first, &second, &third])?, &first)?;
    for shown in [&first, &second, &third] {
        lab.token(&client).certificate(shown).send().expect_token()?;
    }
    Ok(())
}

fn an_expired_registered_certificate_is_treated_as_documented(lab: &Lab) -> Outcome {
    let good = Leaf::new("good").self_signed()?;
    let expired = Leaf::new("expired").days(-20, -1).self_signed()?;
    let client = lab.register(&Document::self_signed(&[&good, &expired])?, &good)?;
    lab.good_token(&client)?;
    let answer = lab.token(&client).certificate(&expired).send();
    match (lab.target().config.refuses_expired_registered, answer.status()) {
        (Some(false), _) | (None, Some(200)) => answer.expect_token().map(drop),
        (Some(true) | None, _) => answer.expect_refused(),
    }
}

fn the_self_signed_method_has_its_name(lab: &Lab) -> Outcome {
    let name = "self_signed_tls_client_auth";
    let offered = lab.offers("token_endpoint_auth_methods_supported", name)?;
    let Ok(client) = lab.self_signed_client() else {
        ensure(!offered, format_args!("a client can use {name}"), "none could be registered")?;
        return not_applicable("the server has no self-signed clients");
    };
    lab.good_token(client)?;
    ensure(offered, format_args!("{name} in token_endpoint_auth_methods_supported"), lab.metadata()?)?;
    if lab.target().config.registrar.is_none() {
        return Ok(());
    }
    let shown = Leaf::new(&lab.unique()).self_signed()?;
    echoed(lab.accepted(&Document::self_signed(&[&shown])?)?, name)
}

fn a_bare_key_registers_nothing(lab: &Lab) -> Outcome {
    lab.good_token(lab.self_signed_client()?)?;
    let shown = Leaf::new(&lab.unique()).self_signed()?;
    registers_nothing(lab, &Document::keys(&json!({"keys": [shown.key.jwk()?]})), &shown)
}

fn a_key_and_a_certificate_that_differ_register_nothing(lab: &Lab) -> Outcome {
    lab.good_token(lab.self_signed_client()?)?;
    let shown = Leaf::new(&lab.unique()).self_signed()?;
    let wrong = mismatched(&shown)?;
    registers_nothing(lab, &Document::keys(&json!({"keys": [wrong]})), &shown)?;
    if lab.target().config.hosting.is_none() {
        return Ok(());
    }
    let good = Leaf::new("good").self_signed()?;
    let hosted = lab.host(&json!({"keys": [wrong, good.jwk()?]}).to_string())?;
    let document = Document::of("self_signed_tls_client_auth").with("jwks_uri", hosted.url.as_str());
    let client = lab.register(&document, &good)?;
    lab.token(&client).certificate(&shown).send().expect_refused()
}

/// The JWK of another key with this certificate.
fn mismatched(shown: &Shown) -> Result<Value, Halt> {
    let mut jwk = Key::p256()?.jwk()?;
    if let (Some(members), Some(x5c)) = (jwk.as_object_mut(), shown.jwk()?.get("x5c")) {
        members.insert("x5c".to_owned(), x5c.clone());
    }
    Ok(jwk)
}

/// The document is refused, or the certificate is no good to its client.
fn registers_nothing(lab: &Lab, document: &Document, shown: &Shown) -> Outcome {
    match lab.submit(document)? {
        Submission::Refused { error, .. } if error == "invalid_client_metadata" => Ok(()),
        Submission::Refused { said, .. } => fail("400 {\"error\":\"invalid_client_metadata\"}", said),
        Submission::Accepted { client_id, .. } => {
            let client = Client { id: client_id, shown: shown.clone() };
            lab.settle(&client);
            lab.token(&client).send().expect_refused()
        }
    }
}
