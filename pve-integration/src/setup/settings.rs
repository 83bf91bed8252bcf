//! What the set-up is told: the container's config and what its host knows, as plain values that go
//! to the process inside the rootfs.

use openapi::Vmid;
use openapi::format::split_list;
use serde::{Deserialize, Serialize};

use super::interface::Interface;
use super::network::HostResolver;
use crate::ct_config::{ContainerConfig, TTYS, ValueError};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// As the config has it.
    pub ostype: Option<String>,
    pub hostname: String,
    /// Of the first interface, if it has one of its own.
    pub address: Option<String>,
    pub search: Vec<String>,
    pub servers: Vec<String>,
    pub timezone: Option<Timezone>,
    /// Those that the container looks after itself.
    pub interfaces: Vec<Interface>,
    pub ttys: u32,
    /// Whether terminals are in `/dev/lxc` where the distribution knows that, as LXC makes them for a
    /// privileged container.
    pub tty_folder: bool,
    /// Whether its name, hosts and resolver go into its files.
    pub names: bool,
    pub nesting: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timezone {
    /// Inside.
    pub file: String,
    pub name: String,
}

impl Settings {
    pub fn of(
        config: &ContainerConfig,
        vmid: Vmid,
        host: HostResolver,
    ) -> Result<Self, ValueError> {
        let list =
            |key: &str| Some(split_list(config.get(key)?).map(str::to_owned).collect::<Vec<_>>());
        let mut interfaces = Vec::new();
        for (key, net) in config.nets() {
            interfaces.extend(Interface::of(key, &net?)?);
        }
        let hostname = config.hostname().map_or_else(|| format!("CT{vmid}"), str::to_owned);
        Ok(Self {
            ostype: config.ostype().map(str::to_owned),
            hostname,
            address: address(config),
            search: list("searchdomain").unwrap_or(host.search),
            servers: list("nameserver").unwrap_or(host.servers),
            timezone: None,
            interfaces,
            ttys: config.current().integer("tty")?.unwrap_or(TTYS),
            tty_folder: false,
            names: true,
            nesting: config.features()?.nesting,
        })
    }

    /// The hostname without its domain.
    pub fn short_name(&self) -> &str {
        self.hostname.split('.').next().unwrap_or_default()
    }
}

/// Of net0, which PVE takes for the container's own.
fn address(config: &ContainerConfig) -> Option<String> {
    let nets = config.nets();
    let net0 = nets.into_iter().filter_map(|(_, net)| net.ok()).find(|net| net.index == 0)?;
    let own = |ip: Option<String>| {
        let ip = ip.filter(|ip| !matches!(ip.as_str(), "dhcp" | "manual" | "auto"))?;
        Some(ip.split('/').next().unwrap_or_default().to_owned())
    };
    own(net0.ip).or_else(|| own(net0.ip6))
}
