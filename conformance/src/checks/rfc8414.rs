//! RFC 8414 §2: what the metadata say, and that it is true. Where they are and how they are compared is in
//! `rfc8414_place.rs`.

use serde_json::{Value, json};
use url::Url;

use crate::check::{Halt, Outcome, ensure, ensure_equal, fail, not_applicable};
use crate::checks;
use crate::jose::Jwt;
use crate::lab::{Body, Client, Document, Lab, Submission};
use crate::wire::Exchange;

/// The members that IANA has registered, those of `OpenID` Connect among them.
const REGISTERED: &[&str] = &[
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "registration_endpoint",
    "scopes_supported",
    "response_types_supported",
    "response_modes_supported",
    "grant_types_supported",
    "token_endpoint_auth_methods_supported",
    "token_endpoint_auth_signing_alg_values_supported",
    "service_documentation",
    "ui_locales_supported",
    "op_policy_uri",
    "op_tos_uri",
    "revocation_endpoint",
    "revocation_endpoint_auth_methods_supported",
    "revocation_endpoint_auth_signing_alg_values_supported",
    "introspection_endpoint",
    "introspection_endpoint_auth_methods_supported",
    "introspection_endpoint_auth_signing_alg_values_supported",
    "code_challenge_methods_supported",
    "signed_metadata",
    "device_authorization_endpoint",
    "tls_client_certificate_bound_access_tokens",
    "mtls_endpoint_aliases",
    "nfv_token_signing_alg_values_supported",
    "nfv_token_encryption_alg_values_supported",
    "userinfo_endpoint",
    "acr_values_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
    "id_token_encryption_alg_values_supported",
    "id_token_encryption_enc_values_supported",
    "userinfo_signing_alg_values_supported",
    "userinfo_encryption_alg_values_supported",
    "userinfo_encryption_enc_values_supported",
    "request_object_signing_alg_values_supported",
    "request_object_encryption_alg_values_supported",
    "request_object_encryption_enc_values_supported",
    "display_values_supported",
    "claim_types_supported",
    "claims_supported",
    "claims_locales_supported",
    "claims_parameter_supported",
    "request_parameter_supported",
    "request_uri_parameter_supported",
    "require_request_uri_registration",
    "require_signed_request_object",
    "pushed_authorization_request_endpoint",
    "require_pushed_authorization_requests",
    "introspection_signing_alg_values_supported",
    "introspection_encryption_alg_values_supported",
    "introspection_encryption_enc_values_supported",
    "authorization_response_iss_parameter_supported",
    "check_session_iframe",
    "frontchannel_logout_supported",
    "backchannel_logout_supported",
    "backchannel_logout_session_supported",
    "frontchannel_logout_session_supported",
    "end_session_endpoint",
    "backchannel_token_delivery_modes_supported",
    "backchannel_authentication_endpoint",
    "backchannel_authentication_request_signing_alg_values_supported",
    "backchannel_user_code_parameter_supported",
    "authorization_details_types_supported",
    "dpop_signing_alg_values_supported",
    "client_registration_types_supported",
    "federation_registration_endpoint",
    "signed_jwks_uri",
    "jwks",
    "organization_name",
    "protected_resources",
    "authorization_signing_alg_values_supported",
    "authorization_encryption_alg_values_supported",
    "authorization_encryption_enc_values_supported",
    "prompt_values_supported",
    "challenge_endpoint",
];
/// The methods of client authentication that are a JWT.
const JWT_METHODS: [&str; 2] = ["private_key_jwt", "client_secret_jwt"];

checks! {
    the_issuer_is_https_and_nothing_more => ["RFC8414-2-a"],
    an_authorization_endpoint_is_there_if_a_grant_needs_it => ["RFC8414-2-b"],
    the_token_endpoint_is_told_and_works => ["RFC8414-2-c"],
    the_jwks_uri_has_the_keys_of_all_tokens => ["RFC8414-2-d"],
    beside_encryption_keys_every_key_has_its_use => ["RFC8414-2-e"],
    registration_is_told_where_it_is_offered => ["RFC8414-2-f"],
    scopes_that_are_listed_are_granted => ["RFC8414-2-g"],
    response_types_need_an_authorization_endpoint => ["RFC8414-2-h"],
    the_grants_that_are_listed_are_those_that_work => ["RFC8414-2-i"],
    the_methods_that_are_listed_are_those_that_work => ["RFC8414-2-j"],
    jwt_methods_at_the_token_endpoint_have_algorithms => ["RFC8414-2-k"],
    none_is_no_algorithm_of_any_list => ["RFC8414-2-l"],
    jwt_client_authentication_takes_rs256 => ["RFC8414-2-m"],
    there_is_documentation_where_nobody_registers_by_himself => ["RFC8414-2-n"],
    the_revocation_endpoint_is_told_and_true => ["RFC8414-2-o"],
    jwt_methods_at_revocation_have_algorithms => ["RFC8414-2-p"],
    the_introspection_endpoint_is_told_and_true => ["RFC8414-2-q"],
    jwt_methods_at_introspection_have_algorithms => ["RFC8414-2-r"],
    code_challenges_need_an_authorization_endpoint => ["RFC8414-2-s"],
    every_member_is_registered_or_documented => ["RFC8414-2-t"],
    signed_metadata_are_signed_and_say_who_signed => ["RFC8414-2.1-a"],
    signed_metadata_are_not_inside_themselves => ["RFC8414-2.1-b"],
}

