//! The parent of a container's `lxc-start`, one for each: `create` starts it and does not wait for it,
//! `run` does. It hears of LXC when the container is there, keeps the gate, and ends when `lxc-start`
//! does, as the container's program did.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use fs_err as fs;
use lxc_protocol::State;
use lxc_protocol::notify::Inbox;
use lxc_protocol::wire::Message;
use nix::sys::signal::Signal as Named;
use nix::sys::signalfd::SignalFd;
use pve_integration::bundle::DeviceError;
use pve_integration::lxc::from_bundle::NewNode;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid, chmod, chown, makedev, mknodat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::hooks;
use super::record::{CONFIG, Container, DEVICES, GATE, LOG, READY, REPORT};
use crate::crun::oci::error::{Error, Result};
use crate::error::During as _;
use crate::run::reap;
use crate::{lxc, namespace, run};

/// Its hidden verb.
pub(crate) const KEEPER: &str = "lxc-keeper";

#[derive(clap::Args)]
pub(crate) struct KeeperOrders {
    #[arg(long)]
    folder: PathBuf,
    /// Descriptors from 3 on that are the container's
    #[arg(long)]
    preserve: u32,
    /// Standard input is a terminal for the container
    #[arg(long)]
    terminal: bool,
    id: String,
}

pub(super) fn command(container: &Container, preserve: u32, terminal: bool) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(KEEPER).arg("--folder").arg(container.file(""));
    command.arg("--preserve").arg(preserve.to_string());
    command.args(terminal.then_some("--terminal")).arg(container.id());
    command
}

pub(crate) fn keep(orders: &KeeperOrders) -> ExitCode {
    close_inherited(orders.preserve);
    // `create` waits for a word, and for our end.
    let mut report = std::fs::OpenOptions::new().write(true).open(orders.folder.join(REPORT)).ok();
    match watch(orders, &mut report) {
        Ok(status) => ExitCode::from(exit_code(status)),
        Err(err) => {
            if let Some(mut report) = report {
                // If nobody listens, nobody wants to know.
                report.write_all(format!("{}\n", crate::one_line(&err)).as_bytes()).ok();
            }
            ExitCode::FAILURE
        }
    }
}

/// A descriptor that our caller's caller left open is nobody's in here.
pub(super) fn close_inherited(preserve: u32) {
    let first = 3 + preserve;
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse::<i32>().ok());
    for number in numbers.filter(|number| u32::try_from(*number).is_ok_and(|n| n >= first)) {
        // That of the folder just read is closed already.
        nix::unistd::close(number).ok();
    }
}

/// How the container's program ended.
fn watch(orders: &KeeperOrders, report: &mut Option<std::fs::File>) -> Result<ExitStatus> {
    let found = Container::open(orders.folder.clone(), &orders.id)?;
    let container = found.ok_or_else(|| Error::Gone(orders.id.clone()))?;
    let lock = container.lock()?;
    rustix::process::setsid().ok(); // fails for the leader of a group, which is as good
    rustix::process::chdir("/").during("cannot leave the working directory")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let signals = run::take_signals()?;
    namespace::enter()?;
    let (inbox, _host) = lxc::listen(container.lxcpath())?;
    make_nodes(&container)?;
    let (ready, gate) = (fifo(&container, READY)?, fifo(&container, GATE)?);
    let lxc_start = start(&container, orders.terminal)?;
    let mut keeper =
        Keeper { container, signals, inbox, ready, lxc_start, init: None, ran: false, ended: None };
    let done = keeper.attend(report);
    drop(gate);
    if done.is_err() {
        // It may have ended by itself.
        kill_process(keeper.lxc_start, Signal::KILL).ok();
    }
    let outcome = done.and_then(|()| keeper.outcome());
    if let Err(err) = &outcome {
        keeper.container.fail(&crate::one_line(err))?;
    }
    drop(lock);
    outcome
}

/// For reading and writing, so that there is neither waiting nor an end.
fn fifo(container: &Container, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(container.file(name), flags, Mode::empty()).during("cannot open a fifo")?)
}

/// In our mount namespace, with which they go.
fn make_nodes(container: &Container) -> Result<()> {
    let nodes = &container.record().nodes;
    if nodes.is_empty() {
        return Ok(());
    }
    let folder = container.file(DEVICES);
    fs::create_dir(&folder)?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("lxcri", &folder, "tmpfs", flags, c"size=64k,mode=755")
        .during("cannot make a place for device nodes")?;
    nodes.iter().try_for_each(make_node)
}

fn make_node(node: &NewNode) -> Result<()> {
    let kind = if node.block { FileType::BlockDevice } else { FileType::CharacterDevice };
    let (mode, number) = (Mode::from_raw_mode(node.mode), makedev(node.major, node.minor));
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    mknodat(CWD, &node.source, kind, mode, number)
        .and_then(|()| chmod(&node.source, mode)) // whatever our umask is
        .and_then(|()| chown(&node.source, Some(uid), Some(gid)))
        .map_err(|errno| DeviceError::Device {
            key: "linux.devices".to_owned(),
            path: node.path.clone(),
            source: errno.into(),
        })
        .map_err(crate::error::Error::from)?;
    Ok(())
}

