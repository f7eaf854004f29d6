//! The claims of an access token (RFC 9068 §2.2, RFC 8705 §3.1) and their JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::confirmation::{Confirmation, ConfirmationDocument};
use crate::clock::Timestamp;
use crate::oauth::{Audience, ClientId, Issuer, Jti, Scope};

/// What a token says. `sub` is the client itself: there is no user in `client_credentials` (RFC 9068 §2.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claims {
    /// Who issued it.
    pub issuer: Issuer,
    /// To whom, and about whom.
    pub client: ClientId,
    /// For which resource.
    pub audience: Audience,
    /// What it allows; may be empty, and is then left out.
    pub scope: Scope,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Its name.
    pub jti: Jti,
    /// What it is bound to.
    pub confirmation: Confirmation,
}

/// JSON that is not the claims of one of our tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the claims are not those of an access token")]
pub struct NotClaims;

impl Claims {
    /// The payload of the JWT.
    pub fn to_json(&self) -> Vec<u8> {
        let document = ClaimsDocument {
            iss: self.issuer.as_str().into(),
            sub: self.client.as_str().into(),
            aud: self.audience.as_str().into(),
            client_id: self.client.as_str().into(),
            scope: (!self.scope.is_empty()).then(|| self.scope.to_string().into()),
            iat: self.issued_at.as_unix(),
            exp: self.expires_at.as_unix(),
            nbf: None,
            jti: self.jti.to_string().into(),
            cnf: self.confirmation.into(),
        };
        serde_json::to_vec(&document).expect("a document of strings and integers is always JSON")
    }

    /// Reads a payload. A repeated member, a member of the wrong type or a missing one is an error; the time
    /// before which the token is not valid, if somebody gave it one, comes beside the claims.
    pub fn from_json(json: &[u8]) -> Result<(Self, Option<Timestamp>), NotClaims> {
        let document: ClaimsDocument<'_> = serde_json::from_slice(json).map_err(|_| NotClaims)?;
        if document.sub != document.client_id {
            return Err(NotClaims);
        }
        let scope = document.scope.as_deref().map(Scope::parse).transpose().map_err(|_| NotClaims)?;
        let claims = Self {
            issuer: Issuer::parse(&document.iss).map_err(|_| NotClaims)?,
            client: ClientId::parse(&document.client_id).map_err(|_| NotClaims)?,
            audience: Audience::parse(&document.aud).map_err(|_| NotClaims)?,
            scope: scope.unwrap_or_default(),
            issued_at: Timestamp::from_unix(document.iat),
            expires_at: Timestamp::from_unix(document.exp),
            jti: Jti::parse(&document.jti).ok_or(NotClaims)?,
            confirmation: document.cnf.try_into().map_err(|_| NotClaims)?,
        };
        Ok((claims, document.nbf.map(Timestamp::from_unix)))
    }
}

/// The JSON shape. A derived struct refuses repeated members, which a map would not.
#[derive(Serialize, Deserialize)]
struct ClaimsDocument<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    scope: Option<Cow<'a, str>>,
    iat: i64,
    exp: i64,
    /// We never write one, but a key may have been imported from a server that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    #[serde(borrow)]
    jti: Cow<'a, str>,
    cnf: ConfirmationDocument,
}
