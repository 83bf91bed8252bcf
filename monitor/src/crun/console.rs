//! The socket over which libcrun hands us the master of the container's pty.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

use crate::error::{During, Error, Result};

#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    socket: OwnedFd,
    path: PathBuf,
}

impl ConsoleSocket {
    pub(crate) fn bind(dir: &Path) -> Result<Self> {
        let what = "cannot make the console socket";
        let path = dir.join("console.sock");
        Ok(Self { socket: listen(&path, 1).during(what)?, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The pty's master, set not to block.
    pub(crate) fn receive(self) -> Result<OwnedFd> {
        let what = "cannot receive the container's console";
        let peer = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC).during(what)?;
        let master = receive(&peer).during(what)?;
        let master = master
            .ok_or_else(|| Error::Step { what, source: io::ErrorKind::UnexpectedEof.into() })?;
        rustix::io::ioctl_fionbio(&master, true).during(what)?;
        Ok(master)
    }
}

/// A new socket at `path`, in the place of one that was left there, that does not block: when libcrun has
/// done its part, what it sends already waits in here.
pub(super) fn listen(path: &Path, backlog: i32) -> io::Result<OwnedFd> {
    crate::cleanup::remove(path)?;
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // By descriptor, as the path may be longer than a socket's name; libcrun does the same.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    let short = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), name.display());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(short)?)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket)
}

/// The next descriptor out of a connection; an error of the kind `UnexpectedEof` at its end.
pub(super) fn receive(peer: impl AsFd) -> io::Result<Option<OwnedFd>> {
    // What comes with it is of no interest.
    let mut bytes = [0; 4096];
    let mut iov = [io::IoSliceMut::new(&mut bytes)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let read = rustix::net::recvmsg(peer, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if read.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut received = None;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = part {
            received = fds.next();
        }
    }
    Ok(received)
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // If it stays, the next bind removes it.
        fs::remove_file(&self.path).ok();
    }
}
