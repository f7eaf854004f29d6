//! The store as a thing of its own.

use std::io;

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, Json};
use serde_json::json;

use super::{Answer, Trouble, off_the_worker};
use crate::admin::Administration;
use crate::store::StoreError;

/// `GET store/check`.
pub(in crate::admin) async fn check_store(administration: Data<Administration>) -> Answer {
    let report = off_the_worker(move || administration.store.check()).await??;
    Ok(Json(json!(report)))
}

/// `GET store/export`: JSON lines.
pub(in crate::admin) async fn export_store(
    administration: Data<Administration>,
) -> Result<HttpResponse, Trouble> {
    let export = move || -> io::Result<Vec<u8>> {
        let mut lines = Vec::new();
        administration.store.export(&mut lines)?;
        Ok(lines)
    };
    let lines = off_the_worker(export).await?.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/jsonl")).body(lines))
}
