//! The checks can fail: every requirement that binds an authorization server is broken by a fault of the small wrong server
//! (`src/mutant`), and its checks notice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use certbound_conformance::check::{Check, Verdict};
use certbound_conformance::config::Config;
use certbound_conformance::lab::Target;
use certbound_conformance::mutant::{self, Fault};
use certbound_conformance::run::Finding;
use certbound_conformance::{checks, register, run};

/// How many servers are judged at a time.
const SERVERS: usize = 4;

/// How the reason of a check begins that ends at a demo resource server, which the mutant has none of.
const NO_RESOURCE_SERVER: &str = "no demo resource server";

#[test]
fn every_core_requirement_of_the_server_has_a_fault_that_its_checks_notice() {
    let began = Instant::now();
    let directory = tempfile::tempdir().unwrap();
    mutant::lay_out(directory.path()).unwrap();
    let rows = core_rows();
    let honest = findings(directory.path(), &[], &checks_of(&rows));
    let wrong: Vec<_> = honest.iter().filter(|finding| !is_right(finding)).map(line).collect();
    let results = judged(directory.path());
    let mut table =
        String::from("| switch | acts in | requirements | checks that turned red |\n|---|---|---|---|\n");
    let mut faults = Vec::new();
    let (mut covered, mut reddened) = (BTreeSet::new(), BTreeSet::new());
    for (fault, findings) in &results {
        let red: Vec<_> = findings.iter().filter(|finding| is_red(finding)).collect();
        let broken: BTreeSet<&str> = red.iter().flat_map(|finding| finding.check.rows).copied().collect();
        let meant: Vec<_> = fault.rows().iter().filter(|row| rows.contains(**row)).copied().collect();
        for row in &meant {
            if broken.contains(row) {
                covered.insert(*row);
            } else {
                let seen = findings.iter().filter(|finding| finding.check.rows.contains(row)).map(line);
                faults
                    .push(format!("{fault:?} does not break {row}: {}", seen.collect::<Vec<_>>().join("; ")));
            }
        }
        if red.is_empty() {
            faults.push(format!("{fault:?} breaks nothing"));
        }
        reddened.extend(red.iter().map(|finding| finding.check.name));
        let noticed: Vec<_> = red.iter().map(|finding| finding.check.name).collect();
        let (meant, noticed) = (meant.join(", "), noticed.join(", "));
        writeln!(table, "| {} | {} | {meant} | {noticed} |", fault.name(), fault.place()).unwrap();
    }
    let bare: Vec<_> = rows.iter().filter(|row| !covered.contains(row.as_str())).collect();
    let took = began.elapsed().as_secs();
    let summary =
        format!("{} switches, {} of {} requirements, {took} s", results.len(), covered.len(), rows.len());
    println!("{table}\n{summary}");
    let output = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/conformance");
    std::fs::create_dir_all(&output).unwrap();
    std::fs::write(output.join("mutants.md"), format!("# Checks that can fail\n\n{summary}\n\n{table}"))
        .unwrap();
    let wrong = wrong.iter().map(|line| format!("without a fault: {line}"));
    let bare = bare.iter().map(|row| format!("nothing breaks {row}"));
    let passed = honest.iter().filter(|finding| finding.verdict == Verdict::Pass);
    let toothless = passed.filter(|finding| !reddened.contains(finding.check.name));
    let toothless = toothless.map(|finding| format!("nothing turns {} red", finding.check.name));
    let all: Vec<_> = wrong.chain(bare).chain(toothless).chain(faults).collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

/// The requirements that the faults are about: core, MUST or MUST NOT, of the authorization server, with a check.
fn core_rows() -> BTreeSet<String> {
    let rows = register::rows().expect("the register can be read").into_iter();
    let core = rows.filter(|row| {
        row.tier == "core" && row.level.starts_with("MUST") && row.applies_to == "AS" && !row.check.is_empty()
    });
    core.map(|row| row.id).collect()
}

fn checks_of(rows: &BTreeSet<String>) -> Vec<&'static Check> {
    checks::all().filter(|check| check.rows.iter().any(|row| rows.contains(*row))).collect()
}

/// What the checks of each fault's requirements say of a server that has it.
fn judged(at: &Path) -> BTreeMap<Fault, Vec<Finding>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..SERVERS {
            scope.spawn(|| {
                while let Some(fault) = Fault::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let rows: BTreeSet<String> = fault.rows().iter().map(ToString::to_string).collect();
                    let found = findings(at, &[*fault], &checks_of(&rows));
                    results.lock().expect("nobody broke with it").insert(*fault, found);
                }
            });
        }
    });
    results.into_inner().expect("nobody broke with it")
}

fn findings(at: &Path, faults: &[Fault], checks: &[&'static Check]) -> Vec<Finding> {
    let path = mutant::serve(at, faults).expect("there are ports");
    let config = Config::read(&path).expect("the mutant writes what the suite reads");
    let target: Arc<Target> = Target::new(config, None).expect("its files are there");
    target.prepare();
    run::run(&target, checks, 4, &|_| {})
}

/// What may come of a check where nothing is wrong.
fn is_right(finding: &Finding) -> bool {
    match &finding.verdict {
        Verdict::Pass | Verdict::NotApplicable { .. } => true,
        Verdict::Untestable { why } => why.starts_with(NO_RESOURCE_SERVER),
        _ => false,
    }
}

fn is_red(finding: &Finding) -> bool {
    matches!(finding.verdict, Verdict::Fail { .. })
}

fn line(finding: &Finding) -> String {
    format!("{} ({:?}): {:?}", finding.check.name, finding.took, finding.verdict)
}
