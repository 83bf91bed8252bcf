//! The mounts every container gets. `/dev` is a fresh tmpfs, whatever the image has there.

use serde_json::{Value, json};

use super::auto_mounts::{Access, Asked};
use super::id_map::IdMaps;
use super::{BundleError, wrong};
use crate::ct_config::{Features, Section};
use crate::host::HostFacts;

/// The group that owns terminals in every distribution.
const TTY: u32 = 5;

pub(super) fn of(
    config: &Section,
    features: &Features,
    maps: &IdMaps,
    asked: Asked,
) -> Result<Vec<Value>, BundleError> {
    let terminals = pts(config, maps)?;
    let mut sys = vec!["nosuid", "noexec", "nodev"];
    let writable = features.force_rw_sys && !maps.is_empty();
    if asked.sys.map_or(!writable, |access| access != Access::Rw) {
        sys.push("ro");
    }
    let mut cgroup = vec!["nosuid", "noexec", "nodev", "relatime"];
    // An init system manages its own part, a program has none.
    let readonly = config.is_application() && !features.nesting;
    if asked.cgroup.map_or(readonly, |access| access == Access::Ro) {
        cgroup.push("ro");
    }
    let plain = ["nosuid", "noexec", "nodev"];
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &plain),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": terminals }),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "nodev", "mode=1777"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &plain),
        mount("/sys", "sysfs", "sysfs", &sys),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &cgroup),
    ];
    if config.ostype() == Some("alpine") && !config.is_application() {
        // Its own init scripts expect it, as lxc's alpine.common.conf.
        mounts.push(mount("/run", "tmpfs", "run", &["nosuid", "nodev", "mode=755"]));
    }
    Ok(mounts)
}

/// `/dev/tty1` and so on, with the flags of the devpts they come from, which a user namespace could
/// not change.
pub(super) fn terminals(ttys: &[String]) -> impl Iterator<Item = Value> {
    let numbered = ttys.iter().zip(1..);
    numbered.map(|(tty, number)| mount(&format!("/dev/tty{number}"), "bind", tty, &["bind"]))
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn pts(config: &Section, maps: &IdMaps) -> Result<Vec<String>, BundleError> {
    let options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    let mut options = options.map(str::to_owned).to_vec();
    if maps.has_gid(TTY) {
        options.push(format!("gid={TTY}"));
    }
    if let Some(text) = config.lxc_values("lxc.pty.max").last() {
        let count: u32 = text
            .parse()
            .map_err(|_| wrong("lxc.pty.max", format!("'{text}' is no number of terminals")))?;
        options.push(format!("max={count}"));
    }
    Ok(options)
}

/// Figures of the container instead of the machine's, where a daemon on the host makes them. None where
/// containers are nested: covered files in the only `/proc` forbid a user namespace inside another
/// one, and libcrun mounts no second one aside, as LXC does.
pub(super) fn from_lxcfs(facts: &HostFacts, features: &Features) -> impl Iterator<Item = Value> {
    facts.lxcfs.iter().filter(|_| !features.nesting).map(|path| {
        let source = format!("{}{path}", crate::host::LXCFS);
        mount(path, "bind", &source, &["bind", "nosuid", "nodev"])
    })
}