fn the_issuer_is_https_and_nothing_more(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    let issuer = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
    let https = Url::parse(issuer).is_ok_and(|url| url.scheme() == "https") && !issuer.contains(['?', '#']);
    ensure(https, "issuer is an https URL without query and fragment", shown(&document, "issuer"))
}

fn an_authorization_endpoint_is_there_if_a_grant_needs_it(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    let needed = match document.get("grant_types_supported") {
        // Without the member the default is the authorization code and the implicit grant.
        None => true,
        Some(_) => ["authorization_code", "implicit"]
            .iter()
            .any(|grant| lists(&document, "grant_types_supported", grant)),
    };
    let expected = if needed {
        "authorization_endpoint, for these grants"
    } else {
        "no authorization_endpoint: no grant uses it"
    };
    ensure(document.get("authorization_endpoint").is_some() == needed, expected, &document)
}

fn the_token_endpoint_is_told_and_works(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    let told = document.get("token_endpoint").and_then(Value::as_str).and_then(|text| Url::parse(text).ok());
    let Some(told) = told.filter(|url| url.scheme() == "https") else {
        return fail("token_endpoint is an https URL", shown(&document, "token_endpoint"));
    };
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    if told == lab.endpoint("token_endpoint")? {
        return Ok(());
    }
    // Beside an alias for certificates it may be a place where none is asked for (RFC 8705 §5).
    let answer = lab.token(client).at(&told).send();
    if answer.status() == Some(200) { answer.expect_token().map(drop) } else { answer.expect_refused() }
}

fn the_jwks_uri_has_the_keys_of_all_tokens(lab: &Lab) -> Outcome {
    let uri = lab.conventional("jwks_uri")?;
    ensure(uri.scheme() == "https", "jwks_uri is an https URL", &uri)?;
    for client in [lab.pki_client()?, lab.self_signed_client()?] {
        let token = lab.good_token(client)?;
        lab.verified(&token)?;
    }
    Ok(())
}

fn beside_encryption_keys_every_key_has_its_use(lab: &Lab) -> Outcome {
    let keys = lab.keys()?;
    let of_use = |key: &Value| key.get("use").and_then(Value::as_str).map(ToOwned::to_owned);
    let mixed = keys.iter().any(|key| of_use(key).as_deref() == Some("enc"));
    let all = keys.iter().all(|key| of_use(key).is_some());
    ensure(!mixed || all, "use in every key, beside keys for encryption", json!(keys))
}

fn registration_is_told_where_it_is_offered(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    if let Some(told) = document.get("registration_endpoint") {
        let https = told.as_str().is_some_and(|url| url.starts_with("https://"));
        return ensure(https, "registration_endpoint is an https URL", told);
    }
    // Where others have it.
    let issuer = lab.issuer().trim_end_matches('/').to_owned();
    for path in ["register", "registration", "connect/register"] {
        let Ok(url) = Url::parse(&format!("{issuer}/{path}")) else { continue };
        let body = Body::Octets(Document::of("client_secret_basic").text().into_bytes());
        let answer = lab.post(&url).with_body(body).header("Content-Type", "application/json").send();
        ensure(answer.status() == Some(404), "404 where nothing is said to be", answer.seen())?;
    }
    Ok(())
}

