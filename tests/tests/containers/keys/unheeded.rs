//! Keys that do nothing under libcrun: the container starts, and its task names each.

use super::guest;
use crate::{PATIENT, SUBVOL, UNPRIVILEGED, daemon};

/// A line of the config, and what the task says of it.
const LINES: &[(&str, &str)] = &[
    ("lxc.apparmor.allow_incomplete: 1", "lxc.apparmor.allow_incomplete"),
    ("lxc.apparmor.raw: deny /x w,", "lxc.apparmor.raw"),
    ("lxc.arch: x86_64", "lxc.arch"),
    ("lxc.autodev: 0", "lxc.autodev"),
    ("lxc.cgroup.memory.limit_in_bytes: 1000000000", "lxc.cgroup.memory.limit_in_bytes"),
    ("lxc.console.logfile: /nowhere", "lxc.console.logfile"),
    ("lxc.console.path: none", "lxc.console.path"),
    ("lxc.devtty.dir: lxc", "lxc.devtty.dir"),
    ("lxc.group: mine", "lxc.group"),
    ("lxc.hook.clone: /bin/true", "lxc.hook.clone"),
    ("lxc.hook.destroy: /bin/true", "lxc.hook.destroy"),
    ("lxc.hook.pre-mount: /bin/true", "lxc.hook.pre-mount"),
    ("lxc.hook.stop: /bin/true", "lxc.hook.stop"),
    ("lxc.hook.version: 1", "lxc.hook.version"),
    ("lxc.include: /nowhere", "lxc.include"),
    ("lxc.kmsg: 1", "lxc.kmsg"),
    ("lxc.log.file: /nowhere", "lxc.log.file"),
    ("lxc.log.level: DEBUG", "lxc.log.level"),
    ("lxc.mount.fstab: /nowhere", "lxc.mount.fstab"),
    ("lxc.net.0.type: none", "lxc.net.0.type"),
    ("lxc.rootfs.mount: /nowhere", "lxc.rootfs.mount"),
    ("lxc.rootfs.options: ro", "lxc.rootfs.options"),
    ("lxc.rootfs.path: /nowhere", "lxc.rootfs.path"),
    ("lxc.nothing: 1", "the line 'lxc.nothing: 1'"),
    ("what is this", "the line 'what is this'"),
    ("lxc.selinux.context: any", "lxc.selinux.context"),
    ("lxc.seccomp.notify.cookie: x", "lxc.seccomp.notify.cookie"),
    ("lxc.seccomp.notify.proxy: unix:/nowhere", "lxc.seccomp.notify.proxy"),
    ("lxc.signal.reboot: SIGHUP", "lxc.signal.reboot"),
    ("lxc.signal.stop: SIGTERM", "lxc.signal.stop"),
    ("lxc.start.auto: 1", "lxc.start.auto"),
    ("lxc.start.delay: 1", "lxc.start.delay"),
    ("lxc.start.order: 1", "lxc.start.order"),
    ("lxc.tty.max: 2", "lxc.tty.max"),
];

#[test]
fn each_is_named_and_the_container_runs() {
    let daemon = daemon();
    let lines: String = LINES.iter().map(|(line, _)| format!("{line}\n")).collect();
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], PATIENT, &lines);
    let task = guest.task("start", &[]);

    guest.wait_for_output("ready");
    let warnings: Vec<_> = task.log.lines().filter(|line| line.starts_with("WARN: ")).collect();
    for (_, name) in LINES {
        assert!(warnings.iter().any(|line| line.contains(name)), "no {name} in:\n{}", task.log);
    }
    assert_eq!(task.exitstatus, format!("WARNINGS: {}", LINES.len()), "{}", task.log);
    guest.stop();
    guest.destroy();
}
