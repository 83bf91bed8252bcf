//! The script of `hookscript`, at each step of a container's life.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rstest::rstest;
use tests::{Daemon, Guest, eventually};

use crate::runtimes::daemon;
use crate::{BUSYBOX, PATIENT, SMALL, SUBVOL, UNPRIVILEGED, sh};

/// It fails where a file called `fail-STEP` lies beside it, and is slow where one called `slow-STEP` does.
const SCRIPT: &str = "#!/bin/sh\n\
    here=$(dirname \"$0\"); echo \"CT $1: $2\"; [ -z \"$HOME\" ] || echo \"HOME is $HOME\"\n\
    [ ! -e \"$here/slow-$2\" ] || sleep 4\n\
    echo \"$2\" >>\"$here/steps\"\n\
    [ ! -e \"$here/fail-$2\" ] || { echo \"no $2 today\" >&2; exit 3; }\n";

fn snippets(daemon: &Daemon) -> PathBuf {
    daemon.root().join("var/lib/vz/snippets")
}

fn steps(daemon: &Daemon) -> Vec<String> {
    let text = fs_err::read_to_string(snippets(daemon).join("steps")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// One whose script lies on storage `local`; the API lets root@pam itself name one, and no token.
fn guest<'d>(daemon: &'d Daemon, entrypoint: &str) -> Guest<'d> {
    fs_err::create_dir_all(snippets(daemon)).unwrap();
    let path = snippets(daemon).join("steps.sh");
    fs_err::write(&path, SCRIPT).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", entrypoint)];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.add_lines("hookscript: local:snippets/steps.sh\n");
    guest
}

#[rstest]
fn is_called_at_each_step(#[values("crun", "lxc")] runtime: &str) {
    let daemon = daemon(runtime);
    let guest = guest(&daemon, PATIENT);

    let task = guest.task("start", &[]);
    assert_eq!(task.exitstatus, "OK", "{}", task.log);
    let told: Vec<_> = task.log.lines().filter(|line| line.starts_with("CT 100")).collect();
    assert_eq!(told, ["CT 100: pre-start", "CT 100: post-start"]);
    assert!(!task.log.contains("HOME"), "nothing of the daemon's environment: {}", task.log);
    guest.wait_for_output("ready");
    let log = guest.task("reboot", &[("timeout", "20")]).ok();
    assert!(log.contains("pre-stop") && log.contains("post-start"), "{log}");
    guest.task("shutdown", &[("timeout", "20")]).ok();
    guest.start();
    let log = guest.task("stop", &[]).ok();
    assert!(log.contains("CT 100: pre-stop"), "{log}");

    // The last one is the task's or its who saw the end, and the task waits for either.
    let once = ["pre-start", "post-start", "pre-stop", "post-stop"];
    assert_eq!(steps(&daemon), [once, once, once].concat());
    guest.destroy();
}

#[test]
fn only_the_one_before_a_start_can_forbid_it() {
    let daemon = daemon("crun");
    let guest = guest(&daemon, PATIENT);
    let path = snippets(&daemon).join("steps.sh");
    for step in ["pre-start", "post-start", "pre-stop", "post-stop"] {
        fs_err::write(snippets(&daemon).join(format!("fail-{step}")), "").unwrap();
    }
    let error = |step: &str| {
        let line = format!("{} 100 {step}", path.display());
        format!("hookscript error for 100 on {step}: command '{line}' failed: exit code 3")
    };

    let task = guest.task("start", &[]);
    assert_eq!(task.exitstatus, error("pre-start"));
    assert!(task.log.contains("no pre-start today"), "{}", task.log);
    assert_eq!(guest.status(), "stopped");

    fs_err::remove_file(snippets(&daemon).join("fail-pre-start")).unwrap();
    let log = guest.task("start", &[]).ok();
    assert!(log.contains(&error("post-start")), "{log}");
    let log = guest.task("stop", &[]).ok();
    assert!(log.contains(&error("pre-stop")), "{log}");
    // Said once: in the task, or in the daemon's log if it saw the end before the task did.
    let said = log + &daemon.log();
    assert_eq!(said.matches(&error("post-stop")).count(), 1, "{said}");

    fs_err::remove_file(&path).unwrap();
    let task = guest.task("start", &[]);
    assert_eq!(task.exitstatus, "script 'local:snippets/steps.sh' does not exist");
    guest.destroy();
}

