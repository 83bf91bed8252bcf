//! What is made in a container's root file system is made as its root: a mount that shows other ids than
//! the disk has may know nobody else, and then refuses (mount_setattr(2), EOVERFLOW).

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use pve_integration::bundle::IdMaps;
use rustix::thread::{CapabilitySets, capabilities, set_capabilities};

/// Whoever makes a file on this thread is the container's root until this goes; what we may do stays.
struct Disguise(CapabilitySets);

impl Disguise {
    fn put_on(maps: &IdMaps) -> rustix::io::Result<Option<Self>> {
        let (Some(uid), Some(gid)) = (maps.root_uid(), maps.root_gid()) else { return Ok(None) };
        let disguise = Self(capabilities(None)?);
        setfsgid(Gid::from_raw(gid));
        setfsuid(Uid::from_raw(uid)); // takes those away that have to do with files
        set_capabilities(None, disguise.0)?;
        Ok(Some(disguise))
    }
}

impl Drop for Disguise {
    fn drop(&mut self) {
        setfsuid(Uid::effective());
        setfsgid(Gid::effective());
    }
}

pub(crate) fn as_root<T>(
    maps: &IdMaps,
    make: impl FnOnce() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    let _disguise = Disguise::put_on(maps)?;
    make()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use fs_err as fs;
    use pve_integration::ct_config::ContainerConfig;
    use rustix::fs::{CWD, Mode, mkdirat};

    use super::*;

    #[test]
    fn what_is_made_is_the_container_s() {
        let dir = tempfile::tempdir().unwrap();
        let maps = IdMaps::on_disk(&ContainerConfig::parse(b"unprivileged: 1\n")).unwrap();
        let make = |name: &str| {
            let path = dir.path().join(name);
            mkdirat(CWD, &path, Mode::from_raw_mode(0o755)).unwrap();
            fs::metadata(&path).unwrap().uid()
        };
        // Our folder is closed to it, which keeps nothing of ours from us.
        let ours = make("before");
        let theirs = as_root(&maps, || Ok(make("disguised"))).unwrap();
        assert_eq!((theirs, make("after")), (100_000, ours));
    }
}
