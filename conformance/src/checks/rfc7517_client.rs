//! RFC 7517 at registration: what a key may look like that a client with a certificate of its own registers (RFC 8705 §2.2).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::check::{Halt, Outcome, fail};
use crate::checks;
use crate::jose::with_member;
use crate::lab::{Client, Document, Lab, Submission};
use crate::pki::{Leaf, Shown};

checks! {
    of_two_members_of_one_name_none_or_the_last_counts (slow) => ["RFC7517-4-a"],
    members_of_a_key_that_nobody_knows_are_ignored (slow) => ["RFC7517-4-b"],
    a_registered_key_has_a_type (slow) => ["RFC7517-4.1-a"],
    a_key_for_encryption_authenticates_nobody (slow) => ["RFC7517-4.3-b"],
    x5c_is_standard_base64 (slow) => ["RFC7517-4.7-a"],
    x5c_is_about_the_key_that_it_is_in (slow) => ["RFC7517-4.7-b"],
    only_the_first_certificate_of_x5c_counts (slow) => ["RFC7517-4.7-c"],
    a_thumbprint_is_that_of_the_certificate (slow) => ["RFC7517-4.8-a"],
    a_registered_set_is_a_list_of_keys (slow) => ["RFC7517-5-a"],
    members_of_a_set_that_nobody_knows_are_ignored (slow) => ["RFC7517-5-b"],
    keys_that_nobody_understands_are_skipped (slow) => ["RFC7517-5-c"],
    both_media_types_of_a_set_are_taken (slow) => ["RFC7517-8.5-a"],
    a_private_key_is_not_registered (slow) => ["RFC7517-9.2-a"],
}

fn of_two_members_of_one_name_none_or_the_last_counts(lab: &Lab) -> Outcome {
    let first = own(lab)?;
    let second = Leaf::new(&lab.unique()).key(&first.key).self_signed()?;
    let document = Document::self_signed(&[&second])?;
    // Both certificates are of the one key, so that nothing else is wrong.
    let x5c = format!("\"x5c\":{},\"x5c\":", json!([STANDARD.encode(first.leaf())]));
    let twice = document.clone().rewritten(|text| text.replacen("\"x5c\":", &x5c, 1));
    let Some(client) = accepted_as(lab, &twice, &second)? else {
        return usable(lab, &document, &second);
    };
    lab.good_token(&client)?;
    lab.token(&client).certificate(&first).send().expect_refused()
}

fn members_of_a_key_that_nobody_knows_are_ignored(lab: &Lab) -> Outcome {
    let shown = own(lab)?;
    usable(lab, &of_key(&with(&shown, "foo", json!({"bar": [1, true]}))?), &shown)
}

fn a_registered_key_has_a_type(lab: &Lab) -> Outcome {
    let shown = own(lab)?;
    usable(lab, &of_key(&shown.jwk()?), &shown)?;
    let mut without = shown.jwk()?;
    if let Some(members) = without.as_object_mut() {
        members.remove("kty");
    }
    for key in [without, with(&shown, "kty", json!("ec"))?] {
        lab.expect_metadata_refused(&of_key(&key))?;
    }
    Ok(())
}

fn a_key_for_encryption_authenticates_nobody(lab: &Lab) -> Outcome {
    let (signing, encrypting) = (own(lab)?, own(lab)?);
    let keys = [with(&signing, "use", json!("sig"))?, with(&encrypting, "use", json!("enc"))?];
    let Some(client) = accepted_as(lab, &Document::keys(&json!({ "keys": keys })), &signing)? else {
        return usable(lab, &of_key(&with(&signing, "use", json!("sig"))?), &signing);
    };
    lab.good_token(&client)?;
    lab.token(&client).certificate(&encrypting).send().expect_refused()
}

fn x5c_is_standard_base64(lab: &Lab) -> Outcome {
    // Most certificates have a character in which the two alphabets differ; this one has for sure.
    let shown = loop {
        let shown = own(lab)?;
        if STANDARD.encode(shown.leaf()).contains(['+', '/']) {
            break shown;
        }
    };
    usable(lab, &of_key(&shown.jwk()?), &shown)?;
    let wrong = [URL_SAFE.encode(shown.leaf()), URL_SAFE_NO_PAD.encode(shown.leaf()), shown.pem()];
    for text in wrong {
        lab.expect_metadata_refused(&of_key(&with(&shown, "x5c", json!([text]))?))?;
    }
    Ok(())
}

fn x5c_is_about_the_key_that_it_is_in(lab: &Lab) -> Outcome {
    let (shown, other) = (own(lab)?, own(lab)?);
    usable(lab, &of_key(&shown.jwk()?), &shown)?;
    let mixed = with(&shown, "x5c", json!([STANDARD.encode(other.leaf())]))?;
    lab.expect_metadata_refused(&of_key(&mixed))
}

