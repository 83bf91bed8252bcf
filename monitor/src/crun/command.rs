//! What each command of LXC's protocol is answered with. Nothing is done here: what changes
//! something comes back as an [`Action`] for the supervisor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use lxc_protocol::wire::{self, CgroupLayout, Frame};
use lxc_protocol::{Command, State};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::cgroup::Cgroup;
use crate::guest::Guest;

/// What is known while a container runs.
pub(crate) struct Facts<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) state: State,
    pub(crate) pid: Pid,
    pub(crate) pidfd: BorrowedFd<'a>,
    pub(crate) clone_flags: u32,
    pub(crate) items: &'a [(&'static str, String)],
}

#[derive(Debug)]
pub(crate) enum Answer {
    Number(i32),
    Bytes(Vec<u8>),
    Descriptors(Vec<u8>, Vec<OwnedFd>),
    /// `ret` is this, negative.
    Failure(i32),
    Action(Action),
}

/// What the supervisor has to do, and then to answer by itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Stop,
    Freeze(Duration),
    Unfreeze(Duration),
    /// Tell the peer when one of these is reached.
    Await(Vec<State>),
    /// LXC's tools freeze by themselves and tell us the outcome; we believe them.
    Believe(State),
    /// Join a terminal to the container's console, for as long as the connection stays.
    Attach,
    /// Hand out the tty of this number, or one that is free, for as long as the connection stays.
    Tty(Option<i32>),
    /// A joined terminal may have another size now.
    Resize,
}

/// A freeze may take this long if the client does not say.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn answer(facts: &Facts<'_>, frame: &Frame) -> Answer {
    let Some(command) = Command::from_number(frame.command) else { return failure(Errno::NOSYS) };
    match command {
        Command::GetState => Answer::Number(facts.state.number().into()),
        Command::GetInitPid => Answer::Number(facts.pid.as_raw_nonzero().get()),
        Command::GetInitPidfd => descriptor(Vec::new(), facts.pidfd.try_clone_to_owned()),
        Command::GetCloneFlags => Answer::Number(facts.clone_flags.cast_signed()),
        Command::GetName => text(&facts.guest.name()),
        Command::GetLxcpath => text(&facts.guest.root.lxc_path().display().to_string()),
        // Whatever controller is named: the path is the same in all, and PVE dies without one.
        Command::GetCgroup => text(&facts.cgroup.inner),
        Command::GetLimitCgroup => text(&facts.cgroup.limit),
        Command::GetConfigItem => config_item(facts, &frame.payload),
        Command::Stop => Answer::Action(Action::Stop),
        Command::Freeze => Answer::Action(Action::Freeze(timeout(frame))),
        Command::Unfreeze => Answer::Action(Action::Unfreeze(timeout(frame))),
        Command::AddStateClient => match wire::decode_wanted(&frame.payload) {
            Ok(wanted) => Answer::Action(Action::Await(wanted)),
            Err(_) => failure(Errno::INVAL),
        },
        Command::ServeStateClients => match State::from_number(frame.argument) {
            Some(state) => Answer::Action(Action::Believe(state)),
            None => failure(Errno::INVAL),
        },
        Command::GetCgroup2Fd => unified(facts, &facts.cgroup.inner),
        Command::GetLimitCgroup2Fd => unified(facts, &facts.cgroup.limit),
        Command::GetCgroupCtx => {
            let fds = facts.cgroup.open_all();
            let count = u32::try_from(fds.len()).expect("at most 20");
            Answer::Descriptors(wire::encode_cgroup_ctx(facts.cgroup.layout, count).to_vec(), fds)
        }
        // LXC itself has these two swapped; its callers mean what the names say.
        Command::GetCgroupFd => cgroup_fd(facts, frame, &facts.cgroup.inner),
        Command::GetLimitCgroupFd => cgroup_fd(facts, frame, &facts.cgroup.limit),
        Command::GetDevptsFd => descriptor(Vec::new(), devpts(facts.pid).map_err(Into::into)),
        // 0 is the console, -1 the next tty that is free, others are ttys by number.
        Command::GetTtyFd => Answer::Action(match frame.argument {
            0 => Action::Attach,
            number => Action::Tty((number > 0).then_some(number)),
        }),
        // As lxc-start without a seccomp listener, without a console buffer.
        Command::GetSeccompNotifyFd => failure(Errno::BADF),
        Command::ConsoleLog => failure(Errno::FAULT),
        Command::GetSystemdScope => failure(Errno::INVAL),
        // No client of LXC's sends it; the daemon does when it has changed a terminal's size.
        Command::TerminalWinch => Answer::Action(Action::Resize),
        Command::SeccompNotifyAddListener | Command::AddBpfDeviceCgroup => failure(Errno::NOSYS),
    }
}

fn failure(err: Errno) -> Answer {
    Answer::Failure(err.raw_os_error())
}

fn text(text: &str) -> Answer {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    Answer::Bytes(bytes)
}

fn descriptor(payload: Vec<u8>, fd: std::io::Result<OwnedFd>) -> Answer {
    match fd {
        Ok(fd) => Answer::Descriptors(payload, vec![fd]),
        Err(err) => Answer::Failure(err.raw_os_error().unwrap_or(Errno::NOENT.raw_os_error())),
    }
}

