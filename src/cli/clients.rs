//! `certbound client`: the registered clients, their certificates, and how one takes the place of another without an
//! outage.
//!
//! States are nobody's to set: `next` is registered and was never seen, `current` is the newest that was seen,
//! `retiring` was seen and has been followed by a newer one. What was seen is the server's to know, or the store's where
//! none runs; what is registered stands in the files, and these commands change it there, as a person would.

mod add;
mod change;
mod edit;
mod retire;

use std::path::PathBuf;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;

use crate::admin::{describe_client, list_clients};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::Config;
use crate::oauth::ClientId;
use crate::registry::Client;

use super::client::ControlSocket;
use super::output::{Answer, Fault, conclude, table};
use super::{Globals, control};
use retire::InUse;

/// The commands about clients.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Every client with the states of its certificates, the end of the newest, and its last use
    #[command(after_help = "Example:\n  certbound client list --format json")]
    List,
    /// One client: its registration, and each certificate with state, validity, first and last use
    #[command(after_help = "Example:\n  certbound client show edge-7")]
    Show {
        /// The client, as registered
        id: String,
    },
    /// Register one more certificate of a self-signed client, beside those that it has
    #[command(after_help = "Example:\n  certbound client add-certificate edge-7 edge-7.next.pem")]
    AddCertificate {
        /// The client, as registered
        id: String,
        /// Its certificate: PEM, DER or PKCS#12; only the certificate is kept
        file: PathBuf,
        /// The password of a PKCS#12 file, on the first line of this one (default: the empty password)
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Take a certificate off the list of a client; its tokens end at once
    #[command(after_help = "Example:\n  certbound client retire-certificate edge-7 mX3pW9aQ")]
    RetireCertificate {
        /// The client, as registered
        id: String,
        /// The thumbprint in base64url or hexadecimal digits, or at least 8 characters of its beginning
        #[arg(allow_hyphen_values = true)]
        x5t: String,
        /// Even if it was used within the last 24 hours
        #[arg(long)]
        force: bool,
    },
}

/// Runs one of them.
pub(crate) fn run(command: &ClientCommand, globals: &Globals) -> u8 {
    let now = SystemClock.now();
    conclude(match command {
        ClientCommand::List => list(globals, now),
        ClientCommand::Show { id } => show(id, globals, now),
        ClientCommand::AddCertificate { id, file, password_file } => {
            add::add(id, file, password_file.as_deref(), globals, now)
        }
        ClientCommand::RetireCertificate { id, x5t, force } => {
            let in_use = if *force { InUse::Force } else { InUse::Refuse };
            retire::retire(id, x5t, in_use, globals, now)
        }
    })
}

fn list(globals: &Globals, now: Timestamp) -> Result<Answer, Fault> {
    let config = control::configuration(globals)?;
    let document = match control::server(&config)? {
        Some(server) => server.get(&["clients"])?,
        None => list_clients(&control::world(&config, now), &control::sightings(&config, None)?, now),
    };
    Ok(Answer::done(globals.format, || overview(&document), &document))
}

fn show(id: &str, globals: &Globals, now: Timestamp) -> Result<Answer, Fault> {
    let config = control::configuration(globals)?;
    let nobody = || Fault::Refused(format!("there is no client `{id}`; `certbound client list` names them"));
    let document = if let Some(server) = control::server(&config)? {
        server.find(&["clients", id])?.ok_or_else(nobody)?
    } else {
        let world = control::world(&config, now);
        let client = ClientId::parse(id).ok().and_then(|id| world.registry().find(&id)).ok_or_else(nobody)?;
        describe_client(&world, client, &control::sightings(&config, Some(&client.id))?, now)
    };
    Ok(Answer::done(globals.format, || portrait(&document), &document))
}

/// A certificate of a client as the server describes it.
#[derive(Debug, Deserialize)]
struct Held {
    #[serde(rename = "x5t#S256")]
    thumbprint: String,
    state: String,
    subject: Option<String>,
    source: String,
    not_before: Option<String>,
    not_after: Option<String>,
    days_left: Option<i64>,
    first_seen: Option<String>,
    last_seen: Option<String>,
}

impl Held {
    fn all(client: &Value) -> Vec<Self> {
        let certificates = client.get("certificates").and_then(Value::as_array).into_iter().flatten();
        certificates.filter_map(|one| Self::deserialize(one).ok()).collect()
    }

    fn has_ended(&self) -> bool {
        self.days_left.is_some_and(|days| days < 0)
    }
}

