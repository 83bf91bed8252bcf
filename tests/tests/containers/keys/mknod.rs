//! `features: mknod=1`: some device nodes for containers that cannot make any.

use std::path::Path;
use std::process::Command;

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use tests::{Content, Daemon, Guest, binary, eventually, rootfs};

use super::{guest, has_lines, seen};
use crate::{PATIENT, PRIVILEGED, RAW, SMALL, SUBVOL, UNPRIVILEGED, daemon, sh};

const MKNOD: &str = "features: mknod=1\n";
/// What `mknod` of busybox says after the name of the file.
const DENIED: &str = "Operation not permitted";

/// What `script` printed in an unprivileged container with the feature.
#[track_caller]
fn with_feature(script: &str) -> String {
    seen(&[SUBVOL, UNPRIVILEGED], script, MKNOD)
}

/// What `ct exec` prints.
fn exec(daemon: &Daemon, script: &str) -> String {
    let mut command = Command::new(binary("proxmox-lxcri"));
    command.args(["ct", "--root"]).arg(daemon.root()).args(["exec", "100", "sh", "-c", script]);
    let output = command.output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
}

/// Processes of ours that answer, on the whole machine.
fn handler_pids() -> Vec<i32> {
    let processes = fs_err::read_dir("/proc").unwrap().map(|entry| entry.unwrap());
    let answers = |line: &[u8]| line.split(|byte| *byte == 0).nth(1) == Some(b"mknod");
    processes
        .filter(|process| fs_err::read(process.path().join("cmdline")).is_ok_and(|l| answers(&l)))
        .map(|process| process.file_name().to_str().unwrap().parse().unwrap())
        .collect()
}

fn handlers() -> usize {
    handler_pids().len()
}

fn running<'d>(daemon: &'d Daemon, lines: &str) -> Guest<'d> {
    let guest = guest(daemon, &[SUBVOL, UNPRIVILEGED], PATIENT, lines);
    guest.start();
    guest.wait_for_output("ready");
    guest
}

#[rstest]
fn a_node_is_made_and_works(#[values(SUBVOL, RAW)] volume: (&str, &str)) {
    let script = "mknod /tmp/null c 1 3 && stat -c \"%F %t:%T %u:%g %a\" /tmp/null; \
        echo gone >/tmp/null && wc -c </tmp/null; \
        mknod /tmp/zero c 1 5 && head -c 3 /tmp/zero | wc -c; \
        umask 027; mknod /tmp/masked c 1 7 && stat -c \"masked %a\" /tmp/masked; \
        for n in \"1 8\" \"1 9\" \"5 0\" \"5 1\" \"5 2\"; do mknod /tmp/x c $n && rm /tmp/x && echo made $n; \
        done; mknod /tmp/whiteout c 0 0 && echo whiteout; \
        cd /tmp && mknod here c 1 3 && test -c /tmp/here && echo here";
    let output = seen(&[volume, UNPRIVILEGED], script, MKNOD);
    let node = "character special file 1:3 0:0 644";
    has_lines(&output, &[node, "0", "3", "masked 640", "whiteout", "here"]);
    has_lines(&output, &["made 1 8", "made 1 9", "made 5 0", "made 5 1", "made 5 2"]);
}

#[rstest]
#[case::memory("c 1 1")]
#[case::messages("c 1 11")]
#[case::fuse("c 10 229")]
#[case::loop_device("b 7 0")]
#[case::disk("b 8 0")]
#[case::block_null("b 1 3")]
fn no_other_device_is(#[case] device: &str) {
    let output = with_feature(&format!(
        "mknod /tmp/x {device} 2>&1; test -e /tmp/x || echo none; mknod /tmp/y c 1 3 && echo harmless"
    ));
    has_lines(&output, &[&format!("mknod: /tmp/x: {DENIED}"), "none", "harmless"]);
}

#[rstest]
#[case::without("features: mknod=0\n")]
#[case::without_the_capability("features: mknod=1\nlxc.cap.drop: mknod\n")]
#[case::another_filter("features: mknod=1\nlxc.seccomp.profile: FILE\n")]
fn none_is(#[case] lines: &str) {
    let daemon = daemon();
    let profile = daemon.root().join("profile");
    fs_err::write(&profile, "2\ndenylist\ninit_module errno 1\n").unwrap();
    let lines = lines.replace("FILE", profile.to_str().unwrap());
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], PATIENT, &lines);
    let task = guest.task("start", &[]);
    guest.wait_for_output("ready");
    let warned = task.log.contains("WARN: features: mknod does nothing: lxc.seccomp.profile");
    assert_eq!(warned, lines.contains("seccomp"), "{}", task.log);
    assert_eq!(exec(&daemon, "mknod /tmp/x c 1 3"), format!("mknod: /tmp/x: {DENIED}"));
    assert_eq!(exec(&daemon, "mknod /tmp/fifo p && echo made"), "made");
    guest.stop();
    guest.destroy();
}

