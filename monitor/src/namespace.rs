//! A mount namespace of our own: what is mounted here for the container is seen by nobody else and
//! vanishes with the last process in it, however that ends.

use std::path::Path;

use nix::sched::CloneFlags;
use rustix::fs::statfs;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use crate::error::{During, Result};

/// `CGROUP2_SUPER_MAGIC` of include/uapi/linux/magic.h.
const CGROUP2: i64 = 0x6367_7270;

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
        unmount(unified, UnmountFlags::DETACH).during("cannot hide /sys/fs/cgroup/unified")?;
    }
    Ok(())
}

pub(crate) fn is_cgroup2(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.f_type == CGROUP2)
}
