//! What is kept of a refusal for `certbound explain REFERENCE` (decision T): public data only, and no more of it than
//! the contract says.

use actix_web::HttpMessage as _;
use actix_web::HttpRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Services;
use super::extract::Identity;
use super::failure::Failure;
use crate::authn::Presented;
use crate::oauth::ClientId;
use crate::pki::Chain;
use crate::store::evidence::RefusalRecord;

/// Hands a refused authentication to the witness, whoever was refused. Other failures are nobody's to explain.
pub(super) fn keep(
    services: &Services,
    request: &HttpRequest,
    failure: &Failure,
    (listener, path): (&'static str, &'static str),
) {
    let Some(refusal) = failure.refusal() else { return };
    let claimed = request.extensions().get::<Identity>().and_then(|one| one.claimed_client_id.clone());
    let id = claimed.as_deref().and_then(|claimed| ClientId::parse(claimed).ok());
    let is_registered = id.is_some_and(|id| services.authenticator.load().registry().find(&id).is_some());
    let chain = match request.extensions().get() {
        Some(Presented::Certificate(certificate)) => encoded(&certificate.chain),
        _ => Vec::new(),
    };
    let record = RefusalRecord {
        reference: failure.reference().to_string(),
        at: services.clock.now().as_unix(),
        claimed,
        is_registered,
        path: path.to_owned(),
        listener: listener.to_owned(),
        reason: refusal.reason.as_str().to_owned(),
        check: refusal.finding.check.to_owned(),
        expected: refusal.finding.expected.clone(),
        seen: refusal.finding.seen.clone(),
        chain,
    };
    services.witness.refused(record);
}

fn encoded(chain: &Chain) -> Vec<String> {
    let ders = || std::iter::once(chain.leaf.der()).chain(chain.intermediates.iter().map(Vec::as_slice));
    if ders().map(<[u8]>::len).sum::<usize>() > RefusalRecord::LONGEST_CHAIN {
        return Vec::new();
    }
    ders().map(|der| STANDARD.encode(der)).collect()
}
