//! System calls that a seccomp filter has the kernel ask about (seccomp_unotify(2)), and what it takes to
//! find the answer: whose a namespace is, and forks to look around in.
#![expect(unsafe_code, reason = "no well-kept crate has the listener's ioctls")]

mod child;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

pub use child::in_child;

/// The descriptor that the kernel made with the filter.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// A call whose caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Names the call in an answer. The kernel uses none twice.
    pub id: u64,
    /// The caller's thread as this process sees it; 0 for one that it does not.
    pub thread: u32,
    /// AUDIT_ARCH_* of include/uapi/linux/audit.h.
    pub arch: u32,
    pub number: i32,
    /// As they are in registers: the caller cannot change them any more, but what they point to.
    pub arguments: [u64; 6],
}

/// What the caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The call returned 0.
    Done,
    Failed(Errno),
    /// The kernel does the call, as if it had not asked.
    Continue,
}

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// The next call. `None` if its caller is gone, or a signal came; waits where nobody calls.
    pub fn receive(&self) -> rustix::io::Result<Option<Call>> {
        let data = libc::seccomp_data { nr: 0, arch: 0, instruction_pointer: 0, args: [0; 6] };
        // The kernel wants zeros.
        let mut call = libc::seccomp_notif { id: 0, pid: 0, flags: 0, data };
        let place = &raw mut call;
        // SAFETY: the descriptor is open during the call. The command's number has the size of the
        // struct in it, which lives longer than the call, and of which every byte pattern is a value.
        let rc = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, place) };
        if !heard(rc)? {
            return Ok(None);
        }
        let libc::seccomp_notif { id, pid, data, .. } = call;
        let (arch, number, arguments) = (data.arch, data.nr, data.args);
        Ok(Some(Call { id, thread: pid, arch, number, arguments }))
    }

    /// Whether its caller still waits: then the thread's number is still the caller's.
    pub fn is_waiting(&self, id: u64) -> bool {
        let place = &raw const id;
        // SAFETY: the descriptor is open during the call, and the kernel reads the 8 bytes of `id`.
        let rc =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, place) };
        rc == 0
    }

    /// False if its caller is gone, or was answered before.
    pub fn answer(&self, id: u64, answer: Answer) -> rustix::io::Result<bool> {
        let (error, flags) = match answer {
            Answer::Done => (0, 0),
            Answer::Failed(errno) => (-errno.raw_os_error(), 0),
            Answer::Continue => (0, CONTINUE),
        };
        let mut answer = libc::seccomp_notif_resp { id, val: 0, error, flags };
        let place = &raw mut answer;
        loop {
            // SAFETY: the descriptor is open during the call. The command's number has the size of
            // the struct in it, which lives longer than the call.
            let rc =
                unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, place) };
            match failure(rc) {
                None => return Ok(true),
                Some(Errno::INTR) => {}
                // EINPROGRESS: it has one.
                Some(Errno::NOENT | Errno::INPROGRESS) => return Ok(false),
                Some(err) => return Err(err),
            }
        }
    }
}

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`
const CONTINUE: u32 = 1;

/// The user namespace in which this one was made; EPERM if this process is not above it.
pub fn parent(user_namespace: impl AsFd) -> rustix::io::Result<OwnedFd> {
    // SAFETY: the descriptor is open during the call, and the command takes no argument.
    let fd = unsafe { libc::ioctl(user_namespace.as_fd().as_raw_fd(), libc::NS_GET_PARENT) };
    if fd < 0 {
        return Err(failure(fd).unwrap_or(Errno::IO));
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn failure(rc: libc::c_int) -> Option<Errno> {
    if rc == 0 {
        return None;
    }
    let err = io::Error::last_os_error();
    Some(err.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
}

fn heard(rc: libc::c_int) -> rustix::io::Result<bool> {
    match failure(rc) {
        None => Ok(true),
        Some(Errno::NOENT | Errno::INTR) => Ok(false),
        Some(err) => Err(err),
    }
}

#[cfg(test)]
mod tests;
