//! What a check works with: the server under test, its clients, certificates, and verbs for what one does with them.
//!
//! Every check has a [`Lab`] of its own, which keeps what was sent and seen as the evidence of that check. The server and
//! the clients that are registered before the first check are shared.

mod answer;
mod assertion;
mod credentials;
mod document;
mod forge;
mod forwarded;
mod hosting;
mod oauth;
mod published;
mod registrar;
mod request;
mod revoking;
mod strict;
mod target;

pub use answer::{Answer, Token};
pub use credentials::{Client, Role};
pub use document::Document;
pub use forwarded::{client_cert, client_cert_chain};
pub use hosting::Hosted;
pub use oauth::{altered, words};
pub use registrar::Submission;
pub use request::{Body, Request};
pub use strict::repeated_member;
pub use target::Target;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use url::Url;

use crate::check::{Halt, fail, not_applicable, untestable};
use crate::pki::{Authority, Leaf, Shown};
use crate::wire::{Connection, Exchange, NoConnection, Response, Tls};

/// The workbench of one check.
#[derive(Clone)]
pub struct Lab {
    target: Arc<Target>,
    evidence: Arc<Mutex<Vec<Exchange>>>,
}

impl Lab {
    /// A workbench without evidence.
    #[must_use]
    pub fn new(target: &Arc<Target>) -> Self {
        Self { target: Arc::clone(target), evidence: Arc::default() }
    }

    /// The server under test.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What was sent and seen so far.
    #[must_use]
    pub fn evidence(&self) -> Vec<Exchange> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds to the evidence what did not go over this lab's connections.
    pub fn record(&self, exchange: Exchange) {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
    }

    /// The same server without evidence, for what has to be waited for.
    #[must_use]
    pub fn unseen(&self) -> Self {
        Self::new(&self.target)
    }

    /// Waits until it holds, or for so long at most: what the server does in its own time. What is asked meanwhile goes
    /// through [`Lab::unseen`], and the check sees for itself afterwards.
    pub fn eventually(&self, at_most: Duration, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + at_most;
        while !holds() && Instant::now() < end {
            sleep(Duration::from_millis(500));
        }
    }

    // --- metadata

    /// The metadata document (RFC 8414 §2).
    ///
    /// # Errors
    /// `Untestable` if there is none.
    pub fn metadata(&self) -> Result<&Value, Halt> {
        self.target.metadata().map_err(|why| Halt::Untestable(format!("no metadata: {why}")))
    }

