//! What the calendar has to say about the certificates of self-signed clients. Dates pass without anybody
//! changing a file, so they are warnings. Those of anchors are told where anchors are read.

use std::sync::Arc;

use super::client::Credential;
use super::reading::Registered;
use crate::clock::Timestamp;
use crate::document::Problems;
use crate::pki::Certificate;

/// Pins of enabled clients outside their validity.
pub(super) fn review<'r>(registered: impl Iterator<Item = &'r Arc<Registered>>, now: Timestamp) -> Problems {
    let mut problems = Problems::default();
    for registered in registered.filter(|registered| registered.client.enabled) {
        let Credential::SelfSignedTlsClientAuth { pins, .. } = &registered.client.credential else {
            continue;
        };
        for place in &registered.pins {
            let certificate = pins.get(&place.thumbprint).and_then(|pin| pin.certificate.as_ref());
            if let Some(what) = certificate.and_then(|certificate| out_of_date(certificate, now)) {
                problems.warning(&place.at, what, "register the next certificate beside it");
            }
        }
    }
    problems
}

fn out_of_date(certificate: &Certificate, now: Timestamp) -> Option<String> {
    if now < certificate.not_before() {
        return Some(format!("the certificate is not valid before {}", certificate.not_before()));
    }
    // RFC 5280 §4.1.2.5: through notAfter, inclusive.
    (now > certificate.not_after()).then(|| format!("the certificate expired at {}", certificate.not_after()))
}
