//! The checks: one file (or several) for each specification, one function for each requirement or for several that are one
//! test.
//!
//! # How to add checks
//!
//! 1. Take the rows of the specification from `requirements.yaml`. Its file is `rfcNNNN.rs`; where that would have more than
//!    500 lines, `rfcNNNN_topic.rs`, declared below and with its `CHECKS` in `ALL`.
//! 2. A check is a function `fn what_has_to_hold(lab: &Lab) -> Outcome`. Its name is a sentence. `Ok(())` is a pass; every
//!    verb that ends in `?` ends the check with the right verdict. List it in the file's [`checks!`](crate::checks!) table
//!    with the rows that it tests: all of those rows fail if it does. A row may have several checks, and fails if one of
//!    them does. Write `name (alone) => [...]` if others must not run at the same time (floods, timing), and
//!    `name (slow) => [...]` if it waits for seconds: it then begins before the rest.
//! 3. In `requirements.yaml` give every row either `check: [names]` or `reason: text`. `tests/register.rs` holds table and
//!    register together, both ways.
//! 4. What is sent and seen is recorded by itself. Do not print, and do not sleep where one can ask.
//!
//! # What there is
//!
//! ```ignore
//! let client = lab.pki_client()?;                      // or client(Role::Dn), self_signed_client(), other_client(), resource_server(); Role has them all
//! let token = lab.good_token(client)?;                 // token.text, token.answer (JSON), token.claims()?, token.jwt()?
//! lab.token(client).with("scope", "x").send().expect_error(400, "invalid_scope")?;
//! lab.token(client).without("grant_type").certificate(&other).header("X", "y").tls(Tls::Only12).send();
//! lab.token(client).with_encoded("scope=%C3%28").send();        // octets of the form as they are
//! lab.token(client).with_body(Body::Octets(b"{}".to_vec())).header("Content-Type", "application/json").send();
//! lab.introspect(rs, &token.text).send().expect_json(200)?;     // lab.introspection(&text)?, lab.is_active(&text)?
//! lab.revoke(client, &token.text).send().expect_status(200)?;
//! lab.get(&lab.endpoint("jwks_uri")?).send();                   // endpoint(): alias first; conventional(): top level; post(&url)
//! let shown = lab.issue(&Leaf::new("cn").dns("a.example").days(-9, -1))?;   // certificates: pki::Leaf, Name, Key, Authority
//! let client = lab.register(&Document::pki("san_dns", "a.example"), &shown)?;
//! lab.expect_metadata_refused(&Document::pki("subject_dn", "CN=a,,O=b"))?;  // refused as invalid_client_metadata
//! lab.register_unproven(&document, &shown)?;           // registered, but no certificate will be good: waits the whole settling time
//! let mut connection = lab.connect(&url, Some(&shown), Tls::Modern).map_err(..)?; lab.raw(&mut connection, b"GET ...");
//! lab.call(&lab.introspecting_api()?, &token.text, Some(&shown)).send().expect_challenge(401, Some("invalid_token"))?;
//! let forged = lab.forged(&token, |header, claims| header["typ"] = json!("JWT"))?;   // signed by the server's own key; jose::sign for other keys
//! lab.forwarded_token(client)?.header("Client-Cert", &client_cert(&client.shown)).send();    // the suite as the trusted proxy
//! let hosted = lab.host(&jwks.to_string())?; Document::of("self_signed_tls_client_auth").with("jwks_uri", hosted.url.as_str()); hosted.set(..);
//! lab.eventually(Duration::from_secs(20), || lab.unseen().token(client).send().status() == Some(200));
//! lab.expect_https_only("token_endpoint")?; lab.urls("token_endpoint")?;    // usual URL and alias
//! let (first, second) = lab.scope(); lab.granted(&token)?; words(&object); lab.second_resource()?;
//! for bad in altered(&token.text) { .. }               // one character of the claims, one of the signature
//! for (answer, time) in lab.in_a_row(&requests) { .. } // floods, on one connection
//! lab.disabled(document)?; repeated_member(&response.body);
//! let other = lab.variant("rs256")?;                   // the same server in another configuration: VARIATIONS in start.rs
//! ensure(holds, "what should be", seen)?; ensure_equal("iss", &expected, &seen)?; fail(..); not_applicable(why); untestable(why)
//! ```
//!
//! Expectations: `expect_status`, `expect_json`, `expect_token`, `expect_error(400, code)` (as JSON; 401 also does for 400
//! `invalid_client`), `expect_error_of(400, &[codes])`, `expect_refused` (400, 401, 403 or a TLS alert, and no token),
//! `expect_alert`, `expect_no_store`, `expect_challenge`, `expect_only_post`, `expect_form_wanted`; `answer.seen()`,
//! `.status()`, `.header()`, `.json()` for the rest.
//!
//! A check tests what its requirement says and nothing beside it, so that one fault of a server fails one requirement. Where
//! the requirement is that somebody does not get in, that is `expect_refused`; the error code, the challenge of a 401 and
//! `no-store` have requirements of their own.
//!
//! Show that the way is open before you show that it is closed: a check that only expects refusals passes on a server that
//! refuses everything. Expect what the register says; where it leaves a choice, take every answer that it tolerates.

