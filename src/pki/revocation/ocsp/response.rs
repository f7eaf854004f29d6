//! What a responder says of one certificate (RFC 6960 §4.2.1), read strictly and believed under the conditions
//! of RFC 6960 §3.2: it is about the certificate that was asked for, whoever signed it may speak for the
//! issuer (`signer`), and now lies within its time.
//!
//! [`SKEW`] is how far the clock of a responder may be ahead of ours. `nextUpdate` is kept to the second. An
//! answer without one says that newer information is available at any time (§4.2.2.1): it is good for
//! [`OPEN_ENDED`] after it was signed, and not a second of `thisUpdate`, which may be that of an old CRL.

use std::time::Duration;

use super::request::{CertId, OCTET_STRING};
use super::signer::{self, Signed, SignerError};
use crate::clock::Timestamp;
use crate::pki::certificate::Certificate;
use crate::pki::der::{self, DerError, Oid, Reader};

/// By how much `thisUpdate` and `producedAt` may lie ahead of now.
pub(super) const SKEW: Duration = Duration::from_secs(60);

/// How long after `producedAt` an answer without `nextUpdate` is used.
const OPEN_ENDED: Duration = Duration::from_secs(5 * 60);

/// What an authentic response says, at the time when it was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) status: CertStatus,
    pub(super) this_update: Timestamp,
    /// None: newer information is available at any time.
    pub(super) next_update: Option<Timestamp>,
    /// The last second in which `good` may be used.
    pub(super) until: Timestamp,
}

impl Answer {
    /// Within its time, by a clock that may be [`SKEW`] behind.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        self.this_update <= now.plus(SKEW) && now <= self.until
    }

    pub(super) fn is_revoked(&self) -> bool {
        matches!(self.status, CertStatus::Revoked { .. })
    }
}

/// `CertStatus`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum CertStatus {
    Good,
    Revoked {
        at: Timestamp,
        /// By the names of RFC 5280 §5.3.1.
        reason: Option<&'static str>,
    },
    /// The responder does not know the certificate.
    Unknown,
}

