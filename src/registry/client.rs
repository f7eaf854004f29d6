//! A registered client (RFC 7591 §2, RFC 8705 §2): the values that a document ends up as.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::document::At;
use crate::oauth::{Audience, AuthMethod, ClientId, GrantType, Scope};
use crate::pki::{AnchorSetName, Certificate, SubjectMatcher, Thumbprint};

/// A registered client. One that is disabled is here too, so that the log can tell it from an unknown one.
#[derive(Clone, Debug)]
pub struct Client {
    /// What it calls itself (RFC 6749 §2.2).
    pub id: ClientId,
    /// What people call it (RFC 7591 §2).
    pub name: Option<String>,
    /// How it proves who it is.
    pub credential: Credential,
    /// Whether it may do anything.
    pub enabled: bool,
    /// What it may ask for at `/token`; empty for a resource server that only introspects.
    pub grants: BTreeSet<GrantType>,
    /// The most it can get.
    pub scope: Scope,
    /// Allowed targets (RFC 8707 §2), the first is its default; `tokens.resource` where the document has
    /// none.
    pub resources: Vec<Audience>,
    /// How long its tokens live, if not as long as everybody's.
    pub lifetime: Option<Duration>,
    /// The audiences whose tokens it may see (RFC 7662 §2.1).
    pub introspects: BTreeSet<Audience>,
    /// Whom to ask about it (RFC 7591 §2).
    pub contacts: Vec<String>,
    /// Where its document begins.
    pub at: At,
}

/// What proves the client; it alone decides the method, never the request.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A certificate of a PKI, by its subject (RFC 8705 §2.1).
    TlsClientAuth {
        /// Which subject.
        subject: SubjectMatcher,
        /// Who may vouch for it.
        anchors: AnchorSetName,
    },
    /// One of these certificates (RFC 8705 §2.2). There may be none, while the file of the only one is away.
    SelfSignedTlsClientAuth {
        /// By what is compared: the whole certificate, never its key alone. Empty beside a `jwks_uri`.
        pins: BTreeMap<Thumbprint, Pin>,
        /// Where the client publishes its certificates instead (RFC 7591 §2); see [`super::remote`].
        jwks_uri: Option<Url>,
    },
}

/// One registered certificate.
#[derive(Clone, Debug)]
pub struct Pin {
    /// `None` where only the thumbprint was registered.
    pub certificate: Option<Arc<Certificate>>,
    /// The file as the document names it, `jwks`, `jwks_uri` or `x5t#S256`.
    pub source: String,
}

impl Credential {
    /// The method that this is a credential for.
    pub fn method(&self) -> AuthMethod {
        match self {
            Self::TlsClientAuth { .. } => AuthMethod::TlsClientAuth,
            Self::SelfSignedTlsClientAuth { .. } => AuthMethod::SelfSignedTlsClientAuth,
        }
    }

    /// Where the client publishes its certificates, if it does.
    pub fn jwks_uri(&self) -> Option<&Url> {
        match self {
            Self::SelfSignedTlsClientAuth { jwks_uri, .. } => jwks_uri.as_ref(),
            Self::TlsClientAuth { .. } => None,
        }
    }

    fn means_the_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::TlsClientAuth { subject, anchors },
                Self::TlsClientAuth { subject: other_subject, anchors: other_anchors },
            ) => subject == other_subject && anchors == other_anchors,
            (
                Self::SelfSignedTlsClientAuth { pins, jwks_uri },
                Self::SelfSignedTlsClientAuth { pins: other, jwks_uri: other_uri },
            ) => pins.keys().eq(other.keys()) && jwks_uri == other_uri,
            _ => false,
        }
    }
}

impl Client {
    /// Whether nothing but the place of the document differs.
    pub(super) fn means_the_same_as(&self, other: &Self) -> bool {
        self.credential.means_the_same_as(&other.credential) && self.is_the_same_but_for_certificates(other)
    }

    /// Whether nothing differs but the place of the document and what the client proves itself with, by one method.
    pub fn is_the_same_but_for_certificates(&self, other: &Self) -> bool {
        let Self {
            id,
            name,
            credential,
            enabled,
            grants,
            scope,
            resources,
            lifetime,
            introspects,
            contacts,
            at: _,
        } = self;
        *id == other.id
            && *name == other.name
            && credential.method() == other.credential.method()
            && *enabled == other.enabled
            && *grants == other.grants
            && *scope == other.scope
            && *resources == other.resources
            && *lifetime == other.lifetime
            && *introspects == other.introspects
            && *contacts == other.contacts
    }
}
