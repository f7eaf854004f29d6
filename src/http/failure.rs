//! What strangers learn of a failure: one page, to be read in one sitting.
//!
//! The words are known at compile time; what really happened travels in `cause` to the log line of the request and
//! never to the wire. The reference joins the two.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};

use crate::authn::{Reason, Refusal};
use crate::grant::GrantError;
use crate::oauth::{ErrorCode, FormError, Issuer, Scope};
use crate::store::StoreError;
use crate::token::{Exceeds, MintError, Unsigned};

type Cause = Box<dyn Error + Send + Sync>;

/// A request that gets no answer of its own.
#[derive(Debug)]
pub struct Failure {
    code: ErrorCode,
    status: StatusCode,
    says: &'static str,
    reference: Reference,
    challenge: Option<Challenge>,
    reason: Option<Reason>,
    allow: Option<&'static str>,
    close: bool,
    cause: Option<Cause>,
}

/// The name of a failure: random, and the same in the answer and in the log. 16 characters of Crockford base32.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reference([u8; 10]);

/// `WWW-Authenticate`, a closed set; the issuer is the realm.
#[derive(Clone, Debug)]
pub struct Challenge {
    scheme: Scheme,
    realm: Arc<Issuer>,
}

/// The scheme that a challenge names, with what RFC 6750 §3 lets it say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// Answered to `Authorization: Basic` (RFC 6749 §5.2 asks for the scheme that was used).
    Basic,
    /// Answered to any other `Authorization`, and to a token that is not good.
    Bearer,
    /// Answered where a token is wanted and none came: no error code then (RFC 6750 §3.1).
    BearerWanted,
    /// Answered to a token that allows too little, with the scope that would be enough.
    BearerWith(Scope),
    /// Answered where credentials did not hold and no scheme was used.
    MutualTls,
}

impl Challenge {
    /// A challenge of this scheme in the realm of `realm`.
    pub fn new(scheme: Scheme, realm: Arc<Issuer>) -> Self {
        Self { scheme, realm }
    }

    fn header(&self) -> HeaderValue {
        let realm = self.realm.as_str();
        let text = match &self.scheme {
            Scheme::Basic => format!("Basic realm=\"{realm}\""),
            Scheme::Bearer => format!("Bearer realm=\"{realm}\", error=\"invalid_token\""),
            Scheme::BearerWanted => format!("Bearer realm=\"{realm}\""),
            Scheme::BearerWith(scope) => {
                format!("Bearer realm=\"{realm}\", error=\"insufficient_scope\", scope=\"{scope}\"")
            }
            Scheme::MutualTls => format!("Mutual-TLS realm=\"{realm}\""),
        };
        HeaderValue::from_str(&text)
            .expect("issuers and scopes have visible ASCII characters without quotes only")
    }
}

impl Failure {
    fn new(code: ErrorCode, status: StatusCode, says: &'static str) -> Self {
        let reference = Reference::fresh();
        Self {
            code,
            status,
            says,
            reference,
            challenge: None,
            reason: None,
            allow: None,
            close: false,
            cause: None,
        }
    }

    /// 400 `invalid_request`.
    pub fn invalid_request(says: &'static str) -> Self {
        Self::new(ErrorCode::InvalidRequest, StatusCode::BAD_REQUEST, says)
    }

    /// 400 `invalid_request`: a proxy handed on something that is no certificate. To call that "no certificate" would hide
    /// the fault.
    pub fn certificate_header(cause: impl Into<Cause>) -> Self {
        let failure = Self::invalid_request("The certificate in the header cannot be read");
        Self { cause: Some(cause.into()), ..failure }
    }

    /// `invalid_request` with another status; what was not read of the body goes with the connection.
    pub fn unread(status: StatusCode, says: &'static str) -> Self {
        Self { close: true, ..Self::new(ErrorCode::InvalidRequest, status, says) }
    }

