//! `client_credentials` (RFC 6749 §4.4) with `scope` (§3.3) and `resource` (RFC 8707 §2).

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::GrantError;
use crate::authn::AuthenticatedClient;
use crate::oauth::{Audience, Form, Scope};
use crate::token::{Asked, Entitlement};

/// The parameters of the grant, as they came.
#[derive(Debug)]
pub struct ClientCredentials {
    scope: Option<SecretString>,
    resources: Vec<SecretString>,
}

impl ClientCredentials {
    pub(super) fn take(form: &mut Form) -> Self {
        Self { scope: form.take("scope"), resources: form.take_resources() }
    }

    pub(super) fn decide(
        self,
        client: &AuthenticatedClient,
        lifetime: Duration,
    ) -> Result<Entitlement, GrantError> {
        let scope = self.scope.map(|scope| Scope::parse(scope.expose_secret())).transpose()?;
        let resource = one_resource(&self.resources)?;
        Ok(Entitlement::within(client, Asked { scope, resource }, lifetime)?)
    }
}

/// One resource per token: equal ones count once, different ones would need a token with two audiences.
fn one_resource(resources: &[SecretString]) -> Result<Option<Audience>, GrantError> {
    let Some(first) = resources.first() else {
        return Ok(None);
    };
    if resources.iter().any(|resource| resource.expose_secret() != first.expose_secret()) {
        return Err(GrantError::Resource);
    }
    Audience::parse(first.expose_secret()).map(Some).map_err(|_| GrantError::Resource)
}
