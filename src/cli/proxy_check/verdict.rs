//! From answers to a verdict. Pure: what can be told from outside, and no more.

use serde_json::Value;

use crate::cli::client::{NoReply, Reply};
use crate::cli::token::{part, reference};

/// What the token endpoint answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// A token, and the thumbprint that it is bound to, if it is a JWT that says so.
    Token(Option<String>),
    /// An error of the server (RFC 6749 §5.2).
    Error {
        status: u16,
        code: String,
        /// For `certbound explain`.
        reference: Option<String>,
    },
    /// An answer that no token endpoint gives: of the proxy, that is.
    Other(u16),
    /// The connection ended without one.
    Nothing(String),
}

/// What a header did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Nothing: it was removed, written over, or is not read.
    NoEffect,
    /// It reached the server, which refused the request.
    Reached,
    /// The proxy refused the request, or the connection ended.
    Refused,
    /// Somebody broke over it.
    Broke,
    /// It counted as the certificate of the client.
    Believed,
    /// There was no answer to compare with.
    NotTried,
}

impl Verdict {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NoEffect => "no_effect",
            Self::Reached => "reached",
            Self::Refused => "refused",
            Self::Broke => "broke",
            Self::Believed => "believed",
            Self::NotTried => "not_tried",
        }
    }
}

impl Outcome {
    pub(super) fn of(result: Result<Reply, NoReply>) -> Self {
        let reply = match result {
            Ok(reply) => reply,
            Err(none) => return Self::Nothing(none.what),
        };
        let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        if let (200, Some(token)) = (reply.status, text("access_token")) {
            let claims = part(token, 1).unwrap_or_default();
            return Self::Token(claims.pointer("/cnf/x5t#S256").and_then(Value::as_str).map(str::to_owned));
        }
        let is_code =
            |code: &&str| code.len() < 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        match text("error").filter(is_code) {
            Some(code) if (400..500).contains(&reply.status) => Self::Error {
                status: reply.status,
                code: code.to_owned(),
                reference: text("error_description").and_then(reference).map(str::to_owned),
            },
            _ => Self::Other(reply.status),
        }
    }

    fn is_token(&self) -> bool {
        matches!(self, Self::Token(_))
    }

    fn has_code(&self, is: &str) -> bool {
        matches!(self, Self::Error { code, .. } if code == is)
    }

    /// Equal but for the reference, which no two answers have in common.
    fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Error { status, code, .. }, Self::Error { status: one, code: two, .. }) => {
                (status, code) == (one, two)
            }
            (Self::Nothing(_), Self::Nothing(_)) => true,
            _ => self == other,
        }
    }
}

/// What a header did, told from the answers before, with a certificate in it, and with none in it.
pub(super) fn of(before: &Outcome, certificate: &Outcome, no_certificate: &Outcome) -> Verdict {
    if certificate.same_as(before) {
        // Who tells a certificate from none has read the header. One that is not registered is refused like none at all,
        // and one that is registered would not be.
        let read = matches!(no_certificate, Outcome::Error { .. }) && !no_certificate.same_as(before);
        return match read {
            false => Verdict::NoEffect,
            true if before.is_token() => Verdict::Reached,
            true => Verdict::Believed,
        };
    }
    match certificate {
        // It got a token where there was none, or one that is bound to something else.
        Outcome::Token(_) => Verdict::Believed,
        // It took the place of the one in the handshake.
        Outcome::Error { .. } if before.is_token() && certificate.has_code("invalid_client") => {
            Verdict::Believed
        }
        Outcome::Error { .. } => Verdict::Reached,
        Outcome::Other(500..) => Verdict::Broke,
        Outcome::Other(_) | Outcome::Nothing(_) => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str) -> Outcome {
        Outcome::Error { status: 400, code: code.to_owned(), reference: Some(code.to_uppercase()) }
    }

    fn token(bound_to: &str) -> Outcome {
        Outcome::Token(Some(bound_to.to_owned()))
    }

    fn reply(status: u16, body: &str) -> Outcome {
        Outcome::of(Ok(Reply { status, body: body.to_owned(), tls_version: None }))
    }

    #[test]
    fn what_a_header_did_is_told_from_differences() {
        let (client, request) = (error("invalid_client"), error("invalid_request"));
        let nothing = Outcome::Nothing("reset".to_owned());
        let other_reference =
            Outcome::Error { status: 400, code: "invalid_client".to_owned(), reference: None };
        for (before, certificate, no_certificate, verdict) in [
            // Without a certificate in the handshake.
            (&client, &client, &other_reference, Verdict::NoEffect),
            (&client, &client, &request, Verdict::Believed),
            (&client, &request, &request, Verdict::Reached),
            (&client, &token("victim"), &client, Verdict::Believed),
            (&client, &Outcome::Other(400), &Outcome::Other(400), Verdict::Refused),
            (&client, &client, &Outcome::Other(400), Verdict::NoEffect),
            (&client, &nothing, &nothing, Verdict::Refused),
            (&client, &Outcome::Other(502), &client, Verdict::Broke),
            (&Outcome::Other(400), &Outcome::Other(400), &Outcome::Other(400), Verdict::NoEffect),
            // With a registered one.
            (&token("own"), &token("own"), &token("own"), Verdict::NoEffect),
            (&token("own"), &token("own"), &request, Verdict::Reached),
            (&token("own"), &token("stranger"), &token("own"), Verdict::Believed),
            (&token("own"), &Outcome::Token(None), &token("own"), Verdict::Believed),
            (&token("own"), &client, &request, Verdict::Believed),
            (&token("own"), &request, &request, Verdict::Reached),
        ] {
            assert_eq!(
                of(before, certificate, no_certificate),
                verdict,
                "{before:?} {certificate:?} {no_certificate:?}"
            );
        }
    }

    #[test]
    fn an_answer_is_a_token_an_error_or_somebody_elses() {
        // {"cnf":{"x5t#S256":"abc"}}
        let token = r#"{"access_token":"e30.eyJjbmYiOnsieDV0I1MyNTYiOiJhYmMifX0.x"}"#;
        assert_eq!(reply(200, token), Outcome::Token(Some("abc".to_owned())));
        assert_eq!(reply(200, r#"{"access_token":"opaque"}"#), Outcome::Token(None));
        let refused = reply(400, r#"{"error":"invalid_client","error_description":"No (ref AB-CD)"}"#);
        assert!(
            matches!(&refused, Outcome::Error { reference: Some(reference), .. } if reference == "AB-CD")
        );
        for (status, body) in
            [(200, "<html>"), (502, r#"{"error":"invalid_client"}"#), (400, r#"{"error":"\u001b[2J"}"#)]
        {
            assert_eq!(reply(status, body), Outcome::Other(status));
        }
    }
}
