//! What clients and resource servers read first: metadata (RFC 8414, RFC 8705 §5) and the key set (RFC 7517).

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Data};
use serde_json::json;

use super::Services;
use crate::oauth::{AuthMethod, BaseUrl, GrantType, Issuer};

/// The metadata document, written once: nothing in it depends on the request (a `Host` header changes nothing).
#[derive(Clone, Debug)]
pub struct Metadata(Bytes);

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
        if let (Some(url), Some(document)) = (service_documentation, document.as_object_mut()) {
            document.insert("service_documentation".to_owned(), url.into());
        }
        Self(Bytes::from(document.to_string()))
    }
}

/// `GET /.well-known/oauth-authorization-server` and the `OpenID` name of the same document.
pub async fn metadata(services: Data<Services>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "max-age=300"))
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(services.metadata.0.clone())
}

/// `GET /jwks`: the public keys, with the one that signs next.
pub async fn jwks(services: Data<Services>) -> HttpResponse {
    let keys = services.keys.load().published(services.clock.now());
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "max-age=300"))
        .insert_header((CONTENT_TYPE, "application/jwk-set+json"))
        .body(keys.to_string())
}
