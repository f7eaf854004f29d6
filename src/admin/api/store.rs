//! The store as a thing of its own.

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, Json};
use serde_json::json;

use super::{Answer, Trouble};
use crate::admin::Administration;

/// `GET store/check`.
pub(in crate::admin) async fn check_store(administration: Data<Administration>) -> Answer {
    Ok(Json(json!(administration.store.check().await?)))
}

/// `GET store/export`: JSON lines.
pub(in crate::admin) async fn export_store(
    administration: Data<Administration>,
) -> Result<HttpResponse, Trouble> {
    let lines = administration.store.export().await?;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/jsonl")).body(lines))
}
