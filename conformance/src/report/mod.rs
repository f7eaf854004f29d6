//! The result: every requirement with its verdict, every check with its evidence; as JSON, `JUnit`, HTML and text.

mod html;
mod junit;
pub mod terminal;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::check::Verdict;
use crate::lab::Target;
use crate::register::Row;
use crate::run::Finding;
use crate::wire::Exchange;

/// The longest text of one direction of an exchange in a report.
const LONGEST: usize = 6000;

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the server is called.
    pub target: String,
    /// Its issuer identifier.
    pub issuer: String,
    /// When the run ended, RFC 3339.
    pub at: String,
    /// How many seconds it took.
    pub seconds: f64,
    /// How many requirements came to which verdict.
    pub totals: Tally,
    /// The same by specification, in the order of the register.
    pub specifications: Vec<Specification>,
    /// The requirements.
    pub requirements: Vec<Judged>,
    /// The checks, by name.
    pub checks: BTreeMap<String, Examined>,
}

/// How many came to which verdict.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Tally {
    /// Passed.
    pub pass: usize,
    /// Failed.
    pub fail: usize,
    /// Failed, and documented.
    pub diverges: usize,
    /// Not applicable.
    pub not_applicable: usize,
    /// Not testable from outside, or not tested.
    pub untestable: usize,
}

/// One specification.
#[derive(Clone, Debug, Serialize)]
pub struct Specification {
    /// Its name.
    pub name: String,
    /// All its requirements.
    pub tally: Tally,
    /// By level.
    pub levels: BTreeMap<String, Tally>,
}

/// One requirement.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// The row of the register.
    #[serde(flatten)]
    pub row: Row,
    /// What came of its checks.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Examined {
    /// Its requirements.
    pub requirements: Vec<String>,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How many seconds it took.
    pub seconds: f64,
    /// What was sent and seen.
    pub evidence: Vec<Told>,
}

/// An exchange as text.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// Whom it went to, and how.
    pub with: String,
    /// What was sent.
    pub sent: String,
    /// What came.
    pub received: String,
    /// How it ended, if no whole answer came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Report {
    /// Judges the rows by the findings; with `only`, just those that were asked for.
    #[must_use]
    pub fn new(
        target: &Target,
        rows: Vec<Row>,
        findings: Vec<Finding>,
        took: Duration,
        only: &[String],
    ) -> Self {
        let registrar = target.config.registrar.as_ref().and_then(|registrar| registrar.rfc7591.as_ref());
        let secret = registrar.and_then(|registrar| registrar.initial_access_token.as_deref());
        let checks: BTreeMap<_, _> = findings
            .into_iter()
            .map(|finding| (finding.check.name.to_owned(), examined(finding, secret)))
            .collect();
        let asked = |row: &Row| only.is_empty() || row.check.iter().any(|name| checks.contains_key(name));
        let requirements: Vec<_> = rows.into_iter().filter(asked).map(|row| judged(row, &checks)).collect();
        let mut totals = Tally::default();
        let mut specifications: Vec<Specification> = Vec::new();
        for Judged { row, verdict } in &requirements {
            totals.count(verdict);
            if specifications.last().is_none_or(|last| last.name != row.spec) {
                let name = row.spec.clone();
                specifications.push(Specification { name, tally: Tally::default(), levels: BTreeMap::new() });
            }
            if let Some(last) = specifications.last_mut() {
                last.tally.count(verdict);
                last.levels.entry(row.level.clone()).or_default().count(verdict);
            }
        }
        Self {
            target: target.name().to_owned(),
            issuer: target.config.issuer.clone(),
            at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            seconds: took.as_secs_f64(),
            totals,
            specifications,
            requirements,
            checks,
        }
    }

    /// Whether anything failed that is not documented.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        self.totals.fail > 0
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// As `JUnit` XML.
    #[must_use]
    pub fn junit(&self) -> String {
        junit::text(self)
    }

    /// As one HTML page.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }
}

impl Tally {
    const fn count(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Pass => self.pass += 1,
            Verdict::Fail { .. } => self.fail += 1,
            Verdict::Diverges { .. } => self.diverges += 1,
            Verdict::NotApplicable { .. } => self.not_applicable += 1,
            Verdict::Untestable { .. } => self.untestable += 1,
        }
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.pass + self.fail + self.diverges + self.not_applicable + self.untestable
    }
}

/// A row fails if one of its checks does; it passes if one passes and none fails.
fn judged(row: Row, checks: &BTreeMap<String, Examined>) -> Judged {
    let verdicts = row.check.iter().filter_map(|name| checks.get(name)).map(|examined| &examined.verdict);
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Fail { .. } => 0,
        Verdict::Diverges { .. } => 1,
        Verdict::Pass => 2,
        Verdict::Untestable { .. } => 3,
        Verdict::NotApplicable { .. } => 4,
    };
    let verdict = verdicts.min_by_key(|verdict| rank(verdict)).cloned();
    let verdict = verdict.unwrap_or_else(|| match &row.reason {
        Some(why) => Verdict::NotApplicable { why: why.clone() },
        None => Verdict::Untestable { why: "no check yet".to_owned() },
    });
    Judged { row, verdict }
}

fn examined(finding: Finding, secret: Option<&str>) -> Examined {
    Examined {
        requirements: finding.check.rows.iter().map(|row| (*row).to_owned()).collect(),
        verdict: finding.verdict,
        seconds: finding.took.as_secs_f64(),
        evidence: finding.evidence.into_iter().map(|exchange| told(exchange, secret)).collect(),
    }
}

/// The password of the registrar is no part of what one publishes.
fn told(exchange: Exchange, secret: Option<&str>) -> Told {
    let sent = readable(&exchange.sent);
    Told {
        with: readable(exchange.with.as_bytes()),
        sent: secret.map_or_else(|| sent.clone(), |secret| sent.replace(secret, "…")),
        received: readable(&exchange.received),
        failure: exchange.failure,
    }
}

/// Octets as text: what is no text is escaped, what is long is cut.
fn readable(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets.get(..LONGEST).unwrap_or(octets));
    let mut out: String = text
        .replace("\r\n", "\n")
        .chars()
        .flat_map(|letter| match letter {
            '\n' | '\t' => vec![letter],
            letter if letter.is_control() => letter.escape_default().collect(),
            letter => vec![letter],
        })
        .collect();
    if octets.len() > LONGEST {
        out.extend(["\n… ", &octets.len().to_string(), " octets in all"]);
    }
    out
}
