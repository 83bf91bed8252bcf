//! Replication: storages of ours take no part in it, so there are no jobs.

use axum::extract::State;
use openapi::answer::ErrorBody;
use pve_integration::layout::Root;

use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::LocalNode;

/// The replication jobs.
#[utoipa::path(
    get, path = "/cluster/replication", tag = "cluster",
    responses(
        (status = 200, description = "Always empty", body = Data<Vec<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn cluster_replication(
    State(app): State<App>,
) -> Result<Data<Vec<String>>, ApiError> {
    without_jobs(app.root())
}

/// The replication jobs of this node's guests, and how they do.
#[utoipa::path(
    get, path = "/nodes/{node}/replication", tag = "nodes",
    responses(
        (status = 200, description = "Always empty", body = Data<Vec<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn node_replication(
    State(app): State<App>,
    _: LocalNode,
) -> Result<Data<Vec<String>>, ApiError> {
    without_jobs(app.root())
}

/// To say that there are none would be wrong where an administrator's file has some.
fn without_jobs(root: &Root) -> Result<Data<Vec<String>>, ApiError> {
    let path = root.etc_pve().join("replication.cfg");
    let text = fs_err::read_to_string(path).unwrap_or_default();
    if text.lines().any(|line| line.starts_with("local:")) {
        let message = "replication is not supported here, and replication.cfg has jobs";
        return Err(ApiError::die(message));
    }
    Ok(Data::new(Vec::new()))
}
