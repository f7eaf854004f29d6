//! OpenSSL's path validation, asked with everything said explicitly: the anchors, the time, the purpose, the
//! security level. Nothing of the system's trust store, no policy tree, no CRLs, no host names.
//!
//! The context is used inside its closure only, and the error queue of the thread is emptied after every
//! call.

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509Ref, X509StoreContext, X509VerifyResult};

use super::{Purpose, TrustErrorKind};
use crate::clock::Timestamp;

/// 112 bits: RSA 2048, SHA-256 and better. SHA-1 signatures are refused below the anchor.
const SECURITY_LEVEL: i32 = 2;

/// More than a chain may have, so that the bound on chains is what is met.
const MAX_DEPTH: i32 = 20;

/// What OpenSSL said.
pub(super) struct Verdict {
    /// The path as far as it was built, leaf first.
    pub(super) path: Vec<X509>,
    pub(super) outcome: Result<(), Fault>,
}

/// The first error of the path.
#[derive(Clone, Copy)]
pub(super) struct Fault {
    result: X509VerifyResult,
    /// 0 is the leaf.
    pub(super) depth: usize,
}

/// When to ask for.
#[derive(Clone, Copy)]
pub(super) enum At {
    Moment(Timestamp),
    /// The dates are not looked at.
    AnyTime,
}

/// Asks OpenSSL, once more a second earlier where it says "expired" in the very second of notAfter: it holds
/// the end for exclusive, RFC 5280 §4.1.2.5 for inclusive. (`rules` looks at the dates again, at `now`
/// itself.)
pub(super) fn verify(
    leaf: &X509Ref,
    untrusted: &[X509],
    anchors: &[X509],
    purpose: Purpose,
    now: Timestamp,
) -> Verdict {
    let first = ask(leaf, untrusted, anchors, purpose, At::Moment(now));
    if first.ends_at(now) {
        let earlier = now.minus(std::time::Duration::from_secs(1));
        return ask(leaf, untrusted, anchors, purpose, At::Moment(earlier));
    }
    first
}

/// Asks OpenSSL once.
pub(super) fn ask(leaf: &X509Ref, untrusted: &[X509], anchors: &[X509], purpose: Purpose, at: At) -> Verdict {
    let verdict = try_ask(leaf, untrusted, anchors, purpose, at);
    drop(ErrorStack::get());
    verdict.unwrap_or_else(|_| Verdict {
        path: vec![leaf.to_owned()],
        outcome: Err(Fault { result: X509VerifyResult::APPLICATION_VERIFICATION, depth: 0 }),
    })
}

/// Certificates that OpenSSL reads. The others cannot be part of a path, so they are left out here.
pub(super) fn parse_all<'a>(ders: impl Iterator<Item = &'a [u8]>) -> Vec<X509> {
    let parsed = ders.filter_map(|der| X509::from_der(der).ok()).collect();
    drop(ErrorStack::get());
    parsed
}

fn try_ask(
    leaf: &X509Ref,
    untrusted: &[X509],
    anchors: &[X509],
    purpose: Purpose,
    at: At,
) -> Result<Verdict, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for anchor in anchors {
        store.add_cert(anchor.clone())?;
    }
    store.set_param(&*parameters(purpose, at)?)?;
    let mut helpers = Stack::new()?;
    for certificate in untrusted {
        helpers.push(certificate.clone())?;
    }
    X509StoreContext::new()?.init(&store.build(), leaf, &helpers, |context| {
        // an error that is no verdict (out of memory, no certificate) is a refusal like any other
        let accepted = context.verify_cert().unwrap_or(false);
        let path = context.chain().map(|chain| chain.iter().map(X509Ref::to_owned).collect());
        let fault = Fault {
            result: context.error(),
            depth: usize::try_from(context.error_depth()).unwrap_or_default(),
        };
        Ok(Verdict {
            path: path.unwrap_or_else(|| vec![leaf.to_owned()]),
            outcome: if accepted { Ok(()) } else { Err(fault) },
        })
    })
}

fn parameters(purpose: Purpose, at: At) -> Result<X509VerifyParam, ErrorStack> {
    let mut parameters = X509VerifyParam::new()?;
    // an anchor need not be self-signed: an intermediate may be one
    let mut flags = X509VerifyFlags::PARTIAL_CHAIN;
    match at {
        At::Moment(now) => parameters.set_time(now.as_unix()),
        At::AnyTime => flags |= X509VerifyFlags::NO_CHECK_TIME,
    }
    parameters.set_flags(flags)?;
    parameters.set_auth_level(SECURITY_LEVEL);
    parameters.set_depth(MAX_DEPTH);
    // a common name is not a dNSName, and DNS constraints do not apply to it (RFC 5280 §4.2.1.10)
    parameters.set_hostflags(X509CheckFlags::NEVER_CHECK_SUBJECT);
    match purpose {
        Purpose::Client => parameters.set_purpose(X509PurposeId::SSL_CLIENT)?,
        Purpose::Server => parameters.set_purpose(X509PurposeId::SSL_SERVER)?,
        Purpose::Any => {}
    }
    Ok(parameters)
}

