//! The verb `net`: one interface of a container that runs becomes another, comes or goes. The daemon
//! calls it, once a change; the monitor knows nothing of it.

use std::os::fd::{AsFd as _, BorrowedFd};

use clap::Args;
use fs_err as fs;
use nix::sched::{CloneFlags, setns};
use pve_integration::ct_config::{self, ContainerConfig, Net};
use pve_integration::network::{self, Facts, HostStep, Plan};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use super::{namespace_of, take};
use crate::error::{During, Error, Result};
use crate::guest::{Guest, warn};
use crate::lease::{self, Wanted};
use crate::names::Names;
use crate::{confined, setup};

#[derive(Args)]
pub(crate) struct Change {
    /// The key, `net0`
    key: String,
    /// What it was; without it there was none
    #[arg(long)]
    old: Option<String>,
    /// What it is to be; without it, it goes
    #[arg(long)]
    new: Option<String>,
}

pub(crate) fn change(guest: &Guest, change: &Change) -> Result<()> {
    let parse = |value: &Option<String>| {
        value.as_ref().map(|value| Net::parse(&change.key, value)).transpose()
    };
    let (old, new) = (parse(&change.old)?, parse(&change.new)?);
    let facts = Facts::read(&guest.root, old.iter().chain(&new));
    let plan = |from: &Option<Net>, to: &Option<Net>| {
        network::change(guest.vmid, &change.key, from.as_ref(), to.as_ref(), &facts)
    };
    let wanted = plan(&old, &new)?;
    for warning in &wanted.warnings {
        warn(&warning.key, &warning.reason);
    }
    let init = guest.init()?;
    let (namespace, root) = (namespace_of(init)?, setup::root_of(init)?);
    let maps = confined::ids_of(init)?;
    // A number may have gone to another process meanwhile.
    if guest.init()? != init {
        return Err(Error::NotRunning(guest.vmid));
    }
    let own = namespace_of(rustix::process::getpid())?;
    let taken = take(guest, &wanted, namespace.as_fd());
    if taken.is_err() {
        let back = if is_another(&wanted) {
            vec![plan(&new, &None), plan(&None, &old)]
        } else {
            vec![plan(&new, &old)]
        };
        for back in back.into_iter().flatten() {
            restore(guest, &back, own.as_fd(), namespace.as_fd());
        }
    }
    taken?;
    let (mut config, _) = ct_config::read(&guest.root, &guest.node, guest.vmid)?;
    match &change.new {
        Some(new) => config.set(&change.key, new),
        None => drop(config.remove(&change.key)),
    }
    let monitor = parent_of(init).ok_or(Error::NotRunning(guest.vmid))?;
    let lease = new.as_ref().filter(|net| net.host_managed || config.is_application());
    let lease = lease.and_then(|net| network::lease(&change.key, net));
    // An init system keeps its own leases.
    let leased = lease.map(|lease| Wanted::of(guest, &config, &lease)).transpose()?.flatten();
    lease::want(guest, &change.key, leased, is_another(&wanted), monitor)?;
    // Its interfaces are as they should be; what it reads at its next boot is no reason to say otherwise.
    if let Err(err) = setup::after_net_change(guest, &config, &maps, root.as_fd()) {
        warn("ostype", &crate::one_line(&err));
    }
    if let Err(err) = rename(guest, &config, monitor) {
        warn("hosts", &crate::one_line(&err));
    }
    Ok(())
}

/// An application's list of hosts has its own address. It is where its monitor sees it.
fn rename(guest: &Guest, config: &ContainerConfig, monitor: Pid) -> Result<()> {
    if !config.is_application() {
        return Ok(());
    }
    let path = format!("/proc/{}/ns/mnt", monitor.as_raw_nonzero());
    let what = "cannot enter the monitor's mount namespace";
    let mounts = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    setns(mounts.during(what)?, CloneFlags::CLONE_NEWNS).during(what)?;
    Names::of(guest).write_hosts(guest, config)
}

/// Its monitor.
fn parent_of(init: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{}/status", init.as_raw_nonzero())).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    parent.and_then(Pid::from_raw)
}

/// As far as it goes: nobody can be told of a second failure.
fn restore(guest: &Guest, back: &Plan, own: BorrowedFd<'_>, namespace: BorrowedFd<'_>) {
    let host = back.host.iter().map(|step| Plan { host: vec![step.clone()], ..Plan::default() });
    let inner = back.inner.iter().map(|step| Plan { inner: vec![step.clone()], ..Plan::default() });
    for step in host.chain(inner) {
        let home = setns(own, CloneFlags::CLONE_NEWNET).during("cannot return");
        home.and_then(|()| take(guest, &step, namespace)).ok();
    }
}

fn is_another(plan: &Plan) -> bool {
    plan.host.iter().any(|step| matches!(step, HostStep::Pair { .. }))
}
