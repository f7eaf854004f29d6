//! One log line and one count per request; and what holds for every request before it has a route.

use std::time::Instant;

use actix_http::ConnectionType;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HOST, HeaderMap};
use actix_web::http::uri::Authority;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage as _, HttpResponse};

use super::connection::{Bounds, Peer};
use super::extract::Identity;
use super::failure::Failure;
use super::forwarded::CERTIFICATE_HEADERS;
use super::{Kind, Services, refused};
use crate::authn::Reason;
use crate::telemetry::{ReasonLabel, RequestLabels, cut};

/// Why an answer is what it is, where the answer itself must not say (an inactive token).
#[derive(Clone, Debug)]
pub struct Note(pub String);

/// Bounds the head, counts, and writes the line.
pub async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let began = Instant::now();
    let services = request.app_data::<Data<Services>>().expect("every listener has the services").clone();
    let bounds = *request.app_data::<Bounds>().expect("every listener has its bounds");
    let answering = request.conn_data::<Peer>().map(|peer| peer.in_flight.begin());
    let dropped = match bounds.kind {
        Kind::Forwarded => 0,
        Kind::Mtls | Kind::Public | Kind::Admin => certificate_headers(request.headers(), &services),
    };
    if dropped > 0 {
        services.metrics.headers_dropped.inc_by(dropped);
    }
    let mut response = match unanswerable(&request, bounds) {
        Some(status) => request.into_response(HttpResponse::build(status).force_close().finish()),
        None => next.call(request).await?.map_into_boxed_body(),
    };
    if services.ending.has_begun() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    record(&services, bounds.kind, &response, dropped, began);
    drop(answering);
    Ok(response)
}

fn record(services: &Services, kind: Kind, response: &ServiceResponse, dropped: u64, began: Instant) {
    let status = response.status().as_u16();
    let path = route(kind, response.request().match_pattern().as_deref());
    let took = began.elapsed();
    services
        .metrics
        .request_seconds
        .get_or_create(&RequestLabels { path, status })
        .observe(took.as_secs_f64());

    let failure = response.response().error().and_then(|error| error.as_error::<Failure>());
    let reason = failure.and_then(Failure::reason);
    if let Some(reason) = reason {
        services.metrics.refused.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }
    if let Some(failure) = failure {
        refused::keep(services, response.request(), failure, (kind.as_str(), path));
    }
    let extensions = response.request().extensions();
    let identity = extensions.get::<Identity>();
    let of_identity =
        |field: fn(&Identity) -> Option<&String>| identity.and_then(field).map(|text| cut(text));
    let cause = failure.and_then(Failure::causes);
    let noted = response.response().extensions();
    let cause = cause.as_deref().or_else(|| noted.get::<Note>().map(|note| note.0.as_str()));
    let proxy = (kind == Kind::Forwarded).then(|| proxy(response));
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                $level,
                r#ref = failure.map(|failure| failure.reference().to_string()),
                status,
                error = failure.map(|failure| failure.code().as_str()),
                reason = reason.map(Reason::as_str),
                cause,
                client_id = of_identity(|identity| identity.client_id.as_ref()),
                claimed_client_id = of_identity(|identity| identity.claimed_client_id.as_ref()),
                "x5t#S256" = of_identity(|identity| identity.thumbprint.as_ref()),
                revocation = of_identity(|identity| identity.revocation.as_ref()),
                headers_dropped = (dropped > 0).then_some(dropped),
                listener = kind.as_str(),
                proxy,
                path,
                duration_us,
                "request"
            )
        };
    }
    // By fault: ours is an error, theirs is the daily business of a server.
    match (status, kind) {
        (500.., _) => line!(tracing::Level::ERROR),
        // The client did all that it could.
        _ if reason == Some(Reason::RevocationUnknown) => line!(tracing::Level::ERROR),
        (_, Kind::Admin) => line!(tracing::Level::DEBUG),
        _ => line!(tracing::Level::INFO),
    }
}

/// Who handed the request on, or tried to.
fn proxy(response: &ServiceResponse) -> String {
    let address = response.request().peer_addr();
    address.map_or_else(|| "unix".to_owned(), |address| address.ip().to_canonical().to_string())
}

/// A route of the contract, or `other`: a stranger's path is no label.
fn route(kind: Kind, pattern: Option<&str>) -> &'static str {
    const API: &str = "/api/v1";
    const ENDS: [&str; 8] =
        ["/token", "/introspect", "/revoke", "/jwks", "/livez", "/readyz", "/metrics", "/verify"];
    const HAS: [&str; 2] = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];
    let Some(pattern) = pattern else { return "other" };
    // What is below `/verify/` is the path of a request to somebody's API.
    let pattern = pattern.strip_suffix("/{tail:.*}").unwrap_or(pattern);
    if kind == Kind::Admin && pattern.starts_with(API) {
        return API;
    }
    let well_known = HAS.into_iter().find(|name| pattern.contains(name));
    well_known.or_else(|| ENDS.into_iter().find(|end| pattern.ends_with(end))).unwrap_or("other")
}

/// What is refused before it is a request of anybody: the status, and no body.
fn unanswerable(request: &ServiceRequest, bounds: Bounds) -> Option<StatusCode> {
    if head_size(request) > bounds.head {
        return Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    (!names_one_host(request)).then_some(StatusCode::BAD_REQUEST)
}

/// RFC 9112 §3.2: a `Host` that is no host and port is 400, and so is one that the target contradicts. (That there is
/// exactly one where HTTP/1.1 wants it, the HTTP library sees to.) Nothing here depends on it; a proxy might.
fn names_one_host(request: &ServiceRequest) -> bool {
    let Some(host) = request.headers().get(HOST) else { return true };
    let Ok(host) = Authority::try_from(host.as_bytes()) else { return false };
    let same = |target: &Authority| target.as_str().eq_ignore_ascii_case(host.as_str());
    !host.as_str().contains('@') && request.uri().authority().is_none_or(same)
}

/// The head as it was on the wire, near enough: names, values and their separators.
fn head_size(request: &ServiceRequest) -> usize {
    let line = request.uri().path_and_query().map_or(0, |target| target.as_str().len()) + 16;
    request.headers().iter().fold(line, |size, (name, value)| size + name.as_str().len() + value.len() + 4)
}

/// How many headers in which proxies hand on certificates came to a listener that reads none; whoever sends one is
/// noticed.
fn certificate_headers(headers: &HeaderMap, services: &Services) -> u64 {
    let is_one = |name: &str| {
        CERTIFICATE_HEADERS.contains(&name) || services.certificate_headers.iter().any(|own| own == name)
    };
    let named = headers.keys().filter(|name| is_one(name.as_str()));
    u64::try_from(named.count()).unwrap_or(u64::MAX)
}
