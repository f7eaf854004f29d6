//! `certbound check`: everything that `serve` would refuse, all at once, with the place and what to write
//! instead.
//!
//! Looks and changes nothing: no key is made, no store opened, so it is safe beside a running server.

use clap::Args;
use serde_json::json;

use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::Config;
use crate::document::Problems;
use crate::world::World;

use super::output::{Answer, DONE, Fault, REFUSED, conclude};
use super::{Globals, control};

/// The arguments of `check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// The checklist for production, against files and a running server (not supported by this version)
    #[arg(long)]
    production: bool,
}

/// Looks at everything.
pub(crate) fn run(args: &CheckArgs, globals: &Globals) -> u8 {
    if args.production {
        return conclude(Err(Fault::Usage("--production is not supported by this version".to_owned())));
    }
    conclude(check(globals, SystemClock.now()))
}

fn check(globals: &Globals, now: Timestamp) -> Result<Answer, Fault> {
    control::readable(globals)?;
    let problems = problems(globals, now);
    let ok = !problems.has_errors();
    let words = || {
        if problems.0.is_empty() {
            format!("{}: no problems", globals.config.display())
        } else {
            control::listed(&problems)
        }
    };
    let document = json!({ "ok": ok, "problems": problems.0 });
    Ok(Answer::with_code(if ok { DONE } else { REFUSED }, globals.format, words, &document))
}

/// Everything that is wrong with the configuration and with what it names.
pub(super) fn problems(globals: &Globals, now: Timestamp) -> Problems {
    let (draft, mut problems) = Config::draft(&globals.config);
    if let Some(config) = draft {
        problems.0.extend(World::check(&config, now).0);
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::WRONG_USAGE;
    use crate::cli::{Format, init};

    fn globals(config: std::path::PathBuf) -> Globals {
        Globals { config, format: Format::Json }
    }

    #[test]
    fn what_init_made_has_no_problems() {
        let directory = tempfile::tempdir().unwrap();
        let place = init::Place { bind: "127.0.0.1", host: None, port: 8443, admin_port: 9090 };
        init::write(directory.path(), &place.entries(SystemClock.now()).unwrap()).unwrap();
        let answer = check(&globals(directory.path().join("certbound.yaml")), SystemClock.now()).unwrap();
        assert_eq!(answer.code, DONE, "{}", answer.text);
        let document: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(document, json!({ "ok": true, "problems": [] }));
        assert!(
            std::fs::read_dir(directory.path().join("keys")).unwrap().next().is_none(),
            "check made a key"
        );
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "issuer: http://as\nsurprise: 1\n").unwrap();
        let answer = check(&globals(file.path().to_owned()), SystemClock.now()).unwrap();
        assert_eq!(answer.code, REFUSED);
        let document: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        let lines: Vec<_> =
            document["problems"].as_array().unwrap().iter().map(|one| one["line"].as_u64()).collect();
        assert!(lines.contains(&Some(1)) && lines.contains(&Some(2)), "{document}");
    }

    #[test]
    fn a_configuration_that_is_not_there_is_wrong_usage() {
        let fault = check(&globals("/no/such/certbound.yaml".into()), SystemClock.now()).unwrap_err();
        assert_eq!(fault.code(), WRONG_USAGE);
    }
}
