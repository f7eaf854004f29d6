//! What was found, for people and for programs, and the configuration that puts it right.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::Format;
use crate::cli::output::{Answer, DONE, REFUSED, table};
use crate::http::forwarded::Dialect;

use super::forgery::{Attack, Forgery};
use super::verdict::{Outcome, Verdict};

/// Everything that was seen.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) url: String,
    pub(super) client_id: String,
    /// Whether the handshake asked for a certificate.
    pub(super) asked_for_certificate: bool,
    /// The thumbprint of `--cert`, if there is one.
    pub(super) own: Option<String>,
    pub(super) baseline: Baseline,
    pub(super) rows: Vec<Row>,
}

/// The answers to requests without any forged header.
#[derive(Debug)]
pub(super) struct Baseline {
    /// Without a certificate.
    pub(super) bare: Outcome,
    /// With that of `--cert`, or a self-made one.
    pub(super) shown: Outcome,
    /// With its leaf alone, if it has more.
    pub(super) alone: Option<Outcome>,
    /// With a certificate that nobody knows.
    pub(super) unknown: Outcome,
}

/// One forgery, beside no certificate in the handshake and beside one.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) forgery: Forgery,
    pub(super) without: Seen,
    pub(super) with: Seen,
}

/// The answers to a header with a certificate and to the same with none in it, and what they mean.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) outcome: Outcome,
    pub(super) malformed: Outcome,
    pub(super) verdict: Verdict,
}

/// How a proxy is configured so that no header of a client counts; the text of docs/proxies.md.
const CONFIGURATIONS: [(Dialect, &str, &str); 3] = [
    (Dialect::Nginx, "nginx.conf", include_str!("../../../docs/proxies/nginx.conf")),
    (Dialect::HaProxy, "haproxy.cfg", include_str!("../../../docs/proxies/haproxy.cfg")),
    (Dialect::Apache, "apache.conf", include_str!("../../../docs/proxies/apache.conf")),
];

impl Report {
    /// Exit code 1 if anything forged was believed, or a certificate was there that the client did not show.
    pub(super) fn answer(&self, named: Option<Dialect>, format: Format) -> Answer {
        let code = if self.is_believed() { REFUSED } else { DONE };
        let configurations = self.configurations(named);
        Answer::with_code(code, format, || self.text(&configurations), &self.json(&configurations))
    }

    fn is_believed(&self) -> bool {
        let mut verdicts = self.rows.iter().flat_map(|row| [row.without.verdict, row.with.verdict]);
        verdicts.any(|verdict| verdict == Verdict::Believed) || self.other_certificate().is_some()
    }

