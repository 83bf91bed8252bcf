//! LXC's own tools, as Debian packages them, on a container that libcrun runs, and on one of LXC's.

use std::io::Read;
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use rustix::pty::OpenptFlags;
use tests::{Daemon, Guest, eventually};

use crate::runtimes::daemon;
use crate::{BUSYBOX, PATIENT, SMALL, SUBVOL, UNPRIVILEGED, sh};

fn command(daemon: &Daemon, tool: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(tests::lxc(tool));
    command.arg("-P").arg(daemon.root().join("var/lib/lxc")).args(arguments).stdin(Stdio::null());
    command
}

fn run(daemon: &Daemon, tool: &str, arguments: &[&str]) -> Output {
    command(daemon, tool, arguments).output().unwrap()
}

/// What it prints, if it ends well.
#[track_caller]
fn said(daemon: &Daemon, tool: &str, arguments: &[&str]) -> String {
    let output = run(daemon, tool, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {}: {text}{errors}", output.status);
    text
}

fn started<'d>(daemon: &'d Daemon, entrypoint: &str) -> Guest<'d> {
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", entrypoint), ("hostname", "tool")];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    guest
}

fn state(daemon: &Daemon) -> String {
    said(daemon, "lxc-info", &["-n", "100", "-s", "-H"]).trim().to_owned()
}

#[rstest]
fn info_and_ls_know_it(#[values("crun", "lxc")] runtime: &str) {
    let daemon = daemon(runtime);
    let guest = started(&daemon, PATIENT);
    guest.wait_for_output("ready");
    assert_eq!(state(&daemon), "RUNNING");
    let pid = said(&daemon, "lxc-info", &["-n", "100", "-p", "-H"]);
    assert_eq!(pid.trim(), guest.oci()["pid"].to_string());
    assert!(said(&daemon, "lxc-info", &["-n", "100"]).contains("RUNNING"));
    assert_eq!(said(&daemon, "lxc-ls", &["--active"]).trim(), "100");
    let table = said(&daemon, "lxc-ls", &["-f", "--active"]);
    let row = table.lines().find(|line| line.starts_with("100 ")).expect(&table);
    assert!(row.contains("RUNNING"), "{table}");
    guest.stop();
    guest.destroy();
}

#[rstest]
fn attach_runs_a_program_inside(#[values("crun", "lxc")] runtime: &str) {
    let daemon = daemon(runtime);
    let guest = started(&daemon, PATIENT);
    guest.wait_for_output("ready");
    let script = "hostname; id -u; cat /proc/self/uid_map; exit 5";
    let output = run(&daemon, "lxc-attach", &["-n", "100", "--", "/bin/sh", "-c", script]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words, ["tool", "0", "0", "100000", "65536"]);
    guest.stop();
    guest.destroy();
}

#[rstest]
fn freeze_and_unfreeze(#[values("crun", "lxc")] runtime: &str) {
    let daemon = daemon(runtime);
    let guest =
        started(&daemon, &sh("n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.05; done"));
    guest.wait_for_output("tick 2");
    // Without a config of a container these two give up before they ask anybody; any will do.
    fs_err::write(daemon.root().join("var/lib/lxc/100/config"), "").unwrap();
    said(&daemon, "lxc-freeze", &["-n", "100"]);
    assert_eq!(state(&daemon), "FROZEN");
    let before = guest.output();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(guest.output(), before, "it runs on");
    said(&daemon, "lxc-unfreeze", &["-n", "100"]);
    assert_eq!(state(&daemon), "RUNNING");
    eventually(10, "output again", || (guest.output() != before).then_some(()));
    guest.stop();
    guest.destroy();
}

#[rstest]
fn stop_asks_and_kill_does_not(#[values("crun", "lxc")] runtime: &str) {
    let daemon = daemon(runtime);
    let guest = started(&daemon, PATIENT);
    guest.wait_for_output("ready");
    said(&daemon, "lxc-stop", &["-n", "100", "--timeout", "30"]);
    assert_eq!(guest.wait()["exit_code"], 0);
    assert_eq!(guest.status(), "stopped");
    guest.start();
    eventually(10, "ready again", || (guest.output().matches("ready").count() == 2).then_some(()));
    said(&daemon, "lxc-stop", &["-n", "100", "--kill"]);
    assert_eq!(guest.wait()["signal"], 9);
    guest.destroy();
}

#[rstest]
fn wait_returns_at_the_end(#[values("crun", "lxc")] runtime: &str) {
    let daemon = daemon(runtime);
    let guest = started(&daemon, PATIENT);
    guest.wait_for_output("ready");
    said(&daemon, "lxc-wait", &["-n", "100", "-s", "RUNNING", "-t", "10"]);
    let waiting = ["-n", "100", "-s", "STOPPED", "-t", "60"];
    let mut waiting = command(&daemon, "lxc-wait", &waiting).spawn().unwrap();
    guest.stop();
    assert!(waiting.wait().unwrap().success());
    guest.destroy();
}

/// Not of a program under LXC, whose output is a pipe there.
#[test]
fn console_shows_what_it_writes() {
    let daemon = daemon("crun");
    let guest = started(&daemon, &sh("while :; do echo tick; sleep 0.1; done"));
    guest.wait_for_output("tick");
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
    let line = command(&daemon, "lxc-console", &["-n", "100", "-t", "0"]);
    let mut console = Command::new("setsid")
        .arg("--ctty")
        .arg(line.get_program())
        .args(line.get_args())
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave)
        .spawn()
        .unwrap();
    let (mut seen, mut master) = (String::new(), std::fs::File::from(master));
    while !seen.contains("tick") {
        let mut bytes = [0; 256];
        let count = master.read(&mut bytes).unwrap();
        assert!(count > 0, "the console ended; it showed {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    console.kill().unwrap();
    console.wait().unwrap();
    guest.stop();
    guest.destroy();
}
