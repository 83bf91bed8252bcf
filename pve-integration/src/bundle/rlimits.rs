//! `lxc.prlimit.NAME`, and `lxc.sysctl.NAME`.

use std::collections::BTreeMap;

use oci_spec::runtime::LinuxNamespaceType;
use serde_json::{Value, json};

use super::{BundleError, wrong};
use crate::ct_config::Section;

/// getrlimit(2), in the order of asm-generic/resource.h.
pub(super) const NAMES: &[&str] = &[
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// What of a sysctl belongs to a namespace that every container has of its own.
const IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

/// The bundle's `process.rlimits`. The last line of a limit counts.
pub(super) fn of(config: &Section) -> Result<Vec<Value>, BundleError> {
    let mut limits = BTreeMap::new();
    for (key, value) in config.lxc() {
        // PVE warns of the old name and passes it on.
        let name = key.strip_prefix("lxc.prlimit.").or_else(|| key.strip_prefix("lxc.limit."));
        let Some(name) = name else { continue };
        if !NAMES.contains(&name) {
            return Err(wrong(key, "there is no such limit"));
        }
        let (soft, hard) = value.split_once(':').unwrap_or((value, value));
        let number = |text: &str| match text.trim() {
            "unlimited" => Ok(u64::MAX), // RLIM_INFINITY
            text => text.parse().map_err(|_| {
                wrong(key, format!("'{value}' is not 'soft:hard', each a number or 'unlimited'"))
            }),
        };
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err(wrong(key, format!("'{value}' has more for now than at most")));
        }
        let kind = format!("RLIMIT_{}", name.to_ascii_uppercase());
        limits.insert(name, json!({ "type": kind, "soft": soft, "hard": hard }));
    }
    Ok(limits.into_values().collect())
}

/// The bundle's `linux.sysctl`. One that is the whole machine's is nothing for a container to set.
pub(super) fn sysctls(config: &Section) -> Result<BTreeMap<String, String>, BundleError> {
    let mut all = BTreeMap::new();
    for (key, value) in config.lxc() {
        let Some(name) = key.strip_prefix("lxc.sysctl.") else { continue };
        if sysctl_namespace(name).is_none() {
            return Err(wrong(key, "is not the container's own"));
        }
        all.insert(name.to_owned(), value.clone());
    }
    Ok(all)
}

/// Whose it is, unless it is the whole machine's.
pub(crate) fn sysctl_namespace(name: &str) -> Option<LinuxNamespaceType> {
    if name.starts_with("net.") {
        Some(LinuxNamespaceType::Network)
    } else if name.starts_with("fs.mqueue.") || IPC.contains(&name) {
        Some(LinuxNamespaceType::Ipc)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::ct_config::ContainerConfig;

    fn section(line: &str) -> ContainerConfig {
        ContainerConfig::parse(format!("{line}\n").as_bytes())
    }

    #[rstest]
    #[case("lxc.prlimit.nofile: 1024", json!([{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024 }]))]
    #[case("lxc.prlimit.nofile: 10:unlimited", json!([{ "type": "RLIMIT_NOFILE", "soft": 10, "hard": u64::MAX }]))]
    fn reads_a_limit(#[case] line: &str, #[case] expected: Value) {
        assert_eq!(json!(of(section(line).current()).unwrap()), expected);
    }

    #[rstest]
    #[case("lxc.prlimit.files: 1")]
    #[case("lxc.prlimit.nofile: many")]
    #[case("lxc.prlimit.nofile: 2:1")]
    fn refuses_a_limit(#[case] line: &str) {
        assert!(of(section(line).current()).is_err());
    }

    #[test]
    fn a_sysctl_is_the_container_s_own() {
        let one = sysctls(section("lxc.sysctl.kernel.msgmax: 9").current()).unwrap();
        assert_eq!(one.get("kernel.msgmax").map(String::as_str), Some("9"));
        let err = sysctls(section("lxc.sysctl.fs.mqueue: 9").current()).unwrap_err();
        assert!(err.to_string().contains("lxc.sysctl.fs.mqueue"), "{err}");
    }
}