#[test]
fn what_does_not_fit_is_said_as_by_the_kernel() {
    let script = "mknod /tmp/fifo p && echo fifo; \
        touch /tmp/x; mknod /tmp/x c 1 3 2>&1; mknod /tmp/none/x c 1 3 2>&1; \
        mknod /tmp/x/y c 1 3 2>&1; mknod /sys/x c 1 3 2>&1; mknod /data/x c 1 3 2>&1; \
        mknod /tmp/. c 1 3 2>&1; mknod /tmp/new/ c 1 3 2>&1; mknod \"\" c 1 3 2>&1; \
        busybox ln -s /tmp/nowhere /tmp/link; mknod /tmp/link c 1 3 2>&1; true";
    let options = [SUBVOL, UNPRIVILEGED, ("mp0", "local:0.0625,mp=/data,ro=1")];
    let output = seen(&options, script, MKNOD);
    has_lines(
        &output,
        &[
            "fifo",
            "mknod: /tmp/x: File exists",
            "mknod: /tmp/none/x: No such file or directory",
            "mknod: /tmp/x/y: Not a directory",
            "mknod: /sys/x: Read-only file system",
            "mknod: /data/x: Read-only file system",
            "mknod: /tmp/.: File exists",
            "mknod: /tmp/new/: No such file or directory",
            "mknod: : No such file or directory",
            "mknod: /tmp/link: File exists",
        ],
    );
}

/// By its own rights alone, whatever ours are.
#[test]
fn a_caller_needs_the_right_to_write_there() {
    let script = "mkdir /tmp/own /tmp/other; chown 1000:1000 /tmp/other; chmod 755 /tmp/other; \
        mknod /tmp/own/x c 1 3 && echo in its own; mknod /tmp/other/x c 1 3 2>&1; true";
    let output = seen(
        &[SUBVOL, UNPRIVILEGED],
        script,
        "features: mknod=1\nlxc.cap.drop: dac_override dac_read_search\n",
    );
    has_lines(&output, &["in its own", "mknod: /tmp/other/x: Permission denied"]);
    // With them, as root of the container; the node is root's.
    let script = "mkdir /tmp/other; chown 1000:1000 /tmp/other; chmod 700 /tmp/other; \
        mknod /tmp/other/x c 1 3 && stat -c \"%u:%g\" /tmp/other/x; \
        echo u:x:1000:1000::/:/bin/sh >>/etc/passwd; \
        busybox su u -c \"mknod /tmp/other/y c 1 3 2>&1\"; true";
    let output = with_feature(script);
    has_lines(&output, &["0:0", &format!("mknod: /tmp/other/y: {DENIED}")]);
}

/// Links and folders of the container lead to what is the container's.
#[test]
fn no_path_leads_out() {
    let up = "../../../../../../../../../../..";
    let script = format!(
        "busybox ln -s {up} /tmp/up; mknod /tmp/up/lxcri-escaped c 1 3; test -c /lxcri-escaped && echo stays; \
        busybox ln -s /root /tmp/abs; mknod /tmp/abs/x c 1 3; test -c /root/x && echo absolute; \
        mkdir -p /tmp/jail/bin; busybox cp /bin/busybox /tmp/jail/bin; cd /; \
        busybox chroot /tmp/jail /bin/busybox mknod {up}/in-jail c 1 3; \
        test -c /tmp/jail/in-jail && echo jailed; true"
    );
    let output = with_feature(&script);
    has_lines(&output, &["stays", "absolute", "jailed"]);
    for name in ["lxcri-escaped", "in-jail"] {
        assert!(!Path::new("/").join(name).exists(), "{name}");
    }
}

/// A link that changes all the time, to a folder in which the caller may not write.
#[test]
fn a_folder_is_not_exchanged_meanwhile() {
    let script = "mkdir /tmp/own /tmp/other; chown 1000:1000 /tmp/other; chmod 755 /tmp/other; \
        (while :; do busybox ln -sfn /tmp/other /tmp/l; busybox ln -sfn /tmp/own /tmp/l; done) & \
        n=0; m=0; while test $n -lt 100; do n=$((n+1)); mknod /tmp/l/$n c 1 3 2>>/tmp/said && m=$((m+1)); \
        done; kill $!; test $m -gt 5 && echo some made; test $(ls /tmp/own | wc -l) = $m && echo all here; \
        grep -q denied /tmp/said && echo some denied; ls /tmp/other | wc -l";
    let lines = "features: mknod=1\nlxc.cap.drop: dac_override dac_read_search\n";
    let output = seen(&[SUBVOL, UNPRIVILEGED], script, lines);
    has_lines(&output, &["some made", "all here", "some denied", "0"]);
}

#[test]
fn many_calls_at_once_and_callers_that_are_killed() {
    let script = "f() { n=0; while test $n -lt 50; do n=$((n+1)); mknod /tmp/$1-$n c 1 3 || echo failed; done; }; \
        f a & f b & f c & f d & wait; ls /tmp | wc -l; \
        n=0; while test $n -lt 40; do n=$((n+1)); mknod /tmp/k$n c 1 3 & kill -9 $!; done 2>/dev/null; \
        mknod /tmp/last c 1 3 && echo last";
    let output = with_feature(script);
    has_lines(&output, &["200", "last"]);
    assert!(!output.contains("failed"), "{output}");
}

