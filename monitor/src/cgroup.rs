//! The container's cgroup as the monitor needs it: its limits, who is in it, freezing, the OOM counter,
//! and its removal in every hierarchy.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err as fs;
use lxc_protocol::wire::CgroupLayout;
use pve_integration::bundle::Setting;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};
use crate::guest::{Guest, warn};
use crate::namespace::{is_cgroup1, is_cgroup2};

const MOUNT: &str = "/sys/fs/cgroup";
/// How long killed processes may take to go. Those in an uninterruptible wait can take long.
const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(5);

/// One cgroup path in one or, with v1, several hierarchies.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    pub(crate) layout: CgroupLayout,
    /// Where each hierarchy is mounted.
    mounts: Vec<PathBuf>,
    /// The cgroup with the limits, relative to the mounts.
    pub(crate) limit: String,
    /// The one below, with the processes.
    pub(crate) inner: String,
    /// Of `lxc-start`, where that runs the container.
    monitor: String,
}

impl Cgroup {
    /// As mounted in our namespace, so after [`crate::namespace::enter`].
    pub(crate) fn of(guest: &Guest) -> io::Result<Self> {
        let inner = guest.root.guest_cgroup(guest.vmid);
        Self::at(guest.limit_cgroup(), inner, guest.monitor_cgroup())
    }

    /// By their paths below the mounts: limits, processes, `lxc-start`.
    pub(crate) fn at(limit: String, inner: String, monitor: String) -> io::Result<Self> {
        let mount = Path::new(MOUNT);
        if is_cgroup2(mount) {
            return Ok(Self {
                layout: CgroupLayout::Unified,
                mounts: vec![mount.to_owned()],
                limit,
                inner,
                monitor,
            });
        }
        let mut mounts = Vec::new();
        for entry in fs::read_dir(mount)? {
            let entry = entry?;
            // Not the links from `cpu` and the like to a hierarchy of several controllers.
            if entry.file_type()?.is_dir() && is_cgroup1(&entry.path()) {
                mounts.push(entry.path());
            }
        }
        mounts.sort();
        Ok(Self { layout: CgroupLayout::Legacy, mounts, limit, inner, monitor })
    }

    /// Make what is above the cgroup with the limits, so that which limits there are can be seen.
    pub(crate) fn prepare(&self) -> Result<()> {
        for mount in &self.mounts {
            let parent = Path::new(&self.limit).parent().unwrap_or_else(|| Path::new(""));
            make(mount, parent)?;
        }
        Ok(())
    }

    /// Make the cgroup with the limits, and set them. The container's own, below, is libcrun's.
    pub(crate) fn limit(&self, limits: &[Setting]) -> Result<()> {
        for mount in &self.mounts {
            pass_controllers(&make(mount, Path::new(&self.limit))?);
        }
        limits.iter().try_for_each(|setting| {
            let Setting { file, value, .. } = setting;
            match self.set(setting) {
                // As where the controller is missing: the container starts, and the task says so.
                Err(err) if err.kind() == io::ErrorKind::NotFound => {
                    warn(file, "this host has no such limit");
                    Ok(())
                }
                written => written.map_err(|source| Error::Limit {
                    file: file.to_string(),
                    value: value.clone(),
                    source,
                }),
            }
        })
    }

    pub(crate) fn set(&self, setting: &Setting) -> io::Result<()> {
        let top = self.hierarchy(&setting.controller).cloned().unwrap_or_default();
        let path = top.join(&self.limit).join(&*setting.file);
        // Not made where it is not: in a cgroup that is the kernel's answer anyway.
        let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
        file.write_all(setting.value.as_bytes())
    }

    /// All that are in it or below it.
    pub(crate) fn processes(&self) -> io::Result<Vec<Pid>> {
        let Some(mount) = self.mounts.first() else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        for dir in tree(&mount.join(&self.limit))? {
            pids.extend(processes(&dir)?);
        }
        pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
        Ok(pids)
    }

    /// A folder of it, in whichever hierarchy.
    pub(crate) fn existing(&self) -> Option<PathBuf> {
        let names = [&self.limit, &self.monitor];
        let paths = self.mounts.iter().flat_map(|mount| names.map(|name| mount.join(name)));
        paths.into_iter().find(|path| path.exists())
    }