#[test]
fn an_end_is_told_once_even_if_nobody_saw_it() {
    let mut daemon = daemon("crun");
    let guest = guest(&daemon, &sh("echo ready; sleep 1"));
    guest.start();
    guest.wait();
    eventually(10, "post-stop", || (steps(&daemon).len() == 3).then_some(()));

    guest.start();
    daemon.kill();
    let record = daemon.root().join("run/proxmox-lxcri/100/exit.json");
    eventually(20, "the exit record", || record.exists().then_some(()));
    daemon.launch();
    eventually(10, "post-stop", || (steps(&daemon).len() == 6).then_some(()));
    daemon.kill();
    daemon.launch();
    daemon.guest(100).start();

    let once = ["pre-start", "post-start", "post-stop"];
    let whole = [&once[..], &once, &["pre-start", "post-start"]].concat();
    assert_eq!(steps(&daemon)[..whole.len()], whole);
    daemon.guest(100).wait();
    daemon.guest(100).destroy();
}

#[test]
fn a_start_waits_for_what_follows_the_end() {
    let daemon = daemon("crun");
    let guest = guest(&daemon, &sh("echo ready"));
    fs_err::write(snippets(&daemon).join("slow-post-stop"), "").unwrap();
    guest.start();
    guest.wait();
    eventually(10, "it ended", || (guest.status() == "stopped").then_some(()));

    guest.start();

    let first = ["pre-start", "post-start", "post-stop", "pre-start", "post-start"];
    assert_eq!(steps(&daemon)[..5], first);
    eventually(10, "post-stop", || (steps(&daemon).len() == 6).then_some(()));
    guest.destroy();
}

#[test]
fn who_comes_second_finds_it_running_and_calls_nothing() {
    let daemon = daemon("crun");
    let guest = guest(&daemon, PATIENT);
    fs_err::write(snippets(&daemon).join("slow-pre-start"), "").unwrap();

    let both = [guest.post("start", &[]), guest.post("start", &[])];

    let ends: Vec<_> = both.iter().map(|reply| daemon.task(reply).exitstatus).collect();
    assert_eq!(ends, ["OK", "CT 100 already running"]);
    assert_eq!(steps(&daemon), ["pre-start", "post-start"]);
    guest.stop();
    guest.destroy();
}

#[test]
fn an_abort_before_a_stop_leaves_it_running() {
    let daemon = daemon("crun");
    let guest = guest(&daemon, PATIENT);
    guest.start();
    fs_err::write(snippets(&daemon).join("slow-pre-stop"), "").unwrap();
    let task = guest.post("stop", &[]);
    let upid = task.data().as_str().unwrap().to_owned();

    assert_eq!(daemon.delete(&format!("/nodes/pve1/tasks/{upid}")).status, 200);

    let ended = daemon.task(&task);
    assert_ne!(ended.exitstatus, "OK", "{}", ended.log);
    assert_eq!(guest.status(), "running");
    assert_eq!(steps(&daemon), ["pre-start", "post-start"], "the script was ended too");
    fs_err::remove_file(snippets(&daemon).join("slow-pre-stop")).unwrap();
    guest.stop();
    guest.destroy();
}

/// Its script heard of a start.
#[test]
fn a_start_that_fails_is_followed_by_its_end() {
    let daemon = daemon("crun");
    let guest = guest(&daemon, "/bin/nothing-here");

    guest.task("start", &[]).failed();

    assert_eq!(steps(&daemon), ["pre-start", "post-stop"]);
    guest.destroy();
}
