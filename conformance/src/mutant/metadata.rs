//! What the server says of itself (RFC 8414) and its keys (RFC 7517).

use serde_json::{Value, json};

use super::http::Response;
use super::{Fault, Mutant};
use crate::jose::sign;
use crate::pki::Key;

const PLACE: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/t1/.well-known/openid-configuration";

impl Mutant {
    /// The document at this path, if there is one.
    pub(super) fn published(&self, path: &str) -> Option<Response> {
        let at_openid = path == OPENID;
        let place =
            if self.has(Fault::TheSlashStays) { format!("{PLACE}/t1/") } else { format!("{PLACE}/t1") };
        let usual = path == place || self.has(Fault::OneIssuerForAllPaths) && path.starts_with(PLACE);
        let elsewhere = self.has(Fault::MetadataElsewhere);
        if path == "/t1/jwks" {
            let mut response = Response::json(200, &self.key_set());
            if self.has(Fault::KeyMembersAreRepeated) {
                response.body = response.body.replacen("\"kid\":", "\"kid\":\"another\",\"kid\":", 1);
            }
            return Some(response);
        }
        if usual && !elsewhere || at_openid && (elsewhere || self.has(Fault::DocumentsDisagree)) {
            let mut document = self.document();
            if at_openid && !elsewhere {
                set(&mut document, "jwks_uri", json!(format!("{}/keys", self.issuer)));
            }
            let response = Response::json(200, &document);
            let text = self.has(Fault::MetadataAreText);
            return Some(if text { response.with("Content-Type", "text/plain") } else { response });
        }
        None
    }

    fn document(&self) -> Value {
        let at = |name: &str| format!("{}/t1/{name}", self.base);
        let alias = |name: &str| format!("{}/t1/{name}", self.alias);
        let pki = if self.has(Fault::PkiByAnotherName) { "tls_client" } else { "tls_client_auth" };
        let self_signed = if self.has(Fault::SelfSignedByAnotherName) {
            "tls_self_signed"
        } else {
            "self_signed_tls_client_auth"
        };
        let mut methods = vec![pki, self_signed];
        if self.faults.have_passwords() {
            methods.push("client_secret_basic");
        }
        let jwts = self.has(Fault::NoAlgorithmsForJwts);
        if jwts {
            methods.push("private_key_jwt");
        }
        let mut document = json!({
            "issuer": self.issuer,
            "token_endpoint": at("token"),
            "introspection_endpoint": at("introspect"),
            "revocation_endpoint": at("revoke"),
            "registration_endpoint": at("register"),
            "jwks_uri": at("jwks"),
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "scopes_supported": ["read", "write"],
            "tls_client_certificate_bound_access_tokens": true,
            "mtls_endpoint_aliases": {
                "token_endpoint": alias("token"),
                "introspection_endpoint": alias("introspect"),
            },
        });
        for endpoint in ["token", "introspection", "revocation"] {
            set(&mut document, &format!("{endpoint}_endpoint_auth_methods_supported"), json!(methods));
            if self.has(Fault::NoneIsAnAlgorithm) {
                let name = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
                set(&mut document, &name, json!(["none"]));
            }
        }
        for (fault, name, value) in [
            (Fault::EndpointsHaveFragments, "token_endpoint", json!(at("token#here"))),
            (Fault::EndpointsHaveFragments, "revocation_endpoint", json!(at("revoke#here"))),
            (
                Fault::RevocationByHttp,
                "revocation_endpoint",
                json!(at("revoke").replacen("https", "http", 1)),
            ),
            (Fault::CertificatesAreMandatory, "token_endpoint", json!(alias("token"))),
            (Fault::TheIssuerHasAQuery, "issuer", json!(format!("{}?t=1", self.issuer))),
            (Fault::AuthorizationForNothing, "authorization_endpoint", json!(at("authorize"))),
            (Fault::NoTokenEndpoint, "token_endpoint", Value::Null),
            (Fault::ResponseTypesForNothing, "response_types_supported", json!(["code"])),
            (Fault::ListsWithoutElements, "scopes_supported", json!([])),
        ] {
            if self.has(fault) {
                set(&mut document, name, value);
            }
        }
        if self.has(Fault::AliasesOfNothing)
            && let Some(aliases) = document.get_mut("mtls_endpoint_aliases")
        {
            set(aliases, "token", json!(alias("token")));
        }
        if self.has(Fault::SignedMetadataWithoutIssuer) {
            let (algorithm, key) = self.signing();
            let claims = json!({"issuer": self.issuer});
            let text = sign(&json!({"alg": algorithm, "kid": algorithm}), &claims, key);
            set(&mut document, "signed_metadata", json!(text.unwrap_or_default()));
        }
        document
    }

    fn key_set(&self) -> Value {
        let (algorithm, key) = self.signing();
        let other = Key::p256().and_then(|key| key.jwk()).unwrap_or_default();
        let mut own =
            if self.has(Fault::TheKeysOfAnother) { other.clone() } else { key.jwk().unwrap_or_default() };
        set(&mut own, "kid", json!(algorithm));
        if self.has(Fault::KeysWithoutUse) {
            let mut encrypting = other;
            set(&mut encrypting, "use", json!("enc"));
            return json!({"keys": [own, encrypting]});
        }
        set(&mut own, "use", json!("sig"));
        set(&mut own, "alg", json!(algorithm));
        for (fault, name, value) in [
            (Fault::KeysHaveNoType, "kty", Value::Null),
            (Fault::OperationsAreRepeated, "key_ops", json!(["verify", "verify"])),
            (Fault::PrivateKeysAreTold, "d", json!("AQAB")),
        ] {
            if self.has(fault) {
                set(&mut own, name, value);
            }
        }
        if self.has(Fault::TheSetIsBare) { json!([own]) } else { json!({"keys": [own]}) }
    }
}

/// A member with this value; `Null` takes it away.
fn set(object: &mut Value, name: &str, value: Value) {
    let Some(members) = object.as_object_mut() else { return };
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.to_owned(), value)
    };
}
