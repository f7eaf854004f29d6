//! `JUnit` XML: a suite for each specification, a case for each requirement.

use std::fmt::Write as _;

use super::Report;
use crate::check::Verdict;

pub(super) fn text(report: &Report) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (failures, total) = (report.totals.fail, report.totals.total());
    let name = xml(&report.target);
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "<testsuites name=\"{name}\" tests=\"{total}\" failures=\"{failures}\" time=\"{:.3}\">",
        report.seconds
    );
    for specification in &report.specifications {
        let tally = &specification.tally;
        let skipped = tally.not_applicable + tally.untestable + tally.diverges;
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{skipped}\">",
            xml(&specification.name),
            tally.total(),
            tally.fail
        );
        for judged in report.requirements.iter().filter(|judged| judged.row.spec == specification.name) {
            let row = &judged.row;
            let _ = write!(
                out,
                "    <testcase classname=\"{}\" name=\"{} {}\"",
                xml(&row.spec),
                xml(&row.id),
                xml(&row.requirement)
            );
            let _ = match &judged.verdict {
                Verdict::Pass => writeln!(out, "/>"),
                Verdict::Fail { expected, seen } => writeln!(
                    out,
                    "><failure message=\"{}\">{}</failure></testcase>",
                    xml(&format!("expected: {expected}")),
                    xml(&format!("expected: {expected}\nseen: {seen}"))
                ),
                Verdict::Diverges { why, .. } => skip(&mut out, &format!("documented: {why}")),
                Verdict::NotApplicable { why } => skip(&mut out, &format!("not applicable: {why}")),
                Verdict::Untestable { why } => skip(&mut out, &format!("untestable: {why}")),
            };
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn skip(out: &mut String, why: &str) -> std::fmt::Result {
    writeln!(out, "><skipped message=\"{}\"/></testcase>", xml(why))
}

/// Text as XML and HTML take it; what XML cannot hold becomes U+FFFD.
pub(super) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}
