//! One HTML page that needs nothing else: readable without scripts, filtered with the few lines of its own.

use std::fmt::Write as _;

use super::junit::xml;
use super::{Examined, Judged, Report, Specification, Tally};
use crate::check::Verdict;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

pub(super) fn page(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = whole(&mut out, report);
    out
}

fn whole(out: &mut String, report: &Report) -> std::fmt::Result {
    let heading = format!("{} · conformance", report.target);
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>{STYLE}</style>\n<body>",
        xml(&heading)
    )?;
    head(out, report)?;
    filters(out, report)?;
    overview(out, report)?;
    findings(out, report)?;
    for specification in &report.specifications {
        let name = xml(&specification.name);
        writeln!(
            out,
            "<section id=\"{name}\" data-spec=\"{name}\"><h2>{} <span>{}</span></h2>",
            xml(&spaced(&specification.name)),
            title(&specification.name)
        )?;
        for judged in report.requirements.iter().filter(|judged| judged.row.spec == specification.name) {
            requirement(out, report, judged)?;
        }
        writeln!(out, "</section>")?;
    }
    writeln!(
        out,
        "<p id=\"none\" hidden>Nothing is left by these filters.</p>\n</main>\n<script>{SCRIPT}</script>\n</body></html>"
    )
}

fn head(out: &mut String, report: &Report) -> std::fmt::Result {
    let (class, sentence) = sentence(&report.totals);
    let day = report.at.get(..16).unwrap_or(&report.at).replace('T', " ");
    writeln!(
        out,
        "<header><p class=\"kicker\">Conformance</p><h1>{}</h1><p class=\"meta\">{} · {} UTC · {} checks in {:.0} s</p>\
         <p class=\"sentence {class}\">{sentence}</p>",
        xml(&report.target),
        xml(&report.issuer),
        xml(&day),
        report.checks.len(),
        report.seconds
    )?;
    writeln!(out, "{}<div class=\"totals group\" data-filter=\"verdict\">", bar(&report.totals))?;
    for (class, label, count) in parts(&report.totals) {
        writeln!(
            out,
            "<button type=\"button\" aria-pressed=\"false\" class=\"{class}\" value=\"{class}\"><b>{count}</b> {label}</button>"
        )?;
    }
    writeln!(out, "</div></header>")
}

/// The result in one sentence.
fn sentence(totals: &Tally) -> (&'static str, String) {
    let tested = totals.pass + totals.fail + totals.diverges;
    let documented = match totals.diverges {
        0 => String::new(),
        count => format!(" {count} differ by a documented decision."),
    };
    match totals.fail {
        0 if totals.diverges == 0 => ("pass", format!("All {tested} requirements that were tested are met.")),
        0 => ("pass", format!("{} of {tested} tested requirements are met.{documented}", totals.pass)),
        count => ("fail", format!("{count} of {tested} tested requirements are not met.{documented}")),
    }
}

fn filters(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "<nav id=\"filters\" hidden><select id=\"spec\" aria-label=\"specification\"><option value=\"\">all specifications</option>"
    )?;
    for Specification { name, .. } in &report.specifications {
        writeln!(out, "<option value=\"{}\">{} {}</option>", xml(name), xml(&spaced(name)), title(name))?;
    }
    writeln!(out, "</select><span class=\"group\" data-filter=\"level\">")?;
    for level in ["MUST", "MUST NOT", "SHOULD", "MAY"] {
        writeln!(out, "<button type=\"button\" aria-pressed=\"false\" value=\"{level}\">{level}</button>")?;
    }
    writeln!(
        out,
        "</span><input id=\"text\" type=\"search\" placeholder=\"search in requirements and evidence\" aria-label=\"search\">\
         <output id=\"shown\"></output></nav><main>"
    )
}

