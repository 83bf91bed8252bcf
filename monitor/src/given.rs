//! What a start goes by, read once, so that all of it sees the same.

use pve_integration::bundle::{IdMaps, Surroundings};
use pve_integration::ct_config::ContainerConfig;

use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::guest::Guest;
use crate::run::read_config;
use crate::setup::Runtime;

pub(crate) struct Given {
    pub(crate) config: ContainerConfig,
    pub(crate) found: Surroundings,
    /// The container's ids while it runs.
    pub(crate) maps: IdMaps,
}

impl Given {
    pub(crate) fn read(guest: &Guest, cgroup: &Cgroup, runtime: Runtime) -> Result<Self> {
        let config = read_config(guest)?;
        // Which limits there are is only seen below the root of the hierarchy.
        cgroup.prepare()?;
        let found = guest.surroundings()?;
        let found = match runtime {
            Runtime::Crun => found.with_seccomp(&config)?,
            Runtime::Lxc => found, // which reads its rules itself
        };
        let maps = found.id_maps(&config)?;
        Ok(Self { config, found, maps })
    }
}
