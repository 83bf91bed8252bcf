//! What a start goes by, read once, so that all of it sees the same.

use pve_integration::bundle::{IdMaps, Surroundings};
use pve_integration::ct_config::ContainerConfig;

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
    pub(crate) fn read(guest: &Guest, runtime: Runtime) -> Result<Self> {
        let config = read_config(guest)?;
        let found = guest.surroundings()?;
        let found = match runtime {
            Runtime::Crun => found.with_seccomp(&config)?,
            Runtime::Lxc => found, // which reads its rules itself
        };
        let maps = found.id_maps(&config)?;
        Ok(Self { config, found, maps })
    }
}
