//! LXC's own tools, as Debian 12 and Debian 13 package them, on a container that libcrun runs, and on
//! one of LXC's own.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, Output, Stdio};

use rstest::rstest;
use rustix::pty::OpenptFlags;
use tests::{Daemon, Guest, eventually};

use crate::runtimes::daemon_with;
use crate::{BUSYBOX, PATIENT, SMALL, SUBVOL, UNPRIVILEGED, sh};

/// The tools of one release, and a daemon whose containers they see.
struct Tools {
    release: &'static str,
    daemon: Daemon,
}

impl Tools {
    fn new(release: &'static str, runtime: &str) -> Self {
        let tools = Self { release, daemon: daemon_with(runtime, release) };
        let version = match release {
            "bookworm" => "5.0.",
            _ => "6.0.",
        };
        let said = tools.said("lxc-info", &["--version"]);
        assert!(said.starts_with(version), "{said}");
        tools
    }

    fn command(&self, tool: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(tests::lxc(self.release, tool));
        command.arg("-P").arg(self.daemon.root().join("var/lib/lxc"));
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, tool: &str, arguments: &[&str]) -> Output {
        self.command(tool, arguments).output().unwrap()
    }

    /// What it prints, if it ends well.
    #[track_caller]
    fn said(&self, tool: &str, arguments: &[&str]) -> String {
        let output = self.run(tool, arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool} {arguments:?}: {}: {text}{errors}", output.status);
        text
    }

    fn state(&self) -> String {
        self.said("lxc-info", &["-n", "100", "-s", "-H"]).trim().to_owned()
    }

    fn started(&self, entrypoint: &str) -> Guest<'_> {
        let options =
            [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", entrypoint), ("hostname", "tool")];
        let guest = self.daemon.create(100, BUSYBOX, &options);
        guest.start();
        guest
    }
}

/// A tool with a terminal of its own, and the other end of that.
pub(crate) fn on_a_terminal(line: &Command) -> (Child, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
    let child = Command::new("setsid")
        .arg("--ctty")
        .arg(line.get_program())
        .args(line.get_args())
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave)
        .spawn()
        .unwrap();
    (child, File::from(master))
}

/// Until the terminal has shown it.
#[track_caller]
pub(crate) fn read_until(terminal: &mut File, word: &str) {
    let mut seen = String::new();
    while !seen.contains(word) {
        let mut bytes = [0; 256];
        let count = terminal.read(&mut bytes).unwrap_or(0);
        assert!(count > 0, "the terminal ended; it showed {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

#[rstest]
fn info_and_ls_know_it(
    #[values("bookworm", "trixie")] release: &'static str,
    #[values("crun", "lxc")] runtime: &str,
) {
    let tools = Tools::new(release, runtime);
    let guest = tools.started(PATIENT);
    guest.wait_for_output("ready");
    assert_eq!(tools.state(), "RUNNING");
    let pid = tools.said("lxc-info", &["-n", "100", "-p", "-H"]);
    assert_eq!(pid.trim(), guest.oci()["pid"].to_string());
    assert!(tools.said("lxc-info", &["-n", "100"]).contains("RUNNING"));
    assert_eq!(tools.said("lxc-ls", &["--active"]).trim(), "100");
    let table = tools.said("lxc-ls", &["-f", "--active"]);
    let row = table.lines().find(|line| line.starts_with("100 ")).expect(&table);
    assert!(row.contains("RUNNING"), "{table}");
    guest.stop();
    guest.destroy();
}

#[rstest]
fn attach_runs_a_program_inside(
    #[values("bookworm", "trixie")] release: &'static str,
    #[values("crun", "lxc")] runtime: &str,
) {
    let tools = Tools::new(release, runtime);
    let guest = tools.started(PATIENT);
    guest.wait_for_output("ready");
    // Of the cgroup, how far below the container's own it is: not outside.
    let script =
        "hostname; id -u; cat /proc/self/uid_map; grep -c '[.][.]' /proc/self/cgroup; exit 5";
    let output = tools.run("lxc-attach", &["-n", "100", "--", "/bin/sh", "-c", script]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words, ["tool", "0", "0", "100000", "65536", "0"]);
    guest.stop();
    guest.destroy();
}

#[rstest]
fn freeze_and_unfreeze(
    #[values("bookworm", "trixie")] release: &'static str,
    #[values("crun", "lxc")] runtime: &str,
) {
    let tools = Tools::new(release, runtime);
    let guest = tools.started(&sh("n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.05; done"));
    guest.wait_for_output("tick 2");
    // Without a config of a container these two give up before they ask anybody.
    let config = tools.daemon.root().join("var/lib/lxc/100/config");
    assert!(fs_err::read_to_string(&config).unwrap().contains("lxc.uts.name = tool\n"));
    tools.said("lxc-freeze", &["-n", "100"]);
    assert_eq!(tools.state(), "FROZEN");
    let before = guest.output();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(guest.output(), before, "it runs on");
    tools.said("lxc-unfreeze", &["-n", "100"]);
    assert_eq!(tools.state(), "RUNNING");
    eventually(10, "output again", || (guest.output() != before).then_some(()));
    guest.stop();
    assert!(!config.exists());
    // Another's stays, whatever starts and ends.
    fs_err::write(&config, "lxc.uts.name = other\n").unwrap();
    guest.start();
    guest.stop();
    assert_eq!(fs_err::read_to_string(&config).unwrap(), "lxc.uts.name = other\n");
    guest.destroy();
}

#[rstest]
fn stop_asks_and_kill_does_not(
    #[values("bookworm", "trixie")] release: &'static str,
    #[values("crun", "lxc")] runtime: &str,
) {
    let tools = Tools::new(release, runtime);
    let guest = tools.started(PATIENT);
    guest.wait_for_output("ready");
    tools.said("lxc-stop", &["-n", "100", "--timeout", "30"]);
    assert_eq!(guest.wait()["exit_code"], 0);
    assert_eq!(guest.status(), "stopped");
    guest.start();
    eventually(10, "ready again", || (guest.output().matches("ready").count() == 2).then_some(()));
    tools.said("lxc-stop", &["-n", "100", "--kill"]);
    assert_eq!(guest.wait()["signal"], 9);
    guest.destroy();
}

#[rstest]
fn wait_returns_at_the_end(
    #[values("bookworm", "trixie")] release: &'static str,
    #[values("crun", "lxc")] runtime: &str,
) {
    let tools = Tools::new(release, runtime);
    let guest = tools.started(PATIENT);
    guest.wait_for_output("ready");
    tools.said("lxc-wait", &["-n", "100", "-s", "RUNNING", "-t", "10"]);
    let waiting = ["-n", "100", "-s", "STOPPED", "-t", "60"];
    let mut waiting = tools.command("lxc-wait", &waiting).spawn().unwrap();
    guest.stop();
    assert!(waiting.wait().unwrap().success());
    guest.destroy();
}

/// Not of a program under LXC, whose output is a pipe there.
#[rstest]
fn console_shows_what_a_program_writes(#[values("bookworm", "trixie")] release: &'static str) {
    let tools = Tools::new(release, "crun");
    let guest = tools.started(&sh("while :; do echo tick; sleep 0.1; done"));
    guest.wait_for_output("tick");
    let line = tools.command("lxc-console", &["-n", "100", "-t", "0"]);
    let (mut console, mut terminal) = on_a_terminal(&line);
    read_until(&mut terminal, "tick");
    console.kill().unwrap();
    console.wait().unwrap();
    guest.stop();
    guest.destroy();
}
