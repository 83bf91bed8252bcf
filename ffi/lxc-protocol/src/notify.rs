//! State messages to `lxc-monitord`, which passes them on to `lxc-monitor` and to PVE's start task.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::wire::Message;

/// Where `lxc-monitord` listens for containers under `lxcpath`, for root.
pub fn fifo_path(lxcpath: &Path) -> PathBuf {
    // LXC joins with "/" and keeps the double slash; as a path both are one.
    let mut path = b"/run/lxc/".to_vec();
    path.extend_from_slice(lxcpath.as_os_str().as_bytes());
    path.extend_from_slice(b"/monitor-fifo");
    PathBuf::from(std::ffi::OsString::from(<std::ffi::OsStr as OsStrExt>::from_bytes(&path)))
}

/// Tell `lxc-monitord`, if there is one. Nobody listening is fine; never blocks.
pub fn send(lxcpath: &Path, name: &str, message: &Message) -> io::Result<()> {
    send_to(&fifo_path(lxcpath), name, message)
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
    use rustix::fs::{CWD, FileType};

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
    fn finds_the_fifo_of_the_default_path() {
        assert_eq!(
            fifo_path(Path::new("/var/lib/lxc")),
            Path::new("/run/lxc/var/lib/lxc/monitor-fifo")
        );
    }
}
