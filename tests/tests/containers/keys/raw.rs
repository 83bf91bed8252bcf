//! Raw `lxc.*` lines under libcrun.

use rstest::rstest;

use super::{guest, has_lines, is_no_start, seen};
use crate::{PATIENT, PRIVILEGED, SUBVOL, UNPRIVILEGED, daemon, sh};

fn set(output: &str, name: &str) -> u64 {
    let text = output
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("{output}"));
    u64::from_str_radix(text.trim_start_matches(':').trim(), 16).unwrap()
}

const CAP_CHOWN: u64 = 1;
const CAP_KILL: u64 = 1 << 5;
const CAP_NET_RAW: u64 = 1 << 13;

#[test]
fn capabilities_are_those_that_lines_leave() {
    let script = "grep Cap /proc/self/status; touch /x; chown 5 /x 2>/dev/null || echo no chown";
    let dropped = seen(&[SUBVOL, UNPRIVILEGED], script, "lxc.cap.drop: chown net_raw\n");
    let bounding = set(&dropped, "CapBnd");
    assert_eq!(bounding & (CAP_CHOWN | CAP_NET_RAW), 0, "{dropped}");
    assert_eq!(bounding & CAP_KILL, CAP_KILL, "{dropped}");
    has_lines(&dropped, &["no chown"]);

    let kept = seen(&[SUBVOL, UNPRIVILEGED], script, "lxc.cap.keep: chown kill\n");
    for name in ["CapBnd", "CapEff", "CapPrm"] {
        assert_eq!(set(&kept, name), CAP_CHOWN | CAP_KILL, "{name} in {kept}");
    }
    assert!(!kept.contains("no chown"), "{kept}");
}

#[test]
fn ids_are_those_of_lines() {
    let lines =
        "lxc.idmap: u 0 100000 1000\nlxc.idmap: u 1000 300000 1\nlxc.idmap: g 0 100000 2000\n";
    let script = "echo uids $(cat /proc/self/uid_map); echo gids $(cat /proc/self/gid_map); \
        touch /x; chown 1000 /x; stat -c %u:%g /x; chown 1001 /x 2>/dev/null || echo no 1001";
    let daemon = daemon();
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], &sh(script), lines);
    let output = guest.ends_well();
    has_lines(
        &output,
        &["uids 0 100000 1000 1000 300000 1", "gids 0 100000 2000", "1000:0", "no 1001"],
    );
    let file = daemon.root().join("var/lib/vz/images/100/subvol-100-disk-0.subvol/x");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(file).unwrap()), 300_000);
    guest.destroy();
}

#[test]
fn the_first_process_is_what_lines_say() {
    let lines = "lxc.init.cmd: /bin/sh -c 'pwd; id -u; id -g; grep Groups /proc/self/status'\n\
        lxc.init.cwd: /tmp\nlxc.init.uid: 5\nlxc.init.gid: 6\nlxc.init.groups: 7,8\n\
        lxc.limit.nofile: 64\nlxc.environment.runtime: WHAT=ignored\n";
    let output = seen(&[SUBVOL, UNPRIVILEGED], "echo the entrypoint", lines);
    has_lines(&output, &["/tmp", "5", "6"]);
    let groups = output.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
    assert!(groups.split_whitespace().filter(|group| *group != "6").eq(["7", "8"]), "{output}");
    assert!(!output.contains("the entrypoint"), "{output}");
}

#[test]
fn a_limit_may_have_its_old_name() {
    has_lines(&seen(&[SUBVOL, UNPRIVILEGED], "ulimit -n", "lxc.limit.nofile: 64\n"), &["64"]);
}

/// In the container's namespaces, before its root is.
#[test]
fn hooks_see_the_root_before_it_is() {
    let lines = "lxc.environment.hooks: WHO=me\n\
        lxc.hook.mount: echo $WHO $LXC_HOOK_TYPE >$LXC_ROOTFS_MOUNT/tmp/mount; true\n\
        lxc.hook.autodev: ln -s null $LXC_ROOTFS_MOUNT/dev/made; true\n";
    let script = "cat /tmp/mount; readlink /dev/made; echo gone >/dev/made; echo end";
    has_lines(&seen(&[SUBVOL, UNPRIVILEGED], script, lines), &["me mount", "null", "end"]);
}

