//! rustls-webpki on the same cases: whatever we accept and it refuses is on a written list, with the reason why ours
//! is the right answer. So a wrong acceptance cannot hide behind one opinion.
//!
//! Path validation only, in the profile that accepts most, without CRLs and names; all cases of both files.

use std::time::Duration;

use certbound::clock::{Clock as _, SystemClock, Timestamp};
use certbound::pki::trust::Purpose;
use certbound::pki::{AnchorSet, Certificate, Chain, Profile};
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::{Case, FILES, Kind, Listed, cases, data};

#[test]
fn what_we_accept_of_limbo_and_webpki_refuses_is_listed() {
    let Some(data) = data() else { return };
    let listed = Listed::read("limbo-webpki.txt");
    let mut problems = Vec::new();
    let mut open: Vec<_> = listed.reasons.keys().collect();
    for file in FILES {
        for case in cases(&data, file) {
            let certificates = Certificates::of(&case);
            let webpki = webpki_refusal(&certificates);
            let differs = webpki.is_some() && accepted_here(&certificates);
            open.retain(|id| **id != case.id);
            problems
                .extend(listed.problem(&case.id, differs).map(|what| format!("{file}: {what} ({webpki:?})")));
        }
    }
    problems.extend(open.iter().map(|id| format!("{id} is listed, and there is no such case")));
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// A case in DER.
struct Certificates {
    anchors: Vec<Vec<u8>>,
    intermediates: Vec<Vec<u8>>,
    leaf: Vec<u8>,
    kind: Kind,
    at: Timestamp,
}

impl Certificates {
    fn of(case: &Case) -> Self {
        let all = |pems: &[String]| pems.iter().map(|pem| der(pem)).collect();
        Self {
            anchors: all(&case.trusted_certs),
            intermediates: all(&case.untrusted_intermediates),
            leaf: der(&case.peer_certificate),
            kind: case.validation_kind,
            at: case.judged_at().map_or_else(|| SystemClock.now(), Timestamp::from_unix),
        }
    }
}

/// The octets of one certificate, whatever is in them.
fn der(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let lines = pem.lines().map(str::trim).filter(|line| !line.starts_with('-'));
    base64::engine::general_purpose::STANDARD.decode(lines.collect::<String>()).unwrap()
}

fn accepted_here(case: &Certificates) -> bool {
    let anchors: Result<Vec<_>, _> = case.anchors.iter().map(|der| Certificate::parse(der)).collect();
    let presented: Vec<_> = std::iter::once(&case.leaf).chain(&case.intermediates).cloned().collect();
    let (Ok(anchors), Ok(chain)) = (anchors, Chain::parse(&presented, 64)) else { return false };
    let purpose = match case.kind {
        Kind::Client => Purpose::Client,
        Kind::Server => Purpose::Server,
    };
    let set = AnchorSet::unchecked(anchors, Vec::new(), Profile::Compatible);
    set.verify_path(&chain, purpose, case.at).is_ok()
}

fn webpki_refusal(case: &Certificates) -> Option<webpki::Error> {
    let as_certificates =
        |ders: &[Vec<u8>]| -> Vec<_> { ders.iter().cloned().map(CertificateDer::from).collect() };
    let (anchors, intermediates) = (as_certificates(&case.anchors), as_certificates(&case.intermediates));
    let anchors: Vec<_> = anchors.iter().filter_map(|der| anchor_from_trusted_cert(der).ok()).collect();
    let leaf = CertificateDer::from(case.leaf.clone());
    let usage = match case.kind {
        Kind::Client => KeyUsage::client_auth(),
        Kind::Server => KeyUsage::server_auth(),
    };
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(case.at.as_unix()).unwrap()));
    let leaf = match EndEntityCert::try_from(&leaf) {
        Ok(leaf) => leaf,
        Err(error) => return Some(error),
    };
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &intermediates, at, usage, None, None).err()
}
