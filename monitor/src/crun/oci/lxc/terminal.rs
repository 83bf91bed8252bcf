//! A terminal for a process that LXC runs: a pty of ours, which is the controlling terminal of LXC's
//! program; that has another one inside, and copies between them. LXC has ours add a carriage return to
//! each line, which the one inside has done before: on a screen that cannot be seen.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use oci_verbs::Io;
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::pty::OpenptFlags;

use crate::crun::oci::error::{Error, Result};
use crate::error::During as _;

/// Both ends, and what becomes of ours.
pub(super) struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
    /// Who gets the master; else it is we who show it.
    socket: Option<OwnedFd>,
}

impl Terminal {
    pub(super) fn of(terminal: bool, detach: bool, io: &Io) -> Result<Option<Self>> {
        let socket = match &io.console_socket {
            _ if !terminal => return Ok(None),
            None if detach => return Err(Error::Terminal),
            None => None,
            Some(path) => Some(connect(path)?),
        };
        let what = "cannot make a terminal";
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).during(what)?;
        rustix::pty::unlockpt(&master).during(what)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).during(what)?;
        Ok(Some(Self { master, slave, socket }))
    }

    pub(super) fn give(&self, command: &mut Command) -> Result<()> {
        let end = || self.slave.try_clone().map(Stdio::from);
        command.stdin(end()?).stdout(end()?).stderr(end()?);
        Ok(())
    }

    /// When LXC has its end: to whoever is to have the master, or to us, not blocking.
    pub(super) fn hand_over(self) -> Result<Option<OwnedFd>> {
        let Some(socket) = self.socket else {
            rustix::io::ioctl_fionbio(&self.master, true).during("cannot prepare the terminal")?;
            return Ok(Some(self.master));
        };
        let name =
            rustix::pty::ptsname(&self.master, Vec::new()).during("cannot name the terminal")?;
        let fds = [self.master.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        rustix::net::sendmsg(
            &socket,
            &[IoSlice::new(name.as_bytes())],
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .during("cannot send the terminal to the console socket")?;
        Ok(None)
    }
}

fn connect(path: &Path) -> Result<OwnedFd> {
    let what = "cannot connect to the console socket";
    let kind = SocketType::STREAM;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .during(what)?;
    // By descriptor, as the path may be longer than a socket's name.
    let file =
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).during(what)?;
    let short = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::net::connect(&socket, &SocketAddrUnix::new(short).during(what)?).during(what)?;
    Ok(socket)
}