/// What a client has, with what was seen of it.
fn held(
    config: &Config,
    server: Option<&ControlSocket>,
    client: &Client,
    now: Timestamp,
) -> Result<Vec<Held>, Fault> {
    let described = if let Some(server) = server {
        server.find(&["clients", client.id.as_str()])?.unwrap_or_default()
    } else {
        let sightings = control::sightings(config, Some(&client.id))?;
        describe_client(&control::world(config, now), client, &sightings, now)
    };
    Ok(Held::all(&described))
}

/// A line for each client.
fn overview(document: &Value) -> String {
    let clients: Vec<_> = document.get("clients").and_then(Value::as_array).into_iter().flatten().collect();
    if clients.is_empty() {
        return "no clients are registered".to_owned();
    }
    let header = ["client_id", "method", "enabled", "certificates", "newest ends", "last use"];
    let rows = clients.into_iter().map(|client| {
        let held = Held::all(client);
        let text = |name: &str| client.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        let enabled = client.get("enabled").and_then(Value::as_bool) == Some(true);
        let newest = held.iter().filter_map(|held| held.not_after.as_deref()).max();
        let last = held.iter().filter_map(|held| held.last_seen.as_deref()).max();
        vec![
            text("client_id"),
            text("token_endpoint_auth_method"),
            if enabled { "yes" } else { "no" }.to_owned(),
            summary(&held),
            newest.map_or_else(|| "-".to_owned(), day),
            last.unwrap_or("never").to_owned(),
        ]
    });
    table(std::iter::once(header.map(str::to_owned).to_vec()).chain(rows))
}

/// `1 next, 1 current, 2 ended`: those that have ended serve nobody, whatever their state.
fn summary(held: &[Held]) -> String {
    let states = ["next", "current", "retiring"]
        .map(|state| (state, held.iter().filter(|held| held.state == state && !held.has_ended()).count()));
    let ended = ("ended", held.iter().filter(|held| held.has_ended()).count());
    let counted = states.into_iter().chain([ended]).filter(|(_, count)| *count > 0);
    let counted: Vec<_> = counted.map(|(state, count)| format!("{count} {state}")).collect();
    if counted.is_empty() { "none seen".to_owned() } else { counted.join(", ") }
}

fn day(moment: &str) -> String {
    moment.get(..10).unwrap_or(moment).to_owned()
}

/// One client, and a paragraph for each certificate.
fn portrait(document: &Value) -> String {
    let text = |name: &str| match document.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        Some(Value::Bool(enabled)) => if *enabled { "yes" } else { "no" }.to_owned(),
        _ => String::new(),
    };
    let mut fields = vec![
        ("client_id", text("client_id")),
        ("client_name", text("client_name")),
        ("method", text("token_endpoint_auth_method")),
    ];
    let credential = document.get("credential").and_then(Value::as_object).into_iter().flatten();
    fields.extend(credential.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?.to_owned()))));
    fields.extend([
        ("enabled", text("enabled")),
        ("scope", text("scope")),
        ("resources", text("resources")),
        ("contacts", text("contacts")),
    ]);
    let line = document.get("line").and_then(Value::as_u64).unwrap_or_default();
    fields.push(("document", format!("{}:{line}", text("file"))));
    let rows = fields.into_iter().filter(|(_, value)| !value.is_empty());
    let fields = table(rows.map(|(name, value)| vec![name.to_owned(), value]));
    let held = Held::all(document);
    if held.is_empty() {
        return format!("{fields}\n\nno certificate of it was seen yet");
    }
    let certificates: Vec<_> = held.iter().map(paragraph).collect();
    format!("{fields}\n\n{}", certificates.join("\n\n"))
}

fn paragraph(held: &Held) -> String {
    let unknown = "not known: only its thumbprint is registered";
    let ends = match (&held.not_before, &held.not_after, held.days_left) {
        (Some(from), Some(to), Some(days)) if days < 0 => format!("{from} to {to}, ended {} days ago", -days),
        (Some(from), Some(to), Some(days)) => format!("{from} to {to}, {days} days left"),
        _ => unknown.to_owned(),
    };
    let used = match (&held.first_seen, &held.last_seen) {
        (Some(first), Some(last)) => format!("first {first}, last {last}"),
        _ => "never".to_owned(),
    };
    let rows = [
        (held.state.as_str(), held.thumbprint.clone()),
        ("  subject", held.subject.clone().unwrap_or_else(|| unknown.to_owned())),
        ("  source", held.source.clone()),
        ("  valid", ends),
        ("  used", used),
    ];
    table(rows.map(|(name, value)| vec![name.to_owned(), value]))
}
