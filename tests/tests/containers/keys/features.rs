//! `features`, and keys that choose what kind of container it is.

use rstest::rstest;

use super::{guest, has_lines, seen};
use crate::{BUSYBOX, PATIENT, PRIVILEGED, SMALL, SUBVOL, UNPRIVILEGED, daemon};

#[rstest]
#[case::not_by_itself("nesting=0", "read-only")]
#[case::forced("force_rw_sys=1", "writable")]
fn sys_is_writable_if_it_is_to_be(#[case] features: &str, #[case] expected: &str) {
    let script = "grep -q \" /sys sysfs rw\" /proc/mounts && echo writable || echo read-only";
    let output = seen(&[SUBVOL, UNPRIVILEGED], script, &format!("features: {features}\n"));
    has_lines(&output, &[expected]);
}

#[rstest]
#[case::without("fuse=0", "none")]
#[case::with("fuse=1", "opened")]
fn fuse_is_its_own_to_open(#[case] features: &str, #[case] expected: &str) {
    let script = "if test -c /dev/fuse; then : <>/dev/fuse && echo opened; stat -c %t:%T /dev/fuse; \
        else echo none; fi";
    let output = seen(&[SUBVOL, UNPRIVILEGED], script, &format!("features: {features}\n"));
    has_lines(&output, &[expected]);
    assert_eq!(output.contains("a:e5"), expected == "opened", "{output}");
}

#[test]
fn a_program_of_32_bits_sees_such_a_machine() {
    // PER_LINUX32 of personality(2); the kernel of the tests has no other name for its machine.
    let script = "cat /proc/self/personality";
    has_lines(&seen(&[SUBVOL, UNPRIVILEGED, ("arch", "amd64")], script, ""), &["00000000"]);
    has_lines(&seen(&[SUBVOL, UNPRIVILEGED, ("arch", "i386")], script, ""), &["00000008"]);
}

#[rstest]
#[case::with("1", "a console")]
#[case::without("0", "none")]
fn an_init_system_has_a_console_or_none(#[case] console: &str, #[case] expected: &str) {
    let daemon = daemon();
    let lines = "lxc.init.cmd: /bin/sh -c 'test -c /dev/console && echo a console || echo none; \
        test -t 0 && echo a terminal; exit 0'\n";
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("console", console)];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.add_lines(lines);
    let output = guest.ends_well();
    has_lines(&output, &[expected]);
    assert_eq!(output.contains("a terminal"), console == "1", "{output}");
    guest.destroy();
}

/// As `alpine.common.conf` of LXC's, whose init needs less than others.
#[test]
fn a_distribution_has_its_capabilities() {
    let bounding = |ostype: &str| {
        let daemon = daemon();
        let guest = daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, PRIVILEGED]);
        let lines = "lxc.init.cmd: /bin/grep CapBnd /proc/self/status\n";
        guest.add_lines(&format!("{lines}ostype: {ostype}\n"));
        guest.task("start", &[]);
        guest.wait();
        let output = guest.output();
        guest.destroy();
        let text = output.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
        u64::from_str_radix(text.trim(), 16).unwrap()
    };
    let (mknod, boot) = (1 << 27, 1 << 22);
    let debian = bounding("unmanaged");
    assert_ne!(debian & mknod, 0, "{debian:x}");
    let alpine = bounding("alpine");
    assert_eq!(alpine & mknod, 0, "{alpine:x}");
    assert_ne!(alpine & boot, 0, "{alpine:x}");
}

/// User Mode Linux has no huge pages, and hence no such controller.
#[test]
fn a_limit_without_a_controller_is_missed_by_name() {
    let daemon = daemon();
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], PATIENT, "");
    guest.add_oci_lines("hugepages: 2M=64\n");
    let task = guest.task("start", &[]);
    guest.wait_for_output("ready");
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    assert!(
        task.log.contains("hugepages: this host has no cgroup controller 'hugetlb'"),
        "{}",
        task.log
    );
    guest.stop();
    guest.destroy();
}