/// With our standard streams, which we keep no longer than that.
fn start(container: &Container, terminal: bool) -> Result<Pid> {
    let record = container.record();
    let mut command = Command::new("/proc/self/exe");
    command.arg(lxc::CHILD).arg("--parent").arg(std::process::id().to_string());
    command.args(terminal.then_some("--terminal")).arg(&record.lxc_start);
    command.args(["--", "-F", "-q", "-n"]).arg(container.id());
    // With a log of its own it writes to standard error too, which is the container's; the config
    // names one for the container.
    command.args(["-o", "none"]);
    command.arg("-P").arg(container.lxcpath()).arg("-f").arg(container.file(CONFIG));
    command.arg("--").args(record.command.iter().map(OsString::from));
    let child = command.spawn().during("cannot make a process for lxc-start")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let null = null.during("cannot open /dev/null")?;
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .during("cannot let go of the standard streams")?;
    Ok(Pid::from_child(&child))
}

struct Keeper {
    container: Container,
    signals: SignalFd,
    inbox: Inbox,
    ready: OwnedFd,
    lxc_start: Pid,
    /// Once it is there.
    init: Option<(Pid, OwnedFd)>,
    /// Whether LXC said that it runs.
    ran: bool,
    ended: Option<ExitStatus>,
}

impl Keeper {
    /// Until `lxc-start` ends.
    fn attend(&mut self, report: &mut Option<std::fs::File>) -> Result<()> {
        loop {
            let (signalled, ready, init_ended) = self.wait()?;
            // What it said before it ended is there when its end is.
            let over = reap(self.lxc_start)?.is_some();
            self.hear()?;
            if ready && self.init.is_none() {
                self.arrived()?;
                if let Some(mut report) = report.take() {
                    // Whoever no longer waits for it has given up.
                    report.write_all(b"\n").ok();
                }
            }
            if signalled {
                self.signalled();
            }
            if over {
                return Ok(());
            }
            if init_ended && !self.ran && self.container.is_held_back() {
                // LXC waits at the gate, for nobody. Asked to end it would complain to our user.
                kill_process(self.lxc_start, Signal::KILL).ok();
                self.ran = true;
            }
        }
    }

    /// Whether there are signals, a word from the gate, and no first process any more.
    fn wait(&self) -> Result<(bool, bool, bool)> {
        let input = PollFlags::IN;
        let mut fds = vec![
            PollFd::new(&self.signals, input),
            PollFd::new(&self.inbox, input),
            PollFd::new(&self.ready, input),
        ];
        // Once it is to run, LXC says all there is to say of its end.
        let held = self.init.iter().filter(|_| !self.ran && self.container.is_held_back());
        fds.extend(held.map(|(_, pidfd)| PollFd::new(pidfd, input)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(err).during("cannot wait for events")?,
        }
        let has_event = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok((has_event(0), has_event(2), has_event(3)))
    }

    fn hear(&mut self) -> Result<()> {
        while let Some(message) = self.inbox.next().during("cannot listen to LXC")? {
            match message {
                Message::State(State::Running) => self.ran = true,
                Message::State(_) => {}
                Message::ExitCode(raw) => self.ended = Some(ExitStatus::from_raw(raw)),
            }
        }
        Ok(())
    }

    /// LXC has said its pid. The host's hooks come when all namespaces and mounts are there.
    fn arrived(&mut self) -> Result<()> {
        let mut bytes = [0; 32];
        let count = rustix::io::read(&self.ready, &mut bytes).during("cannot hear the gate")?;
        let text = String::from_utf8_lossy(&bytes[..count]);
        let pid = text.trim().parse().ok().and_then(Pid::from_raw).ok_or(Error::NoPid)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).during("cannot watch the container")?;
        self.init = Some((pid, pidfd));
        let hooks = self.container.hooks()?;
        let state = self.container.state_document()?;
        let state = with_status(state, pid);
        let prestart = hooks.as_ref().and_then(|hooks| hooks.prestart().clone());
        let create = hooks.as_ref().and_then(|hooks| hooks.create_runtime().clone());
        for hook in prestart.iter().chain(&create).flatten() {
            hooks::run(hook, &state)?;
        }
        self.container.write_pid(pid)
    }

    fn signalled(&mut self) {
        let mut terminate = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            terminate |= signal.ssi_signo == Named::SIGTERM as u32;
        }
        if terminate {
            let pid = self.init.as_ref().map_or(self.lxc_start, |(pid, _)| *pid);
            // It may have ended by itself.
            kill_process(pid, Signal::KILL).ok();
        }
    }

    fn outcome(&self) -> Result<ExitStatus> {
        match self.ended {
            Some(status) if self.ran => Ok(status),
            // Killed before it was started, which is an end as well.
            None if self.init.is_some() && self.container.is_held_back() => {
                Ok(ExitStatus::from_raw(Signal::KILL.as_raw()))
            }
            Some(_) | None => {
                Err(Error::LxcStart(lxc::log::first_error(&self.container.file(LOG))))
            }
        }
    }
}

fn with_status(mut state: serde_json::Value, pid: Pid) -> serde_json::Value {
    state["status"] = "creating".into();
    state["pid"] = pid.as_raw_nonzero().get().into();
    state
}

/// As a shell tells it.
fn exit_code(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(signal).unwrap_or(255);
    u8::try_from(code).unwrap_or(255)
}
