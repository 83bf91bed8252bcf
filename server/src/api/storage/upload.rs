//! `upload`: a received file becomes a template or an image.

use std::io::Seek as _;

use axum::Extension;
use axum::extract::State;
use openapi::answer::ErrorBody;
use pve_integration::storage::{DirStorage, StorageConfig};

use super::files::NewFile;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};
use crate::tasks::TaskLog;
use crate::upload::{Received, Upload};

/// Put a file of the client's on a storage. It is the part `filename` of a `multipart/form-data`
/// body, the last one.
#[utoipa::path(
    post, path = "/nodes/{node}/storage/{storage}/upload", tag = "storage",
    responses(
        (status = 200, description = "The task", body = Data<String>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn upload(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    upload: Option<Extension<Upload>>,
    Params(file): Params<NewFile>,
) -> Result<Data<String>, ApiError> {
    let dir = StorageConfig::read(app.root())?.dir(app.root(), node.name(), &file.storage)?;
    let received = upload.and_then(|Extension(upload)| upload.take());
    let received = received.ok_or_else(|| ApiError::die("missing temporary file name"))?;
    let (name, content) = (file.name()?, file.content()?);
    if !dir.content().contains(&content) {
        return Err(ApiError::die(format_args!(
            "storage '{}' does not support '{content}' content",
            dir.id()
        )));
    }
    let node = node.name().to_string();
    let work = async move |log: TaskLog, _| {
        log.line(format!("starting file import of: {name}"));
        log.line(format!("target node: {node}"));
        import(&file, &dir, received, &log)
    };
    let upid = app.tasks().spawn("imgcopy", "", caller.auth(), work)?;
    Ok(Data::new(upid.to_string()))
}

/// Blocks the task's own thread.
fn import(
    file: &NewFile,
    dir: &DirStorage,
    received: Received,
    log: &TaskLog,
) -> Result<(), String> {
    let target = file.target(dir).map_err(|err| err.message().to_owned())?;
    let Received { spool, size } = received;
    if let Some(checksum) = file.checksum() {
        log.line("calculating checksum...");
        spool.file().rewind().map_err(|err| format!("import failed: {err}"))?;
        checksum.verify(spool.file()).map_err(|err| err.to_string())?;
        log.line("OK, checksum verified");
    }
    log.line(format!("target file: {}", target.display()));
    log.line(format!("file size is: {size}"));
    spool.publish(&target).map_err(|err| format!("import failed: {err}"))?;
    log.line("finished file import successfully");
    Ok(())
}
