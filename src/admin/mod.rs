//! What the commands ask of a running server, over the control socket: JSON below `/api/v1`.
//!
//! The socket belongs to the owner alone (0600), so whoever can speak there is the operator. What the handlers
//! change they change through the same functions as everybody else: keys in their place, clients by the
//! one reload, tokens in the one store.

mod api;
mod certificates;
mod socket;

use std::path::Path;

use actix_web::web::{self, ServiceConfig};
use actix_web::{Resource, Route};
use tokio::sync::{mpsc, oneshot};

pub(crate) use api::clients::{describe as describe_client, list as list_clients};
pub(crate) use api::keys::{list as list_keys, told as tell_change};
pub(crate) use api::plan::{REFUSALS as REFUSALS_OF_A_PLAN, answer as plan_answer, settled};
pub(crate) use api::refusals::explain as explain_refusal;
pub use socket::ControlSocket;

use crate::clock::Timestamp;
use crate::document::Problems;
use crate::http::{self, document, only};
use crate::keys::{Place, Schedule};
use crate::plan::Prospect;
use crate::reload::Live;
use crate::store::Store;

/// What the commands may reach, beside the services of the edge.
pub struct Administration {
    /// Where the signing keys are.
    pub keys: Place,
    /// What new keys are like.
    pub schedule: Live<Schedule>,
    /// The store as a thing of its own, to be checked and exported.
    pub store: Store,
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
                .service(document("/clients", || web::to(api::clients::clients)))
                .service(document("/clients/{id}", || web::to(api::clients::client)))
                .service(post("/clients/{id}/revoke", web::post().to(api::clients::revoke_client)))
                .service(document("/refusals", || web::to(api::refusals::refusals)))
                .service(document("/refusals/{reference}", || web::to(api::refusals::refusal)))
                .service(document("/plan", || web::to(api::plan::plan)))
                .service(post("/tokens/revoke", web::post().to(api::clients::revoke_token)))
                .service(document("/keys", || web::to(api::keys::keys)))
                .service(post("/keys/rotate", web::post().to(api::keys::rotate)))
                .service(post("/keys/import", web::post().to(api::keys::import)))
                .service(only("DELETE", "/keys/{kid}", web::delete().to(api::keys::revoke_key)))
                .service(document("/trust", || web::to(api::trust::trust)))
                .service(post("/reload", web::post().to(api::trust::reload)))
                .service(post("/reload/files", web::post().to(api::trust::reload_files)))
                .service(document("/store/check", || web::to(api::store::check_store)))
                .service(document("/store/export", || web::to(api::store::export_store))),
        );
        http::admin_routes(config);
    }
}

/// Something to be done.
fn post(path: &str, route: Route) -> Resource {
    only("POST", path, route)
}

/// Until when "everything of this client up to now" must be remembered.
pub fn until_no_token_is_left(now: Timestamp) -> Timestamp {
    now.plus(crate::token::LONGEST_LIFE).plus(crate::store::LEEWAY)
}
