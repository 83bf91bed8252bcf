//! A keeper as the monitor has it: started with a container's interface, ended with the container.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Orders;
use crate::error::{During, Result};

/// For its last words to the server.
const TIME_TO_END: Duration = Duration::from_secs(2);

/// Dropping it ends it.
#[derive(Debug)]
pub(super) struct Keeper {
    pidfd: OwnedFd,
    words: Option<ChildStdout>,
    /// Lines that are to come: of families that have had no lease yet, and of whoever listens to routers.
    waiting: usize,
}

/// How the wait for first leases goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Waiting,
    Leased,
    /// It has ended, and said why on standard error.
    Failed,
}

impl Keeper {
    /// For an interface that is there, in the namespaces of the container's first process.
    pub(super) fn spawn(init: BorrowedFd<'_>, orders: &Orders) -> Result<Self> {
        let what = "cannot start the keeper of leases";
        let mut child = Command::new("/proc/self/exe")
            .args(orders.arguments())
            .stdin(init.try_clone_to_owned().during(what)?)
            .stdout(Stdio::piped())
            .spawn()
            .during(what)?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).during(what)?;
        let words = child.stdout.take();
        if let Some(words) = &words {
            rustix::io::ioctl_fionbio(words, true).during(what)?;
        }
        let waiting = [orders.v4, orders.v6, orders.routers].map(usize::from).iter().sum();
        Ok(Self { pidfd, words, waiting })
    }

    /// Readable when it has something to say; nothing once that is of no interest.
    pub(super) fn words(&self) -> Option<BorrowedFd<'_>> {
        self.words.as_ref().map(AsFd::as_fd)
    }

    /// What it has said so far.
    pub(super) fn listen(&mut self) -> Outcome {
        let mut buffer = [0; 256];
        while self.waiting > 0 {
            let Some(words) = &mut self.words else { return Outcome::Failed };
            match words.read(&mut buffer) {
                Ok(0) => return Outcome::Failed,
                // One line for each.
                Ok(count) => {
                    let lines = buffer[..count].iter().filter(|byte| **byte == b'\n').count();
                    self.waiting = self.waiting.saturating_sub(lines);
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Outcome::Waiting,
                Err(_) => return Outcome::Failed,
            }
        }
        Outcome::Leased
    }

    pub(super) fn stop_listening(&mut self) {
        self.words = None;
    }

    /// Ask it to; dropping it waits for that.
    pub(super) fn end(&self) {
        // One that has ended by itself is as good.
        pidfd_send_signal(&self.pidfd, Signal::TERM).ok();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
        let wait = Timespec::try_from(TIME_TO_END).expect("two seconds fit");
        let mut fds = [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
        // Whether it is our child that has ended is seen by whoever waits for children.
        if !matches!(poll(&mut fds, Some(&wait)), Ok(1..)) {
            pidfd_send_signal(&self.pidfd, Signal::KILL).ok();
        }
    }
}
