//! Keys of a config, each seen from inside the container, or from the kernel's side of it. Several a
//! container, as each costs time. `tests/keys/observed.toml` says which test is whose.

mod disks;
mod features;
mod ids;
mod lxcfs;
mod mknod;
mod nesting;
mod raw;
mod seccomp;
mod unheeded;

use rstest::rstest;
use tests::{Daemon, Guest};

use crate::limits::limit;
use crate::{BUSYBOX, PATIENT, PRIVILEGED, RAW, SMALL, SUBVOL, UNPRIVILEGED, daemon, runtimes, sh};

/// A container with this entrypoint, and lines added to its config as an administrator would.
fn guest<'d>(
    daemon: &'d Daemon,
    options: &[(&str, &str)],
    entrypoint: &str,
    lines: &str,
) -> Guest<'d> {
    let all = [&[SMALL, ("entrypoint", entrypoint)], options].concat();
    let guest = daemon.create(100, BUSYBOX, &all);
    guest.add_lines(lines);
    guest
}

/// With any of these lines in its config; the start names the reason.
#[track_caller]
fn is_no_start(daemon: &Daemon, guest: &Guest<'_>, lines: &[(&str, &str)]) {
    let path = daemon.config_path(100);
    let config = fs_err::read_to_string(&path).unwrap();
    for (line, reason) in lines {
        fs_err::write(&path, format!("{config}{line}")).unwrap();
        let failed = guest.task("start", &[]).failed();
        assert!(failed.contains(reason), "{line}: {failed}");
        assert_eq!(guest.status(), "stopped", "{line}");
    }
    fs_err::write(&path, config).unwrap();
}

/// What `script` printed in a fresh container, which ended well.
#[track_caller]
fn seen(options: &[(&str, &str)], script: &str, lines: &str) -> String {
    let daemon = daemon();
    let guest = guest(&daemon, options, &sh(script), lines);
    let output = guest.ends_well();
    guest.destroy();
    output
}

#[track_caller]
pub(crate) fn has_lines(output: &str, lines: &[&str]) {
    for line in lines {
        assert!(output.lines().any(|seen| seen.trim() == *line), "no line {line:?} in:\n{output}");
    }
}

#[test]
fn limits_are_above_the_container_s_own_cgroup() {
    let daemon = daemon();
    let options = [SUBVOL, UNPRIVILEGED, ("swap", "16"), ("cpulimit", "0.5"), ("cpuunits", "42")];
    let guest = guest(&daemon, &options, PATIENT, "lxc.cgroup2.memory.low: 1048576\n");
    guest.add_oci_lines("pids: 40\nio-weight: 50\nio-max: 7:0 rbps=1048576 wiops=100\n");
    guest.start();
    guest.wait_for_output("ready");

    assert_eq!(limit(&guest, "memory.max"), (64 << 20).to_string());
    assert_eq!(limit(&guest, "memory.high"), (64 * 1024 * 1016).to_string());
    assert_eq!(limit(&guest, "memory.swap.max"), (16 << 20).to_string());
    assert_eq!(limit(&guest, "memory.low"), "1048576");
    assert_eq!(limit(&guest, "cpu.max"), "50000 100000");
    assert_eq!(limit(&guest, "cpu.weight"), "42");
    assert_eq!(limit(&guest, "pids.max"), "40");
    assert_eq!(limit(&guest, "io.weight"), "default 50");
    assert_eq!(limit(&guest, "io.max"), "7:0 rbps=1048576 wbps=max riops=max wiops=100");
    guest.stop();
    guest.destroy();
}

#[rstest]
fn there_are_as_many_processors_as_it_may_have(
    #[values("1", "2")] cores: &str,
    #[values("crun", "lxc")] runtime: &str,
) {
    let daemon = runtimes::daemon(runtime);
    let script = sh("echo there are $(busybox nproc)");
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", &script), ("cores", cores)];
    let guest = daemon.create(100, BUSYBOX, &options);
    has_lines(&guest.ends_well(), &[&format!("there are {cores}")]);
    guest.destroy();
}