mod fapi;
mod rfc4514;
mod rfc5280;
mod rfc6749;
mod rfc6749_answer;
mod rfc6749_client;
mod rfc6750;
mod rfc7009;
mod rfc7517;
mod rfc7517_client;
mod rfc7662;
mod rfc7662_state;
mod rfc8414;
mod rfc8414_place;
mod rfc8705_binding;
mod rfc8705_client;
mod rfc8705_endpoints;
mod rfc8705_registered;
mod rfc8705_resource;
mod rfc8705_subject;
mod rfc8705_trust;
mod rfc8707;
mod rfc8725;
mod rfc9068;
mod rfc9068_resource;
mod rfc9068_scope;
mod rfc9440;
mod rfc9700;
mod rfc9701;
mod unoffered;

use crate::check::Check;

/// Makes `CHECKS`, the table of a file: `name => ["ROW", ...]`, or `name (alone) => [...]`.
#[macro_export]
macro_rules! checks {
    ($($name:ident $(($how:ident))? => [$($row:literal),+ $(,)?]),* $(,)?) => {
        pub(crate) const CHECKS: &[$crate::check::Check] = &[$($crate::check::Check {
            name: stringify!($name),
            rows: &[$($row),+],
            beside: $crate::checks!(@beside $($how)?),
            run: $name,
        }),*];
    };
    (@beside slow) => { $crate::check::Beside::Early };
    (@beside alone) => { $crate::check::Beside::Nobody };
    (@beside) => { $crate::check::Beside::Others };
}

/// The tables of all files.
const ALL: &[&[Check]] = &[
    fapi::CHECKS,
    rfc4514::CHECKS,
    rfc5280::CHECKS,
    rfc6749::CHECKS,
    rfc6749_answer::CHECKS,
    rfc6749_client::CHECKS,
    rfc6750::CHECKS,
    rfc7009::CHECKS,
    rfc7517::CHECKS,
    rfc7517_client::CHECKS,
    rfc7662::CHECKS,
    rfc7662_state::CHECKS,
    rfc8414::CHECKS,
    rfc8414_place::CHECKS,
    rfc8705_client::CHECKS,
    rfc8705_subject::CHECKS,
    rfc8705_trust::CHECKS,
    rfc8705_registered::CHECKS,
    rfc8705_binding::CHECKS,
    rfc8705_endpoints::CHECKS,
    rfc8705_resource::CHECKS,
    rfc8707::CHECKS,
    rfc8725::CHECKS,
    rfc9068::CHECKS,
    rfc9068_resource::CHECKS,
    rfc9068_scope::CHECKS,
    rfc9440::CHECKS,
    rfc9700::CHECKS,
    rfc9701::CHECKS,
    unoffered::CHECKS,
];

/// Every check.
pub fn all() -> impl Iterator<Item = &'static Check> {
    ALL.iter().copied().flatten()
}
