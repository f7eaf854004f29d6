//! Client metadata (RFC 7591 §2, RFC 8705 §2) as a check wants them registered.

use serde_json::{Map, Value, json};

use crate::check::Halt;
use crate::pki::Shown;

/// A client document. The registrar adds what the server under test needs beside it.
#[derive(Clone, Debug)]
pub struct Document {
    pub(super) members: Map<String, Value>,
    pub(super) raw: Option<String>,
}

impl Document {
    /// A client of the CA, by one subject rule: `subject_dn`, `san_dns`, `san_uri`, `san_ip` or `san_email`.
    #[must_use]
    pub fn pki(rule: &str, value: &str) -> Self {
        Self::of("tls_client_auth").with(&format!("tls_client_auth_{rule}"), value)
    }

    /// A client with these certificates, as `x5c` in `jwks`.
    ///
    /// # Errors
    /// A key cannot be taken apart.
    pub fn self_signed(certificates: &[&Shown]) -> Result<Self, Halt> {
        let keys = certificates.iter().map(|shown| shown.jwk()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::keys(&json!({ "keys": keys })))
    }

    /// A self-signed client with this as its `jwks`, whatever it is.
    #[must_use]
    pub fn keys(jwks: &Value) -> Self {
        Self::of("self_signed_tls_client_auth").with("jwks", jwks.clone())
    }

    /// A client with this authentication method and nothing else.
    #[must_use]
    pub fn of(method: &str) -> Self {
        let document = Self { members: Map::new(), raw: None };
        let document = document.with("token_endpoint_auth_method", method);
        document.with("grant_types", json!(["client_credentials"])).with("scope", "read write")
    }

    /// A document of this text, which is a JSON object at least at its beginning.
    #[must_use]
    pub fn raw(text: &str) -> Self {
        Self { members: Map::new(), raw: Some(text.to_owned()) }
    }

    /// With this member, in place of one of the same name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Without this member.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.members.remove(name);
        self
    }

    /// With its JSON text changed; the registrar still adds what clients of its method need.
    #[must_use]
    pub fn rewritten(mut self, change: impl FnOnce(&str) -> String) -> Self {
        self.raw = Some(change(&self.text()));
        self
    }

    /// As JSON, to be changed as text and given to [`Document::raw`].
    #[must_use]
    pub fn text(&self) -> String {
        self.raw.clone().unwrap_or_else(|| Value::Object(self.members.clone()).to_string())
    }

    pub(super) fn method(&self) -> &str {
        self.members.get("token_endpoint_auth_method").and_then(Value::as_str).unwrap_or_default()
    }

    /// The text with these members in front of its own.
    pub(super) fn text_with(&self, more: &Map<String, Value>) -> String {
        if let Some(text) = &self.raw {
            let members = more.iter().map(|(name, value)| format!("{}:{value},", json!(name)));
            let members = members.collect::<Vec<_>>().concat();
            text.replacen('{', &format!("{{{members}"), 1)
        } else {
            let mut all = self.members.clone();
            for (name, value) in more {
                all.entry(name.clone()).or_insert_with(|| value.clone());
            }
            Value::Object(all).to_string()
        }
    }
}
