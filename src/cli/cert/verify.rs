//! `certbound cert verify`: the path validation of the token endpoint, with the revocation of the whole path where
//! lists are given, and nothing else. It is also what the conformance runs drive, so a yes is 0, a no is 1, and
//! everything that is no answer is 2.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::Format;
use crate::cli::files;
use crate::cli::output::{Answer, DONE, Fault, REFUSED};
use crate::clock::Timestamp;
use crate::pki::certificate::AltName;
use crate::pki::files::{self as formats, FileError};
use crate::pki::revocation::crl::{CrlError, Crls};
use crate::pki::revocation::{
    Revocation, RevocationError, RevocationErrorKind, RevocationMode, SetRevocation,
};
use crate::pki::trust::{PathEntry, Purpose, TrustError};
use crate::pki::{AnchorSet, AnchorSetName, Certificate, Chain, Profile};

/// The most certificates that may be presented, as in a handshake.
const MAX_CHAIN: usize = 16;

/// The arguments of `cert verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Certificates that may vouch; repeat it for more files
    #[arg(long, value_name = "FILE", required = true)]
    anchor: Vec<PathBuf>,
    /// Certificates that may stand in between
    #[arg(long, value_name = "FILE")]
    intermediates: Option<PathBuf>,
    /// Revocation lists; repeat it for more files. With any, every certificate of the path but the anchor must be on
    /// none, and covered by a current one of its issuer
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// How much is asked of the path
    #[arg(long, value_enum, default_value_t)]
    profile: ProfileArg,
    /// What the leaf is to be used for
    #[arg(long, value_enum, default_value_t)]
    purpose: PurposeArg,
    /// The moment to judge for, RFC 3339 (default: now)
    #[arg(long, value_name = "T", value_parser = moment)]
    at: Option<Timestamp>,
    /// A dNSName that the leaf must have
    #[arg(long, value_name = "NAME")]
    expect_dns: Option<String>,
    /// An iPAddress that the leaf must have
    #[arg(long, value_name = "ADDRESS")]
    expect_ip: Option<IpAddr>,
    /// An rfc822Name that the leaf must have
    #[arg(long, value_name = "ADDRESS")]
    expect_email: Option<String>,
    /// The password of PKCS#12 files, on the first line of this one (default: the empty password)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The certificate to judge; what follows it in the file counts as sent with it
    #[arg(value_name = "LEAF")]
    leaf: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ProfileArg {
    /// RFC 5280 §6.1 as written
    #[default]
    Compatible,
    /// Also what RFC 5280 §4 asks of conforming CAs
    Strict,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum PurposeArg {
    /// TLS client authentication
    #[default]
    Client,
    /// TLS server authentication
    Server,
    /// Whatever it says
    Any,
}

/// Judges, at `now` unless `--at` says otherwise.
pub(super) fn verify(args: &VerifyArgs, format: Format, now: Timestamp) -> Result<Answer, Fault> {
    let verdict = judge(args, args.at.unwrap_or(now))?;
    let code = if verdict.reason.is_none() { DONE } else { REFUSED };
    Ok(Answer::with_code(code, format, || verdict.text(), &verdict.json()))
}

/// A file that is there and broken is an answer, a no; one that is missing or of no known form is none.
macro_rules! or_malformed {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(Fault::Refused(detail)) => return Ok(Verdict::malformed(detail)),
            Err(fault) => return Err(fault),
        }
    };
}
fn judge(args: &VerifyArgs, now: Timestamp) -> Result<Verdict, Fault> {
    let password = args.password_file.as_deref();
    let mut anchors = Vec::new();
    for file in &args.anchor {
        for der in or_malformed!(certificates(file, password)) {
            let parsed = Certificate::parse(&der);
            anchors.push(or_malformed!(parsed.map_err(|error| refused(file, &error))));
        }
    }
    let mut presented = or_malformed!(certificates(&args.leaf, password));
    if let Some(file) = &args.intermediates {
        presented.extend(or_malformed!(certificates(file, password)));
    }
    let chain = Chain::parse(&presented, MAX_CHAIN);
    let chain = or_malformed!(chain.map_err(|error| refused(&args.leaf, &error)));
    let profile = match args.profile {
        ProfileArg::Compatible => Profile::Compatible,
        ProfileArg::Strict => Profile::Strict,
    };
    let purpose = match args.purpose {
        PurposeArg::Client => Purpose::Client,
        PurposeArg::Server => Purpose::Server,
        PurposeArg::Any => Purpose::Any,
    };
    let lists = lists(&args.crl)?;
    let set = AnchorSet::unchecked(anchors, Vec::new(), profile);
    let certificates = match set.verify_certificates(&chain, purpose, now) {
        Ok(certificates) => certificates,
        Err(TrustError { kind, depth, detail, path }) => {
            return Ok(Verdict::refused(kind.reason(), Some(depth), detail, path));
        }
    };
    let path = certificates.iter().map(|member| PathEntry::new(member)).collect();
    if let Err(NotCurrent { reason, depth, detail }) = check_revocation(&lists, &certificates, &set, now) {
        return Ok(Verdict::refused(reason, depth, detail, path));
    }
    Ok(match args.unmet_expectation(&chain.leaf) {
        None => Verdict { reason: None, depth: None, detail: None, path },
        Some(detail) => Verdict::refused("subject_mismatch", Some(0), detail, path),
    })
}

