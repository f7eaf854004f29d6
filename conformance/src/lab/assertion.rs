//! Clients that sign an assertion (`private_key_jwt`, RFC 7523 §2.2): for what holds of them on a connection with a certificate.

use serde_json::json;

use super::{Client, Document, Lab, Request};
use crate::check::{Halt, not_applicable};
use crate::clock;
use crate::jose::sign;
use crate::pki::{Key, Leaf};

impl Lab {
    /// A new client that signs with this key and asks for bound tokens; its certificate is nothing that it is known by.
    ///
    /// # Errors
    /// `NotApplicable` if the server has no such clients.
    pub fn asserting_client(&self, key: &Key) -> Result<Client, Halt> {
        if !self.offers("token_endpoint_auth_methods_supported", "private_key_jwt")? {
            return not_applicable("every client of the server authenticates by its certificate");
        }
        let mut jwk = key.jwk()?;
        if let Some(members) = jwk.as_object_mut() {
            members.extend([("kid".to_owned(), json!("assertion")), ("alg".to_owned(), json!("ES256"))]);
        }
        let document = Document::of("private_key_jwt").with("jwks", json!({"keys": [jwk]}));
        let document = document.with("tls_client_certificate_bound_access_tokens", true);
        self.register(&document, &Leaf::new(&self.unique()).self_signed()?)
    }

    /// TOK with an assertion of this client.
    ///
    /// # Errors
    /// OpenSSL cannot sign with the key.
    pub fn asserted_token(&self, client: &Client, key: &Key) -> Result<Request<'_>, Halt> {
        let now = clock::seconds();
        let claims = json!({"iss": client.id, "sub": client.id, "aud": self.issuer(), "iat": now,
            "exp": now + 60, "jti": self.unique()});
        let assertion = sign(&json!({"alg": "ES256", "kid": "assertion"}), &claims, key)?;
        let request = self.token(client).with("client_assertion", &assertion);
        Ok(request.with("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"))
    }
}
