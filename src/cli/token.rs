//! `certbound token`: what a client sees of a server, and what it sent.
//!
//! The first thing to try when a client cannot get in: the client's half of RFC 8705 §2 with every fact on
//! the table, and a hint for each usual cause. Why the server refused is in its log alone.

use std::fmt::Write as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde_json::{Value, json};
use url::Url;

use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::pki::certificate::AltName;
use crate::pki::{Certificate, CertificateError, Thumbprint};

use super::client::{Identity, NoReply, Reply, Request, Roots, TlsClient};
use super::output::{Answer, DONE, Fault, REFUSED, conclude};
use super::{Format, Globals, files};

/// The arguments of `token`.
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// The token endpoint; `/token` is added to a URL without a path
    #[arg(long, value_name = "U")]
    url: String,
    /// The client, as registered
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// Its certificate, and those to send along: PEM, DER or PKCS#12
    #[arg(long, value_name = "F")]
    cert: PathBuf,
    /// Its private key; may be left out where --cert holds it
    #[arg(long, value_name = "F")]
    key: Option<PathBuf>,
    /// The password of a PKCS#12 file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The certificates that vouch for the server; without it, those of the system
    #[arg(long, value_name = "F")]
    ca: Option<PathBuf>,
    /// What to ask for; without it, everything the client is registered for
    #[arg(long, value_name = "S")]
    scope: Option<String>,
    /// For which resource (RFC 8707)
    #[arg(long, value_name = "R")]
    resource: Option<String>,
}

/// Asks for a token and shows both sides.
pub(crate) fn run(args: &TokenArgs, globals: &Globals) -> u8 {
    conclude(ask(args, globals.format, SystemClock.now()))
}

fn ask(args: &TokenArgs, format: Format, now: Timestamp) -> Result<Answer, Fault> {
    let url = endpoint(&args.url)?;
    let identity = Identity::read(&args.cert, args.key.as_deref(), args.password_file.as_deref())?;
    let given = args.ca.as_deref().map(|path| files::bundle(path, None)).transpose()?;
    let roots = match (&given, &args.ca) {
        (Some(bundle), Some(path)) => {
            Roots::Given { certificates: &bundle.certificates, name: path.display().to_string() }
        }
        _ => Roots::System,
    };
    let client = TlsClient::new(Some(&identity), &roots)?;

    let mut form = vec![("grant_type", "client_credentials"), ("client_id", args.client_id.as_str())];
    form.extend(args.scope.as_deref().map(|scope| ("scope", scope)));
    form.extend(args.resource.as_deref().map(|resource| ("resource", resource)));
    let result = client.post_form(&url, &form);

    let exchange = Exchange {
        url: url.as_str(),
        form: &form,
        thumbprint: Thumbprint::of(identity.leaf()),
        leaf: Certificate::parse(identity.leaf()),
        sent_along: identity.chain.len().saturating_sub(1),
        request: client.request(),
        result,
    };
    Ok(exchange.answer(args, format, now))
}

/// The URL of a token endpoint; one without a path is that of the server.
pub(super) fn endpoint(text: &str) -> Result<Url, Fault> {
    let mut url = Url::parse(text).map_err(|error| Fault::Usage(format!("{text}: {error}")))?;
    if url.scheme() != "https" {
        return Err(Fault::Usage(format!(
            "{text}: a URL here begins with https://, since a certificate is shown in TLS"
        )));
    }
    if url.path() == "/" {
        url.set_path("/token");
    }
    Ok(url)
}

/// Everything that was sent and came back.
struct Exchange<'a> {
    url: &'a str,
    form: &'a [(&'a str, &'a str)],
    thumbprint: Thumbprint,
    leaf: Result<Certificate, CertificateError>,
    sent_along: usize,
    request: Request,
    result: Result<Reply, NoReply>,
}

