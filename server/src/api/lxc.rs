//! `/nodes/{node}/lxc`: containers.

mod bandwidth;
mod clone;
mod config;
mod console;
mod create;
mod datacenter;
mod firewall;
mod interfaces;
mod migrate;
mod resize;
mod rights;
mod snapshot;
mod status;
mod template;
mod volume;

pub(super) use create::make;

use axum::extract::State;
use openapi::Upid;
use openapi::answer::{ErrorBody, GuestRow};
use serde::Deserialize;

use super::{Subdir, subdirs};
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, GuestPath, LocalNode, Params};
use crate::guests::{Destroy, ListRow};

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(containers, create::create))
        .routes(routes!(container_index, destroy))
        .routes(routes!(config::config, config::update))
        .routes(routes!(config::pending))
        .merge(status::router())
        .routes(routes!(console::container_termproxy))
        .routes(routes!(console::container_vncproxy))
        .routes(routes!(console::container_vncwebsocket))
        .routes(routes!(console::container_spiceproxy))
        .routes(routes!(clone::clone))
        .merge(firewall::router())
        .routes(routes!(interfaces::interfaces))
        .routes(routes!(migrate::migrate_preconditions, migrate::migrate))
        .routes(routes!(resize::resize))
        .merge(snapshot::router())
        .routes(routes!(template::template))
        .routes(routes!(volume::move_volume))
}

/// A flag as the parameter check leaves it: 0 or 1.
fn is_set(flag: Option<u8>) -> bool {
    flag == Some(1)
}

/// The containers that the caller may audit.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc", tag = "lxc",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<GuestRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn containers(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
) -> Result<Data<Vec<ListRow>>, ApiError> {
    Ok(Data::new(app.guests().list(&caller).await?))
}

/// What is below a container.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}", tag = "lxc",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Subdir>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn container_index(
    State(app): State<App>,
    guest: GuestPath,
) -> Result<Data<Vec<Subdir>>, ApiError> {
    app.guests().entry(guest.vmid).await?;
    Ok(Data::new(subdirs(&[
        "config",
        "pending",
        "status",
        "vncproxy",
        "termproxy",
        "vncwebsocket",
        "spiceproxy",
        "migrate",
        "clone",
        "rrd",
        "rrddata",
        "firewall",
        "snapshot",
        "resize",
        "interfaces",
    ])))
}

#[derive(Deserialize)]
struct DestroyParams {
    force: Option<u8>,
    #[serde(rename = "destroy-unreferenced-disks")]
    unreferenced: Option<u8>,
    purge: Option<u8>,
}

/// Destroy a container and its volumes.
#[utoipa::path(
    delete, path = "/nodes/{node}/lxc/{vmid}", tag = "lxc",
    responses(
        (status = 200, description = "The task that destroys it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn destroy(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<DestroyParams>,
) -> Result<Data<Upid>, ApiError> {
    let how = Destroy {
        force: is_set(params.force),
        unreferenced: is_set(params.unreferenced),
        purge: is_set(params.purge),
    };
    Ok(Data::new(app.guests().destroy(guest.vmid, how, caller.auth()).await?))
}
