//! Progress while it runs, and a table for each specification afterwards.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, stderr};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Examined, Judged, Report, Tally};
use crate::check::Verdict;
use crate::run::Finding;

/// A line that says how far it is.
pub struct Progress {
    total: usize,
    done: AtomicUsize,
    failed: AtomicUsize,
    live: bool,
}

impl Progress {
    /// For so many checks.
    #[must_use]
    pub fn new(total: usize) -> Self {
        Self { total, done: AtomicUsize::new(0), failed: AtomicUsize::new(0), live: stderr().is_terminal() }
    }

    /// One more is done. On a terminal one line is written over and over; elsewhere only failures are told.
    pub fn show(&self, finding: &Finding) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let failed = matches!(finding.verdict, Verdict::Fail { .. });
        let failures = self.failed.fetch_add(usize::from(failed), Ordering::Relaxed) + usize::from(failed);
        let (name, total) = (finding.check.name, self.total);
        if self.live {
            let width = 30 * done / total.max(1);
            let bar = format!("{}{}", "█".repeat(width), "░".repeat(30 - width));
            eprint!("\r\x1b[K{bar} {done}/{total}, {failures} failed  {name}");
        } else if failed {
            eprintln!("failed: {name}");
        }
    }

    /// All are done.
    pub fn end(&self) {
        if self.live {
            eprint!("\r\x1b[K");
        }
    }
}

/// The tables, what failed with its evidence, and the sum; with `verbose` the evidence of everything.
#[must_use]
pub fn text(report: &Report, verbose: bool) -> String {
    let mut out = String::new();
    let _ = table(&mut out, report);
    for judged in &report.requirements {
        let failed = matches!(judged.verdict, Verdict::Fail { .. } | Verdict::Diverges { .. });
        if failed || verbose {
            let _ = requirement(&mut out, report, judged);
        }
    }
    let _ = sum(&mut out, report);
    out
}

fn table(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "\n{:<10} {:<9} {:>5} {:>5} {:>9} {:>5} {:>11}",
        "", "", "pass", "fail", "diverges", "n.a.", "untestable"
    )?;
    for specification in &report.specifications {
        line(out, &specification.name, "all", &specification.tally)?;
        for (level, tally) in &specification.levels {
            line(out, "", level, tally)?;
        }
    }
    line(out, "all", "", &report.totals)
}

fn line(out: &mut String, name: &str, level: &str, tally: &Tally) -> std::fmt::Result {
    let count = |count: usize| if count == 0 { "·".to_owned() } else { count.to_string() };
    writeln!(
        out,
        "{name:<10} {level:<9} {:>5} {:>5} {:>9} {:>5} {:>11}",
        count(tally.pass),
        count(tally.fail),
        count(tally.diverges),
        count(tally.not_applicable),
        count(tally.untestable)
    )
}

fn requirement(out: &mut String, report: &Report, judged: &Judged) -> std::fmt::Result {
    let row = &judged.row;
    writeln!(out, "\n{} {} {}: {}", verdict(&judged.verdict), row.id, row.level, row.requirement)?;
    for (name, examined) in row.check.iter().filter_map(|name| Some((name, report.checks.get(name)?))) {
        check(out, name, examined)?;
    }
    Ok(())
}

fn check(out: &mut String, name: &str, examined: &Examined) -> std::fmt::Result {
    writeln!(out, "  {} {name} ({:.2} s)", verdict(&examined.verdict), examined.seconds)?;
    match &examined.verdict {
        Verdict::Pass => {}
        Verdict::Fail { expected, seen } => writeln!(out, "    expected: {expected}\n    seen:     {seen}")?,
        Verdict::Diverges { expected, seen, why } => {
            writeln!(out, "    expected: {expected}\n    seen:     {seen}\n    because:  {why}")?;
        }
        Verdict::NotApplicable { why } | Verdict::Untestable { why } => writeln!(out, "    {why}")?,
    }
    for told in &examined.evidence {
        writeln!(out, "    -- {}", told.with)?;
        for (mark, text) in [(">", &told.sent), ("<", &told.received)] {
            for line in text.lines() {
                writeln!(out, "    {mark} {line}")?;
            }
        }
        if let Some(failure) = &told.failure {
            writeln!(out, "    ! {failure}")?;
        }
    }
    Ok(())
}

fn sum(out: &mut String, report: &Report) -> std::fmt::Result {
    let Tally { pass, fail, diverges, not_applicable, untestable } = report.totals;
    writeln!(
        out,
        "\n{}: {pass} passed, {fail} failed, {diverges} diverge as documented, {not_applicable} not applicable, {untestable} \
         untestable; {} checks in {:.1} s",
        report.target,
        report.checks.len(),
        report.seconds
    )
}

const fn verdict(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail { .. } => "FAIL",
        Verdict::Diverges { .. } => "diverges",
        Verdict::NotApplicable { .. } => "n.a.",
        Verdict::Untestable { .. } => "untestable",
    }
}
