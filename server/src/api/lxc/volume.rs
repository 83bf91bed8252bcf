//! `POST /nodes/{node}/lxc/{vmid}/move_volume`.

use axum::extract::State;
use openapi::answer::ErrorBody;
use openapi::{Privilege, StorageId, Upid, Vmid};
use serde::Deserialize;

use super::is_set;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, GuestPath, Params};
use crate::guests::{GuestError, Move};

#[derive(Deserialize)]
pub(super) struct MoveParams {
    volume: String,
    storage: Option<StorageId>,
    #[serde(rename = "target-vmid")]
    target: Option<Vmid>,
    delete: Option<u8>,
    digest: Option<String>,
}

/// Move a disk to another storage.
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
        (None, Some(_)) => {
            let text = "moving a volume to another container is not supported yet";
            return Err(ApiError::die(text));
        }
        (None, None) => {
            let text = "both 'storage' and 'target-vmid' missing, either needs to be set";
            let both = ["storage", "target-vmid"].map(|name| (name.to_owned(), text.to_owned()));
            return Err(GuestError::Params(both.into()).into());
        }
    };
    caller.require(Privilege::DatastoreAllocateSpace, &format!("/storage/{storage}"))?;
    let request =
        Move { disk: params.volume, storage, delete: is_set(params.delete), digest: params.digest };
    Ok(Data::new(app.guests().move_volume(guest.vmid, request, caller.auth()).await?))
}
