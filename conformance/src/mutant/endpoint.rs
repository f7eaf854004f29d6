//! The endpoints: token, introspection, revocation, registration.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use super::authentication::Caller;
use super::clients::Client;
use super::http::{Request, Response};
use super::token::identifier;
use super::{Fault, Mutant};

/// What is in a form, decoded.
pub(super) type Form = Vec<(String, String)>;

/// The parameters that somebody knows.
const KNOWN: [&str; 12] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "scope",
    "resource",
    "token",
    "token_type_hint",
    "code",
    "refresh_token",
    "username",
];

impl Mutant {
    /// Answers a request on a connection with these certificates; `alias`: on the port for those.
    pub(super) fn answer(&self, request: &Request, shown: &[Vec<u8>], alias: bool) -> Response {
        if let Some(document) = self.published(&request.path) {
            let read = matches!(request.method.as_str(), "GET" | "HEAD");
            return if read { document } else { Response::empty(405).with("Allow", "GET, HEAD") };
        }
        let name = request.path.strip_prefix("/t1/").unwrap_or_default();
        let response = match name {
            "register" if request.method == "POST" => return self.register(request),
            "token" | "introspect" | "revoke" if request.method != "POST" => {
                error(405, "invalid_request").with("Allow", "POST")
            }
            "token" | "introspect" | "revoke" => self
                .form_of(request)
                .and_then(|form| self.endpoint(name, request, &form, shown, alias))
                .unwrap_or_else(|error| error),
            _ => {
                let status = if self.has(Fault::NotFoundIs200) { 200 } else { 404 };
                return Response::json(status, &json!({"error": "not_found"}));
            }
        };
        self.finished(response, request)
    }

    fn endpoint(
        &self,
        name: &str,
        request: &Request,
        form: &Form,
        shown: &[Vec<u8>],
        alias: bool,
    ) -> Result<Response, Response> {
        let caller = Caller { request, form, shown, endpoint: name };
        // No longer than a name may be: what somebody sends for one may be a token.
        self.log(&caller.id().chars().take(64).collect::<String>());
        if self.has(Fault::TokensAreLogged) {
            self.log(caller.get("token").unwrap_or_default());
        }
        match name {
            "token" => self.token(&caller, alias),
            "introspect" => self.introspect(&caller),
            _ => self.revoke(&caller),
        }
    }

    fn register(&self, request: &Request) -> Response {
        let text = String::from_utf8_lossy(&request.body);
        match self.clients.register(&text, &self.at, &self.faults) {
            Ok(document) => Response::json(201, &document),
            Err(what) => {
                Response::json(400, &json!({"error": "invalid_client_metadata", "error_description": what}))
            }
        }
    }

    fn token(&self, caller: &Caller<'_>, alias: bool) -> Result<Response, Response> {
        let grant = caller.get("grant_type").ok_or_else(|| error(400, "invalid_request"))?;
        let client = self.authenticated(caller)?;
        if grant != "client_credentials" && !self.has(Fault::AnyGrant) {
            let invalid = self.has(Fault::UnknownGrantIsInvalidGrant);
            return Err(error(400, if invalid { "invalid_grant" } else { "unsupported_grant_type" }));
        }
        if !client.words("grant_types").contains(&"client_credentials") {
            let unknown = self.has(Fault::NoGrantIsInvalidClient);
            return Err(error(400, if unknown { "invalid_client" } else { "unauthorized_client" }));
        }
        let scope = self.granted(&client, caller.get("scope"))?;
        let asked: Vec<&str> = caller.all("resource").collect();
        let mine = client.resources();
        let known = asked.iter().all(|resource| mine.contains(resource));
        if !known || asked.len() > 1 && !self.has(Fault::TokensForTwoResources) {
            return Err(error(400, "invalid_target"));
        }
        let default: Vec<_> = mine.into_iter().take(1).collect();
        let resources = if asked.is_empty() { default } else { asked };
        let text = self.issue(&client, &scope, &resources, caller.certificates().first(), alias);
        let text = text.map_err(|_| error(500, "server_error"))?;
        let lifetime = self.lifetime;
        let mut body =
            json!({"access_token": text, "token_type": "Bearer", "expires_in": lifetime, "scope": scope});
        if let Some(members) = body.as_object_mut() {
            if self.has(Fault::ScopeIsNotSaid) {
                members.remove("scope");
            }
            if self.has(Fault::NoTokenType) {
                members.remove("token_type");
            }
            if self.has(Fault::TheLifetimeIsText) {
                members.insert("expires_in".to_owned(), json!(lifetime.to_string()));
            }
        }
        Ok(Response::json(200, &body))
    }

