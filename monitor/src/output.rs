//! The container's output: from its pipe or pty into its log file, whatever happens to the file. A
//! full disk costs output, never the container.

use fs_err::os::unix::fs::OpenOptionsExt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

/// A log becomes `.1` when it has grown to this.
const ROTATE_AT: u64 = 10 << 20;

/// A file that is appended to and rotated once.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    limit: u64,
    file: Option<(fs::File, u64)>,
    /// Bytes that could not be written, to be reported when that works again.
    lost: u64,
}

impl Log {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, limit: ROTATE_AT, file: None, lost: 0 }
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.report_loss().and_then(|()| self.write(bytes)).is_err() {
            self.lost = self.lost.saturating_add(count);
            // Opened anew the next time: the disk may have been replaced under us.
            self.file = None;
        }
    }

    fn report_loss(&mut self) -> io::Result<()> {
        if self.lost == 0 {
            return Ok(());
        }
        let line =
            format!("\n[{} bytes of output were lost: the log could not be written]\n", self.lost);
        self.write(line.as_bytes())?;
        self.lost = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (file, size) = match self.file.take() {
            Some(open) => open,
            None => open(&self.path)?,
        };
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (mut file, size) = if size > 0 && size + count > self.limit {
            drop(file);
            fs::rename(&self.path, rotated(&self.path))?;
            open(&self.path)?
        } else {
            (file, size)
        };
        file.write_all(bytes)?;
        self.file = Some((file, size + count));
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(fs::File, u64)> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true).mode(0o640);
    let file = options.open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// The reading end of what the container writes to.
#[derive(Debug)]
pub(crate) struct Output {
    source: Option<OwnedFd>,
    /// Of a pty, its other side: while somebody has it open, the container's programs may close the
    /// console and open it again without ending it.
    slave: Option<OwnedFd>,
    is_pty: bool,
    log: Log,
}

impl Output {
    /// `source` must not block.
    pub(crate) fn pipe(source: OwnedFd, log: Log) -> Self {
        Self { source: Some(source), slave: None, is_pty: false, log }
    }

    /// `master` must not block.
    pub(crate) fn pty(master: OwnedFd, log: Log) -> Self {
        let slave = open_slave(&master).ok();
        Self { source: Some(master), slave, is_pty: true, log }
    }

    /// Where input for the container goes: a pipe takes none.
    pub(crate) fn input(&self) -> Option<BorrowedFd<'_>> {
        self.source().filter(|_| self.is_pty)
    }

    /// What to poll, until its end was seen.
    pub(crate) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(AsFd::as_fd)
    }

    /// Copy what is there now, but no more than a bit at a time: the monitor has other work. `also`
    /// gets it beside the log.
    pub(crate) fn copy_some(&mut self, also: impl FnMut(&[u8])) {
        self.copy(16, also);
    }

    /// Copy all that is there, at the end. Bounded by what a pipe can hold, as nobody writes any more.
    pub(crate) fn drain(&mut self, also: impl FnMut(&[u8])) {
        self.copy(1024, also);
    }

    fn copy(&mut self, rounds: u32, mut also: impl FnMut(&[u8])) {
        let mut bytes = [0; 4096];
        let mut hangups = 0;
        for _ in 0..rounds {
            let Some(source) = &self.source else { return };
            match rustix::io::read(source, &mut bytes) {
                Ok(count @ 1..) => {
                    self.log.append(&bytes[..count]);
                    also(&bytes[..count]);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // A pty that nobody has open. A getty hangs up its terminal, ours with it, and opens it
                // anew: so do we. Twice in a row is an end.
                Err(Errno::IO) if self.slave.is_some() && hangups == 0 => {
                    hangups += 1;
                    self.slave = open_slave(source).ok();
                }
                Ok(0) | Err(Errno::IO) => self.source = None,
                Err(err) => {
                    crate::guest::warn("output", &err.to_string());
                    self.source = None;
                }
            }
        }
    }
}

/// Through the master, so that no path in a container's mount namespace is needed.
fn open_slave(master: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    rustix::pty::ioctl_tiocgptpeer(master, flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotates_once_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/100.log");
        let mut log = Log { limit: 10, ..Log::new(path.clone()) };
        log.append(b"first\n");
        log.append(b"second\n");
        log.append(b"3\n");
        assert_eq!(fs::read_to_string(rotated(&path)).unwrap(), "first\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n3\n");
        // A later monitor goes on where this one ended.
        Log { limit: 10, ..Log::new(path.clone()) }.append(b"four\n");
        assert_eq!(fs::read_to_string(rotated(&path)).unwrap(), "second\n3\n");
    }

    #[test]
    fn counts_what_a_full_disk_costs_and_says_so_later() {
        let dir = tempfile::tempdir().unwrap();
        let full = dir.path().join("full");
        std::os::unix::fs::symlink("/dev/full", &full).unwrap();
        let mut log = Log::new(full.clone());
        log.append(b"12345");
        log.append(b"678");
        assert_eq!(log.lost, 8);
        fs::remove_file(&full).unwrap();
        log.append(b"again\n");
        let text = fs::read_to_string(&full).unwrap();
        assert!(
            text.contains("8 bytes of output were lost") && text.ends_with("again\n"),
            "{text}"
        );
    }

    #[test]
    fn reads_until_the_writers_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("100.log");
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let mut output = Output::pipe(reader, Log::new(path.clone()));
        rustix::io::write(&writer, b"hello\n").unwrap();
        output.copy_some(|_| ());
        assert!(output.source().is_some());
        drop(writer);
        output.drain(|_| ());
        assert!(output.source().is_none());
        assert_eq!(fs::read_to_string(&path).unwrap(), "hello\n");
    }

    #[test]
    fn a_console_outlives_those_who_close_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("100.log");
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        let program = open_slave(&master).unwrap();
        let mut output = Output::pty(master, Log::new(path.clone()));
        let mut seen = Vec::new();
        rustix::io::write(&program, b"one ").unwrap();
        drop(program);
        output.copy_some(|bytes| seen.extend_from_slice(bytes));
        output.copy_some(|_| ());
        let program = open_slave(output.source.as_ref().unwrap()).unwrap();
        rustix::io::write(&program, b"two").unwrap();
        output.copy_some(|bytes| seen.extend_from_slice(bytes));
        assert_eq!(seen, b"one two");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one two");
    }
}
