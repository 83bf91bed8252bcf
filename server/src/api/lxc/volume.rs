//! `POST /nodes/{node}/lxc/{vmid}/move_volume`.

use axum::extract::State;
use openapi::answer::ErrorBody;
use openapi::{Privilege, StorageId, Upid, Vmid};
use serde::Deserialize;

use super::bandwidth::Limited;
use super::{datacenter, is_set};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, GuestPath, Params};
use crate::guests::{GuestError, Move, Reassign};

#[derive(Deserialize)]
pub(super) struct MoveParams {
    volume: String,
    storage: Option<StorageId>,
    #[serde(rename = "target-vmid")]
    target: Option<Vmid>,
    #[serde(rename = "target-volume")]
    target_volume: Option<String>,
    #[serde(rename = "target-digest")]
    target_digest: Option<String>,
    delete: Option<u8>,
    digest: Option<String>,
    bwlimit: Option<f64>,
}

/// Move a disk to another storage, or to another container.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/move_volume", tag = "lxc",
    responses(
        (status = 200, description = "The task that moves it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn move_volume(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<MoveParams>,
) -> Result<Data<Upid>, ApiError> {
    let storage = match (params.storage, params.target) {
        (Some(storage), None) => storage,
        (Some(_), Some(_)) => {
            return Err(ApiError::die("either set storage or target-vmid, but not both"));
        }
        (None, Some(target)) => {
            if !caller.is_root() {
                caller.require(Privilege::VmConfigDisk, &format!("/vms/{target}"))?;
            }
            let what = Reassign {
                vmid: guest.vmid,
                target_volume: params.target_volume.unwrap_or_else(|| params.volume.clone()),
                volume: params.volume,
                target,
                digest: params.digest,
                target_digest: params.target_digest,
            };
            let storage = app.guests().check_reassign(what.clone()).await?;
            let path = format!("/storage/{storage}");
            caller.require(Privilege::DatastoreAllocateSpace, &path)?;
            return Ok(Data::new(app.guests().reassign(what, caller.auth())?));
        }
        (None, None) => {
            let text = "both 'storage' and 'target-vmid' missing, either needs to be set";
            let both = ["storage", "target-vmid"].map(|name| (name.to_owned(), text.to_owned()));
            return Err(GuestError::Params(both.into()).into());
        }
    };
    caller.require(Privilege::DatastoreAllocateSpace, &format!("/storage/{storage}"))?;
    let source = app.guests().disk_storage(guest.vmid, &params.volume).await?;
    let used: Vec<_> = source.into_iter().chain([storage.clone()]).collect();
    let (storages, centre) = (app.storages()?, datacenter::read(&app));
    let limit = Limited { caller: &caller, storages: &storages, datacenter: &centre };
    let request = Move {
        disk: params.volume,
        storage,
        delete: is_set(params.delete),
        digest: params.digest,
        limit: limit.of("move", &used, params.bwlimit),
    };
    Ok(Data::new(app.guests().move_volume(guest.vmid, request, caller.auth()).await?))
}
