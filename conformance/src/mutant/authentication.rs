//! Who asks.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::clients::Client;
use super::endpoint::{Form, decoded, error, normal};
use super::http::{Request, Response};
use super::{Fault, Mutant, certificates};

/// A request, with what says who sent it.
pub(super) struct Caller<'a> {
    pub(super) request: &'a Request,
    pub(super) form: &'a Form,
    pub(super) shown: &'a [Vec<u8>],
    pub(super) endpoint: &'a str,
}

impl<'a> Caller<'a> {
    /// A parameter.
    pub(super) fn get(&self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// All of this name.
    pub(super) fn all(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.form.iter().filter(move |(is, _)| is == name).map(|(_, value)| value.as_str())
    }

    /// `client_id`.
    pub(super) fn id(&self) -> &'a str {
        self.get("client_id").unwrap_or_default()
    }

    /// What was shown in the handshake.
    pub(super) const fn certificates(&self) -> &'a [Vec<u8>] {
        self.shown
    }
}

impl Mutant {
    /// The client that asks, or the answer to somebody else.
    pub(super) fn authenticated(&self, caller: &Caller<'_>) -> Result<Arc<Client>, Response> {
        let header = caller.request.header("authorization").unwrap_or_default();
        let (scheme, credentials) = header.split_once(' ').unwrap_or_default();
        if scheme.eq_ignore_ascii_case("bearer") && !self.has(Fault::BearerTokensAreIgnored) {
            let challenge = "Bearer realm=\"mutant\", error=\"invalid_token\"";
            return Err(error(401, "invalid_client").with("WWW-Authenticate", challenge));
        }
        let id =
            if self.has(Fault::NamesAreNormalized) { normal(caller.id()) } else { caller.id().to_owned() };
        let clients = self.clients.named(&id);
        if clients.is_empty() && self.has(Fault::UnknownClientsAreTold) {
            return Err(error(400, "unauthorized_client"));
        }
        let basic = scheme.eq_ignore_ascii_case("basic").then_some(credentials);
        let secret = caller.get("client_secret").is_some() || basic.is_some();
        let forwarded = self.forwarded(caller.request);
        let shown = forwarded.as_deref().unwrap_or(caller.shown);
        let mine = |client: &Arc<Client>| {
            let password = basic.is_some_and(|basic| self.is_password(client, basic));
            let anything = secret && self.has(Fault::ASecretWillDo)
                || client.method == "none"
                || shown.is_empty() && self.has(Fault::TheNameIsEnough) && caller.endpoint == "token";
            let certificate =
                !secret && caller.get("client_assertion").is_none() && self.has_certificate(client, shown);
            (client.is_enabled() || self.has(Fault::DisabledClientsGetTokens))
                && (password || anything || certificate)
        };
        clients.iter().find(|client| mine(client)).cloned().ok_or_else(|| self.refusal(shown))
    }

    fn has_certificate(&self, client: &Client, shown: &[Vec<u8>]) -> bool {
        if client.method == "self_signed_tls_client_auth" && self.has(Fault::AnyPinOfAnybody) {
            let all = self.clients.all();
            let mut others = all.iter().filter(|other| other.method == client.method);
            return others.any(|other| certificates::are_of(other, shown, &self.anchor, &self.faults));
        }
        client.method.ends_with("tls_client_auth")
            && certificates::are_of(client, shown, &self.anchor, &self.faults)
    }

    fn refusal(&self, shown: &[Vec<u8>]) -> Response {
        let code = match shown {
            [] if self.has(Fault::NoCertificateIsInvalidRequest) => "invalid_request",
            [_, ..] if self.has(Fault::WrongCertificateIsInvalidGrant) => "invalid_grant",
            _ => "invalid_client",
        };
        if code != "invalid_client" || self.has(Fault::InvalidClientIs400) {
            return error(400, code);
        }
        error(401, code).with("WWW-Authenticate", "Basic realm=\"mutant\"")
    }

    /// The certificate in a header that anybody can write.
    fn forwarded(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        let header = request.header("client-cert").filter(|_| self.has(Fault::HeadersProveKeys))?;
        Some(vec![STANDARD.decode(header.trim_matches(':')).ok()?])
    }

    fn is_password(&self, client: &Client, basic: &str) -> bool {
        let text = STANDARD.decode(basic).ok().and_then(|octets| String::from_utf8(octets).ok());
        let Some((_, given)) = text.as_deref().and_then(|text| text.split_once(':')) else { return false };
        let raw = self.has(Fault::PasswordsAreNotDecoded);
        let given = if raw { Some(given.to_owned()) } else { decoded(given) };
        client.secret.is_some() && given == client.secret
    }
}
