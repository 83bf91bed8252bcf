//! Which ids of the host a container's ids are.

use serde::Serialize;

use super::{BundleError, wrong};
use crate::ct_config::ContainerConfig;

/// PVE's range for unprivileged containers, hard-coded there too (`PVE/LXC.pm`).
const UNPRIVILEGED: IdMap = IdMap { container_id: 0, host_id: 100_000, size: 65_536 };

/// One line of `/proc/PID/uid_map`, and an entry of the bundle's `uidMappings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IdMap {
    #[serde(rename = "containerID")]
    pub container_id: u32,
    #[serde(rename = "hostID")]
    pub host_id: u32,
    pub size: u32,
}

/// Empty for a privileged container, which has no user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    pub uids: Vec<IdMap>,
    pub gids: Vec<IdMap>,
}

impl IdMaps {
    /// From raw `lxc.idmap` lines, which make any container an unprivileged one, else from
    /// `unprivileged`.
    pub fn of(config: &ContainerConfig) -> Result<Self, BundleError> {
        let mut maps = Self::default();
        for line in config.current().lxc_values("lxc.idmap") {
            maps.add(line)?;
        }
        if maps.is_empty() && config.unprivileged() {
            return Ok(Self { uids: vec![UNPRIVILEGED], gids: vec![UNPRIVILEGED] });
        }
        if !maps.is_empty() && (maps.root_uid().is_none() || maps.root_gid().is_none()) {
            return Err(wrong("lxc.idmap", "user and group 0 of the container must be mapped"));
        }
        Ok(maps)
    }

    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// The host's id of the container's root.
    pub fn root_uid(&self) -> Option<u32> {
        on_host(&self.uids, 0)
    }

    pub fn root_gid(&self) -> Option<u32> {
        on_host(&self.gids, 0)
    }

    /// The host's id of a user inside, which is the same where nothing is mapped.
    pub fn host_uid(&self, uid: u32) -> Option<u32> {
        if self.is_empty() { Some(uid) } else { on_host(&self.uids, uid) }
    }

    pub fn host_gid(&self, gid: u32) -> Option<u32> {
        if self.is_empty() { Some(gid) } else { on_host(&self.gids, gid) }
    }

    pub(super) fn has_gid(&self, gid: u32) -> bool {
        self.host_gid(gid).is_some()
    }

    /// `u 0 100000 65536`, `g ...` or `b ...` for both, as lxc.container.conf(5) has it.
    fn add(&mut self, line: &str) -> Result<(), BundleError> {
        let bad =
            || wrong("lxc.idmap", format!("'{line}' is not '[u|g|b] container-id host-id count'"));
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [kind, container_id, host_id, size] = fields[..] else { return Err(bad()) };
        let number = |text: &str| text.parse::<u32>().map_err(|_| bad());
        let map = IdMap {
            container_id: number(container_id)?,
            host_id: number(host_id)?,
            size: number(size)?,
        };
        let fits = |first: u32| first.checked_add(map.size).is_some();
        if map.size == 0 || !fits(map.container_id) || !fits(map.host_id) {
            return Err(bad());
        }
        match kind {
            "u" => self.uids.push(map),
            "g" => self.gids.push(map),
            "b" => {
                self.uids.push(map);
                self.gids.push(map);
            }
            _ => return Err(bad()),
        }
        Ok(())
    }
}

fn on_host(maps: &[IdMap], id: u32) -> Option<u32> {
    maps.iter().find_map(|map| {
        let offset = id.checked_sub(map.container_id)?;
        (offset < map.size).then(|| map.host_id + offset) // `add` checked the sum
    })
}
