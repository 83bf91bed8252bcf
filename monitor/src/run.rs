//! The verb `run`: one container from the command socket to the exit record. Whatever happens in
//! between, what was made is removed again before the socket closes.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;

use fs_err as fs;
use lxc_protocol::State;
use lxc_protocol::wire::Message;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use pve_integration::ct_config::{self, ContainerConfig};
use pve_integration::exit::ExitRecord;
use pve_integration::host;
use pve_integration::systemd;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, WaitStatus};

use crate::cgroup::Cgroup;
use crate::cleanup;
use crate::container::{Began, Container, epoch_seconds};
use crate::error::{During, Error, Result};
use crate::guest::{Guest, warn};
use crate::hooks::Hooks;
use crate::names::Names;
use crate::namespace;
use crate::rootfs::{Purpose, Rootfs, open_folder, refuse_odd_directories};
use crate::setup;
use crate::supervisor::{Supervisor, reap};

/// Somebody changed what the running container is to have.
pub(crate) const CHANGED: Signal = Signal::SIGUSR1;

/// A container that reboots faster than this is slowed down to it.
pub(crate) const SHORTEST_LIFE: Duration = Duration::from_secs(1);

pub(crate) fn run(guest: &Guest) -> Result<()> {
    // Fails for a process that already leads its group, which is as good.
    rustix::process::setsid().ok();
    rustix::process::chdir("/").during("cannot leave the working directory")?;
    let signals = take_signals()?;
    let listener = guest.bind()?;
    libcrun::become_subreaper().during("cannot become the parent of orphans")?;
    namespace::enter()?;
    let cgroup = Cgroup::of(guest)?;

    let mut supervisor = Supervisor::new(guest, &cgroup, &listener, &signals);
    supervisor.enter(State::Starting);
    let (mut rootfs, mut names, mut record) = (None, None, ExitRecord::default());
    let mut hooks = Hooks::find(guest);
    let made =
        Made { rootfs: &mut rootfs, names: &mut names, hooks: hooks.as_mut(), record: &mut record };
    let outcome = live(guest, &cgroup, &mut supervisor, made);
    supervisor.enter(if outcome.is_ok() { State::Stopping } else { State::Aborting });
    if let Err(err) = &outcome {
        record.error = Some(crate::one_line(err));
    }

    let ended = cleanup::end_processes(guest, &cgroup, || drop(reap_all()));
    let unmounted = rootfs.map_or(Ok(()), Rootfs::unmount);
    let forgotten = names.map_or(Ok(()), Names::unmount);
    let cleaned = cleanup::remove_files(guest);
    record.endtime = epoch_seconds();
    record.unheard = true;
    let recorded = record.write(&guest.root.exit_record(guest.vmid));

    // From here on a new monitor may start, so nothing of ours may be left but open connections.
    supervisor.believe(State::Stopped);
    let connections = supervisor.into_connections();
    drop(listener);
    guest.announce(&Message::State(State::Stopped));
    let told = hooks.map_or(Ok(()), |hooks| hooks.post_stop());
    drop(connections);

    outcome?;
    ended?;
    unmounted?;
    forgotten?;
    cleaned?;
    recorded?;
    told?;
    Ok(())
}

/// What is known and made so far when a life fails.
struct Made<'a> {
    rootfs: &'a mut Option<Rootfs>,
    names: &'a mut Option<Names>,
    hooks: Option<&'a mut Hooks>,
    record: &'a mut ExitRecord,
}

/// Children end, and `systemctl stop` and changes ask through a descriptor; a lost terminal means
/// nothing to us.
pub(crate) fn take_signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    let known = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, CHANGED];
    known.into_iter().for_each(|signal| mask.add(signal));
    mask.thread_block().during("cannot block signals")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .during("cannot take signals")
}

pub(crate) fn reap_all() -> Result<()> {
    reap(rustix::process::getpid()).map(drop)
}

/// Start, supervise, and start again as often as the container reboots.
fn live(
    guest: &Guest,
    cgroup: &Cgroup,
    supervisor: &mut Supervisor<'_>,
    made: Made<'_>,
) -> Result<()> {
    let Made { rootfs, names, hooks, record } = made;
    record.starttime = epoch_seconds();
    prepare_run_dir(guest)?;
    cleanup::leftovers(guest, cgroup, || drop(reap_all()))?;
    let config = read_config(guest)?;
    let mounted = rootfs.insert(match &hooks {
        Some(hooks) => {
            hooks.pre_start()?;
            Rootfs::mounted(guest, &config)?
        }
        None => Rootfs::mount(guest, &config, Purpose::Run)?,
    });
    refuse_odd_directories(mounted.open()?.as_fd())?;

    if hooks.is_none() {
        // PVE's own does it. First, as the names that an application is shown cover its files.
        setup::before_start(guest, &config, mounted.path(), setup::Runtime::Crun)?;
    }
    let shown = open_folder(mounted.path())?;
    *names = Names::show(guest, &config, shown.as_fd())?;
    drop(shown);

    let mut container = Container::start(guest, &config, cgroup, mounted.path())?;
    drop(config);
    loop {
        supervisor.enter(State::Running);
        let status = supervisor.supervise(&mut container)?;
        // While their interfaces are there, and servers can be told.
        container.keepers.end();
        supervisor.drain(&mut container);
        *record = record_of(&container, status, cgroup.oom_killed());
        if !is_reboot(status) {
            return Ok(());
        }
        if let Some(hooks) = hooks {
            // Its post-stop asks for us anew.
            hooks.reboot = true;
            return Ok(());
        }
        // Applying changes may take volumes, which are the daemon's: it starts us again.
        if read_config(guest)?.pending().is_some() {
            record.reboot = true;
            return Ok(());
        }
        supervisor.enter(State::Starting);
        cleanup::end_processes(guest, cgroup, || drop(reap_all()))?;
        let lived = container.began.instant.elapsed();
        std::thread::sleep(SHORTEST_LIFE.saturating_sub(lived));
        // Read anew: what was changed and applied meanwhile takes effect.
        let config = read_config(guest)?;
        names.iter().try_for_each(|names| names.write(guest, &config))?;
        setup::before_start(guest, &config, mounted.path(), setup::Runtime::Crun)?;
        container = Container::start(guest, &config, cgroup, mounted.path())?;
    }
}

