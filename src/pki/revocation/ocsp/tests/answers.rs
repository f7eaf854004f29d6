//! Which answers are believed (RFC 6960 §3.2), and until when.

use super::forge::{Forged, TRY_LATER, UNAUTHORIZED, extension, id_content, of_type};
use super::signer::SignerError;
use super::*;

fn read(case: &Case, forged: &Forged) -> Result<Answer, ResponseError> {
    case.read(&forged.signed_by(&case.ca), NOW)
}

#[test]
fn a_responder_that_does_not_answer_says_so_in_its_words() {
    let case = Case::at(NOW);
    let unsuccessful = |response: &[u8]| case.read(response, NOW).unwrap_err().to_string();
    assert_eq!(unsuccessful(TRY_LATER), "it answers tryLater");
    assert_eq!(unsuccessful(UNAUTHORIZED), "it answers unauthorized");
    for (status, words) in [(1, "malformedRequest"), (2, "internalError"), (5, "sigRequired")] {
        assert_eq!(unsuccessful(&[0x30, 3, 0x0a, 1, status]), format!("it answers {words}"));
    }
    assert_eq!(unsuccessful(&[0x30, 3, 0x0a, 1, 4]), "it answers with an unknown status");
    for no_bytes in [&[0x30, 3, 0x0a, 1, 0][..], &[0x30, 3, 0x0a, 1], b"", b"HTTP/1.0 200 OK"] {
        assert_eq!(case.read(no_bytes, NOW), Err(ResponseError::Malformed));
    }
    assert_eq!(case.read(&of_type(&[0x2a, 3], b""), NOW), Err(ResponseError::OtherType));
}

#[test]
fn this_update_and_produced_at_may_be_a_minute_ahead_and_no_more() {
    let case = Case::at(NOW);
    for (ahead, fits) in [(60, true), (61, false), (3600, false)] {
        let time = NOW.plus(Duration::from_secs(ahead));
        let good = Forged::good(&case, NOW);
        let begun = Forged { this_update: time, next_update: Some(time.plus(HOUR)), ..good.clone() };
        let produced = Forged { produced_at: time, ..good };
        for (forged, field) in [(begun, "thisUpdate"), (produced, "producedAt")] {
            let future = ResponseError::Future { field, time };
            assert_eq!(read(&case, &forged).err(), (!fits).then_some(future), "{ahead}");
        }
    }
}

#[test]
fn next_update_is_kept_to_the_second() {
    let case = Case::at(NOW);
    let until = |next_update| Forged {
        this_update: NOW.minus(HOUR),
        next_update: Some(next_update),
        ..Forged::good(&case, NOW)
    };
    assert_eq!(read(&case, &until(NOW)).unwrap().until, NOW);
    let second = Duration::from_secs(1);
    let stale = read(&case, &until(NOW.minus(second))).unwrap_err();
    assert!(matches!(stale, ResponseError::Stale(_)), "{stale}");
    // A time that ends before it begins, by a clock that is ahead.
    let backwards = Forged { this_update: NOW.plus(MINUTE), ..until(NOW.plus(second)) };
    assert!(matches!(read(&case, &backwards), Err(ResponseError::Stale(_))));
}

#[test]
fn without_next_update_an_answer_is_used_for_five_minutes_after_it_was_signed() {
    let case = Case::at(NOW);
    let signed = |produced_at| Forged {
        this_update: NOW.minus(HOUR * 24),
        next_update: None,
        produced_at,
        ..Forged::good(&case, NOW)
    };
    assert_eq!(read(&case, &signed(NOW.minus(MINUTE * 5))).unwrap().until, NOW);
    let stale = read(&case, &signed(NOW.minus(Duration::from_secs(301))));
    assert!(matches!(stale, Err(ResponseError::Stale(_))));
}

