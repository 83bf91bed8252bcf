//! `/nodes/{node}/lxc/{vmid}/snapshot`, and `feature`, which tells whether there can be any.

use axum::extract::State;
use openapi::Upid;
use openapi::answer::{ConfigAnswer, ErrorBody, FeatureAnswer, SnapshotCommand, SnapshotRow};
use serde::Deserialize;

use super::is_set;
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, GuestPath, Params};
use crate::guests::Feature;

pub(super) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(snapshots, create_snapshot))
        .routes(routes!(snapshot_commands, delete_snapshot))
        .routes(routes!(snapshot_config, describe_snapshot))
        .routes(routes!(rollback))
        .routes(routes!(feature))
}

#[derive(Deserialize)]
struct Named {
    snapname: String,
}

/// The snapshots, and last the state now.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/snapshot", tag = "lxc",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<SnapshotRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn snapshots(
    State(app): State<App>,
    guest: GuestPath,
) -> Result<Data<Vec<SnapshotRow>>, ApiError> {
    Ok(Data::new(app.guests().snapshots(guest.vmid).await?))
}

#[derive(Deserialize)]
struct CreateParams {
    snapname: String,
    description: Option<String>,
}

/// Take a snapshot.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/snapshot", tag = "lxc",
    responses(
        (status = 200, description = "The task that takes it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn create_snapshot(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<CreateParams>,
) -> Result<Data<Upid>, ApiError> {
    let CreateParams { snapname, description } = params;
    Ok(Data::new(app.guests().snapshot(guest.vmid, snapname, description, caller.auth())?))
}

/// What is below a snapshot.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}", tag = "lxc",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<SnapshotCommand>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn snapshot_commands(_: GuestPath) -> Result<Data<Vec<SnapshotCommand>>, ApiError> {
    let parts = ["rollback", "config"].map(|cmd| SnapshotCommand { cmd: cmd.to_owned() });
    Ok(Data::new(parts.into()))
}

#[derive(Deserialize)]
struct DeleteParams {
    snapname: String,
    force: Option<u8>,
}

/// Delete a snapshot.
#[utoipa::path(
    delete, path = "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}", tag = "lxc",
    responses(
        (status = 200, description = "The task that deletes it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn delete_snapshot(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<DeleteParams>,
) -> Result<Data<Upid>, ApiError> {
    let (name, force) = (params.snapname, is_set(params.force));
    Ok(Data::new(app.guests().delete_snapshot(guest.vmid, name, force, caller.auth())?))
}

/// The configuration that a snapshot keeps.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config", tag = "lxc",
    responses(
        (status = 200, description = "Values by key", body = Data<ConfigAnswer>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn snapshot_config(
    State(app): State<App>,
    guest: GuestPath,
    Params(params): Params<Named>,
) -> Result<Data<ConfigAnswer>, ApiError> {
    Ok(Data::new(app.guests().snapshot_config(guest.vmid, params.snapname).await?))
}

#[derive(Deserialize)]
struct DescribeParams {
    snapname: String,
    description: Option<String>,
}

/// Change a snapshot's description.
#[utoipa::path(
    put, path = "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config", tag = "lxc",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn describe_snapshot(
    State(app): State<App>,
    guest: GuestPath,
    Params(params): Params<DescribeParams>,
) -> Result<Data<Option<String>>, ApiError> {
    if let Some(text) = params.description {
        app.guests().describe_snapshot(guest.vmid, params.snapname, text).await?;
    }
    Ok(Data::new(None))
}

#[derive(Deserialize)]
struct RollbackParams {
    snapname: String,
    start: Option<u8>,
}

/// Go back to a snapshot.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback", tag = "lxc",
    responses(
        (status = 200, description = "The task that does it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn rollback(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<RollbackParams>,
) -> Result<Data<Upid>, ApiError> {
    let (name, start) = (params.snapname, is_set(params.start));
    Ok(Data::new(app.guests().rollback(guest.vmid, name, start, caller.auth())?))
}

#[derive(Deserialize)]
struct FeatureParams {
    feature: String,
    snapname: Option<String>,
}

/// Whether all disks can be copied, cloned or kept as a snapshot.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/feature", tag = "lxc",
    responses(
        (status = 200, description = "1 if they can", body = Data<FeatureAnswer>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn feature(
    State(app): State<App>,
    guest: GuestPath,
    Params(params): Params<FeatureParams>,
) -> Result<Data<FeatureAnswer>, ApiError> {
    let feature = match params.feature.as_str() {
        "snapshot" => Feature::Snapshot,
        "clone" => Feature::Clone,
        _ => Feature::Copy,
    };
    let snapshot = params.snapname.filter(|name| !name.is_empty());
    let has = app.guests().has_feature(guest.vmid, feature, snapshot).await?;
    Ok(Data::new(FeatureAnswer { has_feature: u8::from(has) }))
}
