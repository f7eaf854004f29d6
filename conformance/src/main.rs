//! The command `certbound-conformance`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use certbound_conformance::arguments::Arguments;
use certbound_conformance::check::Check;
use certbound_conformance::config::Config;
use certbound_conformance::lab::Target;
use certbound_conformance::report::{Report, terminal};
use certbound_conformance::{checks, register, run, start};
use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match conformance(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("certbound-conformance: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing failed.
fn conformance(arguments: &Arguments) -> Result<bool, String> {
    let rows = register::rows()?;
    let checks: Vec<&'static Check> = checks::all().filter(|check| wanted(check, &arguments.only)).collect();
    if checks.is_empty() {
        return Err(format!("no check is called or tests {}", arguments.only.join(", ")));
    }
    if arguments.list {
        for check in checks {
            println!("{}  {}", check.name, check.rows.join(" "));
        }
        return Ok(true);
    }
    let began = Instant::now();
    let target = target(arguments)?;
    eprintln!("{} ({}): {} checks", target.name(), target.config.issuer, checks.len());
    let progress = terminal::Progress::new(checks.len());
    let findings = run::run(&target, &checks, arguments.threads, &|finding| progress.show(finding));
    progress.end();
    let report = Report::new(&target, rows, findings, began.elapsed(), &arguments.only);
    for (path, text) in [
        (&arguments.json, Report::json as fn(&Report) -> String),
        (&arguments.junit, Report::junit),
        (&arguments.html, Report::html),
    ] {
        if let Some(path) = path {
            std::fs::write(path, text(&report)).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    print!("{}", terminal::text(&report, arguments.verbose));
    Ok(!report.has_failed())
}

fn target(arguments: &Arguments) -> Result<Arc<Target>, String> {
    if let Some(program) = &arguments.start {
        return start::start(program, arguments.resource_server.as_deref());
    }
    let Some(path) = &arguments.config else {
        return Err("either --start or --config is needed".to_owned());
    };
    let mut config = Config::read(path)?;
    if let Some(issuer) = &arguments.target {
        issuer.clone_into(&mut config.issuer);
    }
    let target = Target::new(config, None)?;
    target.prepare();
    Ok(target)
}

fn wanted(check: &Check, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|word| check.is_called(word))
}
