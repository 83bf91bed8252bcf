//! A mount namespace of our own: what is mounted here for the container is seen by nobody else and
//! vanishes with the last process in it, however that ends.

use std::path::Path;

use nix::sched::CloneFlags;
use rustix::fs::statfs;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};

use crate::error::{During, Result};

// include/uapi/linux/magic.h
const CGROUP2: i64 = 0x6367_7270;
const CGROUP1: i64 = 0x0027_e0eb;

pub(crate) fn enter() -> Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)
        .during("cannot take a mount namespace of its own")?;
    // Slave, not private: what the host unmounts must not stay alive in here.
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).during("cannot detach from the host's mounts")?;
    hide_hybrid_cgroup2()
}

/// libcrun refuses a host that mounts cgroup v1 and v2 side by side. The v1 half has the
/// controllers there, so that is what it gets to see.
fn hide_hybrid_cgroup2() -> Result<()> {
    let unified = Path::new("/sys/fs/cgroup/unified");
    if !is_cgroup2(Path::new("/sys/fs/cgroup")) && is_cgroup2(unified) {
        let what = "cannot hide /sys/fs/cgroup/unified";
        unmount(unified, UnmountFlags::DETACH).during(what)?;
        // libcrun takes the folder for one more hierarchy and makes cgroups of plain directories in
        // it. On the host's tmpfs below they would stay for ever, out of sight.
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("lxcri", unified, "tmpfs", flags, c"size=1m").during(what)?;
    }
    Ok(())
}

/// One of v1's hierarchies.
pub(crate) fn is_cgroup1(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.f_type == CGROUP1)
}

pub(crate) fn is_cgroup2(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.f_type == CGROUP2)
}
