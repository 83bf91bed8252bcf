//! How cgroups are mounted, and what they can limit.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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
    /// By controller of v2, the files of a cgroup below the root, if one has it: `io.weight` and the like
    /// take more than the controller. Looked at when first asked for, which few starts do.
    pub files: OnceLock<BTreeMap<String, BTreeSet<String>>>,
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
            let controllers = mounts.controllers;
            return Ok(Self { version, controllers, swap, files: BTreeMap::new().into() });
        }
        let root = Path::new(MOUNT);
        let controllers = fs::read_to_string(root.join("cgroup.controllers"))?;
        let controllers: BTreeSet<_> = controllers.split_whitespace().map(str::to_owned).collect();
        let swap = controllers.contains("memory") && v2_swap(root);
        Ok(Self { version, controllers, swap, files: OnceLock::new() })
    }

    /// Whether a limit can only be missed, though its controller is there.
    pub fn lacks(&self, controller: &str, file: &str) -> bool {
        let files = self.files.get_or_init(|| files_below(Path::new(MOUNT)));
        files.get(controller).is_some_and(|files| !files.contains(file))
    }
}

/// The root cgroup has no `memory.swap.max`, so one below it must tell. Where none has the memory
/// controller yet, what makes the kernel leave the file out tells as well.
fn v2_swap(root: &Path) -> bool {
    let mut with_memory = below(root).filter(|path| path.join("memory.max").exists());
    if let Some(cgroup) = with_memory.next() {
        return cgroup.join("memory.swap.max").exists();
    }
    let cmdline = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    Path::new("/proc/swaps").exists() && !cmdline.split_whitespace().any(|w| w == "swapaccount=0")
}

fn below(root: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Those that come and go while it is looked at are as if they had not been there.
fn files_below(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for cgroup in below(root) {
        let text = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
        let new: Vec<_> =
            text.split_whitespace().filter(|name| !found.contains_key(*name)).collect();
        if new.is_empty() {
            continue;
        }
        let Ok(entries) = fs::read_dir(&cgroup) else { continue };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let names: BTreeSet<_> = names.collect();
        for controller in new {
            let prefix = format!("{controller}.");
            let files: BTreeSet<_> =
                names.iter().filter(|name| name.starts_with(&prefix)).cloned().collect();
            if !files.is_empty() {
                found.insert(controller.to_owned(), files);
            }
        }
    }
    found
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
    fn finds_what_a_cgroup_with_the_controller_has() {
        let root = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("cgroup.controllers", "hugetlb io pids\n");
        file("a/cgroup.controllers", "io\n");
        file("a/io.max", "");
        file("a/io.stat", "");
        file("b/cgroup.controllers", "io pids\n");
        file("b/pids.max", "");
        file("b/io.max", "");

        let files = files_below(root.path()).into();

        let facts =
            CgroupFacts { files, version: CgroupVersion::V2, controllers: [].into(), swap: false };
        assert!(facts.lacks("io", "io.weight"));
        assert!(!facts.lacks("io", "io.max"));
        assert!(!facts.lacks("pids", "pids.max"));
        assert!(!facts.lacks("hugetlb", "hugetlb.2MB.max"), "nobody has the controller yet");
    }

    #[test]
    fn finds_controllers_and_no_options() {
        let mounts = Mounts::parse(&[TMPFS, CPU, MEMORY, SYSTEMD].concat());

        let names: Vec<_> = mounts.controllers.iter().map(String::as_str).collect();
        assert_eq!(names, ["cpu", "cpuacct", "memory"]);
        assert_eq!(mounts.memory.as_deref(), Some(Path::new("/sys/fs/cgroup/memory")));
    }
}
