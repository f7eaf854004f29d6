//! The handlers of the control socket, by noun; what they have in common is here.

pub(super) mod clients;
pub(super) mod keys;
pub(super) mod plan;
pub(super) mod refusals;
pub(super) mod store;
pub(super) mod trust;

use actix_web::http::StatusCode;
use actix_web::web::{Json, JsonConfig, PathConfig, QueryConfig, ServiceConfig};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Administration, Order};
use crate::http::STORE_PATIENCE;
use crate::keys::{KeyFileError, KeysError, Place};
use crate::store::StoreError;

/// What a command hears when it cannot be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("there is no {0} of this name")]
    NotFound(&'static str),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Malformed(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the server is shutting down")]
    Ending,
}

impl ResponseError for Trouble {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Store(_) | Self::Ending => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let error = match self {
            Self::NotFound(_) => "not_found",
            Self::Refused(_) => "refused",
            Self::Malformed(_) => "invalid_request",
            Self::Store(StoreError::Corrupt { .. }) => "store_damaged",
            Self::Store(_) => "store",
            Self::Ending => "ending",
        };
        let body = json!({ "error": error, "error_description": self.to_string() });
        HttpResponse::build(self.status_code()).json(body)
    }
}

impl From<KeyFileError> for Trouble {
    fn from(error: KeyFileError) -> Self {
        Self::Refused(format!("{error}; {}", error.instead))
    }
}

impl From<KeysError> for Trouble {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Fault(fault) => fault.into(),
            KeysError::Database(_) => Self::Store(StoreError::Unavailable(error.to_string())),
        }
    }
}

/// What cannot be read is answered like everything else, in JSON.
pub(super) fn speak_json(config: &mut ServiceConfig) {
    config
        .app_data(
            JsonConfig::default().error_handler(|error, _| Trouble::Malformed(error.to_string()).into()),
        )
        .app_data(
            PathConfig::default().error_handler(|error, _| Trouble::Malformed(error.to_string()).into()),
        )
        .app_data(
            QueryConfig::default().error_handler(|error, _| Trouble::Malformed(error.to_string()).into()),
        );
}

type Answer = Result<Json<Value>, Trouble>;

impl Administration {
    async fn order(&self, order: Order) -> Result<(), Trouble> {
        self.orders.send(order).await.map_err(|_| Trouble::Ending)
    }

    /// Returns when a change of the keys is in force. A change of shared keys was not made before every node had it, this
    /// one included, or its name is among the unconfirmed.
    async fn keys_changed(&self) -> Result<(), Trouble> {
        if let Place::Shared(_) = self.keys {
            return Ok(());
        }
        let (done, changed) = oneshot::channel();
        self.order(Order::Keys(done)).await?;
        changed.await.map_err(|_| Trouble::Ending)
    }
}

async fn patiently<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, Trouble> {
    let late = || StoreError::Unavailable("it did not answer in time".to_owned());
    Ok(tokio::time::timeout(STORE_PATIENCE, answer).await.unwrap_or_else(|_| Err(late()))?)
}

/// Reading a whole store takes longer than a worker may stand still.
async fn off_the_worker<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    actix_web::web::block(work).await.map_err(|_| Trouble::Ending)
}
