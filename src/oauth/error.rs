//! The error codes of the wire, a closed set (RFC 6749 §5.2, RFC 6750 §3.1, RFC 8707 §2).

/// What a caller hears about a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorCode {
    /// A parameter is missing, repeated or malformed (RFC 6749 §5.2).
    InvalidRequest,
    /// The client is not who it says it is (RFC 6749 §5.2).
    InvalidClient,
    /// The token belongs to somebody else (used at `/revoke`, RFC 7009 §2.1).
    InvalidGrant,
    /// More scope than the registration allows, or not scope at all (RFC 6749 §5.2).
    InvalidScope,
    /// A resource the client is not registered for (RFC 8707 §2).
    InvalidTarget,
    /// Not this client's grant type (RFC 6749 §5.2).
    UnauthorizedClient,
    /// Nobody's grant type here (RFC 6749 §5.2).
    UnsupportedGrantType,
    /// The access token is not good, or not in the right hands (RFC 6750 §3.1).
    InvalidToken,
    /// The access token is good, and does not allow this (RFC 6750 §3.1).
    InsufficientScope,
    /// Our fault (RFC 6749 §4.1.2.1).
    ServerError,
    /// Our fault, and it will pass (RFC 6749 §4.1.2.1).
    TemporarilyUnavailable,
}

impl ErrorCode {
    /// The registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}
