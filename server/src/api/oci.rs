//! `/nodes/{node}/oci`: what PVE's API lacks.

use axum::extract::State;
use openapi::answer::{ErrorBody, OciContainer, OciRuntimes, TaskLogLine};
use serde::Deserialize;

use super::{Subdir, subdirs};
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{GuestPath, LocalNode, Params};

/// Lines of a log, unless the caller says how many.
const DEFAULT_LIMIT: usize = 500;

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(oci_index))
        .routes(routes!(runtimes))
        .routes(routes!(container, set_runtime))
        .routes(routes!(logs))
}

/// What is below `oci`.
#[utoipa::path(
    get, path = "/nodes/{node}/oci", tag = "oci",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Subdir>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn oci_index(_: LocalNode) -> Data<Vec<Subdir>> {
    Data::new(subdirs(&["containers", "runtimes"]))
}

/// What can run containers on this host, or what is missing for it.
#[utoipa::path(
    get, path = "/nodes/{node}/oci/runtimes", tag = "oci",
    responses(
        (status = 200, description = "The runtimes", body = Data<OciRuntimes>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn runtimes(State(app): State<App>, _: LocalNode) -> Data<OciRuntimes> {
    Data::new(app.guests().runtimes().await)
}

/// A container as its runtime sees it, and how it ended the last time.
#[utoipa::path(
    get, path = "/nodes/{node}/oci/containers/{vmid}", tag = "oci",
    responses(
        (status = 200, description = "The container", body = Data<OciContainer>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn container(
    State(app): State<App>,
    guest: GuestPath,
) -> Result<Data<OciContainer>, ApiError> {
    Ok(Data::new(app.guests().inspect(guest.vmid).await?))
}

#[derive(Deserialize)]
struct UpdateParams {
    runtime: String,
}

/// Choose the runtime of a stopped container; `auto` leaves the choice to the rules.
#[utoipa::path(
    put, path = "/nodes/{node}/oci/containers/{vmid}", tag = "oci",
    responses(
        (status = 200, description = "Done", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn set_runtime(
    State(app): State<App>,
    guest: GuestPath,
    Params(params): Params<UpdateParams>,
) -> Result<Data<Option<String>>, ApiError> {
    // Of the words that the table lets through only one is no runtime.
    app.guests().set_runtime(guest.vmid, params.runtime.parse().ok()).await?;
    Ok(Data::new(None))
}

#[derive(Deserialize)]
struct LogParams {
    limit: Option<usize>,
}

/// The last lines of what a container said.
#[utoipa::path(
    get, path = "/nodes/{node}/oci/containers/{vmid}/logs", tag = "oci",
    responses(
        (status = 200, description = "Numbered lines", body = Data<Vec<TaskLogLine>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn logs(
    State(app): State<App>,
    guest: GuestPath,
    Params(params): Params<LogParams>,
) -> Result<Data<Vec<TaskLogLine>>, ApiError> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT);
    Ok(Data::new(app.guests().logs(guest.vmid, limit).await?))
}
