//! `POST /introspect` (RFC 7662, RFC 8705 §3.2): what a resource server may know of a token, and whether it is in the
//! right hands; as JSON, or signed (RFC 9701) where `Accept` asks for it.

mod accept;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use actix_web::web::Data;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::json;

use self::accept::Wanted;
use super::Services;
use super::extract::Authenticated;
use super::failure::Failure;
use crate::clock::Timestamp;
use crate::oauth::{ClientId, Form};
use crate::pki::{Certificate, Thumbprint, files};
use crate::token::{Claims, Document, Possession, TokenError};

/// Tells a resource server about a token of its own audience. Everything else is `{"active":false}`, always the same.
pub async fn introspect(
    services: Data<Services>,
    wanted: Wanted,
    request: Authenticated,
) -> Result<HttpResponse, Failure> {
    let Authenticated { client, mut form, now } = request;
    let answer = Answer { wanted, services: &services, reader: &client.client().id, now };
    let token = form.require("token")?;
    let shown = Shown::take(&mut form)?;

    let world = services.authenticator.load();
    let token = match services.verify(token.expose_secret(), &world, now).await {
        Ok(token) => token,
        Err(TokenError::Store(error)) => return Err(error.into()),
        Err(error) => return answer.inactive(&error),
    };
    if !client.client().introspects.contains(&token.claims().audience) {
        return answer.inactive(&"the caller may not see tokens of this audience");
    }
    let bound = match shown {
        Shown::NotAsked => return answer.active(token.claims()),
        Shown::Differently => return answer.inactive(&"two certificates were named"),
        Shown::As(possession) => token.confirm(possession),
    };
    bound.map_or_else(|error| answer.inactive(&error), |bound| answer.active(bound.claims()))
}

/// What the resource server says it saw, if it wants the binding checked here.
enum Shown {
    /// It checks the binding itself.
    NotAsked,
    /// This, or nothing at all.
    As(Possession),
    /// Two different things; nobody holds both.
    Differently,
}

impl Shown {
    fn take(form: &mut Form) -> Result<Self, Failure> {
        let certificate = form.take_even_empty("client_certificate");
        let certificate =
            certificate.map(|text| possession(text.expose_secret(), thumbprint_of)).transpose()?;
        let thumbprint = form.take_even_empty("x5t#S256");
        let thumbprint =
            thumbprint.map(|text| possession(text.expose_secret(), |text| text.parse().ok())).transpose()?;
        Ok(match (certificate, thumbprint) {
            (None, None) => Self::NotAsked,
            (Some(one), Some(other)) if one != other => Self::Differently,
            (Some(one), _) | (None, Some(one)) => Self::As(one),
        })
    }
}

/// An empty value says that no certificate was shown. It must never mean "do not check": that is what a variable
/// that a proxy left empty looks like.
fn possession(text: &str, read: impl Fn(&str) -> Option<Thumbprint>) -> Result<Possession, Failure> {
    if text.is_empty() {
        return Ok(Possession::Nothing);
    }
    let shown = read(text).map(Possession::Certificate);
    shown.ok_or_else(|| Failure::invalid_request("The certificate or thumbprint cannot be decoded"))
}

/// A byte sequence of RFC 9440 §2.1, bare base64 of DER, or PEM.
fn thumbprint_of(text: &str) -> Option<Thumbprint> {
    if text.trim_start().starts_with("-----") {
        return files::one_certificate(text.as_bytes()).ok().map(|certificate| certificate.thumbprint());
    }
    let base64 = text.strip_prefix(':').map_or(Some(text), |rest| rest.strip_suffix(':'))?;
    let der = STANDARD.decode(base64).ok()?;
    Certificate::parse(&der).ok().map(|certificate| certificate.thumbprint())
}

/// How this request is answered, and to whom.
struct Answer<'a> {
    wanted: Wanted,
    services: &'a Services,
    reader: &'a ClientId,
    now: Timestamp,
}

impl Answer<'_> {
    fn active(&self, claims: &Claims) -> Result<HttpResponse, Failure> {
        self.with(&ActiveToken {
            active: true,
            scope: (!claims.scope.is_empty()).then(|| claims.scope.to_string()),
            client_id: claims.client.as_str(),
            token_type: "Bearer",
            exp: claims.expires_at.as_unix(),
            iat: claims.issued_at.as_unix(),
            sub: claims.client.as_str(),
            aud: claims.audience.as_str(),
            iss: claims.issuer.as_str(),
            jti: claims.jti.to_string(),
            cnf: json!({ "x5t#S256": claims.confirmation.thumbprint().to_string() }),
        })
    }

    /// RFC 7662 §2.2: nothing but this, whatever the reason; the reason is for the log.
    fn inactive(&self, reason: &dyn std::fmt::Display) -> Result<HttpResponse, Failure> {
        let mut answer = self.with(&json!({ "active": false }))?;
        answer.extensions_mut().insert(super::observe::Note(reason.to_string()));
        Ok(answer)
    }

    fn with(&self, content: &impl Serialize) -> Result<HttpResponse, Failure> {
        let mut answer = HttpResponse::Ok();
        answer.insert_header((CACHE_CONTROL, "no-store")).insert_header((PRAGMA, "no-cache"));
        if self.wanted == Wanted::Json {
            return Ok(answer.json(content));
        }
        let document = Document::TokenIntrospection;
        let signed = self.services.tokens.sign_document(document, content, self.reader, self.now)?;
        Ok(answer.insert_header((CONTENT_TYPE, document.media_type())).body(signed))
    }
}

/// RFC 7662 §2.2 with `cnf` (RFC 8705 §3.2).
#[derive(Serialize)]
struct ActiveToken<'a> {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    client_id: &'a str,
    token_type: &'static str,
    exp: i64,
    iat: i64,
    sub: &'a str,
    aud: &'a str,
    iss: &'a str,
    jti: String,
    cnf: serde_json::Value,
}
