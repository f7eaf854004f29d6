//! Why not: for the log and for `explain`, never for the wire.

use serde::Serialize;

/// The reason of a refusal, one closed set for log, metric and `explain`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The peer showed no certificate.
    NoCertificate,
    /// No client has this `client_id`.
    UnknownClient,
    /// The client is registered with `enabled: false`.
    DisabledClient,
    /// The request has no `client_id` (RFC 8705 §2 requires it).
    MissingClientId,
    /// Something other than a certificate was offered as a credential.
    WrongMethod,
    /// What was shown does not parse as a certificate, or is too large.
    MalformedCertificate,
    /// The certificate does not carry the registered subject (RFC 8705 §2.1.2).
    SubjectMismatch,
    /// The certificate is not one of the registered ones (RFC 8705 §2.2).
    NotRegistered,
    /// No path leads to an anchor of the client's set (RFC 5280 §6).
    Untrusted,
    /// Past its `notAfter`.
    Expired,
    /// Before its `notBefore`.
    NotYetValid,
    /// Its usages do not allow client authentication (RFC 5280 §4.2.1.3, §4.2.1.12).
    WrongUsage,
    /// A key or signature of the path is too weak.
    WeakKey,
    /// A certificate of the path was revoked (RFC 5280 §6.3, RFC 6960).
    Revoked,
    /// Nobody can say whether it was, and the anchor set requires to know.
    RevocationUnknown,
    /// The request came to a listener behind a proxy, and not from the proxy (RFC 9440 §4).
    ProxyRefused,
}

impl Reason {
    /// The word in log, metric and `explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::UnknownClient => "unknown_client",
            Self::DisabledClient => "disabled_client",
            Self::MissingClientId => "missing_client_id",
            Self::WrongMethod => "wrong_method",
            Self::MalformedCertificate => "malformed_certificate",
            Self::SubjectMismatch => "subject_mismatch",
            Self::NotRegistered => "not_registered",
            Self::Untrusted => "untrusted",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongUsage => "wrong_usage",
            Self::WeakKey => "weak_key",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::ProxyRefused => "proxy_refused",
        }
    }
}

/// One check: what it wanted and what it got.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// Which check, in a word or two.
    pub check: &'static str,
    /// Whether it held.
    pub ok: bool,
    /// What would have been right.
    pub expected: String,
    /// What was there.
    pub seen: String,
}

/// The client is not who it says it is. As text it is for the log, of about 1,024 characters at most, whatever it was made
/// of. The values that a stranger showed are cut where they enter a sentence; the sentence is ours, and its end says
/// when, or what else to look at.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}: {} (expected {:.400}, seen {:.560})", reason.as_str(), finding.check, finding.expected, finding.seen)]
pub struct Refusal {
    /// In one word.
    pub reason: Reason,
    /// The check that failed.
    pub finding: Finding,
}

impl Refusal {
    /// Something other than a certificate was offered as a credential.
    pub fn wrong_method(seen: &'static str) -> Self {
        let finding = Finding {
            check: "method",
            ok: false,
            expected: "a client certificate and nothing else".to_owned(),
            seen: seen.to_owned(),
        };
        Self { reason: Reason::WrongMethod, finding }
    }

    /// Whoever hands the certificate on does not prove that it is the proxy; `check` is the part that does not hold.
    pub fn proxy(check: &'static str, expected: impl Into<String>, seen: impl Into<String>) -> Self {
        let finding = Finding { check, ok: false, expected: expected.into(), seen: seen.into() };
        Self { reason: Reason::ProxyRefused, finding }
    }

    /// The certificate ends within this second, so no token could be bound to it.
    pub fn certificate_ends() -> Self {
        let finding = Finding {
            check: "not after",
            ok: false,
            expected: "at least one second of validity".to_owned(),
            seen: "less".to_owned(),
        };
        Self { reason: Reason::Expired, finding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_stranger_showed_the_text_is_bounded() {
        let seen = "é".repeat(60_000);
        let finding = Finding { check: "client_id", ok: false, expected: "one".to_owned(), seen };
        let text = Refusal { reason: Reason::UnknownClient, finding }.to_string();
        assert!(text.chars().count() <= 1024, "{}", text.chars().count());
        assert!(text.ends_with(')'), "and nothing after it is lost");
    }

    #[test]
    fn a_sentence_of_ours_keeps_its_end() {
        let seen = format!("the leaf (CN={}): it was revoked on 2026-01-02T03:04:05Z", "x".repeat(124));
        let finding = Finding { check: "revocation", ok: false, expected: "good".to_owned(), seen };
        let text = Refusal { reason: Reason::Revoked, finding }.to_string();
        assert!(text.ends_with("on 2026-01-02T03:04:05Z)"), "{text}");
    }
}
