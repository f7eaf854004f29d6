//! Whether a certificate is on a list, and which list counts. Lists are made by the workshop, odd ones by `forge`.

mod forge;
mod odd;
mod scope;
mod signed;
mod size;
mod waiting;

use super::*;
use crate::pki::workshop::{Authority, CrlTemplate, Identity, RevokedCertificate, Template};
use forge::Odd;

const FROM: Timestamp = Timestamp::from_unix(1_790_000_000);
const NOW: Timestamp = Timestamp::from_unix(1_790_050_000);
const TO: Timestamp = Timestamp::from_unix(1_790_100_000);

/// Of any certificate made here; the dates of certificates are not looked at.
fn template(cn: &str) -> Template {
    Template::new(cn, FROM, TO)
}

fn authority(cn: &str) -> Authority {
    Authority::new(&template(cn)).unwrap()
}

fn certificate(identity: &Identity) -> Arc<Certificate> {
    Arc::new(Certificate::parse(identity.certificate_der()).unwrap())
}

fn leaf(ca: &Authority) -> Arc<Certificate> {
    certificate(&ca.issue(&template("leaf")).unwrap())
}

/// A list with this number, from [`FROM`] to [`TO`].
fn list(ca: &Authority, number: u64, revoked: &[&Certificate]) -> Vec<u8> {
    ca.crl(&CrlTemplate {
        number,
        this_update: FROM,
        next_update: TO,
        revoked: revoked.iter().map(|certificate| revoked_for(certificate, None)).collect(),
    })
    .unwrap()
}

fn revoked_for(certificate: &Certificate, reason: Option<RevocationReason>) -> RevokedCertificate {
    RevokedCertificate { serial: certificate.serial().to_vec(), at: FROM, reason }
}

/// Knows `lists`, which these CAs signed.
fn knowing(lists: &[Vec<u8>], cas: &[&Authority]) -> Crls {
    let crls = Crls::default();
    for list in lists {
        offer(&crls, list, cas).unwrap();
    }
    crls
}

fn offer(crls: &Crls, list: &[u8], cas: &[&Authority]) -> Result<Vec<CrlSummary>, CrlError> {
    let issuers: Vec<_> =
        cas.iter().map(|ca| Certificate::parse(ca.identity().certificate_der()).unwrap()).collect();
    crls.offer(list, &issuers, NOW)
}

/// `good`, `revoked` or why not known.
fn says(crls: &Crls, of: &Certificate, by: &Authority, at: Timestamp) -> String {
    match crls.status(of, &certificate(by.identity()), at) {
        CrlStatus::Good(_) => "good".into(),
        CrlStatus::Revoked { .. } => "revoked".into(),
        CrlStatus::Unknown { why, .. } => why,
    }
}

#[test]
fn a_listed_certificate_is_revoked_and_another_of_the_issuer_is_good() {
    let ca = authority("CA");
    let (bad, good) = (leaf(&ca), leaf(&ca));
    let revoked = vec![revoked_for(&bad, Some(RevocationReason::KeyCompromise))];
    let template = CrlTemplate { number: 12, this_update: FROM, next_update: TO, revoked };
    let crls = knowing(&[ca.crl(&template).unwrap()], &[&ca]);
    let CrlStatus::Revoked { at, reason, source } = crls.status(&bad, &certificate(ca.identity()), NOW)
    else {
        panic!("it is on the list")
    };
    assert_eq!((at, reason), (FROM, Some(RevocationReason::KeyCompromise)));
    assert_eq!(source.to_string(), format!("CRL 12 of CN=CA, next update {TO}"));
    assert_eq!(says(&crls, &good, &ca, NOW), "good");
    let summary = crls.summaries().pop().unwrap();
    let key = certificate(ca.identity()).key_hash();
    assert_eq!(
        summary,
        CrlSummary {
            issuer: "CN=CA".into(),
            issuer_key: Some(key),
            number: "12".into(),
            this_update: FROM,
            next_update: TO,
            entries: 1
        }
    );
}

#[test]
fn two_cas_of_one_name_never_answer_for_each_other() {
    let (one, other) = (authority("CA"), authority("CA"));
    let leaf = leaf(&one);
    // the other one revokes the very serial number
    let crls = knowing(&[list(&other, 1, &[&leaf])], &[&one, &other]);
    assert_eq!(says(&crls, &leaf, &one, NOW), "there is no CRL of CN=CA");
    offer(&crls, &list(&one, 1, &[]), &[&one, &other]).unwrap();
    assert_eq!(says(&crls, &leaf, &one, NOW), "good");
    assert_eq!(says(&crls, &leaf, &other, NOW), "revoked", "by the key that is asked about");
    assert_eq!(crls.summaries().len(), 2);
}

#[test]
fn the_same_serial_of_another_issuer_is_not_revoked() {
    let (ca, partner) = (authority("CA"), authority("partner"));
    let leaf = leaf(&ca);
    let crls = knowing(&[list(&ca, 1, &[]), list(&partner, 1, &[&leaf])], &[&ca, &partner]);
    assert_eq!(says(&crls, &leaf, &ca, NOW), "good");
}

