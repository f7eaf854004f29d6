//! What clients and resource servers read first: metadata (RFC 8414, RFC 8705 §5, RFC 9701 §7) and the key set
//! (RFC 7517).

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Data;
use serde_json::{Value, json};

use super::Services;
use crate::keys::SigningAlgorithm;
use crate::oauth::{AuthMethod, BaseUrl, GrantType, Issuer};

/// The metadata document. Nothing in it depends on the request (a `Host` header changes nothing); what depends on the keys
/// of the moment is added when it is asked for.
#[derive(Clone, Debug)]
pub struct Metadata(Value);

impl Metadata {
    /// The document of this issuer.
    pub fn new(issuer: &Issuer, mtls_base_url: &BaseUrl, service_documentation: Option<&str>) -> Self {
        let methods: Vec<_> = AuthMethod::ALL.into_iter().map(AuthMethod::as_str).collect();
        let grants: Vec<_> = GrantType::ALL.into_iter().map(GrantType::as_str).collect();
        let mut document = json!({
            "issuer": issuer.as_str(),
            "token_endpoint": format!("{issuer}/token"),
            "introspection_endpoint": format!("{issuer}/introspect"),
            "revocation_endpoint": format!("{issuer}/revoke"),
            "jwks_uri": format!("{issuer}/jwks"),
            // RFC 8414 §2 requires it, and its default would promise an authorization endpoint.
            "response_types_supported": [],
            "grant_types_supported": grants,
            "token_endpoint_auth_methods_supported": methods,
            "introspection_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_methods_supported": methods,
            "tls_client_certificate_bound_access_tokens": true,
            "mtls_endpoint_aliases": {
                "token_endpoint": format!("{mtls_base_url}/token"),
                "introspection_endpoint": format!("{mtls_base_url}/introspect"),
                "revocation_endpoint": format!("{mtls_base_url}/revoke"),
            },
        });
        if let Some(url) = service_documentation {
            add(&mut document, "service_documentation", url.into());
        }
        Self(document)
    }

    /// The document while answers are signed with `algorithms` (RFC 9701 §7); without any it does not mention them
    /// (RFC 8414 §3.2).
    fn signing_with(&self, algorithms: &[SigningAlgorithm]) -> String {
        let mut document = self.0.clone();
        if !algorithms.is_empty() {
            let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.as_str()).collect();
            add(&mut document, "introspection_signing_alg_values_supported", names.into());
        }
        document.to_string()
    }
}

fn add(document: &mut Value, member: &str, value: Value) {
    if let Some(members) = document.as_object_mut() {
        members.insert(member.to_owned(), value);
    }
}

/// `GET /.well-known/oauth-authorization-server` and the `OpenID` name of the same document.
pub async fn metadata(services: Data<Services>) -> HttpResponse {
    let algorithms = services.keys.load().algorithms(services.clock.now());
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "max-age=300"))
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(services.metadata.signing_with(&algorithms))
}

/// `GET /jwks`: the public keys, with the one that signs next.
pub async fn jwks(services: Data<Services>) -> HttpResponse {
    let keys = services.keys.load().published(services.clock.now());
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "max-age=300"))
        .insert_header((CONTENT_TYPE, "application/jwk-set+json"))
        .body(keys.to_string())
}
