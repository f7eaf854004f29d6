//! RFC 9068 §2: how JWT access tokens are signed, and what they say. For what they are good is in `rfc9068_scope.rs`, who
//! reads them in `rfc9068_resource.rs`.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Value, json};

use crate::check::{Halt, Outcome, ensure, ensure_equal, fail};
use crate::checks;
use crate::clock;
use crate::jose::{unsigned, with_member};
use crate::lab::{Lab, Token};
use crate::wire::{Exchange, Tls};

/// How far the clocks of server and suite may be apart, in seconds.
const SKEW: i64 = 5;
/// How many tokens are looked at to see that no two have one identifier.
const TOKENS: usize = 1000;
/// The claims that IANA has registered and that a token for a machine may have a use for.
const REGISTERED: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "email",
    "email_verified",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "phone_number",
    "phone_number_verified",
    "address",
    "updated_at",
    "azp",
    "nonce",
    "at_hash",
    "c_hash",
    "acr",
    "amr",
    "auth_time",
    "sub_jwk",
    "cnf",
    "sip_from_tag",
    "sip_date",
    "sip_callid",
    "sip_cseq_num",
    "sip_via_branch",
    "orig",
    "dest",
    "mky",
    "events",
    "toe",
    "txn",
    "rph",
    "sid",
    "vot",
    "vtm",
    "attest",
    "origid",
    "act",
    "scope",
    "client_id",
    "may_act",
    "jcard",
    "at_use_nbr",
    "div",
    "opt",
    "vc",
    "vp",
    "sph",
    "ace_profile",
    "cnonce",
    "exi",
    "roles",
    "groups",
    "entitlements",
    "token_introspection",
    "cdniv",
    "cdnicrit",
    "cdniip",
    "cdniuc",
    "cdniets",
    "cdnistt",
    "cdnistd",
    "sig_val_claims",
    "verified_claims",
    "place_of_birth",
    "nationalities",
    "birth_family_name",
    "birth_given_name",
    "birth_middle_name",
    "salutation",
    "title",
    "msisdn",
    "also_known_as",
    "authorization_details",
    "htm",
    "htu",
    "ath",
    "atc",
    "sub_id",
    "rcd",
    "rcdi",
    "crn",
    "msgi",
    "jwks",
    "metadata",
    "trust_marks",
    "vct",
    "status",
    "_sd",
    "_sd_alg",
    "sd_hash",
    "eat_nonce",
    "ueid",
    "oemid",
    "hwmodel",
    "hwversion",
    "oemboot",
    "dbgstat",
    "location",
    "eat_profile",
    "submods",
    "swname",
    "swversion",
    "manifests",
    "measurements",
    "uptime",
    "bootcount",
    "bootseed",
    "intuse",
    "dloas",
    "measres",
    "geohash",
];

checks! {
    access_tokens_are_signed_by_a_published_key => ["RFC9068-2.1-a"],
    access_tokens_are_signed_asymmetrically => ["RFC9068-2.1-b"],
    unsigned_tokens_are_neither_made_nor_taken => ["RFC9068-2.1-c", "FAPI2SP-5.4.1-c"],
    tokens_can_be_signed_with_rs256 (slow) => ["RFC9068-2.1-d"],
    access_tokens_say_their_type => ["RFC9068-2.1-e"],
    the_type_is_in_its_short_form => ["RFC9068-2.1-f"],
    iss_is_the_issuer => ["RFC9068-2.2-a"],
    exp_is_after_iat => ["RFC9068-2.2-b"],
    aud_names_a_resource => ["RFC9068-2.2-c"],
    sub_is_there => ["RFC9068-2.2-d"],
    sub_is_the_client => ["RFC9068-2.2-e", "RFC9700-4.15-a"],
    client_id_is_the_one_that_was_authenticated => ["RFC9068-2.2-f"],
    iat_is_now => ["RFC9068-2.2-g"],
    jti_is_there => ["RFC9068-2.2-h"],
    no_two_of_many_tokens_have_one_jti (slow) => ["RFC9068-2.2-h"],
    tokens_of_machines_say_nothing_about_a_login => ["RFC9068-2.2.1-a"],
    claims_have_registered_names => ["RFC9068-2.2.2-a"],
    groups_and_roles_are_lists => ["RFC9068-2.2.3.1-a"],
}

fn access_tokens_are_signed_by_a_published_key(lab: &Lab) -> Outcome {
    for client in [lab.pki_client()?, lab.self_signed_client()?] {
        let token = lab.good_token(client)?;
        let (jwt, _) = lab.verified(&token)?;
        ensure(!jwt.signature.is_empty(), "a signature", &token.text)?;
    }
    Ok(())
}