fn only_the_first_certificate_of_x5c_counts(lab: &Lab) -> Outcome {
    let (shown, other) = (own(lab)?, own(lab)?);
    let two = json!([STANDARD.encode(shown.leaf()), STANDARD.encode(other.leaf())]);
    let Some(client) = accepted_as(lab, &of_key(&with(&shown, "x5c", two)?), &shown)? else {
        return usable(lab, &of_key(&shown.jwk()?), &shown);
    };
    lab.good_token(&client)?;
    lab.token(&client).certificate(&other).send().expect_refused()
}

fn a_thumbprint_is_that_of_the_certificate(lab: &Lab) -> Outcome {
    let (shown, other) = (own(lab)?, own(lab)?);
    let old = |shown: &Shown| URL_SAFE_NO_PAD.encode(openssl::sha::sha1(shown.leaf()));
    let right = with(&shown, "x5t#S256", json!(shown.thumbprint()))?;
    let right = with_member(&right, "x5t", json!(old(&shown)));
    usable(lab, &of_key(&right), &shown)?;
    for (name, wrong) in [("x5t#S256", other.thumbprint()), ("x5t", old(&other))] {
        lab.expect_metadata_refused(&of_key(&with(&shown, name, json!(wrong))?))?;
    }
    Ok(())
}

fn a_registered_set_is_a_list_of_keys(lab: &Lab) -> Outcome {
    let shown = own(lab)?;
    usable(lab, &of_key(&shown.jwk()?), &shown)?;
    for jwks in
        [json!([]), json!([shown.jwk()?]), json!({"keys": {}}), json!({"keys": shown.jwk()?}), json!({})]
    {
        lab.expect_metadata_refused(&Document::keys(&jwks))?;
    }
    Ok(())
}

fn members_of_a_set_that_nobody_knows_are_ignored(lab: &Lab) -> Outcome {
    let shown = own(lab)?;
    usable(lab, &Document::keys(&json!({"foo": "bar", "keys": [shown.jwk()?], "last": null})), &shown)
}

fn keys_that_nobody_understands_are_skipped(lab: &Lab) -> Outcome {
    let (shown, incomplete) = (own(lab)?, own(lab)?);
    let mut without = incomplete.jwk()?;
    if let Some(members) = without.as_object_mut() {
        members.remove("y");
    }
    let keys = [json!({"kty": "unheard-of", "kid": "1", "z": "AQAB"}), without, shown.jwk()?];
    let hosted = lab.host(&json!({ "keys": keys }).to_string())?;
    usable(lab, &of_uri(&hosted.url), &shown)
}

fn both_media_types_of_a_set_are_taken(lab: &Lab) -> Outcome {
    for kind in ["application/jwk-set+json", "application/json"] {
        let shown = own(lab)?;
        let hosted = lab.host(&json!({"keys": [shown.jwk()?]}).to_string())?;
        hosted.set_kind(kind);
        usable(lab, &of_uri(&hosted.url), &shown)?;
    }
    Ok(())
}

fn a_private_key_is_not_registered(lab: &Lab) -> Outcome {
    let shown = own(lab)?;
    usable(lab, &of_key(&shown.jwk()?), &shown)?;
    let private = URL_SAFE_NO_PAD.encode([7; 32]);
    match lab.submit(&of_key(&with(&shown, "d", json!(private))?))? {
        Submission::Accepted { answer, .. }
            if answer.is_object() && !answer.to_string().contains(&private) =>
        {
            Ok(())
        }
        Submission::Refused { error, .. } if error == "invalid_client_metadata" => Ok(()),
        other => {
            fail("invalid_client_metadata, or an answer without the private part", format_args!("{other:?}"))
        }
    }
}

/// A certificate that signs itself.
fn own(lab: &Lab) -> Result<Shown, Halt> {
    Ok(Leaf::new(&lab.unique()).self_signed()?)
}

/// The JWK of a certificate with one member set.
fn with(shown: &Shown, member: &str, value: Value) -> Result<Value, Halt> {
    Ok(with_member(&shown.jwk()?, member, value))
}

fn of_key(key: &Value) -> Document {
    Document::keys(&json!({ "keys": [key] }))
}

fn of_uri(uri: &str) -> Document {
    Document::of("self_signed_tls_client_auth").with("jwks_uri", uri)
}

/// The document registers a client that gets a token with this certificate.
fn usable(lab: &Lab, document: &Document, shown: &Shown) -> Outcome {
    let client = lab.register(document, shown)?;
    lab.good_token(&client).map(drop)
}

/// The client of a document that may be refused, as `invalid_client_metadata` then.
fn accepted_as(lab: &Lab, document: &Document, shown: &Shown) -> Result<Option<Client>, Halt> {
    match lab.submit(document)? {
        Submission::Accepted { client_id, .. } => {
            let client = Client { id: client_id, shown: shown.clone() };
            lab.settle(&client);
            Ok(Some(client))
        }
        Submission::Refused { error, .. } if error == "invalid_client_metadata" => Ok(None),
        Submission::Refused { said, .. } => fail("400 {\"error\":\"invalid_client_metadata\"}", said),
    }
}
