//! The worker's side: what is inherited and what is not, then the call.
//!
//! Nothing here returns to the caller's code. The process is a copy, so what it drops, closes or
//! panics about must stay without effect on the original: it leaves by `_exit` only.

use std::ffi::c_int;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use serde::Serialize;

use crate::error::Failure;

/// Behind the standard streams come those that are preserved.
const FIRST: c_int = 3;

/// Answered, with success or failure.
const DONE: c_int = 0;
/// Could not set itself up or panicked; the log tells.
const BROKEN: c_int = 125;

pub(super) struct Setup<'a> {
    pub(super) parent: Pid,
    pub(super) timeout: Duration,
    pub(super) streams: &'a [OwnedFd; 3],
    pub(super) log: BorrowedFd<'a>,
    pub(super) reply: BorrowedFd<'a>,
    pub(super) preserve: u32,
    pub(super) keep_stderr: bool,
}

/// The worker's own descriptors.
#[derive(Clone, Copy)]
struct Numbers {
    /// Right behind what is preserved, so that libcrun can be told to keep this one and no other.
    log: c_int,
    reply: c_int,
    first_unused: c_int,
}

impl Numbers {
    fn behind(preserve: u32) -> std::io::Result<Self> {
        // No process has as many as a quarter of this range.
        let preserve = c_int::try_from(preserve).ok().filter(|count| *count < c_int::MAX / 4);
        let log = FIRST + preserve.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(Self { log, reply: log + 1, first_unused: log + 2 })
    }
}

pub(super) fn main<T: Serialize>(
    setup: &Setup<'_>,
    call: impl FnOnce() -> Result<T, Failure>,
) -> ! {
    let work = AssertUnwindSafe(|| -> std::io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(setup.parent) {
            return Ok(()); // it went before the line above; nobody is left to answer
        }
        limit_time(setup.timeout)?;
        default_signals()?;
        let numbers = Numbers::behind(setup.preserve)?;
        arrange_descriptors(setup, numbers)?;
        if !setup.keep_stderr {
            log_to_memory(numbers.log)?;
        }
        let answer = serde_json::to_vec(&call())?;
        // SAFETY: `arrange_descriptors` put the reply file there, and nothing else owns the number.
        let mut reply = unsafe { std::fs::File::from_raw_fd(numbers.reply) };
        reply.write_all(&answer)
    });
    let code = match catch_unwind(work) {
        Ok(Ok(())) => DONE,
        Ok(Err(_)) | Err(_) => BROKEN,
    };
    // SAFETY: takes no pointers; ends the process without running anything of the original's.
    unsafe { libc::_exit(code) }
}

/// Have the kernel kill this process in time. libcrun waits for files, sockets and frozen cgroups without
/// a limit, and blocks every signal that can be blocked. Neither fork nor exec hands a timer on.
fn limit_time(timeout: Duration) -> std::io::Result<()> {
    // SAFETY: integers and a union of an integer and a pointer, for which zero is a value.
    let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGKILL;
    let mut timer = ptr::null_mut();
    // SAFETY: an event to read and a place for the timer, both live.
    check(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) })?;

    let whole = timeout.max(Duration::from_millis(1)); // zero would mean no limit
    let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let at = libc::timespec {
        tv_sec: whole.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: whole.subsec_nanos().into(),
    };
    let once = libc::itimerspec { it_interval: none, it_value: at };
    // SAFETY: the timer just made, a time to read, and null as the old time is not wanted.
    check(unsafe { libc::timer_settime(timer, 0, &raw const once, ptr::null_mut()) })
}

/// libcrun does the same for a container's process, but for the two signals that libc hides; hooks and
/// the worker itself need it too (Rust programs ignore SIGPIPE, and the caller may block or handle more).
fn default_signals() -> std::io::Result<()> {
    const KERNEL_SIGNALS: c_int = 64;
    let default = [0_u64; 4]; // the kernel's sigaction: handler SIG_DFL, no flags, no restorer, no mask
    for signal in 1..=KERNEL_SIGNALS {
        // SAFETY: the kernel reads the 32 bytes it is given and writes nothing. The default action is no
        // function, so nothing can be called at a bad moment. KILL and STOP are refused, which is as good.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(Into::into)
}

/// 0 to 2 as given, the preserved ones as they are, log and reply closed on exec, and nothing more.
fn arrange_descriptors(setup: &Setup<'_>, numbers: Numbers) -> std::io::Result<()> {
    // Out of the way first: any of them may have a number that is about to be replaced.
    let [stdin, stdout, stderr] = setup.streams;
    let stdin = fcntl_dupfd_cloexec(stdin, numbers.first_unused)?;
    let stdout = fcntl_dupfd_cloexec(stdout, numbers.first_unused)?;
    let stderr = fcntl_dupfd_cloexec(stderr, numbers.first_unused)?;
    let log = fcntl_dupfd_cloexec(setup.log, numbers.first_unused)?;
    let reply = fcntl_dupfd_cloexec(setup.reply, numbers.first_unused)?;

    rustix::stdio::dup2_stdin(&stdin)?;
    rustix::stdio::dup2_stdout(&stdout)?;
    rustix::stdio::dup2_stderr(&stderr)?;
    replace(numbers.log, &log)?;
    replace(numbers.reply, &reply)?;

    // Their numbers are closed below, with everything else.
    std::mem::forget([stdin, stdout, stderr, log, reply]);
    // SAFETY: this process runs no code of the owners of those descriptors any more.
    let closed = unsafe { libc::close_range(numbers.first_unused.cast_unsigned(), u32::MAX, 0) };
    check(closed)
}

fn replace(number: c_int, by: &OwnedFd) -> std::io::Result<()> {
    // SAFETY: `by` is open; whoever owned `number` in the original does not run in this copy.
    let done = unsafe { libc::dup3(by.as_raw_fd(), number, libc::O_CLOEXEC) };
    check(done)
}

fn check(result: c_int) -> std::io::Result<()> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Point the C library's `stderr`, to which libcrun writes its messages here and in the container's
/// process, at the log; descriptor 2 stays the container's.
fn log_to_memory(log: c_int) -> std::io::Result<()> {
    // SAFETY: the descriptor is open and its owner is the stream from here on; both are C strings.
    let stream = unsafe { libc::fdopen(log, c"a".as_ptr()) };
    if stream.is_null() {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the stream was just made and nothing was written; a null buffer goes with _IONBF, without
    // which the last words before an `_exit` would be lost.
    unsafe { libc::setvbuf(stream, ptr::null_mut(), libc::_IONBF, 0) };
    // SAFETY: one thread, so nobody reads it meanwhile; the stream is never closed.
    unsafe { libcrun_sys::stderr = stream };
    Ok(())
}
