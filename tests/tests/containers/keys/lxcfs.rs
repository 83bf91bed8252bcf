//! The figures that lxcfs makes: of the container, not of the machine.

use std::path::Path;
use std::process::{Child, Command};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rstest::rstest;
use tests::{eventually, lxcfs};

use super::guest;
use crate::{PRIVILEGED, SUBVOL, UNPRIVILEGED, daemon, sh};

/// Where the product looks for it.
const PLACE: &str = "/var/lib/lxcfs";

/// A `/var/lib` that has such a folder, for this test's thread and what it starts: the machine's is the
/// host's, and stays as it is.
fn make_place() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let mount = |source: &str, target: &Path, kind: Option<&str>, flags| {
        mount(Some(source), target, kind, flags, None::<&str>).unwrap();
    };
    mount("none", Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    let below = tempfile::tempdir().unwrap().keep();
    mount("/var/lib", &below, None, MsFlags::MS_BIND | MsFlags::MS_REC);
    mount("tmpfs", Path::new("/var/lib"), Some("tmpfs"), MsFlags::empty());
    for entry in fs_err::read_dir(&below).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "lxcfs" {
            let link = Path::new("/var/lib").join(entry.file_name());
            std::os::unix::fs::symlink(entry.path(), link).unwrap();
        }
    }
    fs_err::create_dir(PLACE).unwrap();
}

/// Ends with the test, and what it has mounted goes with the thread's namespace.
struct Lxcfs(Child);

impl Lxcfs {
    fn start() -> Self {
        let pidfile = tempfile::tempdir().unwrap().keep().join("pid");
        let mut command = Command::new(lxcfs());
        command.arg("--foreground").arg("--pidfile").arg(pidfile).arg(PLACE);
        let running = Self(command.spawn().unwrap());
        let meminfo = Path::new(PLACE).join("proc/meminfo");
        eventually(10, "lxcfs answers", || meminfo.exists().then_some(()));
        running
    }

    /// As if it crashed.
    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Lxcfs {
    fn drop(&mut self) {
        self.end();
    }
}

fn unmount_the_dead() {
    nix::mount::umount2(PLACE, nix::mount::MntFlags::MNT_DETACH).unwrap();
}

/// Seconds since the start of the machine, or of a container.
fn uptime(text: &str) -> f64 {
    text.split_whitespace().next().unwrap().parse().unwrap()
}

const FIGURES: &str = "grep MemTotal /proc/meminfo; echo up $(cat /proc/uptime); \
    test -e /sys/devices/system/cpu/online && echo cpus $(grep -c ^processor /proc/cpuinfo)";

/// KiB of `MemTotal`, and what `/proc/uptime` says, in the last of its lives.
fn figures(output: &str) -> (u64, f64) {
    let last =
        |start| output.lines().filter_map(|line| line.trim().strip_prefix(start)).next_back();
    let words: &str = last("MemTotal:").unwrap();
    let memory: u64 = words.split_whitespace().next().unwrap().parse().unwrap();
    let up = last("up ").unwrap();
    assert!(output.contains("cpus 2"), "{output}");
    (memory, uptime(up))
}

/// Of a container that nests others they are the machine's, as ARCHITECTURE says: what covers a part of
/// `/proc` would keep those from having one.
#[rstest]
#[case::unprivileged(UNPRIVILEGED, "", true)]
#[case::privileged(PRIVILEGED, "", true)]
#[case::nesting(UNPRIVILEGED, "features: nesting=1\n", false)]
fn a_container_sees_its_own_figures(
    #[case] privileged: (&str, &str),
    #[case] line: &str,
    #[case] own: bool,
) {
    make_place();
    let lxcfs = Lxcfs::start();
    let daemon = daemon();
    let guest = guest(&daemon, &[SUBVOL, privileged], &sh(FIGURES), line);
    assert_eq!(guest.put_config(&[("memory", "128")]).status, 200);
    let machine = || uptime(&fs_err::read_to_string("/proc/uptime").unwrap());
    eventually(30, "the machine is old enough", || (machine() > 20.0).then_some(()));

    let (memory, up) = figures(&guest.ends_well());

    assert_eq!(memory == 131_072, own, "{memory}");
    assert_eq!(up < 10.0, own, "{up} of {}", machine());
    guest.destroy();
    drop(lxcfs);
}

#[test]
fn a_dead_lxcfs_keeps_nobody_from_starting() {
    make_place();
    let lxcfs = Lxcfs::start();
    let daemon = daemon();
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], &sh(FIGURES), "");
    lxcfs.kill();

    // What is mounted is there, and answers nobody.
    let (memory, _) = figures(&guest.ends_well());
    assert_ne!(memory, 64 << 10);
    unmount_the_dead();
    let again = Lxcfs::start();
    let (memory, _) = figures(&guest.ends_well());
    assert_eq!(memory, 64 << 10);
    guest.destroy();
    drop(again);
}
