//! A container's cgroup in whichever of the kernel's two layouts each controller is mounted, and
//! how each of them words its figures.

use std::io;
use std::path::{Path, PathBuf};

use pve_integration::bundle::Setting;

/// The limiting cgroup of a container, relative to the mount point of any hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    mount: PathBuf,
    relative: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// `avg10` of the kernel's pressure files, as the kernel prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    pub(crate) cpu_some: String,
    pub(crate) cpu_full: String,
    pub(crate) io_some: String,
    pub(crate) io_full: String,
    pub(crate) memory_some: String,
    pub(crate) memory_full: String,
}

impl Cgroup {
    /// `relative` is what a container's supervisor answers, with or without a leading slash.
    pub(crate) fn new(mount: &Path, relative: &Path) -> Self {
        let relative = relative.strip_prefix("/").unwrap_or(relative).to_owned();
        Self { mount: mount.to_owned(), relative }
    }

    pub(crate) fn relative(&self) -> &Path {
        &self.relative
    }

    /// Of the first of these controllers that is mounted. On a host with both layouts a controller
    /// is in one of them.
    fn dir(&self, controllers: &[&str]) -> Option<(PathBuf, Version)> {
        let unified = self.mount.join("cgroup.controllers").exists();
        if !unified {
            let legacy = controllers.iter().map(|name| self.mount.join(name).join(&self.relative));
            if let Some(dir) = legacy.into_iter().find(|dir| dir.is_dir()) {
                return Some((dir, Version::One));
            }
        }
        let base = if unified { self.mount.clone() } else { self.mount.join("unified") };
        let dir = base.join(&self.relative);
        dir.is_dir().then_some((dir, Version::Two))
    }

    /// Used memory without the page cache, and swap. Files of a controller that is off are missing:
    /// zero.
    pub(crate) fn memory(&self) -> (u64, u64) {
        match self.dir(&["memory"]) {
            Some((dir, Version::Two)) => {
                let cache = keyed(&read(&dir, "memory.stat"), "file");
                (
                    number(&dir, "memory.current").saturating_sub(cache),
                    number(&dir, "memory.swap.current"),
                )
            }
            Some((dir, Version::One)) => {
                let used = number(&dir, "memory.usage_in_bytes");
                let cache = keyed(&read(&dir, "memory.stat"), "total_cache");
                let swap = number(&dir, "memory.memsw.usage_in_bytes").saturating_sub(used);
                (used.saturating_sub(cache), swap)
            }
            None => (0, 0),
        }
    }

    /// How many processes were killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        match self.dir(&["memory"]) {
            Some((dir, Version::Two)) => keyed(&read(&dir, "memory.events"), "oom_kill"),
            // v1 counts where the victim was.
            Some((dir, Version::One)) => [dir.join("ns"), dir]
                .iter()
                .map(|dir| keyed(&read(dir, "memory.oom_control"), "oom_kill"))
                .sum(),
            None => 0,
        }
    }

    /// CPU time of all processes so far, in microseconds.
    pub(crate) fn cpu_us(&self) -> u64 {
        match self.dir(&["cpuacct", "cpu"]) {
            Some((dir, Version::Two)) => keyed(&read(&dir, "cpu.stat"), "usage_usec"),
            Some((dir, Version::One)) => number(&dir, "cpuacct.usage") / 1000,
            None => 0,
        }
    }

    /// Bytes read and written.
    pub(crate) fn io(&self) -> (u64, u64) {
        match self.dir(&["blkio"]) {
            Some((dir, Version::Two)) => {
                let text = read(&dir, "io.stat");
                (nested(&text, "rbytes="), nested(&text, "wbytes="))
            }
            Some((dir, Version::One)) => {
                let text = read(&dir, "blkio.throttle.io_service_bytes_recursive");
                (labelled(&text, "Read"), labelled(&text, "Write"))
            }
            None => (0, 0),
        }
    }

    pub(crate) fn pressure(&self) -> Option<Pressure> {
        let (dir, Version::Two) = self.dir(&[])? else { return None };
        let of = |file: &str, kind: &str| average(&read(&dir, file), kind);
        Some(Pressure {
            cpu_some: of("cpu.pressure", "some")?,
            cpu_full: of("cpu.pressure", "full").unwrap_or_else(|| "0.00".to_owned()),
            io_some: of("io.pressure", "some")?,
            io_full: of("io.pressure", "full")?,
            memory_some: of("memory.pressure", "some")?,
            memory_full: of("memory.pressure", "full")?,
        })
    }

    /// Set limits. One whose file this host does not have is said and left out, as at a start.
    pub(crate) fn limit(&self, settings: &[Setting]) -> io::Result<()> {
        // With cgroup v1, memory alone may never exceed memory and swap together: which of the two
        // goes first depends on where they are. So what fails is tried again after the others.
        let mut left: Vec<_> = settings.iter().collect();
        let mut last = Ok(());
        for _ in 0..settings.len() {
            last = Ok(());
            left.retain(|setting| match self.write(setting) {
                Ok(()) => false,
                Err(err) => {
                    last = Err(err);
                    true
                }
            });
        }
        last
    }

    fn write(&self, setting: &Setting) -> io::Result<()> {
        let dir = self.dir(&[&*setting.controller]).map(|(dir, _)| dir);
        let Some(path) = dir.map(|dir| dir.join(&*setting.file)).filter(|path| path.exists())
        else {
            tracing::warn!("{} of {}: no such file", setting.file, self.relative.display());
            return Ok(());
        };
        fs_err::write(path, &setting.value)
    }

    /// Whether somebody froze it.
    pub(crate) fn frozen(&self) -> bool {
        match self.dir(&["freezer"]) {
            Some((dir, Version::Two)) => frozen_v2(&dir),
            Some((dir, Version::One)) => frozen_v1(&dir),
            None => false,
        }
    }
}

