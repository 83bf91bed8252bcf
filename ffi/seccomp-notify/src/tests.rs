use std::mem::offset_of;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

/// `getppid` of the thread that is to make the calls is asked about; of no other thread.
fn filter() -> io::Result<Listener> {
    let number = u32::try_from(libc::SYS_getppid).unwrap();
    let step =
        |code: u32, jt, jf, k| libc::sock_filter { code: code.try_into().unwrap(), jt, jf, k };
    let offset = u32::try_from(offset_of!(libc::seccomp_data, nr)).unwrap();
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the program and its steps are live, and the kernel only reads them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    let fd = libc::c_int::try_from(fd).unwrap();
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    Ok(Listener(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// A thread that makes so many calls; what each gave it.
fn caller(calls: usize) -> (Listener, JoinHandle<Vec<Result<i64, i32>>>) {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        sender.send(filter().unwrap()).unwrap();
        (0..calls)
            .map(|_| {
                // SAFETY: takes no arguments.
                let rc = unsafe { libc::syscall(libc::SYS_getppid) };
                if rc < 0 {
                    Err(io::Error::last_os_error().raw_os_error().unwrap())
                } else {
                    Ok(rc)
                }
            })
            .collect()
    });
    (receiver.recv().unwrap(), thread)
}

fn next(listener: &Listener) -> Call {
    listener.receive().unwrap().unwrap()
}

#[test]
fn a_caller_gets_its_answer() {
    let (listener, thread) = caller(3);
    for answer in [Answer::Done, Answer::Failed(Errno::DOM), Answer::Continue] {
        let call = next(&listener);
        assert_eq!(i64::from(call.number), libc::SYS_getppid);
        assert!(std::path::Path::new(&format!("/proc/self/task/{}", call.thread)).exists());
        assert!(listener.is_waiting(call.id));
        assert!(listener.answer(call.id, answer).unwrap());
        assert!(!listener.answer(call.id, answer).unwrap(), "one call, one answer");
        assert!(!listener.is_waiting(call.id));
    }
    let parent = i64::from(rustix::process::getppid().unwrap().as_raw_nonzero().get());
    assert_eq!(thread.join().unwrap(), [Ok(0), Err(libc::EDOM), Ok(parent)]);
}

#[test]
fn says_when_nobody_can_call_any_more() {
    let (listener, thread) = caller(0);
    thread.join().unwrap();
    let mut fds = [PollFd::new(&listener, PollFlags::IN)];
    let wait = Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&wait)), Ok(1));
    assert_eq!(fds[0].revents(), PollFlags::HUP);
}

#[test]
fn says_what_is_no_listener() {
    let listener =
        Listener::from(OwnedFd::from(fs_err::File::open("/dev/null").unwrap().into_file()));
    assert_eq!(listener.receive(), Err(Errno::NOTTY));
    assert_eq!(listener.answer(1, Answer::Done), Err(Errno::NOTTY));
    assert!(!listener.is_waiting(1));
}

#[test]
fn nobody_is_above_its_own_namespace() {
    let own = fs_err::File::open("/proc/self/ns/user").unwrap();
    assert_eq!(parent(&own).unwrap_err(), Errno::PERM);
    let file = fs_err::File::open("/dev/null").unwrap();
    assert_eq!(parent(&file).unwrap_err(), Errno::NOTTY);
}

/// Tests have threads; one process of a single thread is what the monitor is.
#[test]
fn no_fork_where_there_are_threads() {
    let err = in_child(&[], || ()).unwrap_err();
    assert_eq!(err.raw_os_error(), Some(libc::EINVAL));
}
