//! Anchors looked at when they are loaded: one that could never validate anything, at whatever time, and one
//! that would vouch for the whole web, are found by the operator at the start and not by a client, or by
//! somebody who is none, in the night.
//!
//! The CAs of the web are known by their keys (RFC 8705 §7.4: a CA that issues to everybody says nothing about
//! who is a client), so that no other name, no renewal and no cross-certificate hides one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use openssl::error::ErrorStack;
use openssl::x509::X509;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use super::engine::{self, At};
use super::{AnchorError, Profile, Purpose, rules};
use crate::pki::certificate::Certificate;

/// Makes a CA that passes in both profiles, with the configuration file that OpenSSL comes with.
const MAKE_A_CA: &str = "openssl req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
     -days 3650 -subj '/CN=Example CA' -addext keyUsage=critical,keyCertSign,cRLSign \
     -keyout ca.key -out ca.pem";

/// How many anchors one sentence names.
const NAMED: usize = 3;

/// Everything that is wrong: one error for all CAs of the web, and the first one of each other anchor.
pub(super) fn anchors(anchors: &[Certificate], profile: Profile) -> Vec<AnchorError> {
    if anchors.is_empty() {
        return vec![AnchorError {
            what: "there is no anchor in this set, so nobody could be vouched for".into(),
            instead: format!(
                "the certificate of the CA that issues to these clients; `{MAKE_A_CA}` makes one"
            ),
        }];
    }
    let (public, own): (Vec<_>, Vec<_>) = anchors.iter().partition(|anchor| is_public(anchor));
    let own = own.into_iter().filter_map(|anchor| error(anchor, profile));
    public_error(&public).into_iter().chain(own).collect()
}

/// The CAs that browsers trust, by the SHA-256 of their `SubjectPublicKeyInfo`.
static PUBLIC_CAS: LazyLock<BTreeMap<[u8; 32], Certificate>> = LazyLock::new(|| {
    let roots = TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| Certificate::parse(der).ok());
    roots.map(|root| (root.key_hash(), root)).collect()
});

fn is_public(anchor: &Certificate) -> bool {
    PUBLIC_CAS.contains_key(&anchor.key_hash())
}

/// One error for all of them: whoever names the bundle of the system would hear it a hundred times.
fn public_error(public: &[&Certificate]) -> Option<AnchorError> {
    let names: Vec<_> = public.iter().take(NAMED).map(|anchor| anchor.subject().to_string()).collect();
    let what = match (names.as_slice(), public.len() - names.len()) {
        ([], _) => return None,
        ([one], _) => format!("the anchor {one} is a public web CA, by its key"),
        (some, 0) => format!("the anchors {} are public web CAs, by their keys", some.join("; ")),
        (some, more) => {
            format!("the anchors {} and {more} more are public web CAs, by their keys", some.join("; "))
        }
    };
    Some(AnchorError {
        what: format!("{what}: every customer of such a CA could pass for a client here"),
        instead: format!(
            "the certificate of a CA of your own, that issues to these clients alone (`{MAKE_A_CA}` makes one), \
             or register the clients' certificates as they are, with `self_signed_tls_client_auth`"
        ),
    })
}

/// Whether a CA of the web has signed this anchor. A CA below one may be a company's own, or issue to everybody too:
/// that is for the operator to know.
pub fn is_below_public_ca(anchor: &Certificate) -> bool {
    !is_public(anchor) && is_signed_by_one_of(PUBLIC_CAS.values(), anchor)
}

/// By name first, because that is cheap, then by signature, because that is what counts.
pub(super) fn is_signed_by_one_of<'r>(
    roots: impl Iterator<Item = &'r Certificate>,
    anchor: &Certificate,
) -> bool {
    let signed_by = |root: &Certificate| -> Result<bool, ErrorStack> {
        X509::from_der(anchor.der())?.verify(&*X509::from_der(root.der())?.public_key()?)
    };
    let mut namesakes = roots.filter(|root| root.subject() == anchor.issuer());
    let found = namesakes.any(|root| signed_by(root).unwrap_or(false));
    drop(ErrorStack::get());
    found
}

fn error(anchor: &Certificate, profile: Profile) -> Option<AnchorError> {
    let subject = anchor.subject();
    if !may_be_ca(anchor, profile) {
        return Some(AnchorError {
            what: format!("the anchor {subject} is not a CA, so it cannot vouch for anybody"),
            instead: format!(
                "the certificate of its CA, or register it as it is with `self_signed_tls_client_auth`; \
                 `{MAKE_A_CA}` makes a CA"
            ),
        });
    }
    let what = fault(anchor, profile)?;
    Some(AnchorError {
        what: format!("the anchor {subject} could never validate anything: {what}"),
        instead: format!("a CA certificate without this; `{MAKE_A_CA}` makes one"),
    })
}

/// By basicConstraints; or, below version 3, which cannot say so, by being a root: OpenSSL lets that vouch,
/// RFC 5280 leaves to the operator what an anchor is, and only §4 (strict) knows better.
fn may_be_ca(anchor: &Certificate, profile: Profile) -> bool {
    let old_root = anchor.version() < 3 && anchor.subject() == anchor.issuer();
    anchor.is_ca() || (profile == Profile::Compatible && old_root)
}

fn fault(anchor: &Certificate, profile: Profile) -> Option<String> {
    if anchor.not_after() < anchor.not_before() {
        return Some("its validity ends before it begins".into());
    }
    if anchor.key_usage().is_some_and(|usage| !usage.key_cert_sign()) {
        return Some("its key usage does not have keyCertSign".into());
    }
    if !anchor.allows_client_auth() {
        return Some(
            "its extended key usage does not have clientAuth, which limits all that it issues".into(),
        );
    }
    if let Err(what) = rules::check_anchor(anchor.der(), profile) {
        return Some(what);
    }
    let Ok(parsed) = X509::from_der(anchor.der()) else {
        return Some("OpenSSL cannot read it".into());
    };
    // unknown critical extensions, unusable keys: what OpenSSL says of it as a path of one
    let verdict = engine::ask(&parsed, &[], std::slice::from_ref(&parsed), Purpose::Any, At::AnyTime);
    verdict.outcome.err().map(|fault| fault.words().to_owned())
}