#[test]
fn a_critical_extension_makes_a_response_unusable_and_others_are_passed_over() {
    let case = Case::at(NOW);
    let good = Forged::good(&case, NOW);
    for (critical, fits) in [(&[][..], true), (&[1, 1, 0], true), (&[1, 1, 0xff], false)] {
        let extensions = Some(extension(critical));
        let of_response = Forged { response_extensions: extensions.clone(), ..good.clone() };
        let of_single = Forged { single_extensions: extensions, ..good.clone() };
        for forged in [of_response, of_single] {
            let refused = (!fits).then_some(ResponseError::CriticalExtension);
            assert_eq!(read(&case, &forged).err(), refused);
        }
    }
}

#[test]
fn of_several_single_responses_the_one_that_was_asked_for_counts() {
    let case = Case::at(NOW);
    let asked = id_content(&case.id());
    let other = [&asked[..asked.len() - 1], &[0x99]].concat();
    let with = |ids: Vec<Vec<u8>>| Forged { ids, ..Forged::good(&case, NOW) };
    assert!(read(&case, &with(vec![other.clone(), asked.clone()])).is_ok());
    assert_eq!(read(&case, &with(vec![other])), Err(ResponseError::OtherCertificate));
    assert_eq!(read(&case, &with(vec![])), Err(ResponseError::OtherCertificate));
    assert_eq!(read(&case, &with(vec![asked.clone(), asked])), Err(ResponseError::Ambiguous));
}

#[test]
fn every_field_of_the_identifier_counts() {
    let case = Case::at(NOW);
    let asked = id_content(&case.id());
    // Algorithm 11 octets (or 9 without NULL), name hash 22, key hash 22, serial number 4.
    assert_eq!(asked.len(), 59);
    for at in [8, 20, 50, 58] {
        let mut changed = asked.clone();
        changed[at] ^= 1;
        let forged = Forged { ids: vec![changed], ..Forged::good(&case, NOW) };
        assert_eq!(read(&case, &forged), Err(ResponseError::OtherCertificate), "{at}");
    }
    let without_null = [&[0x30, 7], &asked[2..9], &asked[11..]].concat();
    assert!(read(&case, &Forged { ids: vec![without_null], ..Forged::good(&case, NOW) }).is_ok());
}

#[test]
fn a_ca_of_the_same_name_never_answers_for_another() {
    let case = Case::at(NOW);
    let twin = Person::ca("Corp CA", NOW);
    let good = Forged::good(&case, NOW);
    assert_eq!(case.read(&good.signed_by(&twin), NOW), Err(ResponseError::Signer(SignerError::Forged)));
    let sent_along = Forged { certificates: vec![twin.der()], ..good };
    let error = case.read(&sent_along.signed_by(&twin), NOW).unwrap_err();
    assert!(matches!(error, ResponseError::Signer(SignerError::NotAuthorized { .. })), "{error}");
}

#[test]
fn a_response_with_many_certificates_is_not_searched() {
    let case = Case::at(NOW);
    let forged = Forged { certificates: vec![case.leaf.der(); 9], ..Forged::good(&case, NOW) };
    assert_eq!(read(&case, &forged), Err(ResponseError::Signer(SignerError::TooMany)));
}

#[test]
fn a_reason_without_a_name_is_revoked_all_the_same() {
    let case = Case::at(NOW);
    for (number, reason) in [(7, None), (10, Some("aACompromise")), (6, Some("certificateHold"))] {
        let forged = Forged::revoked(&case, NOW, Some(number), NOW);
        assert_eq!(read(&case, &forged).unwrap().status, CertStatus::Revoked { at: NOW, reason });
    }
}

#[test]
fn a_time_with_fractions_or_without_its_zone_is_malformed() {
    let case = Case::at(NOW);
    let response = Forged::good(&case, NOW);
    assert!(read(&case, &response).is_ok());
    for text in
        ["20260922000000.5Z", "20260922000000", "202609220000Z", "20260922000000+0000", "20261322000000Z"]
    {
        let status = der_revoked(text);
        assert_eq!(
            read(&case, &Forged { status, ..response.clone() }),
            Err(ResponseError::Malformed),
            "{text}"
        );
    }
}

fn der_revoked(time: &str) -> Vec<u8> {
    crate::pki::der::encode(0xa1, &crate::pki::der::encode(0x18, time.as_bytes()))
}
