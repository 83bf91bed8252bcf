//! `exec`: by way of `lxc-attach`, which alone puts the container's own seccomp filter and security
//! label on a program of somebody else's. What it has no option for is set before it is called, or
//! refused where the program would be less confined without.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType, Process as Wanted};
use oci_verbs::Exec;
use pve_integration::lxc::ENTER_FOLDER;
use pve_integration::lxc::from_bundle::bounding;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::record::{Container, Status};
use super::terminal::Terminal;
use super::{Verbs, within};
use crate::crun::oci::attend::{Attendant, exit_code, write_pid_file};
use crate::crun::oci::error::{Error, Result};
use crate::crun::oci::process::Process;
use crate::error::During as _;
use crate::{entrypoint, unblocked};

/// The hidden verb of the child that becomes `lxc-attach`.
pub(crate) const ENTRANCE: &str = "lxc-entrance";
const PROGRAM: &str = "lxc-attach";
/// How long LXC may take to get inside.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn exec(verbs: &Verbs<'_>, container: &Container, exec: &Exec) -> Result<u8> {
    let attendant = Attendant::new()?;
    match container.status()? {
        Status::Running => {}
        Status::Paused => return Err(Error::IsPaused(container.id())),
        Status::Creating | Status::Created | Status::Stopped => {
            return Err(Error::NotRunning(container.id()));
        }
    }
    let process = match &exec.process {
        Some(path) => Process::read(path)?,
        None => Process::like_init(container.lxcpath(), exec)?,
    };
    let process = process.into_wanted()?;
    check(verbs, container, &process)?;
    let terminal = Terminal::of(process.terminal() == Some(true), exec.detach, &exec.io)?;
    let mut command = entrance(verbs, container, &process, terminal.is_some())?;
    if let Some(terminal) = &terminal {
        terminal.give(&mut command)?;
    }
    let attach = command.spawn().during("cannot make a process for lxc-attach")?;
    let child = Pid::from_child(&attach);
    let pid = inside(container, child).inspect_err(|_| {
        // It may have ended by itself.
        kill_process(child, Signal::KILL).ok();
    })?;
    let given = terminal.map(Terminal::hand_over).transpose();
    // One that has ended already has no number any more.
    let written = pid.map_or(Ok(()), |pid| write_pid_file(&exec.io, pid));
    let master = given.and_then(|master| written.map(|()| master.flatten())).inspect_err(|_| {
        // It may have ended by itself.
        kill_process(pid.unwrap_or(child), Signal::KILL).ok();
    })?;
    if exec.detach {
        return Ok(0);
    }
    Ok(exit_code(attendant.attend(child, pid.unwrap_or(child), master)?))
}

/// What LXC cannot do for a program that enters.
fn check(verbs: &Verbs<'_>, container: &Container, process: &Wanted) -> Result<()> {
    let own = container.process()?;
    let (kept, wanted) = (bounding(&own), bounding(process));
    if !kept.is_subset(&wanted) {
        return Err(Error::NotWithLxc("a program with fewer capabilities than its container"));
    }
    if !wanted.is_subset(&kept) {
        verbs.log.warn("process.capabilities: LXC gives a program none that its container lacks");
    }
    let set = |process: &Wanted| process.no_new_privileges() == Some(true);
    if set(process) && !set(&own) {
        return Err(Error::NotWithLxc("noNewPrivileges of a single program"));
    }
    if process.user().additional_gids().as_ref().is_some_and(|groups| !groups.is_empty()) {
        verbs.log.warn("process.user.additionalGids: LXC gives a program that enters none");
    }
    let rootfs = root_of(container)?;
    entrypoint::find(rootfs.as_fd(), process).map_err(Error::Program)
}

/// As the container sees it.
fn root_of(container: &Container) -> Result<OwnedFd> {
    let pid = container.init().ok_or_else(|| Error::NotRunning(container.id()))?;
    let path = format!("/proc/{}/root", pid.as_raw_nonzero());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty()).during("cannot open the container's root")?)
}