impl Verdict {
    fn ends_at(&self, now: Timestamp) -> bool {
        let Err(Fault { result, depth }) = self.outcome else { return false };
        if result.as_raw() != code::EXPIRED {
            return false;
        }
        let (Some(certificate), Ok(now)) = (self.path.get(depth), Asn1Time::from_unix(now.as_unix())) else {
            return false;
        };
        certificate.not_after().compare(&now).is_ok_and(std::cmp::Ordering::is_eq)
    }
}

impl Fault {
    /// What kind of refusal it is.
    pub(super) fn kind(self) -> TrustErrorKind {
        match self.result.as_raw() {
            code::EXPIRED => TrustErrorKind::Expired,
            code::NOT_YET_VALID => TrustErrorKind::NotYetValid,
            code::INVALID_PURPOSE => TrustErrorKind::WrongUsage,
            code::LEAF_KEY_TOO_SMALL
            | code::CA_KEY_TOO_SMALL
            | code::DIGEST_TOO_WEAK
            | code::EXPLICIT_CURVE => TrustErrorKind::WeakKey,
            code::BAD_NOT_BEFORE | code::BAD_NOT_AFTER | code::INVALID_EXTENSION => TrustErrorKind::Malformed,
            _ => TrustErrorKind::Untrusted,
        }
    }

    /// For people: OpenSSL's words, or better ones.
    pub(super) fn words(self) -> &'static str {
        match self.result.as_raw() {
            code::UNSPECIFIED => "the chain could not be judged (too many names or constraints?)",
            code::NO_ISSUER | code::NO_ISSUER_LOCALLY | code::NO_LEAF_SIGNER => {
                "its issuer is neither among the anchors of this set, nor among the intermediates that were \
                 sent or configured"
            }
            code::SELF_SIGNED_LEAF => "it is self-signed, and not one of the anchors of this set",
            code::SELF_SIGNED_ROOT => "the chain ends in a root that is not one of the anchors of this set",
            code::INVALID_PURPOSE => "what it may be used for does not cover this, or what it issues for it",
            code::INVALID_CA => "it issued a certificate and is no CA",
            code::SIGNATURE_FAILURE => "its signature does not verify with the key of its issuer",
            code::UNHANDLED_CRITICAL => "it has a critical extension that is not known here",
            code::CHAIN_TOO_LONG => "the chain is longer than any path that is judged here",
            code::PATH_LENGTH => "there are more CAs below it than its path length (basicConstraints) allows",
            code::NO_CERT_SIGN => "its key usage lacks keyCertSign, so it may not issue certificates",
            code::NOT_PERMITTED => {
                "it has a name that is not among those that a CA above it may certify (name constraints)"
            }
            code::EXCLUDED => "it has a name that a CA above it must not certify (name constraints)",
            code::LEAF_KEY_TOO_SMALL | code::CA_KEY_TOO_SMALL => {
                "its key is too small: RSA of 2048 bits or more, or ECDSA on P-256 or better"
            }
            code::DIGEST_TOO_WEAK => {
                "it is signed with a hash that is broken, such as SHA-1: SHA-256 or better"
            }
            code::EXPLICIT_CURVE => "its key spells out the parameters of a curve in the place of naming one",
            _ => self.result.error_string(),
        }
    }
}

/// The `X509_V_ERR_…` numbers of `x509_vfy.h` that are told apart here; they are part of OpenSSL's ABI.
mod code {
    pub(super) const UNSPECIFIED: i32 = 1;
    pub(super) const NO_ISSUER: i32 = 2;
    pub(super) const SIGNATURE_FAILURE: i32 = 7;
    pub(super) const NOT_YET_VALID: i32 = 9;
    pub(super) const EXPIRED: i32 = 10;
    pub(super) const BAD_NOT_BEFORE: i32 = 13;
    pub(super) const BAD_NOT_AFTER: i32 = 14;
    pub(super) const SELF_SIGNED_LEAF: i32 = 18;
    pub(super) const SELF_SIGNED_ROOT: i32 = 19;
    pub(super) const NO_ISSUER_LOCALLY: i32 = 20;
    pub(super) const NO_LEAF_SIGNER: i32 = 21;
    pub(super) const CHAIN_TOO_LONG: i32 = 22;
    pub(super) const PATH_LENGTH: i32 = 25;
    pub(super) const INVALID_PURPOSE: i32 = 26;
    pub(super) const NO_CERT_SIGN: i32 = 32;
    pub(super) const UNHANDLED_CRITICAL: i32 = 34;
    pub(super) const INVALID_EXTENSION: i32 = 41;
    pub(super) const NOT_PERMITTED: i32 = 47;
    pub(super) const EXCLUDED: i32 = 48;
    pub(super) const LEAF_KEY_TOO_SMALL: i32 = 66;
    pub(super) const CA_KEY_TOO_SMALL: i32 = 67;
    pub(super) const DIGEST_TOO_WEAK: i32 = 68;
    pub(super) const INVALID_CA: i32 = 79;
    pub(super) const EXPLICIT_CURVE: i32 = 94;
}
