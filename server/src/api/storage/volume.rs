//! `content/VOLUME`: one volume, what is told about it, and its end.

use std::time::Duration;

use axum::extract::State;
use openapi::answer::{ErrorBody, VolumeInfo};
use openapi::{Privilege, StorageId, VolumeId};
use pve_integration::storage::{ContentType, DirStorage, StorageConfig, StorageError, VolumeName};
use serde::Deserialize;

use super::{SEE, path};
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};
use crate::tasks::TaskState;

#[derive(Deserialize)]
pub(super) struct VolumePath {
    storage: StorageId,
    volume: String,
}

impl VolumePath {
    /// Clients may leave out the storage's name, which the path has.
    fn id(&self) -> Result<VolumeId, ApiError> {
        let wrong = |message: String| ApiError::param("volume", message + "\n");
        if !self.volume.contains(':') {
            let text = format!("{}:{}", self.storage, self.volume);
            return text.parse().map_err(|err| wrong(format!("{err}")));
        }
        let id: VolumeId = self.volume.parse().map_err(|err| wrong(format!("{err}")))?;
        if *id.storage() != self.storage {
            let (theirs, ours) = (id.storage(), &self.storage);
            return Err(wrong(format!("storage ID mismatch ({theirs} != {ours})")));
        }
        Ok(id)
    }
}

fn dir(app: &App, node: &LocalNode, volume: &VolumeId) -> Result<DirStorage, StorageError> {
    StorageConfig::read(app.root())?.dir(app.root(), node.name(), volume.storage())
}

/// pve-storage's `check_volume_access`, for a caller with no guest in mind.
pub(crate) fn require_access(caller: &Caller, volume: &VolumeId) -> Result<(), ApiError> {
    let name: VolumeName = volume.name().parse()?;
    let storage = path(volume.storage());
    if caller.may(Privilege::DatastoreAllocate, &storage) {
        return Ok(());
    }
    let owner = name.owner().map(|vmid| format!("/vms/{vmid}"));
    match (name.content(), owner) {
        (ContentType::Iso | ContentType::Vztmpl | ContentType::Import, _) => {
            let swapped = [SEE[1], SEE[0]];
            caller.require_any(&swapped, &storage)
        }
        (ContentType::Backup, Some(owner)) => {
            caller.require(Privilege::DatastoreAllocateSpace, &storage)?;
            caller.require(Privilege::VmBackup, &owner)
        }
        (ContentType::Images | ContentType::Rootdir, Some(owner)) => {
            caller.require(Privilege::DatastoreAudit, &storage)?;
            caller.require(Privilege::VmConfigDisk, &owner)
        }
        (
            ContentType::Backup
            | ContentType::Images
            | ContentType::Rootdir
            | ContentType::Snippets,
            _,
        ) => Err(ApiError::die(format_args!("missing privileges to access {volume}"))),
    }
}

/// What is known of a volume.
#[utoipa::path(
    get, path = "/nodes/{node}/storage/{storage}/content/{volume}", tag = "storage",
    responses(
        (status = 200, description = "The volume", body = Data<VolumeInfo>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn volume_info(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(volume): Params<VolumePath>,
) -> Result<Data<VolumeInfo>, ApiError> {
    let id = volume.id()?;
    let dir = dir(&app, &node, &id)?;
    require_access(&caller, &id)?;
    let details = blocking(move || dir.details(&id)).await??;
    let (notes, protected) = details.backup.unzip();
    Ok(Data::new(VolumeInfo {
        path: details.path.display().to_string(),
        format: details.format.to_owned(),
        size: details.size,
        used: details.used,
        notes,
        protected: protected.map(u8::from),
    }))
}

#[derive(Deserialize)]
pub(super) struct Attributes {
    notes: Option<String>,
    protected: Option<u8>,
}

/// Write a backup's notes; protect it or no longer.
#[utoipa::path(
    put, path = "/nodes/{node}/storage/{storage}/content/{volume}", tag = "storage",
    responses(
        (status = 200, description = "Always null", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn update_volume(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(volume): Params<VolumePath>,
    Params(new): Params<Attributes>,
) -> Result<Data<Option<String>>, ApiError> {
    let id = volume.id()?;
    let dir = dir(&app, &node, &id)?;
    require_access(&caller, &id)?;
    let written = blocking(move || {
        if let Some(notes) = new.notes {
            dir.set_notes(&id, &notes)?;
        }
        match new.protected {
            Some(flag) => dir.set_protected(&id, flag != 0),
            None => Ok(()),
        }
    });
    written.await??;
    Ok(Data::new(None))
}

#[derive(Deserialize)]
pub(super) struct Patience {
    /// Seconds.
    delay: Option<u64>,
}

/// Remove a volume, template or backup.
#[utoipa::path(
    delete, path = "/nodes/{node}/storage/{storage}/content/{volume}", tag = "storage",
    responses(
        (status = 200, description = "The task, or null if it has ended", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn remove_volume(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(volume): Params<VolumePath>,
    Params(Patience { delay }): Params<Patience>,
) -> Result<Data<Option<String>>, ApiError> {
    let id = volume.id()?;
    let dir = dir(&app, &node, &id)?;
    let name: VolumeName = id.name().parse()?;
    let storage = path(id.storage());
    let owner = name.owner();
    match owner.filter(|_| name.content() == ContentType::Backup) {
        Some(owner) => {
            caller.require(Privilege::DatastoreAllocateSpace, &storage)?;
            caller.require(Privilege::VmBackup, &format!("/vms/{owner}"))?;
        }
        None => caller.require(Privilege::DatastoreAllocate, &storage)?,
    }
    let task_id = match owner {
        Some(owner) => format!("{owner}@{}", id.storage()),
        None => id.storage().to_string(),
    };
    let upid = app.tasks().spawn("imgdel", &task_id, caller.auth(), async move |log, _| {
        // The task's own thread.
        if !dir.remove(&id)? {
            let path = dir.path_of(&id)?.path;
            log.line(format!("disk image '{}' does not exist", path.display()));
        }
        log.line(format!("Removed volume '{id}'"));
        Ok::<(), StorageError>(())
    })?;
    let Some(delay) = delay else { return Ok(Data::new(Some(upid.to_string()))) };
    if !app.tasks().wait(&upid, Duration::from_secs(delay)).await {
        return Ok(Data::new(Some(upid.to_string())));
    }
    match app.tasks().status(&upid)? {
        TaskState::Running => Ok(Data::new(Some(upid.to_string()))),
        TaskState::Stopped(end) if end == "OK" || end.starts_with("WARNINGS: ") => {
            Ok(Data::new(None))
        }
        TaskState::Stopped(end) => Err(ApiError::die(end)),
    }
}