/// A frozen cgroup freezes those in it, and these say so. `lxc-start` freezes the inner one.
fn frozen_v2(dir: &Path) -> bool {
    let inner = read(&dir.join("ns"), "cgroup.events");
    let events = if inner.is_empty() { read(dir, "cgroup.events") } else { inner };
    keyed(&events, "frozen") == 1
}

/// The monitor freezes the inner cgroup, PVE the limiting one.
fn frozen_v1(dir: &Path) -> bool {
    let state = |dir: &Path| read(dir, "freezer.state").trim() == "FROZEN";
    state(dir) || state(&dir.join("ns"))
}

/// Empty if it is not there: controllers differ from host to host.
fn read(dir: &Path, file: &str) -> String {
    fs_err::read_to_string(dir.join(file)).unwrap_or_default()
}

fn number(dir: &Path, file: &str) -> u64 {
    read(dir, file).trim().parse().unwrap_or_default()
}

/// `key value` lines.
fn keyed(text: &str, key: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

/// `8:0 rbytes=1 wbytes=2` lines, summed over the devices.
fn nested(text: &str, key: &str) -> u64 {
    let values =
        text.split_whitespace().filter_map(|part| part.strip_prefix(key)?.parse::<u64>().ok());
    values.fold(0, u64::saturating_add)
}

/// `8:0 Read 1` lines, summed over the devices. The line `Total` names no device.
fn labelled(text: &str, label: &str) -> u64 {
    let value = |line: &str| {
        let mut parts = line.split_whitespace();
        (parts.next()?.contains(':') && parts.next()? == label)
            .then(|| parts.next()?.parse::<u64>().ok())?
    };
    text.lines().filter_map(value).fold(0, u64::saturating_add)
}

fn average(text: &str, kind: &str) -> Option<String> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(kind))?;
    line.split_whitespace().find_map(|part| part.strip_prefix("avg10=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let cgroup = Cgroup::new(dir.path(), Path::new("/lxc/102"));
        (dir, cgroup)
    }

    #[test]
    fn reads_the_unified_layout() {
        let pressure = "some avg10=0.12 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.01 avg60=0 avg300=0 total=0\n";
        let (_dir, cgroup) = cgroup(&[
            ("cgroup.controllers", "cpu io memory pids\n"),
            ("lxc/102/memory.current", "52428800\n"),
            ("lxc/102/memory.stat", "anon 1\nfile 1048576\nfile_mapped 7\n"),
            ("lxc/102/memory.swap.current", "4096\n"),
            ("lxc/102/cpu.stat", "usage_usec 5000000\nuser_usec 3\n"),
            ("lxc/102/io.stat", "8:0 rbytes=8000 wbytes=4096 rios=1\n8:16 rbytes=192 wbytes=0\n"),
            ("lxc/102/cpu.pressure", "some avg10=0.12 avg60=0.00 avg300=0.00 total=1\n"),
            ("lxc/102/io.pressure", pressure),
            ("lxc/102/memory.pressure", pressure),
            ("lxc/102/cgroup.events", "populated 1\nfrozen 1\n"),
        ]);

        assert_eq!(cgroup.memory(), (51_380_224, 4096));
        assert_eq!(cgroup.cpu_us(), 5_000_000);
        assert_eq!(cgroup.io(), (8192, 4096));
        assert!(cgroup.frozen());
        let pressure = cgroup.pressure().unwrap();
        assert_eq!(pressure.cpu_some, "0.12");
        assert_eq!(pressure.cpu_full, "0.00", "older kernels have no full line for the CPU");
        assert_eq!(pressure.memory_full, "0.01");
    }

    #[test]
    fn reads_the_legacy_layout() {
        let (_dir, cgroup) = cgroup(&[
            ("memory/lxc/102/memory.usage_in_bytes", "4096000\n"),
            ("memory/lxc/102/memory.memsw.usage_in_bytes", "4096100\n"),
            ("memory/lxc/102/memory.stat", "cache 1\ntotal_cache 96000\n"),
            ("cpuacct/lxc/102/cpuacct.usage", "7000000\n"),
            (
                "blkio/lxc/102/blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 10\n8:0 Write 20\n8:16 Read 1\n8:16 Total 21\nTotal 99\n",
            ),
            ("freezer/lxc/102/freezer.state", "THAWED\n"),
            ("freezer/lxc/102/ns/freezer.state", "FROZEN\n"),
        ]);

        assert_eq!(cgroup.memory(), (4_000_000, 100));
        assert_eq!(cgroup.cpu_us(), 7000);
        assert_eq!(cgroup.io(), (11, 20));
        assert_eq!(cgroup.pressure(), None);
        assert!(cgroup.frozen());
    }

    #[test]
    fn a_container_that_is_gone_uses_nothing() {
        let (_dir, cgroup) = cgroup(&[]);

        assert_eq!((cgroup.memory(), cgroup.io(), cgroup.cpu_us()), ((0, 0), (0, 0), 0));
        assert!(!cgroup.frozen());
    }
}
