//! What came back, and what a check may expect of it.

use serde_json::Value;

use super::summary;
use crate::check::{Halt, Outcome, ensure, fail};
use crate::jose::Jwt;
use crate::wire::Response;

/// An answer, or the lack of one.
#[derive(Clone, Debug)]
pub struct Answer {
    response: Option<Response>,
    /// How the connection ended, if there is no response.
    failure: String,
    /// Why nothing was sent at all.
    halt: Option<Halt>,
}

/// A token that was issued.
#[derive(Clone, Debug)]
pub struct Token {
    /// `access_token`.
    pub text: String,
    /// The whole answer of the token endpoint.
    pub answer: Value,
}

impl Answer {
    pub(super) const fn of(response: Option<Response>, failure: String) -> Self {
        Self { response, failure, halt: None }
    }

    pub(super) const fn halted(halt: Halt) -> Self {
        Self { response: None, failure: String::new(), halt: Some(halt) }
    }

    /// The HTTP answer, if one came.
    #[must_use]
    pub const fn response(&self) -> Option<&Response> {
        self.response.as_ref()
    }

    /// The status, if an HTTP answer came.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.response.as_ref().map(|response| response.status)
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.as_ref().and_then(|response| response.header(name))
    }

    /// The body as JSON; `Null` if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        self.response
            .as_ref()
            .and_then(|response| serde_json::from_slice(&response.body).ok())
            .unwrap_or_default()
    }

    /// What came, on one line.
    #[must_use]
    pub fn seen(&self) -> String {
        self.response.as_ref().map_or_else(|| format!("no HTTP answer: {}", self.failure), summary)
    }

    /// Any HTTP answer.
    ///
    /// # Errors
    /// `Fail` if none came.
    pub fn expect_answer(&self) -> Result<&Response, Halt> {
        if let Some(halt) = &self.halt {
            return Err(halt.clone());
        }
        self.response.as_ref().map_or_else(|| fail("an HTTP answer", self.seen()), Ok)
    }

    /// An HTTP answer with this status.
    ///
    /// # Errors
    /// `Fail` if another came, or none.
    pub fn expect_status(&self, status: u16) -> Result<&Response, Halt> {
        let response = self.expect_answer()?;
        ensure(response.status == status, format_args!("status {status}"), self.seen())?;
        Ok(response)
    }

    /// A JSON object with this status and of type `application/json`.
    ///
    /// # Errors
    /// `Fail` if something else came.
    pub fn expect_json(&self, status: u16) -> Result<Value, Halt> {
        let response = self.expect_status(status)?;
        let kind = response.header("content-type").unwrap_or("none");
        ensure(is_json(kind), "Content-Type: application/json", format_args!("Content-Type: {kind}"))?;
        match self.json() {
            object @ Value::Object(_) => Ok(object),
            _ => fail("the body is a JSON object", self.seen()),
        }
    }

    /// An OAuth error (RFC 6749 §5.2) with this status and code, as JSON. Where 400 `invalid_client` is expected, 401 does as
    /// well. Whether it has a challenge and may not be stored is for the requirements that say so.
    ///
    /// # Errors
    /// `Fail` if something else came.
    pub fn expect_error(&self, status: u16, code: &str) -> Outcome {
        self.expect_error_of(status, &[code])
    }

    /// The same with one of several codes.
    ///
    /// # Errors
    /// `Fail` if something else came.
    pub fn expect_error_of(&self, status: u16, codes: &[&str]) -> Outcome {
        let response = self.expect_answer()?;
        let expected = format!("{status} {{\"error\":\"{}\"}}", codes.join("\" or \""));
        let object = self.json();
        let error = object.get("error").and_then(Value::as_str).unwrap_or_default();
        let challenged = status == 400 && response.status == 401 && error == "invalid_client";
        ensure(response.status == status || challenged, &expected, self.seen())?;
        ensure(codes.contains(&error), &expected, self.seen())?;
        let kind = response.header("content-type").unwrap_or("none");
        ensure(is_json(kind), "Content-Type: application/json", format_args!("Content-Type: {kind}"))?;
        ensure(object.get("access_token").is_none(), "an error has no access_token", self.seen())
    }

    /// `invalid_client`, with 400 or 401: for requirements that name the error. [`Answer::expect_refused`] is for the others.
    ///
    /// # Errors
    /// `Fail` if something else came.
    pub fn expect_invalid_client(&self) -> Outcome {
        self.expect_error(400, "invalid_client")
    }

    /// Who asked does not get in, and gets nothing: the handshake refused, or 400, 401 or 403, whatever it says of the
    /// reason. For requirements that ask for no more; the request must be good but for who asks.
    ///
    /// # Errors
    /// `Fail` if something else came.
    pub fn expect_refused(&self) -> Outcome {
        if self.halt.is_none() && self.response.is_none() {
            return self.expect_alert();
        }
        let refused = matches!(self.expect_answer()?.status, 400 | 401 | 403);
        ensure(refused, "a refusal: 400, 401, 403 or a TLS alert", self.seen())?;
        let object = self.json();
        let bare = object.get("access_token").is_none() && object.get("active").is_none();
        ensure(bare, "a refusal and nothing else", self.seen())
    }

    /// A TLS alert, or the connection closed, and no HTTP answer.
    ///
    /// # Errors
    /// `Fail` if an HTTP answer came, or the server is just not there.
    pub fn expect_alert(&self) -> Outcome {
        if let Some(halt) = &self.halt {
            return Err(halt.clone());
        }
        let expected = "the handshake is refused and there is no HTTP answer";
        ensure(self.response.is_none(), expected, self.seen())?;
        let gone = self.failure.starts_with("no TCP connection") || self.failure.contains("in time");
        ensure(!gone, expected, self.seen())
    }

    /// `Cache-Control: no-store`.
    ///
    /// # Errors
    /// `Fail` if the answer may be stored, or none came.
    pub fn expect_no_store(&self) -> Outcome {
        let stored = self.expect_answer()?.header("cache-control").unwrap_or("none");
        ensure(
            has_word(stored, "no-store"),
            "Cache-Control: no-store",
            format_args!("Cache-Control: {stored}; {}", self.seen()),
        )
    }

    /// Another method than POST is refused: 405 with `Allow: POST`, or another refusal, without anything of value.
    ///
    /// # Errors
    /// `Fail` if something else came.
    pub fn expect_only_post(&self) -> Outcome {
        let response = self.expect_answer()?;
        ensure((400..500).contains(&response.status), "405 with Allow: POST", self.seen())?;
        let allowed = response.header("allow").unwrap_or("none");
        ensure(
            response.status != 405 || has_word(allowed, "POST"),
            "a 405 has Allow: POST",
            format_args!("Allow: {allowed}"),
        )?;
        let object = self.json();
        let bare = object.get("access_token").is_none() && object.get("active").is_none();
        ensure(bare, "a refusal and nothing else", self.seen())
    }

    /// What is not sent as a form is refused, with 415 or otherwise.
    ///
    /// # Errors
    /// `Fail` if something else came.
    pub fn expect_form_wanted(&self) -> Outcome {
        if self.status() == Some(415) { Ok(()) } else { self.expect_refused() }
    }

    /// A token response (RFC 6749 §5.1): 200, JSON, an `access_token`, no `error`.
    ///
    /// # Errors
    /// `Fail` if something else came.
    pub fn expect_token(&self) -> Result<Token, Halt> {
        let answer = self.expect_json(200)?;
        let text = answer.get("access_token").and_then(Value::as_str).unwrap_or_default().to_owned();
        ensure(!text.is_empty() && answer.get("error").is_none(), "a token", self.seen())?;
        Ok(Token { text, answer })
    }

    /// A challenge of a resource server (RFC 6750 §3): this status, `WWW-Authenticate: Bearer` and this error code; with
    /// `None`, no code.
    ///
    /// # Errors
    /// `Fail` if something else came.
    pub fn expect_challenge(&self, status: u16, code: Option<&str>) -> Outcome {
        let response = self.expect_status(status)?;
        let challenge = response.header("www-authenticate").unwrap_or("none").to_owned();
        let seen = format!("WWW-Authenticate: {challenge}");
        ensure(challenge.to_ascii_lowercase().starts_with("bearer "), "WWW-Authenticate: Bearer …", &seen)?;
        match code {
            Some(code) => {
                let parameter = format!("error=\"{code}\"");
                ensure(
                    challenge.contains(&parameter),
                    format_args!("WWW-Authenticate with {parameter}"),
                    seen,
                )
            }
            None => ensure(!challenge.contains("error="), "WWW-Authenticate without an error code", seen),
        }
    }
}

impl Token {
    /// Header, claims and signature.
    ///
    /// # Errors
    /// `NotApplicable` if the token is opaque.
    pub fn jwt(&self) -> Result<Jwt, Halt> {
        Jwt::parse(&self.text)
            .ok_or_else(|| Halt::NotApplicable("access tokens of this server are no JWTs".to_owned()))
    }

    /// The claims.
    ///
    /// # Errors
    /// As [`Token::jwt`].
    pub fn claims(&self) -> Result<Value, Halt> {
        Ok(self.jwt()?.claims)
    }

    /// One claim that is a string.
    ///
    /// # Errors
    /// `Fail` if it is not there; as [`Token::jwt`].
    pub fn text_claim(&self, name: &str) -> Result<String, Halt> {
        let claims = self.claims()?;
        match claims.get(name).and_then(Value::as_str) {
            Some(text) => Ok(text.to_owned()),
            None => fail(format_args!("a claim {name} that is a string"), claims),
        }
    }
}

/// `application/json`, with or without parameters.
fn is_json(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Whether a comma-separated header value has this directive.
fn has_word(value: &str, word: &str) -> bool {
    value.split(',').any(|directive| directive.trim().eq_ignore_ascii_case(word))
}