    /// Certificates that no client showed, and that counted all the same.
    fn other_certificate(&self) -> Option<&'static str> {
        if matches!(self.baseline.bare, Outcome::Token(_)) {
            return Some(
                "a token came without any certificate: that of the proxy, or one that it always sends, is taken for \
                 the client's",
            );
        }
        match (&self.baseline.shown, &self.own) {
            (Outcome::Token(Some(bound_to)), Some(own)) if bound_to != own => {
                Some("the token is bound to another certificate than the one that was shown")
            }
            _ => None,
        }
    }

    fn findings(&self) -> Vec<String> {
        let mut findings: Vec<String> = self.other_certificate().map(str::to_owned).into_iter().collect();
        if !self.asked_for_certificate {
            findings.push(
                "the handshake asked for no certificate: without that nobody can show one (nginx: ssl_verify_client \
                 optional_no_ca)"
                    .to_owned(),
            );
        }
        findings.extend(self.rows.iter().filter_map(Row::finding));
        if let (Some(_), Outcome::Error { code, reference, .. }) = (&self.own, &self.baseline.shown) {
            let why = reference.as_ref().map(|reference| format!(": certbound explain {reference}"));
            let why = why.unwrap_or_default();
            findings.push(format!(
                "the certificate of --cert got no token for client {} ({code}{why}); with one that does, this check \
                 says more",
                self.client_id
            ));
        }
        if !matches!(self.baseline.unknown, Outcome::Error { .. } | Outcome::Token(_)) {
            findings.push(
                "a certificate that nobody knows does not get through to the server: the proxy judges certificates \
                 itself, and clients with self-signed certificates stay outside"
                    .to_owned(),
            );
        }
        if let (Outcome::Token(_), Some(Outcome::Error { .. } | Outcome::Other(_))) =
            (&self.baseline.shown, &self.baseline.alone)
        {
            findings.push(
                "without its intermediates the certificate gets no token: clients have to send them, or the anchor \
                 set has to hold them (`intermediates`)"
                    .to_owned(),
            );
        }
        findings
    }

    /// The right configuration for the dialect that was named, or for those with a finding.
    fn configurations(&self, named: Option<Dialect>) -> Vec<&'static (Dialect, &'static str, &'static str)> {
        let found =
            |dialect| self.rows.iter().any(|row| row.forgery.dialect == dialect && row.finding().is_some());
        let wanted = |dialect| named.map_or_else(|| found(dialect), |named| named == dialect);
        CONFIGURATIONS.iter().filter(|(dialect, ..)| wanted(*dialect)).collect()
    }

    fn json(&self, configurations: &[&(Dialect, &str, &str)]) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "dialect": row.forgery.dialect.as_str(),
                "header": row.forgery.header,
                "attack": row.forgery.attack.as_str(),
                "without_certificate": seen(&row.without),
                "with_certificate": seen(&row.with),
            })
        });
        let configurations = configurations.iter().map(|(dialect, file, text)| {
            json!({ "dialect": dialect.as_str(), "file": format!("docs/proxies/{file}"), "text": text })
        });
        json!({
            "url": self.url,
            "client_id": self.client_id,
            "believed": self.is_believed(),
            "certificate_asked_for": self.asked_for_certificate,
            "x5t#S256": self.own,
            "baseline": {
                "without_certificate": outcome(&self.baseline.bare),
                "with_certificate": outcome(&self.baseline.shown),
                "leaf_alone": self.baseline.alone.as_ref().map(outcome),
                "unknown_certificate": outcome(&self.baseline.unknown),
            },
            "attacks": rows.collect::<Vec<_>>(),
            "findings": self.findings(),
            "configurations": configurations.collect::<Vec<_>>(),
        })
    }

    fn text(&self, configurations: &[&(Dialect, &str, &str)]) -> String {
        let shown = if self.own.is_some() { "with --cert" } else { "with a self-made certificate" };
        let mut out = format!("POST {} as client {}\n\n", self.url, self.client_id);
        let mut baseline = vec![
            vec!["without a certificate".to_owned(), words(&self.baseline.bare)],
            vec![shown.to_owned(), words(&self.baseline.shown)],
        ];
        if self.own.is_some() {
            let alone = self.baseline.alone.as_ref().map_or_else(|| "it has no chain".to_owned(), words);
            baseline.push(vec!["with its leaf alone".to_owned(), alone]);
            baseline.push(vec!["with a self-made certificate".to_owned(), words(&self.baseline.unknown)]);
        }
        let head = ["dialect", "header", "sent", "without a certificate", shown].map(str::to_owned).to_vec();
        let rows = self.rows.iter().map(|row| {
            let cell = |seen: &Seen| match seen.verdict {
                Verdict::NotTried => "not tried: no connection".to_owned(),
                verdict => format!("{}: {}", verdict.as_str().replace('_', " "), words(&seen.outcome)),
            };
            let Forgery { dialect, header, attack } = &row.forgery;
            let name = |text: &str| text.to_owned();
            vec![
                name(dialect.as_str()),
                header.clone(),
                name(attack.as_str()),
                cell(&row.without),
                cell(&row.with),
            ]
        });
        let rows = table(std::iter::once(head).chain(rows));
        let _ = writeln!(out, "{}\n\n{rows}\n", table(baseline));
        let findings = self.findings();
        for finding in &findings {
            let _ = writeln!(out, "- {finding}");
        }
        if !findings.is_empty() {
            out.push('\n');
        }
        let end = if self.is_believed() {
            "Somebody can be another client here."
        } else {
            "No header of a client was believed."
        };
        out.push_str(end);
        for (dialect, file, text) in configurations {
            let _ = write!(out, "\n\nThe configuration for {dialect} (docs/proxies/{file}):\n\n{text}");
        }
        out
    }
}

impl Row {
    fn how_believed(&self) -> &'static str {
        let of_token =
            |seen: &Seen| seen.verdict == Verdict::Believed && matches!(seen.outcome, Outcome::Token(_));
        if of_token(&self.without) || of_token(&self.with) {
            "it got a token"
        } else if self.without.verdict == Verdict::Believed {
            "the server tells a certificate in it from none, so it reads it"
        } else {
            "it took the place of the certificate in the handshake"
        }
    }

    /// What there is to say about it, if there is something to be put right.
    fn finding(&self) -> Option<String> {
        let Forgery { dialect, header, attack } = &self.forgery;
        let what = format!("{header} ({dialect}, {})", attack.as_str());
        let is = |verdict| [self.without.verdict, self.with.verdict].contains(&verdict);
        if is(Verdict::Believed) {
            let how = self.how_believed();
            return Some(format!(
                "{what} was BELIEVED: {how}; whoever has seen a client's certificate can be that client"
            ));
        }
        if is(Verdict::Reached) {
            return Some(format!(
                "{what} reached the server, which refused the request; the proxy has to drop what clients write there"
            ));
        }
        (is(Verdict::Broke) && *attack != Attack::Oversized)
            .then(|| format!("{what} made the proxy or the server answer with a fault of its own"))
    }
}

fn seen(seen: &Seen) -> Value {
    let mut value = outcome(&seen.outcome);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("verdict".to_owned(), seen.verdict.as_str().into());
        fields.insert("malformed".to_owned(), outcome(&seen.malformed));
    }
    value
}

fn outcome(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Token(bound_to) => json!({ "status": 200, "token": true, "bound_to": bound_to }),
        Outcome::Error { status, code, reference } => {
            json!({ "status": status, "error": code, "reference": reference })
        }
        Outcome::Other(status) => json!({ "status": status }),
        Outcome::Nothing(why) => json!({ "status": null, "no_answer": why }),
    }
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Token(_) => "200 a token".to_owned(),
        Outcome::Error { status, code, .. } => format!("{status} {code}"),
        Outcome::Other(status) => format!("{status}, no OAuth error"),
        Outcome::Nothing(_) => "no answer".to_owned(),
    }
}