    /// 405 with the methods that are allowed (RFC 9110 §15.5.6).
    pub fn wrong_method(allow: &'static str) -> Self {
        let failure = Self::unread(StatusCode::METHOD_NOT_ALLOWED, "This method is not allowed here");
        Self { allow: Some(allow), ..failure }
    }

    /// `invalid_client` (RFC 6749 §5.2): 401 with a challenge, 400 without. The same words for every reason.
    pub fn invalid_client(refusal: Refusal, challenge: Option<Challenge>) -> Self {
        let status = if challenge.is_some() { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
        Self {
            challenge,
            reason: Some(refusal.reason),
            cause: Some(Box::new(refusal)),
            ..Self::new(ErrorCode::InvalidClient, status, "Client authentication failed")
        }
    }

    /// 400 `invalid_grant`: the token is another client's (RFC 7009 §2.1).
    pub fn anothers_token() -> Self {
        Self::new(ErrorCode::InvalidGrant, StatusCode::BAD_REQUEST, "The token was issued to another client")
    }

    /// 401 `invalid_token` (RFC 6750 §3.1). The same words for every reason.
    pub fn invalid_token(cause: impl Into<Cause>, realm: &Arc<Issuer>) -> Self {
        let says = "The access token is not good for this request";
        Self {
            challenge: Some(Challenge::new(Scheme::Bearer, Arc::clone(realm))),
            cause: Some(cause.into()),
            ..Self::new(ErrorCode::InvalidToken, StatusCode::UNAUTHORIZED, says)
        }
    }

    /// The same refusal, told to the user of a token: what nobody proved confirms no token. The log still says why.
    #[must_use]
    pub fn into_invalid_token(self, realm: &Arc<Issuer>) -> Self {
        let cause = self.cause.unwrap_or_else(|| self.says.into());
        Self { reason: self.reason, ..Self::invalid_token(cause, realm) }
    }

    /// 403 `insufficient_scope` (RFC 6750 §3.1), with the scope that would be enough.
    pub fn insufficient_scope(cause: impl Into<Cause>, enough: Scope, realm: &Arc<Issuer>) -> Self {
        let says = "The access token does not allow this request";
        Self {
            challenge: Some(Challenge::new(Scheme::BearerWith(enough), Arc::clone(realm))),
            cause: Some(cause.into()),
            ..Self::new(ErrorCode::InsufficientScope, StatusCode::FORBIDDEN, says)
        }
    }

    /// 503: it will pass.
    pub fn unavailable(cause: impl Into<Cause>) -> Self {
        let says = "The service is not able to answer now";
        Self {
            cause: Some(cause.into()),
            ..Self::new(ErrorCode::TemporarilyUnavailable, StatusCode::SERVICE_UNAVAILABLE, says)
        }
    }

    fn server_error(says: &'static str, cause: impl Into<Cause>) -> Self {
        Self {
            cause: Some(cause.into()),
            ..Self::new(ErrorCode::ServerError, StatusCode::INTERNAL_SERVER_ERROR, says)
        }
    }

    /// The name of this failure.
    pub fn reference(&self) -> Reference {
        self.reference
    }

    /// The code on the wire.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// Why the client was refused, if that is what happened.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The check that failed, if the client was refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.cause.as_deref()?.downcast_ref()
    }

    /// What happened, with everything behind it, for the log.
    pub fn causes(&self) -> Option<String> {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self.cause.as_deref()?);
        let mut text = String::new();
        while let Some(error) = cause {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Some(text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.says)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status);
        answer.insert_header((CACHE_CONTROL, "no-store")).insert_header((PRAGMA, "no-cache"));
        if let Some(challenge) = &self.challenge {
            answer.insert_header((WWW_AUTHENTICATE, challenge.header()));
        }
        if let Some(methods) = self.allow {
            answer.insert_header((ALLOW, methods));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.insert_header((RETRY_AFTER, "5"));
        }
        if self.close {
            answer.force_close();
        }
        let says = self.says;
        let description = match self.code {
            ErrorCode::InvalidClient | ErrorCode::ServerError => format!("{says} (ref {})", self.reference),
            _ => says.to_owned(),
        };
        answer.json(serde_json::json!({ "error": self.code.as_str(), "error_description": description }))
    }
}