/// A file, and the DER of every list in it, or why they cannot be had.
type Lists<'a> = (&'a Path, Result<Vec<Vec<u8>>, FileError>);

fn lists(files: &[PathBuf]) -> Result<Vec<Lists<'_>>, Fault> {
    let read = |file: &PathBuf| match formats::crls(&files::read(file)?) {
        Err(FileError::Nothing) => {
            Err(Fault::Usage(format!("{}: there is no revocation list in it", file.display())))
        }
        lists => Ok(lists),
    };
    files.iter().map(|file| Ok((file.as_path(), read(file)?))).collect()
}

/// Why a path that holds is refused.
struct NotCurrent {
    reason: &'static str,
    depth: Option<usize>,
    detail: String,
}

/// `revocation: require`, by these lists alone. A list that is no good decides nothing, so the status is unknown; one
/// that is older than another is merely superseded, in whatever order they came.
fn check_revocation(
    lists: &[Lists<'_>],
    path: &[Arc<Certificate>],
    set: &AnchorSet,
    now: Timestamp,
) -> Result<(), NotCurrent> {
    if lists.is_empty() {
        return Ok(());
    }
    let crls = Crls::default();
    for (file, ders) in lists {
        let unusable = |error: &dyn std::fmt::Display| NotCurrent {
            reason: "revocation_unknown",
            depth: None,
            detail: format!("{}: {error}", file.display()),
        };
        for der in ders.as_ref().map_err(|error| unusable(error))? {
            match crls.offer(der, set.anchors(), now) {
                Ok(_) | Err(CrlError::Older { .. }) => {}
                Err(error) => return Err(unusable(&error)),
            }
        }
    }
    let name = AnchorSetName::new("--anchor");
    let policy = SetRevocation { mode: RevocationMode::Require, crl: true, ocsp: None };
    let sets = BTreeMap::from([(name.clone(), policy)]);
    let checked = Revocation::new(sets, Arc::new(crls), Arc::default()).check_path(path, &name, now);
    checked.map(drop).map_err(|RevocationError { kind, depth, detail, .. }| {
        let reason = match kind {
            RevocationErrorKind::Revoked => "revoked",
            RevocationErrorKind::Unknown => "revocation_unknown",
        };
        NotCurrent { reason, depth: Some(depth), detail }
    })
}

fn certificates(file: &Path, password: Option<&Path>) -> Result<Vec<Vec<u8>>, Fault> {
    let certificates = files::bundle(file, password)?.certificates;
    if certificates.is_empty() {
        return Err(Fault::Usage(format!("{}: there is no certificate in it", file.display())));
    }
    Ok(certificates)
}

fn refused(file: &Path, error: &crate::pki::CertificateError) -> Fault {
    Fault::Refused(format!("{}: {error}", file.display()))
}

fn moment(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse_rfc3339(text).ok_or("a moment such as 2026-01-31T08:00:00Z")
}

impl VerifyArgs {
    /// Equality for clients (RFC 8705 §2.1.2), host names for servers (RFC 9525 §6).
    fn unmet_expectation(&self, leaf: &Certificate) -> Option<String> {
        let has = |fits: &dyn Fn(&AltName) -> bool| leaf.alt_names().iter().any(fits);
        if let Some(expected) = &self.expect_dns {
            let is_client = self.purpose == PurposeArg::Client;
            let fits = |name: &str| {
                name.eq_ignore_ascii_case(expected) || (!is_client && wildcard_covers(name, expected))
            };
            if !has(&|name| matches!(name, AltName::Dns(name) if fits(name))) {
                return Some(format!("no dNSName of the leaf is {expected}"));
            }
        }
        if let Some(expected) = self.expect_ip
            && !has(&|name| matches!(name, AltName::Ip(address) if *address == expected))
        {
            return Some(format!("no iPAddress of the leaf is {expected}"));
        }
        if let Some(expected) = &self.expect_email
            && !has(&|name| matches!(name, AltName::Email(name) if same_mailbox(name, expected)))
        {
            return Some(format!("no rfc822Name of the leaf is {expected}"));
        }
        None
    }
}

/// RFC 9525 §6.3: `*` is the whole leftmost label and stands for exactly one.
fn wildcard_covers(pattern: &str, host: &str) -> bool {
    let Some(parent) = pattern.strip_prefix("*.") else { return false };
    let Some((label, rest)) = host.split_once('.') else { return false };
    !label.is_empty() && !parent.is_empty() && !parent.contains('*') && rest.eq_ignore_ascii_case(parent)
}

/// RFC 5280 §7.5: the local part exactly, the host without case.
fn same_mailbox(one: &str, other: &str) -> bool {
    match (one.rsplit_once('@'), other.rsplit_once('@')) {
        (Some((local, host)), Some((other_local, other_host))) => {
            local == other_local && host.eq_ignore_ascii_case(other_host)
        }
        _ => false,
    }
}

/// The answer.
struct Verdict {
    /// `None`: accepted.
    reason: Option<&'static str>,
    depth: Option<usize>,
    detail: Option<String>,
    path: Vec<PathEntry>,
}

impl Verdict {
    fn malformed(detail: String) -> Self {
        Self::refused("malformed_certificate", None, detail, Vec::new())
    }

    fn refused(reason: &'static str, depth: Option<usize>, detail: String, path: Vec<PathEntry>) -> Self {
        Self { reason: Some(reason), depth, detail: Some(detail), path }
    }

    fn json(&self) -> serde_json::Value {
        let path: Vec<_> = self
            .path
            .iter()
            .map(|entry| json!({"subject": entry.subject, "x5t#S256": entry.thumbprint.to_string()}))
            .collect();
        json!({
            "accepted": self.reason.is_none(),
            "reason": self.reason,
            "depth": self.depth,
            "detail": self.detail,
            "path": path,
        })
    }

    fn text(&self) -> String {
        let mut lines = match (self.reason, &self.detail) {
            (None, _) => vec!["accepted".to_owned()],
            (Some(reason), Some(detail)) => vec![format!("refused: {reason}: {detail}")],
            (Some(reason), None) => vec![format!("refused: {reason}")],
        };
        for (depth, PathEntry { subject, thumbprint }) in self.path.iter().enumerate() {
            lines.push(format!("  {depth}  {subject}  x5t#S256 {thumbprint}"));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests;
