//! What may be had for which request: a closed set of grants, each decided in a file of its own.

mod client_credentials;

use std::time::Duration;

use secrecy::ExposeSecret as _;

pub use client_credentials::ClientCredentials;

use crate::authn::AuthenticatedClient;
use crate::oauth::{Form, FormError, GrantType, ScopeError};
use crate::token::{Entitlement, Exceeds};

/// A token request, known by its `grant_type` (RFC 6749 §4).
#[derive(Debug)]
pub enum GrantRequest {
    /// RFC 6749 §4.4.
    ClientCredentials(ClientCredentials),
}

/// The request gets no token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GrantError {
    /// A parameter is missing.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A grant type that this server does not have.
    #[error("the grant_type is not one of this server")]
    UnknownGrant,
    /// A grant type that this client was not given.
    #[error("the grant_type is not one of this client")]
    NotThisClients,
    /// Text that is no scope.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// Text that is no resource, or several different ones.
    #[error("the resource is not one absolute URI")]
    Resource,
    /// More than the registration allows.
    #[error(transparent)]
    Exceeds(#[from] Exceeds),
}

impl GrantRequest {
    /// Reads `grant_type` and takes the parameters of that grant; whatever else is in the form is ignored (RFC 6749 §3.2).
    pub fn parse(form: &mut Form) -> Result<Self, GrantError> {
        let grant_type = form.require("grant_type")?;
        match GrantType::parse(grant_type.expose_secret()) {
            Some(GrantType::ClientCredentials) => Ok(Self::ClientCredentials(ClientCredentials::take(form))),
            None => Err(GrantError::UnknownGrant),
        }
    }

    /// Decides what `client` gets. `lifetime` holds for clients that have none of their own.
    pub fn decide(self, client: &AuthenticatedClient, lifetime: Duration) -> Result<Entitlement, GrantError> {
        match self {
            Self::ClientCredentials(request) => {
                if !client.client().grants.contains(&GrantType::ClientCredentials) {
                    return Err(GrantError::NotThisClients);
                }
                request.decide(client, lifetime)
            }
        }
    }
}