    /// The scope of the token.
    fn granted(&self, client: &Client, asked: Option<&str>) -> Result<String, Response> {
        let unknown = self.has(Fault::UnknownScopeIsInvalidRequest);
        let wrong = || error(400, if unknown { "invalid_request" } else { "invalid_scope" });
        let mine = client.words("scope");
        let Some(asked) = asked else {
            return Ok(if self.has(Fault::NoScopeIsNothing) { String::new() } else { mine.join(" ") });
        };
        let asked = if self.has(Fault::NamesAreNormalized) { normal(asked) } else { asked.to_owned() };
        let asked = if self.has(Fault::ScopesHaveNoCase) { asked.to_lowercase() } else { asked };
        let words: Vec<_> = asked.split(' ').collect();
        let ordered = mine.iter().filter(|word| words.contains(word)).eq(words.iter());
        if self.has(Fault::ScopesHaveAnOrder) && !ordered {
            return Err(wrong());
        }
        let known = self.has(Fault::AnyScope) || words.iter().all(|word| mine.contains(word));
        if known { Ok(asked) } else { Err(wrong()) }
    }

    fn introspect(&self, caller: &Caller<'_>) -> Result<Response, Response> {
        let client = if self.has(Fault::IntrospectionForEverybody) {
            self.clients.all().into_iter().find(|client| !client.asks_about().is_empty())
        } else {
            Some(self.authenticated(caller)?)
        };
        let client = client.ok_or_else(|| error(401, "invalid_client"))?;
        let token = caller.get("token").ok_or_else(|| error(400, "invalid_request"))?;
        let hidden = self.has(Fault::HintsDecide) && caller.get("token_type_hint") == Some("refresh_token");
        let claims = self.active(token).filter(|claims| self.may_see(&client, claims) && !hidden);
        match claims {
            Some(claims) => Ok(Response::json(200, &self.told(&claims))),
            None if self.has(Fault::BadTokensAreErrors) => Err(error(400, "invalid_request")),
            None => Ok(Response::json(200, &json!({"active": false}))),
        }
    }

    fn may_see(&self, client: &Arc<Client>, claims: &Value) -> bool {
        let own = client.asks_about();
        let audience = claims.get("aud").and_then(Value::as_str).unwrap_or_default();
        own.contains(&audience)
            || self.has(Fault::EverybodySeesAllTokens)
            || self.has(Fault::TheAudienceIsTheClient)
    }

