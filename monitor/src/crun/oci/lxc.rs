//! The verbs on bundles that LXC runs. Nothing of libcrun's is in here. What is kept of a container lies
//! below `.lxc` in the state folder, where no container's name can lead; a [`keeper`] is the parent of
//! its `lxc-start` and holds it back until `start`.

mod exec;
mod features;
mod hooks;
pub(super) mod keeper;
mod launch;
mod record;
mod terminal;

use std::path::Path;
use std::time::{Duration, Instant};

use lxc_protocol::State;
use oci_spec::runtime::LinuxResources;
use oci_verbs::{ContainerId, Kill, Update, Verb};
use pve_integration::lxc::from_bundle::limits;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use rustix_libc_wrappers::process::SignalExt as _;

pub(crate) use exec::{ENTRANCE, EntranceOrders, enter};
pub(super) use features::features;
pub(super) use launch::{create, run};
pub(super) use record::Container;
use record::Status;

use super::error::{Error, Result};
use super::log::Log;
use super::show;

/// How long something that has to end by itself may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// And how long before somebody is made to.
const GRACE: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(5);

/// What the verbs need of their caller.
#[derive(Clone, Copy)]
pub(super) struct Verbs<'a> {
    pub(super) state_root: &'a Path,
    pub(super) log: &'a Log,
    /// Descriptors from 3 on that the container is to have.
    pub(super) preserved: u32,
}

impl Verbs<'_> {
    /// The exit code, if the verb is about a container of LXC's; what makes one is not asked here.
    pub(super) fn dispatch(&self, verb: &Verb) -> Result<Option<u8>> {
        let Some(id) = named(verb) else { return Ok(None) };
        let Some(container) = Container::find(self.state_root, id)? else { return Ok(None) };
        match verb {
            Verb::Exec(exec) => return exec::exec(self, &container, exec).map(Some),
            Verb::Start(_) => self.start(&container)?,
            Verb::State(_) => show::print_state(&container.row()?, container.annotations()?)?,
            Verb::Kill(kill) => kill_one(&container, kill)?,
            Verb::Delete(delete) => self.delete(&container, delete.force)?,
            Verb::Ps(ps) => show::print_pids(&container.cgroup()?.processes()?, ps.format)?,
            Verb::Pause(_) => freeze(&container, true)?,
            Verb::Resume(_) => freeze(&container, false)?,
            Verb::Update(update) => change(&container, update)?,
            Verb::Create(_) | Verb::Run(_) | Verb::List(_) | Verb::Features | Verb::Spec(_) => {}
        }
        Ok(Some(0))
    }

    /// Opens the gate, and waits until the program runs.
    fn start(&self, container: &Container) -> Result<()> {
        if container.status()? != Status::Created {
            return Err(Error::NotCreated(container.id()));
        }
        container.open_gate()?;
        let states = [State::Running, State::Stopped];
        match container.client().wait_for(&states, PATIENCE).map_err(Error::Lxc)? {
            State::Stopped => {
                // It may have come to its end already, and then this is no error.
                container.await_end(PATIENCE)?;
                if let Some(reason) = container.failure() {
                    return Err(Error::LxcStart(reason));
                }
            }
            State::Starting
            | State::Running
            | State::Stopping
            | State::Aborting
            | State::Freezing
            | State::Frozen
            | State::Thawed => {}
        }
        for hook in container.hooks()?.iter().flat_map(|hooks| hooks.poststart().iter().flatten()) {
            if let Err(err) = hooks::run(hook, &container.state_document()?) {
                self.log.warn(&crate::one_line(&err));
            }
        }
        Ok(())
    }

    pub(super) fn delete(&self, container: &Container, force: bool) -> Result<()> {
        match container.status()? {
            Status::Running | Status::Paused if !force => {
                return Err(Error::NotStopped(container.id()));
            }
            Status::Creating
            | Status::Created
            | Status::Running
            | Status::Paused
            | Status::Stopped => {}
        }
        let hooks = container.hooks()?;
        end(container)?;
        let document = container.state_document();
        container.remove()?;
        for hook in hooks.iter().flat_map(|hooks| hooks.poststop().iter().flatten()) {
            if let Err(err) =
                document.as_ref().map_err(|_| ()).map_or(Ok(()), |state| hooks::run(hook, state))
            {
                self.log.warn(&crate::one_line(&err));
            }
        }
        Ok(())
    }
}

