//! The clients, and how they are registered (RFC 7591).

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use openssl::x509::X509;
use serde_json::{Value, json};
use url::Url;

use super::certificates::{certificates, distinguished_name};
use super::{API, Fault, Faults, drawn};
use crate::wire::{Connection, Tls};

/// A registered client.
pub(super) struct Client {
    pub(super) id: String,
    pub(super) method: String,
    /// `san_dns` and the like, and its value.
    pub(super) subject: Option<(String, String)>,
    pub(super) document: Value,
    pub(super) secret: Option<String>,
    /// The first certificate that it showed.
    pub(super) first: OnceLock<Vec<u8>>,
    authority: Vec<u8>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Clients(Mutex<Vec<Arc<Client>>>);

impl Clients {
    /// All that are called so.
    pub(super) fn named(&self, id: &str) -> Vec<Arc<Client>> {
        self.all().into_iter().filter(|client| client.id == id).collect()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Registers a client; the answer is what is registered, or what is wrong.
    pub(super) fn register(&self, text: &str, at: &Path, faults: &Faults) -> Result<Value, String> {
        let mut text = text.to_owned();
        if faults.has(Fault::EscapesStay) {
            text = text.replace("\\u", "\\\\u");
        }
        if let (true, Some(last)) = (faults.has(Fault::TheFirstMemberCounts), text.rfind("\"x5c\"")) {
            let first = text.find("\"x5c\"").is_some_and(|first| first < last);
            text = if first { format!("{}\"kid\"{}", &text[..last], &text[last + 5..]) } else { text };
        }
        let mut document: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let given = document.get("client_id").and_then(Value::as_str).map(ToOwned::to_owned);
        let id = given.filter(|_| faults.has(Fault::ClientsNameThemselves)).unwrap_or_else(drawn);
        let method = text_of(&document, "token_endpoint_auth_method").to_owned();
        let subject = check(&document, &method, faults)?;
        let secret = (method == "client_secret_basic").then(|| format!("{}%+", drawn()));
        let Some(members) = document.as_object_mut() else { return Err("no object".to_owned()) };
        members.insert("client_id".to_owned(), json!(id));
        if let Some(secret) = &secret {
            members.insert("client_secret".to_owned(), json!(secret));
        }
        let authority = std::fs::read(at.join("server-ca.pem")).map_err(|error| error.to_string())?;
        let first = OnceLock::new();
        let client = Client { id, method, subject, document: document.clone(), secret, first, authority };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(client));
        Ok(document)
    }
}

impl Client {
    /// The words of a list, or of a text with blanks.
    pub(super) fn words(&self, member: &str) -> Vec<&str> {
        match self.document.get(member) {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(text)) => text.split(' ').collect(),
            _ => Vec::new(),
        }
    }

    /// What it may ask for tokens for, the default first.
    pub(super) fn resources(&self) -> Vec<&str> {
        let listed = self.words("resources");
        if listed.is_empty() { vec![API] } else { listed }
    }

    /// The resources whose tokens it may ask about.
    pub(super) fn asks_about(&self) -> Vec<&str> {
        let listed = self.document.pointer("/introspection/resources").and_then(Value::as_array);
        listed.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Whether it is not shut out.
    pub(super) fn is_enabled(&self) -> bool {
        self.document.get("enabled") != Some(&json!(false))
    }

    /// Its keys, fetched each time if they are elsewhere.
    pub(super) fn keys(&self, faults: &Faults) -> Vec<Value> {
        let set = match self.document.get("jwks_uri").and_then(Value::as_str) {
            Some(_) if faults.has(Fault::JwksUriIsNotRead) => None,
            Some(url) => self.fetch(url),
            None => self.document.get("jwks").cloned(),
        };
        set.as_ref().and_then(|set| set.get("keys")?.as_array().cloned()).unwrap_or_default()
    }

    fn fetch(&self, url: &str) -> Option<Value> {
        let url = Url::parse(url).ok()?;
        let roots = X509::stack_from_pem(&self.authority).ok()?;
        let roots: Vec<_> = roots.iter().filter_map(|root| root.to_der().ok()).collect();
        let mut connection = Connection::open(&url, None, Tls::Modern, &roots).ok()?;
        let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", url.path());
        let (_, response) = connection.exchange(request.as_bytes(), false);
        serde_json::from_slice(&response?.body).ok()
    }
}

/// What is wrong with the document, or by which subject the client is known.
fn check(document: &Value, method: &str, faults: &Faults) -> Result<Option<(String, String)>, String> {
    let wrong = |what: &str| Err(what.to_owned());
    if document.get("tls_client_certificate_bound_access_tokens").is_some_and(|wish| !wish.is_boolean()) {
        return wrong("a wish is a boolean");
    }
    match method {
        "tls_client_auth" => {
            let members = document.as_object().into_iter().flatten();
            let mut subjects = members
                .filter_map(|(name, value)| Some((name.strip_prefix("tls_client_auth_")?, value.as_str()?)));
            let (Some((rule, value)), None) = (subjects.next(), subjects.next()) else {
                return wrong("one subject is needed");
            };
            let readable = match rule {
                "subject_dn" => distinguished_name(value, faults).is_some(),
                "san_ip" => value.parse::<std::net::IpAddr>().is_ok(),
                _ => !value.is_empty(),
            };
            if readable { Ok(Some((rule.to_owned(), value.to_owned()))) } else { wrong("no such subject") }
        }
        "self_signed_tls_client_auth" => {
            let set = document.get("jwks");
            let keys = set.and_then(|set| set.get("keys")?.as_array());
            let bare = faults.has(Fault::BareKeysAreGood);
            let good = |keys: &Vec<Value>| keys.iter().all(|jwk| bare || certificates(jwk, faults).is_some());
            let more = set.and_then(Value::as_object).is_some_and(|members| members.len() > 1);
            match (keys, document.get("jwks_uri")) {
                _ if set.is_some() && faults.has(Fault::AnySetIsASet) => Ok(None),
                _ if more && faults.has(Fault::UnknownSetMembersAreErrors) => wrong("an unknown member"),
                (Some(keys), None) if !keys.is_empty() && good(keys) => Ok(None),
                (None, Some(_)) => Ok(None),
                _ => wrong("certificates are needed"),
            }
        }
        "client_secret_basic" if faults.have_passwords() => Ok(None),
        "none" if faults.has(Fault::PublicClientsGetTokens) => Ok(None),
        _ => wrong("no such method"),
    }
}

fn text_of<'value>(value: &'value Value, member: &str) -> &'value str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}
