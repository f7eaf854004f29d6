//! Anchors, and reading everything again.

use actix_web::web::{Data, Json};
use serde_json::json;
use tokio::sync::oneshot;

use super::{Answer, Trouble};
use crate::admin::{Administration, Order};
use crate::document::Problems;
use crate::http::Services;

/// `GET trust`.
pub(in crate::admin) async fn trust(services: Data<Services>) -> Answer {
    let world = services.authenticator.load();
    let sets = world.trust().names().filter_map(|name| {
        let anchors = world.trust().set(name)?.anchors().iter().map(|anchor| {
            json!({
                "subject": anchor.subject().to_string(),
                "x5t#S256": anchor.thumbprint().to_string(),
                "not_after": anchor.not_after().to_string(),
            })
        });
        Some(json!({ "name": name.as_str(), "anchors": anchors.collect::<Vec<_>>() }))
    });
    Ok(Json(json!({ "trust_anchors": sets.collect::<Vec<_>>() })))
}

/// `POST reload`: the configuration and everything it names.
pub(in crate::admin) async fn reload(administration: Data<Administration>) -> Answer {
    ordered(&administration, Order::Reload).await
}

/// `POST reload/files`: what the configuration in force names, as a change of one of the files would do, but at once.
pub(in crate::admin) async fn reload_files(administration: Data<Administration>) -> Answer {
    ordered(&administration, Order::Files).await
}

async fn ordered(
    administration: &Administration,
    order: impl FnOnce(oneshot::Sender<Problems>) -> Order,
) -> Answer {
    let (done, problems) = oneshot::channel();
    administration.order(order(done)).await?;
    let problems = problems.await.map_err(|_| Trouble::Ending)?;
    Ok(Json(json!({ "ok": !problems.has_errors(), "problems": problems.0 })))
}
