//! How cgroups are mounted, and what they can limit.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

const MOUNT: &str = "/sys/fs/cgroup";

const V1_CONTROLLERS: [&str; 14] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// libcrun tells them apart in the same way, by what lies on `/sys/fs/cgroup` and on `unified`
/// below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    V1,
    V2,
    /// v1, and v2 beside it. libcrun refuses it, so the monitor hides the v2 part, after which it
    /// is v1: limits go to the v1 controllers either way.
    Hybrid,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupFacts {
    pub version: CgroupVersion,
    pub controllers: BTreeSet<String>,
    /// Whether swap can be limited.
    pub swap: bool,
}

impl CgroupFacts {
    pub(super) fn read() -> io::Result<Self> {
        let mounts = Mounts::parse(&fs::read_to_string("/proc/self/mountinfo")?);
        let version = mounts.version().ok_or_else(|| {
            let text = format!("no cgroup filesystem is mounted on {MOUNT}");
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
        if version != CgroupVersion::V2 {
            let swap =
                mounts.memory.is_some_and(|dir| dir.join("memory.memsw.limit_in_bytes").exists());
            return Ok(Self { version, controllers: mounts.controllers, swap });
        }
        let root = Path::new(MOUNT);
        let controllers = fs::read_to_string(root.join("cgroup.controllers"))?;
        let controllers: BTreeSet<_> = controllers.split_whitespace().map(str::to_owned).collect();
        let swap = controllers.contains("memory") && v2_swap(root);
        Ok(Self { version, controllers, swap })
    }
}

/// The root cgroup has no `memory.swap.max`, so one below it must tell. Where none has the memory
/// controller yet, what makes the kernel leave the file out tells as well.
fn v2_swap(root: &Path) -> bool {
    let below = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut with_memory = below.filter(|path| path.join("memory.max").exists());
    if let Some(cgroup) = with_memory.next() {
        return cgroup.join("memory.swap.max").exists();
    }
    let cmdline = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    Path::new("/proc/swaps").exists() && !cmdline.split_whitespace().any(|w| w == "swapaccount=0")
}

/// What mountinfo says of cgroups.
#[derive(Debug, Default)]
struct Mounts {
    v1: bool,
    root_is_v2: bool,
    unified: bool,
    controllers: BTreeSet<String>,
    memory: Option<PathBuf>,
}

impl Mounts {
    fn parse(mountinfo: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            // id parent major:minor root mountpoint options [optional fields] - type source super
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            let (kind, options) =
                (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
            if point == MOUNT {
                mounts = Self { root_is_v2: kind == "cgroup2", ..Self::default() }; // covers what was there
            }
            let Some(below) = point.strip_prefix(MOUNT).filter(|rest| rest.starts_with('/')) else {
                continue;
            };
            match kind {
                "cgroup2" => mounts.unified |= below == "/unified",
                "cgroup" => {
                    mounts.v1 = true;
                    let names = options.split(',').filter(|name| V1_CONTROLLERS.contains(name));
                    mounts.controllers.extend(names.map(str::to_owned));
                    if options.split(',').any(|name| name == "memory") {
                        mounts.memory = Some(point.into());
                    }
                }
                _ => {}
            }
        }
        mounts
    }

    fn version(&self) -> Option<CgroupVersion> {
        match (self.root_is_v2, self.v1, self.unified) {
            (true, _, _) => Some(CgroupVersion::V2),
            (false, true, true) => Some(CgroupVersion::Hybrid),
            (false, true, false) => Some(CgroupVersion::V1),
            (false, false, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TMPFS: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n";
    const CPU: &str =
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";
    const MEMORY: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const SYSTEMD: &str =
        "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
    const UNIFIED: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const V2: &str = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    #[rstest]
    #[case::v1(&[TMPFS, CPU, MEMORY, SYSTEMD], Some(CgroupVersion::V1))]
    #[case::hybrid(&[TMPFS, CPU, SYSTEMD, UNIFIED], Some(CgroupVersion::Hybrid))]
    #[case::v2(&[V2], Some(CgroupVersion::V2))]
    #[case::v2_over_v1(&[TMPFS, CPU, V2], Some(CgroupVersion::V2))]
    #[case::covered(&[TMPFS, CPU, TMPFS], None)]
    #[case::none(&["", "garbage\n"], None)]
    fn tells_layouts_apart(#[case] lines: &[&str], #[case] version: Option<CgroupVersion>) {
        assert_eq!(Mounts::parse(&lines.concat()).version(), version);
    }

    #[test]
    fn finds_controllers_and_no_options() {
        let mounts = Mounts::parse(&[TMPFS, CPU, MEMORY, SYSTEMD].concat());

        let names: Vec<_> = mounts.controllers.iter().map(String::as_str).collect();
        assert_eq!(names, ["cpu", "cpuacct", "memory"]);
        assert_eq!(mounts.memory.as_deref(), Some(Path::new("/sys/fs/cgroup/memory")));
    }
}
