//! What a process in the container sees, and what the host's kernel says about it.

use rstest::rstest;

use crate::limits::in_force;
use crate::{BUSYBOX, PATIENT, PRIVILEGED, RAW, SMALL, SUBVOL, UNPRIVILEGED, daemon, sh};

/// Run `script` in a fresh container and give what it printed.
fn seen(options: &[(&str, &str)], script: &str) -> String {
    let daemon = daemon();
    let script = sh(script);
    let guest =
        daemon.create(100, BUSYBOX, &[&[SMALL, ("entrypoint", script.as_str())], options].concat());
    let output = guest.ends_well();
    guest.destroy();
    output
}

#[track_caller]
fn has_line(output: &str, line: &str) {
    assert!(
        output.lines().any(|seen| seen.split_whitespace().eq(line.split_whitespace())),
        "no line {line:?} in:\n{output}"
    );
}

#[rstest]
#[case::folder(SUBVOL)]
#[case::image(RAW)]
fn it_is_alone_and_has_its_own_name(#[case] volume: (&str, &str)) {
    let script = "echo pid $$; echo host $(hostname); echo user $(id -u):$(id -g); \
                  ps -o pid,args; grep -c . /proc/net/dev; cat /proc/mounts; echo $FOO and $BAR; pwd";
    let env = "FOO=one\0BAR=two words";
    let output = seen(&[volume, UNPRIVILEGED, ("hostname", "own-name"), ("env", env)], script);
    has_line(&output, "pid 1");
    has_line(&output, "host own-name");
    has_line(&output, "user 0:0");
    has_line(&output, "one and two words");
    assert!(!output.contains("proxmox-lxcri serve"), "it sees the host's processes:\n{output}");
    for mount in [" /proc proc ", " /sys sysfs ", " /dev tmpfs ", " /dev/pts devpts "] {
        assert!(output.contains(mount), "no{mount}in:\n{output}");
    }
}

#[test]
fn an_unprivileged_one_has_its_ids_mapped_and_no_power_over_the_host() {
    let script = "echo uids $(cat /proc/self/uid_map); echo gids $(cat /proc/self/gid_map); \
                  stat -c \"%n %u:%g\" /bin/busybox /tmp; \
                  mount -t tmpfs none /tmp && echo may mount in its own namespace; \
                  echo 1 2>/dev/null >/proc/sys/kernel/panic || echo sysctl is not its; \
                  mknod /tmp/sda b 8 0 2>/dev/null || echo no devices";
    let output = seen(&[SUBVOL, UNPRIVILEGED], script);
    has_line(&output, "uids 0 100000 65536");
    has_line(&output, "gids 0 100000 65536");
    has_line(&output, "/bin/busybox 0:0");
    has_line(&output, "sysctl is not its");
    has_line(&output, "no devices");
}

#[test]
fn a_privileged_one_has_no_mapping_and_still_not_every_capability() {
    let script = "echo uids $(cat /proc/self/uid_map); grep CapBnd /proc/self/status; \
                  echo 1 2>/dev/null >/proc/sys/kernel/panic || echo sysctl is not its";
    let output = seen(&[SUBVOL, PRIVILEGED], script);
    has_line(&output, "uids 0 0 4294967295");
    has_line(&output, "sysctl is not its");
    let bounding = output.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
    let bounding = u64::from_str_radix(bounding.trim(), 16).unwrap();
    // PVE's default for privileged containers: mac_admin 33, mac_override 32, sys_time 25,
    // sys_module 16, sys_rawio 17 are dropped.
    for capability in [16, 17, 25, 32, 33] {
        assert_eq!(bounding >> capability & 1, 0, "capability {capability} in {bounding:x}");
    }
    assert_eq!(bounding & 1, 1, "chown is missing in {bounding:x}");
}

#[test]
fn standard_devices_are_there_and_a_file_system_of_its_own() {
    let script = "echo gone >/dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; \
                  echo hello >/dev/stdout; echo data >/tmp/file; cat /tmp/file; ls /dev/pts; test -c /dev/ptmx";
    let output = seen(&[RAW, UNPRIVILEGED], script);
    has_line(&output, "hello");
    has_line(&output, "data");
    assert_eq!(output.lines().filter(|line| *line == "4").count(), 2, "{output}");
}

#[test]
fn limits_are_the_kernel_s() {
    let daemon = daemon();
    let options = [
        SUBVOL,
        UNPRIVILEGED,
        ("entrypoint", PATIENT),
        ("memory", "48"),
        ("swap", "16"),
        ("cpulimit", "0.5"),
        ("cpuunits", "42"),
    ];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    guest.wait_for_output("ready");
    assert_eq!(in_force(&guest, "memory.max", "max"), (48 << 20).to_string());
    assert_eq!(in_force(&guest, "memory.swap.max", "max"), (16 << 20).to_string());
    assert_eq!(in_force(&guest, "cpu.max", "max 100000"), "50000 100000");
    assert_eq!(in_force(&guest, "cpu.weight", "100"), "42");
    let current = guest.current();
    assert_eq!(current["maxmem"], 48 << 20, "{current}");
    assert!(current["mem"].as_u64().unwrap() < 48 << 20, "{current}");
    guest.stop();
    guest.destroy();
}

#[test]
fn one_that_takes_too_much_memory_is_killed_and_its_record_says_so() {
    let daemon = daemon();
    let script = sh("echo begin; exec head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null");
    let options = [SUBVOL, UNPRIVILEGED, ("memory", "16"), ("swap", "0"), ("entrypoint", &script)];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    let exit = guest.wait();
    assert_eq!(exit["oom_killed"], true, "{exit}");
    guest.destroy();
}

#[test]
fn what_is_shown_of_it_is_true() {
    let daemon = daemon();
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)]);
    guest.start();
    guest.wait_for_output("ready");
    let oci = guest.oci();
    let pid = oci["pid"].as_u64().unwrap();
    let namespace = |pid: &str, kind: &str| {
        fs_err::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
    };
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let real = namespace(&pid.to_string(), kind);
        assert_ne!(real, namespace("self", kind), "{kind} is the host's");
        let shown = oci["namespaces"].as_object().unwrap();
        let named = shown.iter().find(|(name, _)| {
            *name == kind
                || (kind == "mnt" && *name == "mount")
                || (kind == "net" && *name == "network")
        });
        let named = named.unwrap_or_else(|| panic!("{kind} is not in {oci}")).1;
        let inode = named.as_str().map_or_else(|| named.to_string(), str::to_owned);
        assert!(real.contains(&inode), "{kind} is {real}, shown as {inode}");
    }
    let cgroup = fs_err::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let shown = oci["cgroup"].as_str().unwrap().trim_matches('/').to_owned();
    assert!(cgroup.contains(&shown), "{shown} is not in {cgroup}");
    guest.stop();
    guest.destroy();
}