fn named(verb: &Verb) -> Option<&ContainerId> {
    match verb {
        Verb::Start(named) | Verb::State(named) | Verb::Pause(named) | Verb::Resume(named) => {
            Some(&named.id)
        }
        Verb::Kill(kill) => Some(&kill.id),
        Verb::Delete(delete) => Some(&delete.id),
        Verb::Exec(exec) => Some(&exec.id),
        Verb::Ps(ps) => Some(&ps.id),
        Verb::Update(update) => Some(&update.id),
        Verb::Create(_) | Verb::Run(_) | Verb::List(_) | Verb::Features | Verb::Spec(_) => None,
    }
}

/// Kill all that is in it, and wait until its keeper has seen that.
fn end(container: &Container) -> Result<()> {
    let cgroup = container.cgroup()?;
    if let Some(pid) = container.init() {
        // It may have ended by itself.
        kill_process(pid, Signal::KILL).ok();
    }
    // A frozen process does not die.
    cgroup.thaw().ok();
    if container.await_end(GRACE).is_err() {
        // A gate that nobody opens any more, or a hook of the bundle's that does not end.
        cgroup.destroy(|| ())?;
        if container.await_end(GRACE).is_err() {
            container.kill_keeper()?;
        }
        container.await_end(PATIENCE)?;
    }
    if cgroup.destroy(|| ())? { Ok(()) } else { Err(Error::Unkillable(container.id())) }
}

fn kill_one(container: &Container, kill: &Kill) -> Result<()> {
    let gone = || Error::NoProcessToKill(container.id());
    let number = kill.signal.number();
    let send = |pid: Pid| -> Result<()> {
        // Held, so that it cannot become another's number in between.
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
        if container.init() != Some(pid) && !container.cgroup()?.processes()?.contains(&pid) {
            return Err(gone());
        }
        match Signal::from_raw(number) {
            Some(signal) => pidfd_send_signal(&process, signal).map_err(|_| gone()),
            None => Ok(()), // 0: it is there
        }
    };
    if kill.all {
        let pids = container.cgroup()?.processes()?;
        // One that has just ended needs no signal any more.
        pids.into_iter().for_each(|pid| send(pid).unwrap_or_default());
        return Ok(());
    }
    send(container.init().ok_or_else(gone)?)
}

/// LXC is asked where it answers, as its own tools then know; before `start` it does not.
fn freeze(container: &Container, frozen: bool) -> Result<()> {
    let status = container.status()?;
    let (client, cgroup) = (container.client(), container.cgroup()?);
    match (status, frozen) {
        (Status::Creating | Status::Stopped, _) => Err(Error::NotRunning(container.id())),
        (Status::Paused, true) | (Status::Created | Status::Running, false) => Ok(()),
        (Status::Created, true) => Ok(cgroup.freeze()?),
        (Status::Running, true) => client.freeze(PATIENCE).map_err(Error::Lxc),
        (Status::Paused, false) if container.is_held_back() => Ok(cgroup.thaw()?),
        (Status::Paused, false) => client.unfreeze(PATIENCE).map_err(Error::Lxc),
    }
}

fn change(container: &Container, update: &Update) -> Result<()> {
    if container.status()? == Status::Stopped {
        return Err(Error::NotRunning(container.id()));
    }
    let resources = super::limits::wanted(update)?;
    let resources: LinuxResources = serde_json::from_str(&resources).map_err(Error::Resources)?;
    let cgroup = container.cgroup()?;
    for setting in limits::of(&resources).map_err(crate::error::Error::from)? {
        cgroup.set(&setting).map_err(|source| crate::error::Error::Limit {
            file: setting.file.to_string(),
            value: setting.value.clone(),
            source,
        })?;
    }
    Ok(())
}

/// True once `done` says so; false if it takes too long.
fn within(patience: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<bool> {
    let start = Instant::now();
    while !done()? {
        if start.elapsed() > patience {
            return Ok(false);
        }
        std::thread::sleep(TICK);
    }
    Ok(true)
}