    fn revoke(&self, caller: &Caller<'_>) -> Result<Response, Response> {
        let client = if self.has(Fault::RevocationAsksNobody) {
            self.clients.named(caller.id()).into_iter().next()
        } else {
            Some(self.authenticated(caller)?)
        };
        let token = caller.get("token").ok_or_else(|| error(400, "invalid_request"))?;
        let hint = caller.get("token_type_hint").unwrap_or("access_token");
        if hint != "access_token" && self.has(Fault::WrongHintsCostMuch) {
            sleep(Duration::from_millis(30));
        }
        if hint == "bogus" && self.has(Fault::UnknownHintsAreErrors) {
            return Err(error(400, "unsupported_token_type"));
        }
        if self.has(Fault::FloodsAreTooMuch) && self.count() > 100 {
            return Err(error(500, "server_error"));
        }
        let Some(claims) = self.own(token) else {
            let wrong = self.has(Fault::InvalidTokensAreErrors);
            return if wrong { Err(error(400, "invalid_request")) } else { Ok(Response::empty(200)) };
        };
        let own = client.is_some_and(|client| claims.get("client_id") == Some(&json!(client.id)));
        if !own && !self.has(Fault::AnybodyRevokes) {
            return Err(error(400, "invalid_grant"));
        }
        let hidden = self.has(Fault::HintsDecide) && hint == "refresh_token";
        if !hidden && !self.has(Fault::RevocationIsEmptyTalk) {
            self.revoked
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(identifier(&claims));
        }
        Ok(Response::empty(200))
    }

    fn form_of(&self, request: &Request) -> Result<Form, Response> {
        let wrong = || error(400, "invalid_request");
        let kind = request.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(wrong());
        }
        let text = std::str::from_utf8(&request.body).map_err(|_| wrong())?;
        let mut form = Form::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = if self.has(Fault::FormsAreNotDecoded) {
                (Some(name.to_owned()), Some(value.replace('+', " ")))
            } else {
                (decoded(name), decoded(value))
            };
            let (Some(name), Some(value)) = (name, value) else { return Err(wrong()) };
            let known = KNOWN.contains(&name.as_str());
            let repeated = name != "resource" && form.iter().any(|(is, _)| *is == name);
            if repeated || !known && self.has(Fault::UnknownParametersAreErrors) {
                return Err(wrong());
            }
            if !value.is_empty() || self.has(Fault::EmptyIsNotAbsent) {
                form.push((name, value));
            }
        }
        Ok(form)
    }

    /// The answer with the headers that all have, and with the faults that any may have.
    fn finished(&self, mut response: Response, request: &Request) -> Response {
        let mut value: Value = serde_json::from_str(&response.body).unwrap_or_default();
        if let (Some(members), true) = (value.as_object_mut(), response.status >= 400) {
            if self.has(Fault::ErrorsHaveCodesOfTheirOwn) {
                members.insert("error".to_owned(), json!("bad_request"));
            }
            if self.has(Fault::ErrorCodesHaveQuotes) {
                members.insert("error".to_owned(), json!("invalid\"request"));
            }
            if self.has(Fault::DescriptionsRepeatInput) {
                let form = self.form_of(request).unwrap_or_default();
                members.insert("error_description".to_owned(), json!(format!("{form:?}")));
            }
            if self.has(Fault::ErrorUrisHaveBlanks) {
                members.insert("error_uri".to_owned(), json!("https://localhost/what is wrong"));
            }
            response.body = value.to_string();
            if self.has(Fault::ErrorsAreText) {
                response = response.with("Content-Type", "text/plain");
            }
            if self.has(Fault::ErrorsAre200) {
                response.status = 200;
            }
        }
        if self.has(Fault::MembersAreRepeated) {
            response.body = response.body.replacen('{', "{\"token_type\":\"Bearer\",", 1);
        }
        if !self.has(Fault::AnswersMayBeStored) {
            response = response.with("Cache-Control", "no-store");
        }
        if self.has(Fault::NoPragma) { response } else { response.with("Pragma", "no-cache") }
    }
}

/// An error of RFC 6749 §5.2.
pub(super) fn error(status: u16, code: &str) -> Response {
    Response::json(status, &json!({"error": code}))
}

/// Percent-decoded and read as UTF-8.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(octets).ok()
}

/// Wide letters as narrow ones.
pub(super) fn normal(text: &str) -> String {
    let narrow = |letter: char| match letter {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(letter) - 0xfee0).unwrap_or(letter),
        other => other,
    };
    text.chars().map(narrow).collect()
}