/// What fails and what differs, before the requirements in their order.
fn findings(out: &mut String, report: &Report) -> std::fmt::Result {
    for (verdict, heading) in [("fail", "Not met"), ("diverges", "Different by decision")] {
        let found: Vec<_> =
            report.requirements.iter().filter(|judged| class(&judged.verdict).0 == verdict).collect();
        if found.is_empty() {
            continue;
        }
        writeln!(out, "<div class=\"findings {verdict}\"><h2>{heading}</h2><ul>")?;
        for Judged { row, .. } in found {
            writeln!(
                out,
                "<li><a href=\"#{id}\"><code>{id}</code></a> <span class=\"level\">{}</span> {}",
                xml(&row.level),
                xml(&row.requirement),
                id = xml(&row.id),
            )?;
        }
        writeln!(out, "</ul></div>")?;
    }
    Ok(())
}

fn overview(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "<table><thead><tr><th>specification<th><th>met<th>fail<th>diverges<th>n.a.<th>untestable</tr></thead><tbody>"
    )?;
    for Specification { name, tally, .. } in &report.specifications {
        let tested = tally.pass + tally.fail + tally.diverges;
        let met = if tested == 0 { String::new() } else { format!("{} <i>of {tested}</i>", tally.pass) };
        write!(
            out,
            "<tr><td><a href=\"#{}\">{}</a> <span>{}</span><td>{}<td class=\"pass\">{met}",
            xml(name),
            xml(&spaced(name)),
            title(name),
            bar(tally)
        )?;
        for (class, _, count) in parts(tally).into_iter().skip(1) {
            let count = if count == 0 { String::new() } else { count.to_string() };
            write!(out, "<td class=\"{class}\">{count}")?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table>")
}

fn requirement(out: &mut String, report: &Report, judged: &Judged) -> std::fmt::Result {
    let row = &judged.row;
    let (class, label) = class(&judged.verdict);
    writeln!(
        out,
        "<details id=\"{id}\" class=\"row {class}\" data-level=\"{level}\" data-verdict=\"{class}\"><summary>\
         <span class=\"badge {class}\">{label}</span><code>{id}</code><span class=\"level\">{level}</span><span>{text}{why}</span></summary>",
        id = xml(&row.id),
        level = xml(&row.level),
        text = xml(&row.requirement),
        why = brief(&judged.verdict),
    )?;
    writeln!(
        out,
        "<div class=\"inside\"><p class=\"meta\">section {} · binds the {} · {}</p>",
        xml(&row.section),
        match row.applies_to.as_str() {
            "AS" => "authorization server",
            "RS" => "resource server",
            other => other,
        },
        xml(&row.tier)
    )?;
    if let Some(note) = &row.note {
        writeln!(out, "<p class=\"note\">{}</p>", xml(note))?;
    }
    for (name, examined) in row.check.iter().filter_map(|name| Some((name, report.checks.get(name)?))) {
        check(out, name, examined)?;
    }
    writeln!(out, "</div></details>")
}

/// Why it is not a pass, on the line of the requirement.
fn brief(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass => String::new(),
        Verdict::Fail { seen, .. } => format!("<small>{}</small>", xml(seen)),
        Verdict::Diverges { why, .. } | Verdict::NotApplicable { why } | Verdict::Untestable { why } => {
            format!("<small>{}</small>", xml(why))
        }
    }
}

fn check(out: &mut String, name: &str, examined: &Examined) -> std::fmt::Result {
    let (class, label) = class(&examined.verdict);
    let sentence = name.replace('_', " ");
    writeln!(
        out,
        "<h3><span class=\"badge {class}\">{label}</span> {} <small>{:.2} s</small></h3>",
        xml(&sentence),
        examined.seconds
    )?;
    told(out, &examined.verdict)?;
    for exchange in &examined.evidence {
        writeln!(out, "<figure><figcaption>{}</figcaption><div>", xml(&exchange.with))?;
        for (class, text) in [("sent", &exchange.sent), ("received", &exchange.received)] {
            if !text.is_empty() {
                writeln!(out, "<pre class=\"{class}\">{}</pre>", message(text))?;
            }
        }
        if let Some(failure) = &exchange.failure {
            writeln!(out, "<pre class=\"ended\">{}</pre>", xml(failure))?;
        }
        writeln!(out, "</div></figure>")?;
    }
    Ok(())
}

