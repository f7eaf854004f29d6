//! RFC 8705 §5 and §6.1: the endpoints for clients with certificates, and what their TLS lets in.

use serde_json::Value;
use url::Url;

use crate::check::{Outcome, ensure, ensure_equal, not_applicable};
use crate::checks;
use crate::lab::{Lab, client_cert};
use crate::pki::{Leaf, pem};

checks! {
    the_alias_of_the_token_endpoint_works => ["RFC8705-5-a", "FAPI2SP-5.2.2.1-a"],
    aliases_have_the_names_of_endpoints => ["RFC8705-5-b"],
    a_client_with_a_certificate_uses_the_alias => ["RFC8705-5-c"],
    aliases_are_of_endpoints_that_clients_call => ["RFC8705-5-d"],
    an_alias_is_no_issuer => ["RFC8705-5-e"],
    an_endpoint_without_alias_takes_certificates => ["RFC8705-5-f"],
    a_handshake_without_certificate_is_completed => ["RFC8705-6.1-a"],
    a_handshake_with_any_certificate_is_completed => ["RFC8705-6.1-b"],
    a_header_is_no_proof_of_a_key => ["RFC8705-6.1-c"],
}

const ALIASES: &str = "mtls_endpoint_aliases";

/// Headers in which proxies hand over a certificate; no proxy is between the suite and the server.
const HEADERS: [&str; 5] =
    ["Client-Cert", "X-SSL-Client-DER", "X-ARR-ClientCert", "X-SSL-Client-Cert", "SSL-Client-Cert"];

/// The aliases, or the row does not bind.
fn aliases(lab: &Lab) -> Result<&Value, crate::check::Halt> {
    match lab.metadata()?.get(ALIASES) {
        Some(aliases) => Ok(aliases),
        None => not_applicable("the metadata have no mtls_endpoint_aliases"),
    }
}

fn names(aliases: &Value) -> impl Iterator<Item = &String> {
    aliases.as_object().into_iter().flat_map(|members| members.keys())
}

fn the_alias_of_the_token_endpoint_works(lab: &Lab) -> Outcome {
    let aliases = aliases(lab)?;
    let Some(members) = aliases.as_object() else {
        return ensure(false, "mtls_endpoint_aliases is an object", aliases);
    };
    for (name, url) in members {
        let https =
            url.as_str().and_then(|url| Url::parse(url).ok()).is_some_and(|url| url.scheme() == "https");
        ensure(https, format_args!("{name} is an https URL"), url)?;
    }
    lab.good_token(lab.pki_client()?)?;
    Ok(())
}

fn aliases_have_the_names_of_endpoints(lab: &Lab) -> Outcome {
    let metadata = lab.metadata()?;
    for name in names(aliases(lab)?) {
        ensure(name.ends_with("_endpoint"), "a member that ends in _endpoint", name)?;
        ensure(metadata.get(name).is_some(), format_args!("{name} at the top level as well"), metadata)?;
    }
    Ok(())
}

fn a_client_with_a_certificate_uses_the_alias(lab: &Lab) -> Outcome {
    aliases(lab)?;
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let usual = lab.conventional("token_endpoint")?;
    lab.token(client).at(&usual).no_certificate().send().expect_refused()
}

fn aliases_are_of_endpoints_that_clients_call(lab: &Lab) -> Outcome {
    let idle = |name: &&String| matches!(name.as_str(), "authorization_endpoint" | "jwks_uri" | "issuer");
    let seen = names(aliases(lab)?).find(idle);
    ensure(seen.is_none(), "endpoints that clients call directly", seen.map_or("", String::as_str))
}

fn an_alias_is_no_issuer(lab: &Lab) -> Outcome {
    aliases(lab)?;
    let issuer = lab.metadata()?.get("issuer").cloned().unwrap_or_default();
    let token = lab.good_token(lab.pki_client()?)?;
    let whole = match token.claims() {
        Ok(claims) => claims,
        Err(_) => lab.introspection(&token.text)?,
    };
    match whole.get("iss") {
        Some(seen) => ensure_equal("iss", &issuer, seen),
        None => not_applicable("tokens and introspection say no issuer"),
    }
}

fn an_endpoint_without_alias_takes_certificates(lab: &Lab) -> Outcome {
    let (client, server) = (lab.pki_client()?, lab.resource_server()?);
    let metadata = lab.metadata()?;
    let aliases = metadata.get(ALIASES);
    let bare = |name: &str| {
        metadata.get(name).is_some() && aliases.is_none_or(|aliases| aliases.get(name).is_none())
    };
    let [token, introspection, revocation] =
        ["token_endpoint", "introspection_endpoint", "revocation_endpoint"].map(bare);
    if !(token || introspection || revocation) {
        return not_applicable("every endpoint has an alias");
    }
    // Endpoints with an alias are asked there, so this is the normal URL of those without.
    let issued = lab.good_token(client)?;
    if introspection {
        lab.introspect(server, &issued.text).send().expect_json(200)?;
    }
    if revocation {
        lab.revoke(client, &issued.text).send().expect_status(200)?;
    }
    Ok(())
}

fn a_handshake_without_certificate_is_completed(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let (usual, alias) = (lab.conventional("token_endpoint")?, lab.endpoint("token_endpoint")?);
    let answer = lab.token(client).at(&usual).no_certificate().send();
    let status = answer.expect_answer()?.status;
    answer.expect_json(status)?;
    if alias == usual {
        return Ok(());
    }
    let methods = lab.metadata()?.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
    let of_tls = |method: &Value| method.as_str().is_some_and(|method| method.ends_with("tls_client_auth"));
    let shared = methods.is_none_or(|methods| !methods.iter().all(of_tls));
    let answer = lab.token(client).no_certificate().send();
    // One that is for clients with certificates only may ask for one.
    if answer.response().is_none() && !shared {
        return answer.expect_alert();
    }
    let status = answer.expect_answer()?.status;
    answer.expect_json(status)?;
    Ok(())
}

fn a_handshake_with_any_certificate_is_completed(lab: &Lab) -> Outcome {
    if !lab.offers("token_endpoint_auth_methods_supported", "self_signed_tls_client_auth")? {
        return not_applicable("the server has no self-signed clients");
    }
    let client = lab.self_signed_client()?;
    lab.good_token(client)?;
    let stranger = Leaf::new(&lab.unique()).self_signed()?;
    lab.token(client).certificate(&stranger).send().expect_invalid_client()
}

fn a_header_is_no_proof_of_a_key(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    lab.good_token(client)?;
    let foreign = &other.shown;
    let written = [
        client_cert(foreign),
        client_cert(foreign).trim_matches(':').to_owned(),
        pem("CERTIFICATE", foreign.leaf()).replace('\n', "%0A").replace('+', "%2B").replace('=', "%3D"),
    ];
    for value in &written {
        let with = |request| {
            HEADERS.iter().fold(request, |request: crate::lab::Request<'_>, name| request.header(name, value))
        };
        with(lab.token(other).no_certificate()).send().expect_refused()?;
        with(lab.token(other).certificate(&client.shown)).send().expect_refused()?;
        let answer = with(lab.token(client)).send();
        // To refuse such a request is as good as to read over the header.
        if answer.status() != Some(200) {
            answer.expect_refused()?;
            continue;
        }
        let confirmation = lab.confirmation(&answer.expect_token()?)?;
        let seen = confirmation.get("x5t#S256").and_then(Value::as_str);
        let own = client.shown.thumbprint();
        ensure(
            seen.is_none_or(|seen| seen == own),
            format_args!("cnf of the TLS certificate, {own}"),
            confirmation,
        )?;
    }
    Ok(())
}