impl Exchange<'_> {
    fn answer(&self, args: &TokenArgs, format: Format, now: Timestamp) -> Answer {
        let body = match &self.result {
            Ok(reply) => serde_json::from_str(&reply.body).unwrap_or_else(|_| json!(reply.body)),
            Err(_) => Value::Null,
        };
        let token = body.get("access_token").and_then(Value::as_str);
        let granted = token.is_some() && self.result.as_ref().is_ok_and(|reply| reply.status == 200);
        let hints = if granted { Vec::new() } else { self.hints(args, &body, now) };
        let claims = token.and_then(|token| part(token, 1));
        let opaque = granted && claims.is_none();
        let answer = match &self.result {
            Ok(reply) => json!({ "status": reply.status, "body": body }),
            Err(none) => json!({ "error": none.what }),
        };
        let document = json!({
            "granted": granted,
            "sent": self.sent(),
            "tls": self.tls(),
            "answer": answer,
            "header": token.and_then(|token| part(token, 0)),
            "claims": claims,
            "hints": hints,
        });
        Answer::with_code(if granted { DONE } else { REFUSED }, format, || text(&document, opaque), &document)
    }

    fn sent(&self) -> Value {
        let form: serde_json::Map<_, _> =
            self.form.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let certificate = match &self.leaf {
            Ok(leaf) => json!({
                "subject": leaf.subject().to_string(),
                "issuer": leaf.issuer().to_string(),
                "san": leaf.alt_names().iter().map(alt_name).collect::<Vec<_>>(),
                "x5t#S256": self.thumbprint.to_string(),
                "extended_key_usage": leaf.extended_key_usage(),
                "not_before": leaf.not_before().to_string(),
                "not_after": leaf.not_after().to_string(),
                "key": leaf.key_description(),
                "version": leaf.version(),
            }),
            Err(error) => {
                json!({ "x5t#S256": self.thumbprint.to_string(), "malformed": error.to_string() })
            }
        };
        json!({ "url": self.url, "form": form, "certificate": certificate, "sent_along": self.sent_along })
    }

    fn tls(&self) -> Value {
        let version = self.result.as_ref().ok().and_then(|reply| reply.tls_version);
        let certificate = match self.request {
            Request::NotAsked => "not asked for",
            Request::Sent => "asked for and sent",
            Request::NoCommonSignature => "asked for, not sent: no signature in common",
        };
        json!({ "version": version, "certificate": certificate })
    }

    /// What usually is behind such an answer, the likeliest first.
    fn hints(&self, args: &TokenArgs, body: &Value, now: Timestamp) -> Vec<String> {
        let mut hints: Vec<String> = Vec::new();
        if let Err(none) = &self.result {
            hints.push(none.hint.clone());
        }
        match self.request {
            Request::NotAsked if self.result.is_ok() => hints.push(
                "the server asked for no certificate: this is a listener of kind `public`, or a proxy ends TLS; \
                 use the URL in mtls_endpoint_aliases of its metadata"
                    .to_owned(),
            ),
            Request::NoCommonSignature => hints.push(
                "the server cannot check signatures of this kind of key; use RSA of 2048 bits, P-256, P-384 \
                 or Ed25519"
                    .to_owned(),
            ),
            _ => {}
        }
        hints.extend(self.certificate_hint(now));
        hints.extend(error_hint(args, body));
        hints
    }

    fn certificate_hint(&self, now: Timestamp) -> Option<String> {
        let leaf = match &self.leaf {
            Ok(leaf) => leaf,
            Err(error) => return Some(format!("the certificate is malformed: {error}")),
        };
        if now > leaf.not_after() {
            return Some(format!("the certificate expired on {}", leaf.not_after()));
        }
        if now < leaf.not_before() {
            return Some(format!("the certificate is valid from {} on", leaf.not_before()));
        }
        (!leaf.allows_client_auth())
            .then(|| "the certificate is not for clients: its extended key usage lacks clientAuth".to_owned())
    }
}

/// What the error code of RFC 6749 §5.2 asks for.
fn error_hint(args: &TokenArgs, body: &Value) -> Option<String> {
    let hint = match body.get("error")?.as_str()? {
        "invalid_client" => {
            let described = body.get("error_description").and_then(Value::as_str).unwrap_or_default();
            let log = match reference(described) {
                Some(reference) => format!("the reason is in the server's log under ref {reference}"),
                None => "the reason is in the server's log".to_owned(),
            };
            format!(
                "{log}; or ask beside its configuration: certbound explain --client {} --cert {}",
                args.client_id,
                args.cert.display()
            )
        }
        "invalid_scope" => {
            "the client is not registered for this scope; without --scope it gets all that it may have".into()
        }
        "invalid_target" => "the client is not registered for this resource".into(),
        "unauthorized_client" => {
            "the client proved itself, but its grant_types lack client_credentials".into()
        }
        _ => return None,
    };
    Some(hint)
}

