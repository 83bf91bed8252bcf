//! Guests as a service: what there is, how it does, how it is made, changed, started, stopped and
//! destroyed. Keeps nothing that it cannot read anew: configs are files, and whoever supervises a
//! running container is asked. Blocking work is done off the runtime's threads, and a config's lock
//! is never held across an `.await`.

mod apply;
mod archive;
mod backup;
mod bulk;
mod bundle;
mod change;
mod clone;
mod config;
mod console;
mod copying;
mod create;
mod destroy;
mod disk;
mod error;
mod filling;
mod firewall;
mod here;
mod hookscript;
mod id_map;
mod inspect;
mod interfaces;
mod journal;
mod lifecycle;
mod limits;
mod list;
mod move_volume;
mod net;
mod note;
mod operation;
mod pending;
mod plan;
mod pve;
mod reassign;
mod recover;
mod recovered;
mod resize;
mod restore;
mod rows;
mod running;
mod runtime;
mod script;
mod snapshot;
mod template;
mod view;
mod volumes;

use std::future::Future;
use std::sync::Arc;

use openapi::{AuthId, NodeName, Upid, Vmid};
use pve_integration::ct_config::ConfigCache;
use pve_integration::layout::Root;
use tokio_util::sync::CancellationToken;

use crate::programs::Programs;
use crate::runtime::{Monitor, Monitors, Runtimes, Settings, Supervised};
use crate::stats::CpuMeter;
use crate::tasks::{TaskLog, Tasks};
use crate::turns::Turns;

pub(crate) use archive::Archive;
pub(crate) use backup::{BackupRun, LZOP, Member, is_installed};
pub(crate) use bulk::{Batch, Ending};
pub(crate) use bundle::Wanted;
pub(crate) use change::{Change, is_indexed, new_size_gib, split_list, text as as_text};
pub(crate) use clone::CloneRequest;
pub(crate) use destroy::Destroy;
pub(crate) use error::GuestError;
pub(crate) use filling::Filling;
pub(crate) use lifecycle::{Start, Stop};
pub(crate) use limits::LimitsRequest;
pub(crate) use move_volume::Move;
pub(crate) use net::{bridge_path, with_mac_prefix};
pub(crate) use plan::Plan;
pub(crate) use reassign::Reassign;
pub(crate) use resize::{Resize, Size};
pub(crate) use restore::Restore;
pub(crate) use rows::{ListRow, Resource};
pub(crate) use snapshot::Feature;
pub(crate) use view::{RESTRICTED, Values};
use volumes::Storages;

/// The guests of this node. Cheap to clone.
#[derive(Clone)]
pub struct Guests(Arc<Inner>);

struct Inner {
    root: Root,
    node: NodeName,
    tasks: Tasks,
    supervised: Supervised,
    runtimes: Runtimes,
    /// What `[runtime]` of the settings says.
    choice: Settings,
    /// For all that does not depend on what runs a container.
    monitor: Monitor,
    configs: ConfigCache,
    rows: rows::Rows,
    running: running::Known,
    cpu: CpuMeter,
    /// Of whoever takes figures once a minute, whom other readings must not disturb.
    sampled_cpu: CpuMeter,
    host_cpus: u32,
    cgroup_v2: bool,
    probed: inspect::Probed,
    /// Whoever starts a container, from its checks until it runs.
    starts: Turns,
    /// Whoever calls a script after a container's end.
    ends: Turns,
}

impl Guests {
    /// Makes the folders of storage `local`: they must be there before anybody can put a template into
    /// one.
    pub(crate) fn new(
        root: Root,
        node: NodeName,
        tasks: Tasks,
        programs: Programs,
        choice: Settings,
    ) -> Self {
        let monitors = Monitors::new(programs, &root, &node);
        let local = Storages::read(&root, &node).and_then(|storages| storages.activate("local"));
        if let Err(err) = local {
            tracing::error!(error = %err, "cannot make the folders of storage 'local': {err}");
        }
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let monitor = monitors.lxc.clone();
        let supervised = Supervised::new(monitors, root.clone(), choice.pct.is_some());
        Self(Arc::new(Inner {
            runtimes: Runtimes::new(&supervised, &choice, &root, &tasks),
            supervised,
            choice,
            monitor,
            configs: ConfigCache::default(),
            rows: rows::Rows::default(),
            running: running::Known::default(),
            cpu: CpuMeter::default(),
            sampled_cpu: CpuMeter::default(),
            host_cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            cgroup_v2: root.cgroups().join("cgroup.controllers").exists(),
            probed: inspect::Probed::default(),
            starts: Turns::default(),
            ends: Turns::default(),
            root,
            node,
            tasks,
        }))
    }

    pub(crate) fn cgroup_v2(&self) -> bool {
        self.0.cgroup_v2
    }

    /// Off the threads that serve requests.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, GuestError> + Send + 'static,
    ) -> Result<T, GuestError> {
        let guests = self.clone();
        match tokio::task::spawn_blocking(move || work(&guests)).await {
            Ok(done) => done,
            Err(err) => Err(GuestError::die(format!("internal error: {err}"))),
        }
    }

    fn task<W, F>(&self, kind: &str, vmid: Vmid, who: &AuthId, work: W) -> Result<Upid, GuestError>
    where
        W: FnOnce(TaskLog, CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), GuestError>>,
    {
        Ok(self.0.tasks.spawn(kind, &vmid.to_string(), who, work)?)
    }
}

#[cfg(test)]
mod tests;