#[test]
fn an_older_list_never_replaces_a_newer_one() {
    let ca = authority("CA");
    let leaf = leaf(&ca);
    let (older, newer) = (list(&ca, 255, &[]), list(&ca, 256, &[&leaf]));
    let crls = knowing(&[older.clone(), newer.clone()], &[&ca]);
    let error = offer(&crls, &older, &[&ca]).unwrap_err();
    assert_eq!(error, CrlError::Older { offered: "255".into(), in_force: "256".into() });
    assert_eq!(says(&crls, &leaf, &ca, NOW), "revoked");
    assert_eq!(offer(&crls, &newer, &[&ca]).unwrap()[0].number, "256", "the same one again is no error");
    // of several in one file the newest counts, each time the file is read
    let file = [files::crl_to_pem(&older), files::crl_to_pem(&newer)].concat();
    assert!(offer(&crls, file.as_bytes(), &[&ca]).is_ok());
    assert_eq!(crls.summaries().len(), 1);
    assert_eq!(says(&knowing(&[file.into_bytes()], &[&ca]), &leaf, &ca, NOW), "revoked");
}

#[test]
fn of_two_lists_with_one_number_the_later_counts_and_then_the_one_that_revokes_more() {
    let ca = authority("CA");
    let leaf = leaf(&ca);
    let made = |this_update, revoked: &[&Certificate]| {
        let revoked = revoked.iter().map(|certificate| revoked_for(certificate, None)).collect();
        ca.crl(&CrlTemplate { number: 3, this_update, next_update: TO, revoked }).unwrap()
    };
    let later = Timestamp::from_unix(FROM.as_unix() + 1);
    for lists in [
        [made(FROM, &[]), made(FROM, &[&leaf])],
        [made(FROM, &[&leaf]), made(FROM, &[])],
        [made(later, &[&leaf]), made(FROM, &[])],
        [made(FROM, &[]), made(later, &[&leaf])],
    ] {
        assert_eq!(says(&knowing(&lists, &[&ca]), &leaf, &ca, NOW), "revoked");
    }
    let lifted = knowing(&[made(FROM, &[&leaf]), made(later, &[])], &[&ca]);
    assert_eq!(says(&lifted, &leaf, &ca, NOW), "good");
}

#[test]
fn any_error_leaves_everything_as_it_was() {
    let (ca, partner) = (authority("CA"), authority("partner"));
    let leaf = leaf(&ca);
    let crls = knowing(&[list(&ca, 2, &[&leaf])], &[&ca, &partner]);
    for wrong in [list(&ca, 1, &[]), Odd::of(&ca).number(&[0x80]).der()] {
        let file = [list(&partner, 9, &[]), wrong].map(|list| files::crl_to_pem(&list)).concat();
        assert!(offer(&crls, file.as_bytes(), &[&ca, &partner]).is_err());
        assert_eq!(crls.summaries().len(), 1, "nothing of the partner's");
    }
}

#[test]
fn a_list_holds_from_this_update_through_next_update() {
    let ca = authority("CA");
    let leaf = leaf(&ca);
    let crls = knowing(&[list(&ca, 1, &[])], &[&ca]);
    let at = |seconds| says(&crls, &leaf, &ca, Timestamp::from_unix(seconds));
    assert_eq!((at(FROM.as_unix()), at(TO.as_unix())), ("good".into(), "good".into()));
    assert_eq!(at(TO.as_unix() + 1), format!("the CRL of CN=CA ran out on {TO}"));
    assert_eq!(at(FROM.as_unix() - 1), format!("the CRL of CN=CA is from the future: thisUpdate is {FROM}"));
    let issuers = [Certificate::parse(ca.identity().certificate_der()).unwrap()];
    let early = Crls::default().offer(&list(&ca, 1, &[]), &issuers, Timestamp::from_unix(FROM.as_unix() - 1));
    assert_eq!(early, Err(CrlError::Future(FROM)));
    // one that ran out before it came is taken, so that the operator sees that it is there
    let late = Crls::default();
    late.offer(&list(&ca, 1, &[]), &issuers, Timestamp::from_unix(TO.as_unix() + 1)).unwrap();
    assert_eq!(late.summaries().len(), 1);
}

#[test]
fn what_a_list_revoked_stays_revoked_when_it_has_run_out_but_a_hold_is_unknown() {
    let ca = authority("CA");
    let (superseded, held) = (leaf(&ca), leaf(&ca));
    let revoked = vec![
        revoked_for(&superseded, Some(RevocationReason::Superseded)),
        revoked_for(&held, Some(RevocationReason::CertificateHold)),
    ];
    let template = CrlTemplate { number: 1, this_update: FROM, next_update: TO, revoked };
    let crls = knowing(&[ca.crl(&template).unwrap()], &[&ca]);
    let later = Timestamp::from_unix(TO.as_unix() + 1);
    assert_eq!(says(&crls, &superseded, &ca, later), "revoked");
    assert_eq!(says(&crls, &held, &ca, NOW), "revoked", "for the time being is revoked");
    assert_eq!(says(&crls, &held, &ca, later), format!("the CRL of CN=CA ran out on {TO}"));
}

#[test]
fn every_reason_keeps_its_word() {
    for code in 0..=255 {
        match RevocationReason::from_code(code) {
            Some(reason) => assert_eq!(reason.code(), code),
            None => assert!(matches!(code, 7 | 8 | 11..)),
        }
    }
    assert_eq!(RevocationReason::CertificateHold.to_string(), "certificateHold");
}
