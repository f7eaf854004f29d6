//! What a token is bound to, and what is shown to use it (RFC 7800 §3.1, RFC 8705 §3.1).

use serde::{Deserialize, Serialize};

use crate::pki::{Certificate, Thumbprint};

/// The `cnf` of a token. There is no way to write one without a key in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Confirmation {
    /// The certificate with this thumbprint (RFC 8705 §3.1).
    X5tS256(Thumbprint),
}

impl Confirmation {
    /// The certificate of this connection.
    pub fn of(certificate: &Certificate) -> Self {
        Self::X5tS256(certificate.thumbprint())
    }

    /// The thumbprint it names.
    pub const fn thumbprint(self) -> Thumbprint {
        let Self::X5tS256(thumbprint) = self;
        thumbprint
    }

    /// Whether what was shown is what the token is bound to.
    pub fn is_confirmed_by(self, shown: Possession) -> Result<(), BindingError> {
        match (self, shown) {
            (Self::X5tS256(bound), Possession::Certificate(shown)) if bound == shown => Ok(()),
            (Self::X5tS256(_), Possession::Certificate(_)) => Err(BindingError::OtherCertificate),
            (Self::X5tS256(_), Possession::Nothing) => Err(BindingError::NothingShown),
        }
    }
}

/// What the user of a token showed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Possession {
    /// A certificate with this thumbprint.
    Certificate(Thumbprint),
    /// No certificate.
    Nothing,
}

/// A token in the wrong hands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BindingError {
    /// It is bound to another certificate.
    #[error("the token is bound to another certificate")]
    OtherCertificate,
    /// It is bound, and nothing was shown.
    #[error("the token is bound to a certificate and none was shown")]
    NothingShown,
}

/// The JSON of a confirmation: one known member, the thumbprint in base64url.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmationDocument {
    #[serde(rename = "x5t#S256")]
    x5t_s256: String,
}

impl From<Confirmation> for ConfirmationDocument {
    fn from(confirmation: Confirmation) -> Self {
        Self { x5t_s256: confirmation.thumbprint().to_string() }
    }
}

impl TryFrom<ConfirmationDocument> for Confirmation {
    type Error = crate::pki::certificate::ThumbprintError;

    fn try_from(document: ConfirmationDocument) -> Result<Self, Self::Error> {
        document.x5t_s256.parse().map(Self::X5tS256)
    }
}
