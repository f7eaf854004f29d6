//! `certbound explain`: the real decision about a client and a certificate, with every check on the table.
//!
//! It is the function of the token endpoint with recording on, in a world read from the configuration, so it
//! cannot say anything else than the server would. Possession of the key is not asked: a file proves nothing,
//! and nothing is issued.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::authn::{ClientAuthenticator, Explanation, Presented, PresentedCertificate, Via};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::Config;
use crate::pki::Chain;
use crate::registry::Registry;

use super::output::{Answer, DONE, Fault, REFUSED, conclude};
use super::{Globals, control, files};

/// The arguments of `explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The client, as registered
    #[arg(long, value_name = "ID", requires = "cert", conflicts_with = "reference")]
    client: Option<String>,
    /// The certificate it shows: PEM, DER or PKCS#12
    #[arg(long, value_name = "FILE", requires = "client")]
    cert: Option<PathBuf>,
    /// The certificates it sends along
    #[arg(long, value_name = "FILE", requires = "client")]
    chain: Option<PathBuf>,
    /// The password of a PKCS#12 file
    #[arg(long, value_name = "FILE", requires = "client")]
    password_file: Option<PathBuf>,
    /// The moment of the decision (RFC 3339), default now
    #[arg(long, value_name = "T", requires = "client", value_parser = moment)]
    at: Option<Timestamp>,
    /// The reference of a refusal (not supported by this version)
    #[arg(required_unless_present = "client")]
    reference: Option<String>,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| "a time such as 2026-01-31T08:00:00Z (RFC 3339)".to_owned())
}

/// Decides and shows how.
pub(crate) fn run(args: &ExplainArgs, globals: &Globals) -> u8 {
    conclude(match (&args.client, &args.cert) {
        (Some(client), Some(cert)) => explain(client, cert, args, globals, SystemClock.now()),
        _ => Err(Fault::Usage(
            "explain REFERENCE is not supported by this version; the reason is in the server's log, or ask \
             with --client ID --cert FILE"
                .to_owned(),
        )),
    })
}

fn explain(
    client: &str,
    cert: &Path,
    args: &ExplainArgs,
    globals: &Globals,
    now: Timestamp,
) -> Result<Answer, Fault> {
    let mut certificates = files::bundle(cert, args.password_file.as_deref())?.certificates;
    if certificates.is_empty() {
        return Err(Fault::Usage(format!("{}: there is no certificate in it", cert.display())));
    }
    if let Some(chain) = &args.chain {
        certificates.extend(files::bundle(chain, args.password_file.as_deref())?.certificates);
    }
    let config = control::configuration(globals)?;
    let presented = match Chain::parse(&certificates, config.limits.chain) {
        Ok(chain) => Presented::Certificate(Arc::new(PresentedCertificate { chain, via: Via::File })),
        Err(error) => Presented::Malformed(error),
    };
    let explanation = world(&config, now)?.explain(client, &presented, args.at.unwrap_or(now));
    let code = if explanation.accepted { DONE } else { REFUSED };
    Ok(Answer::with_code(code, globals.format, || text(&explanation), &json!(explanation)))
}

/// The clients and anchors as a server would have them that started now; one broken file is no reason to be
/// silent about the others.
fn world(config: &Config, now: Timestamp) -> Result<ClientAuthenticator, Fault> {
    let (trust, problems) =
        config.trust_store(now).map_err(|problems| Fault::Refused(control::listed(&problems)))?;
    control::warn(&problems);
    let (registry, problems) =
        Registry::load(&config.registry_settings(), None, &trust, &BTreeSet::new(), now);
    control::warn(&problems);
    Ok(ClientAuthenticator::new(registry, Arc::new(trust)))
}

/// An explanation for people.
pub(super) fn text(explanation: &Explanation) -> String {
    let verdict = match explanation.reason {
        None => "accepted".to_owned(),
        Some(reason) => format!("refused: {}", reason.as_str()),
    };
    let mut out = format!("{} at {}: {verdict}\n\n", explanation.client_id, explanation.at);
    for finding in &explanation.checks {
        if finding.ok {
            let _ = writeln!(out, "  ok  {}: {}", finding.check, finding.seen);
        } else {
            let _ = writeln!(out, "  NO  {}", finding.check);
            let _ = writeln!(out, "      expected {}\n      seen     {}", finding.expected, finding.seen);
        }
    }
    if !explanation.dn_difference.is_empty() {
        out.push_str("\nThe names, RDN by RDN as RFC 4514 prints them:\n");
        for difference in &explanation.dn_difference {
            let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
            let (expected, seen) = (side(&difference.expected), side(&difference.seen));
            let _ =
                writeln!(out, "  {}. expected {expected}, seen {seen} ({})", difference.rdn, difference.kind);
        }
    }
    if !explanation.path.is_empty() {
        out.push_str("\nThe path, leaf first:\n");
        for step in &explanation.path {
            let _ = writeln!(out, "  {}  {}", step.thumbprint, step.subject);
        }
    }
    let _ = writeln!(out, "\nRevocation: {}", explanation.revocation.policy);
    if let Some(yaml) = explanation.accepting_yaml.as_ref().filter(|_| !explanation.accepted) {
        let _ = writeln!(out, "\nThe line that would accept this certificate:\n  {yaml}");
    }
    out
}
