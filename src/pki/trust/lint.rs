//! Anchors looked at when they are loaded: one that could never validate anything, at whatever time, is found
//! by the operator at the start and not by a client in the night.

use openssl::x509::X509;

use super::engine::{self, At};
use super::{AnchorError, Profile, Purpose, rules};
use crate::pki::certificate::Certificate;

/// Makes a CA that passes in both profiles, with the configuration file that OpenSSL comes with.
const MAKE_A_CA: &str = "openssl req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
     -days 3650 -subj '/CN=Example CA' -addext keyUsage=critical,keyCertSign,cRLSign \
     -keyout ca.key -out ca.pem";

/// The first error of each anchor, and that there is none.
pub(super) fn anchors(anchors: &[Certificate], profile: Profile) -> Vec<AnchorError> {
    if anchors.is_empty() {
        return vec![AnchorError {
            what: "there is no anchor in this set, so nobody could be vouched for".into(),
            instead: format!(
                "the certificate of the CA that issues to these clients; `{MAKE_A_CA}` makes one"
            ),
        }];
    }
    anchors.iter().filter_map(|anchor| error(anchor, profile)).collect()
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
