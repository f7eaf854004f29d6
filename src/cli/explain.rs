//! `certbound explain`: the real decision about a client and a certificate, with every check on the table.
//!
//! It is the function of the token endpoint with recording on, so it cannot say anything else than the server would:
//! asked about a refusal, for the moment and with the certificate of that request, in the world of the running server;
//! asked about a file, in a world read from the configuration. Possession of the key is not asked: a file proves nothing,
//! and nothing is issued.

mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use crate::admin::explain_refusal;
use crate::authn::{Explanation, Presented, PresentedCertificate, Via};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::Config;
use crate::pki::{CertificateError, Chain};

use super::client::runtime;
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
    /// The reference of a refusal: what the client was told behind `ref`, in any case, with or without dashes
    #[arg(required_unless_present = "client")]
    reference: Option<String>,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| "a time such as 2026-01-31T08:00:00Z (RFC 3339)".to_owned())
}

/// Decides and shows how.
pub(crate) fn run(args: &ExplainArgs, globals: &Globals) -> u8 {
    let now = SystemClock.now();
    conclude(match (&args.client, &args.cert, &args.reference) {
        (Some(client), Some(cert), _) => explain(client, cert, args, globals, now),
        (_, _, Some(reference)) => explain_reference(reference, globals, now),
        _ => Err(Fault::Usage("name a REFERENCE, or --client ID and --cert FILE".to_owned())),
    })
}

fn explain(
    client: &str,
    cert: &Path,
    args: &ExplainArgs,
    globals: &Globals,
    now: Timestamp,
) -> Result<Answer, Fault> {
    let certificates = match certificates(cert, args) {
        // A file that is there and broken is a decision, a no.
        Err(Fault::Refused(broken)) => Err(CertificateError(broken)),
        other => Ok(other?),
    };
    let config = control::configuration(globals)?;
    let presented = match certificates.and_then(|ders| Chain::parse(&ders, config.limits.chain)) {
        Ok(chain) => Presented::Certificate(Arc::new(PresentedCertificate { chain, via: Via::File })),
        Err(error) => Presented::Malformed(error),
    };
    let world = control::world(&config, now);
    let explanation = match args.at {
        // What a responder would have said at another time cannot be asked now.
        Some(at) => world.explain(client, &presented, at),
        None => runtime()?.block_on(world.explain_asking(client, &presented, now)),
    };
    let code = if explanation.accepted { DONE } else { REFUSED };
    Ok(Answer::with_code(code, globals.format, || text(&explanation), &json!(explanation)))
}

/// The leaf first, and what is sent along.
fn certificates(cert: &Path, args: &ExplainArgs) -> Result<Vec<Vec<u8>>, Fault> {
    let mut certificates = files::bundle(cert, args.password_file.as_deref())?.certificates;
    if certificates.is_empty() {
        return Err(Fault::Usage(format!("{}: there is no certificate in it", cert.display())));
    }
    if let Some(chain) = &args.chain {
        certificates.extend(files::bundle(chain, args.password_file.as_deref())?.certificates);
    }
    Ok(certificates)
}

/// A refusal that is known is a refusal, whatever would be said today (contract ruling 19).
fn explain_reference(reference: &str, globals: &Globals, now: Timestamp) -> Result<Answer, Fault> {
    // Pasted as it came, `(ref 7Q2M-4XKD-PW0C-93FH)` with it.
    let reference = reference.trim().trim_matches(['(', ')']);
    let reference = reference.strip_prefix("ref ").unwrap_or(reference).trim();
    let config = control::configuration(globals)?;
    let found = match control::server(&config)? {
        Some(server) => server.find(&["refusals", reference])?,
        None => without_server(reference, &config, now)?,
    };
    let document = found.ok_or_else(|| {
        Fault::Usage(format!(
            "no refusal {reference} is known, or not any more (they are kept for 30 days, the newest 10,000 of them); \
             the line of the server's log with this `ref` has reason and cause, and `certbound explain --client ID \
             --cert FILE` makes the decision again"
        ))
    })?;
    Ok(Answer::with_code(REFUSED, globals.format, || text::of(&document), &document))
}

fn without_server(reference: &str, config: &Config, now: Timestamp) -> Result<Option<Value>, Fault> {
    let Some(store) = control::find_store(config)? else { return Ok(None) };
    let runtime = runtime()?;
    let Some(record) = runtime.block_on(store.evidence().refusal(reference))? else { return Ok(None) };
    let world = control::world(config, now);
    Ok(Some(runtime.block_on(explain_refusal(&world, &record, now))))
}

/// An explanation for people.
pub(super) fn text(explanation: &Explanation) -> String {
    text::of(&json!(explanation))
}
