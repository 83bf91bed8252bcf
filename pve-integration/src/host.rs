//! What this host offers to containers. Read once per start, in the mount namespace that libcrun
//! will run in: what is hidden there does not count.

mod apparmor;
mod cgroup;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use fs_err as fs;
use rustix::system::uname;

use crate::ct_config::{Arch, ContainerConfig, ValueError};

pub use apparmor::{AppArmor, Mode};
pub use cgroup::{CgroupFacts, CgroupVersion};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    pub cgroup: CgroupFacts,
    /// What the kernel runs, not what this program was built for.
    pub arch: Arch,
    /// Processors that are online.
    pub cpus: u32,
    /// `None` where the kernel has none, or it is switched off.
    pub apparmor: Option<AppArmor>,
    pub seccomp: bool,
    /// Whether its filters can have a process asked, which says what becomes of a call.
    pub seccomp_asks: bool,
    pub userns: bool,
    /// Capabilities that a process here can have at all, a bit each: without a user namespace of its
    /// own a container cannot have more.
    pub capabilities: u64,
    /// As `uname -r` says.
    pub kernel: String,
    /// What lxcfs shows, by where it belongs.
    pub lxcfs: Vec<&'static str>,
}

/// Where lxcfs is mounted.
pub const LXCFS: &str = "/var/lib/lxcfs";

/// As lxc's package mounts them.
const LXCFS_FILES: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/sys/devices/system/cpu",
];

impl HostFacts {
    pub fn read() -> io::Result<Self> {
        let uname = uname();
        let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").ok();
        let asks = |actions: &String| actions.split_whitespace().any(|name| name == "user_notif");
        Ok(Self {
            cgroup: CgroupFacts::read()?,
            arch: arch(&uname.machine().to_string_lossy())?,
            cpus: cpus()?,
            apparmor: AppArmor::read(),
            seccomp: actions.is_some(),
            seccomp_asks: actions.as_ref().is_some_and(asks),
            userns: Path::new("/proc/self/ns/user").exists()
                && first_line("/proc/sys/user/max_user_namespaces").as_deref() != Some("0"),
            capabilities: bounding_set()?,
            kernel: uname.release().to_string_lossy().into_owned(),
            lxcfs: lxcfs(),
        })
    }

    /// As numbers, to be compared.
    pub(crate) fn kernel_release(&self) -> (u32, u32) {
        release(&self.kernel)
    }

    /// A PVE 9 node: every controller of cgroup v2, on amd64.
    pub fn for_tests() -> Self {
        let controllers = ["cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma"];
        Self {
            cgroup: CgroupFacts {
                version: CgroupVersion::V2,
                controllers: controllers.map(str::to_owned).into(),
                swap: true,
                files: BTreeMap::new().into(),
            },
            arch: Arch::Amd64,
            cpus: 4,
            apparmor: Some(AppArmor::for_tests()),
            seccomp: true,
            seccomp_asks: true,
            userns: true,
            capabilities: (1 << 41) - 1,
            kernel: "6.17.0-1-pve".to_owned(),
            lxcfs: Vec::new(),
        }
    }
}

/// `6.17` of `6.17.0-1-pve`; what cannot be read is old.
fn release(kernel: &str) -> (u32, u32) {
    let number = |part: Option<&str>| part.and_then(|part| part.parse().ok()).unwrap_or(0);
    let mut parts = kernel.split(|c: char| !c.is_ascii_digit());
    (number(parts.next()), number(parts.next()))
}

fn lxcfs() -> Vec<&'static str> {
    let shown = |path: &&str| Path::new(&format!("{LXCFS}{path}")).exists();
    LXCFS_FILES.into_iter().filter(shown).collect()
}

/// Whether a guest's interface can be put on `name`.
pub fn bridge_exists(name: &str) -> bool {
    interface(name).is_some_and(|path| path.join("bridge").is_dir())
}

/// The first bridge of the container's interfaces that this host has not. What is none of the kernel's
/// bridges may still be one that LXC knows to use.
pub fn missing_bridge(config: &ContainerConfig) -> Result<Option<String>, ValueError> {
    for (_key, net) in config.nets() {
        if let Some(bridge) = net?.bridge
            && interface_mtu(&bridge).is_none()
        {
            return Ok(Some(bridge));
        }
    }
    Ok(None)
}

/// `None` where there is no such interface.
pub fn interface_mtu(name: &str) -> Option<u32> {
    fs::read_to_string(interface(name)?.join("mtu")).ok()?.trim().parse().ok()
}

/// A name from a config must not lead elsewhere in sysfs.
pub(crate) fn interface(name: &str) -> Option<std::path::PathBuf> {
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    plain.then(|| Path::new("/sys/class/net").join(name))
}

fn arch(machine: &str) -> io::Result<Arch> {
    match machine {
        "x86_64" => Ok(Arch::Amd64),
        "i386" | "i486" | "i586" | "i686" => Ok(Arch::I386),
        "aarch64" => Ok(Arch::Arm64),
        "riscv64" => Ok(Arch::Riscv64),
        "riscv32" => Ok(Arch::Riscv32),
        arm if arm.starts_with("arm") => Ok(Arch::Armhf),
        other => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("containers are not supported on architecture '{other}'"),
        )),
    }
}

/// Not `available_parallelism`, which says what this process may use.
fn cpus() -> io::Result<u32> {
    let path = "/sys/devices/system/cpu/online";
    let text = fs::read_to_string(path)?;
    count_cpus(text.trim()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("unable to parse '{path}': {text}"))
    })
}

/// `0-3,5` is five.
fn count_cpus(list: &str) -> Option<u32> {
    let mut count: u32 = 0;
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// proc_pid_status(5): hexadecimal.
fn bounding_set() -> io::Result<u64> {
    let path = "/proc/self/status";
    let status = fs::read_to_string(path)?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("'{path}' has no line CapBnd"))
    })
}

fn first_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()?.lines().next().map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", Some(1))]
    #[case("0-3,5,8-9", Some(7))]
    #[case("", None)]
    #[case("3-1", None)]
    fn counts_processors(#[case] list: &str, #[case] count: Option<u32>) {
        assert_eq!(count_cpus(list), count);
    }

    #[rstest]
    #[case("x86_64", Arch::Amd64)]
    #[case("i686", Arch::I386)]
    #[case("armv7l", Arch::Armhf)]
    fn names_machines_as_pve_does(#[case] machine: &str, #[case] expected: Arch) {
        assert_eq!(arch(machine).unwrap(), expected);
    }

    #[test]
    fn refuses_a_machine_it_has_no_name_for() {
        assert!(arch("s390x").unwrap_err().to_string().contains("'s390x'"));
    }

    #[rstest]
    #[case::missing("lxcri-none")]
    #[case::no_bridge("lo")]
    #[case::elsewhere("../../block")]
    #[case::empty("")]
    fn knows_what_is_no_bridge(#[case] name: &str) {
        assert!(!bridge_exists(name));
    }

    /// A build chroot has no cgroups; saying so is the right answer there.
    #[test]
    fn reads_this_host() {
        match HostFacts::read() {
            Ok(facts) => assert!(facts.cpus > 0 && !facts.kernel.is_empty(), "{facts:?}"),
            Err(err) => assert!(err.to_string().contains("cgroup"), "{err}"),
        }
    }
}