#[rstest]
#[case::as_it_is("", "no cgroup", "sys is read-only")]
#[case::cgroup("lxc.mount.auto: cgroup:rw\n", "a cgroup", "sys is read-only")]
#[case::sys("lxc.mount.auto: sys:rw\n", "no cgroup", "sys is not")]
fn the_kernels_file_systems_are_as_writable_as_lines_say(
    #[case] line: &str,
    #[case] cgroup: &str,
    #[case] sys: &str,
) {
    let script = "mkdir /sys/fs/cgroup/mine 2>/dev/null && echo a cgroup || echo no cgroup; \
        grep -q \" /sys sysfs ro\" /proc/mounts && echo sys is read-only || echo sys is not";
    has_lines(&seen(&[SUBVOL, UNPRIVILEGED], script, line), &[cgroup, sys]);
}

#[test]
fn proc_is_writable_if_a_line_says_so() {
    let script = "echo 55 2>/dev/null >/proc/sys/net/ipv4/ip_default_ttl || echo no; \
        cat /proc/sys/net/ipv4/ip_default_ttl";
    has_lines(&seen(&[SUBVOL, PRIVILEGED], script, ""), &["no", "64"]);
    has_lines(&seen(&[SUBVOL, PRIVILEGED], script, "lxc.mount.auto: proc:rw\n"), &["55"]);
}

/// Of either generation of cgroups; the last rule that fits counts.
#[rstest]
#[case::of_v1("cgroup", 1)]
#[case::of_v2("cgroup2", 0)]
fn devices_are_opened_as_lines_say(#[case] kind: &str, #[case] warnings: usize) {
    let opened = |lines: &str, warnings: usize| {
        let script = "(: </dev/loop0) 2>/dev/null && echo may read || echo may not read; \
            (: >/dev/loop0) 2>/dev/null && echo may write || echo may not write";
        let lines = format!(
            "lxc.mount.entry: /dev/loop0 dev/loop0 none bind,create=file\n\
             lxc.{kind}.devices.allow: b 7:* rw\n{lines}"
        );
        let daemon = daemon();
        let guest = guest(&daemon, &[SUBVOL, PRIVILEGED], &sh(script), &lines);
        let task = guest.task("start", &[]);
        let said = task.log.matches("WARN: ").count();
        assert_eq!(said, warnings, "{}", task.log);
        guest.wait();
        let output = guest.output();
        guest.destroy();
        output
    };
    has_lines(&opened("", warnings), &["may read", "may write"]);
    let denied = opened(&format!("lxc.{kind}.devices.deny: b 7:0 w\n"), 2 * warnings);
    has_lines(&denied, &["may read", "may not write"]);
}

/// What libcrun lets everybody have, whatever the bundle says.
#[test]
fn a_rule_that_takes_nothing_away_is_said() {
    let daemon = daemon();
    let lines = "lxc.cgroup2.devices.deny: c 1:9 rw\n";
    let guest = guest(&daemon, &[SUBVOL, PRIVILEGED], &sh("head -c 4 /dev/urandom | wc -c"), lines);
    let task = guest.task("start", &[]);
    assert!(task.log.contains("'c 1:9 rw' is in vain"), "{}", task.log);
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    guest.wait();
    has_lines(&guest.output(), &["4"]);
    guest.destroy();
}

#[test]
fn init_is_asked_to_end_by_the_signal_of_a_line() {
    let daemon = daemon();
    let script =
        "trap \"exit 3\" TERM PWR; trap \"exit 4\" USR1; echo ready; while :; do sleep 0.1; done";
    let lines = "lxc.signal.halt: SIGUSR1\n";
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], &sh(script), lines);
    guest.start();
    guest.wait_for_output("ready");
    guest.task("shutdown", &[("timeout", "20")]).ok();
    assert_eq!(guest.wait()["exit_code"], 4);
    guest.destroy();
}

#[test]
fn lines_that_cannot_be_kept_are_no_start() {
    let daemon = daemon();
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], PATIENT, "");
    let lines = [
        ("lxc.mount.entry: /etc etc none bind,relative\n", "lxc.mount.entry"),
        ("lxc.cgroup2.devices.allow: c 1\n", "lxc.cgroup2.devices.allow"),
        ("lxc.cap.drop: everything\n", "lxc.cap.drop"),
        ("lxc.idmap: u 0 100000\n", "lxc.idmap"),
        ("lxc.signal.halt: SIGNOTHING\n", "lxc.signal.halt"),
    ];
    is_no_start(&daemon, &guest, &lines);
    guest.destroy();
}
