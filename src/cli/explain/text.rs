//! An explanation for people, who read it at three in the morning: the verdict, the one thing that failed, what to do
//! first, and then everything.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cli::output::table;

/// The page for an explanation (contract §5), with what was recorded of the refusal if it is about one.
pub(super) fn of(explanation: &Value) -> String {
    let mut page = verdict(explanation);
    if !is_accepted(explanation) {
        page.push_str(&failure(explanation));
    }
    if !is_accepted(explanation) {
        page.push_str(&remedy(explanation));
    }
    page.push_str(&checks(explanation));
    page.push_str(&names(explanation));
    page.push_str(&path(explanation));
    page.push_str(&revocation(explanation));
    page
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn is_accepted(value: &Value) -> bool {
    value.get("accepted").and_then(Value::as_bool) == Some(true)
}

/// `accepted`, or `refused: REASON`.
fn word(value: &Value) -> String {
    match text(value, "reason") {
        Some(reason) if !is_accepted(value) => format!("refused: {reason}"),
        _ => "accepted".to_owned(),
    }
}

fn verdict(explanation: &Value) -> String {
    let client = text(explanation, "client_id").filter(|client| !client.is_empty());
    let client = client.map_or_else(|| "no client_id".to_owned(), |client| format!("client {client}"));
    let at = text(explanation, "at").unwrap_or_default();
    let Some(recorded) = explanation.get("recorded") else {
        return format!("{}\n{client} at {at}\n", word(explanation));
    };
    let then = text(recorded, "reason").unwrap_or_default();
    let mut head = format!("refused: {then}\n{client} at {at}");
    let _ = write!(
        head,
        ", {} on listener {}, ref {}",
        text(recorded, "path").unwrap_or_default(),
        text(recorded, "listener").unwrap_or_default(),
        text(explanation, "reference").unwrap_or_default()
    );
    if let (Some(thumbprint), Some(subject)) = (text(recorded, "x5t#S256"), text(recorded, "subject")) {
        let _ = write!(head, "\nwith certificate {thumbprint} ({subject})");
    }
    head.push('\n');
    match explanation.get("now").filter(|now| now.is_object()) {
        None => head.push_str(
            "\nThe decision cannot be made again: no certificate was kept, or it was not refused for its certificate. \
             This is what was recorded.\n",
        ),
        Some(now) => {
            let changed = is_accepted(explanation) || text(explanation, "reason") != Some(then);
            let today = is_accepted(now) || text(now, "reason") != Some(then);
            if changed {
                let _ = writeln!(
                    head,
                    "\nThe registration or the trust has changed since. refused then: {then}; now: {}",
                    word(now)
                );
            } else if today {
                let _ = writeln!(head, "\nTime has passed. refused then: {then}; now: {}", word(now));
            }
        }
    }
    head
}

/// The check that decided, and what to do about it.
fn failure(explanation: &Value) -> String {
    let failed =
        list(explanation, "/checks").iter().find(|check| check.get("ok") == Some(&Value::Bool(false)));
    let Some(failed) = failed else { return String::new() };
    let field = |name: &str| text(failed, name).unwrap_or_default().to_owned();
    let mut rows =
        vec![("  failed", field("check")), ("  expected", field("expected")), ("  seen", field("seen"))];
    if let Some(first) = text(explanation, "reason").and_then(first_step) {
        rows.push(("  do first", first.to_owned()));
    }
    let rows = table(rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]));
    format!("\n{rows}\n")
}

