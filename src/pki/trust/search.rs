//! Finds a path. OpenSSL follows one: of several issuers of one name it takes the first that fits and never
//! comes back, so a cross-signed CA fails if the wrong one of its certificates was tried. Where its choice is
//! refused the others are tried here, each judged by OpenSSL and by the rules in full.
//!
//! Strangers choose what is in the pool, so the work is bounded by numbers, not by what they send.

use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::x509::{X509, X509Ref, X509VerifyResult};

use super::rules::{self, Violation};
use super::{AnchorSet, PathEntry, Purpose, TrustError, TrustErrorKind, ValidPath, engine};
use crate::clock::Timestamp;
use crate::pki::certificate::{Certificate, Chain};

/// The most signatures verified to tell issuers from namesakes. A slow curve takes a millisecond or two for
/// each.
const MAX_SIGNATURES: u32 = 24;

/// The most complete paths judged.
const MAX_PATHS: u32 = 8;

/// The most certificates of a path below the anchor.
const MAX_LENGTH: usize = 16;

/// A path from the leaf of `chain` to an anchor of `set`, or why the best candidate is none.
pub(super) fn find(
    set: &AnchorSet,
    chain: &Chain,
    purpose: Purpose,
    now: Timestamp,
) -> Result<ValidPath, TrustError> {
    let parsed = X509::from_der(chain.leaf.der());
    drop(ErrorStack::get());
    let leaf = parsed.map_err(|_| TrustError {
        kind: TrustErrorKind::Malformed,
        depth: 0,
        detail: "OpenSSL cannot read the leaf".into(),
        path: vec![PathEntry::of(chain.leaf.der())],
    })?;
    let pool = pool(set, chain);
    let mut search = Search { set, purpose, now, signatures: MAX_SIGNATURES, paths: MAX_PATHS };
    let error = match search.judge(&leaf, &pool, &set.parsed_anchors) {
        Ok(path) => return Ok(path),
        Err(error) => error,
    };
    if is_about_the_leaf_alone(&error) {
        return Err(error);
    }
    search.extend(&mut vec![leaf], &pool).ok_or(error)
}

/// What may stand between leaf and anchor: the operator's first. What OpenSSL cannot read is left out.
fn pool(set: &AnchorSet, chain: &Chain) -> Vec<X509> {
    let mut pool = set.parsed_intermediates.clone();
    for presented in engine::parse_all(chain.intermediates.iter().map(Vec::as_slice)) {
        if !pool.contains(&presented) {
            pool.push(presented);
        }
    }
    pool
}

/// No other path would change it.
fn is_about_the_leaf_alone(error: &TrustError) -> bool {
    error.depth == 0 && error.kind != TrustErrorKind::Untrusted
}

struct Search<'a> {
    set: &'a AnchorSet,
    purpose: Purpose,
    now: Timestamp,
    signatures: u32,
    paths: u32,
}

impl Search<'_> {
    /// Depth first from the last of `trail` towards an anchor; gives the first path that is accepted.
    fn extend(&mut self, trail: &mut Vec<X509>, pool: &[X509]) -> Option<ValidPath> {
        let (leaf, between) = trail.split_first()?;
        let last = between.last().unwrap_or(leaf).clone();
        for anchor in &self.set.parsed_anchors {
            if self.has_signed(anchor, &last) && self.paths > 0 {
                self.paths -= 1;
                if let Ok(path) = self.judge(leaf, between, std::slice::from_ref(anchor)) {
                    return Some(path);
                }
            }
        }
        if trail.len() == MAX_LENGTH {
            return None;
        }
        for candidate in pool {
            if trail.contains(candidate) || !self.has_signed(candidate, &last) {
                continue;
            }
            trail.push(candidate.clone());
            if let Some(path) = self.extend(trail, pool) {
                return Some(path);
            }
            trail.pop();
        }
        None
    }

    /// By name, key identifier and key usage, then by signature, as long as there is budget for it.
    fn has_signed(&mut self, issuer: &X509Ref, subject: &X509Ref) -> bool {
        if issuer.issued(subject) != X509VerifyResult::OK || self.signatures == 0 {
            return false;
        }
        self.signatures -= 1;
        let verified = issuer.public_key().and_then(|key| subject.verify(&key));
        drop(ErrorStack::get());
        verified.unwrap_or(false)
    }

    /// OpenSSL's verdict, then the rules that it does not have.
    fn judge(&self, leaf: &X509Ref, untrusted: &[X509], anchors: &[X509]) -> Result<ValidPath, TrustError> {
        let ask = |purpose| engine::verify(leaf, untrusted, anchors, purpose, self.now);
        let mut verdict = ask(self.purpose);
        // OpenSSL's purpose of a leaf is also about keyUsage (a CA as a leaf has none that fits), which §6.1
        // does not ask and the authenticator does. The extended key usages are for the rules to check.
        let of_leaf = |fault: &engine::Fault| fault.depth == 0 && fault.kind() == TrustErrorKind::WrongUsage;
        if verdict.outcome.as_ref().is_err_and(of_leaf) {
            verdict = ask(Purpose::Any);
        }
        let encoded: Result<Vec<Vec<u8>>, _> = verdict.path.iter().map(|member| member.to_der()).collect();
        let path = encoded.unwrap_or_default();
        let violation = match verdict.outcome {
            Ok(()) => match rules::check(&path, self.set.profile, self.purpose, self.now)
                .and_then(|until| Ok((until, parse(&path)?)))
            {
                Ok((until, certificates)) => {
                    let entries = certificates.iter().map(|member| PathEntry::new(member)).collect();
                    return Ok(ValidPath { entries, certificates, until });
                }
                Err(violation) => violation,
            },
            Err(fault) => {
                Violation { kind: fault.kind(), depth: fault.depth, what: fault.words().to_owned() }
            }
        };
        Err(explain(violation, &path))
    }
}

/// As strictly as the leaf: whether a member was revoked is asked by its serial number and its issuer's name.
fn parse(path: &[Vec<u8>]) -> Result<Vec<Arc<Certificate>>, Violation> {
    let parse = |(depth, der): (usize, &Vec<u8>)| {
        Certificate::parse(der).map(Arc::new).map_err(|error| Violation {
            kind: TrustErrorKind::Malformed,
            depth,
            what: error.to_string(),
        })
    };
    path.iter().enumerate().map(parse).collect()
}

fn entries(path: &[Vec<u8>]) -> Vec<PathEntry> {
    path.iter().map(|der| PathEntry::of(der)).collect()
}

fn explain(violation: Violation, path: &[Vec<u8>]) -> TrustError {
    let Violation { kind, depth, mut what } = violation;
    let path_entries = entries(path);
    if let Some((not_before, not_after)) = path.get(depth).and_then(|der| rules::validity(der)) {
        match kind {
            TrustErrorKind::Expired => what = format!("it expired on {not_after}"),
            TrustErrorKind::NotYetValid => what = format!("it is not valid before {not_before}"),
            _ => {}
        }
    }
    let place = match depth {
        0 => "the leaf".to_owned(),
        _ => format!("certificate {depth} of the path"),
    };
    let subject = path_entries.get(depth).map_or("", |entry| entry.subject.as_str());
    TrustError { kind, depth, detail: format!("{place} ({subject:.128}): {what}"), path: path_entries }
}