/// 401 to a request without a token: an invitation rather than a failure, so that it has no code, no reference and no
/// body (RFC 6750 §3.1).
pub fn token_wanted(realm: &Arc<Issuer>) -> HttpResponse {
    let challenge = Challenge::new(Scheme::BearerWanted, Arc::clone(realm));
    HttpResponse::Unauthorized()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((PRAGMA, "no-cache"))
        .insert_header((WWW_AUTHENTICATE, challenge.header()))
        .finish()
}

impl From<FormError> for Failure {
    fn from(error: FormError) -> Self {
        let says = match error {
            FormError::Repeated(_) => "A parameter is repeated",
            FormError::Encoding => "The body is not properly encoded",
            FormError::TooManyFields => "The body has too many parameters",
            FormError::Missing("grant_type") => "The parameter grant_type is missing",
            FormError::Missing("token") => "The parameter token is missing",
            FormError::Missing(_) => "A parameter is missing",
        };
        Self { cause: Some(Box::new(error)), ..Self::invalid_request(says) }
    }
}

impl From<GrantError> for Failure {
    fn from(error: GrantError) -> Self {
        let (code, says) = match error {
            GrantError::Form(error) => return error.into(),
            GrantError::UnknownGrant => (ErrorCode::UnsupportedGrantType, "The grant_type is not supported"),
            GrantError::NotThisClients => {
                (ErrorCode::UnauthorizedClient, "The client may not use this grant_type")
            }
            GrantError::Scope(_) => (ErrorCode::InvalidScope, "The scope is malformed"),
            GrantError::Exceeds(Exceeds::Scope) => {
                (ErrorCode::InvalidScope, "The scope goes beyond the registration of the client")
            }
            GrantError::Resource => (ErrorCode::InvalidTarget, "The resource is not one absolute URI"),
            GrantError::Exceeds(Exceeds::Resource) => {
                (ErrorCode::InvalidTarget, "The resource is not one of the client")
            }
        };
        Self { cause: Some(Box::new(error)), ..Self::new(code, StatusCode::BAD_REQUEST, says) }
    }
}

impl From<MintError> for Failure {
    fn from(error: MintError) -> Self {
        match error {
            MintError::CertificateEnds => Self::invalid_client(Refusal::certificate_ends(), None),
            // Keys in a database come when it does.
            MintError::Unsigned(Unsigned::NoKey(_)) => Self::unavailable(error),
            error => Self::server_error("The server could not make a token", error),
        }
    }
}

impl From<Unsigned> for Failure {
    fn from(error: Unsigned) -> Self {
        match error {
            Unsigned::NoKey(_) => Self::unavailable(error),
            Unsigned::Sign(_) => Self::server_error("The server could not sign its answer", error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error)
    }
}

impl Reference {
    fn fresh() -> Self {
        let mut bytes = [0; 10];
        // Without randomness the reference is of no use, and the refusal stands all the same.
        let _ = getrandom::fill(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let bits = self.0.iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
        for position in 0..16u32 {
            if position > 0 && position % 4 == 0 {
                f.write_char('-')?;
            }
            let digit = usize::try_from(bits >> (75 - 5 * position) & 31).unwrap_or_default();
            f.write_char(char::from(CROCKFORD.get(digit).copied().unwrap_or(b'0')))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_sixteen_characters_of_crockford_base32() {
        let text = Reference([0xff; 10]).to_string();
        assert_eq!(text, "ZZZZ-ZZZZ-ZZZZ-ZZZZ");
        assert_eq!(Reference([0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).to_string(), "0000-0000-0000-0001");
        assert_ne!(Reference::fresh(), Reference::fresh());
    }
}
