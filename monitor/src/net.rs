//! The container's network: takes the steps of a [`Plan`], on the host and then in the container's
//! namespace, and removes what is the container's alone.
//!
//! libcrun makes the namespace, as it must belong to the container's user namespace: a `/sys` could
//! not be mounted in there otherwise. So a container is set up between create and start, in libcrun's
//! worker, a process that may go into that namespace and never come back.

mod host;
mod inner;
mod limit;
pub(crate) mod rtnetlink;
mod verb;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fs_err as fs;
use nix::sched::{CloneFlags, setns};
use pve_integration::ct_config::ContainerConfig;
use pve_integration::network::{self, Facts, Plan, is_of};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use crate::error::{During, Error, Result};
use crate::guest::Guest;
use host::Host;
use inner::Inner;
use rtnetlink::Rtnetlink;

pub(crate) use verb::{Change, change};

/// What a start of `config` asks for here.
pub(crate) fn plan(guest: &Guest, config: &ContainerConfig) -> Result<Plan> {
    let nets: Vec<_> = config.nets().into_iter().filter_map(|(_, net)| net.ok()).collect();
    let facts = Facts::read(&guest.root, &nets);
    Ok(network::start(guest.vmid, config.current(), &facts)?)
}

/// Take the steps for the container whose first process is `init`. This process is in the container's
/// network namespace from then on.
pub(crate) fn set_up(guest: &Guest, plan: &Plan, init: Pid) -> Result<()> {
    let namespace = namespace_of(init)?;
    take(guest, plan, namespace.as_fd())
}

fn take(guest: &Guest, plan: &Plan, namespace: BorrowedFd<'_>) -> Result<()> {
    if !plan.host.is_empty() {
        let mut host = Host::new(Rtnetlink::open()?, guest.limit_cgroup(), namespace);
        plan.host.iter().try_for_each(|step| host.take(step))?;
    }
    if !plan.inner.is_empty() {
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .during("cannot enter the container's network namespace")?;
        let mut inner = Inner::new(Rtnetlink::open()?);
        plan.inner.iter().try_for_each(|step| inner.take(step))?;
    }
    Ok(())
}

fn namespace_of(init: Pid) -> Result<OwnedFd> {
    let path = format!("/proc/{}/ns/net", init.as_raw_nonzero());
    let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    opened.during("cannot open the container's network namespace")
}

/// Remove the outer ends of the container's interfaces. They go with its namespace too, but the
/// kernel takes its time for that, and what is on the host's side alone stays.
pub(crate) fn remove(guest: &Guest) -> Result<()> {
    let entries = match fs::read_dir(LINKS) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let ours: Vec<_> = names.filter(|name| is_of(name, guest.vmid)).collect();
    if ours.is_empty() {
        return Ok(());
    }
    let owner = guest.limit_cgroup();
    let mut socket = Rtnetlink::open()?;
    ours.iter().filter(|name| is_owned(name, &owner)).try_for_each(|name| {
        let failed = |source| Error::Network { what: format!("remove '{name}'"), source };
        socket.remove_link(name).map_err(failed)
    })
}

const LINKS: &str = "/sys/class/net";

/// Names tell the container's number, which another root on this machine may have too; so a link's
/// alias tells whose it is.
fn is_owned(link: &str, owner: &str) -> bool {
    fs::read_to_string(format!("{LINKS}/{link}/ifalias")).is_ok_and(|alias| alias.trim() == owner)
}

/// Of the namespace that this process is in now.
pub(crate) fn write_sysctl(path: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/{path}"), value)
}

/// Of a link in the namespace that this process is in now. There may be no IPv6 at all.
fn write_ipv6(link: &str, setting: &str, value: &str) -> io::Result<()> {
    match write_sysctl(&format!("ipv6/conf/{link}/{setting}"), value) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}
