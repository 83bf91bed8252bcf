//! The verb `mount`: one more mount point for a container that runs, by whatever runtime. As
//! `mountpoint_hotplug` of pve-container's `PVE/LXC/Config.pm`: mounted where nobody sees it, and then
//! moved into the container in one piece.

use std::os::fd::{AsFd, OwnedFd};

use fs_err as fs;
use nix::sched::{CloneFlags, setns};
use pve_integration::bundle::IdMaps;
use pve_integration::ct_config::{self, MountPoint};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::error::{During, Error, Result};
use crate::guest::{Guest, warn};
use crate::rootfs::stage;
use crate::target::{Target, give_attributes};
use crate::{confined, namespace};

/// `value` is what the config is to say of `key`.
pub(crate) fn mount(guest: &Guest, key: &str, value: &str) -> Result<()> {
    let (config, _digest) = ct_config::read(&guest.root, &guest.node, guest.vmid)?;
    let mut point = MountPoint::parse(key, value)?;
    if point.quota {
        warn(key, "quota is left out until the next start: its device cannot come later");
        point.quota = false;
    }
    let init = guest.init()?;
    let maps = confined::ids_of(init)?;
    let open = |what: &str, flags: OFlags| -> Result<OwnedFd> {
        let path = format!("/proc/{}/{what}", init.as_raw_nonzero());
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
            .during("cannot look into the container")
    };
    let inside = open("ns/mnt", OFlags::RDONLY)?;
    let root = open("root", OFlags::PATH | OFlags::DIRECTORY)?;
    // Whoever has this number by now is not the container any more.
    if guest.init()? != init {
        return Err(Error::NotRunning(guest.vmid));
    }
    let target = Target { root: root.as_fd(), key, mp: &point.mp, maps: &maps };
    let folder = target.open()?;

    namespace::enter()?;
    let place = guest.root.rootfs_mount(guest.vmid);
    fs::create_dir_all(&place)?;
    stage(guest, key, &point, (&maps, &IdMaps::on_disk(&config)?), &place)?;
    if point.keepattrs {
        give_attributes(&rustix::fs::fstat(&folder)?, &place)?;
    }
    let what = "cannot mount it in the container";
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, &place, flags).during(what)?;
    setns(inside, CloneFlags::CLONE_NEWNS).during("cannot enter the container")?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &folder, "", flags).during(what)
}
