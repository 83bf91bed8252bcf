//! `/nodes/{node}/lxc/{vmid}/migrate`, as a node answers that is alone.

use axum::extract::State;
use openapi::Upid;
use openapi::answer::{ErrorBody, GuestState, MigratePreconditions};
use serde::Deserialize;

use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{GuestPath, Params};

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
}

/// Move a container to another node, of which there is none.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/migrate", tag = "lxc",
    responses(
        (status = 200, description = "The task that moves it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn migrate(
    State(app): State<App>,
    _: GuestPath,
    Params(params): Params<MigrateParams>,
) -> Result<Data<Upid>, ApiError> {
    if params.target == app.node().as_str() {
        return Err(ApiError::param("target", "target is local node."));
    }
    Err(no_such_node(&params.target))
}

/// PVE's word for a node that is not in the cluster.
pub(super) fn no_such_node(node: &str) -> ApiError {
    ApiError::die(format_args!("no such cluster node '{node}'"))
}
