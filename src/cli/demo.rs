//! `certbound demo`: the main job in one command, nothing needed before it.
//!
//! A throw-away set-up (that of `init`), the real server on free loopback ports, and real clients over real
//! mutual TLS. Every step says what was sent, what came back and what that shows, and knows what had to come
//! back: the demo is also the shortest test of an installation.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use url::Url;

use crate::app::{self, Running};
use crate::authn::{Presented, PresentedCertificate, Via};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::pki::files::to_pem;
use crate::pki::{Certificate, Chain, Thumbprint};

use super::client::{Identity, Roots, TlsClient};
use super::init::{Lines, Place, write};
use super::output::{Answer, DONE, Fault, REFUSED, complain, conclude, say};
use super::serve::Signals;
use super::{Format, Globals, control, explain, files, token};

/// The arguments of `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Leave the set-up in DIR
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Keep the server running afterwards and print curl lines to paste
    #[arg(long)]
    serve: bool,
}

/// Shows the main job.
pub(crate) fn run(args: &DemoArgs, globals: &Globals) -> u8 {
    conclude(show(args, globals))
}

fn show(args: &DemoArgs, globals: &Globals) -> Result<Answer, Fault> {
    // Removed when dropped, whatever happened before.
    let throw_away = match &args.keep {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new()
                .prefix("certbound-demo-")
                .tempdir()
                .map_err(|error| Fault::Usage(format!("no directory for the demo: {error}")))?,
        ),
    };
    let directory = match (&args.keep, &throw_away) {
        (Some(kept), _) => kept.clone(),
        (None, Some(throw_away)) => throw_away.path().to_owned(),
        (None, None) => return Err(Fault::Usage("no directory for the demo".to_owned())),
    };
    let issuer = lay_out(&directory)?;
    let directory = std::fs::canonicalize(&directory)
        .map_err(|error| Fault::Usage(format!("{}: {error}", directory.display())))?;

    let (config, problems) = Config::load(&directory.join("certbound.yaml"));
    let config = config.ok_or_else(|| Fault::Refused(control::listed(&problems)))?;
    let running = app::start(config, Arc::new(SystemClock))?;

    let mut transcript = Transcript { format: globals.format, steps: Vec::new(), failed: 0 };
    let played = Play::new(&directory, &issuer)
        .and_then(|play| play.perform(&running, &mut transcript))
        .and_then(|()| transcript.epilogue());
    if args.serve && played.is_ok() {
        stay(&directory, &issuer, globals.format, running)?;
    } else {
        running.stop();
    }
    played
}

