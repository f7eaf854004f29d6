//! The words of the RFCs as types: identifiers, scope, forms, codes.
//!
//! No I/O, no time, no certificates. Names are those of the IANA OAuth parameters registry.

pub mod error;
pub mod form;
pub mod ids;
pub mod registered;
pub mod scope;

pub use error::ErrorCode;
pub use form::{Form, FormError};
pub use ids::{Audience, BaseUrl, ClientId, Issuer, Jti};
pub use registered::{AuthMethod, GrantType};
pub use scope::{Scope, ScopeError, ScopeToken};
