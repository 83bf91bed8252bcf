//! One client of one console, from its connection to its end. It says who it is in one line; then
//! its messages go to the terminal, and what the terminal shows goes to it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openapi::AuthId;
use pve_integration::access::{AuthError, KeyError};
use pve_integration::console::{Inbox, Malformed, Message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Place;
use super::terminal::{Source, Terminal, TerminalError};
use crate::access_store::AccessStore;

/// For the connection, and again for the line with the ticket.
const PATIENCE: Duration = Duration::from_secs(10);
/// User, ticket and line break.
const MAX_LINE: usize = 4096;

/// Who may come in.
pub(super) struct Gate {
    pub(super) access: Arc<AccessStore>,
    pub(super) place: Place,
    pub(super) port: u16,
}

/// Why a console did not end well; the last line of its task.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("no client connected within {} seconds", PATIENCE.as_secs())]
    NoClient,
    #[error("the client sent no ticket")]
    NoTicket,
    #[error("authentication failure: {0}")]
    Refused(#[from] AuthError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("received interrupt")]
    Cancelled,
}

/// Until the client or the terminal ends.
pub(super) async fn serve(listener: TcpListener, gate: &Gate, source: Source) -> Result<(), Ended> {
    let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
    let (mut client, _) = accepted.map_err(|_| Ended::NoClient)??;
    // One client: the port is free again, and a second one is refused by the kernel.
    drop(listener);
    let line = tokio::time::timeout(PATIENCE, read_line(&mut client)).await;
    let (line, rest) = line.map_err(|_| Ended::NoTicket)??;
    gate.admit(&line)?;
    client.write_all(b"OK").await?;
    let terminal = match source.open().await {
        Ok(terminal) => terminal,
        Err(err) => {
            client.write_all(format!("{err}\r\n").as_bytes()).await?;
            return Err(err.into());
        }
    };
    let ended = join(client, &terminal, &rest).await;
    terminal.close().await;
    ended
}

/// `user:ticket`, and what came behind it. A user's name has no colon.
async fn read_line(client: &mut TcpStream) -> Result<(String, Vec<u8>), Ended> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let rest = bytes.split_off(end + 1);
            bytes.truncate(end);
            let line = String::from_utf8(bytes).map_err(|_| Ended::NoTicket)?;
            return Ok((line, rest));
        }
        if bytes.len() > MAX_LINE || client.read_buf(&mut bytes).await? == 0 {
            return Err(Ended::NoTicket);
        }
    }
}

impl Gate {
    fn admit(&self, line: &str) -> Result<(), Ended> {
        let (who, ticket) = line.split_once(':').ok_or(Ended::NoTicket)?;
        let who: AuthId = who.parse().map_err(|_| Ended::NoTicket)?;
        // Rights may have changed since the console was asked for.
        let access = self.access.current()?;
        let privileges = [self.place.privilege];
        access.admit_to_console(ticket, &who, &self.place.path, Some(self.port), &privileges)?;
        Ok(())
    }
}

async fn join(client: TcpStream, terminal: &Terminal, rest: &[u8]) -> Result<(), Ended> {
    let (mut from, mut to) = client.into_split();
    let typing = async {
        let mut inbox = Inbox::default();
        let mut bytes = vec![0; 4096];
        inbox.push(rest);
        loop {
            while let Some(message) = inbox.take()? {
                match message {
                    Message::Input(data) => terminal.write(&data).await?,
                    Message::Resize { columns, rows } => terminal.resize(columns, rows).await,
                    Message::Ping => {}
                }
            }
            let count = from.read(&mut bytes).await?;
            if count == 0 {
                return Ok::<_, Ended>(());
            }
            inbox.push(&bytes[..count]);
        }
    };
    let showing = async {
        let mut bytes = vec![0; 4096];
        loop {
            let count = terminal.read(&mut bytes).await?;
            if count == 0 {
                return Ok::<_, Ended>(());
            }
            to.write_all(&bytes[..count]).await?;
        }
    };
    let ended = tokio::select! {
        ended = typing => ended,
        ended = showing => ended,
    };
    match ended {
        // How a browser's tab is closed.
        Err(Ended::Io(err)) if is_the_clients(&err) => Ok(()),
        ended => ended,
    }
}

fn is_the_clients(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