#[test]
fn lives_as_long_as_the_container() {
    let daemon = daemon();
    let before = handlers();
    let guest = running(&daemon, MKNOD);
    assert_eq!(handlers(), before + 1);
    let handler = handler_pids().pop().unwrap();
    let status = fs_err::read_to_string(format!("/proc/{handler}/status")).unwrap();
    for line in ["NoNewPrivs:\t1", "CapBnd:\t0000000000000000", "CapEff:\t00000000082c00e2"] {
        assert!(status.contains(line), "no {line:?} in:\n{status}");
    }
    assert_eq!(fs_err::read_dir(format!("/proc/{handler}/root")).unwrap().count(), 0);
    // Each program that is executed in there has a filter of its own.
    assert_eq!(exec(&daemon, "mknod /tmp/one c 1 3 && echo made"), "made");
    assert_eq!(exec(&daemon, "mknod /tmp/two c 1 3 && echo made"), "made");
    guest.task("reboot", &[("timeout", "20")]).ok();
    assert_eq!(handlers(), before + 1);
    assert_eq!(exec(&daemon, "mknod /tmp/three c 1 3 && echo made"), "made");
    guest.stop();
    assert_eq!(handlers(), before);
    let socket = daemon.root().join("run/proxmox-lxcri/100/mknod.sock");
    assert!(!socket.exists());
    guest.destroy();

    let plain = running(&daemon, "");
    assert_eq!(handlers(), before);
    plain.stop();
    plain.destroy();
}

#[test]
fn a_container_goes_on_without_it() {
    let daemon = daemon();
    let script = "echo ready; while :; do mknod /tmp/x c 1 3 && rm /tmp/x; sleep 0.1; done 2>&1";
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], &sh(script), MKNOD);
    guest.start();
    guest.wait_for_output("ready");
    // Not one of those that answer a single call.
    let oldest = handler_pids().into_iter().min().unwrap();
    kill_process(Pid::from_raw(oldest).unwrap(), Signal::KILL).unwrap();
    guest.wait_for_output("Function not implemented");
    assert_eq!(guest.status(), "running");
    guest.stop();
    assert_eq!(handlers(), 0);
    guest.destroy();
}

/// In the same monitor, and as an init system.
#[test]
fn works_after_a_reboot_from_inside() {
    let daemon = daemon();
    let before = handlers();
    let init = "#!/bin/sh\nn=1; while [ -e /tmp/$n ]; do n=$((n+1)); done\n\
        mknod /tmp/$n c 1 3 && echo life $n\n[ $n = 3 ] || busybox reboot -f\nexec sleep 1000\n";
    rootfs(&daemon.templates(), "init.tar.gz", &Content::default().file("sbin/init", 0o755, init));
    let guest = daemon.create(100, "init.tar.gz", &[SUBVOL, SMALL, UNPRIVILEGED]);
    guest.add_lines(MKNOD);
    guest.start();
    let root = guest.subvol();
    eventually(30, "three lives", || root.join("tmp/3").exists().then_some(()));
    eventually(10, "one of them", || (handlers() == before + 1).then_some(()));
    guest.stop();
    assert_eq!(handlers(), before);
    guest.destroy();
}

/// Of its own mount namespace, and of user namespaces that it makes.
#[test]
fn a_caller_is_where_it_is() {
    let daemon = daemon();
    let init = "#!/bin/sh\nmkdir /tmp/m /tmp/u\n\
        busybox unshare -m sh -c 'mount -t tmpfs none /tmp/m && mknod /tmp/m/x c 1 3 &&\n\
        stat -c \"inside %t:%T %u\" /tmp/m/x && { echo x >/tmp/m/x || echo no devices there; }'\n\
        test -e /tmp/m/x || echo nothing outside\n\
        busybox unshare -U -r sh -c 'mknod /tmp/u/x c 1 3 || mknod /tmp/u/y p && echo no'\n\
        ls /tmp/u\necho end\nexec sleep 1000\n";
    rootfs(&daemon.templates(), "init.tar.gz", &Content::default().file("sbin/init", 0o755, init));
    let guest = daemon.create(100, "init.tar.gz", &[SUBVOL, SMALL, UNPRIVILEGED]);
    guest.add_lines(MKNOD);
    guest.start();
    let output = guest.wait_for_output("end");
    has_lines(&output, &["inside 1:3 0", "no devices there", "nothing outside", "no", "y"]);
    assert!(!output.lines().any(|line| line.trim() == "x"), "{output}");
    guest.stop();
    guest.destroy();
}

#[test]
fn a_privileged_container_makes_its_own() {
    let daemon = daemon();
    let before = handlers();
    let guest = guest(&daemon, &[SUBVOL, PRIVILEGED], PATIENT, MKNOD);
    let task = guest.task("start", &[]);
    guest.wait_for_output("ready");
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    let said = "WARN: features: mknod does nothing: a privileged container makes its nodes itself";
    assert!(task.log.contains(said), "{}", task.log);
    assert_eq!(handlers(), before);
    guest.stop();
    guest.destroy();
}
