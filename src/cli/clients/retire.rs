//! `certbound client retire-certificate`: the end of a certificate that nobody uses any more.

use std::collections::BTreeSet;
use std::str::FromStr as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::change::{Edit, Force, Meant, NotDone, Snapshot, pins};
use super::{Held, edit, held};
use crate::cli::output::{Answer, Fault, REFUSED, complain};
use crate::cli::{Globals, control};
use crate::clock::Timestamp;
use crate::pki::Thumbprint;
use crate::registry::{CertificatePlaces, Client, Credential};

/// A certificate that was seen so lately is in use.
const IN_USE: Duration = Duration::from_secs(24 * 60 * 60);
/// The least characters of a thumbprint that are taken for it.
const SHORTEST: usize = 8;

/// Whether a certificate that is in use may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum InUse {
    Refuse,
    Force,
}

/// Takes the certificate of this thumbprint off the list of a client.
pub(super) fn retire(
    id: &str,
    x5t: &str,
    in_use: InUse,
    globals: &Globals,
    now: Timestamp,
) -> Result<Answer, Fault> {
    let config = control::configuration(globals)?;
    let server = control::server(&config)?;
    let before = Snapshot::read(&config, now);
    let client = before.client(id)?;
    let thumbprint = find(x5t, client)?;
    let shown = held(&config, server.as_ref(), client, now)?;
    let seen = shown.iter().find(|held| held.thumbprint == thumbprint.to_string());
    may_go(client, seen, in_use, now)?;

    let places = before.registry.certificate_places(&client.id);
    let retirement = Retirement { thumbprint, client, globals };
    let edit = match retirement.prepared(places.as_ref()) {
        Ok(edit) => edit,
        Err(why) => return Ok(retirement.by_hand(&why)),
    };
    let mut meant = Meant { client, pins: pins(client).keys().copied().collect::<BTreeSet<_>>() };
    meant.pins.remove(&thumbprint);
    match edit.make(&meant, &before, (&config, server.as_ref()), now) {
        Ok(force) => Ok(retirement.done(places.as_ref(), force)),
        Err(NotDone::Unwritable(why)) => Ok(retirement.by_hand(&why)),
        Err(NotDone::Undone(why)) => Err(Fault::Refused(why)),
    }
}

/// The certificate that is meant: its thumbprint in base64url or in hexadecimal digits, or the beginning of either.
fn find(x5t: &str, client: &Client) -> Result<Thumbprint, Fault> {
    if let Credential::TlsClientAuth { .. } = &client.credential {
        return Err(Fault::Refused(format!(
            "client `{}` is known by its subject (tls_client_auth), not by certificates: revoke the old one at its CA, \
             and end its tokens with `certbound revoke --client {}`",
            client.id, client.id
        )));
    }
    if let Credential::SelfSignedTlsClientAuth { jwks_uri: Some(uri), .. } = &client.credential {
        return Err(Fault::Refused(format!(
            "client `{}` publishes its certificates itself: it takes the old one out of the set at {uri}",
            client.id
        )));
    }
    if x5t.len() < SHORTEST {
        return Err(Fault::Usage(format!(
            "X5T is a thumbprint in base64url or hexadecimal digits, or {SHORTEST} characters or more of its beginning"
        )));
    }
    let digits: String =
        x5t.chars().filter(|character| *character != ':').map(|c| c.to_ascii_lowercase()).collect();
    let whole = Thumbprint::from_str(x5t).or_else(|_| Thumbprint::from_str(&digits)).ok();
    let fits = |thumbprint: &&Thumbprint| match whole {
        Some(whole) => whole == **thumbprint,
        None => thumbprint.to_string().starts_with(x5t) || hex(thumbprint).starts_with(&digits),
    };
    let found: Vec<_> = pins(client).keys().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok(**one),
        several => {
            let why = if several.is_empty() { "no certificate" } else { "more than one certificate" };
            let all: Vec<_> = pins(client).keys().map(ToString::to_string).collect();
            Err(Fault::Refused(format!(
                "{why} that client `{}` lists begins with {x5t}; it lists {}",
                client.id,
                if all.is_empty() { "none".to_owned() } else { all.join(", ") }
            )))
        }
    }
}

fn hex(thumbprint: &Thumbprint) -> String {
    use std::fmt::Write as _;
    thumbprint.as_bytes().iter().fold(String::with_capacity(64), |mut text, octet| {
        let _ = write!(text, "{octet:02x}"); // writing to a String cannot fail
        text
    })
}

