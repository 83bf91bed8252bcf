//! The way from a browser to a console: a websocket whose frames are the bytes of a local connection,
//! as `websocket_proxy` of pve-http-server.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderName, header};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::ConsoleError;
use crate::error::ApiError;

/// Of a frame, in both directions.
const MAX_FRAME: usize = 128 * 1024;

/// What a request says about becoming a websocket. Judged after everything else, as PVE does.
pub(crate) struct Upgrade(Option<Result<WebSocketUpgrade, ApiError>>);

impl Upgrade {
    /// `None` for a request that wants an ordinary answer.
    pub(crate) fn wanted(self) -> Result<Option<WebSocketUpgrade>, ApiError> {
        self.0.transpose()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let text = |name: &HeaderName| {
            parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        let upgrade = text(&header::UPGRADE).to_lowercase();
        let version = text(&header::SEC_WEBSOCKET_VERSION).to_owned();
        let has_key = !text(&header::SEC_WEBSOCKET_KEY).is_empty();
        // PVE answers with what was asked for; of several only one may be chosen.
        let protocols = text(&header::SEC_WEBSOCKET_PROTOCOL).split(',').map(str::trim);
        let protocols: Vec<_> = protocols.map(str::to_owned).collect();
        if upgrade.is_empty() {
            return Ok(Self(None));
        }
        let refusal = if upgrade != "websocket" {
            Some(format!("unable to upgrade to protocol '{upgrade}'"))
        } else if version != "13" {
            Some(format!("unsupported websocket-version '{version}'"))
        } else if !has_key {
            Some("missing websocket-key".to_owned())
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Ok(Self(Some(Err(ApiError::die(refusal)))));
        }
        let upgrade = WebSocketUpgrade::from_request_parts(parts, state).await;
        Ok(Self(Some(upgrade.map_err(ApiError::die).map(|upgrade| {
            upgrade
                .protocols(["binary".to_owned()].into_iter().chain(protocols))
                .max_frame_size(MAX_FRAME)
                .max_message_size(MAX_FRAME)
        }))))
    }
}

/// To the console that listens there. Before the upgrade, so that a client learns that there is none.
pub(crate) async fn connect(port: u16) -> Result<TcpStream, ConsoleError> {
    let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    connected.map_err(|source| ConsoleError::Connect { port, source })
}

/// Until one side ends. Each direction waits for itself alone: a client that does not read must not
/// keep its own input from being read.
pub(crate) async fn relay(websocket: WebSocket, console: TcpStream) {
    let (mut to_client, mut from_client) = websocket.split();
    let (mut from_console, mut to_console) = console.into_split();
    let inward = async {
        while let Some(Ok(message)) = from_client.next().await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            if to_console.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    let outward = async {
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from_console.read(&mut bytes).await {
            let frame = Message::Binary(bytes[..count].to_vec().into());
            if to_client.send(frame).await.is_err() {
                return;
            }
        }
        // It may have gone first, and then nobody wants to know.
        drop(to_client.send(Message::Close(None)).await);
    };
    tokio::select! {
        () = inward => {}
        () = outward => {}
    }
}
