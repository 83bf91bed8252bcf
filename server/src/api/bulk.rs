//! What is done to many guests at once: the node's `startall` and its like, and the cluster's bulk
//! actions, which differ in names, words and defaults.

use std::collections::BTreeSet;

use axum::extract::State;
use openapi::answer::ErrorBody;
use openapi::{Privilege, Upid, Vmid};
use pve_integration::access::split_list;
use serde::Deserialize;

use super::{Name, names};
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};
use crate::guests::{Batch, Ending};

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(start_all))
        .routes(routes!(stop_all))
        .routes(routes!(suspend_all))
        .routes(routes!(migrate_all))
        .routes(routes!(bulk_index))
        .routes(routes!(bulk_guest_index))
        .routes(routes!(bulk_start))
        .routes(routes!(bulk_shutdown))
        .routes(routes!(bulk_suspend))
        .routes(routes!(bulk_migrate))
}

/// `vms` is a `-list` for the node and an array for the cluster.
#[derive(Deserialize)]
#[serde(untagged)]
enum Vms {
    Text(String),
    Array(Vec<Vmid>),
}

#[derive(Deserialize)]
struct BatchParams {
    vms: Option<Vms>,
    #[serde(rename = "max-workers")]
    max_workers: Option<usize>,
    /// Its old name.
    maxworkers: Option<usize>,
}

impl BatchParams {
    fn batch(&self) -> Result<Batch, ApiError> {
        let vmids: BTreeSet<Vmid> = match &self.vms {
            None => BTreeSet::new(),
            Some(Vms::Array(vmids)) => vmids.iter().copied().collect(),
            Some(Vms::Text(list)) => {
                let vmids: Result<_, _> = split_list(list).map(str::parse).collect();
                vmids.map_err(|err| ApiError::param("vms", err))?
            }
        };
        let vmids = if vmids.is_empty() { None } else { Some(vmids) };
        Ok(Batch { vmids, workers: self.max_workers.or(self.maxworkers) })
    }
}

fn require_each(
    caller: &Caller,
    vmids: &BTreeSet<Vmid>,
    privilege: Privilege,
) -> Result<(), ApiError> {
    vmids.iter().try_for_each(|vmid| caller.require(privilege, &format!("/vms/{vmid}")))
}

/// On all guests, or on each that is named.
fn require(
    caller: &Caller,
    batch: &Batch,
    privileges: &[Privilege],
    refusal: &str,
) -> Result<(), ApiError> {
    if privileges.iter().all(|privilege| caller.may(*privilege, "/")) {
        return Ok(());
    }
    match &batch.vmids {
        Some(vmids) => require_each(caller, vmids, privileges[0]),
        None => Err(ApiError::forbidden(refusal)),
    }
}

/// The bulk actions ask for the named ones first.
fn require_bulk(caller: &Caller, batch: &Batch, privilege: Privilege) -> Result<(), ApiError> {
    match &batch.vmids {
        Some(vmids) => require_each(caller, vmids, privilege),
        None => caller.require(privilege, "/"),
    }
}

#[derive(Deserialize)]
struct StartAllParams {
    force: Option<u8>,
}

