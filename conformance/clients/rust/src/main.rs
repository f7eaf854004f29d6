//! The oauth2 crate with reqwest (over OpenSSL), and josekit for the tokens, as a client of an authorization server
//! with mutual TLS. oauth2 has no discovery: that is a plain request here.
//! Usage: certbound-interop-rust SETUP

use std::error::Error;
use std::fs;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwk::JwkSet;
use josekit::jws::{ES256, EdDSA, JwsVerifier, PS256, RS256};
use josekit::jwt::{self, JwtPayloadValidator};
use oauth2::basic::{BasicClient, BasicErrorResponseType};
use oauth2::{
    AccessToken, AuthType, ClientId, EmptyExtraTokenFields, EndpointNotSet, EndpointSet, IntrospectionUrl,
    RequestTokenError, RevocationUrl, StandardRevocableToken, TokenIntrospectionResponse as _,
    TokenResponse as _, TokenUrl,
};
use openssl::hash::MessageDigest;
use openssl::x509::X509;
use reqwest::blocking::Client;
use reqwest::{Certificate, Identity};
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// An OAuth client whose token, introspection and revocation endpoints are known.
type Known = BasicClient<EndpointNotSet, EndpointNotSet, EndpointSet, EndpointSet, EndpointSet>;

fn main() -> Result<()> {
    println!(
        "client: oauth2 {} (reqwest {}, josekit {})",
        locked("oauth2"),
        locked("reqwest"),
        locked("josekit")
    );
    let file = std::env::args().nth(1).ok_or("usage: certbound-interop-rust SETUP")?;
    let setup: Value = serde_json::from_slice(&fs::read(file)?)?;
    let metadata = discover(&setup, "oauth-authorization-server")?;
    passed("rfc8414", "-", "hand");
    must_be(&discover(&setup, "openid-configuration")?, &metadata, "the OpenID name")?;
    passed("openid", "-", "hand");
    for client in setup["clients"].as_array().ok_or("no clients")? {
        life_of_a_token(&setup, &metadata, client)?;
    }
    Ok(())
}

fn discover(setup: &Value, name: &str) -> Result<Value> {
    let url = format!("{}/.well-known/{name}", text(setup, "issuer")?);
    let metadata: Value = http(setup, None)?.get(url).send()?.error_for_status()?.json()?;
    must_be(&metadata["issuer"], &setup["issuer"], "issuer")?;
    Ok(metadata)
}

fn life_of_a_token(setup: &Value, metadata: &Value, client: &Value) -> Result<()> {
    let method = text(client, "method")?;
    let oauth = known(metadata, client)?;
    passed("alias", method, "hand");
    let mine = http(setup, Some(client))?;
    let answer = oauth.exchange_client_credentials().request(&mine)?;
    let token = answer.access_token();
    passed("token", method, "library");
    verify(setup, metadata, client, token)?;
    passed("jwt", method, "library");

    let server = &setup["resource_server"];
    let seen = introspect(setup, metadata, server, token)?;
    must_be(&seen.active(), &true, "active")?;
    must_be(&seen.client_id().map(|id| id.as_str()), &client["client_id"].as_str(), "client_id")?;
    passed("introspection", method, "library");
    oauth.revoke_token(StandardRevocableToken::AccessToken(token.clone()))?.request(&mine)?;
    passed("revocation", method, "library");
    must_be(&introspect(setup, metadata, server, token)?.active(), &false, "active afterwards")?;
    passed("inactive", method, "library");

    match oauth.exchange_client_credentials().request(&http(setup, Some(server))?) {
        Err(RequestTokenError::ServerResponse(refusal)) => {
            must_be(refusal.error(), &BasicErrorResponseType::InvalidClient, "error")?;
        }
        other => return Err(format!("the certificate of another: {other:?}").into()),
    }
    passed("refusal", method, "library");
    Ok(())
}

type Introspection =
    oauth2::StandardTokenIntrospectionResponse<EmptyExtraTokenFields, oauth2::basic::BasicTokenType>;

fn introspect(setup: &Value, metadata: &Value, server: &Value, token: &AccessToken) -> Result<Introspection> {
    Ok(known(metadata, server)?.introspect(token).request(&http(setup, Some(server))?)?)
}

