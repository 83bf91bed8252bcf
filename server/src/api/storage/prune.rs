//! `prunebackups`: which backups of a storage the rules keep, and the end of the others.

use axum::extract::State;
use openapi::answer::{ErrorBody, PruneRow};
use openapi::{Privilege, StorageId, Upid, Vmid};
use pve_integration::storage::{Backup, ContentType, DirStorage, StorageConfig};
use pve_integration::vzdump::Retention;
use serde::Deserialize;

use super::path;
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};

#[derive(Deserialize)]
pub(super) struct Pruning {
    storage: StorageId,
    #[serde(rename = "prune-backups")]
    keep: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    vmid: Option<Vmid>,
}

impl Pruning {
    /// The storage, and the rules: those of the request or its own.
    fn open(&self, app: &App, node: &LocalNode) -> Result<(DirStorage, Retention), ApiError> {
        let config = StorageConfig::read(app.root())?;
        let section = config.get(&self.storage)?;
        let id = &self.storage;
        if !section.content().contains(&ContentType::Backup) {
            return Err(ApiError::die(format_args!("storage '{id}' does not support backups")));
        }
        let keep = self.keep.as_deref().or(section.get("prune-backups")).ok_or_else(|| {
            ApiError::die(format_args!("no prune-backups options configured for storage '{id}'"))
        })?;
        let keep = Retention::parse(keep).map_err(ApiError::die)?;
        Ok((config.dir(app.root(), node.name(), id)?, keep))
    }
}

fn row(backup: &Backup) -> PruneRow {
    PruneRow {
        volid: backup.volid.clone(),
        ctime: backup.ctime,
        mark: backup.mark.as_str().to_owned(),
        kind: backup.kind.as_str().to_owned(),
        vmid: backup.vmid,
    }
}

/// What would become of each backup.
#[utoipa::path(
    get, path = "/nodes/{node}/storage/{storage}/prunebackups", tag = "storage",
    responses(
        (status = 200, description = "One row a backup", body = Data<Vec<PruneRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn marked_backups(
    State(app): State<App>,
    node: LocalNode,
    Params(wanted): Params<Pruning>,
) -> Result<Data<Vec<PruneRow>>, ApiError> {
    let (dir, keep) = wanted.open(&app, &node)?;
    let backups =
        blocking(move || dir.marked_backups(&keep, wanted.vmid, wanted.kind.as_deref())).await?;
    Ok(Data::new(backups.iter().map(row).collect()))
}

/// Remove what the rules do not keep.
#[utoipa::path(
    delete, path = "/nodes/{node}/storage/{storage}/prunebackups", tag = "storage",
    responses(
        (status = 200, description = "The task that removes them", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn prune_backups(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(wanted): Params<Pruning>,
) -> Result<Data<Upid>, ApiError> {
    let storage = path(&wanted.storage);
    let id = match wanted.vmid {
        Some(vmid) => {
            caller.require(Privilege::DatastoreAllocateSpace, &storage)?;
            caller.require(Privilege::VmBackup, &format!("/vms/{vmid}"))?;
            format!("{vmid}@{}", wanted.storage)
        }
        None => {
            caller.require(Privilege::DatastoreAllocate, &storage)?;
            wanted.storage.to_string()
        }
    };
    let opened = wanted.open(&app, &node);
    let upid = app.tasks().spawn("prunebackups", &id, caller.auth(), async move |log, _| {
        // The task's own thread. What is wrong with the storage is the task's error, as in PVE.
        let (dir, keep) = opened.map_err(|err| err.message().to_owned())?;
        let backups = dir.marked_backups(&keep, wanted.vmid, wanted.kind.as_deref());
        let all = dir.prune(&backups, |volid, err| match err {
            None => log.line(format!("removing backup '{volid}'")),
            Some(err) => log.line(format!("error when removing backup '{volid}' - {err}")),
        });
        if all { Ok(()) } else { Err("error pruning backups - check log".to_owned()) }
    })?;
    Ok(Data::new(upid))
}
