//! Which containers run, and the pid and cgroup of each. One read of the kernel's socket table says
//! who listens; the rest is asked once per life of a container and then remembered by its init's
//! start time.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::Mutex;

use lxc_protocol::client::Client;
use openapi::Vmid;
use pve_integration::layout::Root;

use crate::stats::{self, Cgroup};

const PROC: &str = "/proc";
/// Every host has it, under either layout, and a container always has limits on it.
const CONTROLLER: &str = "memory";

/// A container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) cgroup: Cgroup,
    start: u64,
}

#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<Vmid, Running>>);

/// Those whose supervisor listens. Does not ask them anything.
pub(super) fn vmids(root: &Root) -> io::Result<BTreeSet<Vmid>> {
    let names = lxc_protocol::running(&root.lxc_path())?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

impl Known {
    /// `None` if it does not run, or not yet: it is being started. Blocks while a supervisor that is
    /// not known yet answers.
    pub(super) fn of(&self, root: &Root, vmid: Vmid) -> Option<Running> {
        let known =
            self.0.lock().expect("nothing panics while it holds the lock").get(&vmid).cloned();
        let alive =
            |known: &Running| stats::init_start(Path::new(PROC), known.pid) == Some(known.start);
        if let Some(known) = known.filter(alive) {
            return Some(known);
        }
        let asked = ask(root, vmid);
        let mut map = self.0.lock().expect("nothing panics while it holds the lock");
        match &asked {
            Some(running) => map.insert(vmid, running.clone()),
            None => map.remove(&vmid),
        };
        asked
    }

    pub(super) fn retain(&self, keep: impl Fn(Vmid) -> bool) {
        let mut map = self.0.lock().expect("nothing panics while it holds the lock");
        map.retain(|vmid, _| keep(*vmid));
    }
}

fn ask(root: &Root, vmid: Vmid) -> Option<Running> {
    let client = Client::new(&root.lxc_path(), &vmid.to_string());
    let pid = client.init_pid().ok()?;
    let start = stats::init_start(Path::new(PROC), pid)?;
    let default = || Path::new(&root.cgroup_parent()).join(vmid.to_string());
    let relative = client.limit_cgroup(CONTROLLER).unwrap_or_else(|_| default());
    Some(Running { pid, start, cgroup: Cgroup::new(&root.cgroups(), &relative) })
}