pub(crate) fn prepare_run_dir(guest: &Guest) -> Result<()> {
    fs::create_dir_all(guest.root.run_dir())?;
    match std::fs::DirBuilder::new().mode(0o700).create(guest.root.guest_run(guest.vmid)) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
            return Err(err).during("cannot make the container's run directory");
        }
        Ok(()) | Err(_) => {}
    }
    match fs::remove_file(guest.root.exit_record(guest.vmid)) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The config, if it is one that can be started here.
pub(crate) fn read_config(guest: &Guest) -> Result<ContainerConfig> {
    let (config, _digest) = ct_config::read(&guest.root, &guest.node, guest.vmid)?;
    if config.template() {
        return Err(Error::Template);
    }
    for (_key, net) in config.nets() {
        if let Some(bridge) = net?.bridge
            // What is none of the kernel's bridges may still be one that LXC knows to use.
            && host::interface_mtu(&bridge).is_none()
        {
            return Err(Error::NoBridge(bridge));
        }
    }
    Ok(config)
}

/// The one line that the daemon waits for; then our standard output is over, and so is the use of what
/// only a start needs.
pub(crate) fn say_running(init: Option<Pid>) -> Result<()> {
    // One may have ended before its number was known.
    let line = format!("RUNNING {}\n", init.map_or(0, |init| init.as_raw_nonzero().get()));
    // The daemon may be gone; its containers run on.
    io::stdout().write_all(line.as_bytes()).and_then(|()| io::stdout().flush()).ok();
    // Whoever does not hear it lets us run into a timeout, so it is worth a word.
    if let Err(err) = systemd::notify_ready() {
        warn("systemd", &err.to_string());
    }
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    null.and_then(|null| rustix::stdio::dup2_stdout(&null))
        .during("cannot close standard output")?;
    heap::give_back();
    // What cannot be given back stays; that is no reason to end a container that runs.
    heap::forget_code().ok();
    Ok(())
}

fn record_of(container: &Container, status: WaitStatus, oom_killed: bool) -> ExitRecord {
    let Began { epoch, instant } = container.began;
    ExitRecord {
        starttime: epoch,
        endtime: epoch_seconds(),
        duration_ms: u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX),
        exit_code: status.exit_status(),
        signal: status.terminating_signal(),
        oom_killed,
        error: exec_failure(container, status),
        ..ExitRecord::default()
    }
}

/// The kernel refuses a program only after create has succeeded, say one for another processor.
fn exec_failure(container: &Container, status: WaitStatus) -> Option<String> {
    if status.exit_status().is_none_or(|code| code == 0) {
        return None;
    }
    let log = container.init.log();
    let line = log.lines().rev().map(str::trim).find(|line| !line.is_empty())?.to_owned();
    warn("entrypoint", &line);
    Some(line)
}

/// reboot(2) in a pid namespace ends its init by SIGHUP for a restart, by SIGINT for a halt.
fn is_reboot(status: WaitStatus) -> bool {
    status.terminating_signal() == Some(Signal::SIGHUP as i32)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn guest(dir: &Path, config: &str) -> Guest {
        let guest = Guest {
            root: pve_integration::layout::Root::new(dir).unwrap(),
            node: "pve1".parse().unwrap(),
            vmid: "100".parse().unwrap(),
            debug: false,
        };
        let path = guest.root.lxc_config(&guest.node, guest.vmid);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, config).unwrap();
        guest
    }

    #[test]
    fn names_what_a_config_needs_and_the_host_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let error = |config: &str| read_config(&guest(dir.path(), config)).unwrap_err().to_string();
        assert_eq!(
            error("net0: name=eth0,bridge=lxcri-none\n"),
            "bridge 'lxcri-none' does not exist"
        );
        assert_eq!(error("template: 1\n"), "you can't start a CT if it's a template");
        fs::remove_dir_all(dir.path().join("etc")).unwrap();
        let guest = Guest { vmid: "101".parse().unwrap(), ..guest(dir.path(), "") };
        let missing = read_config(&guest).unwrap_err().to_string();
        assert_eq!(missing, "Configuration file 'nodes/pve1/lxc/101.conf' does not exist");
    }

    #[test]
    fn removes_the_record_of_the_life_before() {
        let dir = tempfile::tempdir().unwrap();
        let guest = guest(dir.path(), "");
        prepare_run_dir(&guest).unwrap();
        ExitRecord::default().write(&guest.root.exit_record(guest.vmid)).unwrap();
        prepare_run_dir(&guest).unwrap();
        assert_eq!(ExitRecord::read(&guest.root.exit_record(guest.vmid)).unwrap(), None);
    }
}
