//! Certificates: read, name, trust. Knows nothing of OAuth.

pub mod certificate;
mod der;
pub mod fetch;
pub mod files;
pub mod name;
pub mod revocation;
pub mod subject;
pub mod trust;
pub mod workshop;

pub use certificate::{Certificate, CertificateError, Chain, Thumbprint};
pub use name::DistinguishedName;
pub use subject::SubjectMatcher;
pub use trust::{AnchorSet, AnchorSetName, Profile, TrustError, TrustStore, TrustedChain};
