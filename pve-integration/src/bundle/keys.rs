//! The keys that no other part of the bundle reads. Each is a fact about the container that a
//! start has no use for, or it is named in a warning.

use super::Warning;
use crate::ct_config::{Features, MountPoint, Section};

const APPLIED: &[&str] = &[
    "arch",
    "console",
    "cores",
    "cpulimit",
    "cpuunits",
    "entrypoint",
    "env",
    "features",
    "hostname",
    "memory",
    "ostype",
    "rootfs",
    "swap",
    "unprivileged",
];

/// Read by the daemon or by people.
const METADATA: &[&str] = &[
    "cmode",       // what a console shows, read when one is opened
    "description", // notes
    "lock",        // the daemon's, checked before a start
    "onboot",      // who starts it, not how
    "parent",      // of snapshots
    "protection",  // against destroy
    "snaptime",    // of snapshots
    "startup",     // order among containers
    "tags",        // for people
    "template",    // refused before a start
];

/// What one runtime applies beside the keys that every one does.
pub(crate) struct Reach {
    pub(crate) runtime: &'static str,
    keys: &'static [&'static str],
    /// By the stem of a numbered key.
    indexed: &'static [&'static str],
    features: &'static [&'static str],
    /// Every raw key, not only those that the bundle knows.
    raw: bool,
    /// An application is told names.
    names: bool,
}

pub(crate) const CRUN: Reach =
    Reach { runtime: "crun", keys: &[], indexed: &["net"], features: &[], raw: false, names: true };

pub(crate) const LXC: Reach = Reach {
    runtime: "lxc",
    keys: &["debug", "tty"],
    indexed: &["net"],
    features: &["fuse", "mount"],
    raw: true,
    names: false,
};

impl Reach {
    /// Why a key does nothing.
    pub(crate) fn not_yet(&self) -> String {
        format!("is not applied by the {} runtime yet", self.runtime)
    }
}

/// Raw keys that the bundle holds in its own words.
pub(crate) const RAW_APPLIED: &[&str] = &[
    "lxc.cap.drop",
    "lxc.cap.keep",
    "lxc.environment",
    "lxc.idmap",
    "lxc.init.cmd",
    "lxc.init.cwd",
    "lxc.init.gid",
    "lxc.init.groups",
    "lxc.init.uid",
    "lxc.signal.halt",
];

pub(super) fn warn(
    config: &Section,
    features: &Features,
    rootfs: &MountPoint,
    reach: &Reach,
    warnings: &mut Vec<Warning>,
) {
    let not_yet = reach.not_yet();
    // An application's are mounted over its image's.
    let names = |key: &str| {
        reach.names && config.is_application() && ["nameserver", "searchdomain"].contains(&key)
    };
    for (key, _) in config.iter() {
        let silent = APPLIED.contains(&key)
            || METADATA.contains(&key)
            || reach.keys.contains(&key)
            || names(key)
            || reach.indexed.iter().any(|stem| is_indexed(key, stem))
            || is_indexed(key, "mp")
            || is_indexed(key, "unused");
        if !silent {
            warnings.push(Warning::new(key, not_yet.as_str()));
        }
    }
    let mut part = |key: &str, name: &str, set: bool| {
        if set {
            warnings.push(Warning::new(key, format!("{name} {not_yet}")));
        }
    };
    let asked =
        [("fuse", features.fuse), ("mknod", features.mknod), ("mount", !features.mount.is_empty())];
    for (name, set) in asked {
        part("features", name, set && !reach.features.contains(&name));
    }
    let points = config.mount_points();
    let points = points.iter().filter_map(|(key, point)| Some((*key, point.as_ref().ok()?)));
    for (key, point) in std::iter::once(("rootfs", rootfs)).chain(points) {
        part(key, "acl", point.acl.is_some());
        part(key, "idmap", point.idmap.is_some());
        part(key, "quota", point.quota);
    }
    for (key, _) in config.lxc() {
        if !reach.raw && !RAW_APPLIED.contains(&key.as_str()) {
            warnings.push(Warning::new(key, not_yet.as_str()));
        }
    }
}

/// `mpN` is mounted with the rootfs, `unusedN` is not.
fn is_indexed(key: &str, stem: &str) -> bool {
    key.strip_prefix(stem).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}