    /// The issuer identifier that the suite was told, as written.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.target.config.issuer
    }

    /// A member of the metadata that is a URL.
    ///
    /// # Errors
    /// `NotApplicable` if it is not there.
    pub fn conventional(&self, endpoint: &str) -> Result<Url, Halt> {
        url_in(self.metadata()?, endpoint)
    }

    /// An endpoint for clients with certificates: its alias (RFC 8705 §5), else its normal URL.
    ///
    /// # Errors
    /// `NotApplicable` if neither is there.
    pub fn endpoint(&self, endpoint: &str) -> Result<Url, Halt> {
        let metadata = self.metadata()?;
        metadata.get("mtls_endpoint_aliases").map_or_else(
            || url_in(metadata, endpoint),
            |aliases| url_in(aliases, endpoint).or_else(|_| url_in(metadata, endpoint)),
        )
    }

    /// Whether a member of the metadata that is a list has this word.
    ///
    /// # Errors
    /// `Untestable` without metadata.
    pub fn offers(&self, member: &str, word: &str) -> Result<bool, Halt> {
        let list = self.metadata()?.get(member).and_then(Value::as_array);
        Ok(list.is_some_and(|list| list.iter().any(|is| is == word)))
    }

    // --- requests

    /// A GET.
    #[must_use]
    pub fn get(&self, url: &Url) -> Request<'_> {
        Request::new(self, "GET", Ok(url.clone()))
    }

    /// A POST, of a form that is empty so far.
    #[must_use]
    pub fn post(&self, url: &Url) -> Request<'_> {
        Request::new(self, "POST", Ok(url.clone())).with_body(Body::Form(Vec::new()))
    }

    /// TOK of the register: `grant_type=client_credentials` and `client_id`, with the certificate of the client, at the alias
    /// of the token endpoint.
    #[must_use]
    pub fn token(&self, client: &Client) -> Request<'_> {
        let request =
            Request::new(self, "POST", self.endpoint("token_endpoint")).with_body(Body::Form(Vec::new()));
        let request = request.with("grant_type", "client_credentials").with("client_id", &client.id);
        let more = self.target.config.token_parameters.iter();
        more.fold(request, |request, (name, value)| request.by_default(name, value))
            .certificate(&client.shown)
    }

    /// Introspection of a token by this resource server (RFC 7662 §2.1).
    #[must_use]
    pub fn introspect(&self, by: &Client, token: &str) -> Request<'_> {
        let request = Request::new(self, "POST", self.endpoint("introspection_endpoint"));
        let request =
            request.with_body(Body::Form(Vec::new())).with("client_id", &by.id).with("token", token);
        request.certificate(&by.shown)
    }

    /// Revocation of a token by this client (RFC 7009 §2.1).
    #[must_use]
    pub fn revoke(&self, by: &Client, token: &str) -> Request<'_> {
        let request = Request::new(self, "POST", self.endpoint("revocation_endpoint"));
        let request =
            request.with_body(Body::Form(Vec::new())).with("client_id", &by.id).with("token", token);
        request.certificate(&by.shown)
    }

    /// A connection for what a [`Request`] cannot say: raw octets, several requests.
    ///
    /// # Errors
    /// No handshake; it is in the evidence.
    pub fn connect(&self, url: &Url, shown: Option<&Shown>, tls: Tls) -> Result<Connection, NoConnection> {
        Connection::open(url, shown, tls, &self.target.roots).inspect_err(|failed| {
            self.record(Exchange {
                with: failed.with.clone(),
                sent: Vec::new(),
                received: Vec::new(),
                failure: Some(failed.cause.clone()),
            });
        })
    }

    /// Sends octets as they are and reads one answer, which goes into the evidence.
    #[must_use]
    pub fn raw(&self, connection: &mut Connection, octets: &[u8]) -> Answer {
        self.raw_answer(connection, octets, false)
    }

    fn raw_answer(&self, connection: &mut Connection, octets: &[u8], to_head: bool) -> Answer {
        let (exchange, response) = connection.exchange(octets, to_head);
        let answer = Answer::of(response, exchange.failure.clone().unwrap_or_default());
        self.record(exchange);
        answer
    }

    // --- tokens

    /// A token for this client, or the check ends.
    ///
    /// # Errors
    /// `Fail` if there is none.
    pub fn good_token(&self, client: &Client) -> Result<Token, Halt> {
        self.token(client).send().expect_token()
    }

    /// What the resource server hears of a token: the JSON object of a 200.
    ///
    /// # Errors
    /// `Untestable` without a resource server, `Fail` if the answer is no such object.
    pub fn introspection(&self, token: &str) -> Result<Value, Halt> {
        self.introspect(self.resource_server()?, token).send().expect_json(200)
    }

    /// Whether a token is active for the resource server.
    ///
    /// # Errors
    /// As [`Lab::introspection`].
    pub fn is_active(&self, token: &str) -> Result<bool, Halt> {
        let answer = self.introspection(token)?;
        match answer.get("active").and_then(Value::as_bool) {
            Some(active) => Ok(active),
            None => fail("active is true or false", answer),
        }
    }

    /// The `cnf` of a token: of its claims, or of its introspection if it is opaque.
    ///
    /// # Errors
    /// As [`Lab::introspection`].
    pub fn confirmation(&self, token: &Token) -> Result<Value, Halt> {
        let whole = match token.claims() {
            Ok(claims) => claims,
            Err(_) => self.introspection(&token.text)?,
        };
        Ok(whole.get("cnf").cloned().unwrap_or(Value::Null))
    }

    // --- demo resource servers

    /// The demo resource server that asks the authorization server about each token.
    ///
    /// # Errors
    /// `Untestable` if there is none.
    pub fn introspecting_api(&self) -> Result<Url, Halt> {
        self.api("introspecting")
    }

    /// The demo resource server that verifies tokens itself.
    ///
    /// # Errors
    /// `Untestable` if there is none.
    pub fn local_api(&self) -> Result<Url, Halt> {
        self.api("local")
    }

    fn api(&self, name: &str) -> Result<Url, Halt> {
        match self.target.api(name).map(|url| Url::parse(&url)) {
            Some(Ok(url)) => Ok(url),
            _ => untestable(format_args!("no demo resource server ({name}) was given")),
        }
    }

    /// A GET with this token in the `Authorization` header.
    #[must_use]
    pub fn call(&self, api: &Url, token: &str, shown: Option<&Shown>) -> Request<'_> {
        let request = self.get(api).header("Authorization", &format!("Bearer {token}"));
        match shown {
            Some(shown) => request.certificate(shown),
            None => request,
        }
    }

    // --- PKI

    /// The CA that the server trusts for clients.
    ///
    /// # Errors
    /// `Untestable` if the suite has none.
    pub fn ca(&self) -> Result<&Authority, Halt> {
        match &self.target.client_ca {
            Some(ca) => Ok(ca),
            None => untestable("the suite has no CA that the server trusts (client_ca)"),
        }
    }

    /// A certificate of that CA.
    ///
    /// # Errors
    /// As [`Lab::ca`].
    pub fn issue(&self, leaf: &Leaf) -> Result<Shown, Halt> {
        Ok(self.ca()?.issue(leaf)?)
    }

    // --- other configurations

    /// The same server in another configuration, by the name in `start.rs` or in `variants` of the config.
    ///
    /// # Errors
    /// `Untestable` if there is none.
    pub fn variant(&self, name: &str) -> Result<Self, Halt> {
        match self.target.variant(name) {
            Ok(target) => Ok(Self { target, evidence: Arc::clone(&self.evidence) }),
            Err(why) => untestable(format_args!("no server of configuration {name:?}: {why}")),
        }
    }
}

fn url_in(object: &Value, member: &str) -> Result<Url, Halt> {
    match object.get(member).and_then(Value::as_str) {
        Some(text) => Url::parse(text).map_err(|error| Halt::Fail {
            expected: format!("{member} is a URL"),
            seen: format!("{text:?}: {error}"),
        }),
        None => not_applicable(format_args!("the metadata have no {member}")),
    }
}

/// What the answers of the evidence look like on one line.
pub(crate) fn summary(response: &Response) -> String {
    let body = String::from_utf8_lossy(&response.body);
    let cut: String = body.chars().take(300).collect();
    let more = if cut.len() < body.len() { "…" } else { "" };
    format!("{} {cut}{more}", response.status)
}