fn scopes_that_are_listed_are_granted(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    let Some(scopes) = document.get("scopes_supported") else {
        return not_applicable("the metadata do not list scopes; a server may choose not to");
    };
    let words: Vec<_> = scopes.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let of_rfc = |word: &&str| {
        !word.is_empty() && word.bytes().all(|octet| matches!(octet, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    };
    let all = scopes.as_array().is_some_and(|list| list.len() == words.len()) && words.iter().all(of_rfc);
    ensure(all, "a list of words of scope (RFC 6749 §3.3)", scopes)?;
    // Some of them; the list may be long.
    for word in words.into_iter().take(3) {
        let host = format!("{}.suite.example", lab.unique());
        let shown = lab.issue(&crate::pki::Leaf::new(&host).dns(&host))?;
        let client = lab.register(&Document::pki("san_dns", &host).with("scope", word), &shown)?;
        let token = lab.token(&client).with("scope", word).send().expect_token()?;
        ensure(
            lab.granted(&token)?.contains(word),
            format_args!("a token with scope {word}"),
            &token.answer,
        )?;
    }
    Ok(())
}

fn response_types_need_an_authorization_endpoint(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    let types = document.get("response_types_supported");
    let some = types.and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if document.get("authorization_endpoint").is_some() {
        return ensure(
            some,
            "response_types_supported is a list with elements",
            shown(&document, "response_types_supported"),
        );
    }
    let none = types.is_none_or(|types| *types == json!([]));
    ensure(none, "response_types_supported is [] or absent", shown(&document, "response_types_supported"))
}

fn the_grants_that_are_listed_are_those_that_work(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let grants = "grant_types_supported";
    ensure(
        lists(&document, grants, "client_credentials"),
        "client_credentials is listed",
        shown(&document, grants),
    )?;
    for grant in texts(&document, grants).filter(|grant| *grant != "client_credentials") {
        let answer = lab.token(client).set("grant_type", grant).send();
        let unknown = answer.json().get("error").is_some_and(|error| error == "unsupported_grant_type");
        ensure(!unknown, format_args!("the grant {grant} is listed, so it is known"), answer.seen())?;
    }
    Ok(())
}

fn the_methods_that_are_listed_are_those_that_work(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    let methods = "token_endpoint_auth_methods_supported";
    let by_certificate: [(&str, Result<&Client, Halt>); 2] =
        [("tls_client_auth", lab.pki_client()), ("self_signed_tls_client_auth", lab.self_signed_client())];
    for (method, client) in by_certificate {
        match (client, lists(&document, methods, method)) {
            (Ok(client), true) => drop(lab.good_token(client)?),
            (Ok(client), false) => {
                let works = lab.token(client).send().status() == Some(200);
                ensure(!works, format_args!("{method} is listed: it works"), shown(&document, methods))?;
            }
            (Err(_), _) => {}
        }
    }
    let some = texts(&document, methods).any(|method| method.ends_with("tls_client_auth"));
    ensure(some, "a method with certificates is listed", shown(&document, methods))?;
    for method in texts(&document, methods).filter(|method| !method.ends_with("tls_client_auth")) {
        let key = crate::pki::Key::p256()?.jwk()?;
        let client = Document::of(method).with("jwks", json!({"keys": [key]}));
        if let Ok(Submission::Refused { said, .. }) = lab.submit(&client) {
            return fail(format_args!("{method} is listed, so clients can have it"), said);
        }
    }
    Ok(())
}

fn jwt_methods_at_the_token_endpoint_have_algorithms(lab: &Lab) -> Outcome {
    jwt_methods_have_algorithms(&lab.document()?, "token")
}

fn jwt_methods_at_revocation_have_algorithms(lab: &Lab) -> Outcome {
    jwt_methods_have_algorithms(&lab.document()?, "revocation")
}

fn jwt_methods_at_introspection_have_algorithms(lab: &Lab) -> Outcome {
    jwt_methods_have_algorithms(&lab.document()?, "introspection")
}

fn jwt_methods_have_algorithms(document: &Value, endpoint: &str) -> Outcome {
    let algorithms = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
    let seen = shown(document, &algorithms);
    ensure(!lists_none(document.get(&algorithms)), format_args!("{algorithms} without none"), &seen)?;
    if !has_jwt_methods(document, endpoint) {
        return not_applicable(format_args!(
            "no JWT is taken for client authentication at the {endpoint} endpoint"
        ));
    }
    let some = texts(document, &algorithms).next().is_some();
    ensure(some, format_args!("{algorithms} is a list with elements, as JWT methods are listed"), seen)
}

fn none_is_no_algorithm_of_any_list(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    for (name, value) in document.as_object().into_iter().flatten() {
        if name.ends_with("_signing_alg_values_supported") {
            ensure(!lists_none(Some(value)), format_args!("{name} without none"), value)?;
        }
    }
    Ok(())
}

fn jwt_client_authentication_takes_rs256(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    if !lists(&document, "token_endpoint_auth_methods_supported", "private_key_jwt") {
        return not_applicable("private_key_jwt is not offered");
    }
    let algorithms = "token_endpoint_auth_signing_alg_values_supported";
    ensure(lists(&document, algorithms, "RS256"), "RS256 is listed", shown(&document, algorithms))
}

fn there_is_documentation_where_nobody_registers_by_himself(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    let Some(url) = document.get("service_documentation") else {
        return if document.get("registration_endpoint").is_some() {
            not_applicable("clients register by themselves, and the metadata name no documentation")
        } else {
            fail("service_documentation, as there is no registration_endpoint", "neither is there")
        };
    };
    let https = url.as_str().and_then(|url| Url::parse(url).ok()).is_some_and(|url| url.scheme() == "https");
    ensure(https, "service_documentation is an https URL", url)
}

fn the_revocation_endpoint_is_told_and_true(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    lab.conventional("revocation_endpoint")?;
    for (method, client) in
        [("tls_client_auth", lab.pki_client()?), ("self_signed_tls_client_auth", lab.self_signed_client()?)]
    {
        told_and_true(&document, "revocation", method, || {
            let token = lab.good_token(client)?;
            Ok(lab.revoke(client, &token.text).send())
        })?;
    }
    Ok(())
}

fn the_introspection_endpoint_is_told_and_true(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    lab.conventional("introspection_endpoint")?;
    let token = lab.good_token(lab.pki_client()?)?;
    let server = lab.resource_server()?;
    told_and_true(&document, "introspection", "tls_client_auth", || {
        Ok(lab.introspect(server, &token.text).send())
    })
}

/// The methods of an endpoint are listed, and this one is if it works, and works if it is.
fn told_and_true(
    document: &Value,
    endpoint: &str,
    method: &str,
    answer: impl FnOnce() -> Result<crate::lab::Answer, Halt>,
) -> Outcome {
    let methods = format!("{endpoint}_endpoint_auth_methods_supported");
    let some = texts(document, &methods).next().is_some();
    ensure(some, format_args!("{methods} is a list with elements"), shown(document, &methods))?;
    let answer = answer()?;
    if lists(document, &methods, method) {
        return answer.expect_status(200).map(drop);
    }
    ensure(
        answer.status() != Some(200),
        format_args!("{method} in {methods}: it works"),
        shown(document, &methods),
    )
}

fn code_challenges_need_an_authorization_endpoint(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    if document.get("authorization_endpoint").is_some() {
        return not_applicable("there is an authorization endpoint");
    }
    let member = "code_challenge_methods_supported";
    ensure(document.get(member).is_none(), format_args!("no {member}"), shown(&document, member))
}

fn every_member_is_registered_or_documented(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    let documented = &lab.target().config.metadata_members;
    let names = document.as_object().into_iter().flat_map(|members| members.keys());
    let unknown: Vec<_> = names
        // The name of a language may follow a member for people (§2).
        .filter(|name| !REGISTERED.contains(&name.split('#').next().unwrap_or_default()))
        .filter(|name| !documented.contains(name) && !name.contains([':', '/', '.']))
        .collect();
    ensure(
        unknown.is_empty(),
        "members that are registered or documented (metadata_members)",
        format_args!("{unknown:?}"),
    )
}

fn signed_metadata_are_signed_and_say_who_signed(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    let (jwt, text) = signed_metadata(&document)?;
    lab.record(Exchange {
        with: "signed_metadata, decoded".to_owned(),
        sent: Vec::new(),
        received: format!("{}\n{}", jwt.header, jwt.claims).into_bytes(),
        failure: None,
    });
    let by_key = lab.keys()?.iter().any(|key| jwt.is_signed_by(key));
    ensure(by_key, "signed_metadata with a signature by a published key", text)?;
    ensure(jwt.claims.get("iss").is_some_and(Value::is_string), "a claim iss", &jwt.claims)?;
    for (name, value) in document.as_object().into_iter().flatten() {
        if let Some(inside) = jwt.claims.get(name) {
            ensure_equal(name, &value, &inside)?;
        }
    }
    Ok(())
}

fn signed_metadata_are_not_inside_themselves(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    let (jwt, _) = signed_metadata(&document)?;
    ensure(jwt.claims.get("signed_metadata").is_none(), "no claim signed_metadata", &jwt.claims)
}

fn signed_metadata(document: &Value) -> Result<(Jwt, &str), Halt> {
    match document.get("signed_metadata") {
        None => not_applicable("there are no signed metadata"),
        Some(value) => match value.as_str().and_then(|text| Some((Jwt::parse(text)?, text))) {
            Some(found) => Ok(found),
            None => fail("signed_metadata is a JWT", value),
        },
    }
}

fn has_jwt_methods(document: &Value, endpoint: &str) -> bool {
    let methods = format!("{endpoint}_endpoint_auth_methods_supported");
    JWT_METHODS.iter().any(|method| lists(document, &methods, method))
}

/// The elements of a list that are texts.
fn texts<'a>(document: &'a Value, member: &str) -> impl Iterator<Item = &'a str> {
    document.get(member).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn lists(document: &Value, member: &str, word: &str) -> bool {
    texts(document, member).any(|text| text == word)
}

fn lists_none(list: Option<&Value>) -> bool {
    let texts = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    texts.into_iter().any(|text| text.eq_ignore_ascii_case("none"))
}

fn shown(document: &Value, member: &str) -> String {
    document
        .get(member)
        .map_or_else(|| format!("there is no {member}"), |value| format!("{member} is {value}"))
}
