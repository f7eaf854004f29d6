//! What a proven client may have: never more than its registration allows (RFC 6749 §3.3, RFC 8707 §2).

use std::time::Duration;

use super::confirmation::Confirmation;
use crate::authn::AuthenticatedClient;
use crate::clock::Timestamp;
use crate::oauth::{Audience, ClientId, Scope};

/// What the request asked for; what it did not ask for is taken from the registration.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The scope, if one was named.
    pub scope: Option<Scope>,
    /// The resource, if one was named.
    pub resource: Option<Audience>,
}

/// Asked for more than there is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Exceeds {
    /// RFC 6749 §5.2 `invalid_scope`.
    #[error("the scope goes beyond the client's registration")]
    Scope,
    /// RFC 8707 §2 `invalid_target`.
    #[error("the resource is not one of the client's registration")]
    Resource,
}

/// What a token may say. Made from an [`AuthenticatedClient`] and checked against its registration, whoever makes it;
/// bound to the certificate of the connection, and over when that certificate is.
#[derive(Debug)]
pub struct Entitlement {
    pub(super) client: ClientId,
    pub(super) audience: Audience,
    pub(super) scope: Scope,
    pub(super) lifetime: Duration,
    pub(super) confirmation: Confirmation,
    pub(super) not_after: Timestamp,
}

impl Entitlement {
    /// Checks `asked` against the registration of `client`. `lifetime` holds where the client has none of its own.
    pub fn within(client: &AuthenticatedClient, asked: Asked, lifetime: Duration) -> Result<Self, Exceeds> {
        let registration = client.client();
        let scope = match asked.scope {
            Some(scope) if scope.is_within(&registration.scope) => scope,
            Some(_) => return Err(Exceeds::Scope),
            None => registration.scope.clone(),
        };
        let mut allowed = registration.resources.iter();
        let audience = match asked.resource {
            Some(resource) => allowed.find(|allowed| **allowed == resource),
            None => allowed.next(),
        };
        Ok(Self {
            client: registration.id.clone(),
            audience: audience.ok_or(Exceeds::Resource)?.clone(),
            scope,
            lifetime: registration.lifetime.unwrap_or(lifetime),
            confirmation: Confirmation::of(client.certificate()),
            not_after: client.certificate().not_after(),
        })
    }
}