/// Of the OCI file; the program that cannot fork says so.
#[test]
fn there_are_no_more_processes_than_allowed() {
    let daemon = daemon();
    let script = "n=0; while [ $n -lt 20 ]; do sleep 5 & n=$((n+1)); done; echo all of them";
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], &sh(script), "");
    guest.add_oci_lines("pids: 10\n");
    guest.start();
    guest.wait();
    assert!(!guest.output().contains("all of them"), "{}", guest.output());
    guest.destroy();
}

#[test]
fn mounts_are_as_their_keys_say() {
    let bound = tempfile::tempdir_in("/run").unwrap();
    fs_err::write(bound.path().join("file"), "shared\n").unwrap();
    let script = "cat /bound/file; touch /bound/x 2>/dev/null || echo bound is read-only; \
        touch /data/x && echo data is writable; grep -c ext4.*noatime /proc/mounts; \
        grep \" /run/one tmpfs \" /proc/mounts | grep -c size=1024k; \
        cat /entry/file; touch /entry/x 2>/dev/null || echo entry is read-only; \
        test -e /none || echo nothing optional; ulimit -n; ulimit -Hn; hostname; \
        cat /proc/sys/kernel/msgmax; echo limits $LANG; \
        grep \" /dev/pts \" /proc/mounts | grep -c max=12";
    let folder = bound.path().display();
    let lines = format!(
        "mp0: {folder},mp=/bound,ro=1\n\
         lxc.mount.entry: tmpfs run/one tmpfs rw,size=1m,create=dir 0 0\n\
         lxc.mount.entry: {folder} entry none bind,ro,create=dir 0 0\n\
         lxc.mount.entry: /not/there none none bind,optional,create=dir 0 0\n\
         lxc.prlimit.nofile: 100:200\n\
         lxc.sysctl.kernel.msgmax: 4096\n\
         lxc.uts.name: raw-name\n\
         lxc.pty.max: 12\n\
         lxc.environment: LANG=C\n"
    );
    let data = ("mp1", "local:0.0625,mp=/data,mountoptions=noatime,acl=1");
    let daemon = daemon();
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED, data], &sh(script), &lines);
    let task = guest.task("start", &[]);
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    assert!(task.log.contains("'/not/there' is optional and not there"), "{}", task.log);
    guest.wait();
    let output = guest.output();
    has_lines(
        &output,
        &[
            "shared",
            "bound is read-only",
            "data is writable",
            "entry is read-only",
            "nothing optional",
            "100",
            "200",
            "raw-name",
            "4096",
            "limits C",
        ],
    );
    assert_eq!(output.lines().filter(|line| *line == "1").count(), 3, "{output}");
    guest.destroy();
}

/// What the container calls its user 1000 is the host's 1000 on the disk.
#[rstest]
#[case::listed("u:1000:1000:1;g:1000:1000:1", "1000:1000", "65534:65534")]
#[case::all("passthrough", "1000:1000", "0:0")]
fn ids_of_a_mount_point_are_mapped(#[case] idmap: &str, #[case] user: &str, #[case] root: &str) {
    // On an ext4 of its own: the kernel of the tests maps no ids on tmpfs.
    let script = "stat -c %u:%g /data/user /data/root; stat -c own.%u /";
    let daemon = daemon();
    let disk = ("mp0", "local:0.0625,mp=/data");
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED, disk], &sh(script), "");
    let image = daemon.root().join("var/lib/vz/images/100/vm-100-disk-1.raw");
    let folder = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount").arg(&image).arg(folder.path()).status();
    assert!(mounted.unwrap().success());
    for (name, id) in [("user", 1000), ("root", 0)] {
        fs_err::write(folder.path().join(name), "").unwrap();
        std::os::unix::fs::chown(folder.path().join(name), Some(id), Some(id)).unwrap();
    }
    assert!(std::process::Command::new("umount").arg(folder.path()).status().unwrap().success());
    let path = daemon.config_path(100);
    let config = fs_err::read_to_string(&path).unwrap();
    fs_err::write(&path, config.replace("mp=/data", &format!("mp=/data,idmap={idmap}"))).unwrap();

    guest.start();
    guest.wait();

    let output = guest.output();
    has_lines(&output, &["own.0"]);
    assert_eq!(output.lines().take(2).collect::<Vec<_>>(), [user, root]);
    guest.destroy();
}

