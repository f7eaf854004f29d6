//! What the commands ask of a running server, over the control socket: JSON below `/api/v1`.
//!
//! The socket belongs to the owner alone (0600), so whoever can speak there is the operator. What the handlers
//! change they change through the same functions as everybody else: keys through their directory, clients by the
//! one reload, tokens in the one store.

mod api;
mod certificates;
mod socket;

use std::path::Path;
use std::sync::Arc;

use actix_web::web::{self, ServiceConfig};
use tokio::sync::{mpsc, oneshot};

pub(crate) use api::clients::{describe as describe_client, list as list_clients};
pub(crate) use api::keys::list as list_keys;
pub(crate) use api::plan::{REFUSALS as REFUSALS_OF_A_PLAN, answer as plan_answer, settled};
pub(crate) use api::refusals::explain as explain_refusal;
pub use socket::ControlSocket;

use crate::clock::Timestamp;
use crate::document::Problems;
use crate::http;
use crate::keys::{Directory, Schedule};
use crate::plan::Prospect;
use crate::reload::Live;
use crate::store::sled::Sled;

/// What the commands may reach, beside the services of the edge.
pub struct Administration {
    /// Where the signing keys are.
    pub keys: Directory,
    /// What new keys are like.
    pub schedule: Live<Schedule>,
    /// The store as a thing of its own, to be checked and exported.
    pub store: Arc<Sled>,
    /// Orders to the background.
    pub orders: mpsc::Sender<Order>,
    /// Makes a world of a configuration that is not in force.
    pub candidate: Box<Candidate>,
}

/// Reads the configuration at a path, or the one of this server as it is on disk now, and makes it a world. With errors
/// in it there is none.
pub type Candidate = dyn Fn(Option<&Path>, Timestamp) -> (Option<Prospect>, Problems) + Send + Sync;

/// Something that the background does for a command.
#[derive(Debug)]
pub enum Order {
    /// Read the configuration and everything it names again; the answer is what was wrong.
    Reload(oneshot::Sender<Problems>),
    /// Read the files again that the configuration in force names, and not the configuration itself: somebody may be
    /// preparing its next state.
    Files(oneshot::Sender<Problems>),
    /// Read the signing keys again.
    Keys(oneshot::Sender<()>),
}

/// The routes of the control socket: the API, and the probes.
pub fn routes(
    administration: &web::Data<Administration>,
) -> impl Fn(&mut ServiceConfig) + Clone + Send + use<> {
    let administration = administration.clone();
    move |config| {
        config.app_data(administration.clone());
        api::speak_json(config);
        config.service(
            web::scope("/api/v1")
                .route("/clients", web::get().to(api::clients::clients))
                .route("/clients/{id}", web::get().to(api::clients::client))
                .route("/clients/{id}/revoke", web::post().to(api::clients::revoke_client))
                .route("/refusals", web::get().to(api::refusals::refusals))
                .route("/refusals/{reference}", web::get().to(api::refusals::refusal))
                .route("/plan", web::get().to(api::plan::plan))
                .route("/tokens/revoke", web::post().to(api::clients::revoke_token))
                .route("/keys", web::get().to(api::keys::keys))
                .route("/keys/rotate", web::post().to(api::keys::rotate))
                .route("/keys/import", web::post().to(api::keys::import))
                .route("/keys/{kid}", web::delete().to(api::keys::revoke_key))
                .route("/trust", web::get().to(api::trust::trust))
                .route("/reload", web::post().to(api::trust::reload))
                .route("/reload/files", web::post().to(api::trust::reload_files))
                .route("/store/check", web::get().to(api::store::check_store))
                .route("/store/export", web::get().to(api::store::export_store)),
        );
        http::admin_routes(config);
    }
}

/// Until when "everything of this client up to now" must be remembered.
pub fn until_no_token_is_left(now: Timestamp) -> Timestamp {
    now.plus(crate::token::LONGEST_LIFE).plus(crate::store::LEEWAY)
}