    fn hierarchy(&self, controller: &str) -> Option<&PathBuf> {
        match self.layout {
            CgroupLayout::Unified => self.mounts.first(),
            CgroupLayout::Legacy => self.mounts.iter().find(|mount| {
                // One of several controllers is named after all of them.
                let name = mount.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.split(',').any(|name| name == controller)
            }),
        }
    }

    /// Kill everything in it and remove it from every hierarchy. False if something would not die.
    /// `reap` is called now and then, as killed children of ours stay until they are waited for.
    pub(crate) fn destroy(&self, mut reap: impl FnMut()) -> io::Result<bool> {
        let start = Instant::now();
        let mut alone = true;
        while !self.kill_and_remove()? {
            alone = false;
            if start.elapsed() > PATIENCE {
                return Ok(false);
            }
            reap();
            std::thread::sleep(TICK);
        }
        if !alone {
            reap();
        }
        Ok(true)
    }

    /// One round; true when nothing is left.
    fn kill_and_remove(&self) -> io::Result<bool> {
        let mut gone = true;
        let tops = self.mounts.iter().flat_map(|mount| {
            // First who would clean up behind our back, then what it runs.
            [mount.join(&self.monitor), mount.join(&self.limit)]
        });
        for top in tops {
            for dir in tree(&top)? {
                for pid in processes(&dir)? {
                    // It may have gone by itself meanwhile.
                    kill_process(pid, Signal::KILL).ok();
                }
                // A frozen process of v1 dies no sooner than it thaws.
                thaw(&dir).ok();
                match fs::remove_dir(&dir) {
                    Err(err) if err.kind() != io::ErrorKind::NotFound => gone = false,
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(gone)
    }

    /// The limit cgroup with all below it, as LXC does: its own tools thaw that one.
    pub(crate) fn freeze(&self) -> io::Result<()> {
        let dir = self.freezer(&self.limit)?;
        match self.layout {
            CgroupLayout::Unified => fs::write(dir.join("cgroup.freeze"), "1"),
            CgroupLayout::Legacy => fs::write(dir.join("freezer.state"), "FROZEN"),
        }
    }

    /// Also undoes a freeze of the inner cgroup, which is what libcrun freezes.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        thaw(&self.freezer(&self.limit)?)?;
        thaw(&self.freezer(&self.inner)?)
    }

    /// Whether every process stands still, by whomever it was frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        let Ok(dir) = self.freezer(&self.inner) else { return false };
        match self.layout {
            CgroupLayout::Unified => number_after(&dir.join("cgroup.events"), "frozen") == Some(1),
            CgroupLayout::Legacy => fs::read_to_string(dir.join("freezer.state"))
                .is_ok_and(|state| state.trim() == "FROZEN"),
        }
    }

    /// Whether the kernel killed something in here for want of memory. The cgroup must still be there.
    pub(crate) fn oom_killed(&self) -> bool {
        let Some(top) = self.hierarchy("memory").map(|mount| mount.join(&self.limit)) else {
            return false;
        };
        match self.layout {
            CgroupLayout::Unified => counts_oom_kill(&top.join("memory.events")),
            // Counted where the victim was, which may have made cgroups of its own.
            CgroupLayout::Legacy => tree(&top).is_ok_and(|dirs| {
                dirs.iter().any(|dir| counts_oom_kill(&dir.join("memory.oom_control")))
            }),
        }
    }

    /// A descriptor of `path` (one of ours) in the hierarchy of `controller`; with v2 there is one.
    pub(crate) fn open(&self, controller: &str, path: &str) -> io::Result<OwnedFd> {
        let mount = self
            .hierarchy(controller)
            .filter(|_| !controller.contains('/'))
            .ok_or(io::ErrorKind::NotFound)?;
        open_directory(&mount.join(path))
    }

    /// Descriptors of the container's cgroup in every hierarchy it is in.
    pub(crate) fn open_all(&self) -> Vec<OwnedFd> {
        self.mounts
            .iter()
            .filter_map(|mount| open_directory(&mount.join(&self.inner)).ok())
            .take(20)
            .collect()
    }

    fn freezer(&self, path: &str) -> io::Result<PathBuf> {
        Ok(self.hierarchy("freezer").ok_or(io::ErrorKind::NotFound)?.join(path))
    }
}

/// `path` below `mount`, part by part.
fn make(mount: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut dir = mount.to_owned();
    for part in path.components() {
        pass_controllers(&dir);
        let parent = dir.clone();
        dir.push(part);
        match fs::create_dir(&dir) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
            Ok(()) | Err(_) => {}
        }
        inherit_cpuset(&parent, &dir);
    }
    Ok(dir)
}