/// Why a response is not an answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum ResponseError {
    #[error("its response is not well-formed")]
    Malformed,
    #[error("it answers {0}")]
    Unsuccessful(&'static str),
    #[error("its response is of a type other than id-pkix-ocsp-basic")]
    OtherType,
    #[error("its response has a critical extension that is not known here")]
    CriticalExtension,
    #[error("its response is about another certificate")]
    OtherCertificate,
    #[error("its response speaks of the certificate more than once")]
    Ambiguous,
    #[error("{0}")]
    Signer(#[from] SignerError),
    #[error("its response is from the future: {field} is {time}")]
    Future { field: &'static str, time: Timestamp },
    #[error("its response has run out: {0}")]
    Stale(String),
}

impl From<DerError> for ResponseError {
    fn from(DerError: DerError) -> Self {
        Self::Malformed
    }
}

/// Reads a response to the question about `id`, a certificate issued by `issuer`.
pub(super) fn read(
    response: &[u8],
    id: &CertId,
    issuer: &Certificate,
    now: Timestamp,
) -> Result<Answer, ResponseError> {
    let basic = basic_response(response)?;
    let signed = Signed::read(basic)?;
    let data = ResponseData::read(der::only(signed.data, der::SEQUENCE)?)?;
    let single = data.about(id)?;
    signer::check(&signed, &data.responder, issuer, now)?;
    let latest = now.plus(SKEW);
    for (field, time) in [("thisUpdate", single.this_update), ("producedAt", data.produced_at)] {
        if latest < time {
            return Err(ResponseError::Future { field, time });
        }
    }
    let until = single.next_update.unwrap_or_else(|| data.produced_at.plus(OPEN_ENDED));
    if until < now || until < single.this_update {
        return Err(ResponseError::Stale(match single.next_update {
            Some(next_update) => format!("nextUpdate is {next_update}"),
            None => format!("there is no nextUpdate, and producedAt is {}", data.produced_at),
        }));
    }
    Ok(Answer {
        status: single.status,
        this_update: single.this_update,
        next_update: single.next_update,
        until,
    })
}

/// `OCSPResponse`: the octets of the `BasicOCSPResponse` in it.
fn basic_response(response: &[u8]) -> Result<&[u8], ResponseError> {
    let mut fields = Reader::new(der::only(response, der::SEQUENCE)?);
    let [status] = fields.expect(ENUMERATED)? else { return Err(ResponseError::Malformed) };
    if *status != 0 {
        return Err(ResponseError::Unsuccessful(match status {
            1 => "malformedRequest",
            2 => "internalError",
            3 => "tryLater",
            5 => "sigRequired",
            6 => "unauthorized",
            _ => "with an unknown status",
        }));
    }
    let mut bytes = Reader::new(der::only(fields.expect(EXPLICIT_0)?, der::SEQUENCE)?);
    fields.finish()?;
    let kind = Oid::from_content(bytes.expect(der::OBJECT_IDENTIFIER)?)?;
    let basic = bytes.expect(OCTET_STRING)?;
    bytes.finish()?;
    if kind.to_string() == "1.3.6.1.5.5.7.48.1.1" { Ok(basic) } else { Err(ResponseError::OtherType) }
}

/// `ResponseData`, but for what nobody asks for.
struct ResponseData<'d> {
    responder: signer::ResponderId<'d>,
    produced_at: Timestamp,
    singles: Reader<'d>,
}

impl<'d> ResponseData<'d> {
    fn read(content: &'d [u8]) -> Result<Self, ResponseError> {
        let mut fields = Reader::new(content);
        if let Some(version) = fields.optional(EXPLICIT_0)?
            && der::only(version, der::INTEGER)? != [0]
        {
            return Err(ResponseError::Malformed);
        }
        let responder = signer::ResponderId::read(fields.element()?)?;
        let produced_at = generalized_time(fields.expect(GENERALIZED_TIME)?)?;
        let singles = Reader::new(fields.expect(der::SEQUENCE)?);
        check_extensions(fields.optional(EXPLICIT_1)?)?;
        fields.finish()?;
        Ok(Self { responder, produced_at, singles })
    }

    /// The one response about this certificate. All of them must be well-formed.
    fn about(&self, id: &CertId) -> Result<SingleResponse, ResponseError> {
        let mut singles = self.singles;
        let mut found = None;
        while !singles.is_empty() {
            let mut fields = Reader::new(singles.expect(der::SEQUENCE)?);
            let is_asked_for = id.is_encoded_as(fields.expect(der::SEQUENCE)?)?;
            let single = SingleResponse::read(fields)?;
            if is_asked_for && found.replace(single).is_some() {
                return Err(ResponseError::Ambiguous);
            }
        }
        found.ok_or(ResponseError::OtherCertificate)
    }
}

/// `SingleResponse` without its `CertID`.
struct SingleResponse {
    status: CertStatus,
    this_update: Timestamp,
    next_update: Option<Timestamp>,
}

impl SingleResponse {
    fn read(mut fields: Reader<'_>) -> Result<Self, ResponseError> {
        let status = fields.element()?;
        let status = match (status.tag, status.content) {
            (GOOD, []) => CertStatus::Good,
            (REVOKED, content) => revoked(content)?,
            (UNKNOWN, []) => CertStatus::Unknown,
            _ => return Err(ResponseError::Malformed),
        };
        let this_update = generalized_time(fields.expect(GENERALIZED_TIME)?)?;
        let next_update = match fields.optional(EXPLICIT_0)? {
            Some(time) => Some(generalized_time(der::only(time, GENERALIZED_TIME)?)?),
            None => None,
        };
        check_extensions(fields.optional(EXPLICIT_1)?)?;
        fields.finish()?;
        Ok(Self { status, this_update, next_update })
    }
}

/// `RevokedInfo`. A reason that has no name is no reason to doubt the rest.
fn revoked(content: &[u8]) -> Result<CertStatus, DerError> {
    let mut fields = Reader::new(content);
    let at = generalized_time(fields.expect(GENERALIZED_TIME)?)?;
    let reason = match fields.optional(EXPLICIT_0)? {
        Some(reason) => reason_name(der::only(reason, ENUMERATED)?),
        None => None,
    };
    fields.finish()?;
    Ok(CertStatus::Revoked { at, reason })
}

/// `CRLReason` (RFC 5280 §5.3.1).
fn reason_name(reason: &[u8]) -> Option<&'static str> {
    Some(match reason {
        [0] => "unspecified",
        [1] => "keyCompromise",
        [2] => "cACompromise",
        [3] => "affiliationChanged",
        [4] => "superseded",
        [5] => "cessationOfOperation",
        [6] => "certificateHold",
        [8] => "removeFromCRL",
        [9] => "privilegeWithdrawn",
        [10] => "aACompromise",
        _ => return None,
    })
}

/// `Extensions` (RFC 5280 §4.1): none is known here, so none may be critical.
fn check_extensions(wrapped: Option<&[u8]>) -> Result<(), ResponseError> {
    let Some(wrapped) = wrapped else { return Ok(()) };
    let mut extensions = Reader::new(der::only(wrapped, der::SEQUENCE)?);
    while !extensions.is_empty() {
        let mut fields = Reader::new(extensions.expect(der::SEQUENCE)?);
        Oid::from_content(fields.expect(der::OBJECT_IDENTIFIER)?)?;
        let critical = fields.optional(der::BOOLEAN)?;
        fields.expect(OCTET_STRING)?;
        fields.finish()?;
        if critical.is_some_and(|critical| critical != [0]) {
            return Err(ResponseError::CriticalExtension);
        }
    }
    Ok(())
}

/// `YYYYMMDDHHMMSSZ` and nothing else (RFC 5280 §4.1.2.5.2).
fn generalized_time(content: &[u8]) -> Result<Timestamp, DerError> {
    let text = std::str::from_utf8(content).map_err(|_| DerError)?;
    let (date, time) = text.split_at_checked(8).ok_or(DerError)?;
    Timestamp::parse_compact(&format!("{date}T{time}")).ok_or(DerError)
}

const ENUMERATED: u8 = 0x0a;
const GENERALIZED_TIME: u8 = 0x18;
const EXPLICIT_0: u8 = 0xa0;
const EXPLICIT_1: u8 = 0xa1;
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;
const UNKNOWN: u8 = 0x82;
