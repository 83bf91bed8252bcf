//! Which leases a container is to have: a file in its run directory, written by its start and by each
//! change of an interface while it runs, read by its monitor.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use fs_err as fs;
use pve_integration::atomic;
use pve_integration::ct_config::ContainerConfig;
use pve_integration::network::Lease;
use pve_integration::setup::Settings;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::Orders;
use crate::error::{During, Result};
use crate::guest::Guest;
use crate::setup::known;
use crate::{cleanup, names};

const FILE: &str = "leases";

/// By key, `net0`.
pub(super) type All = BTreeMap<String, Wanted>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    interface: String,
    v4: bool,
    v6: bool,
    #[serde(default)]
    routers: bool,
    hostname: String,
    /// Domains to search instead of those that servers name.
    search: Vec<String>,
    /// Whether names are looked up where servers say.
    resolver: bool,
    /// Another number for another interface of the same name.
    generation: u32,
}

impl Wanted {
    /// Nothing where nobody has to be asked.
    pub(crate) fn of(
        guest: &Guest,
        config: &ContainerConfig,
        lease: &Lease,
    ) -> Result<Option<Self>> {
        let Settings { hostname, search, .. } = known(guest, config)?;
        // An init system writes its own file.
        let resolver = config.is_application() && config.get("nameserver").is_none();
        let wanted = Self {
            interface: lease.name.clone(),
            v4: lease.v4,
            v6: lease.v6,
            routers: lease.routers && resolver,
            hostname,
            search: config.get("searchdomain").map(|_| search).unwrap_or_default(),
            resolver,
            generation: 0,
        };
        Ok((wanted.v4 || wanted.v6 || wanted.routers).then_some(wanted))
    }

    pub(super) fn orders(&self, guest: &Guest, key: &str) -> Orders {
        let resolver = self.resolver.then(|| names::folder(guest).join("resolv.conf"));
        Orders {
            interface: self.interface.clone(),
            v4: self.v4,
            v6: self.v6,
            routers: self.routers,
            hostname: Some(self.hostname.clone()),
            record: guest.root.guest_run(guest.vmid).join(format!("lease-{key}")),
            // Whatever the image has there: it may be no file that can be written.
            resolver: resolver.filter(|path| path.is_file()),
            search: self.search.clone(),
            parent: rustix::process::getpid().as_raw_nonzero().get(),
        }
    }
}

fn path(guest: &Guest) -> PathBuf {
    guest.root.guest_run(guest.vmid).join(FILE)
}

pub(super) fn read(guest: &Guest) -> io::Result<All> {
    match fs::read_to_string(path(guest)) {
        Ok(text) => Ok(serde_json::from_str(&text)?),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(All::new()),
        Err(err) => Err(err),
    }
}

pub(super) fn write(guest: &Guest, all: &All) -> io::Result<()> {
    if all.is_empty() {
        return cleanup::remove(&path(guest));
    }
    atomic::write(&path(guest), 0o600, serde_json::to_string(all)?.as_bytes())
}

/// From another process: `key` is to have this lease, or none, from now on. `fresh` for an interface
/// that was not there before. The monitor is the parent of the container's first process.
pub(crate) fn want(
    guest: &Guest,
    key: &str,
    wanted: Option<Wanted>,
    fresh: bool,
    monitor: Pid,
) -> Result<()> {
    let mut all = read(guest)?;
    let before = all.remove(key);
    let generation = before.as_ref().map_or(0, |before| before.generation) + u32::from(fresh);
    let wanted = wanted.map(|wanted| Wanted { generation, ..wanted });
    if before == wanted {
        return Ok(());
    }
    all.extend(wanted.map(|wanted| (key.to_owned(), wanted)));
    write(guest, &all)?;
    let what = "cannot tell the container's monitor of a lease";
    let monitor = pidfd_open(monitor, PidfdFlags::empty()).during(what)?;
    // The one that it calls CHANGED.
    pidfd_send_signal(&monitor, Signal::USR1).during(what)
}
