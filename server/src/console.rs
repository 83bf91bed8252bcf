//! Consoles: what PVE's termproxy and vncproxy do. Each is a task that listens on a port of its own
//! for one client, who shows a ticket that is good for this user, path and port, and is then joined
//! to a terminal. What is at the other end of the terminal is `terminal`'s.

mod password;
mod session;
mod terminal;
mod vnc;
mod websocket;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use openapi::{AuthId, Privilege, Upid};
use pve_integration::access::{AuthError, KeyError};
use pve_integration::layout::Root;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::access_store::AccessStore;
use crate::tasks::{TaskError, Tasks};

pub(crate) use terminal::Source;
pub(crate) use vnc::Screen;
pub(crate) use websocket::{Upgrade, connect, relay};

/// PVE's ports for consoles.
const PORTS: std::ops::RangeInclusive<u16> = 5900..=5999;

/// What a console belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The path that its rights are at, say `/vms/100`.
    pub(crate) path: String,
    pub(crate) privilege: Privilege,
    /// Of the task.
    pub(crate) kind: &'static str,
    pub(crate) id: String,
}

/// A console that waits for its client.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    pub(crate) ticket: String,
    pub(crate) port: u16,
    pub(crate) upid: Upid,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConsoleError {
    #[error("unable to find free port (5900-6000)")]
    NoPort,
    #[error(transparent)]
    Ticket(#[from] AuthError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error("cannot draw random bytes")]
    Random,
    /// A program that is not there; names its package.
    #[error("{0}")]
    Missing(String),
    #[error("Timeout while waiting for port '{0}' to get ready!")]
    NotReady(u16),
    #[error("connect to 'localhost:{port}' failed: {source}")]
    Connect { port: u16, source: io::Error },
}

/// Opens consoles.
#[derive(Clone)]
pub(crate) struct Consoles(Arc<Inner>);

struct Inner {
    root: Root,
    access: Arc<AccessStore>,
    tasks: Tasks,
    /// When the daemon ends, so do they.
    stop: CancellationToken,
}

impl Consoles {
    pub(crate) fn new(root: Root, access: Arc<AccessStore>, tasks: Tasks) -> Self {
        Self(Arc::new(Inner { root, access, tasks, stop: CancellationToken::new() }))
    }

    /// Tell all of them to end; their tasks do so at once.
    pub(crate) fn close(&self) {
        self.0.stop.cancel();
    }

    /// A console whose client speaks termproxy's protocol.
    pub(crate) async fn terminal(
        &self,
        place: Place,
        source: Source,
        who: &AuthId,
    ) -> Result<Console, ConsoleError> {
        let (listener, port) = bind().await?;
        let ticket = self.ticket(who, &place.path, port).await?;
        let access = Arc::clone(&self.0.access);
        let stop = self.0.stop.clone();
        let (kind, id) = (place.kind, place.id.clone());
        let upid = self.0.tasks.spawn(kind, &id, who, move |_, cancel| async move {
            let gate = session::Gate { access, place, port };
            tokio::select! {
                ended = session::serve(listener, &gate, source) => ended,
                () = cancel.cancelled() => Err(session::Ended::Cancelled),
                () = stop.cancelled() => Err(session::Ended::Cancelled),
            }
        })?;
        Ok(Console { ticket, port, upid })
    }

    async fn ticket(&self, who: &AuthId, path: &str, port: u16) -> Result<String, ConsoleError> {
        let access = self.0.access.current()?;
        let (who, path) = (who.clone(), path.to_owned());
        // A new key may be due, which takes a while to make.
        let made =
            tokio::task::spawn_blocking(move || access.issue_console_ticket(&who, &path, port));
        match made.await {
            Ok(made) => Ok(made?),
            Err(err) => Err(TaskError::Start(io::Error::other(err)).into()),
        }
    }
}

/// The first free port. Whoever holds the listener has it.
async fn bind() -> Result<(TcpListener, u16), ConsoleError> {
    for port in PORTS {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return Ok((listener, port));
        }
    }
    Err(ConsoleError::NoPort)
}
