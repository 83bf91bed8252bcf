//! `quota=1`: a privileged container's own tools limit what each of its users may store. The file system is
//! mounted so that they can switch that on, and they see its device, by which the kernel has them name it.

use std::io;
use std::path::Path;

use fs_err as fs;
use pve_integration::bundle::{IdMaps, QuotaDisk};
use pve_integration::ct_config::{MountPoint, MountSource};

use crate::guest::{Guest, warn};

/// As PVE (`__mountpoint_mount` of PVE::LXC).
pub(crate) const OPTIONS: &str = "usrjquota=aquota.user,grpjquota=aquota.group,jqfmt=vfsv0";
/// There in a kernel that counts at all: one that does not takes the options all the same.
const COUNTED: &str = "/proc/sys/fs/quota";

/// Whether what `point` wants can be had; why not is a warning.
pub(crate) fn is_possible(key: &str, point: &MountPoint, maps: &IdMaps) -> bool {
    if !point.quota {
        return false;
    }
    let reason = match &point.source {
        _ if !maps.is_empty() => "an unprivileged container can have none",
        _ if point.ro => "nothing is written there",
        MountSource::Bind(_) => "a folder of the host has none of its own",
        _ if !Path::new(COUNTED).exists() => "this kernel counts none",
        MountSource::Volume(_) | MountSource::Device(_) => return true,
    };
    warn(key, &format!("quota is ignored: {reason}"));
    false
}

/// Of what PVE's hook has mounted, which leaves a list for the hook that makes the nodes under LXC.
pub(crate) fn of_hook(guest: &Guest) -> io::Result<Vec<QuotaDisk>> {
    match fs::read_to_string(guest.root.lxc_dir(guest.vmid).join("passthrough/mounts")) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        list => Ok(QuotaDisk::of_list(&list?)),
    }
}
