//! The second half of the verb `unpack`: what a new rootfs gets that its template cannot have. The
//! parent collects it, from the daemon, the config and the host; a child writes it, confined as the
//! child that unpacks. Which distribution gets what is PVE's table (`PVE/LXC/Setup/*.pm`): of an
//! unmanaged one nothing is touched, an image of an application has no accounts to set up.

mod host_keys;
mod tree;
mod write;

use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use pve_integration::ct_config::ContainerConfig;
use pve_integration::setup::{HostResolver, Secrets, UNMANAGED};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::detect::Detected;
use crate::error::{During, Result};
use crate::guest::{Guest, warn};
use host_keys::HostKey;

pub(crate) use write::setup_here;

/// The hidden verb of the child.
pub(crate) const CHILD: &str = "setup-child";

/// What the child is told.
#[derive(Default, Serialize, Deserialize)]
struct Plan {
    secrets: Secrets,
    hostname: String,
    /// Of the first interface, if it has one of its own.
    address: Option<String>,
    search: Vec<String>,
    servers: Vec<String>,
    timezone: Option<Timezone>,
    host_keys: Vec<HostKey>,
}

#[derive(Serialize, Deserialize)]
struct Timezone {
    /// Inside.
    file: String,
    name: String,
}

/// Standard input holds the daemon's part.
pub(crate) fn read_secrets() -> Result<Secrets> {
    let mut text = String::new();
    let what = "cannot read what the new rootfs is to get";
    std::io::stdin().read_to_string(&mut text).during(what)?;
    serde_json::from_str(&text).map_err(std::io::Error::from).during(what)
}

/// What the child reads, or `None` if it has nothing to do.
pub(crate) fn plan(
    guest: &Guest,
    config: &ContainerConfig,
    seen: &Detected,
    secrets: Secrets,
    rootfs: &Path,
) -> Result<Option<std::fs::File>> {
    let ostype = config.get("ostype").or(seen.ostype).unwrap_or(UNMANAGED);
    if ostype == UNMANAGED {
        let given = [
            ("password", secrets.password_hash.is_some()),
            ("ssh-public-keys", secrets.ssh_public_keys.is_some()),
        ];
        for (name, _) in given.iter().filter(|(_, given)| *given) {
            warn(
                name,
                "not set: nothing is known of the container's distribution (ostype unmanaged)",
            );
        }
        return Ok(None);
    }
    let Known { hostname, address, search, servers } = Known::of(guest, config);
    let plan = Plan {
        address,
        search,
        servers,
        timezone: if ostype == "nixos" { None } else { timezone(config) },
        host_keys: host_keys::make(guest, rootfs, &hostname)?,
        hostname,
        secrets,
    };
    let what = "cannot pass on what the new rootfs is to get";
    let mut file = std::fs::File::from(memfd_create("setup", MemfdFlags::CLOEXEC).during(what)?);
    serde_json::to_writer(&mut file, &plan).map_err(std::io::Error::from).during(what)?;
    file.flush().during(what)?;
    file.rewind().during(what)?;
    Ok(Some(file))
}

/// By what names the container is known, and whom it asks for those of others.
pub(crate) struct Known {
    pub(crate) hostname: String,
    /// Of the first interface, if it has one of its own.
    pub(crate) address: Option<String>,
    pub(crate) search: Vec<String>,
    pub(crate) servers: Vec<String>,
}

impl Known {
    pub(crate) fn of(guest: &Guest, config: &ContainerConfig) -> Self {
        let host = HostResolver::parse(&read_host("/etc/resolv.conf"));
        let list = |key: &str| {
            let words = config.get(key)?.split(|c: char| c == ',' || c == ';' || c.is_whitespace());
            Some(words.filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>())
        };
        let hostname =
            config.current().hostname().map_or_else(|| format!("CT{}", guest.vmid), str::to_owned);
        Self {
            hostname,
            address: address(config),
            search: list("searchdomain").unwrap_or(host.search),
            servers: list("nameserver").unwrap_or(host.servers),
        }
    }
}

fn read_host(path: &str) -> String {
    // A host without one has nothing to say.
    fs_err::read_to_string(path).unwrap_or_default()
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

fn timezone(config: &ContainerConfig) -> Option<Timezone> {
    const ZONES: &str = "/usr/share/zoneinfo/";
    let name = config.get("timezone")?;
    if name != "host" {
        return Some(Timezone { file: format!("{ZONES}{name}"), name: name.to_owned() });
    }
    let file = match fs_err::canonicalize("/etc/localtime") {
        Ok(file) => file.display().to_string(),
        Err(err) => {
            warn("timezone", &format!("not set: the host has none ({err})"));
            return None;
        }
    };
    let name = file.strip_prefix(ZONES).unwrap_or("UTC").to_owned();
    Some(Timezone { file, name })
}
