//! Consoles of a container.

use axum::extract::State;
use axum::response::Response;
use openapi::answer::{ConsolePort, ErrorBody, TerminalConsole, VncConsole};
use openapi::{Privilege, Vmid};

use crate::api::console::{self, ScreenParams, WebsocketParams};
use crate::app::App;
use crate::console::{Place, Upgrade};
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, GuestPath, Params};

fn place(vmid: Vmid) -> Place {
    let (path, id) = (format!("/vms/{vmid}"), vmid.to_string());
    Place { path, privilege: Privilege::VmConsole, kind: "vncproxy", id }
}

/// Open a console for a terminal.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/termproxy", tag = "lxc",
    responses(
        (status = 200, description = "Where it waits", body = Data<TerminalConsole>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn container_termproxy(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
) -> Result<Data<TerminalConsole>, ApiError> {
    let source = app.guests().console(guest.vmid).await?;
    console::terminal(&app, place(guest.vmid), source, &caller).await
}

/// Open a console for a VNC client.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/vncproxy", tag = "lxc",
    responses(
        (status = 200, description = "Where it waits", body = Data<VncConsole>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn container_vncproxy(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<ScreenParams>,
) -> Result<Data<VncConsole>, ApiError> {
    let source = app.guests().console(guest.vmid).await?;
    console::vnc(&app, place(guest.vmid), &source, &params, &caller).await
}

/// The way to a console that waits.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/vncwebsocket", tag = "lxc",
    responses(
        (status = 101, description = "From here on a websocket"),
        (status = 200, description = "Without an upgrade", body = Data<ConsolePort>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn container_vncwebsocket(
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<WebsocketParams>,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    console::websocket(&params, &format!("/vms/{}", guest.vmid), &caller, upgrade).await
}

/// Open a console for a SPICE client: not without PVE's `spiceterm` and its proxy.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/spiceproxy", tag = "lxc",
    responses((status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn container_spiceproxy(
    State(app): State<App>,
    guest: GuestPath,
) -> Result<Data<Option<String>>, ApiError> {
    app.guests().require_console(guest.vmid).await?;
    Err(ApiError::die(
        "a SPICE console needs spiceterm and PVE's spiceproxy, which run on a PVE node only; a \
         terminal console (termproxy) works without them",
    ))
}
