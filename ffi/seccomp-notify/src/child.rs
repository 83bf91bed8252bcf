//! A fork that does one thing and ends.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sched::CloneFlags;
use rustix::process::Pid;

/// It did not come to its end.
const BROKEN: i32 = 125;

/// Run `work` in a copy of this process that has no descriptors but those of `keep`, and ends with it.
/// Owners of other descriptors must not be dropped in `work`. Refused where there are other threads.
pub fn in_child(keep: &[BorrowedFd<'_>], work: impl FnOnce()) -> io::Result<Pid> {
    // Changes nothing, and is an error where there are more threads than one.
    nix::sched::unshare(CloneFlags::CLONE_THREAD)?;
    let mut keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    keep.sort_unstable();
    // SAFETY: the process has one thread, so its copy finds every lock of libc and ours free.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => {
            Ok(Pid::from_raw(child.as_raw()).expect("fork gives the parent a positive number"))
        }
        nix::unistd::ForkResult::Child => {
            let whole = AssertUnwindSafe(|| close_all_but(&keep).map(|()| work()));
            let code = if matches!(catch_unwind(whole), Ok(Ok(()))) { 0 } else { BROKEN };
            // SAFETY: takes no pointers; ends the process without running anything of the original's.
            unsafe { libc::_exit(code) }
        }
    }
}

/// `keep` is sorted.
fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut first = 0;
    for &kept in keep {
        if first < kept {
            close(first, kept - 1)?;
        }
        first = kept + 1;
    }
    close(first, RawFd::MAX)
}

fn close(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: no pointers. Owners of these descriptors are not used in this process, as its caller
    // promised, and are not dropped, as it leaves by `_exit`.
    let rc = unsafe { libc::close_range(first.cast_unsigned(), last.cast_unsigned(), 0) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
