//! Runs checks side by side, each with a lab of its own, and those that disturb others one after the other at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::check::{Beside, Check, Verdict};
use crate::lab::{Lab, Target};
use crate::wire::Exchange;

/// What came of one check.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The check.
    pub check: &'static Check,
    /// The verdict.
    pub verdict: Verdict,
    /// What was sent and seen.
    pub evidence: Vec<Exchange>,
    /// How long it took.
    pub took: Duration,
}

/// Runs these checks; `progress` hears of each finding as it comes. The findings are in the order of the checks.
pub fn run(
    target: &Arc<Target>,
    checks: &[&'static Check],
    threads: usize,
    progress: &(dyn Fn(&Finding) + Sync),
) -> Vec<Finding> {
    let of = |beside: Beside| checks.iter().copied().filter(move |check| check.beside == beside);
    let together: Vec<_> = of(Beside::Early).chain(of(Beside::Others)).collect();
    let alone: Vec<_> = of(Beside::Nobody).collect();
    let mut findings = side_by_side(target, &together, threads.max(1), progress);
    findings.extend(side_by_side(target, &alone, 1, progress));
    findings.sort_by_key(|finding| checks.iter().position(|check| std::ptr::eq(*check, finding.check)));
    findings
}

fn side_by_side(
    target: &Arc<Target>,
    checks: &[&'static Check],
    threads: usize,
    progress: &(dyn Fn(&Finding) + Sync),
) -> Vec<Finding> {
    let next = AtomicUsize::new(0);
    let findings = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(checks.len()) {
            scope.spawn(|| {
                while let Some(check) = checks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let finding = one(target, check);
                    progress(&finding);
                    findings.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
                }
            });
        }
    });
    findings.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn one(target: &Arc<Target>, check: &'static Check) -> Finding {
    let lab = Lab::new(target);
    let began = Instant::now();
    // A check that breaks is a fault of the suite, and has to be seen as one; the others go on.
    let verdict = catch_unwind(AssertUnwindSafe(|| Verdict::from((check.run)(&lab)))).unwrap_or_else(|_| {
        Verdict::Fail {
            expected: "the check comes to an end".to_owned(),
            seen: "it broke: this is a fault of the suite".to_owned(),
        }
    });
    Finding {
        check,
        verdict: documented(target, check, verdict),
        evidence: lab.evidence(),
        took: began.elapsed(),
    }
}

/// A failure that the server documents is a divergence, if it is documented for every requirement that the check tests.
fn documented(target: &Target, check: &Check, verdict: Verdict) -> Verdict {
    let Verdict::Fail { expected, seen } = verdict else { return verdict };
    let reasons: Option<Vec<_>> =
        check.rows.iter().map(|row| target.config.divergences.get(*row).cloned()).collect();
    match reasons {
        Some(reasons) => Verdict::Diverges { expected, seen, why: reasons.join("; ") },
        None => Verdict::Fail { expected, seen },
    }
}
