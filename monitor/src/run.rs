//! What every run has, whichever runtime is below: signals, orphans, the run directory, the config, and
//! the word to whoever waits.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::time::{Duration, Instant, SystemTime};

use fs_err as fs;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use oci_spec::runtime::Spec;
use pve_integration::bundle::IdMaps;
use pve_integration::ct_config::{self, ContainerConfig};
use pve_integration::host;
use pve_integration::systemd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::error::{During, Error, Result};
use crate::guest::{Guest, warn};

/// Somebody changed what the running container is to have.
pub(crate) const CHANGED: Signal = Signal::SIGUSR1;

/// A container that reboots faster than this is slowed down to it.
pub(crate) const SHORTEST_LIFE: Duration = Duration::from_secs(1);

/// When a life began, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began {
    pub(crate) epoch: u64,
    pub(crate) instant: Instant,
}

impl Began {
    pub(crate) fn now() -> Self {
        Self { epoch: epoch_seconds(), instant: Instant::now() }
    }
}

pub(crate) fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What whoever called us shares with other programs stays theirs, and what the container leaves behind
/// becomes ours.
pub(crate) fn stand_apart() -> Result<SignalFd> {
    // Fails for a process that already leads its group, which is as good.
    rustix::process::setsid().ok();
    rustix::process::chdir("/").during("cannot leave the working directory")?;
    let signals = take_signals()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .during("cannot become the parent of orphans")?;
    Ok(signals)
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

/// Wait for all children that have ended: the container's orphans are ours. How init ended, if it did.
pub(crate) fn reap(init: Pid) -> Result<Option<WaitStatus>> {
    let mut ended = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == init => ended = Some(status),
            Ok(Some(_)) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(ended),
            Err(Errno::INTR) => {}
            Err(err) => return Err(err).during("cannot wait for the container's init"),
        }
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
    match host::missing_bridge(&config)? {
        Some(bridge) => Err(Error::NoBridge(bridge)),
        None => Ok(config),
    }
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

/// A program may open its own output by name, `/dev/stdout` or `/proc/self/fd/1`, and the kernel then
/// asks whose pipe it is.
pub(crate) fn give_to_user(pipe: &OwnedFd, spec: &Spec, maps: &IdMaps) -> rustix::io::Result<()> {
    let Some(user) = spec.process().as_ref().map(oci_spec::runtime::Process::user) else {
        return Ok(());
    };
    let uid = maps.host_uid(user.uid()).map(rustix::fs::Uid::from_raw);
    let gid = maps.host_gid(user.gid()).map(rustix::fs::Gid::from_raw);
    rustix::fs::fchown(pipe, uid, gid)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use pve_integration::exit::ExitRecord;

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
