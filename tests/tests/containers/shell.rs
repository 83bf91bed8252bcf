//! A container from the shell: `proxmox-lxcri ct` from create to destroy, and programs run in it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use tests::{Daemon, binary};

use crate::{BUSYBOX, daemon, sh};

fn command(daemon: &Daemon, words: &[&str]) -> Command {
    let mut command = Command::new(binary("proxmox-lxcri"));
    command.args(["ct", "--root"]).arg(daemon.root()).args(words);
    command
}

fn call(daemon: &Daemon, words: &[&str]) -> Output {
    command(daemon, words).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn done(daemon: &Daemon, words: &[&str]) -> String {
    let output = call(daemon, words);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {err}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_container_is_managed_from_the_shell() {
    let daemon = daemon();
    let script = sh("trap \"exit 0\" TERM PWR; echo ready; while :; do sleep 0.1; done");
    let template = format!("local:vztmpl/{BUSYBOX}");
    let create = ["create", "100", &template, "--rootfs", "local:0", "--memory", "64"];
    let settings = ["--unprivileged", "--hostname=web", "--entrypoint", &script];
    let told = done(&daemon, &[&create[..], &settings].concat());
    assert!(told.ends_with("TASK OK\n"), "{told}");
    done(&daemon, &["start", "100"]);
    assert!(done(&daemon, &["list"]).contains("100   running        web"));
    daemon.guest(100).wait_for_output("ready");
    assert_eq!(done(&daemon, &["logs", "100"]), "ready\n");

    assert_eq!(
        done(&daemon, &["exec", "-e", "A=b", "100", "sh", "-c", "echo $A; hostname"]),
        "b\nweb\n"
    );
    assert_eq!(
        done(&daemon, &["exec", "-u", "7", "-w", "/tmp", "100", "sh", "-c", "id -u; pwd"]),
        "7\n/tmp\n"
    );
    let accounts = "echo web:x:33:34::/: >/etc/passwd; echo mail:x:12:a,web >/etc/group";
    done(&daemon, &["exec", "100", "sh", "-c", accounts]);
    assert_eq!(
        done(&daemon, &["exec", "-u", "web", "100", "sh", "-c", "id -u; id -G"]),
        "33\n34 12\n"
    );
    let unknown = call(&daemon, &["exec", "-u", "web:none", "100", "true"]);
    assert_eq!(unknown.status.code(), Some(1));
    let told = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(told, "proxmox-lxcri: the container has no group 'none'\n");
    let output = call(&daemon, &["exec", "100", "sh", "-c", "echo to stderr >&2; exit 9"]);
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(9), &b"to stderr\n"[..]));
    let killed = call(&daemon, &["exec", "100", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.status.code(), Some(137));
    assert_eq!(call(&daemon, &["exec", "100", "nothing"]).status.code(), Some(1));
    let mut cat = command(&daemon, &["exec", "100", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"typed").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"typed");

    done(&daemon, &["shutdown", "--timeout", "20", "100"]);
    let again = call(&daemon, &["stop", "100"]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&again.stderr), "proxmox-lxcri: CT 100 not running\n");
    done(&daemon, &["destroy", "--purge", "100"]);
    assert_eq!(done(&daemon, &["list"]).lines().count(), 1);
}
