//! What root may do inside.

use std::collections::BTreeSet;
use std::str::FromStr as _;

use oci_spec::runtime::Capability;
use serde_json::{Value, json};

use super::id_map::IdMaps;
use super::{BundleError, Warning, wrong};
use crate::ct_config::Section;
use crate::host::HostFacts;

/// All that Linux 6.12 has; a place in the list is the number in linux/capability.h.
const ALL: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What docker and podman leave to a container that runs one program.
const APPLICATION: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

/// `lxc.cap.drop` of lxc's common.conf.
const DROPPED: &[&str] = &["MAC_ADMIN", "MAC_OVERRIDE", "SYS_TIME", "SYS_MODULE", "SYS_RAWIO"];

/// What lxc's per-distribution files drop besides.
fn dropped_for(ostype: &str) -> &'static [&'static str] {
    match ostype {
        "fedora" | "archlinux" => &["SETFCAP", "SYS_NICE", "SYS_PACCT"],
        "centos" | "opensuse" => &["SYS_NICE", "SYS_PACCT"],
        "alpine" => &[
            "AUDIT_WRITE",
            "IPC_OWNER",
            "MKNOD",
            "SYS_NICE",
            "SYS_PACCT",
            "SYS_RESOURCE",
            "SYS_TTY_CONFIG",
            "SYSLOG",
            "WAKE_ALARM",
        ],
        _ => &[],
    }
}

/// What a container keeps, as `CAP_CHOWN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept(BTreeSet<String>);

impl Kept {
    /// `name` as `CHOWN`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(&prefixed(name))
    }

    /// `names` as `CHOWN`.
    pub(super) fn drop_all(&mut self, names: &BTreeSet<String>) {
        self.0.retain(|kept| kept.strip_prefix("CAP_").is_none_or(|bare| !names.contains(bare)));
    }

    /// The bundle's `process.capabilities`.
    pub(super) fn to_value(&self) -> Value {
        json!({
            "bounding": self.0,
            "effective": self.0,
            "permitted": self.0,
            "inheritable": [],
            "ambient": [],
        })
    }

    #[cfg(test)]
    pub(super) fn of_test(names: &[&str]) -> Self {
        Self(prefixed_all(names))
    }
}

pub(super) fn of(
    config: &Section,
    maps: &IdMaps,
    facts: &HostFacts,
    warnings: &mut Vec<Warning>,
) -> Result<Kept, BundleError> {
    let mut kept: BTreeSet<String> = if config.is_application() {
        prefixed_all(APPLICATION)
    } else if maps.is_empty() {
        let dropped = dropped_for(config.ostype().unwrap_or_default());
        let away: BTreeSet<String> =
            prefixed_all(DROPPED).into_iter().chain(prefixed_all(dropped)).collect();
        prefixed_all(ALL).into_iter().filter(|name| !away.contains(name)).collect()
    } else {
        // They hold in the container's own user namespace only; lxc's userns.conf drops none.
        prefixed_all(ALL)
    };
    let mut asked = None::<BTreeSet<String>>;
    for line in config.lxc_values("lxc.cap.keep") {
        let list = asked.get_or_insert_default();
        // "none" keeps nothing, lxc.container.conf(5).
        for name in line.split_whitespace().filter(|name| *name != "none") {
            list.insert(known("lxc.cap.keep", name)?);
        }
    }
    if let Some(asked) = asked {
        kept = asked;
    }
    for line in config.lxc_values("lxc.cap.drop") {
        for name in line.split_whitespace() {
            kept.remove(&known("lxc.cap.drop", name)?);
        }
    }
    if maps.is_empty() {
        // The kernel refuses the whole set for one that the host itself does not have.
        for (bit, name) in ALL.iter().enumerate() {
            if facts.capabilities & (1 << bit) == 0 && kept.remove(&prefixed(name)) {
                let reason = format!("this host withholds CAP_{name}");
                warnings.push(Warning::new("capabilities", reason));
            }
        }
    }
    Ok(Kept(kept))
}

fn prefixed_all(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| prefixed(name)).collect()
}

/// All there are, in the order of the kernel's header.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().copied()
}

fn prefixed(name: &str) -> String {
    format!("CAP_{name}")
}

/// LXC writes `sys_admin`, OCI `CAP_SYS_ADMIN`. libcrun would pass over one it does not know, and a
/// misspelt `drop` would drop nothing.
fn known(key: &str, name: &str) -> Result<String, BundleError> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    match Capability::from_str(bare) {
        Ok(_) => Ok(format!("CAP_{bare}")),
        Err(_) => Err(wrong(key, format!("there is no capability '{name}'"))),
    }
}
