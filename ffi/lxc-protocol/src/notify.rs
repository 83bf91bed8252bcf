//! State messages to `lxc-monitord`, which passes them on to `lxc-monitor` and to PVE's start task;
//! and an [`Inbox`] for a supervisor that wants to hear its own `lxc-start` itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::io::Errno;

use crate::wire::Message;

/// Where root's LXC keeps what lives as long as a container does.
pub const RUN: &str = "/run/lxc";

/// Where `lxc-monitord` listens for containers under `lxcpath`, for root.
pub fn fifo_path(lxcpath: &Path) -> PathBuf {
    fifo_below(Path::new(RUN), lxcpath)
}

fn fifo_below(run: &Path, lxcpath: &Path) -> PathBuf {
    // LXC joins with "/" and keeps the double slash; as a path both are one.
    let mut path = run.as_os_str().as_bytes().to_vec();
    path.push(b'/');
    path.extend_from_slice(lxcpath.as_os_str().as_bytes());
    path.extend_from_slice(b"/monitor-fifo");
    PathBuf::from(std::ffi::OsString::from(<std::ffi::OsStr as OsStrExt>::from_bytes(&path)))
}

/// Tell `lxc-monitord`, if there is one. Nobody listening is fine; never blocks.
pub fn send(lxcpath: &Path, name: &str, message: &Message) -> io::Result<()> {
    send_to(&fifo_path(lxcpath), name, message)
}

/// As [`send`], where [`RUN`] is seen at `run`.
pub fn send_below(run: &Path, lxcpath: &Path, name: &str, message: &Message) -> io::Result<()> {
    send_to(&fifo_below(run, lxcpath), name, message)
}

/// The fifo of containers under one path, for a supervisor that sees a [`RUN`] of its own.
#[derive(Debug)]
pub struct Inbox(OwnedFd);

impl Inbox {
    /// At [`fifo_path`], whose folder is there and new.
    pub fn make(lxcpath: &Path) -> io::Result<Self> {
        Self::make_at(&fifo_path(lxcpath))
    }

    fn make_at(path: &Path) -> io::Result<Self> {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // For writing as well, so that there is no end of file between two messages.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// The next message, if one is there. One that cannot be read is passed over.
    pub fn next(&self) -> io::Result<Option<Message>> {
        loop {
            let mut bytes = [0; Message::SIZE];
            match rustix::io::read(&self.0, &mut bytes) {
                // Below PIPE_BUF, so a message is there whole or not at all.
                Ok(Message::SIZE) => {
                    if let Ok(message) = Message::decode(&bytes) {
                        return Ok(Some(message));
                    }
                }
                Ok(_) | Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(err) => return Err(err.into()),
            }
        }
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn send_to(fifo: &Path, name: &str, message: &Message) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fifo = match rustix::fs::open(fifo, flags, Mode::empty()) {
        Ok(fifo) => fifo,
        Err(Errno::NOENT | Errno::NXIO | Errno::NOTDIR) => return Ok(()),
        Err(err) => return Err(err.into()),
    };
    // Below PIPE_BUF, so it is written whole or not at all.
    rustix::io::write(&fifo, &message.encode(name))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::State;

    #[test]
    fn says_nothing_where_nobody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("monitor-fifo");
        send_to(&fifo, "100", &Message::State(State::Starting)).unwrap();
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        send_to(&fifo, "100", &Message::State(State::Starting)).unwrap();
    }

    #[test]
    fn writes_264_bytes_to_a_listener() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("monitor-fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let reader =
            rustix::fs::open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        send_to(&fifo, "100", &Message::ExitCode(256)).unwrap();
        let mut bytes = [0; Message::SIZE + 1];
        assert_eq!(rustix::io::read(&reader, &mut bytes).unwrap(), Message::SIZE);
        let message: &[u8; Message::SIZE] = bytes[..Message::SIZE].try_into().unwrap();
        assert_eq!(Message::decode(message), Ok(Message::ExitCode(256)));
        assert_eq!(&message[4..8], b"100\0");
    }

    #[test]
    fn an_inbox_hears_what_is_sent_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo_below(dir.path(), Path::new("/lxc"));
        rustix::fs::mkdir(dir.path().join("lxc"), Mode::RWXU).unwrap();
        let inbox = Inbox::make_at(&path).unwrap();
        assert_eq!(inbox.next().unwrap(), None);
        for message in [Message::State(State::Running), Message::ExitCode(0x700)] {
            send_below(dir.path(), Path::new("/lxc"), "100", &message).unwrap();
        }
        assert_eq!(inbox.next().unwrap(), Some(Message::State(State::Running)));
        assert_eq!(inbox.next().unwrap(), Some(Message::ExitCode(0x700)));
        assert_eq!(inbox.next().unwrap(), None);
    }

    #[test]
    fn finds_the_fifo_of_the_default_path() {
        assert_eq!(
            fifo_path(Path::new("/var/lib/lxc")),
            Path::new("/run/lxc/var/lib/lxc/monitor-fifo")
        );
    }
}
