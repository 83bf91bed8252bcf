//! The socket over which libcrun hands us the master of the container's pty.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
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
        if let Err(err) = fs::remove_file(&path)
            && err.kind() != io::ErrorKind::NotFound
        {
            return Err(err.into());
        }
        // By descriptor, as the path may be longer than a socket's name; libcrun does the same.
        let dir = rustix::fs::open(
            dir,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let dir = dir.during(what)?;
        let short = format!("/proc/self/fd/{}/console.sock", dir.as_raw_fd());
        // Not blocking: when create has succeeded, the master already waits in here.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .during(what)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(short).during(what)?).during(what)?;
        rustix::net::listen(&socket, 1).during(what)?;
        Ok(Self { socket, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The pty's master, set not to block.
    pub(crate) fn receive(self) -> Result<OwnedFd> {
        let what = "cannot receive the container's console";
        let peer = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC).during(what)?;
        let mut byte = [0; 16];
        let mut iov = [io::IoSliceMut::new(&mut byte)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        rustix::net::recvmsg(&peer, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)
            .during(what)?;
        let mut master = None;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = part {
                master = fds.next();
            }
        }
        let master = master
            .ok_or_else(|| Error::Step { what, source: io::ErrorKind::UnexpectedEof.into() })?;
        rustix::io::ioctl_fionbio(&master, true).during(what)?;
        Ok(master)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // If it stays, the next bind removes it.
        fs::remove_file(&self.path).ok();
    }
}
