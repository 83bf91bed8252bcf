//! The verb `run` under libcrun: one container from the command socket to the exit record. Whatever happens in
//! between, what was made is removed again before the socket closes.

use std::os::fd::AsFd;

use lxc_protocol::State;
use lxc_protocol::wire::Message;
use nix::sys::signal::Signal;
use pve_integration::exit::ExitRecord;
use rustix::process::WaitStatus;

use super::container::Container;
use super::hooks::Hooks;
use super::supervisor::Supervisor;
use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::given::Given;
use crate::guest::{Guest, warn};
use crate::names::Names;
use crate::rootfs::{Purpose, Rootfs, open_folder, refuse_odd_directories};
use crate::run::{
    Began, SHORTEST_LIFE, epoch_seconds, prepare_run_dir, read_config, reap_all, stand_apart,
};
use crate::setup::{self, Runtime};
use crate::{cleanup, lxc_tools, namespace};

pub(crate) fn run(guest: &Guest) -> Result<()> {
    let signals = stand_apart()?;
    let listener = guest.bind()?;
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
    let given = Given::read(guest, cgroup, Runtime::Crun)?;
    lxc_tools::show(guest, &given.config)?;
    let mounted = rootfs.insert(match &hooks {
        Some(hooks) => {
            hooks.pre_start()?;
            Rootfs::mounted(guest, &given)?
        }
        None => Rootfs::mount(guest, &given.config, Purpose::Run(&given.maps))?,
    });
    refuse_odd_directories(mounted.open()?.as_fd())?;

    if hooks.is_none() {
        // PVE's own does it. First, as the names that an application is shown cover its files.
        setup::before_start(guest, &given, mounted.path(), Runtime::Crun)?;
    }
    let shown = open_folder(mounted.path())?;
    *names = Names::show(guest, &given, shown.as_fd())?;
    drop(shown);

    let mut container = Container::start(guest, &given, cgroup, mounted)?;
    let maps = given.maps;
    loop {
        supervisor.enter(State::Running);
        let status = supervisor.supervise(&mut container)?;
        // While their interfaces are there, and servers can be told.
        container.keepers.end();
        container.mknod = None;
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
        let given = Given::read(guest, cgroup, Runtime::Crun)?;
        if given.maps != maps {
            // What is mounted has the ids of the first life.
            record.reboot = true;
            return Ok(());
        }
        names.iter().try_for_each(|names| names.write(guest, &given.config))?;
        setup::before_start(guest, &given, mounted.path(), Runtime::Crun)?;
        container = Container::start(guest, &given, cgroup, mounted)?;
    }
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