/// What a v2 cgroup can, those in it can, too. One that stays behind is missed by a limit, and named.
fn pass_controllers(dir: &Path) {
    let Ok(controllers) = fs::read_to_string(dir.join("cgroup.controllers")) else { return };
    for controller in controllers.split_whitespace() {
        fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")).ok();
    }
}

/// A new cpuset of v1 holds nothing, and takes no process until it does. In one that has its CPUs
/// already the values are the container's.
fn inherit_cpuset(parent: &Path, dir: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let empty =
            |path: PathBuf| fs::read_to_string(path).is_ok_and(|text| text.trim().is_empty());
        if dir.join("cgroup.clone_children").exists()
            && empty(dir.join(file))
            && let Ok(value) = fs::read_to_string(parent.join(file))
        {
            fs::write(dir.join(file), value).ok();
        }
    }
}

/// In a cgroup's own file, or a copy of it.
pub(crate) fn counts_oom_kill(file: &Path) -> bool {
    number_after(file, "oom_kill").is_some_and(|count| count > 0)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn thaw(dir: &Path) -> io::Result<()> {
    let (v2, v1) = (dir.join("cgroup.freeze"), dir.join("freezer.state"));
    if v2.exists() {
        fs::write(v2, "0")
    } else if v1.exists() {
        fs::write(v1, "THAWED")
    } else {
        Ok(())
    }
}

/// `top` and all below it, deepest first; nothing if it does not exist.
fn tree(top: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
        found.push(dir);
    }
    found.reverse(); // parents were found before their children
    Ok(found)
}

fn processes(dir: &Path) -> io::Result<Vec<Pid>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let text = rustix::fs::open(dir.join("cgroup.procs"), flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|file| io::read_to_string(std::fs::File::from(file)));
    match text {
        // 0 stands for a process outside of our pid namespace.
        Ok(text) => Ok(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()),
        // Removed before or after it was opened, or a threaded cgroup, whose processes its parent lists.
        Err(err) => match err.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(Vec::new()),
            Some(_) | None => Err(err),
        },
    }
}

/// The number in the line `KEY NUMBER`.
fn number_after(file: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_children_before_their_parents() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("100");
        fs::create_dir_all(top.join("ns/init.scope")).unwrap();
        fs::create_dir_all(top.join("other")).unwrap();
        let found = tree(&top).unwrap();
        let position = |name: &str| found.iter().position(|path| path.ends_with(name)).unwrap();
        assert!(position("init.scope") < position("ns"));
        assert_eq!(position("100"), found.len() - 1);
        assert!(tree(&dir.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn reads_a_counter_by_its_whole_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.events");
        fs::write(&file, "oom 3\noom_kill 2\noom_group_kill 0\n").unwrap();
        assert_eq!(number_after(&file, "oom_kill"), Some(2));
        assert_eq!(number_after(&file, "oom"), Some(3));
        assert_eq!(number_after(&file, "high"), None);
    }

    #[test]
    fn removes_what_is_there_and_takes_absence_for_success() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = Cgroup {
            layout: CgroupLayout::Legacy,
            mounts: vec![dir.path().join("memory"), dir.path().join("pids")],
            limit: "lxc/100".to_owned(),
            inner: "lxc/100/ns".to_owned(),
            monitor: "lxc.monitor/100".to_owned(),
        };
        fs::create_dir_all(dir.path().join("memory/lxc/100/ns")).unwrap();
        assert!(cgroup.open("memory", "lxc/100").is_ok());
        assert!(
            cgroup.open("../etc", "lxc/100").is_err() && cgroup.open("cpu", "lxc/100").is_err()
        );
        assert!(cgroup.destroy(|| ()).unwrap());
        assert!(
            dir.path().join("memory/lxc").exists() && !dir.path().join("memory/lxc/100").exists()
        );
        assert!(cgroup.destroy(|| ()).unwrap());
        assert!(!cgroup.is_frozen() && cgroup.open("memory", "lxc/100").is_err());
    }
}
