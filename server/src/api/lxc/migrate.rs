//! `/nodes/{node}/lxc/{vmid}/migrate`, as a node answers that is alone.

use axum::extract::State;
use openapi::answer::{ErrorBody, GuestState, MigratePreconditions};
use openapi::{NodeName, Privilege, StorageId, Upid};
use serde::Deserialize;

use super::bandwidth::Limited;
use super::datacenter;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, GuestPath, Params};

/// Where a container could go: nowhere.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/migrate", tag = "lxc",
    responses(
        (status = 200, description = "The nodes", body = Data<MigratePreconditions>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn migrate_preconditions(
    State(app): State<App>,
    guest: GuestPath,
) -> Result<Data<MigratePreconditions>, ApiError> {
    app.guests().changeable(guest.vmid, None).await?;
    let running = app.guests().status(guest.vmid).await?.row.status == GuestState::Running;
    Ok(Data::new(MigratePreconditions {
        running: u8::from(running),
        ..MigratePreconditions::default()
    }))
}

#[derive(Deserialize)]
pub(super) struct MigrateParams {
    target: String,
    online: Option<u8>,
    restart: Option<u8>,
    timeout: Option<u64>,
    bwlimit: Option<f64>,
    #[serde(rename = "target-storage")]
    target_storage: Option<String>,
}

/// Move a container to another node. There is none, unless this is a node of PVE's cluster and the
/// container PVE's.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/migrate", tag = "lxc",
    responses(
        (status = 200, description = "The task that moves it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn migrate(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<MigrateParams>,
) -> Result<Data<Upid>, ApiError> {
    if params.target == app.node().as_str() {
        return Err(ApiError::param("target", "target is local node."));
    }
    let there = params.target.parse::<NodeName>().ok();
    let there = there.filter(|node| app.root().node_dir(node).is_dir());
    let Some(there) = there else { return Err(no_such_node(&params.target)) };
    if !app.guests().is_pves(guest.vmid).await? {
        return Err(no_such_node(&params.target));
    }
    let targets = target_storages(params.target_storage.as_deref());
    for storage in &targets {
        caller.require(Privilege::DatastoreAllocateSpace, &format!("/storage/{storage}"))?;
    }
    let used: Vec<StorageId> = targets.iter().filter_map(|name| name.parse().ok()).collect();
    let limit = if params.bwlimit.is_some() {
        let (storages, rules) = (app.storages()?, datacenter::read(&app));
        let limit = Limited { caller: &caller, storages: &storages, datacenter: &rules };
        limit.of("migration", &used, params.bwlimit)
    } else {
        None
    };
    let options = [
        ("online", params.online.map(|flag| flag.to_string())),
        ("restart", params.restart.map(|flag| flag.to_string())),
        ("timeout", params.timeout.map(|seconds| seconds.to_string())),
        ("bwlimit", limit.map(|limit| limit.to_string())),
        ("target-storage", params.target_storage.clone()),
    ];
    let there = there.to_string();
    Ok(Data::new(app.guests().migrate_by_pct(guest.vmid, there, options, caller.auth())?))
}

/// Of `from:to` pairs, or one name for all; `1` leaves each where it is.
fn target_storages(mapping: Option<&str>) -> Vec<&str> {
    let pairs = mapping.unwrap_or_default().split(',').map(str::trim);
    let targets = pairs.map(|pair| pair.split_once(':').map_or(pair, |(_, to)| to));
    targets.filter(|storage| !matches!(*storage, "" | "1")).collect()
}

/// PVE's word for a node that is not in the cluster.
pub(super) fn no_such_node(node: &str) -> ApiError {
    ApiError::die(format_args!("no such cluster node '{node}'"))
}
