//! `certbound keys`: the keys that sign tokens.
//!
//! Through the running server, which then returns when the change is in force; else in `signing.directory`, where the
//! next server finds it, or in the database, where all nodes find it that are at work elsewhere.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use crate::admin::{list_keys, tell_change};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::keys::Begin;

use super::client::runtime;
use super::output::{Answer, Fault, REFUSED, complain, conclude};
use super::{Format, Globals, control, files};

/// The commands about signing keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Every key, when it begins to sign and until when it verifies
    #[command(after_help = "Example:\n  certbound keys list --format json")]
    List,
    /// Make the next key: published at once, signing 15 minutes later
    #[command(after_help = "Example:\n  certbound keys rotate")]
    Rotate {
        /// Sign with it at once (resource servers that cache the key set refuse its first tokens)
        #[arg(long)]
        now: bool,
    },
    /// Remove a key for ever: nothing it signed is good any more
    #[command(after_help = "Example:\n  certbound keys revoke oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U")]
    Revoke {
        /// Its `kid`
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Take a private key made elsewhere: published at once, signing 15 minutes later
    #[command(after_help = "Example:\n  certbound keys import key.pem")]
    Import {
        /// PEM
        file: PathBuf,
    },
}

/// Runs one of them.
pub(crate) fn run(command: &KeysCommand, globals: &Globals) -> u8 {
    let now = SystemClock.now();
    conclude(match command {
        KeysCommand::List => list(globals, now),
        KeysCommand::Rotate { now: at_once } => {
            rotate(globals, if *at_once { Begin::Now } else { Begin::Published }, now)
        }
        KeysCommand::Revoke { kid } => revoke(globals, kid, now),
        KeysCommand::Import { file } => import(globals, file, now),
    })
}

fn list(globals: &Globals, now: Timestamp) -> Result<Answer, Fault> {
    let config = control::configuration(globals)?;
    let document = if let Some(server) = control::server(&config)? {
        server.get(&["keys"])?
    } else {
        let reading = control::read_keys(&config)?;
        if let Some(error) = reading.errors.into_iter().next() {
            return Err(error.into());
        }
        json!({ "keys": list_keys(&reading.keys, now) })
    };
    Ok(Answer::done(globals.format, || table(&document), &document))
}

fn rotate(globals: &Globals, begin: Begin, now: Timestamp) -> Result<Answer, Fault> {
    let config = control::configuration(globals)?;
    let document = if let Some(server) = control::server(&config)? {
        server.post(&["keys", "rotate"], &json!({ "now": begin == Begin::Now }))?
    } else {
        let place = control::open_keys(&config)?;
        tell_change(&runtime()?.block_on(place.rotate(&config.schedule(), begin, now))?)
    };
    Ok(made(globals.format, &document))
}

fn import(globals: &Globals, file: &Path, now: Timestamp) -> Result<Answer, Fault> {
    let pem = files::read(file)?;
    let text = std::str::from_utf8(&pem)
        .ok()
        .filter(|text| text.contains("-----BEGIN "))
        .ok_or_else(|| Fault::Usage(format!("{}: there is no PEM in it", file.display())))?;
    let config = control::configuration(globals)?;
    let document = if let Some(server) = control::server(&config)? {
        server.post(&["keys", "import"], &json!({ "pem": text }))?
    } else {
        let place = control::open_keys(&config)?;
        tell_change(&runtime()?.block_on(place.import(text.as_bytes(), &config.schedule(), now))?)
    };
    Ok(made(globals.format, &document))
}

fn revoke(globals: &Globals, kid: &str, now: Timestamp) -> Result<Answer, Fault> {
    let config = control::configuration(globals)?;
    let told = if let Some(server) = control::server(&config)? {
        server.delete(&["keys", kid])?
    } else {
        let place = control::open_keys(&config)?;
        let revoked = runtime()?.block_on(place.revoke(kid, &config.schedule(), now))?;
        let unknown = || Fault::Refused(format!("there is no key {kid}; `certbound keys list` names them"));
        tell_change(&revoked.ok_or_else(unknown)?)
    };
    let mut document = json!({ "revoked": kid });
    let Some(unconfirmed) = told.get("unconfirmed") else {
        let text = || format!("{kid} is revoked: nothing it signed is good any more");
        return Ok(Answer::done(globals.format, text, &document));
    };
    let text = || {
        format!(
            "{kid} is revoked, and no token of it is active any more. These nodes may still sign with it, for they have \
             not said that they have heard: {}",
            listed(unconfirmed)
        )
    };
    document.as_object_mut().map(|members| members.insert("unconfirmed".to_owned(), unconfirmed.clone()));
    Ok(Answer::with_code(REFUSED, globals.format, text, &document))
}

fn made(format: Format, document: &Value) -> Answer {
    if let Some(unconfirmed) = document.get("unconfirmed") {
        complain(format!("these nodes have not said that they have heard: {}", listed(unconfirmed)));
    }
    let kid = || document.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
    Answer::done(format, kid, document)
}

fn listed(nodes: &Value) -> String {
    nodes.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn table(document: &Value) -> String {
    let columns = ["kid", "alg", "state", "signs_from", "verifies_until"];
    let line = |cells: [&str; 5]| {
        let [kid, alg, state, from, until] = cells;
        format!("{kid:<43}  {alg:<5}  {state:<7}  {from:<20}  {until}")
    };
    let keys = document.get("keys").and_then(Value::as_array).into_iter().flatten();
    let rows =
        keys.map(|key| line(columns.map(|column| key.get(column).and_then(Value::as_str).unwrap_or("-"))));
    std::iter::once(line(columns)).chain(rows).collect::<Vec<_>>().join("\n")
}
