//! The supervisor's side: a listener, its connections, whole requests with the sender's identity.
//! Nothing here blocks; the caller polls. What a command does is the caller's.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

use crate::wire::{Frame, HEADER, Inbox, MAX_PAYLOAD, Malformed, ReplyHeader};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("another supervisor answers for this container")]
    AlreadyRunning,
    #[error("the connection was closed")]
    Closed,
    #[error("the peer broke the protocol")]
    Malformed(#[from] Malformed),
    #[error("command socket")]
    Io(#[from] io::Error),
}

impl From<Errno> for Error {
    fn from(err: Errno) -> Self {
        match err {
            Errno::ADDRINUSE => Self::AlreadyRunning,
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            err => Self::Io(err.into()),
        }
    }
}

/// The command socket of one container. Its name is free again when this is dropped.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    pub fn bind(lxcpath: &Path, name: &str) -> Result<Self, Error> {
        Self::bind_to(&crate::socket_name(lxcpath, name))
    }

    /// The guard of a container: held by whoever called `lxc-start` for it.
    pub fn bind_guard(lxcpath: &Path, name: &str) -> Result<Self, Error> {
        Self::bind_to(&crate::guard_name(lxcpath, name))
    }

    fn bind_to(name: &[u8]) -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let address = SocketAddrUnix::new_abstract_name(name)?;
        // PVE's Perl sends no credentials, the kernel then adds them. Connections inherit it from here;
        // set on one after `accept`, it would miss a request that was quicker.
        rustix::net::sockopt::set_socket_passcred(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, 100)?; // as LXC
        Ok(Self(socket))
    }

    /// The next connection, if one waits.
    pub fn accept(&self) -> Result<Option<Peer>, Error> {
        match rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => Ok(Some(Peer { socket, inbox: Inbox::default(), sender: None })),
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A whole request and who sent it, as the kernel says.
#[derive(Clone, Debug)]
pub struct Request {
    pub frame: Frame,
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

impl Request {
    /// LXC's rule: root, or exactly who the supervisor runs as.
    pub fn is_permitted(&self) -> bool {
        let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        self.uid == 0 || (self.uid, self.gid) == own
    }
}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    socket: OwnedFd,
    inbox: Inbox,
    sender: Option<UnixCredentials>,
}

impl Peer {
    /// The next whole request; `None` while parts of it are missing.
    pub fn read_request(&mut self) -> Result<Option<Request>, Error> {
        loop {
            if let Some(frame) = self.inbox.take()? {
                let sender = self.sender.take().ok_or(Malformed)?;
                return Ok(Some(Request {
                    frame,
                    pid: sender.pid(),
                    uid: sender.uid(),
                    gid: sender.gid(),
                }));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Read no further than the current request; false if nothing is there.
    fn fill(&mut self) -> Result<bool, Error> {
        let wanted = self.inbox.wants()?;
        let mut bytes = [0; HEADER + MAX_PAYLOAD];
        let mut iov = [io::IoSliceMut::new(&mut bytes[..wanted])];
        // Room for credentials and nothing else: descriptors that a peer sends along are dropped by
        // the kernel and the message counts as broken.
        let mut control = nix::cmsg_space!(UnixCredentials);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let (count, sender) = match nix::sys::socket::recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut iov,
            Some(&mut control),
            flags,
        ) {
            Ok(message) => {
                let mut sender = None;
                for part in message.cmsgs().map_err(|_| Malformed)? {
                    if let ControlMessageOwned::ScmCredentials(credentials) = part {
                        sender = Some(credentials);
                    }
                }
                (message.bytes, sender)
            }
            Err(nix::errno::Errno::EAGAIN) => return Ok(false),
            Err(nix::errno::Errno::EINTR) => return Ok(true),
            Err(nix::errno::Errno::ECONNRESET) => return Err(Error::Closed),
            Err(err) => return Err(Error::Io(err.into())),
        };
        if count == 0 {
            return Err(Error::Closed);
        }
        match (&self.sender, sender) {
            // A payload by someone else than the header's sender is nobody's request.
            (Some(first), Some(now)) if *first != now => return Err(Malformed.into()),
            (None, now) => self.sender = now,
            (Some(_), _) => {}
        }
        self.inbox.push(&bytes[..count]);
        Ok(true)
    }

    /// Answer. The descriptors travel with the header, as liblxc wants them. A peer that lets its
    /// buffer fill up is given up on, never waited for.
    pub fn reply(
        &self,
        ret: i32,
        data: i32,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        let header = ReplyHeader { ret, payload_len: payload.len(), data }.encode()?;
        let mut space =
            vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fds.len()))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Malformed.into());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent =
            rustix::net::sendmsg(&self.socket, &[io::IoSlice::new(&header)], &mut control, flags)?;
        if sent < HEADER
            || (!payload.is_empty()
                && rustix::net::send(&self.socket, payload, flags)? < payload.len())
        {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Bytes outside the request-answer scheme: the one message that a state waiter gets.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        let sent =
            rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        if sent == bytes.len() { Ok(()) } else { Err(Error::Closed) }
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests;
