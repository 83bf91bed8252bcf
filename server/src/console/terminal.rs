//! What a console is joined to: a container's terminal that its supervisor gives out, or a program
//! with a terminal of its own.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use lxc_protocol::client::{self, Client};
use openapi::Vmid;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

/// A shell that was hung up on may want to save its history.
const HANGUP_PATIENCE: Duration = Duration::from_secs(2);

/// What a console will be joined to when its client is there.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A terminal of a container: 0 its console, -1 the next of its ttys.
    Container { vmid: Vmid, client: Client, tty: i32 },
    /// A command line.
    Program(Vec<String>),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum TerminalError {
    #[error("CT {0} not running")]
    NotRunning(Vmid),
    #[error("CT {0}: all of its terminals are in use")]
    Busy(Vmid),
    #[error("CT {0}: {1}")]
    Container(Vmid, #[source] client::Error),
    #[error("cannot make a terminal: {0}")]
    Pty(#[from] Errno),
    #[error("terminal: {0}")]
    Io(#[from] io::Error),
}

/// An open one. tokio has a type for either end of a pipe, which is all that a master is to it.
#[derive(Debug)]
pub(super) struct Terminal {
    reader: pipe::Receiver,
    writer: pipe::Sender,
    end: End,
}

#[derive(Debug)]
enum End {
    /// The supervisor takes the terminal back when the connection ends.
    Container {
        client: Client,
        _joined: client::Slot,
    },
    Program(Child),
}

impl Source {
    pub(super) async fn open(self) -> Result<Terminal, TerminalError> {
        match self {
            Self::Container { vmid, client, tty } => {
                let asked = client.clone();
                let answer = tokio::task::spawn_blocking(move || asked.terminal(tty)).await;
                let (master, joined) =
                    answer.map_err(io::Error::other)?.map_err(|err| of_container(vmid, err))?;
                Terminal::new(master, End::Container { client, _joined: joined })
            }
            Self::Program(line) => run(&line),
        }
    }
}

fn of_container(vmid: Vmid, err: client::Error) -> TerminalError {
    match err {
        client::Error::NotRunning | client::Error::Closed => TerminalError::NotRunning(vmid),
        client::Error::Refused { errno, .. } if errno == Errno::BADF.raw_os_error() => {
            TerminalError::Busy(vmid)
        }
        err @ (client::Error::TimedOut
        | client::Error::Refused { .. }
        | client::Error::Malformed(_)
        | client::Error::Io(_)) => TerminalError::Container(vmid, err),
    }
}

/// In a session of its own, which `setsid` makes: a terminal becomes a program's own in its process
/// only.
fn run(line: &[String]) -> Result<Terminal, TerminalError> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    let mut command = Command::new("setsid");
    command.arg("--ctty").args(line).current_dir("/").env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
    command.stdin(Stdio::from(slave.try_clone()?)).stdout(Stdio::from(slave.try_clone()?));
    command.stderr(Stdio::from(slave));
    let child = command.kill_on_drop(true).spawn()?;
    Terminal::new(master, End::Program(child))
}

fn is_transient(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Terminal {
    /// `master` is set not to block.
    fn new(master: OwnedFd, end: End) -> Result<Self, TerminalError> {
        rustix::io::ioctl_fionbio(&master, true)?;
        let writer = pipe::Sender::from_owned_fd_unchecked(master.try_clone()?)?;
        Ok(Self { reader: pipe::Receiver::from_owned_fd_unchecked(master)?, writer, end })
    }

    /// 0 at its end.
    pub(super) async fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            self.reader.readable().await?;
            match self.reader.try_read(bytes) {
                Err(err) if is_transient(&err) => {}
                // Nobody has its other side open.
                Err(err) if err.raw_os_error() == Some(Errno::IO.raw_os_error()) => return Ok(0),
                read => return read,
            }
        }
    }

    pub(super) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writer.writable().await?;
            match self.writer.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(err) if is_transient(&err) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// A terminal that keeps its old size is still one, so what goes wrong is not worth an end.
    pub(super) async fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        if let Err(err) = rustix::termios::tcsetwinsize(self.writer.as_fd(), size) {
            tracing::debug!(error = %err, "cannot set a terminal's size: {err}");
        }
        if let End::Container { client, .. } = &self.end {
            let client = client.clone();
            drop(tokio::task::spawn_blocking(move || client.resized()).await);
        }
    }

    /// Give it back, or let the program end.
    pub(super) async fn close(self) {
        drop((self.reader, self.writer));
        let End::Program(mut child) = self.end else { return };
        let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        // The kernel hangs up on the terminal's session when the master is closed.
        if tokio::time::timeout(HANGUP_PATIENCE, child.wait()).await.is_ok() {
            return;
        }
        if let Some(group) = group
            && let Err(err) = kill_process_group(group, Signal::KILL)
        {
            tracing::warn!(error = %err, "cannot end a console's program: {err}");
        }
        drop(child.wait().await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str) -> Source {
        Source::Program(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    async fn read_until(terminal: &Terminal, text: &str) -> String {
        let mut seen = Vec::new();
        let mut bytes = [0; 1024];
        loop {
            let count = terminal.read(&mut bytes).await.unwrap();
            assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&bytes[..count]);
            let seen = String::from_utf8_lossy(&seen);
            if seen.contains(text) {
                return seen.into_owned();
            }
        }
    }

    #[tokio::test]
    async fn a_program_has_a_terminal_of_its_own() {
        let script = "tty <&0; read line; stty size; echo \"<$line>\"; exec cat </dev/tty";
        let terminal = program(script).open().await.unwrap();

        assert!(read_until(&terminal, "/dev/pts/").await.starts_with("/dev/pts/"));
        terminal.resize(132, 50).await;
        terminal.write(b"hello\n").await.unwrap();
        let seen = read_until(&terminal, "<hello>").await;
        assert!(seen.contains("50 132"), "{seen}");
        terminal.close().await;
    }

    #[tokio::test]
    async fn its_end_is_the_programs() {
        let terminal = program("echo bye").open().await.unwrap();

        read_until(&terminal, "bye").await;
        while terminal.read(&mut [0; 64]).await.unwrap() > 0 {}
        terminal.close().await;
    }

    #[tokio::test]
    async fn a_program_that_ignores_the_hangup_is_killed() {
        let terminal =
            program("trap '' HUP; echo $$; while :; do sleep 1; done").open().await.unwrap();
        let said = read_until(&terminal, "\n").await;
        let pid: i32 = said.trim().parse().unwrap();

        terminal.close().await;

        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
