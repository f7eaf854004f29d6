//! Which form of the answer a resource server wants: the `Accept` of its request (RFC 9110 §12.5.1, RFC 9701 §4).
//!
//! A signed answer is for those who ask for it by name. A range (`*/*`, `application/*`) means JSON, because that is what
//! everybody who sends one can read; so does everything that is not understood or cannot be served.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{Accept, Header as _, Quality};
use actix_web::{FromRequest, HttpRequest};

use crate::token::Document;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// RFC 7662 §2.2.
    Json,
    /// RFC 9701 §5.
    Signed,
}

impl Wanted {
    /// Signed if that is named and not wanted less than JSON.
    fn by(accept: &Accept) -> Self {
        let signed = quality(accept, &[Document::TokenIntrospection.media_type()]);
        let json = quality(accept, &["application/json", "application/*", "*/*"]);
        match signed {
            Some(signed) if signed > Quality::ZERO && Some(signed) >= json => Self::Signed,
            _ => Self::Json,
        }
    }
}

/// What the first of these ranges that is there is worth: the most specific one counts, wherever it stands. Parameters of
/// a type change nothing, because neither type has any.
fn quality(accept: &Accept, ranges: &[&str]) -> Option<Quality> {
    ranges.iter().find_map(|range| {
        let named = accept.iter().filter(|wanted| wanted.item.essence_str() == *range);
        named.map(|wanted| wanted.quality).max()
    })
}

impl FromRequest for Wanted {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let accept = Accept::parse(request);
        ready(Ok(accept.map_or(Self::Json, |accept| Self::by(&accept))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn wanted(lines: &[&str]) -> Wanted {
        let mut request = TestRequest::post();
        for line in lines {
            request = request.append_header(("Accept", *line));
        }
        Accept::parse(&request.to_http_request()).map_or(Wanted::Json, |accept| Wanted::by(&accept))
    }

    #[test]
    fn signed_is_what_is_named_and_not_wanted_less_than_json() {
        for accept in [
            "application/token-introspection+jwt",
            "Application/Token-Introspection+JWT",
            "application/token-introspection+jwt;q=0.1",
            "application/token-introspection+jwt, application/json;q=0.9",
            "application/json, application/token-introspection+jwt",
            "application/json;q=0, application/token-introspection+jwt;q=0.001",
            "*/*;q=0.1, application/token-introspection+jwt;q=0.5",
            "text/html, application/token-introspection+jwt, */*",
            "application/json;q=0.2, */*, application/token-introspection+jwt;q=0.5",
            "application/token-introspection+jwt; q=1.000 , nonsense",
        ] {
            assert_eq!(wanted(&[accept]), Wanted::Signed, "{accept}");
        }
        assert_eq!(
            wanted(&["text/html", "application/token-introspection+jwt"]),
            Wanted::Signed,
            "two lines"
        );
    }

    #[test]
    fn everything_else_is_json() {
        for accept in [
            "application/json",
            "*/*",
            "application/*",
            "",
            "text/html",
            "application/jwt",
            "application/token-introspection+jwt;q=0",
            "application/token-introspection+jwt;q=0.5, application/json",
            "application/token-introspection+jwt;q=0.5, */*",
            "application/token-introspection+jwt;q=2",
            "application/token-introspection+jwt;q=often",
            "application/token-introspection+jwt2",
            "application/token-introspection",
            "application/*+jwt",
            "token-introspection+jwt",
            ";;,,;q=,=\"",
        ] {
            assert_eq!(wanted(&[accept]), Wanted::Json, "{accept}");
        }
        assert_eq!(wanted(&[]), Wanted::Json, "without Accept");
    }
}
