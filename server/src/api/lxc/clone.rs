//! `POST /nodes/{node}/lxc/{vmid}/clone`.

use axum::extract::State;
use openapi::answer::ErrorBody;
use openapi::{Privilege, StorageId, Upid, Vmid};
use serde::Deserialize;

use super::bandwidth::Limited;
use super::create::require_pool;
use super::datacenter;
use super::migrate::no_such_node;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, GuestPath, Params};
use crate::guests::{CloneRequest, bridge_path};

#[derive(Deserialize)]
pub(super) struct CloneParams {
    newid: Vmid,
    snapname: Option<String>,
    storage: Option<StorageId>,
    full: Option<u8>,
    hostname: Option<String>,
    description: Option<String>,
    pool: Option<String>,
    target: Option<String>,
    bwlimit: Option<f64>,
}

/// Copy a container.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/clone", tag = "lxc",
    responses(
        (status = 200, description = "The task that copies it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn clone(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<CloneParams>,
) -> Result<Data<Upid>, ApiError> {
    require_pool(&caller, params.pool.as_deref())?;
    if let Some(target) = &params.target
        && target != app.node().as_str()
        && target != "localhost"
    {
        return Err(no_such_node(target));
    }
    if let Some(storage) = &params.storage {
        app.guests().require_storage(guest.vmid, storage.clone()).await?;
    }
    let request = CloneRequest {
        source: guest.vmid,
        target: params.newid,
        snapshot: params.snapname.filter(|name| !name.is_empty()),
        storage: params.storage,
        full: params.full.map(|full| full == 1),
        hostname: params.hostname,
        description: params.description,
        pool: params.pool,
    };
    let mut plan = app.guests().plan_clone(request).await?;
    for storage in plan.storages() {
        caller.require(Privilege::DatastoreAllocateSpace, &format!("/storage/{storage}"))?;
    }
    for path in plan.nets().into_iter().filter_map(bridge_path) {
        caller.require(Privilege::SdnUse, &path)?;
    }
    let (storages, centre) = (app.storages()?, datacenter::read(&app));
    let limit = Limited { caller: &caller, storages: &storages, datacenter: &centre };
    plan.limit_by(params.bwlimit, |used| limit.of("clone", used, params.bwlimit));
    Ok(Data::new(app.guests().clone_guest(plan, caller.auth()).await?))
}