/// A message of HTTP: its first line in bold, JSON on lines of its own.
fn message(text: &str) -> String {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let (first, headers) = head.split_once('\n').unwrap_or((head, ""));
    let json = serde_json::from_str::<serde_json::Value>(body).ok().filter(|json| !json.is_number());
    let body =
        json.and_then(|json| serde_json::to_string_pretty(&json).ok()).unwrap_or_else(|| body.to_owned());
    let gap = if body.is_empty() { "" } else { "\n\n" };
    format!("<b>{}</b>\n<i>{}</i>{gap}{}", xml(first), xml(headers), xml(&body))
}

fn told(out: &mut String, verdict: &Verdict) -> std::fmt::Result {
    let mut list = |items: &[(&str, &str)]| {
        write!(out, "<dl>")?;
        for (name, text) in items {
            write!(out, "<dt>{name}<dd>{}", xml(text))?;
        }
        writeln!(out, "</dl>")
    };
    match verdict {
        Verdict::Pass => Ok(()),
        Verdict::Fail { expected, seen } => list(&[("expected", expected), ("seen", seen)]),
        Verdict::Diverges { expected, seen, why } => {
            list(&[("expected", expected), ("seen", seen), ("because", why)])
        }
        Verdict::NotApplicable { why } | Verdict::Untestable { why } => list(&[("because", why)]),
    }
}

fn bar(tally: &Tally) -> String {
    let mut out = String::from("<div class=\"bar\" aria-hidden=\"true\">");
    for (class, _, count) in parts(tally).into_iter().filter(|(_, _, count)| *count > 0) {
        let _ = write!(out, "<i class=\"{class}\" style=\"flex:{count}\"></i>");
    }
    out.push_str("</div>");
    out
}

const fn parts(tally: &Tally) -> [(&'static str, &'static str, usize); 5] {
    [
        ("pass", "pass", tally.pass),
        ("fail", "fail", tally.fail),
        ("diverges", "diverges", tally.diverges),
        ("na", "n.a.", tally.not_applicable),
        ("untestable", "untestable", tally.untestable),
    ]
}

const fn class(verdict: &Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Pass => ("pass", "pass"),
        Verdict::Fail { .. } => ("fail", "fail"),
        Verdict::Diverges { .. } => ("diverges", "diverges"),
        Verdict::NotApplicable { .. } => ("na", "n.a."),
        Verdict::Untestable { .. } => ("untestable", "untestable"),
    }
}

/// `RFC8705` as RFC 8705.
fn spaced(name: &str) -> String {
    match name.strip_prefix("RFC") {
        Some(number) => format!("RFC {number}"),
        None => name.replace("FAPI2SP", "FAPI 2.0"),
    }
}

/// What it is about.
fn title(name: &str) -> &'static str {
    match name {
        "RFC4514" => "Names as text",
        "RFC4517" => "Names compared",
        "RFC5280" => "Certificates",
        "RFC6749" => "OAuth 2.0",
        "RFC6750" => "Bearer tokens",
        "RFC6960" => "OCSP",
        "RFC7009" => "Revocation",
        "RFC7517" => "JSON Web Keys",
        "RFC7523" => "Assertions",
        "RFC7591" => "Registration",
        "RFC7592" => "Management of registrations",
        "RFC7662" => "Introspection",
        "RFC8414" => "Metadata",
        "RFC8693" => "Token exchange",
        "RFC8705" => "Mutual TLS",
        "RFC8707" => "Resource indicators",
        "RFC8725" => "JWT best practices",
        "RFC9068" => "JWT access tokens",
        "RFC9396" => "Rich authorization requests",
        "RFC9440" => "Client-Cert",
        "RFC9449" => "DPoP",
        "RFC9700" => "Security best practices",
        "RFC9701" => "Signed introspection",
        "FAPI2SP" => "Security profile",
        "SPIFFE" => "Client authentication",
        _ => "",
    }
}
