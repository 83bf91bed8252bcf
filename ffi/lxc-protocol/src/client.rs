//! The asking side: one connection per call, as LXC's own tools do, each with a deadline.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, UCred,
};
use rustix::process::{getgid, getpid, getuid};

use crate::wire::{
    self, Command, Frame, HEADER, MAX_STATE, Malformed, Message, ReplyHeader, State,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the container is not running")]
    NotRunning,
    #[error("the supervisor closed the connection without an answer")]
    Closed,
    #[error("the supervisor did not answer in time")]
    TimedOut,
    #[error("{command} failed: {}", io::Error::from_raw_os_error(*.errno))]
    Refused { command: Command, errno: i32 },
    #[error("the supervisor broke the protocol")]
    Malformed(#[from] Malformed),
    #[error("command socket")]
    Io(#[source] io::Error),
}

pub type Result<T> = std::result::Result<T, Error>;

impl From<Errno> for Error {
    fn from(err: Errno) -> Self {
        match err {
            Errno::CONNREFUSED => Self::NotRunning,
            Errno::CONNRESET | Errno::PIPE => Self::Closed,
            // A receive or send timeout is EAGAIN.
            Errno::AGAIN => Self::TimedOut,
            err => Self::Io(err.into()),
        }
    }
}

/// One container's supervisor, be it `lxc-start` or our monitor. Holds no connection.
#[derive(Clone, Debug)]
pub struct Client {
    socket_name: Vec<u8>,
    timeout: Duration,
}

/// A connection whose end gives a terminal back.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held, not used")] OwnedFd);

struct Reply {
    header: ReplyHeader,
    payload: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Client {
    /// The container `name` under `lxcpath`, asked with a deadline of two seconds per call.
    pub fn new(lxcpath: &Path, name: &str) -> Self {
        Self::at(crate::socket_name(lxcpath, name))
    }

    pub(crate) fn at(socket_name: Vec<u8>) -> Self {
        Self { socket_name, timeout: Duration::from_secs(2) }
    }

    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    pub fn state(&self) -> Result<State> {
        let reply = self.ask(Command::GetState, 0, &[])?;
        Ok(State::from_number(reply.header.data).ok_or(Malformed)?)
    }

    /// The pid of init, as the supervisor's pid namespace counts.
    pub fn init_pid(&self) -> Result<u32> {
        let pid = self.ask(Command::GetInitPid, 0, &[])?.header.data;
        u32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or(Error::NotRunning)
    }

    pub fn init_pidfd(&self) -> Result<OwnedFd> {
        Ok(self.ask(Command::GetInitPidfd, 0, &[])?.fds.pop().ok_or(Malformed)?)
    }

    /// The CLONE_NEW* flags of the namespaces that init does not share with the supervisor.
    pub fn clone_flags(&self) -> Result<u32> {
        // A bit mask, so the sign does not count.
        Ok(self.ask(Command::GetCloneFlags, 0, &[])?.header.data.cast_unsigned())
    }

    /// The cgroup of the container's processes for this controller, relative to the mount point.
    pub fn cgroup(&self, controller: &str) -> Result<PathBuf> {
        self.ask_path(Command::GetCgroup, controller)
    }

    /// The cgroup that carries the container's limits.
    pub fn limit_cgroup(&self, controller: &str) -> Result<PathBuf> {
        self.ask_path(Command::GetLimitCgroup, controller)
    }

    /// The value in force of an `lxc.*` key; `None` if it is unset.
    pub fn config_item(&self, key: &str) -> Result<Option<String>> {
        match self.ask(Command::GetConfigItem, 0, &terminated(key)) {
            Ok(reply) => Ok(Some(wire::text(&reply.payload)?.to_owned())),
            Err(Error::Refused { errno: 1, .. }) => Ok(None),
            Err(err) => Err(err),
        }
    }

    pub fn name(&self) -> Result<String> {
        Ok(wire::text(&self.ask(Command::GetName, 0, &[])?.payload)?.to_owned())
    }

    pub fn lxcpath(&self) -> Result<PathBuf> {
        let reply = self.ask(Command::GetLxcpath, 0, &[])?;
        Ok(PathBuf::from(wire::text(&reply.payload)?))
    }

    /// Returns when every process stands still, or after `timeout`.
    pub fn freeze(&self, timeout: Duration) -> Result<()> {
        self.freezer(Command::Freeze, timeout)
    }

    pub fn unfreeze(&self, timeout: Duration) -> Result<()> {
        self.freezer(Command::Unfreeze, timeout)
    }

    fn freezer(&self, command: Command, timeout: Duration) -> Result<()> {
        let seconds = i32::try_from(timeout.as_secs().max(1)).unwrap_or(i32::MAX);
        let patient = self.clone().timeout(timeout + self.timeout);
        patient.ask(command, seconds, &[]).map(drop)
    }

    /// The master of a terminal that is joined to the container, for as long as the slot is held: 0
    /// is its console, -1 the next tty that is free.
    pub fn terminal(&self, tty: i32) -> Result<(OwnedFd, Slot)> {
        let socket = self.connect(self.timeout)?;
        send(&socket, Command::GetTtyFd, tty, &[])?;
        let master = receive(&socket, Command::GetTtyFd)?.fds.pop().ok_or(Malformed)?;
        Ok((master, Slot(socket)))
    }

    /// Tell our monitor that a terminal of it has another size; `lxc-start` sees that by itself.
    pub fn resized(&self) -> Result<()> {
        self.ask(Command::TerminalWinch, 0, &[]).map(drop)
    }

    /// Kill the container and wait until its supervisor has cleaned up.
    pub fn stop(&self, timeout: Duration) -> Result<()> {
        let socket = self.connect(timeout)?;
        send(&socket, Command::Stop, 0, &[])?;
        match receive(&socket, Command::Stop) {
            // Success is the end of the connection; the protocol has no other answer.
            Err(Error::Closed) => Ok(()),
            Err(err) => Err(err),
            Ok(_) => Err(Malformed.into()),
        }
    }

    /// Wait until the container is in one of these states; the end of its supervisor counts as
    /// [`State::Stopped`], and so does a container that nobody supervises.
    pub fn wait_for(&self, states: &[State], timeout: Duration) -> Result<State> {
        let stopped =
            |err| if states.contains(&State::Stopped) { Ok(State::Stopped) } else { Err(err) };
        let socket = match self.connect(timeout) {
            Err(Error::NotRunning) => return stopped(Error::NotRunning),
            other => other?,
        };
        send(&socket, Command::AddStateClient, 0, &wire::encode_wanted(states))?;
        let header = match receive(&socket, Command::AddStateClient) {
            Err(Error::Closed) => return stopped(Error::NotRunning),
            other => other?.header,
        };
        if header.data.cast_unsigned() != MAX_STATE {
            return Ok(State::from_number(header.data).ok_or(Malformed)?);
        }
        let mut bytes = [0; Message::SIZE];
        match receive_exact(&socket, &mut bytes) {
            Err(Error::Closed) => return stopped(Error::NotRunning),
            other => other?,
        }
        match Message::decode(&bytes)? {
            Message::State(state) => Ok(state),
            Message::ExitCode(_) => Err(Malformed.into()),
        }
    }

    fn ask_path(&self, command: Command, controller: &str) -> Result<PathBuf> {
        let reply = self.ask(command, 0, &terminated(controller))?;
        let text = wire::text(&reply.payload)?;
        Ok(PathBuf::from(std::ffi::OsStr::from_bytes(text.as_bytes())))
    }

    fn ask(&self, command: Command, argument: i32, payload: &[u8]) -> Result<Reply> {
        match self.ask_once(command, argument, payload) {
            // A supervisor that ends between our connect and its accept; now the name may be free.
            Err(Error::Closed) => self.ask_once(command, argument, payload),
            other => other,
        }
    }

    fn ask_once(&self, command: Command, argument: i32, payload: &[u8]) -> Result<Reply> {
        let socket = self.connect(self.timeout)?;
        send(&socket, command, argument, payload)?;
        receive(&socket, command)
    }

    fn connect(&self, timeout: Duration) -> Result<OwnedFd> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // Zero would mean for ever.
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        set_socket_timeout(&socket, Timeout::Recv, timeout)?;
        set_socket_timeout(&socket, Timeout::Send, timeout)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(&self.socket_name)?)?;
        Ok(socket)
    }
}

fn terminated(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn send(socket: &OwnedFd, command: Command, argument: i32, payload: &[u8]) -> Result<()> {
    let frame = Frame { command: command.number().into(), argument, payload: payload.to_vec() };
    let bytes = frame.encode();
    let me = UCred { pid: getpid(), uid: getuid(), gid: getgid() };
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    // The kernel adds them only for who has asked already, which LXC does after it has accepted: a
    // message that comes in between has none and is refused.
    control.push(SendAncillaryMessage::ScmCredentials(me));
    let iov = [io::IoSlice::new(&bytes)];
    if rustix::net::sendmsg(socket, &iov, &mut control, SendFlags::NOSIGNAL)? < bytes.len() {
        return Err(Error::TimedOut);
    }
    Ok(())
}

/// LXC sends at most 20 descriptors with one answer.
const MAX_FDS: usize = 20;

fn receive(socket: &OwnedFd, command: Command) -> Result<Reply> {
    let mut bytes = [0; HEADER];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let count = rustix::io::retry_on_intr(|| {
        let mut iov = [io::IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?
    .bytes;
    if count == 0 {
        return Err(Error::Closed);
    }
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    receive_exact(socket, &mut bytes[count..])?;
    let header = ReplyHeader::decode(bytes)?;
    let mut payload = vec![0; header.payload_len];
    receive_exact(socket, &mut payload)?;
    if header.ret < 0 {
        return Err(Error::Refused { command, errno: header.ret.saturating_neg() });
    }
    Ok(Reply { header, payload, fds })
}

fn receive_exact(socket: &OwnedFd, mut bytes: &mut [u8]) -> Result<()> {
    while !bytes.is_empty() {
        let (count, _) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(socket, &mut *bytes, RecvFlags::empty())
        })?;
        if count == 0 {
            return Err(Error::Closed);
        }
        bytes = &mut bytes[count..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `lxc_cmd_accept` of LXC's commands.c may find a message that was sent before it asked.
    #[test]
    fn says_who_it_is_to_whoever_asks_late() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new(dir.path(), "100");
        let kind = SocketType::STREAM;
        let listener = rustix::net::socket(AddressFamily::UNIX, kind, None).unwrap();
        let name = SocketAddrUnix::new_abstract_name(&client.socket_name).unwrap();
        rustix::net::bind(&listener, &name).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let socket = client.connect(Duration::from_secs(5)).unwrap();
        let accepted = rustix::net::accept(&listener).unwrap();

        send(&socket, Command::GetInitPid, 0, &[]).unwrap();

        rustix::net::sockopt::set_socket_passcred(&accepted, true).unwrap();
        let mut bytes = [0; 64];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [io::IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(&accepted, &mut iov, &mut control, RecvFlags::empty()).unwrap();
        let said = control.drain().find_map(|part| match part {
            RecvAncillaryMessage::ScmCredentials(sender) => Some((sender.pid, sender.uid)),
            RecvAncillaryMessage::ScmRights(_) | _ => None,
        });
        assert_eq!(said, Some((getpid(), getuid())));
    }
}