fn may_go(client: &Client, seen: Option<&Held>, in_use: InUse, now: Timestamp) -> Result<(), Fault> {
    let id = &client.id;
    if pins(client).len() == 1 {
        return Err(Fault::Refused(format!(
            "this is the last certificate of client `{id}`; to stop the client, write `enabled: false` in {}:{}",
            client.at.file.display(),
            client.at.line
        )));
    }
    let last = seen.and_then(|held| held.last_seen.as_deref()).and_then(Timestamp::parse_rfc3339);
    if let Some(last) = last.filter(|last| now.since(*last) < IN_USE)
        && in_use == InUse::Refuse
    {
        let x5t = seen.map(|held| held.thumbprint.as_str()).unwrap_or_default();
        return Err(Fault::Refused(format!(
            "the certificate was used at {last}, so something of client `{id}` still has it: look for the request lines \
             with \"x5t#S256\":\"{x5t}\" in the server's log; --force retires it all the same"
        )));
    }
    Ok(())
}

/// A certificate on its way out of a document.
struct Retirement<'r> {
    thumbprint: Thumbprint,
    client: &'r Client,
    globals: &'r Globals,
}

impl Retirement<'_> {
    /// What would be written, or why it cannot be.
    fn prepared(&self, places: Option<&CertificatePlaces>) -> Result<Edit, String> {
        let file = self.client.at.file.as_ref();
        let places = places.ok_or_else(|| format!("{} has a problem that comes first", file.display()))?;
        if places.list.is_none() {
            let source =
                pins(self.client).get(&self.thumbprint).map_or("jwks_uri", |pin| pin.source.as_str());
            return Err(format!("the certificate is registered by `{source}`, not by a file"));
        }
        let before = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut after = before.clone();
        let named = places.entries.iter().enumerate();
        let named = named.filter(|(_, entry)| entry.thumbprint == Some(self.thumbprint));
        // From the end, so that the places before stay what they are.
        for (index, _) in named.collect::<Vec<_>>().into_iter().rev() {
            let mut left = places.clone();
            left.entries.truncate(index + 1);
            after = edit::without_entry(&after, &left, index).ok_or_else(|| {
                format!("the list in {} is written in a way that only you can edit", file.display())
            })?;
        }
        Ok(Edit { document: file.to_owned(), before, after, certificate: None })
    }

    fn done(&self, places: Option<&CertificatePlaces>, force: Force) -> Answer {
        let (id, thumbprint) = (&self.client.id, self.thumbprint);
        let entries = places.iter().flat_map(|places| &places.entries);
        let left: Vec<_> = entries
            .filter(|entry| entry.thumbprint == Some(thumbprint))
            .map(|entry| entry.path.display().to_string())
            .collect();
        let document = json!({
            "client_id": id.as_str(),
            "x5t#S256": thumbprint.to_string(),
            "retired": true,
            "in_force": force == Force::Server,
            "left": left,
            "file": self.client.at.file.display().to_string(),
        });
        let words = || {
            let force = match force {
                Force::Server => {
                    "in force now: it is refused, and the tokens that are bound to it are inactive"
                }
                Force::Files => {
                    "in force with the next start: it is refused then, and the tokens that are bound to it are inactive"
                }
            };
            format!(
                "{thumbprint} is no certificate of {id} any more, {force}\n  taken out of {}\n  left alone   {}",
                self.client.at.file.display(),
                left.join(", ")
            )
        };
        Answer::done(self.globals.format, words, &document)
    }

    /// The line for a person to take out, where the program cannot.
    fn by_hand(&self, why: &str) -> Answer {
        let (at, pin) = (&self.client.at, pins(self.client).get(&self.thumbprint));
        let line = match pin.map(|pin| pin.source.as_str()) {
            Some("x5t#S256") => {
                let kept = pins(self.client)
                    .keys()
                    .filter(|kept| **kept != self.thumbprint)
                    .map(ToString::to_string);
                format!("x5t#S256: [{}]", kept.collect::<Vec<_>>().join(", "))
            }
            Some("jwks") => format!("the key in `jwks` whose `x5c` has {}", self.thumbprint),
            Some(name) => name.to_owned(),
            None => self.thumbprint.to_string(),
        };
        let what = match pin.map(|pin| pin.source.as_str()) {
            Some("x5t#S256") => "write this line in its place",
            _ => "take this out",
        };
        complain(format_args!("not written: {why}; {what} in {}:{}:", at.file.display(), at.line));
        let document: Value = json!({
            "client_id": self.client.id.as_str(),
            "x5t#S256": self.thumbprint.to_string(),
            "retired": false,
            "in_force": false,
            "why": why,
            "line": line,
            "file": at.file.display().to_string(),
        });
        Answer::with_code(REFUSED, self.globals.format, || line.clone(), &document)
    }
}
