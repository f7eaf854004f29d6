//! What we issue and how we recognise it: RFC 9068 tokens with the confirmation of RFC 8705 §3.1.

pub mod claims;
pub mod confirmation;
pub mod entitlement;
pub mod issuer;
pub mod verifier;

pub use claims::Claims;
pub use confirmation::{BindingError, Confirmation, Possession};
pub use entitlement::{Asked, Entitlement, Exceeds};
pub use issuer::{Document, MintError, MintedToken, TokenIssuer, Unsigned};
pub use verifier::{BoundToken, TokenError, TokenVerifier, VerifiedToken};

/// No token lives longer than a day; what ends tokens before their time need be remembered no longer.
pub const LONGEST_LIFE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// The JWS type of an access token (RFC 9068 §2.1).
const TYP: &str = "at+jwt";
