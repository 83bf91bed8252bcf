//! What the consoles of containers and of the node have in common.

use axum::response::{IntoResponse as _, Response};
use openapi::answer::{ConsolePort, TerminalConsole, VncConsole};
use serde::Deserialize;

use super::blocking;
use crate::app::App;
use crate::console::{self, Console, Place, Screen, Source, Upgrade};
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::Caller;

#[derive(Deserialize)]
pub(super) struct ScreenParams {
    websocket: Option<u8>,
    width: Option<u32>,
    height: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct WebsocketParams {
    port: u16,
    vncticket: String,
}

fn answer(console: Console, caller: &Caller) -> TerminalConsole {
    TerminalConsole {
        user: caller.auth().to_string(),
        ticket: console.ticket,
        port: console.port.to_string(),
        upid: console.upid,
    }
}

pub(super) async fn terminal(
    app: &App,
    place: Place,
    source: Source,
    caller: &Caller,
) -> Result<Data<TerminalConsole>, ApiError> {
    let console = app.consoles().terminal(place, source, caller.auth()).await?;
    Ok(Data::new(answer(console, caller)))
}

pub(super) async fn vnc(
    app: &App,
    place: Place,
    source: &Source,
    params: &ScreenParams,
    caller: &Caller,
) -> Result<Data<VncConsole>, ApiError> {
    let cert = certificate(app).await?;
    let ScreenParams { websocket, width, height } = *params;
    let screen = Screen { websocket: websocket == Some(1), width, height };
    let (console, password) = app.consoles().vnc(place, source, screen, caller.auth()).await?;
    Ok(Data::new(VncConsole { console: answer(console, caller), cert, password }))
}

/// The cluster's own authority, or the certificate that is its own.
async fn certificate(app: &App) -> Result<String, ApiError> {
    let authority = app.root().etc_pve().join("pve-root-ca.pem");
    let own = app.root().tls_cert(app.node());
    let read = move || fs_err::read_to_string(authority).or_else(|_| fs_err::read_to_string(own));
    blocking(read).await?.map_err(ApiError::die)
}

/// The ticket is judged first, the wish to upgrade after it.
pub(super) async fn websocket(
    params: &WebsocketParams,
    path: &str,
    caller: &Caller,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let WebsocketParams { port, vncticket } = params;
    caller.access().verify_console_ticket(vncticket, caller.auth(), path, Some(*port))?;
    let Some(upgrade) = upgrade.wanted()? else {
        return Ok(Data::new(ConsolePort { port: port.to_string() }).into_response());
    };
    let stream = console::connect(*port).await?;
    Ok(upgrade.on_upgrade(move |websocket| console::relay(websocket, stream)))
}
