//! `download-url`: a file of another server's becomes a template or an image.

use axum::extract::State;
use openapi::answer::ErrorBody;
use pve_integration::storage::{ContentType, StorageConfig};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::files::NewFile;
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};
use crate::fetch::{self, Download};
use crate::tasks::TaskLog;

#[derive(Deserialize)]
pub(super) struct Source {
    url: String,
    compression: Option<String>,
    #[serde(rename = "verify-certificates", default = "verify")]
    verify_certificates: u8,
}

fn verify() -> u8 {
    1
}

/// Get a file by its URL.
#[utoipa::path(
    post, path = "/nodes/{node}/storage/{storage}/download-url", tag = "storage",
    responses(
        (status = 200, description = "The task", body = Data<String>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn download_url(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(file): Params<NewFile>,
    Params(from): Params<Source>,
) -> Result<Data<String>, ApiError> {
    let dir = StorageConfig::read(app.root())?.dir(app.root(), node.name(), &file.storage)?;
    let content = file.content()?;
    if !dir.content().contains(&content) {
        return Err(ApiError::die(format_args!(
            "storage '{}' is not configured for content-type '{content}'",
            dir.id()
        )));
    }
    let name = file.name()?;
    let target = file.target(&dir)?;
    let available = blocking(move || dir.activate().and_then(|()| dir.status())).await??.avail;
    let checksum = file.checksum();
    let download = Download { url: from.url, target, checksum, available };
    let root = app.root().clone();
    let work = async move |log: TaskLog, cancel: CancellationToken| {
        if from.compression.is_some() {
            if content == ContentType::Iso {
                return Err("no decompression method found".to_owned());
            }
            return Err(format!("decompression not supported for {content}"));
        }
        let client = fetch::client(&root, from.verify_certificates != 0);
        download.run(client, &log, &cancel).await.map_err(|err| err.to_string())
    };
    let upid = app.tasks().spawn("download", &name, caller.auth(), work)?;
    Ok(Data::new(upid.to_string()))
}
