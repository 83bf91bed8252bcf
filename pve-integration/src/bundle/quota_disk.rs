//! The block device of a file system in which a container limits what each of its users may store.

use std::path::{Path, PathBuf};

use super::Warning;
use super::nodes::{Node, NodeKind};
use super::surroundings::OwnedNode;
use crate::ct_config::{MountPoint, Section};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaDisk {
    path: PathBuf,
    major: u32,
    minor: u32,
}

impl QuotaDisk {
    /// `path` is what the container's list of mounts says of it.
    pub fn new(path: PathBuf, number: u64) -> Self {
        Self { path, major: rustix::fs::major(number), minor: rustix::fs::minor(number) }
    }

    /// As PVE's pre-start hook writes them, `b:7:0:/dev/loop0` a line; others are none.
    pub fn of_list(text: &str) -> Vec<Self> {
        let disk = |line: &str| {
            let mut fields = line.strip_prefix("b:")?.splitn(3, ':');
            let mut number = || fields.next()?.parse().ok();
            let (major, minor) = (number()?, number()?);
            let path = fields.next()?.trim_end();
            let plain =
                path.strip_prefix("/dev/")?.split('/').all(|part| !["", ".", ".."].contains(&part));
            plain.then(|| Self { path: path.into(), major, minor })
        };
        text.lines().filter_map(disk).collect()
    }

    /// For the `number`th of them. PVE lets everybody inside write to the device; to name it, and for what
    /// counts files, root's reading is enough.
    pub fn node(&self, folder: &Path, number: usize) -> OwnedNode {
        let node = Node {
            source: folder.join(format!("quota{number}")),
            path: self.path.clone(),
            kind: NodeKind::Block,
            major: self.major,
            minor: self.minor,
            access: "r",
        };
        OwnedNode { node, uid: 0, gid: 0, mode: 0o400 }
    }
}

/// Of a container that may not switch them on.
pub(super) fn in_vain(config: &Section, rootfs: &MountPoint) -> Vec<Warning> {
    let points = config.mount_points();
    let points = points.iter().filter_map(|(key, point)| Some((*key, point.as_ref().ok()?)));
    let wanted = std::iter::once(("rootfs", rootfs)).chain(points).filter(|(_, point)| point.quota);
    let reason = "quota: nobody inside can switch it on without CAP_SYS_ADMIN";
    wanted.map(|(key, _)| Warning::new(key, reason)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_hook_lists() {
        let list = "b:7:0:/dev/loop0\nb:252:3:/dev/dm-3\nc:1:3:/dev/null\nb:1:/dev/x\nb:7:1:/srv/x\n\
            b:7:1:/dev/../srv\nb:7:x:/dev/y\n";
        let found = QuotaDisk::of_list(list);
        let disk = |path: &str, major, minor| QuotaDisk { path: path.into(), major, minor };
        assert_eq!(found, [disk("/dev/loop0", 7, 0), disk("/dev/dm-3", 252, 3)]);
    }

    proptest! {
        #[test]
        fn takes_devices_alone(text in "([bc:/.]|[0-9]{1,3}|/dev/|loop|\\n){0,30}") {
            for disk in QuotaDisk::of_list(&text) {
                prop_assert!(disk.path.starts_with("/dev") && disk.path != Path::new("/dev"));
                prop_assert!(!disk.path.components().any(|part| part.as_os_str() == ".."));
            }
        }
    }
}
