//! `openssl ocsp` as a responder without a network: request in, response out.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use openssl::hash::MessageDigest;
use openssl::x509::extension::KeyUsage;
use tempfile::TempDir;

use super::people::{Person, delegate, rsa_key};
use super::*;
use crate::clock::{Clock as _, SystemClock};

/// A responder for the CA of a case, with what `openssl ca` would keep.
struct Desk {
    case: Case,
    directory: TempDir,
}

/// The line of the certificate of the case in the index.
const GOOD: &str = "V\t351231235959Z\t\t1234\tunknown\t/CN=billing\n";

impl Desk {
    fn new() -> Self {
        Self::of(Case::at(SystemClock.now()))
    }

    fn of(case: Case) -> Self {
        let desk = Self { case, directory: tempfile::tempdir().unwrap() };
        fs::write(desk.path("ca.pem"), desk.case.ca.x509.to_pem().unwrap()).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What `openssl ocsp` says to `request`.
    fn respond(&self, request: &[u8], index: &str, signer: &Person, more: &[&str]) -> Vec<u8> {
        fs::write(self.path("index.txt"), index).unwrap();
        fs::write(self.path("request"), request).unwrap();
        fs::write(self.path("signer.pem"), signer.x509.to_pem().unwrap()).unwrap();
        fs::write(self.path("signer.key"), signer.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        let files = "-index index.txt -CA ca.pem -rsigner signer.pem -rkey signer.key -reqin request";
        let mut command = Command::new("openssl");
        command.current_dir(self.directory.path()).arg("ocsp").args(files.split(' '));
        let output = command.args(["-respout", "response"]).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(self.path("response")).unwrap()
    }

    /// The answer to the question of the case.
    fn answer(&self, index: &str, signer: &Person, more: &[&str]) -> Result<Answer, ResponseError> {
        let response = self.respond(&self.case.id().request(), index, signer, more);
        self.case.read(&response, SystemClock.now())
    }
}

#[test]
fn a_good_answer_holds_until_its_next_update() {
    let desk = Desk::new();
    let answer = desk.answer(GOOD, &desk.case.ca, &["-nmin", "10"]).unwrap();
    assert_eq!(answer.status, CertStatus::Good);
    assert_eq!(answer.next_update, Some(answer.this_update.plus(MINUTE * 10)));
    assert_eq!(answer.until, answer.this_update.plus(MINUTE * 10));
}

#[test]
fn an_answer_without_next_update_holds_for_five_minutes() {
    let desk = Desk::new();
    let answer = desk.answer(GOOD, &desk.case.ca, &[]).unwrap();
    assert_eq!(answer.next_update, None);
    assert_eq!(answer.until, answer.this_update.plus(MINUTE * 5));
}

#[test]
fn a_revoked_certificate_is_revoked_with_time_and_reason() {
    let desk = Desk::new();
    let at = Timestamp::parse_rfc3339("2026-01-02T03:04:05Z").unwrap();
    for (column, reason) in [
        ("260102030405Z", None),
        ("260102030405Z,keyCompromise", Some("keyCompromise")),
        ("260102030405Z,holdInstruction,holdInstructionReject", Some("certificateHold")),
    ] {
        let index = format!("R\t351231235959Z\t{column}\t1234\tunknown\t/CN=billing\n");
        let answer = desk.answer(&index, &desk.case.ca, &[]).unwrap();
        assert_eq!(answer.status, CertStatus::Revoked { at, reason });
    }
}

#[test]
fn a_certificate_that_is_not_in_the_index_is_unknown() {
    let desk = Desk::new();
    let index = "V\t351231235959Z\t\t99\tunknown\t/CN=other\n";
    assert_eq!(desk.answer(index, &desk.case.ca, &[]).unwrap().status, CertStatus::Unknown);
}

#[test]
fn a_delegate_of_the_issuer_may_answer_named_by_name_or_by_key() {
    let desk = Desk::new();
    let signer = delegate("Responder", SystemClock.now()).issued_by(&desk.case.ca);
    for more in [&[][..], &["-resp_key_id"], &["-rmd", "sha384"]] {
        assert_eq!(desk.answer(GOOD, &signer, more).unwrap().status, CertStatus::Good, "{more:?}");
    }
    let answer = desk.answer(GOOD, &signer, &["-resp_no_certs"]);
    assert_eq!(
        answer,
        Err(ResponseError::Signer(signer::SignerError::Unknown)),
        "its certificate is missing"
    );
}

#[test]
fn a_delegate_may_bear_the_name_of_its_issuer() {
    let desk = Desk::new();
    let signer = delegate("Corp CA", SystemClock.now()).issued_by(&desk.case.ca);
    assert_eq!(desk.answer(GOOD, &signer, &[]).unwrap().status, CertStatus::Good);
}

#[test]
fn rsa_signatures_hold_with_either_padding_and_never_with_sha_1() {
    let now = SystemClock.now();
    let ca = Person::ca_with("RSA CA", rsa_key(2048), now);
    let leaf = people::named("billing", now).serial(0x1234).issued_by(&ca);
    let desk = Desk::of(Case { ca, leaf });
    let pss = ["-rsigopt", "rsa_padding_mode:pss"];
    let salted = [&pss[..], &["-rsigopt", "rsa_pss_saltlen:digest", "-rmd", "sha512"]].concat();
    for more in [&[][..], &["-rmd", "sha512"], &pss, &salted] {
        assert_eq!(desk.answer(GOOD, &desk.case.ca, more).unwrap().status, CertStatus::Good, "{more:?}");
    }
    for more in [&["-rmd", "sha1"][..], &[&pss[..], &["-rmd", "sha1"]].concat()] {
        let error = desk.answer(GOOD, &desk.case.ca, more).unwrap_err();
        assert!(
            matches!(error, ResponseError::Signer(signer::SignerError::Algorithm(_))),
            "{more:?}: {error}"
        );
    }
}

#[test]
fn ecdsa_with_sha_1_is_refused() {
    let desk = Desk::new();
    let error = desk.answer(GOOD, &desk.case.ca, &["-rmd", "sha1"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "its response is signed by an algorithm that is not trusted: ECDSA with SHA-1"
    );
}

#[test]
fn a_signature_that_does_not_hold_is_refused() {
    let desk = Desk::new();
    let signer = delegate("Responder", SystemClock.now()).issued_by(&desk.case.ca);
    for signer in [&desk.case.ca, &signer] {
        let answer = desk.answer(GOOD, signer, &["-badsig"]);
        assert_eq!(answer, Err(ResponseError::Signer(signer::SignerError::Forged)));
    }
}

#[test]
fn who_is_not_a_delegate_may_not_answer() {
    let desk = Desk::new();
    let (now, ca) = (SystemClock.now(), &desk.case.ca);
    let other_ca = Person::ca("Corp CA", now);
    let mut agreement = KeyUsage::new();
    agreement.key_agreement();
    for (signer, why) in [
        (people::named("Responder", now).issued_by(ca), "does not have the extended key usage OCSPSigning"),
        (people::named("Responder", now).purpose("clientAuth").issued_by(ca), "OCSPSigning"),
        (people::named("Responder", now).purpose("anyExtendedKeyUsage").issued_by(ca), "OCSPSigning"),
        (
            people::named("Responder", now).purpose("OCSPSigning").usage(&agreement).issued_by(ca),
            "a key usage without digitalSignature",
        ),
        (delegate("Responder", now).issued_by(&other_ca), ""),
        (delegate("Responder", now).valid(now.minus(HOUR), now.minus(MINUTE)).issued_by(ca), "expired"),
        (
            delegate("Responder", now).valid(now.plus(MINUTE), now.plus(HOUR)).issued_by(ca),
            "not valid before",
        ),
        (delegate("Responder", now).key(rsa_key(1024)).issued_by(ca), ""),
        (delegate("Responder", now).digest(MessageDigest::sha1()).issued_by(ca), ""),
        (delegate("Responder", now).issued_by(&desk.case.leaf), ""),
    ] {
        let error = desk.answer(GOOD, &signer, &[]).unwrap_err();
        let ResponseError::Signer(signer::SignerError::NotAuthorized { why: found, .. }) = &error else {
            panic!("{error}")
        };
        assert!(found.contains(why), "{found}");
    }
}

#[test]
fn the_issuer_of_the_issuer_may_not_answer() {
    let now = SystemClock.now();
    let root = Person::ca("Root", now);
    let case = Case::at(now);
    let desk = Desk::of(case);
    let answer = desk.answer(GOOD, &root, &[]);
    assert_eq!(
        answer,
        Err(ResponseError::Signer(signer::SignerError::NotAuthorized {
            name: "CN=Root".to_owned(),
            why: "its certificate does not have the extended key usage OCSPSigning".to_owned(),
        }))
    );
}

#[test]
fn an_answer_about_another_serial_number_or_issuer_is_no_answer() {
    let desk = Desk::new();
    let now = SystemClock.now();
    let other = people::named("billing", now).serial(0x99).issued_by(&desk.case.ca);
    let id = CertId::new(&other.certificate(), &desk.case.ca.certificate()).unwrap();
    let index = "V\t351231235959Z\t\t99\tunknown\t/CN=other\n";
    let response = desk.respond(&id.request(), index, &desk.case.ca, &[]);
    assert_eq!(desk.case.read(&response, now), Err(ResponseError::OtherCertificate));

    // A CA of the same name and its certificate of the same number.
    let twin = Desk::new();
    let response = twin.respond(&twin.case.id().request(), GOOD, &twin.case.ca, &[]);
    assert!(twin.case.read(&response, now).is_ok());
    assert_eq!(desk.case.read(&response, now), Err(ResponseError::OtherCertificate));
}

#[test]
fn what_openssl_reads_in_our_request_is_what_it_would_write() {
    let desk = Desk::new();
    let Case { ca, leaf } = &desk.case;
    let id = openssl::ocsp::OcspCertId::from_cert(MessageDigest::sha1(), &leaf.x509, &ca.x509).unwrap();
    let mut request = openssl::ocsp::OcspRequest::new().unwrap();
    request.add_id(id).unwrap();
    assert_eq!(desk.case.id().request(), request.to_der().unwrap());
}
