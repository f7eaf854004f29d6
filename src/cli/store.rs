//! `certbound store`: whether the store is whole, what is in it, and how to begin anew.
//!
//! A store with evidence that cannot be read is whole, because no revocation is missing, and yet a problem (exit code
//! 1). Looking works beside a running server, through it. What replaces the store needs the server stopped.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use crate::clock::{Clock, SystemClock};
use crate::config::StoreSettings;
use crate::store::postgres::Postgres;
use crate::store::sled::Sled;

use super::client::runtime;
use super::output::{Answer, DONE, Fault, REFUSED, conclude, say_bytes};
use super::{Globals, control, files};

/// The commands about the store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Read every entry and say whether it is whole
    #[command(after_help = "Example:\n  certbound store check")]
    Check,
    /// Print every entry as a line of JSON, the store's id first
    #[command(after_help = "Example:\n  certbound store export > store.jsonl")]
    Export,
    /// Fill a store that does not exist yet from an export, and take its id; the server is stopped
    #[command(after_help = "Example:\n  certbound store import store.jsonl")]
    Import {
        /// The export (`-`: standard input)
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Begin anew; the server is stopped
    #[command(after_help = "Example:\n  certbound store init --forget")]
    Init {
        /// Forget every revocation; every token issued until now becomes inactive
        #[arg(long, required = true)]
        forget: bool,
    },
}

/// Runs one of them.
pub(crate) fn run(command: &StoreCommand, globals: &Globals) -> u8 {
    conclude(match command {
        StoreCommand::Check => check(globals),
        StoreCommand::Export => export(globals),
        StoreCommand::Import { file } => import(file, globals),
        StoreCommand::Init { .. } => init(globals, &SystemClock),
    })
}

fn check(globals: &Globals) -> Result<Answer, Fault> {
    let config = control::configuration(globals)?;
    let report = match control::server(&config)? {
        Some(server) => server.get(&["store", "check"])?,
        None => json!(runtime()?.block_on(control::open_store(&config)?.check())?),
    };
    let lost = report.get("unreadable").and_then(Value::as_u64).unwrap_or(0);
    let verdict = match lost {
        0 => "the store is whole".to_owned(),
        _ => "every revocation is there; sightings or refusals are lost, and left out of `store export`"
            .to_owned(),
    };
    let words = || {
        let fields = report.as_object().into_iter().flatten();
        let lines = fields.map(|(name, value)| match value {
            Value::String(text) => format!("{name:<16} {text}"),
            other => format!("{name:<16} {other}"),
        });
        std::iter::once(verdict).chain(lines).collect::<Vec<_>>().join("\n")
    };
    let code = if lost == 0 { DONE } else { REFUSED };
    Ok(Answer::with_code(code, globals.format, words, &report))
}

fn export(globals: &Globals) -> Result<Answer, Fault> {
    let config = control::configuration(globals)?;
    if let Some(server) = control::server(&config)? {
        server.stream(&["store", "export"], say_bytes)?;
    } else {
        let lines = runtime()?.block_on(control::open_store(&config)?.export())?;
        say_bytes(&lines)?;
    }
    Ok(Answer { code: DONE, text: String::new() })
}

fn import(file: &Path, globals: &Globals) -> Result<Answer, Fault> {
    let lines = files::read(file)?;
    let config = control::configuration(globals)?;
    control::no_server(&config)?;
    let (id_file, mut lines) = (control::id_file(&config), BufReader::new(lines.as_slice()));
    let entries = match &config.store {
        StoreSettings::Sled { path } if path.exists() => {
            return Err(Fault::Refused(format!("{} exists; an import makes a new store", path.display())));
        }
        StoreSettings::Sled { path } => Sled::import(path, &id_file, &mut lines)?,
        StoreSettings::Postgres(source) => {
            Postgres::import(&control::database(&config, source)?, &id_file, &mut lines)?
        }
    };
    let document = json!({ "entries": entries });
    Ok(Answer::done(globals.format, || format!("{entries} entries"), &document))
}

fn init(globals: &Globals, clock: &dyn Clock) -> Result<Answer, Fault> {
    let config = control::configuration(globals)?;
    control::no_server(&config)?;
    let (id_file, now) = (control::id_file(&config), clock.now());
    let (at, place) = match &config.store {
        StoreSettings::Sled { path } => {
            Sled::init_forget(path, &id_file, now)?;
            (now, path.display().to_string())
        }
        StoreSettings::Postgres(source) => {
            let at = Postgres::init_forget(&control::database(&config, source)?, &id_file, now)?;
            (at, format!("the database of {}", source.url))
        }
    };
    // A server that starts in this very second would issue tokens that are inactive.
    control::wait_out(at, &config, clock);
    let document = json!({ "store": place, "inactive_up_to": at.to_string() });
    let words = || format!("a new store at {place}; every token issued up to {at} is inactive");
    Ok(Answer::done(globals.format, words, &document))
}
