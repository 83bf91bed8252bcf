//! What a rootfs gets that its template cannot have: a password and keys when it is new (the second
//! half of the verb `unpack`), its name, network and terminals before each start. We collect it, from
//! the daemon, the config and the host; a confined process writes it. Which distribution gets what is
//! decided in `pve_integration::setup`; of an unmanaged one nothing is touched.

mod host_keys;
mod systemd;
mod tree;
mod write;

use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use pve_integration::bundle::IdMaps;
use pve_integration::ct_config::ContainerConfig;
use pve_integration::setup::{HostResolver, Secrets, Settings, Timezone, UNMANAGED};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::confined;
use crate::detect::Detected;
use crate::error::{During, Result};
use crate::given::Given;
use crate::guest::{Guest, warn};
use host_keys::HostKey;

pub(crate) use write::setup_here;

/// The hidden verb of the child.
pub(crate) const CHILD: &str = "setup-child";

/// What the child is told.
#[derive(Default, Serialize, Deserialize)]
struct Orders {
    settings: Settings,
    moment: Moment,
}

#[derive(Default, Serialize, Deserialize)]
enum Moment {
    /// The rootfs is fresh from its template.
    New(New),
    #[default]
    Start,
    /// An interface of the running container has changed.
    NetChange,
}

#[derive(Default, Serialize, Deserialize)]
struct New {
    secrets: Secrets,
    host_keys: Vec<HostKey>,
}

/// Who will run the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Crun,
    Lxc,
}

/// Standard input holds the daemon's part.
pub(crate) fn read_secrets() -> Result<Secrets> {
    let mut text = String::new();
    let what = "cannot read what the new rootfs is to get";
    std::io::stdin().read_to_string(&mut text).during(what)?;
    serde_json::from_str(&text).map_err(std::io::Error::from).during(what)
}

/// What the child reads for a new rootfs, or `None` if it has nothing to do.
pub(crate) fn of_new(
    guest: &Guest,
    config: &ContainerConfig,
    seen: &Detected,
    secrets: Secrets,
    rootfs: &Path,
) -> Result<Option<std::fs::File>> {
    let ostype = config.ostype().or(seen.ostype).unwrap_or(UNMANAGED);
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
    let settings = Settings { ostype: Some(ostype.to_owned()), ..settings(guest, config)? };
    let host_keys = host_keys::make(guest, rootfs, &settings.hostname)?;
    message(&Orders { settings, moment: Moment::New(New { secrets, host_keys }) }).map(Some)
}

/// Before each start, whatever its program is: PVE goes by the distribution alone.
pub(crate) fn before_start(
    guest: &Guest,
    given: &Given,
    rootfs: &Path,
    runtime: Runtime,
) -> Result<()> {
    let Given { config, maps, .. } = given;
    if config.ostype() == Some(UNMANAGED) {
        return Ok(());
    }
    if config.rootfs()?.ro {
        let reason = "the rootfs is read-only, so the files of its distribution stay as they are";
        warn("ostype", reason);
        return Ok(());
    }
    let tty_folder = runtime == Runtime::Lxc && maps.is_empty();
    // An application under libcrun has files of ours mounted over those.
    let names = runtime == Runtime::Lxc || !config.is_application();
    let settings = Settings { tty_folder, names, ..settings(guest, config)? };
    let orders = message(&Orders { settings, moment: Moment::Start })?;
    confined::run(&confined::arguments(CHILD, rootfs, maps), orders, maps)
}

/// The root of a container that runs, by its first process: where its namespaces have it, and not what is
/// mounted there for the monitor alone. Links of the kernel's own are not followed from there on.
pub(crate) fn root_of(init: Pid) -> Result<OwnedFd> {
    let root = format!("/proc/{}/root", init.as_raw_nonzero());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(root, flags, Mode::empty()).during("cannot look into the container")
}

/// What the distribution of a container that runs reads of its network: as `config` has it by now.
pub(crate) fn after_net_change(
    guest: &Guest,
    config: &ContainerConfig,
    maps: &IdMaps,
    root: BorrowedFd<'_>,
) -> Result<()> {
    if config.ostype() == Some(UNMANAGED) || config.rootfs()?.ro {
        return Ok(());
    }
    let held = format!("/proc/{}/fd/{}", std::process::id(), root.as_raw_fd());
    let settings = known(guest, config)?;
    let orders = message(&Orders { settings, moment: Moment::NetChange })?;
    confined::run(&confined::arguments(CHILD, Path::new(&held), maps), orders, maps)
}

fn settings(guest: &Guest, config: &ContainerConfig) -> Result<Settings> {
    Ok(Settings { timezone: timezone(config), ..known(guest, config)? })
}

/// By what names the container is known, and whom it asks for those of others.
pub(crate) fn known(guest: &Guest, config: &ContainerConfig) -> Result<Settings> {
    let host = HostResolver::parse(&read_host("/etc/resolv.conf"));
    Ok(Settings::of(config, guest.vmid, host)?)
}

fn message(orders: &Orders) -> Result<std::fs::File> {
    let what = "cannot pass on what the rootfs is to get";
    let mut file = std::fs::File::from(memfd_create("setup", MemfdFlags::CLOEXEC).during(what)?);
    serde_json::to_writer(&mut file, orders).map_err(std::io::Error::from).during(what)?;
    file.flush().during(what)?;
    file.rewind().during(what)?;
    Ok(file)
}

fn read_host(path: &str) -> String {
    // A host without one has nothing to say.
    fs_err::read_to_string(path).unwrap_or_default()
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