/// A child that becomes `lxc-attach`.
fn entrance(
    verbs: &Verbs<'_>,
    container: &Container,
    process: &Wanted,
    terminal: bool,
) -> Result<Command> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(ENTRANCE).args(terminal.then_some("--terminal"));
    command.arg("--preserve").arg(verbs.preserved.to_string());
    for limit in process.rlimits().iter().flatten() {
        command.arg("--limit").arg(serde_json::to_string(limit).expect("a limit is JSON"));
    }
    command.arg(container.record().lxc_start.with_file_name(PROGRAM)).arg("--");
    command.arg("-P").arg(container.lxcpath()).arg("-n").arg(container.id());
    command.args(["-l", "ERROR", "--clear-env"]);
    // Of a name alone LXC would look up our value.
    let variables = process.env().iter().flatten().filter(|line| line.contains('='));
    command.args(variables.flat_map(|line| ["--set-var", line]));
    let user = process.user();
    command.arg("--uid").arg(user.uid().to_string()).arg("--gid").arg(user.gid().to_string());
    let labels = [process.selinux_label(), process.apparmor_profile()];
    if let Some(label) = labels.into_iter().flatten().find(|label| !label.is_empty()) {
        command.args(["--context", label]);
    }
    command.arg("--").args(words(container, process)?);
    Ok(command)
}

/// LXC has no word for the folder to start in, so a shell of the container's goes there.
fn words(container: &Container, process: &Wanted) -> Result<Vec<OsString>> {
    let words = process.args().iter().flatten().map(OsString::from);
    let cwd = process.cwd();
    if cwd == Path::new("/") {
        return Ok(words.collect());
    }
    let shell: Wanted = serde_json::from_value(serde_json::json!({
        "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/bin/sh"],
    }))
    .expect("these are a process");
    let rootfs = root_of(container)?;
    entrypoint::find(rootfs.as_fd(), &shell)
        .map_err(|_| Error::NotWithLxc("another folder than / in a container without /bin/sh"))?;
    let change = ENTER_FOLDER.map(OsString::from);
    Ok(change.into_iter().chain([cwd.into()]).chain(words).collect())
}

/// The program as the host counts it; none if it has ended. LXC's child is left to be reaped, and one
/// that only helps it inside is not meant: that never becomes another program.
fn inside(container: &Container, attach: Pid) -> Result<Option<Pid>> {
    let cgroup = container.cgroup()?;
    let mut found = None;
    let seen = within(PATIENCE, || {
        let pids = cgroup.processes()?;
        let is_it =
            |pid: &Pid| parent_of(*pid) == Some(attach) && program_of(*pid) != program_of(attach);
        found = pids.into_iter().find(is_it);
        Ok(found.is_some() || has_ended(attach)?)
    })?;
    if seen { Ok(found) } else { Err(Error::NoPid) }
}

fn has_ended(child: Pid) -> Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(child), options).during("cannot look at lxc-attach")?;
    Ok(status.is_some())
}

fn program_of(pid: Pid) -> Option<PathBuf> {
    fs_err::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).ok()
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let status = fs_err::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    status.lines().find_map(|line| Pid::from_raw(line.strip_prefix("PPid:")?.trim().parse().ok()?))
}

#[derive(clap::Args)]
pub(crate) struct EntranceOrders {
    #[arg(long)]
    terminal: bool,
    #[arg(long)]
    preserve: u32,
    #[arg(long = "limit")]
    limits: Vec<String>,
    program: PathBuf,
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// The child. It goes to where LXC looks for a folder to start in.
pub(crate) fn enter(orders: &EntranceOrders) -> Result<()> {
    super::keeper::close_inherited(orders.preserve);
    rustix::process::chdir("/").during("cannot leave the working directory")?;
    for text in &orders.limits {
        let limit: PosixRlimit = serde_json::from_str(text).map_err(Error::Resources)?;
        setrlimit(resource(limit.typ()), limit.soft(), limit.hard())
            .during("cannot set the program's limits")?;
    }
    if orders.terminal {
        let what = "cannot give LXC its terminal";
        rustix::process::setsid().during(what)?;
        rustix::process::ioctl_tiocsctty(std::io::stdin()).during(what)?;
    }
    Ok(unblocked::exec(Command::new(&orders.program).args(&orders.arguments))?)
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => Resource::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => Resource::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => Resource::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => Resource::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => Resource::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => Resource::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => Resource::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => Resource::RLIMIT_RTTIME,
    }
}
