//! Where the three POST endpoints begin. Extracting an [`Authenticated`] *is* authenticating.
//!
//! The order is that of the contract: framing and form (400, 413, 415), then the client. One mechanism only
//! (RFC 6749 §2.3): an `Authorization` header, a secret or an assertion is never an alternative to the certificate.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{self, BytesMut, Data};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use secrecy::{ExposeSecret as _, SecretString};

use super::connection::Peer;
use super::failure::{Challenge, Failure, Scheme};
use super::proxy::Proxy;
use super::{Policy, Services};
use crate::authn::{AuthenticatedClient, ClientAuthenticator, Presented, Refusal};
use crate::clock::Timestamp;
use crate::oauth::Form;
use crate::registry::Credential;
use crate::telemetry::AnchorSetLabel;

/// A proven client with its request.
pub struct Authenticated {
    /// Who asks, proven for this request.
    pub client: AuthenticatedClient,
    /// What is left of the form.
    pub form: Form,
    /// The moment of the request; read once.
    pub now: Timestamp,
}

/// Which endpoint a route is, where they differ in what they tell a client that is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// RFC 6749 §3.2.
    Token,
    /// RFC 7662 §2.
    Introspect,
    /// RFC 7009 §2.
    Revoke,
}

/// Who a request says it is and what it brought, for the log; proven or not.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The proven client.
    pub client_id: Option<String>,
    /// What the request claims.
    pub claimed_client_id: Option<String>,
    /// The certificate shown, whatever it is worth.
    pub thumbprint: Option<String>,
    /// What is odd about its revocation status, where the client was let in all the same.
    pub revocation: Option<String>,
}

impl FromRequest for Authenticated {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Failure>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move { authenticated(&request, payload).await })
    }
}

async fn authenticated(request: &HttpRequest, payload: Payload) -> Result<Authenticated, Failure> {
    let services = request.app_data::<Data<Services>>().expect("every OAuth listener has the services");
    let endpoint = *request.app_data::<Endpoint>().expect("every POST route says which endpoint it is");
    let mut form = form(request, payload, &services.policy.load()).await?;
    let now = services.clock.now();
    let presented = presented(request).await;

    let claimed = form.take("client_id");
    let claimed = claimed.as_ref().map(SecretString::expose_secret);
    let mut identity = Identity {
        claimed_client_id: claimed.map(ToOwned::to_owned),
        thumbprint: presented.as_ref().ok().and_then(thumbprint),
        ..Identity::default()
    };
    let world = services.authenticator.load();
    let verdict = async {
        no_authorization(request, &services.issuer)?;
        let presented = presented?;
        one_mechanism(&form, &presented)?;
        let decided = world.authenticate_asking(claimed, &presented, now).await;
        decided.map_err(|refusal| {
            // RFC 7662 §2.3 wants 401 for credentials that do not hold; RFC 9701 §5 wants 400 for none.
            let brought_both = claimed.is_some() && !matches!(presented, Presented::Nothing);
            let challenge = (endpoint == Endpoint::Introspect && brought_both)
                .then(|| Challenge::new(Scheme::MutualTls, Arc::clone(&services.issuer)));
            Failure::invalid_client(refusal, challenge)
        })
    }
    .await;
    if let Ok(client) = &verdict {
        identity.client_id = Some(client.client().id.to_string());
        identity.revocation = client.revocation_unknown().map(|why| format!("unknown: {why}"));
        note(services, &world, client, now).await;
    }
    request.extensions_mut().insert(identity);
    Ok(Authenticated { client: verdict?, form, now })
}

/// The first sight of a certificate is durable before a token leaves: the tokens of one that is revoked later end only if
/// it is known what they are bound to (decision P).
async fn note(
    services: &Services,
    world: &ClientAuthenticator,
    client: &AuthenticatedClient,
    now: Timestamp,
) {
    if client.revocation_unknown().is_some()
        && let Credential::TlsClientAuth { anchors, .. } = &client.client().credential
    {
        let label = AnchorSetLabel { trust_anchors: anchors.to_string() };
        services.metrics.revocation_unknown.get_or_create(&label).inc();
    }
    let (id, chain, witness) = (&client.client().id, client.chain(), &services.witness);
    // A client may come by another path than at first, when the first one has ended: then its tokens stand on this one.
    if let Some(known) = witness.saw(id, chain, now).await
        && known.intermediates != chain.intermediates
        && world.still_vouches_for(id, chain.leaf.thumbprint(), Some(&known), now).is_err()
    {
        witness.saw_anew(id, chain, now).await;
    }
}