fn access_tokens_are_signed_asymmetrically(lab: &Lab) -> Outcome {
    let jwt = lab.good_token(lab.pki_client()?)?.jwt()?;
    let algorithm = jwt.header_text("alg");
    let families = ["RS", "PS", "ES", "Ed", "ML-DSA"];
    let good = families.iter().any(|family| algorithm.starts_with(family));
    ensure(good, "an asymmetric algorithm", format_args!("alg is {algorithm:?}"))
}

fn unsigned_tokens_are_neither_made_nor_taken(lab: &Lab) -> Outcome {
    let token = lab.good_token(lab.pki_client()?)?;
    let jwt = token.jwt()?;
    let algorithm = jwt.header_text("alg");
    ensure(
        !algorithm.is_empty() && !algorithm.eq_ignore_ascii_case("none"),
        "an algorithm other than none",
        algorithm,
    )?;
    ensure(lab.is_active(&token.text)?, "the token itself is active", "it is not")?;
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let bare = unsigned(&with_member(&jwt.header, "alg", json!(none)), &jwt.claims);
        for text in [format!("{bare}."), bare] {
            let active = lab.is_active(&text)?;
            ensure(
                !active,
                format_args!("a token with alg {none:?} and no signature is inactive"),
                "it is active",
            )?;
        }
    }
    Ok(())
}

fn tokens_can_be_signed_with_rs256(lab: &Lab) -> Outcome {
    let usual = lab.good_token(lab.pki_client()?)?;
    if usual.jwt()?.header_text("alg") == "RS256" {
        return lab.verified(&usual).map(drop);
    }
    let lab = lab.variant("rs256")?;
    let token = lab.good_token(lab.pki_client()?)?;
    let (jwt, _) = lab.verified(&token)?;
    ensure_equal("alg", &"RS256", &jwt.header_text("alg"))
}

fn access_tokens_say_their_type(lab: &Lab) -> Outcome {
    let jwt = lab.good_token(lab.pki_client()?)?.jwt()?;
    let typ = jwt.header_text("typ").to_ascii_lowercase();
    let good = typ == "at+jwt" || typ == "application/at+jwt";
    ensure(good, "typ is at+jwt", &jwt.header)
}

fn the_type_is_in_its_short_form(lab: &Lab) -> Outcome {
    let jwt = lab.good_token(lab.pki_client()?)?.jwt()?;
    ensure_equal("typ", &"at+jwt", &jwt.header_text("typ"))
}

fn iss_is_the_issuer(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    for claims in both(lab)? {
        ensure_equal("iss", &document.get("issuer"), &claims.get("iss"))?;
        ensure_equal("iss", &Some(&json!(lab.issuer())), &claims.get("iss"))?;
    }
    Ok(())
}

fn exp_is_after_iat(lab: &Lab) -> Outcome {
    for claims in both(lab)? {
        let (from, to) = (seconds(&claims, "iat"), seconds(&claims, "exp"));
        ensure(to.is_some(), "exp is an integer", &claims)?;
        ensure(to > Some(from.unwrap_or_else(now)), "exp is after iat", &claims)?;
    }
    Ok(())
}

fn aud_names_a_resource(lab: &Lab) -> Outcome {
    for claims in both(lab)? {
        let audience = audience(&claims)?;
        let client = claims.get("client_id").and_then(Value::as_str).unwrap_or_default();
        let good = !audience.is_empty() && !audience.contains("") && !audience.contains(client);
        ensure(good, "aud names a resource, not the client", &claims)?;
    }
    Ok(())
}

fn sub_is_there(lab: &Lab) -> Outcome {
    for claims in both(lab)? {
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        ensure(!subject.is_empty(), "sub is a text that is not empty", &claims)?;
    }
    Ok(())
}

fn sub_is_the_client(lab: &Lab) -> Outcome {
    for client in [lab.pki_client()?, lab.self_signed_client()?] {
        let subject = lab.good_token(client)?.text_claim("sub")?;
        ensure_equal("sub", &client.id, &subject)?;
    }
    Ok(())
}

fn client_id_is_the_one_that_was_authenticated(lab: &Lab) -> Outcome {
    for client in [lab.pki_client()?, lab.self_signed_client()?] {
        let named = lab.good_token(client)?.text_claim("client_id")?;
        ensure_equal("client_id", &client.id, &named)?;
    }
    Ok(())
}

fn iat_is_now(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let before = now();
    let claims = lab.good_token(client)?.claims()?;
    let issued = seconds(&claims, "iat");
    let range = before.saturating_sub(SKEW)..=now().saturating_add(SKEW);
    let good = issued.is_some_and(|issued| range.contains(&issued));
    ensure(good, format_args!("iat is an integer from {} to {}", range.start(), range.end()), &claims)
}

