//! May containers run here? Tests that need them ask first and say what is missing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Panics with the reason where this machine cannot run the container tests. A test that cannot run
/// has not passed. `LXCRI_HERE=1` skips the question, at your own risk.
pub fn require_machine() {
    if std::env::var_os("LXCRI_HERE").is_some_and(|value| value == "1") {
        return;
    }
    if let Some(reason) = missing() {
        panic!(
            "container tests cannot run here: {reason}. `make containers` runs them in User Mode \
             Linux; LXCRI_HERE=1 runs them here all the same"
        );
    }
}

fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("this is not root".to_owned());
    }
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    let bounding = fs_err::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let all = (1_u64 << (bounding.trim().parse::<u32>().unwrap() + 1)) - 1;
    let effective = u64::from_str_radix(effective, 16).unwrap();
    if effective & all != all {
        return Some(format!("root lacks capabilities ({effective:x} of {all:x})"));
    }
    let Ok(controllers) = fs_err::read_to_string("/sys/fs/cgroup/cgroup.controllers") else {
        return Some("/sys/fs/cgroup is not cgroup v2".to_owned());
    };
    let present: BTreeSet<_> = controllers.split_whitespace().collect();
    let absent: Vec<_> = ["cpu", "io", "memory", "pids"]
        .into_iter()
        .filter(|name| !present.contains(name))
        .collect();
    (!absent.is_empty()).then(|| format!("cgroup v2 lacks the controllers {}", absent.join(", ")))
}

/// Debian's lxcfs, unpacked by scripts/lxcfs.sh.
pub fn lxcfs() -> PathBuf {
    unpacked("lxcfs/tree/lxcfs", "scripts/lxcfs.sh")
}

fn unpacked(path: &str, script: &str) -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it has a parent");
    let path = project.join(".cache").join(path);
    assert!(path.exists(), "{} is missing; {script} unpacks it", path.display());
    path
}

/// The release of Debian whose LXC is meant where one is enough: 5.0. The other, `trixie`, has 6.0.
pub const LXC: &str = "bookworm";

/// A program of LXC's as a release of Debian has it, unpacked by scripts/lxc.sh.
pub fn lxc(release: &str, tool: &str) -> PathBuf {
    unpacked(&format!("lxc/{release}/{tool}"), "scripts/lxc.sh")
}
