//! The mounts every container gets. `/dev` is a fresh tmpfs, whatever the image has there.

use serde_json::{Value, json};

use super::id_map::IdMaps;
use crate::ct_config::{Features, Section};

/// The group that owns terminals in every distribution.
const TTY: u32 = 5;

pub(super) fn of(config: &Section, features: &Features, maps: &IdMaps) -> Vec<Value> {
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if maps.has_gid(TTY) {
        pts.push("gid=5");
    }
    let mut sys = vec!["nosuid", "noexec", "nodev"];
    if !features.force_rw_sys || maps.is_empty() {
        sys.push("ro");
    }
    let mut cgroup = vec!["nosuid", "noexec", "nodev", "relatime"];
    if config.is_application() && !features.nesting {
        cgroup.push("ro"); // an init system manages its own part, a program has none
    }
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &pts),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "nodev", "mode=1777"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &sys),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &cgroup),
    ]
}