fn known(metadata: &Value, client: &Value) -> Result<Known> {
    let alias = |name: &str| text(&metadata["mtls_endpoint_aliases"], name).map(str::to_owned);
    Ok(BasicClient::new(ClientId::new(text(client, "client_id")?.to_owned()))
        // Without a secret this adds client_id to the form and nothing else.
        .set_auth_type(AuthType::RequestBody)
        .set_token_uri(TokenUrl::new(alias("token_endpoint")?)?)
        .set_introspection_url(IntrospectionUrl::new(alias("introspection_endpoint")?)?)
        .set_revocation_url(RevocationUrl::new(alias("revocation_endpoint")?)?))
}

fn verify(setup: &Value, metadata: &Value, client: &Value, token: &AccessToken) -> Result<()> {
    let keys = http(setup, None)?.get(text(metadata, "jwks_uri")?).send()?.bytes()?;
    let keys = JwkSet::from_bytes(&keys)?;
    let header = jwt::decode_header(token.secret())?;
    let claim = |name| header.claim(name).and_then(Value::as_str).ok_or_else(|| format!("no {name}"));
    let [key] = keys.get(claim("kid")?)[..] else { return Err("not one key of that kid".into()) };
    let verifier: Box<dyn JwsVerifier> = match claim("alg")? {
        "ES256" => Box::new(ES256.verifier_from_jwk(key)?),
        "PS256" => Box::new(PS256.verifier_from_jwk(key)?),
        "RS256" => Box::new(RS256.verifier_from_jwk(key)?),
        "EdDSA" => Box::new(EdDSA.verifier_from_jwk(key)?),
        other => return Err(format!("alg: {other}").into()),
    };
    let (payload, header) = jwt::decode_with_verifier(token.secret(), &*verifier)?;
    must_be(&header.token_type(), &Some("at+jwt"), "typ")?;
    let mut expected = JwtPayloadValidator::new();
    expected.set_issuer(text(setup, "issuer")?);
    expected.set_audience(text(setup, "audience")?);
    expected.set_base_time(SystemTime::now());
    expected.validate(&payload)?;
    let bound = payload.claim("cnf").and_then(|cnf| cnf["x5t#S256"].as_str());
    must_be(&bound, &Some(&*thumbprint(client)?), "cnf")
}

/// `x5t#S256` of a certificate (RFC 8705 §3.1).
fn thumbprint(holder: &Value) -> Result<String> {
    let certificate = X509::from_pem(&fs::read(text(holder, "certificate")?)?)?;
    let digest = certificate.digest(MessageDigest::sha256())?;
    Ok(URL_SAFE_NO_PAD.encode(digest))
}

/// An HTTP client that trusts the server's CA and shows the certificate of `holder`, if there is one.
fn http(setup: &Value, holder: Option<&Value>) -> Result<Client> {
    let anchor = Certificate::from_pem(&fs::read(text(setup, "ca")?)?)?;
    let mut builder = Client::builder().tls_built_in_root_certs(false).add_root_certificate(anchor);
    if let Some(holder) = holder {
        let (certificate, key) = (fs::read(text(holder, "certificate")?)?, fs::read(text(holder, "key")?)?);
        builder = builder.identity(Identity::from_pkcs8_pem(&certificate, &key)?);
    }
    Ok(builder.build()?)
}

fn text<'v>(from: &'v Value, name: &str) -> Result<&'v str> {
    from[name].as_str().ok_or_else(|| format!("no {name}").into())
}

fn must_be<T: PartialEq + std::fmt::Debug>(seen: &T, expected: &T, what: &str) -> Result<()> {
    if seen == expected {
        return Ok(());
    }
    Err(format!("{what}: {seen:?} in place of {expected:?}").into())
}

/// `how` is `library`, or `hand` where the libraries have no such function.
fn passed(step: &str, method: &str, how: &str) {
    println!("{step} {method} {how}");
}

/// The version of a dependency, from the lock file.
fn locked(name: &str) -> &'static str {
    include_str!("../Cargo.lock")
        .split("[[package]]")
        .find(|package| package.contains(&format!("name = \"{name}\"\n")))
        .and_then(|package| package.split("version = \"").nth(1)?.split('"').next())
        .unwrap_or("?")
}