/// Writes the set-up for ports that are free at this moment; gives the issuer.
fn lay_out(directory: &Path) -> Result<String, Fault> {
    let no_port = |error| Fault::Refused(format!("no free port on 127.0.0.1: {error}"));
    // Both are held until both are known, so that they differ.
    let (mtls, admin) = (TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
    let port = |listener: std::io::Result<TcpListener>| {
        listener.and_then(|listener| listener.local_addr()).map(|address| address.port())
    };
    let place = Place {
        bind: "127.0.0.1",
        host: None,
        port: port(mtls).map_err(no_port)?,
        admin_port: port(admin).map_err(no_port)?,
    };
    let entries = place.entries(SystemClock.now()).map_err(|error| Fault::Refused(error.to_string()))?;
    write(directory, &entries)?;
    Ok(place.issuer())
}

fn stay(directory: &Path, issuer: &str, format: Format, running: Running) -> Result<(), Fault> {
    let signals = Signals::listen()?;
    let lines = Lines::new(directory, issuer);
    let words = format!(
        "The server goes on at {issuer}; end it with Ctrl-C.\n\n# a token\n{}\n\n# what the resource server \
         learns about it\n{}\n\n# the end of it\n{}\n",
        lines.token, lines.introspection, lines.revocation
    );
    match format {
        Format::Text => say(words)?,
        // Standard output has its one document already.
        Format::Json => complain(words),
    }
    signals.stop(running.stopper())?;
    running.wait();
    Ok(())
}

/// Somebody with a certificate.
struct Party {
    identity: Identity,
    subject: String,
    thumbprint: Thumbprint,
    http: TlsClient,
}

impl Party {
    fn new(cert: &Path, key: &Path, roots: &Roots<'_>) -> Result<Self, Fault> {
        let identity = Identity::read(cert, Some(key), None)?;
        let leaf = Certificate::parse(identity.leaf()).map_err(|error| Fault::Refused(error.to_string()))?;
        let http = TlsClient::new(Some(&identity), roots)?;
        Ok(Self { subject: leaf.subject().to_string(), thumbprint: leaf.thumbprint(), identity, http })
    }

    fn pem(&self) -> String {
        to_pem(self.identity.leaf())
    }
}

/// Who plays, and where.
struct Play {
    issuer: String,
    billing: Party,
    edge: Party,
    api: Party,
}

impl Play {
    fn new(directory: &Path, issuer: &str) -> Result<Self, Fault> {
        let ca = files::bundle(&directory.join("pki/ca.pem"), None)?.certificates;
        let roots = Roots::Given { certificates: &ca, name: "pki/ca.pem".to_owned() };
        let party = |cert: &str, key: &str| Party::new(&directory.join(cert), &directory.join(key), &roots);
        Ok(Self {
            issuer: issuer.to_owned(),
            billing: party("pki/billing.pem", "pki/billing.key")?,
            edge: party("clients.d/edge-7.pem", "pki/edge-7.key")?,
            api: party("pki/api.pem", "pki/api.key")?,
        })
    }

    fn perform(&self, running: &Running, transcript: &mut Transcript) -> Result<(), Fault> {
        let granted = self.token(
            transcript,
            "A token for a client whose certificate a CA vouches for (tls_client_auth, RFC 8705 §2.1)",
            &self.billing,
            "billing",
        )?;
        self.token(
            transcript,
            "A token for a client that registered its own certificate (self_signed_tls_client_auth, §2.2)",
            &self.edge,
            "edge-7",
        )?;
        self.mismatch(running, transcript)?;
        let (right, wrong) = (self.billing.pem(), self.edge.pem());
        self.introspect(
            transcript,
            "A resource server asks about a token and the certificate it came with (RFC 7662, RFC 8705 §3.2)",
            (&granted, &right),
            Some("The token is good, and it belongs to whoever holds that certificate."),
        )?;
        self.introspect(
            transcript,
            "The same token in other hands: the resource server saw another certificate",
            (&granted, &wrong),
            None,
        )?;
        self.revoke(transcript, &granted)?;
        self.introspect(transcript, "The token after its end", (&granted, &right), None)
    }

    fn token(
        &self,
        transcript: &mut Transcript,
        title: &str,
        party: &Party,
        client: &str,
    ) -> Result<String, Fault> {
        let form = [("grant_type", "client_credentials"), ("client_id", client)];
        let reply = self.send(party, "/token", &form)?;
        let token = reply.text("access_token").unwrap_or_default().to_owned();
        let bound_to = token::part(&token, 1)
            .and_then(|claims| claims.pointer("/cnf/x5t#S256").and_then(Value::as_str).map(str::to_owned));
        let ok = reply.status == 200 && bound_to == Some(party.thumbprint.to_string());
        let says = format!(
            "The token says cnf x5t#S256 {}: it is good with that certificate and no other.",
            bound_to.as_deref().unwrap_or("nothing")
        );
        transcript.step(title, party, reply, Verdict { ok, says, more: None })?;
        Ok(token)
    }

    fn mismatch(&self, running: &Running, transcript: &mut Transcript) -> Result<(), Fault> {
        let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
        let reply = self.send(&self.api, "/token", &form)?;
        let ok = reply.status == 400 && reply.text("error") == Some("invalid_client");
        let chain = Chain::parse(&self.api.identity.chain, self.api.identity.chain.len())
            .map_err(|error| Fault::Refused(error.to_string()))?;
        let presented = Presented::Certificate(Arc::new(PresentedCertificate { chain, via: Via::File }));
        let world = running.services().authenticator.load();
        let explanation = world.explain("billing", &presented, SystemClock.now());
        let says =
            "The wire says no more than that. The operator hears why from `certbound explain`:".to_owned();
        let more = Some((explain::text(&explanation), json!(explanation)));
        transcript.step(
            "The certificate of somebody else: refused",
            &self.api,
            reply,
            Verdict { ok: ok && !explanation.accepted, says, more },
        )
    }

    /// `good` is what to say where the token has to be active; without it, it must not be.
    fn introspect(
        &self,
        transcript: &mut Transcript,
        title: &str,
        (token, certificate): (&str, &str),
        good: Option<&str>,
    ) -> Result<(), Fault> {
        let form = [("client_id", "api-gateway"), ("token", token), ("client_certificate", certificate)];
        let reply = self.send(&self.api, "/introspect", &form)?;
        let active = reply.body.get("active").and_then(Value::as_bool);
        let ok = reply.status == 200 && active == Some(good.is_some());
        let says = good
            .unwrap_or("Not active: the resource server turns the request away, and learns nothing more.");
        transcript.step(title, &self.api, reply, Verdict { ok, says: says.to_owned(), more: None })
    }

    fn revoke(&self, transcript: &mut Transcript, token: &str) -> Result<(), Fault> {
        let reply = self.send(&self.billing, "/revoke", &[("client_id", "billing"), ("token", token)])?;
        let ok = reply.status == 200;
        let says = "The end of the token is on the disk before this answer.".to_owned();
        let title = "The client ends its token (RFC 7009)";
        transcript.step(title, &self.billing, reply, Verdict { ok, says, more: None })
    }

    fn send(&self, party: &Party, path: &str, form: &[(&str, &str)]) -> Result<Exchange, Fault> {
        let url = format!("{}{path}", self.issuer);
        let target = Url::parse(&url).map_err(|error| Fault::Refused(format!("{url}: {error}")))?;
        let reply = party
            .http
            .post_form(&target, form)
            .map_err(|none| Fault::Refused(format!("{url}: {} ({})", none.what, none.hint)))?;
        let form = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let body = serde_json::from_str(&reply.body).unwrap_or_else(|_| json!(reply.body));
        Ok(Exchange { url, form, status: reply.status, body, tls: reply.tls_version })
    }
}

/// What was sent and what came back.
struct Exchange {
    url: String,
    form: Vec<(String, String)>,
    status: u16,
    body: Value,
    tls: Option<&'static str>,
}

impl Exchange {
    fn text(&self, field: &str) -> Option<&str> {
        self.body.get(field).and_then(Value::as_str)
    }
}

/// What a step showed: whether it went as it should, one sentence, and what belongs to it for people and
/// programs.
struct Verdict {
    ok: bool,
    says: String,
    more: Option<(String, Value)>,
}

/// The steps so far: printed as they happen for people, at the end for programs.
struct Transcript {
    format: Format,
    steps: Vec<Value>,
    failed: usize,
}

impl Transcript {
    fn step(&mut self, title: &str, party: &Party, sent: Exchange, verdict: Verdict) -> Result<(), Fault> {
        self.failed += usize::from(!verdict.ok);
        if self.format == Format::Text {
            say(paragraph(self.steps.len() + 1, title, party, &sent, &verdict))?;
        }
        let form: serde_json::Map<_, _> =
            sent.form.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
        self.steps.push(json!({
            "title": title,
            "request": {
                "method": "POST",
                "url": sent.url,
                "form": form,
                "subject": party.subject,
                "x5t#S256": party.thumbprint.to_string(),
                "tls": sent.tls,
            },
            "answer": { "status": sent.status, "body": sent.body },
            "explanation": verdict.more.map(|(_, json)| json),
            "says": verdict.says,
            "ok": verdict.ok,
        }));
        Ok(())
    }

    fn epilogue(&self) -> Result<Answer, Fault> {
        let document = json!({ "ok": self.failed == 0, "steps": self.steps });
        let code = if self.failed == 0 { DONE } else { REFUSED };
        let words = || match self.failed {
            0 => format!("All {} steps went as they should.", self.steps.len()),
            failed => format!("{failed} of {} steps did not go as they should.", self.steps.len()),
        };
        // Said here and not at the end: with --serve the end is hours away.
        let answer = Answer::with_code(code, self.format, words, &document);
        say(&answer.text)?;
        Ok(Answer { code, text: String::new() })
    }
}

fn paragraph(number: usize, title: &str, party: &Party, sent: &Exchange, verdict: &Verdict) -> String {
    let form: Vec<_> = sent.form.iter().map(|(name, value)| format!("{name}={}", short(value))).collect();
    let mark = if verdict.ok { "ok" } else { "NOT AS IT SHOULD BE" };
    let mut out = format!(
        "{number}. {title}\n\n   POST {} over {} with the certificate of {}\n   {}\n\n   {}{}\n\n   \
         {mark}: {}\n",
        sent.url,
        sent.tls.unwrap_or("TLS"),
        party.subject,
        form.join("  "),
        sent.status,
        fields(&sent.body),
        verdict.says
    );
    if let Some((text, _)) = &verdict.more {
        out.push('\n');
        for line in text.trim_end().lines() {
            let _ = writeln!(out, "   {}", format!("| {line}").trim_end());
        }
    }
    out
}

/// The members of an answer, on one line if it is a short one.
fn fields(body: &Value) -> String {
    const SCREEN: usize = 100;
    let Value::Object(members) = body else {
        return body.as_str().map(|text| format!(" {text}")).unwrap_or_default();
    };
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), short);
    let pairs: Vec<_> = members.iter().map(|(name, value)| (name, plain(value))).collect();
    let line = pairs.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ");
    if line.chars().count() <= SCREEN {
        return format!(" {line}");
    }
    let lines: Vec<_> = pairs.iter().map(|(name, value)| format!("\n       {name:<14} {value}")).collect();
    lines.concat()
}

/// Tokens and certificates are longer than a screen is wide; of a PEM document the first line says nothing.
fn short(text: &str) -> String {
    const ENOUGH: usize = 60;
    let text = text.lines().nth(1).unwrap_or(text);
    if text.chars().count() <= ENOUGH {
        return text.to_owned();
    }
    format!("{}…", text.chars().take(ENOUGH / 2).collect::<String>())
}
