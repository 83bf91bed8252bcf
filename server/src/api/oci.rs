//! `/nodes/{node}/oci`: what PVE's API lacks.

mod limits;

use axum::extract::State;
use openapi::answer::{
    ErrorBody, OciBundle, OciContainer, OciContainerRow, OciRuntimes, TaskLogLine,
};
use openapi::check::config_value;
use openapi::{Privilege, Upid};
use pve_integration::bundle::reverse;
use pve_integration::host::HostFacts;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::cluster::free_vmid;
use super::{Subdir, blocking, lxc, subdirs};
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, Caller, GuestPath, LocalNode, Params};
use crate::guests::{Wanted, as_text};

/// Lines of a log, unless the caller says how many.
const DEFAULT_LIMIT: usize = 500;

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(oci_index))
        .routes(routes!(runtimes))
        .routes(routes!(container, set_runtime))
        .routes(routes!(logs))
        .routes(routes!(oci_containers, create_from_bundle))
        .routes(routes!(bundle))
        .routes(routes!(limits::limits, limits::set_limits))
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

/// The containers that the caller may audit, and which runtime each has.
#[utoipa::path(
    get, path = "/nodes/{node}/oci/containers", tag = "oci",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<OciContainerRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn oci_containers(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
) -> Result<Data<Vec<OciContainerRow>>, ApiError> {
    let mut rows = app.guests().oci_rows().await?;
    let below = caller.below("/vms", &[Privilege::VmAudit]);
    rows.retain(|row| below.may_guest(row.vmid));
    Ok(Data::new(rows))
}

/// Make a container from an OCI bundle and a template. What the request says of a setting counts more
/// than what the bundle does; what neither PVE's config nor the OCI file can say is a warning of the task.
#[utoipa::path(
    post, path = "/nodes/{node}/oci/containers", tag = "oci",
    responses(
        (status = 200, description = "The task that creates it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn create_from_bundle(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
    AllParams(params): AllParams,
) -> Result<Data<Upid>, ApiError> {
    let mut params = Map::clone(&params);
    let text = params.remove("bundle").map(|text| as_text(&text)).unwrap_or_default();
    let reversed = blocking(move || {
        let facts = HostFacts::read().map_err(ApiError::die)?;
        reverse(&text, &facts).map_err(|err| ApiError::param("bundle", err))
    });
    let reversed = reversed.await??;
    for (key, text) in &reversed.keys {
        config_value(key, text).map_err(|err| ApiError::param("bundle", err))?;
        // As the check of a request leaves them.
        let number = text.parse::<u64>().ok().filter(|number| number.to_string() == *text);
        params
            .entry(key)
            .or_insert_with(|| number.map_or_else(|| text.as_str().into(), Value::from));
    }
    if !params.contains_key("vmid") {
        let free = free_vmid(&app, &app.guests().vmids().await?)?;
        params.insert("vmid".to_owned(), free.into());
    }
    lxc::make(&app, caller, &params, Some(reversed)).await
}

#[derive(Deserialize)]
struct BundleParams {
    explain: Option<u8>,
    limits: Option<u8>,
}

/// The config.json that a start of this container would use, or which of its keys put what there.
/// The environment is for those who may see it in the container's settings.
#[utoipa::path(
    get, path = "/nodes/{node}/oci/containers/{vmid}/bundle", tag = "oci",
    responses(
        (status = 200, description = "The config.json, or with `explain` a list", body = Data<OciBundle>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn bundle(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<BundleParams>,
) -> Result<Data<OciBundle>, ApiError> {
    let env = caller.may(Privilege::VmConfigOptions, &format!("/vms/{}", guest.vmid));
    let wanted =
        Wanted { explain: params.explain == Some(1), limits: params.limits == Some(1), env };
    Ok(Data::new(app.guests().bundle(guest.vmid, wanted).await?))
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