fn config_item(facts: &Facts<'_>, payload: &[u8]) -> Answer {
    let Ok(key) = wire::text(payload) else { return failure(Errno::INVAL) };
    match facts.items.iter().find(|(name, _)| *name == key) {
        Some((_, value)) => text(value),
        None => failure(Errno::PERM), // -1, which means unset
    }
}

/// liblxc packs the seconds into a pointer, PVE sends them as eight bytes.
fn timeout(frame: &Frame) -> Duration {
    let seconds = match <[u8; 8]>::try_from(frame.payload.as_slice()) {
        Ok(bytes) => i64::from_le_bytes(bytes),
        Err(_) => frame.argument.into(),
    };
    match u64::try_from(seconds) {
        Ok(seconds @ 1..=600) => Duration::from_secs(seconds),
        Ok(_) | Err(_) => FREEZE_TIMEOUT,
    }
}

fn unified(facts: &Facts<'_>, path: &str) -> Answer {
    match facts.cgroup.layout {
        CgroupLayout::Unified => descriptor(Vec::new(), facts.cgroup.open("", path)),
        CgroupLayout::Legacy => failure(Errno::INVAL),
    }
}

fn cgroup_fd(facts: &Facts<'_>, frame: &Frame, path: &str) -> Answer {
    let Ok(controller) = wire::decode_cgroup_fd(&frame.payload) else {
        return failure(Errno::INVAL);
    };
    let payload = wire::encode_cgroup_fd(facts.cgroup.layout, controller).to_vec();
    descriptor(payload, facts.cgroup.open(controller, path))
}

/// The container's /dev/pts. Its root is under the container's control, so links are resolved in it.
fn devpts(pid: Pid) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = format!("/proc/{}/root", pid.as_raw_nonzero());
    let root = rustix::fs::open(root, flags | OFlags::PATH, Mode::empty())?;
    debug_assert!(root.as_raw_fd() > 2, "the standard descriptors are open");
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(root.as_fd(), "dev/pts", flags | OFlags::RDONLY, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use pve_integration::layout::Root;
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    use super::*;

    /// The answer for a container whose init is this process.
    fn ask(command: i32, argument: i32, payload: &[u8]) -> Answer {
        let guest = Guest {
            root: Root::new("/").unwrap(),
            node: "pve1".parse().unwrap(),
            vmid: "100".parse().unwrap(),
            debug: false,
        };
        let cgroup = Cgroup::of(&guest).unwrap();
        let pidfd = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        let facts = Facts {
            guest: &guest,
            cgroup: &cgroup,
            state: State::Running,
            pid: getpid(),
            pidfd: pidfd.as_fd(),
            clone_flags: 0x2000_0000,
            items: &[("lxc.uts.name", "ct".to_owned())],
        };
        answer(&facts, &Frame { command, argument, payload: payload.to_vec() })
    }

    fn bytes(answer: Answer) -> Vec<u8> {
        let Answer::Bytes(bytes) = answer else { panic!("{answer:?}") };
        bytes
    }

    #[test]
    fn knows_state_pid_and_paths() {
        assert!(matches!(ask(3, 0, &[]), Answer::Number(2)));
        let pid = getpid().as_raw_nonzero().get();
        assert!(matches!(ask(4, 0, &[]), Answer::Number(number) if number == pid));
        assert_eq!(bytes(ask(6, 0, b"memory\0")), b"lxc/100/ns\0");
        assert_eq!(bytes(ask(19, 0, b"freezer\0")), b"lxc/100\0");
        assert_eq!(bytes(ask(9, 0, &[])), b"/var/lib/lxc\0");
        assert!(matches!(ask(18, 0, &[]), Answer::Descriptors(_, fds) if fds.len() == 1));
    }

    #[test]
    fn tells_set_from_unset_items() {
        assert_eq!(bytes(ask(7, 0, b"lxc.uts.name\0")), b"ct\0");
        assert!(matches!(ask(7, 0, b"lxc.arch\0"), Answer::Failure(1)));
    }

    #[test]
    fn takes_both_forms_of_a_freeze_timeout() {
        let seconds = |answer| {
            let Answer::Action(Action::Freeze(timeout)) = answer else { panic!("{answer:?}") };
            timeout.as_secs()
        };
        assert_eq!(seconds(ask(15, 7, &[])), 7);
        assert_eq!(seconds(ask(15, 0x7f00, &3_i64.to_le_bytes())), 3);
        assert_eq!(seconds(ask(15, -1, &[])), 10);
    }

    #[test]
    fn tells_the_console_from_ttys() {
        assert!(matches!(ask(0, 0, &[]), Answer::Action(Action::Attach)));
        assert!(matches!(ask(0, -1, &[]), Answer::Action(Action::Tty(None))));
        assert!(matches!(ask(0, 2, &[]), Answer::Action(Action::Tty(Some(2)))));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(matches!(ask(99, 0, &[]), Answer::Failure(38)));
        assert!(matches!(ask(14, 0, &[0; 40]), Answer::Failure(38)));
        assert!(matches!(ask(10, 0, &[1]), Answer::Failure(22)));
        assert!(matches!(ask(25, 0, &[0; 3]), Answer::Failure(22)));
    }
}