fn jti_is_there(lab: &Lab) -> Outcome {
    for claims in both(lab)? {
        let identifier = claims.get("jti").and_then(Value::as_str).unwrap_or_default();
        ensure(!identifier.is_empty(), "jti is a text that is not empty", &claims)?;
    }
    Ok(())
}

fn no_two_of_many_tokens_have_one_jti(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?.claims()?;
    // The thousand others are no evidence that anybody would read.
    let unseen = lab.unseen();
    let url = lab.endpoint("token_endpoint")?;
    let octets = unseen.token(client).octets(&url);
    let mut connection = None;
    let mut identifiers = HashSet::new();
    for count in 0..TOKENS {
        let mut open = match connection.take() {
            Some(open) => open,
            None => match unseen.connect(&url, Some(&client.shown), Tls::Modern) {
                Ok(open) => open,
                Err(failed) => {
                    return fail(format_args!("{TOKENS} tokens"), format_args!("{count}: {}", failed.cause));
                }
            },
        };
        let answer = unseen.raw(&mut open, &octets);
        if answer.response().is_none() {
            // A server may close a connection after so many requests; the next token comes over a new one.
            let again = unseen.token(client).send().expect_token()?;
            keep(&mut identifiers, &again)?;
            continue;
        }
        keep(&mut identifiers, &answer.expect_token()?)?;
        let closed = answer.header("connection").is_some_and(|word| word.eq_ignore_ascii_case("close"));
        connection = (!closed).then_some(open);
    }
    lab.record(Exchange {
        with: format!("{TOKENS} tokens for {}", client.id),
        sent: octets,
        received: format!("{} different jti", identifiers.len()).into_bytes(),
        failure: None,
    });
    Ok(())
}

fn keep(identifiers: &mut HashSet<String>, token: &Token) -> Outcome {
    let identifier = token.text_claim("jti")?;
    let seen = format!("{identifier} again, after {} others", identifiers.len());
    ensure(identifiers.insert(identifier), "another jti in every token", seen)
}

fn tokens_of_machines_say_nothing_about_a_login(lab: &Lab) -> Outcome {
    for claims in both(lab)? {
        let some = ["auth_time", "acr", "amr"].iter().any(|name| claims.get(*name).is_some());
        ensure(!some, "none of auth_time, acr and amr", &claims)?;
    }
    Ok(())
}

fn claims_have_registered_names(lab: &Lab) -> Outcome {
    for claims in both(lab)? {
        let names = claims.as_object().into_iter().flat_map(|members| members.keys());
        // A name that others cannot have by chance, a URI for instance, needs no registration.
        let unknown: Vec<_> = names
            .filter(|name| !REGISTERED.contains(&name.as_str()) && !name.contains([':', '/', '.']))
            .collect();
        ensure(unknown.is_empty(), "registered names, or names like URIs", format_args!("{unknown:?}"))?;
    }
    Ok(())
}

fn groups_and_roles_are_lists(lab: &Lab) -> Outcome {
    let claims = lab.good_token(lab.pki_client()?)?.claims()?;
    for name in ["groups", "roles", "entitlements"] {
        let Some(claim) = claims.get(name) else { continue };
        // RFC 7643 §2.4: texts, or objects with a value.
        let of_scim = |entry: &Value| entry.is_string() || entry.get("value").is_some();
        let good = claim.as_array().is_some_and(|list| list.iter().all(of_scim));
        ensure(good, format_args!("{name} is a list as in SCIM"), claim)?;
    }
    Ok(())
}

/// The claims of a token of each kind of client.
fn both(lab: &Lab) -> Result<[Value; 2], Halt> {
    Ok([lab.good_token(lab.pki_client()?)?.claims()?, lab.good_token(lab.self_signed_client()?)?.claims()?])
}

/// The values of `aud`.
pub(super) fn audience(claims: &Value) -> Result<BTreeSet<String>, Halt> {
    let texts = match claims.get("aud") {
        Some(Value::String(text)) => Some(BTreeSet::from([text.clone()])),
        Some(Value::Array(list)) => list.iter().map(|text| text.as_str().map(ToOwned::to_owned)).collect(),
        _ => None,
    };
    texts.map_or_else(|| fail("aud is a text or a list of texts", claims), Ok)
}

fn seconds(claims: &Value, name: &str) -> Option<i64> {
    claims.get(name).and_then(Value::as_i64)
}

fn now() -> i64 {
    i64::try_from(clock::seconds()).unwrap_or(i64::MAX)
}
