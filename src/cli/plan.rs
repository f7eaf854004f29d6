//! `certbound plan`: which clients would stop or start working, before a change is in force.
//!
//! Every certificate that was seen lately is put to the decision of the token endpoint in both worlds. A running server
//! compares with the world that it has; where none runs, what was said when each certificate was shown counts. Of a
//! candidate the clients, the anchors and what it says of revocation are looked at, and nothing else.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::admin::{REFUSALS_OF_A_PLAN, plan_answer, settled};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::Config;
use crate::plan::{InForce, Plan, plan};
use crate::world;

use super::client::runtime;
use super::output::{Answer, DONE, Fault, REFUSED, conclude, table};
use super::{Globals, control};

/// The arguments of `plan`.
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// The configuration to look ahead to (default: that of -c as it is on disk now)
    #[arg(long, value_name = "FILE")]
    candidate: Option<PathBuf>,
}

/// Looks ahead.
pub(crate) fn run(args: &PlanArgs, globals: &Globals) -> u8 {
    conclude(look_ahead(args.candidate.as_deref(), globals, SystemClock.now()))
}

fn look_ahead(candidate: Option<&Path>, globals: &Globals, now: Timestamp) -> Result<Answer, Fault> {
    let candidate = candidate.map(readable).transpose()?;
    // Of the configuration itself only the place of server and store is needed here.
    control::readable(globals)?;
    let (own, problems) = Config::draft(&globals.config);
    let own = own.ok_or_else(|| Fault::Refused(control::listed(&problems)))?;
    let document = match control::server(&own)? {
        Some(server) => {
            let path = candidate.as_ref().map(|path| path.to_string_lossy().into_owned());
            let query: Vec<_> = path.iter().map(|path| ("candidate", path.as_str())).collect();
            server.get_with(&["plan"], &query)?
        }
        None => without_server(&own, candidate.as_deref().unwrap_or(&globals.config), now)?,
    };
    let code = if document.get("ok") == Some(&json!(true)) { DONE } else { REFUSED };
    Ok(Answer::with_code(code, globals.format, || text(&document), &document))
}

/// The server reads it by itself, from another directory.
fn readable(path: &Path) -> Result<PathBuf, Fault> {
    let unreadable = |error| Fault::Usage(format!("{}: {error}", path.display()));
    File::open(path).map_err(unreadable)?;
    std::path::absolute(path).map_err(unreadable)
}

fn without_server(own: &Config, candidate: &Path, now: Timestamp) -> Result<Value, Fault> {
    let (prospect, problems) = world::candidate(candidate, own, now);
    let Some(prospect) = prospect else { return Ok(plan_answer(None, &problems)) };
    let Some(store) = control::find_store(own)? else {
        return Ok(plan_answer(Some(&Plan::default()), &problems));
    };
    let store = store.evidence();
    let plan = runtime()?.block_on(async {
        let world = settled(prospect).await;
        let (sightings, refusals) = (store.sightings(None).await?, store.refusals(REFUSALS_OF_A_PLAN).await?);
        Ok::<_, Fault>(plan(InForce::AsSeen, &world, &sightings, &refusals, now).await)
    })?;
    Ok(plan_answer(Some(&plan), &problems))
}

/// A plan for people: what stops first.
fn text(document: &Value) -> String {
    let problems: Vec<_> =
        document.get("problems").and_then(Value::as_array).into_iter().flatten().map(problem).collect();
    let Some(recorded) = document.get("recorded").and_then(Value::as_u64) else {
        return format!(
            "the candidate has problems, and a server would not take it:\n{}",
            problems.join("\n")
        );
    };
    let mut out = String::new();
    for line in &problems {
        let _ = writeln!(out, "{line}"); // writing to a String cannot fail
    }
    let changes =
        |name: &str| document.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let sections = [
        ("stop", "would STOP working"),
        ("start", "would start working"),
        ("unknown", "cannot be told: the revocation status could not be had"),
    ];
    for (name, title) in sections {
        let changes = changes(name);
        if !changes.is_empty() {
            let _ = writeln!(out, "{} {title}\n", changes.len());
            for change in changes {
                let _ = writeln!(out, "{}\n", paragraph(change));
            }
        }
    }
    let unchanged = document.get("unchanged").and_then(Value::as_u64).unwrap_or_default();
    let certificates = if unchanged == 1 { "certificate" } else { "certificates" };
    if recorded == 0 {
        out.push_str(
            "no successful authentication of the last 30 days is recorded, so there is nothing to tell from",
        );
    } else if changes("stop").is_empty() {
        let _ = write!(out, "nobody would stop working; {unchanged} {certificates} unchanged");
    } else {
        let _ = write!(out, "{unchanged} {certificates} unchanged");
    }
    out
}

fn paragraph(change: &Value) -> String {
    let text = |name: &str| change.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let seen = change.get("last_seen").and_then(Value::as_str);
    let rows = [
        ("  client", text("client_id")),
        ("  x5t#S256", text("x5t#S256")),
        ("  subject", text("subject")),
        ("  last use", seen.unwrap_or("never: only refused until now").to_owned()),
        ("  reason", text("reason")),
        ("  check", text("detail")),
    ];
    table(rows.map(|(name, value)| vec![name.to_owned(), value]))
}

/// As `check` prints it.
fn problem(problem: &Value) -> String {
    let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| problem.get(name).and_then(Value::as_u64).unwrap_or_default();
    let place = match number("line") {
        0 => String::new(),
        line => format!("{line}:{}:", number("column")),
    };
    format!("{}:{place} {}: {}; {}", text("file"), text("severity"), text("what"), text("instead"))
}
