//! The worker process: fork, one closure, its answer, exit.
//!
//! Answer and log are memory files, and the caller waits for the worker's exit, not for the end of a
//! pipe: a container's process inherits every descriptor of its worker and keeps it until it executes
//! its program, which may be hours later.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Failure, Kind, Operation, last_line};
use crate::stdio::Stdio;

mod child;

/// More than libcrun ever prints, unless it prints without end.
const LOG_LIMIT: u64 = 64 * 1024;

/// What a worker's standard streams are.
pub(crate) enum Streams<'a> {
    /// Nothing to read; output joins libcrun's log. Hooks write there.
    Log,
    /// The container's own.
    Given(&'a Stdio),
}

pub(crate) struct Worker<'a> {
    pub(crate) operation: Operation,
    pub(crate) timeout: Duration,
    pub(crate) streams: Streams<'a>,
    /// Descriptors from 3 on that stay what they are.
    pub(crate) preserve: u32,
    /// The C library's stderr is the container's, not the log.
    pub(crate) keep_stderr: bool,
}

/// The log as libcrun may open it in a worker that preserves so many descriptors.
pub(crate) fn log_path(preserve: u32) -> CString {
    let number = u64::from(preserve) + 3;
    CString::new(format!("file:/proc/self/fd/{number}")).expect("it contains no NUL")
}

impl Worker<'_> {
    /// Gives the answer and the log, into which processes that the worker left behind still write.
    pub(crate) fn run_logged<T>(
        &self,
        call: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<(T, File), Error>
    where
        T: Serialize + DeserializeOwned,
    {
        self.require_single_thread()?;
        let reply = self.memory_file("lxcri-reply")?;
        let log = self.memory_file("lxcri-log")?;
        let streams = self.prepare_streams(&log)?;

        let (parent, start) = (rustix::process::getpid(), Instant::now());
        // SAFETY: the process has one thread, so its copy finds every lock of libc and ours free.
        let forked = unsafe { nix::unistd::fork() };
        let worker = match forked {
            Ok(nix::unistd::ForkResult::Parent { child }) => child,
            Ok(nix::unistd::ForkResult::Child) => {
                let setup = child::Setup {
                    parent,
                    timeout: self.timeout,
                    streams: &streams,
                    log: log.as_fd(),
                    reply: reply.as_fd(),
                    preserve: self.preserve,
                    keep_stderr: self.keep_stderr,
                };
                child::main(&setup, call)
            }
            Err(err) => return Err(self.failed("fork", err)),
        };
        let worker =
            Pid::from_raw(worker.as_raw()).expect("fork gives the parent a positive number");
        let ended = Ended { status: self.wait(worker)?, after: start.elapsed() };
        self.answer(&ended, &reply, log)
    }

    fn require_single_thread(&self) -> Result<(), Error> {
        let tasks = std::fs::read_dir("/proc/self/task")
            .map_err(|err| self.failed("read /proc/self/task", err))?;
        match tasks.count() {
            1 => Ok(()),
            threads => {
                let message = format!("the calling process has {threads} threads instead of one");
                Err(Error::new(self.operation, Kind::Threads, message))
            }
        }
    }

    fn memory_file(&self, name: &str) -> Result<File, Error> {
        let file = memfd_create(name, MemfdFlags::CLOEXEC)
            .map_err(|err| self.failed("memfd_create", err))?;
        Ok(File::from(file))
    }

    /// The three descriptors, all valid, that become 0, 1 and 2.
    fn prepare_streams(&self, log: &File) -> Result<[OwnedFd; 3], Error> {
        let copy = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned().map_err(|err| self.failed("copy a standard stream", err))
        };
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(|err| self.failed("open /dev/null", err))?;
        let or_null = |fd: &Option<OwnedFd>| copy(fd.as_ref().map_or(null.as_fd(), AsFd::as_fd));
        match self.streams {
            Streams::Log => Ok([copy(null.as_fd())?, copy(log.as_fd())?, copy(log.as_fd())?]),
            Streams::Given(io) => {
                Ok([or_null(&io.stdin)?, or_null(&io.stdout)?, or_null(&io.stderr)?])
            }
        }
    }

    /// Reap exactly this child. It has a time limit of its own, so this ends.
    fn wait(&self, worker: Pid) -> Result<Option<WaitStatus>, Error> {
        loop {
            match waitpid(Some(worker), WaitOptions::empty()) {
                Err(Errno::INTR) => {}
                // With SIGCHLD ignored the kernel reaps, after the same wait.
                Err(Errno::CHILD) => return Ok(None),
                Ok(status) => return Ok(status.map(|(_, status)| status)),
                Err(err) => return Err(self.failed("wait for the worker", err)),
            }
        }
    }

    fn answer<T: DeserializeOwned>(
        &self,
        ended: &Ended,
        reply: &File,
        log: File,
    ) -> Result<(T, File), Error> {
        match serde_json::from_slice(&bytes(reply)) {
            Ok(Ok(answer)) => return Ok((answer, log)),
            Ok(Err(failure)) => return Err(Error::from_failure(failure, text(&log))),
            Err(_) => {}
        }
        let log = text(&log);
        let (kind, message) = if ended.after >= self.timeout {
            (Kind::TimedOut, format!("no answer within {:?}, the worker was killed", self.timeout))
        } else {
            let cause = last_line(&log).map(|line| format!(": {line}")).unwrap_or_default();
            (Kind::Died, format!("the worker {}{cause}", describe(ended.status)))
        };
        Err(Error::new(self.operation, kind, message).with_log(log))
    }

    fn failed(&self, what: &str, err: impl Into<io::Error>) -> Error {
        Error::worker(self.operation, what, &err.into())
    }
}