/// Where to begin; the whole is in docs/operating.md, "Refusals, one by one".
fn first_step(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "no_certificate" => {
            "run `certbound token` on the client's machine: it says whether a certificate was asked for and sent"
        }
        "unknown_client" => {
            "compare the client_id letter by letter with `certbound client list`; then `certbound check`"
        }
        "disabled_client" => "find out who wrote `enabled: false`, and why",
        "missing_client_id" => {
            "have the client send client_id in the form: the certificate alone names nobody"
        }
        "wrong_method" => {
            "set the client up for mutual TLS alone: no Authorization header, no client_secret, no client_assertion"
        }
        "malformed_certificate" => "look at the client's file with `certbound cert show FILE`",
        "subject_mismatch" => {
            "decide whose mistake it is: another certificate in the client, or another name in its document"
        }
        "not_registered" => "if the client has renewed its certificate, register the new one beside the old",
        "untrusted" => {
            "ask who issued it: two CAs may have one name, and a CA is its key. If the issuer is the right one, have the \
             client send its intermediates, or add them to the anchor set"
        }
        "expired" => "renew the certificate that ended; compare the clocks of both machines",
        "not_yet_valid" => "compare the clocks of both machines; else wait, or have it issued anew",
        "wrong_usage" => {
            "have it issued for clients: extendedKeyUsage = clientAuth, keyUsage = digitalSignature"
        }
        "weak_key" => {
            "have it issued with a key and a signature of today: P-256, Ed25519, or RSA of 2048 bits with SHA-256"
        }
        "revoked" => "ask the CA why it was revoked; if that was right, treat the key as stolen",
        "revocation_unknown" => {
            "see to the CRL or the responder named below: under `revocation: require` unknown is not good"
        }
        "proxy_refused" => {
            "look at the proxy: it did not prove who it is, so its certificate header does not count"
        }
        _ => return None,
    })
}

/// The lines, and what they do not do by themselves.
fn remedy(explanation: &Value) -> String {
    let lines = text(explanation, "accepting_yaml").unwrap_or_default().lines();
    let step = text(explanation, "accepting_step");
    let all: Vec<_> = lines.chain(step).map(|line| format!("  {line}\n")).collect();
    if all.is_empty() {
        return String::new();
    }
    format!("\nWhat would accept this certificate, if it is the right one:\n{}", all.concat())
}

fn checks(explanation: &Value) -> String {
    let mut out = "\nEvery check, in order:\n".to_owned();
    for check in list(explanation, "/checks") {
        let field = |name: &str| text(check, name).unwrap_or_default();
        if check.get("ok") == Some(&Value::Bool(true)) {
            let _ = writeln!(out, "  ok  {}: {}", field("check"), field("seen"));
        } else {
            let _ = writeln!(out, "  NO  {}", field("check"));
            let _ = writeln!(out, "      expected {}\n      seen     {}", field("expected"), field("seen"));
        }
    }
    out
}

fn names(explanation: &Value) -> String {
    let differences = list(explanation, "/dn_difference");
    if differences.is_empty() {
        return String::new();
    }
    let rows = differences.iter().map(|difference| {
        let side = |name: &str| text(difference, name).unwrap_or("nothing").to_owned();
        let number = difference.get("rdn").and_then(Value::as_u64).unwrap_or_default();
        vec![format!("  {number}"), side("expected"), side("seen"), side("kind")]
    });
    let header = ["  rdn", "expected", "seen", "differs in"].map(str::to_owned).to_vec();
    format!(
        "\nThe names, RDN by RDN as RFC 4514 prints them:\n{}\n",
        table(std::iter::once(header).chain(rows))
    )
}

fn path(explanation: &Value) -> String {
    let steps = list(explanation, "/path");
    let broke = list(explanation, "/checks")
        .iter()
        .find(|check| text(check, "check") == Some("path") && check.get("ok") == Some(&Value::Bool(false)));
    if steps.is_empty() && broke.is_none() {
        return String::new();
    }
    let mut out = "\nThe path, as far as it was built (0 is the leaf):\n".to_owned();
    for (depth, step) in steps.iter().enumerate() {
        let field = |name: &str| text(step, name).unwrap_or_default();
        let _ = writeln!(out, "  {depth}  {}  x5t#S256 {}", field("subject"), field("x5t#S256"));
    }
    if let Some(broke) = broke {
        let _ = writeln!(out, "  broke at {}", text(broke, "seen").unwrap_or_default());
    }
    out
}

fn revocation(explanation: &Value) -> String {
    let Some(policy) = explanation.pointer("/revocation/policy").and_then(Value::as_str) else {
        return String::new();
    };
    let mut out = format!("\nRevocation: {policy}\n");
    for source in list(explanation, "/revocation/sources") {
        let field = |name: &str| text(source, name).unwrap_or_default();
        let detail = text(source, "detail").map(|detail| format!(" ({detail})")).unwrap_or_default();
        let _ = writeln!(out, "  {}  {}: {}{detail}", field("status"), field("certificate"), field("source"));
    }
    out
}
