//! `certbound keys`: the keys that sign tokens.
//!
//! Through the running server, which then returns when the change is in force; else in `signing.directory`,
//! where the next server finds it.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use crate::admin::list_keys;
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::keys::Begin;

use super::output::{Answer, Fault, conclude};
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
        let reading = control::open_keys(&config)?.read();
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
        let kid = control::open_keys(&config)?.rotate(config.signing.algorithm, begin, now)?;
        json!({ "kid": kid.as_str() })
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
        let directory = control::open_keys(&config)?;
        let signs_from = Begin::Published.signs_from(&directory.read().keys, now);
        let configured = Some(config.signing.algorithm);
        json!({ "kid": directory.import(text.as_bytes(), configured, signs_from)?.as_str() })
    };
    Ok(made(globals.format, &document))
}

fn revoke(globals: &Globals, kid: &str, now: Timestamp) -> Result<Answer, Fault> {
    let config = control::configuration(globals)?;
    let known = match control::server(&config)? {
        Some(server) => server.delete(&["keys", kid]).map(|()| true)?,
        None => control::open_keys(&config)?.revoke(kid, now)?,
    };
    if !known {
        return Err(Fault::Refused(format!("there is no key {kid}; `certbound keys list` names them")));
    }
    let document = json!({ "revoked": kid });
    Ok(Answer::done(
        globals.format,
        || format!("{kid} is revoked: nothing it signed is good any more"),
        &document,
    ))
}

fn made(format: Format, document: &Value) -> Answer {
    let kid = || document.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
    Answer::done(format, kid, document)
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