/// What the client showed: in the handshake, or, behind a proxy, to the proxy. An error is a proxy that does not prove to
/// be the one of the configuration, or hands on what is no certificate.
pub(super) async fn presented(request: &HttpRequest) -> Result<Presented, Failure> {
    let of_peer = request.conn_data::<Peer>().map_or(Presented::Nothing, |peer| peer.presented.clone());
    let presented = match request.app_data::<Data<Proxy>>() {
        None => of_peer,
        Some(proxy) => proxy.presented(request, &of_peer).await?,
    };
    // For the record of a refusal: on a connection of a proxy, only the request knows whose certificate it brought.
    request.extensions_mut().insert(presented.clone());
    Ok(presented)
}

fn thumbprint(presented: &Presented) -> Option<String> {
    presented.leaf().map(|leaf| leaf.thumbprint().to_string())
}

/// Reads the body within its limits.
async fn form(request: &HttpRequest, payload: Payload, policy: &Policy) -> Result<Form, Failure> {
    if !is_form(request) || request.headers().contains_key(CONTENT_ENCODING) {
        return Err(Failure::unread(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body must be application/x-www-form-urlencoded in UTF-8, not compressed",
        ));
    }
    if declared_length(request).is_some_and(|length| length > policy.body) {
        return Err(Failure::unread(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"));
    }
    let body = tokio::time::timeout(policy.body_timeout, read(payload, policy.body)).await;
    let body = body.map_err(|_| Failure::unread(StatusCode::REQUEST_TIMEOUT, "The body took too long"))??;
    Ok(Form::parse(&body)?)
}

/// What the request says of its body; framing has made sure that it is a number, where it is there.
fn declared_length(request: &HttpRequest) -> Option<usize> {
    let length = request.headers().get(CONTENT_LENGTH)?.to_str().ok()?;
    Some(length.trim().parse().unwrap_or(usize::MAX))
}

async fn read(mut payload: Payload, most: usize) -> Result<BytesMut, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = next(&mut payload).await {
        let chunk =
            chunk.map_err(|_| Failure::unread(StatusCode::BAD_REQUEST, "The body is not properly framed"))?;
        if body.len() + chunk.len() > most {
            return Err(Failure::unread(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn next(payload: &mut Payload) -> Option<Result<web::Bytes, actix_web::error::PayloadError>> {
    std::future::poll_fn(|context| futures_core::Stream::poll_next(Pin::new(&mut *payload), context)).await
}

/// RFC 6749 appendix B; parameters such as `charset=UTF-8` are sent by many and mean no harm, another charset does.
fn is_form(request: &HttpRequest) -> bool {
    let mut types = request.headers().get_all(CONTENT_TYPE);
    let (Some(only), None) = (types.next(), types.next()) else {
        return false;
    };
    let mut parts = only.to_str().unwrap_or_default().split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let charset_fits = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") && charset_fits
}

fn no_authorization(request: &HttpRequest, issuer: &Arc<crate::oauth::Issuer>) -> Result<(), Failure> {
    let Some(header) = request.headers().get(AUTHORIZATION) else { return Ok(()) };
    let scheme = header.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    let scheme = if scheme.eq_ignore_ascii_case(b"basic") { Scheme::Basic } else { Scheme::Bearer };
    let challenge = Challenge::new(scheme, Arc::clone(issuer));
    Err(Failure::invalid_client(Refusal::wrong_method("an Authorization header"), Some(challenge)))
}

fn one_mechanism(form: &Form, presented: &Presented) -> Result<(), Failure> {
    if !["client_secret", "client_assertion", "client_assertion_type"].iter().any(|field| form.has(field)) {
        return Ok(());
    }
    match presented {
        Presented::Nothing => {
            Err(Failure::invalid_client(Refusal::wrong_method("a secret or an assertion in the body"), None))
        }
        Presented::Malformed(_) | Presented::Certificate(_) => {
            Err(Failure::invalid_request("The request uses more than one way to authenticate the client"))
        }
    }
}