struct Ended {
    status: Option<WaitStatus>,
    after: Duration,
}

fn describe(status: Option<WaitStatus>) -> String {
    match status.map(|status| (status.exit_status(), status.terminating_signal())) {
        Some((Some(code), _)) => format!("exited with status {code} and no answer"),
        Some((_, Some(signal))) => format!("was killed by signal {signal}"),
        _ => "ended without an answer".to_owned(),
    }
}

/// Reads at offsets: the file position is shared with whoever still writes.
fn bytes(file: &File) -> Vec<u8> {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_exact_at(&mut bytes, 0);
    read.map_or_else(|_| Vec::new(), |()| bytes)
}

pub(crate) fn text(log: &File) -> String {
    let length = log.metadata().map_or(0, |metadata| metadata.len());
    let mut tail = vec![0; usize::try_from(length.min(LOG_LIMIT)).unwrap_or(0)];
    let read = log.read_exact_at(&mut tail, length.saturating_sub(LOG_LIMIT));
    read.map_or_else(|_| String::new(), |()| String::from_utf8_lossy(&tail).into_owned())
}

pub(crate) fn pid(operation: Operation, raw: i32) -> Result<Pid, Error> {
    let odd =
        || Error::new(operation, Kind::Failed, format!("libcrun reported {raw} as process id"));
    if raw > 0 { Pid::from_raw(raw).ok_or_else(odd) } else { Err(odd()) }
}

pub(crate) fn c_text(operation: Operation, text: &str) -> Result<CString, Error> {
    CString::new(text)
        .map_err(|_| Error::new(operation, Kind::Failed, format!("{text:?} contains a NUL byte")))
}

/// Absolute, as a worker may change its folder.
pub(crate) fn c_path(operation: Operation, path: &Path) -> Result<CString, Error> {
    let absolute = std::path::absolute(path)
        .map_err(|err| Error::worker(operation, "resolve a path", &err))?;
    let bytes = absolute.as_os_str().as_bytes();
    CString::new(bytes).map_err(|_| {
        Error::new(operation, Kind::Failed, format!("{} contains a NUL byte", path.display()))
    })
}
