//! `PUT /nodes/{node}/lxc/{vmid}/resize`.

use axum::extract::State;
use openapi::answer::ErrorBody;
use openapi::{Privilege, Upid};
use serde::Deserialize;

use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, GuestPath, Params};
use crate::guests::{Resize, Size};

#[derive(Deserialize)]
pub(super) struct ResizeParams {
    disk: String,
    size: String,
    digest: Option<String>,
}

/// Make a disk larger.
#[utoipa::path(
    put, path = "/nodes/{node}/lxc/{vmid}/resize", tag = "lxc",
    responses(
        (status = 200, description = "The task that does it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn resize(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<ResizeParams>,
) -> Result<Data<Upid>, ApiError> {
    let size = Size::parse(&params.size).ok_or_else(|| ApiError::die("invalid size string"))?;
    let storage = app.guests().storage_of(guest.vmid, params.disk.clone()).await?;
    // PVE runs its check of config keys over the parameters, and none of them is a disk's key.
    caller.require(Privilege::VmConfigOptions, &format!("/vms/{}", guest.vmid))?;
    caller.require(Privilege::DatastoreAllocateSpace, &format!("/storage/{storage}"))?;
    let request = Resize { disk: params.disk, size, digest: params.digest };
    Ok(Data::new(app.guests().resize(guest.vmid, request, caller.auth()).await?))
}