/// `Client authentication failed (ref …)` has what the log can be searched for.
pub(super) fn reference(description: &str) -> Option<&str> {
    let (_, rest) = description.split_once("(ref ")?;
    rest.split_once(')').map(|(reference, _)| reference)
}

/// A part of a JWT, unverified: the client has no business with it, a person looking for a fault has.
pub(super) fn part(token: &str, index: usize) -> Option<Value> {
    let encoded = token.split('.').nth(index)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

fn alt_name(name: &AltName) -> String {
    match name {
        AltName::Dns(value) => format!("dns:{value}"),
        AltName::Uri(value) => format!("uri:{value}"),
        AltName::Ip(value) => format!("ip:{value}"),
        AltName::Email(value) => format!("email:{value}"),
        AltName::Other(kind) => format!("other:{kind}"),
    }
}

fn text(document: &Value, opaque: bool) -> String {
    let url = document.pointer("/sent/url").map(plain).unwrap_or_default();
    let mut out = format!("POST {url}\n\n");
    section(&mut out, "sent", document.pointer("/sent/form"));
    section(&mut out, "certificate", document.pointer("/sent/certificate"));
    section(&mut out, "TLS", document.get("tls"));
    section(&mut out, "answer", document.get("answer"));
    section(&mut out, "token header", document.get("header"));
    section(&mut out, "token claims", document.get("claims"));
    if opaque {
        out.push_str("The token is opaque to clients: it is no JWT.\n");
    }
    for hint in document.get("hints").and_then(Value::as_array).into_iter().flatten() {
        let _ = writeln!(out, "hint: {}", plain(hint));
    }
    out
}

/// Names on the left, values on the right; nested ones on lines of their own.
fn section(out: &mut String, title: &str, value: Option<&Value>) {
    let Some(Value::Object(fields)) = value else {
        return;
    };
    let _ = writeln!(out, "{title}");
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::Object(inner) if name == "body" => {
                for (name, value) in inner {
                    let _ = writeln!(out, "  {name:<20} {}", plain(value));
                }
            }
            value => {
                let _ = writeln!(out, "  {name:<20} {}", plain(value));
            }
        }
    }
    out.push('\n');
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().flat_map(printable).collect(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// What a server sends is not let loose on a terminal.
fn printable(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_unicode());
    let plain = escaped.is_none().then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_means_the_usual_token_endpoint() {
        assert_eq!(endpoint("https://as.example").unwrap().as_str(), "https://as.example/token");
        assert_eq!(endpoint("https://as.example:8443/").unwrap().path(), "/token");
        assert_eq!(endpoint("https://as.example/as/token.oauth2").unwrap().path(), "/as/token.oauth2");
    }

    #[test]
    fn a_certificate_is_never_asked_to_go_over_plain_http() {
        for text in ["http://as.example/token", "as.example", "", "ftp://as.example"] {
            assert!(matches!(endpoint(text), Err(Fault::Usage(_))), "{text}");
        }
    }

    #[test]
    fn the_reference_is_found_in_the_words_of_invalid_client() {
        let words = "Client authentication failed (ref 0123-4567-89AB-CDEF)";
        assert_eq!(reference(words), Some("0123-4567-89AB-CDEF"));
        assert_eq!(reference("Client authentication failed"), None);
    }

    #[test]
    fn what_is_no_jwt_has_no_parts() {
        assert_eq!(part("e30.e30.x", 1), Some(json!({})));
        for token in ["", "opaque", "a.b.c", "..", "e30"] {
            assert_eq!(part(token, 1), None, "{token}");
        }
    }

    #[test]
    fn a_server_cannot_move_the_cursor() {
        assert_eq!(plain(&json!("a\u{1b}[2Jb")), "a\\u{1b}[2Jb");
    }
}
