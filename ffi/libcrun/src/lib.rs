//! Safe calls into libcrun, each in a short-lived worker process.
//!
//! libcrun alters the process that calls it: `create` changes umask, signal mask, resource limits and
//! OOM score, `exec` makes the process undumpable, internal failures `_exit`, and there is no timeout.
//! So every call forks a worker (no exec), makes the one call there and hands back the answer; the
//! caller stays as it was. What a container's process inherits is set in the worker: default signal
//! handling, the three standard streams given in [`Stdio`], and no other descriptor unless
//! [`Options`] say so.
//!
//! The caller must be single-threaded, or the call is refused: a forked copy of a threaded process may
//! deadlock in libc. It should be a [subreaper](become_subreaper), so that containers' processes become
//! its children once the worker is gone; reaping those is the caller's, a worker is reaped here.
//!
//! `create` leaves the container's cgroup behind when it fails early, and hangs in a frozen one: clean
//! and thaw the cgroup before and after. Between `create` and `start` the container's process still
//! holds the descriptors of its worker, so never wait for the end of a pipe given in [`Stdio`] then.
#![expect(unsafe_code, reason = "calls C functions, and fork")]

mod error;
mod features;
mod library;
mod options;
mod runtime;
mod status;
mod stdio;
mod worker;

pub use error::{Error, Kind, Operation};
pub use features::{Annotations, Cgroup, Features, LinuxFeatures, MemoryPolicy, Seccomp};
pub use options::{Listener, Options, Verbosity};
pub use runtime::{Process, Runtime};
pub use status::{State, Status};
pub use stdio::Stdio;

pub use rustix::process::Pid;

/// The version that this program was built for; a worker that finds another one linked refuses to go on.
pub fn version() -> &'static str {
    libcrun_sys::VERSION.to_str().expect("the constant is ASCII")
}

/// Make this process the parent of containers' processes once their worker has gone.
pub fn become_subreaper() -> std::io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(Into::into)
}