/// Start the containers that start with the node.
#[utoipa::path(
    post, path = "/nodes/{node}/startall", tag = "nodes",
    responses(
        (status = 200, description = "The task that starts them", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn start_all(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
    Params(batch): Params<BatchParams>,
    Params(params): Params<StartAllParams>,
) -> Result<Data<Upid>, ApiError> {
    let batch = batch.batch()?;
    require(&caller, &batch, &[Privilege::VmPowerMgmt], "/, VM.PowerMgmt")?;
    Ok(Data::new(app.guests().start_all(batch, params.force == Some(1), caller.auth())?))
}

#[derive(Deserialize)]
struct EndingParams {
    timeout: Option<i64>,
    #[serde(rename = "force-stop")]
    force_stop: Option<u8>,
}

impl EndingParams {
    fn ending(&self) -> Ending {
        let timeout = self.timeout.map(|timeout| u64::try_from(timeout).unwrap_or_default());
        Ending { timeout, force: self.force_stop != Some(0) }
    }
}

/// Shut all containers down.
#[utoipa::path(
    post, path = "/nodes/{node}/stopall", tag = "nodes",
    responses(
        (status = 200, description = "The task that stops them", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn stop_all(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
    Params(batch): Params<BatchParams>,
    Params(params): Params<EndingParams>,
) -> Result<Data<Upid>, ApiError> {
    let batch = batch.batch()?;
    require(&caller, &batch, &[Privilege::VmPowerMgmt], "/, VM.PowerMgmt")?;
    Ok(Data::new(app.guests().stop_all(batch, params.ending(), caller.auth())?))
}

/// Suspend virtual machines; containers are named and left alone.
#[utoipa::path(
    post, path = "/nodes/{node}/suspendall", tag = "nodes",
    responses(
        (status = 200, description = "The task", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn suspend_all(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
    Params(batch): Params<BatchParams>,
) -> Result<Data<Upid>, ApiError> {
    let batch = batch.batch()?;
    let privileges = [Privilege::VmPowerMgmt, Privilege::VmConfigDisk];
    require(&caller, &batch, &privileges, "/, VM.PowerMgmt && VM.Config.Disk")?;
    Ok(Data::new(app.guests().suspend_all("suspendall", batch, caller.auth())?))
}

#[derive(Deserialize)]
struct Target {
    target: String,
}

/// Move all guests to another node, of which there is none.
#[utoipa::path(
    post, path = "/nodes/{node}/migrateall", tag = "nodes",
    responses(
        (status = 200, description = "The task that moves them", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn migrate_all(
    caller: Caller,
    node: LocalNode,
    Params(batch): Params<BatchParams>,
    Params(params): Params<Target>,
) -> Result<Data<Upid>, ApiError> {
    let batch = batch.batch()?;
    require(&caller, &batch, &[Privilege::VmMigrate], "/, VM.Migrate")?;
    if params.target == node.name().as_str() {
        return Err(ApiError::param("target", "target is local node."));
    }
    Err(ApiError::die(format_args!("no such cluster node '{}'", params.target)))
}

/// What can be done to many at once.
#[utoipa::path(
    get, path = "/cluster/bulk-action", tag = "cluster",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Name>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn bulk_index() -> Data<Vec<Name>> {
    Data::new(names(&["guest"]))
}

/// What can be done to many guests.
#[utoipa::path(
    get, path = "/cluster/bulk-action/guest", tag = "cluster",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Name>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn bulk_guest_index() -> Data<Vec<Name>> {
    Data::new(names(&["start", "shutdown", "migrate", "suspend"]))
}

/// Start many containers.
#[utoipa::path(
    post, path = "/cluster/bulk-action/guest/start", tag = "cluster",
    responses(
        (status = 200, description = "The task that starts them", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn bulk_start(
    State(app): State<App>,
    caller: Caller,
    Params(batch): Params<BatchParams>,
) -> Result<Data<Upid>, ApiError> {
    let batch = batch.batch()?;
    require_bulk(&caller, &batch, Privilege::VmPowerMgmt)?;
    Ok(Data::new(app.guests().bulk_start(batch, caller.auth())?))
}

/// Shut many containers down.
#[utoipa::path(
    post, path = "/cluster/bulk-action/guest/shutdown", tag = "cluster",
    responses(
        (status = 200, description = "The task that stops them", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn bulk_shutdown(
    State(app): State<App>,
    caller: Caller,
    Params(batch): Params<BatchParams>,
    Params(params): Params<EndingParams>,
) -> Result<Data<Upid>, ApiError> {
    let batch = batch.batch()?;
    require_bulk(&caller, &batch, Privilege::VmPowerMgmt)?;
    Ok(Data::new(app.guests().bulk_shutdown(batch, params.ending(), caller.auth())?))
}

#[derive(Deserialize)]
struct SuspendParams {
    #[serde(rename = "to-disk")]
    to_disk: Option<u8>,
    statestorage: Option<String>,
}

/// Suspend virtual machines; containers are named and left alone.
#[utoipa::path(
    post, path = "/cluster/bulk-action/guest/suspend", tag = "cluster",
    responses(
        (status = 200, description = "The task", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn bulk_suspend(
    State(app): State<App>,
    caller: Caller,
    Params(batch): Params<BatchParams>,
    Params(params): Params<SuspendParams>,
) -> Result<Data<Upid>, ApiError> {
    let batch = batch.batch()?;
    require_bulk(&caller, &batch, Privilege::VmPowerMgmt)?;
    if params.to_disk == Some(1) {
        require_bulk(&caller, &batch, Privilege::VmConfigDisk)?;
        if let Some(storage) = &params.statestorage {
            caller.require(Privilege::DatastoreAllocateSpace, &format!("/storage/{storage}"))?;
        }
    }
    Ok(Data::new(app.guests().suspend_all("bulk-suspend", batch, caller.auth())?))
}

/// Move many containers to the node that they are on, or to one that is not there.
#[utoipa::path(
    post, path = "/cluster/bulk-action/guest/migrate", tag = "cluster",
    responses(
        (status = 200, description = "The task", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn bulk_migrate(
    State(app): State<App>,
    caller: Caller,
    Params(batch): Params<BatchParams>,
    Params(params): Params<Target>,
) -> Result<Data<Upid>, ApiError> {
    let batch = batch.batch()?;
    require_bulk(&caller, &batch, Privilege::VmMigrate)?;
    Ok(Data::new(app.guests().bulk_migrate(batch, params.target, caller.auth())?))
}
