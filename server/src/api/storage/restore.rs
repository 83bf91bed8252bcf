//! What PVE asks of some storages and not of a `dir`: an identity, metadata of machines to import,
//! files within backups. The answers are those of pve-storage's `API2/Storage/Status.pm` and
//! `FileRestore.pm` for a `dir` storage.

use axum::extract::State;
use openapi::answer::ErrorBody;
use openapi::{StorageId, VolumeId};
use pve_integration::storage::{ContentType, StorageConfig, VolumeName};
use serde::Deserialize;

use super::volume::require_access;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};

#[derive(Deserialize)]
pub(super) struct Which {
    storage: StorageId,
}

/// What tells this storage from all others; a directory has no such thing.
#[utoipa::path(
    get, path = "/nodes/{node}/storage/{storage}/identity", tag = "storage",
    responses((status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn identity(
    State(app): State<App>,
    node: LocalNode,
    Params(which): Params<Which>,
) -> Result<Data<Option<String>>, ApiError> {
    drop(StorageConfig::read(app.root())?.dir(app.root(), node.name(), &which.storage)?);
    Err(ApiError::die("get_identity not implemented for this plugin"))
}

#[derive(Deserialize)]
pub(super) struct Volume {
    storage: StorageId,
    volume: String,
}

/// What an importable machine would need. The daemon makes no machines, and reads no appliance.
#[utoipa::path(
    get, path = "/nodes/{node}/storage/{storage}/import-metadata", tag = "storage",
    responses((status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn import_metadata(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
    Params(wanted): Params<Volume>,
) -> Result<Data<Option<String>>, ApiError> {
    let id: VolumeId =
        format!("{}:{}", wanted.storage, wanted.volume).parse().map_err(ApiError::die)?;
    StorageConfig::read(app.root())?.get(&wanted.storage)?;
    let name: VolumeName = id.name().parse()?;
    require_access(&caller, &id)?;
    let content = name.content();
    if content != ContentType::Import {
        return Err(ApiError::die(format_args!("invalid content type '{content}'")));
    }
    if !wanted.volume.ends_with(".ova") && !wanted.volume.ends_with(".ovf") {
        return Err(ApiError::die("invalid format"));
    }
    Err(ApiError::die("only a PVE node imports machines, and this daemon has none"))
}

/// The names of files within a backup, which only backup servers can tell.
#[utoipa::path(
    get, path = "/nodes/{node}/storage/{storage}/file-restore/list", tag = "storage",
    responses((status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
    Params(wanted): Params<Volume>,
) -> Result<Data<Option<String>>, ApiError> {
    Err(only_backup_servers(&app, &caller, &wanted))
}

/// A file within a backup, which only backup servers can give.
#[utoipa::path(
    get, path = "/nodes/{node}/storage/{storage}/file-restore/download", tag = "storage",
    responses((status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn download(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
    Params(wanted): Params<Volume>,
) -> Result<Data<Option<String>>, ApiError> {
    Err(only_backup_servers(&app, &caller, &wanted))
}

fn only_backup_servers(app: &App, caller: &Caller, wanted: &Volume) -> ApiError {
    match check_backup(app, caller, wanted) {
        Ok(()) => ApiError::param("storage", "Only PBS storages supported for file-restore."),
        Err(err) => err,
    }
}

fn check_backup(app: &App, caller: &Caller, wanted: &Volume) -> Result<(), ApiError> {
    let Volume { storage, volume } = wanted;
    let id = match volume.parse::<VolumeId>() {
        Ok(id) if id.storage() != storage => {
            let message = format_args!("storage ID mismatch ({} != {storage}).", id.storage());
            return Err(ApiError::param("volume", message));
        }
        Ok(id) => id,
        Err(_) => {
            let backup = volume.strip_prefix("backup/").unwrap_or(volume);
            format!("{storage}:backup/{backup}").parse().map_err(ApiError::die)?
        }
    };
    StorageConfig::read(app.root())?.get(storage)?;
    let name: VolumeName = id.name().parse()?;
    if name.content() != ContentType::Backup {
        return Err(ApiError::die(format_args!(
            "unable to use volume {id} - content type needs to be 'backup'"
        )));
    }
    require_access(caller, &id)
}
