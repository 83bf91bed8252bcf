//! A whole Debian 13 with systemd as its init, under either runtime: what it boots to, what it is told
//! of its name and terminals, and how it ends.

use std::path::Path;
use std::process::{Command, Stdio};

use rstest::rstest;
use tests::{Daemon, Guest, eventually};

use crate::runtimes::daemon_with;
use crate::tools::{on_a_terminal, read_until};
use crate::{SUBVOL, UNPRIVILEGED};

pub(crate) const TEMPLATE: &str = "debian-13.tar.zst";
/// User Mode Linux takes its time.
const PATIENCE: u64 = 180;

pub(crate) struct System<'d> {
    pub(crate) daemon: &'d Daemon,
    pub(crate) guest: Guest<'d>,
}

/// Made by scripts/debian-root.sh.
pub(crate) fn template(daemon: &Daemon) {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let root = project.join(".cache/debian-root/system.tar");
    assert!(root.exists(), "{} is missing; scripts/deps.sh test makes it", root.display());
    let packed = Command::new("zstd")
        .args(["-q", "-1"])
        .arg(&root)
        .arg("-o")
        .arg(daemon.templates().join(TEMPLATE))
        .status();
    assert!(packed.unwrap().success());
}

impl System<'_> {
    fn lxc(&self, tool: &str) -> Command {
        let mut command = Command::new(tests::lxc("trixie", tool));
        command.arg("-P").arg(self.daemon.root().join("var/lib/lxc")).args(["-n", "100"]);
        command.stdin(Stdio::null());
        command
    }

    /// What a command inside prints, whatever it thinks of it.
    pub(crate) fn inside(&self, line: &str) -> String {
        let output = self.lxc("lxc-attach").args(["--", "/bin/sh", "-c", line]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn booted(&self) {
        let state = eventually(PATIENCE, "the end of the boot", || {
            let state = self.inside("systemctl is-system-running");
            ["running", "degraded", "maintenance"].contains(&state.as_str()).then_some(state)
        });
        let failed = self.inside("systemctl list-units --failed --plain --no-legend");
        assert_eq!((state.as_str(), failed.as_str()), ("running", ""), "{}", self.guest.output());
        assert_eq!(self.inside("systemctl is-active multi-user.target"), "active");
    }

    fn file(&self, path: &str) -> String {
        self.inside(&format!("cat {path}"))
    }

    /// Until `number` shows a login.
    fn login_on(&self, number: &str) {
        let mut line = self.lxc("lxc-console");
        line.args(["-t", number]);
        let (mut console, mut terminal) = on_a_terminal(&line);
        read_until(&mut terminal, "login: ");
        console.kill().unwrap();
        console.wait().unwrap();
    }
}

#[rstest]
fn boots_debian_and_ends_cleanly(#[values("crun", "lxc")] runtime: &str) {
    let daemon = daemon_with(runtime, "trixie");
    template(&daemon);
    let options = [
        SUBVOL,
        UNPRIVILEGED,
        ("memory", "768"),
        ("hostname", "web.example.com"),
        ("nameserver", "192.0.2.53"),
        ("searchdomain", "example.org"),
        ("timezone", "Europe/Vienna"),
        ("net0", "name=eth0,ip=192.0.2.10/24"),
        ("features", "nesting=1"),
    ];
    let guest = daemon.create(100, TEMPLATE, &options);
    assert_eq!(guest.config()["ostype"], "debian");
    guest.start();
    let system = System { daemon: &daemon, guest };
    system.booted();

    assert_eq!(system.inside("hostname"), "web"); // systemd goes by the file
    assert_eq!(system.file("/etc/hostname"), "web");
    assert!(system.file("/etc/hosts").contains("192.0.2.10 web.example.com web"));
    let resolver = "search example.org\nnameserver 192.0.2.53";
    assert!(system.file("/etc/resolv.conf").contains(resolver));
    assert_eq!(system.inside("readlink -f /etc/localtime"), "/usr/share/zoneinfo/Europe/Vienna");
    assert_eq!(system.inside("stat -c %u:%g /etc/hostname /etc/hosts"), "0:0\n0:0");
    assert!(system.inside("systemd-detect-virt --container").contains("lxc"));
    // The journal has the boot, and takes more.
    assert!(system.inside("journalctl -b -q --no-pager | wc -l").parse::<u32>().unwrap() > 50);
    system.inside("logger -t test spoken; journalctl --sync");
    assert!(system.inside("journalctl -q --no-pager -t test").contains("spoken"));
    // Its own part of the cgroup tree is its to divide, the limits above it are not.
    assert!(system.inside("cat /sys/fs/cgroup/cgroup.subtree_control").contains("memory"));
    assert_eq!(system.inside("systemctl show -P MemoryAccounting dbus"), "yes");
    assert!(system.inside("ls /sys/fs/cgroup").contains("system.slice"));
    // A login on each terminal, and on the console.
    let logins = "systemctl is-active container-getty@1 container-getty@2 console-getty";
    assert_eq!(system.inside(logins), "active\nactive\nactive");
    assert_eq!(system.inside("stat -c %F /dev/tty1 /dev/tty2").matches("character").count(), 2);
    system.login_on("1");
    system.login_on("2");

    // A change while it runs reaches its files, and its interface.
    let network = "cat /etc/network/interfaces /etc/systemd/network/eth0.network 2>/dev/null";
    assert!(system.inside(network).contains("192.0.2.10"));
    let changes = [("net0", "name=eth0,ip=192.0.2.11/24"), ("hostname", "new.example.com")];
    assert_eq!(system.guest.put_config(&changes).status, 200);
    let text = system.inside(network);
    // LXC's interfaces wait for the next start.
    let (now, before) = (text.contains("192.0.2.11"), text.contains("192.0.2.10"));
    assert_eq!((now, before), (runtime == "crun", runtime == "lxc"), "{text}");

    if runtime == "crun" {
        let boot = "systemctl show -P UserspaceTimestampMonotonic";
        let first = system.inside(boot);
        system.inside("systemctl reboot");
        eventually(PATIENCE, "another life", || {
            let now = system.inside(boot);
            (now.parse::<u64>().is_ok() && now != first).then_some(())
        });
        system.booted();
        assert_eq!(system.inside("hostname"), "new");
    }

    system.guest.task("shutdown", &[("timeout", "120")]).ok();
    let exit = system.guest.oci()["exit"].clone();
    // Its init halted the machine: the kernel says that by a signal.
    assert_eq!((&exit["signal"], &exit["oom_killed"]), (&2.into(), &false.into()), "{exit}");
    system.guest.destroy();
}
