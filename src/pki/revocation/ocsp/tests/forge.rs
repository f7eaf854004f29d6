//! Responses written octet by octet, for what no responder would say.

use std::ops::Range;

use openssl::hash::MessageDigest;
use openssl::sign::Signer;
use proptest::prelude::*;

use super::people::Person;
use super::*;
use crate::pki::der::{self, encode};

/// What a response is made of; [`Forged::good`] has nothing to object to.
#[derive(Clone)]
pub(super) struct Forged {
    /// `CertStatus`, encoded.
    pub(super) status: Vec<u8>,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Option<Timestamp>,
    pub(super) produced_at: Timestamp,
    /// The content of each `CertID`.
    pub(super) ids: Vec<Vec<u8>>,
    /// `Extensions` of the response and of the single response, encoded.
    pub(super) response_extensions: Option<Vec<u8>>,
    pub(super) single_extensions: Option<Vec<u8>>,
    pub(super) certificates: Vec<Vec<u8>>,
}

impl Forged {
    pub(super) fn good(case: &Case, now: Timestamp) -> Self {
        Self {
            status: vec![0x80, 0],
            this_update: now,
            next_update: Some(now.plus(MINUTE * 10)),
            produced_at: now,
            ids: vec![id_content(&case.id())],
            response_extensions: None,
            single_extensions: None,
            certificates: Vec::new(),
        }
    }

    pub(super) fn revoked(case: &Case, at: Timestamp, reason: Option<u8>, now: Timestamp) -> Self {
        let reason = reason.map(|reason| encode(0xa0, &[0x0a, 1, reason])).unwrap_or_default();
        Self { status: encode(0xa1, &[time(at), reason].concat()), ..Self::good(case, now) }
    }

    pub(super) fn unknown(case: &Case, now: Timestamp) -> Self {
        Self { status: vec![0x82, 0], ..Self::good(case, now) }
    }

    /// Signed with ECDSA and SHA-256, as somebody who goes by his name.
    pub(super) fn signed_by(&self, signer: &Person) -> Vec<u8> {
        let data = self.data(&signer.x509.subject_name().to_der().unwrap());
        let mut signing = Signer::new(MessageDigest::sha256(), &signer.key).unwrap();
        let signature = signing.sign_oneshot_to_vec(&data).unwrap();
        let algorithm = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
        let mut basic =
            [&data[..], &algorithm, &encode(der::BIT_STRING, &[&[0], &signature[..]].concat())].concat();
        if !self.certificates.is_empty() {
            basic.extend(encode(0xa0, &encode(der::SEQUENCE, &self.certificates.concat())));
        }
        successful(&encode(der::SEQUENCE, &basic))
    }

    fn data(&self, responder: &[u8]) -> Vec<u8> {
        let next_update = self.next_update.map(|at| encode(0xa0, &time(at))).unwrap_or_default();
        let wrapped = |extensions: &Option<Vec<u8>>| {
            extensions.as_ref().map(|extensions| encode(0xa1, extensions)).unwrap_or_default()
        };
        let single = |id: &Vec<u8>| {
            let id = encode(der::SEQUENCE, id);
            let times = [time(self.this_update), next_update.clone()].concat();
            encode(
                der::SEQUENCE,
                &[id, self.status.clone(), times, wrapped(&self.single_extensions)].concat(),
            )
        };
        let singles: Vec<_> = self.ids.iter().flat_map(single).collect();
        let fields = [
            encode(0xa1, responder),
            time(self.produced_at),
            encode(der::SEQUENCE, &singles),
            wrapped(&self.response_extensions),
        ];
        encode(der::SEQUENCE, &fields.concat())
    }
}

/// Two refusals that everybody knows (RFC 6960 §2.3).
pub(super) const TRY_LATER: &[u8] = &[0x30, 3, 0x0a, 1, 3];
pub(super) const UNAUTHORIZED: &[u8] = &[0x30, 3, 0x0a, 1, 6];

/// The content of the `CertID` in a request.
pub(super) fn id_content(id: &CertId) -> Vec<u8> {
    let request = id.request();
    let inner = (0..4).fold(request.as_slice(), |encoded, _| der::only(encoded, der::SEQUENCE).unwrap());
    der::only(inner, der::SEQUENCE).unwrap().to_vec()
}

pub(super) fn successful(basic: &[u8]) -> Vec<u8> {
    of_type(&[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1], basic)
}

pub(super) fn of_type(oid: &[u8], response: &[u8]) -> Vec<u8> {
    let bytes = [encode(der::OBJECT_IDENTIFIER, oid), encode(0x04, response)].concat();
    let bytes = encode(0xa0, &encode(der::SEQUENCE, &bytes));
    encode(der::SEQUENCE, &[&[0x0a, 1, 0], &bytes[..]].concat())
}

/// One extension that nobody knows.
pub(super) fn extension(critical: &[u8]) -> Vec<u8> {
    let fields = [&[6, 3, 0x2a, 3, 4], critical, &[4, 0]].concat();
    encode(der::SEQUENCE, &encode(der::SEQUENCE, &fields))
}

fn time(at: Timestamp) -> Vec<u8> {
    encode(0x18, at.compact().replace('T', "").as_bytes())
}

/// Puts `by` where `range` was, within bounds.
fn spliced(octets: &[u8], range: Range<usize>, by: &[u8]) -> Vec<u8> {
    let (start, end) = (range.start.min(octets.len()), range.end.min(octets.len()));
    [&octets[..start], by, &octets[end.max(start)..]].concat()
}

proptest! {
    /// The signature covers all that is believed: whatever is changed, the answer is the same one or none.
    #[test]
    fn a_response_with_any_octets_changed_says_the_same_or_nothing(
        start in 0..700_usize,
        length in 0..4_usize,
        by in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let case = case();
        let response = spliced(&case.response, start..start + length, &by);
        if let Ok(answer) = case.case.read(&response, NOW) {
            prop_assert_eq!(answer, case.case.read(&case.response, NOW).unwrap());
        }
        // About another certificate it says nothing, whatever is changed.
        let other = response::read(&response, &case.other, &case.case.ca.certificate(), NOW);
        prop_assert!(other.is_err());
    }

    #[test]
    fn any_octets_are_read_without_a_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let case = case();
        prop_assert!(case.case.read(&octets, NOW).is_err());
        prop_assert!(case.case.read(&successful(&octets), NOW).is_err());
    }
}

/// One case for all the runs of a property: keys take their time.
struct Shared {
    case: Case,
    response: Vec<u8>,
    other: CertId,
}

fn case() -> &'static Shared {
    static CASE: std::sync::OnceLock<Shared> = std::sync::OnceLock::new();
    CASE.get_or_init(|| {
        let case = Case::at(NOW);
        let other = people::named("billing", NOW).serial(0x1235).issued_by(&case.ca);
        let other = CertId::new(&other.certificate(), &case.ca.certificate()).unwrap();
        let signer = people::delegate("Responder", NOW).issued_by(&case.ca);
        let forged = Forged { certificates: vec![signer.der()], ..Forged::good(&case, NOW) };
        Shared { response: forged.signed_by(&signer), case, other }
    })
}

#[test]
fn a_response_cut_anywhere_says_nothing() {
    let Shared { case, response, .. } = case();
    assert_eq!(case.read(response, NOW).unwrap().status, CertStatus::Good);
    for length in 0..response.len() {
        assert_eq!(case.read(&response[..length], NOW), Err(ResponseError::Malformed), "{length}");
    }
    assert_eq!(case.read(&[response, &[0][..]].concat(), NOW), Err(ResponseError::Malformed));
}
