//! Tokens in requests, and what is answered where they do not do (RFC 6750 §2, §3).

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use url::form_urlencoded;

/// A token that is longer is none; a certbound token has about 600 characters.
const LONGEST_TOKEN: usize = 8 * 1024;
/// A form that is larger is not looked at.
const LARGEST_FORM: usize = 64 * 1024;
/// How long a form may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a request is not let in. The reasons are for the log; strangers hear the code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no token")]
    NoToken,
    #[error("invalid_request: {0}")]
    InvalidRequest(&'static str),
    #[error("invalid_token: {0}")]
    InvalidToken(String),
    /// With the scope that is needed.
    #[error("insufficient_scope: {0} is needed")]
    InsufficientScope(String),
    /// The token could not be checked.
    #[error("the authorization server: {0}")]
    Unavailable(String),
}

impl Refusal {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::NoToken | Self::InvalidToken(_) => StatusCode::UNAUTHORIZED,
            Self::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            Self::InsufficientScope(_) => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The answer; `realm` has no quotes in it.
    pub(crate) fn answer(&self, realm: &str) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status());
        let realm = format!("Bearer realm=\"{realm}\"");
        let (error, challenge) = match self {
            // Whoever showed no token may not know that one is needed: no error (RFC 6750 §3.1).
            Self::NoToken => return answer.insert_header((WWW_AUTHENTICATE, realm)).finish(),
            Self::InvalidRequest(_) => ("invalid_request", String::new()),
            Self::InvalidToken(_) => ("invalid_token", String::new()),
            Self::InsufficientScope(scope) => ("insufficient_scope", format!(", scope=\"{scope}\"")),
            Self::Unavailable(_) => {
                let body = json!({ "error": "temporarily_unavailable" });
                return answer.insert_header((RETRY_AFTER, "5")).json(body);
            }
        };
        let challenge = format!("{realm}, error=\"{error}\"{challenge}");
        answer.insert_header((WWW_AUTHENTICATE, challenge)).json(json!({ "error": error }))
    }
}

/// The token of a request. It is taken from the `Authorization` header (RFC 6750 §2.1); anywhere else it is refused, even
/// beside one in the header, because addresses end up in logs and forms in the hands of browsers.
pub(crate) async fn token(request: &HttpRequest, body: Payload) -> Result<String, Refusal> {
    if has_token(request.query_string().as_bytes()) {
        return Err(Refusal::InvalidRequest("a token in the query"));
    }
    if is_form(request) {
        let body = tokio::time::timeout(PATIENCE, body.to_bytes_limited(LARGEST_FORM)).await;
        let Ok(Ok(Ok(body))) = body else {
            return Err(Refusal::InvalidRequest("a form that is too large, too slow or broken"));
        };
        if has_token(&body) {
            return Err(Refusal::InvalidRequest("a token in the form"));
        }
    }
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let header = headers.next().ok_or(Refusal::NoToken)?;
    if headers.next().is_some() {
        return Err(Refusal::InvalidRequest("several Authorization headers"));
    }
    let header =
        header.to_str().map_err(|_| Refusal::InvalidRequest("an Authorization header that is no text"))?;
    let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
    // The name of a scheme has no case (RFC 9110 §11.1).
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::NoToken);
    }
    let token = token.trim_start_matches(' ');
    if !is_b64token(token) {
        return Err(Refusal::InvalidRequest("what follows Bearer is not one token"));
    }
    if token.len() > LONGEST_TOKEN {
        return Err(Refusal::InvalidToken("it is too long".to_owned()));
    }
    Ok(token.to_owned())
}

fn has_token(form: &[u8]) -> bool {
    form_urlencoded::parse(form).any(|(name, _)| name == "access_token")
}

fn is_form(request: &HttpRequest) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 6750 §2.1).
fn is_b64token(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}
