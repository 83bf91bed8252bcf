//! The process that answers, as the monitor has it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::CHILD;
use crate::crun::console;
use crate::error::{During, Result};
use crate::guest::Guest;

/// Of connections that wait: one for each `exec` that begins.
const BACKLOG: i32 = 64;
/// A killed process needs that long at most.
const TIME_TO_END: Duration = Duration::from_secs(2);

/// Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Handler {
    pidfd: OwnedFd,
    socket: PathBuf,
}

impl Handler {
    pub(crate) fn start(guest: &Guest) -> Result<Self> {
        let what = "cannot start the process that makes device nodes";
        let socket = guest.root.mknod_socket(guest.vmid);
        let parent = getpid().as_raw_nonzero().to_string();
        let child = Command::new("/proc/self/exe")
            .args([CHILD, "--parent", &parent])
            .stdin(console::listen(&socket, BACKLOG).during(what)?)
            .stdout(Stdio::null())
            .spawn()
            .during(what)?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).during(what)?;
        Ok(Self { pidfd, socket })
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // It has nothing to put in order, and may have ended by itself. Whoever waits for an answer has
        // been killed, or gets ENOSYS.
        pidfd_send_signal(&self.pidfd, Signal::KILL).ok();
        let wait = Timespec::try_from(TIME_TO_END).expect("two seconds fit");
        poll(&mut [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)], Some(&wait)).ok();
        // If it stays, the next start removes it.
        crate::cleanup::remove(&self.socket).ok();
    }
}
