//! `/verify`: a proxy in front of an API asks whether a request may pass. What RFC 6750 and RFC 8705 §3 ask of a resource
//! server, token and certificate, in one sub-request: nginx `auth_request` and Envoy `ext_authz` over HTTP.
//!
//! The proxy has proven itself and hands on the certificate of the client's handshake (`extract.rs`). That certificate is
//! compared with the one the token is bound to and not validated once more: a token is good as long as its certificate
//! would still get one, and that is what [`TokenVerifier::verify`](crate::token::TokenVerifier::verify) asks of registry,
//! anchors, revocation and store, as at introspection.
//!
//! There are four answers, 200, 401, 403 and 503, because nginx makes a 500 of every other one. What the route requires
//! is said by the proxy: on the path itself in the query, for nginx passes on every header that a client sends; below it
//! in two headers that the proxy sets, for there path and query are those of the client. A body is not read.

use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use secrecy::{ExposeSecret as _, SecretString};
use url::form_urlencoded;

use super::Services;
use super::extract::{Identity, presented};
use super::failure::{Failure, token_wanted};
use super::observe::Note;
use crate::authn::Presented;
use crate::clock::Timestamp;
use crate::oauth::{Audience, Form, FormError, Issuer, Scope, ScopeError};
use crate::token::{BindingError, BoundToken, Claims, Possession, TokenError};

const CLIENT_ID: HeaderName = HeaderName::from_static("x-certbound-client-id");
const SUBJECT: HeaderName = HeaderName::from_static("x-certbound-subject");
const SCOPE: HeaderName = HeaderName::from_static("x-certbound-scope");
const AUDIENCE: HeaderName = HeaderName::from_static("x-certbound-audience");

const REQUIRE_AUDIENCE: &str = "x-certbound-require-audience";
const REQUIRE_SCOPE: &str = "x-certbound-require-scope";
/// How every header begins that could be meant as a requirement.
const REQUIRE: &str = "x-certbound-require-";

/// On the path itself, `/verify?audience=…&scope=…`.
pub async fn by_query(services: Data<Services>, request: HttpRequest) -> HttpResponse {
    answer(&services, &request, Required::of_query(&request)).await
}

/// Below it, `/verify/any/path?of=the&client`, with the requirements in `X-Certbound-Require-Audience` and `-Scope`.
pub async fn by_headers(services: Data<Services>, request: HttpRequest) -> HttpResponse {
    answer(&services, &request, Required::of_headers(request.headers())).await
}

/// What a token must be for and must allow to pass here. A part that is not said or empty is not there.
#[derive(Debug, Default)]
struct Required {
    audience: Option<String>,
    scope: Option<Scope>,
}