#[test]
fn devices_are_there_with_their_owner_and_no_others() {
    let script = "stat -c \"%n %a %u:%g %t:%T\" /dev/loop0; \
        mknod /tmp/k c 1 11 2>/dev/null && head -c 1 /tmp/k >/dev/null 2>&1 || echo no other; echo end";
    let output = seen(&[SUBVOL, UNPRIVILEGED], script, "dev0: /dev/loop0,mode=0640,uid=5,gid=6\n");
    has_lines(&output, &["/dev/loop0 640 5:6 7:0", "no other", "end"]);
}

#[rstest]
#[case::may_write("", "may write")]
#[case::may_not(",deny-write=1", "may not")]
fn a_device_is_opened_by_its_rule(#[case] option: &str, #[case] expected: &str) {
    // A node that the default rules do not let anybody open.
    let script = "(: </dev/loop0) 2>/dev/null && echo may read; \
        (: >/dev/loop0) 2>/dev/null && echo may write || echo may not";
    let lines = format!("dev0: /dev/loop0,mode=0666{option}\n");
    has_lines(&seen(&[SUBVOL, PRIVILEGED], script, &lines), &["may read", expected]);
    if option.is_empty() {
        let raw = "lxc.cgroup2.devices.allow: b 7:0 rw\n\
            lxc.mount.entry: /dev/loop0 dev/loop0 none bind,create=file\n";
        has_lines(&seen(&[SUBVOL, PRIVILEGED], script, raw), &["may read", expected]);
    }
}

#[test]
fn a_device_or_volume_that_is_not_its_own_is_refused() {
    let daemon = daemon();
    let guest = guest(&daemon, &[RAW, UNPRIVILEGED], PATIENT, "");
    let lines = [
        ("dev0: /dev/not-there\n", "dev0: cannot pass on '/dev/not-there'"),
        ("dev0: /dev/full,uid=70000\n", "dev0: the container has no user 70000"),
        ("mp0: local:101/vm-101-disk-0.raw,mp=/x\n", "is not one of CT 100"),
        ("lxc.prlimit.files: 1\n", "there is no such limit"),
        ("lxc.mount.auto: cgroup-full:rw\n", "'cgroup-full:rw' is not supported"),
        ("lxc.cgroup2.memory.max: much\n", "cannot set memory.max to 'much'"),
    ];
    is_no_start(&daemon, &guest, &lines);
    guest.destroy();
}

/// A user namespace, and a /proc of its own in it: what whoever runs containers inside needs.
#[test]
fn another_container_fits_into_a_nesting_one() {
    let script = "unshare -Urmpf --mount-proc sh -c \"echo inner \\$\\$; id -u\" && echo nested";
    let output = seen(&[SUBVOL, UNPRIVILEGED, ("features", "nesting=1")], script, "");
    has_lines(&output, &["inner 1", "0", "nested"]);
}

#[test]
fn hooks_run_at_their_moment() {
    let marks = tempfile::tempdir().unwrap();
    let mark = |name: &str| marks.path().join(name);
    let daemon = daemon();
    let lines = format!(
        "lxc.environment.hooks: WHY=test\n\
         lxc.hook.pre-start: echo $WHY >{}; echo\n\
         lxc.hook.start: echo began >/began; true\n\
         lxc.hook.post-stop: echo $LXC_NAME >{}; echo\n",
        mark("before").display(),
        mark("after").display(),
    );
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], &sh("cat /began"), &lines);
    guest.start();
    guest.wait();
    has_lines(&guest.output(), &["began"]);
    assert_eq!(fs_err::read_to_string(mark("before")).unwrap(), "test\n");
    assert_eq!(fs_err::read_to_string(mark("after")).unwrap(), "100\n");
    guest.destroy();
}

/// One that is not init; the container lives on, and what is shown of it tells.
#[test]
fn the_kernel_s_kills_are_counted_while_it_runs() {
    let daemon = daemon();
    let script = "echo ready; tail /dev/zero >/dev/null; echo survived; sleep 1000";
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED, ("swap", "0")], &sh(script), "");
    guest.start();
    guest.wait_for_output("survived");
    assert_eq!(guest.oci()["oom-kills"], 1);
    guest.stop();
    guest.destroy();
}
