//! RFC 8705 §2: who the client is.

use crate::check::{Outcome, ensure, ensure_equal, untestable};
use crate::checks;
use crate::lab::{Lab, Role};
use crate::pki::{Authority, Leaf};

checks! {
    possession_of_the_key_is_proven => ["RFC8705-2-a"],
    a_request_without_client_id_is_refused => ["RFC8705-2-b", "SPIFFE-3.2-a"],
    the_certificate_of_another_client_is_refused => ["RFC8705-2-c"],
    no_certificate_is_invalid_client => ["RFC8705-2-d"],
    an_unexpected_subject_is_invalid_client => ["RFC8705-2-e"],
    every_endpoint_checks_the_certificate => ["RFC8705-2-f"],
    no_other_method_replaces_the_certificate => ["RFC8705-2-g"],
    an_unknown_ca_is_refused => ["RFC8705-2.1-a"],
    a_renewed_certificate_needs_no_change => ["RFC8705-2.1-f"],
    a_certificate_out_of_its_time_is_refused => ["RFC8705-2.1-g"],
}

fn possession_of_the_key_is_proven(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let thief = client.shown.with_key_of(&Leaf::new("thief").self_signed()?);
    lab.token(client).certificate(&thief).send().expect_alert()
}

fn a_request_without_client_id_is_refused(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    lab.token(client).without("client_id").send().expect_refused()
}

fn the_certificate_of_another_client_is_refused(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    lab.good_token(client)?;
    lab.good_token(other)?;
    lab.token(client).certificate(&other.shown).send().expect_refused()
}

fn no_certificate_is_invalid_client(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let answer = lab.token(client).no_certificate().send();
    // A listener for certificates alone may insist on one; then there is one where a request without comes through.
    if answer.response().is_none() {
        answer.expect_alert()?;
        let usual = lab.conventional("token_endpoint")?;
        return lab.token(client).at(&usual).no_certificate().send().expect_invalid_client();
    }
    answer.expect_invalid_client()
}

fn an_unexpected_subject_is_invalid_client(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Dn)?;
    lab.good_token(client)?;
    let stranger = lab.issue(&Leaf::new(&lab.unique()))?;
    lab.token(client).certificate(&stranger).send().expect_invalid_client()
}

fn every_endpoint_checks_the_certificate(lab: &Lab) -> Outcome {
    let (client, server) = (lab.pki_client()?, lab.resource_server()?);
    let token = lab.good_token(client)?;
    let stranger = lab.issue(&Leaf::new(&lab.unique()))?;
    lab.revoke(client, &token.text).certificate(&stranger).send().expect_refused()?;
    lab.introspect(server, &token.text).certificate(&stranger).send().expect_refused()?;
    ensure(lab.is_active(&token.text)?, "the token is still active", "it is not")
}

fn no_other_method_replaces_the_certificate(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let bare = lab.token(client).no_certificate();
    bare.clone().with("client_secret", "secret").send().expect_refused()?;
    // "client:secret"; the client_id in the form says who is meant.
    bare.header("Authorization", "Basic Y2xpZW50OnNlY3JldA==").send().expect_refused()
}

fn an_unknown_ca_is_refused(lab: &Lab) -> Outcome {
    let client = lab.client(Role::Dn)?;
    lab.good_token(client)?;
    let Ok(subject) = openssl::x509::X509::from_der(client.shown.leaf()) else {
        return untestable("the certificate of the client cannot be read");
    };
    let subject = crate::pki::Name::from_der(subject.subject_name().to_der()?);
    for ca in [Authority::root("Nobody's CA")?, lab.ca()?.impostor()?] {
        let shown = ca.issue(&Leaf::of(subject.clone()))?.and(&[ca.certificate()]);
        lab.token(client).certificate(&shown).send().expect_refused()?;
    }
    Ok(())
}

fn a_renewed_certificate_needs_no_change(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let first = lab.issue(&Leaf::new("first").dns(&host))?;
    let client = lab.register(&crate::lab::Document::pki("san_dns", &host), &first)?;
    lab.good_token(&client)?;
    let second = lab.issue(&Leaf::new("second").dns(&host))?;
    let token = lab.token(&client).certificate(&second).send().expect_token()?;
    let confirmation = lab.confirmation(&token)?;
    let seen = confirmation.get("x5t#S256").and_then(serde_json::Value::as_str).unwrap_or_default();
    ensure_equal("x5t#S256", &second.thumbprint().as_str(), &seen)
}

fn a_certificate_out_of_its_time_is_refused(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let good = lab.issue(&Leaf::new(&host).dns(&host))?;
    let client = lab.register(&crate::lab::Document::pki("san_dns", &host), &good)?;
    lab.good_token(&client)?;
    for (from, to) in [(-20, -1), (1, 20)] {
        let shown = lab.issue(&Leaf::new(&host).dns(&host).days(from, to))?;
        lab.token(&client).certificate(&shown).send().expect_refused()?;
    }
    Ok(())
}