/// Why a request does not pass. For the log; who sent it hears `invalid_token`, or `insufficient_scope`.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("an X-Certbound-Require header where the query says what is required")]
    BothWays,
    #[error("the query does not say what is required: {0}")]
    Query(#[from] FormError),
    #[error("a header that says what is required is repeated or no text")]
    Header,
    #[error("the required scope is none: {0}")]
    Scope(#[from] ScopeError),
    #[error("nobody said for which resource a token must be: neither the request nor tokens.resource")]
    NoAudience,
    #[error("an access token in the query")]
    TokenInQuery,
    #[error("the Authorization header is repeated or malformed")]
    Authorization,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the token is for {0}")]
    OtherAudience(Audience),
    #[error(transparent)]
    Binding(#[from] BindingError),
    #[error("the token allows no more than `{0}`")]
    TooLittle(Scope),
    #[error("the client_id begins or ends with a space, which a header cannot say")]
    Unsayable,
}

async fn answer(
    services: &Services,
    request: &HttpRequest,
    required: Result<Required, Refused>,
) -> HttpResponse {
    let mut identity = Identity::default();
    let verdict = verdict(services, request, required, &mut identity).await;
    request.extensions_mut().insert(identity);
    verdict.unwrap_or_else(HttpResponse::from_error)
}

async fn verdict(
    services: &Services,
    request: &HttpRequest,
    required: Result<Required, Refused>,
    identity: &mut Identity,
) -> Result<HttpResponse, Failure> {
    let (now, realm) = (services.clock.now(), &services.issuer);
    let told = |why| told(why, realm);
    let shown = presented(request).await.map_err(|failure| failure.into_invalid_token(realm))?;
    identity.thumbprint = shown.leaf().map(|leaf| leaf.thumbprint().to_string());
    let required = required.map_err(told)?;
    let Some(token) = token_of(request).map_err(told)? else {
        let mut answer = token_wanted(realm);
        answer.extensions_mut().insert(Note("no access token".to_owned()));
        return Ok(answer);
    };
    let bound = bound(services, token, &required, &shown, now).await.map_err(|why| {
        // Whose it is can be said of every token that we signed and that is in time, wherever it was found.
        let claims = services.verifier.read(token, now).ok();
        identity.claimed_client_id = claims.map(|claims| claims.client.to_string());
        told(why)
    })?;
    let claims = bound.claims();
    identity.client_id = Some(claims.client.to_string());
    match required.scope {
        Some(enough) if !enough.is_within(&claims.scope) => {
            let why = Refused::TooLittle(claims.scope.clone());
            Err(Failure::insufficient_scope(why, enough, realm))
        }
        _ => passes(claims).ok_or_else(|| told(Refused::Unsayable)),
    }
}

/// One answer for every reason, but for the store: a token of which nobody can say that it was not revoked is not
/// called bad, and the request may come again.
fn told(why: Refused, realm: &Arc<Issuer>) -> Failure {
    match why {
        Refused::Token(TokenError::Store(error)) => error.into(),
        why => Failure::invalid_token(why, realm),
    }
}

/// A good token, for the right resource, in the hands of whoever holds the certificate.
async fn bound(
    services: &Services,
    token: &str,
    required: &Required,
    shown: &Presented,
    now: Timestamp,
) -> Result<BoundToken, Refused> {
    let world = services.authenticator.load();
    let verified = services.verify(token, &world, now).await?;
    let policy = services.policy.load();
    let default = || policy.resource.as_ref().map(Audience::as_str);
    let audience = required.audience.as_deref().or_else(default).ok_or(Refused::NoAudience)?;
    if verified.claims().audience.as_str() != audience {
        return Err(Refused::OtherAudience(verified.claims().audience.clone()));
    }
    let shown = shown.leaf().map_or(Possession::Nothing, |leaf| Possession::Certificate(leaf.thumbprint()));
    Ok(verified.confirm(shown)?)
}

/// 200 with who it is. All four headers are always there, an empty scope included: a proxy that sets what it finds would
/// otherwise leave a header of the client's own in place.
///
/// None if a value cannot be said in a header as it is. Whoever reads one trims it, and so a `client_id` with a space at
/// an end would be taken for another one.
fn passes(claims: &Claims) -> Option<HttpResponse> {
    let id = claims.client.as_str();
    let client = HeaderValue::from_str(id).ok().filter(|_| id.trim() == id)?;
    let answer = HttpResponse::Ok()
        .insert_header((SUBJECT, client.clone()))
        .insert_header((CLIENT_ID, client))
        .insert_header((SCOPE, HeaderValue::try_from(claims.scope.to_string()).ok()?))
        .insert_header((AUDIENCE, HeaderValue::from_str(claims.audience.as_str()).ok()?))
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .finish();
    Some(answer)
}

impl Required {
    fn of_query(request: &HttpRequest) -> Result<Self, Refused> {
        if request.headers().keys().any(|name| name.as_str().starts_with(REQUIRE)) {
            return Err(Refused::BothWays);
        }
        if request.query_string().is_empty() {
            return Ok(Self::default());
        }
        let mut query = Form::parse(request.query_string().as_bytes())?;
        let mut take = |field| query.take(field);
        let (audience, scope) = (take("audience"), take("scope"));
        let (audience, scope) = (text(audience.as_ref()), text(scope.as_ref()));
        Ok(Self { audience: audience.map(str::to_owned), scope: scope.map(Scope::parse).transpose()? })
    }

    fn of_headers(headers: &HeaderMap) -> Result<Self, Refused> {
        let (audience, scope) = (one(headers, REQUIRE_AUDIENCE)?, one(headers, REQUIRE_SCOPE)?);
        Ok(Self { audience: audience.map(str::to_owned), scope: scope.map(Scope::parse).transpose()? })
    }
}

fn text(value: Option<&SecretString>) -> Option<&str> {
    value.map(SecretString::expose_secret)
}

/// The value of a header that may be there once; an empty one is what a proxy writes over a client's.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refused> {
    let mut all = headers.get_all(name);
    let value = match (all.next(), all.next()) {
        (value, None) => value.map(HeaderValue::to_str).transpose().map_err(|_| Refused::Header)?,
        _ => return Err(Refused::Header),
    };
    Ok(value.filter(|value| !value.is_empty()))
}

/// The token of the `Authorization` header (RFC 6750 §2.1), the one place where it may be: a URL is written down in
/// logs and histories (§2.3, §5.3). None if there is no header, or if it has another scheme: whoever comes with that
/// has not said anything that could be wrong here.
fn token_of(request: &HttpRequest) -> Result<Option<&str>, Refused> {
    let query = request.query_string();
    if !query.is_empty() && form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token") {
        return Err(Refused::TokenInQuery);
    }
    let mut all = request.headers().get_all(AUTHORIZATION);
    let header = match (all.next(), all.next()) {
        (None, _) => return Ok(None),
        (Some(header), None) => header.to_str().map_err(|_| Refused::Authorization)?,
        (Some(_), Some(_)) => return Err(Refused::Authorization),
    };
    let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    match token.trim_start_matches(' ') {
        "" => Err(Refused::Authorization),
        token => Ok(Some(token)),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
    use actix_web::{ResponseError as _, http::StatusCode, test::TestRequest};
    use proptest::prelude::*;

    use super::*;
    use crate::store::StoreError;

    #[test]
    fn a_store_that_does_not_answer_makes_no_token_good_and_none_bad() {
        let realm = Arc::new(Issuer::parse("https://as.example.com").unwrap());
        let answer = |why| told(why, &realm).error_response();
        let down = answer(Refused::Token(StoreError::Unavailable("it is away".to_owned()).into()));
        assert_eq!(down.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(down.headers().get(RETRY_AFTER).unwrap(), "5");
        for why in [Refused::Token(TokenError::Expired), Refused::Binding(BindingError::NothingShown)] {
            let challenge = answer(why).headers().get(WWW_AUTHENTICATE).cloned().unwrap();
            assert_eq!(challenge, "Bearer realm=\"https://as.example.com\", error=\"invalid_token\"");
        }
    }

    proptest! {
        #[test]
        fn what_a_proxy_requires_is_read_alike_both_ways(audience in "[!-~]{0,20}", scope in "[!#-\\[\\]-~]{1,8}( [!#-\\[\\]-~]{1,8}){0,3}") {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("audience", &audience).append_pair("scope", &scope);
            let asked = TestRequest::with_uri(&format!("/verify?{}", query.finish())).to_http_request();
            let set = TestRequest::default()
                .insert_header((REQUIRE_AUDIENCE, audience.as_str()))
                .insert_header((REQUIRE_SCOPE, scope.as_str()))
                .to_http_request();
            let (of_query, of_headers) = (Required::of_query(&asked).unwrap(), Required::of_headers(set.headers()).unwrap());
            prop_assert_eq!(&of_query.audience, &of_headers.audience);
            prop_assert_eq!(of_query.audience, Some(audience).filter(|audience| !audience.is_empty()));
            prop_assert_eq!(&of_query.scope, &of_headers.scope);
            prop_assert_eq!(of_query.scope, Some(Scope::parse(&scope).unwrap()));
        }
    }
}
