//! `var/lib/lxc/VMID/config`, without which LXC's own tools take a container for none and ask nobody:
//! lxc-freeze, lxc-unfreeze, lxc-ls. On a PVE node it is PVE's, and stays as it is.

use std::path::{Path, PathBuf};

use fs_err as fs;
use pve_integration::ct_config::ContainerConfig;

use crate::cleanup::remove;
use crate::error::Result;
use crate::guest::Guest;

/// Its first line, by which we know it again.
const MARK: &str =
    "# Of proxmox-lxcri, while the container runs. What it has is in PVE's config, not in here.\n";

/// Says no more than which container it is: what runs it has a config of its own.
pub(crate) fn show(guest: &Guest, config: &ContainerConfig) -> Result<()> {
    let path = path(guest);
    if path.exists() && !is_ours(&path) {
        return Ok(());
    }
    fs::create_dir_all(guest.root.lxc_dir(guest.vmid))?;
    let name = config.hostname().map_or_else(|| format!("CT{}", guest.vmid), str::to_owned);
    let rootfs = guest.root.rootfs_mount(guest.vmid);
    let text = format!("{MARK}lxc.uts.name = {name}\nlxc.rootfs.path = dir:{}\n", rootfs.display());
    Ok(fs::write(&path, text)?)
}

pub(crate) fn hide(guest: &Guest) -> Result<()> {
    let path = path(guest);
    if is_ours(&path) {
        remove(&path)?;
    }
    Ok(())
}

fn path(guest: &Guest) -> PathBuf {
    guest.root.lxc_dir(guest.vmid).join("config")
}

fn is_ours(path: &Path) -> bool {
    fs::read(path).is_ok_and(|text| text.starts_with(MARK.as_bytes()))
}
