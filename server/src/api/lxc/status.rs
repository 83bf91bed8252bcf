//! `/nodes/{node}/lxc/{vmid}/status`: how a container does, and making it do otherwise.

use axum::extract::State;
use openapi::Upid;
use openapi::answer::{ErrorBody, GuestStatus};
use serde::Deserialize;

use super::is_set;
use crate::api::{Subdir, subdirs};
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, GuestPath, Params};
use crate::guests::{Start, Stop};

pub(super) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(status_index))
        .routes(routes!(current))
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(shutdown))
        .routes(routes!(reboot))
        .routes(routes!(suspend))
        .routes(routes!(resume))
}

fn skiplock(flag: Option<u8>, caller: &Caller) -> Result<bool, ApiError> {
    match (is_set(flag), caller.is_root()) {
        (true, false) => Err(ApiError::param("skiplock", "Only root may use this option.")),
        (skip, _) => Ok(skip),
    }
}

/// What is below `status`, as PVE lists it.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/status", tag = "lxc",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Subdir>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn status_index(
    State(app): State<App>,
    guest: GuestPath,
) -> Result<Data<Vec<Subdir>>, ApiError> {
    app.guests().entry(guest.vmid).await?;
    Ok(Data::new(subdirs(&["current", "start", "stop", "shutdown", "reboot", "migrate"])))
}

/// How a container does.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/status/current", tag = "lxc",
    responses(
        (status = 200, description = "Its figures", body = Data<GuestStatus>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn current(State(app): State<App>, guest: GuestPath) -> Result<Data<GuestStatus>, ApiError> {
    Ok(Data::new(app.guests().status(guest.vmid).await?))
}

#[derive(Deserialize)]
struct StartParams {
    skiplock: Option<u8>,
    debug: Option<u8>,
}

/// Start a container.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/status/start", tag = "lxc",
    responses(
        (status = 200, description = "The task that starts it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn start(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<StartParams>,
) -> Result<Data<Upid>, ApiError> {
    let skiplock = skiplock(params.skiplock, &caller)?;
    let how = Start { skiplock, debug: is_set(params.debug) };
    Ok(Data::new(app.guests().start(guest.vmid, how, caller.auth()).await?))
}

#[derive(Deserialize)]
struct StopParams {
    skiplock: Option<u8>,
    #[serde(rename = "overrule-shutdown")]
    overrule_shutdown: Option<u8>,
}

/// Kill a container.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/status/stop", tag = "lxc",
    responses(
        (status = 200, description = "The task that stops it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn stop(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<StopParams>,
) -> Result<Data<Upid>, ApiError> {
    let skiplock = skiplock(params.skiplock, &caller)?;
    let how = Stop { skiplock, overrule_shutdown: is_set(params.overrule_shutdown) };
    Ok(Data::new(app.guests().stop(guest.vmid, how, caller.auth()).await?))
}

#[derive(Deserialize)]
struct ShutdownParams {
    timeout: Option<u64>,
    #[serde(rename = "forceStop")]
    force_stop: Option<u8>,
}

/// Ask a container to end.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/status/shutdown", tag = "lxc",
    responses(
        (status = 200, description = "The task that waits for its end", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn shutdown(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<ShutdownParams>,
) -> Result<Data<Upid>, ApiError> {
    let force = is_set(params.force_stop);
    let upid = app.guests().shutdown(guest.vmid, params.timeout, force, caller.auth()).await?;
    Ok(Data::new(upid))
}

#[derive(Deserialize)]
struct RebootParams {
    timeout: Option<u64>,
}

/// Shut a container down and start it again, with what was pending.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/status/reboot", tag = "lxc",
    responses(
        (status = 200, description = "The task that does it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn reboot(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<RebootParams>,
) -> Result<Data<Upid>, ApiError> {
    Ok(Data::new(app.guests().reboot(guest.vmid, params.timeout, caller.auth()).await?))
}

/// Make a container stand still.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/status/suspend", tag = "lxc",
    responses(
        (status = 200, description = "The task that freezes it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn suspend(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
) -> Result<Data<Upid>, ApiError> {
    Ok(Data::new(app.guests().suspend(guest.vmid, caller.auth()).await?))
}

/// Let a container that stands still go on.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/status/resume", tag = "lxc",
    responses(
        (status = 200, description = "The task that thaws it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn resume(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
) -> Result<Data<Upid>, ApiError> {
    Ok(Data::new(app.guests().resume(guest.vmid, caller.auth()).await?))
}
