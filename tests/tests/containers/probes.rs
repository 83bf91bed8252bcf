//! Attempts to get out of a container, made by its root with `tests/probes/probe.c`: what each is
//! answered with, and that nothing changed on the host.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use rstest::rstest;
use tests::{Content, Daemon, Guest, binary, eventually, rootfs};

use crate::{BUSYBOX, PRIVILEGED, SMALL, SUBVOL, UNPRIVILEGED, daemon, sh};

const PROBE: &str = env!("LXCRI_PROBE");

/// What the host must still be afterwards, by name.
fn host() -> BTreeMap<String, String> {
    let read = |path: &str| fs_err::read_to_string(path).unwrap_or_else(|err| err.to_string());
    let mut state = BTreeMap::new();
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/domainname",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/panic",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/fs/binfmt_misc/status",
        "/proc/self/oom_score_adj",
        "/proc/self/limits",
        "/proc/swaps",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
    ] {
        state.insert(path.to_owned(), read(path));
    }
    let names = |text: String| {
        let mut names: Vec<_> =
            text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        names.sort();
        names.join(" ")
    };
    state.insert("modules".to_owned(), names(read("/proc/modules")));
    let mut mounts: Vec<String> = read("/proc/self/mounts").lines().map(str::to_owned).collect();
    mounts.sort();
    state.insert("mounts".to_owned(), mounts.join("\n"));
    for program in ["lxcri-monitor", "lxcri-lxc-monitor", "proxmox-lxcri"] {
        let file = fs_err::metadata(binary(program)).unwrap();
        state.insert(program.to_owned(), format!("{} {} {}", file.ino(), file.len(), file.mtime()));
    }
    state
}

fn with_probe(daemon: &Daemon) {
    let probe = fs_err::read(PROBE).unwrap();
    let content = Content::default()
        .file("sbin/init", 0o755, probe.clone())
        .file("bin/probe", 0o755, probe)
        .file("i-am-the-container", 0o644, "");
    rootfs(&daemon.templates(), BUSYBOX, &content);
}

fn log(daemon: &Daemon, vmid: u32) -> String {
    let path = daemon.root().join(format!("var/log/proxmox-lxcri/{vmid}.log"));
    fs_err::read_to_string(path).unwrap_or_default()
}

/// By name; of an application or, without an entrypoint, a system container.
fn results(options: &[(&str, &str)]) -> BTreeMap<String, String> {
    results_with(options, "")
}

/// And with lines that no request of ours may send.
fn results_with(options: &[(&str, &str)], lines: &str) -> BTreeMap<String, String> {
    let daemon = daemon();
    with_probe(&daemon);
    let socket = format!("{}/100/command", daemon.root().join("var/lib/lxc").display());
    let pid = std::process::id();
    let env = format!("HOST_PID={pid}\0HOST_SOCKET={socket}\0HOST_INTERFACE=lxcri-secret");
    let guest =
        daemon.create(100, BUSYBOX, &[&[SUBVOL, SMALL, ("env", env.as_str())], options].concat());
    guest.add_lines(lines);
    let link = |verb: &[&str]| {
        let status = std::process::Command::new("ip").arg("link").args(verb).status().unwrap();
        assert!(status.success(), "ip link {verb:?}");
    };
    link(&["add", "lxcri-secret", "type", "bridge"]);
    let (before, clock) = (host(), SystemTime::now());
    guest.start();
    let output = eventually(60, "the end of the probes", || {
        Some(log(&daemon, 100)).filter(|output| output.contains("probed "))
    });
    end(&guest);
    assert!(clock.elapsed().is_ok_and(|passed| passed.as_secs() < 100), "the clock was set");
    let after = host();
    link(&["del", "lxcri-secret"]);
    for (name, value) in &before {
        assert_eq!(&after[name], value, "{name} has changed");
    }
    guest.destroy();
    let found: BTreeMap<_, _> = output
        .lines()
        .filter_map(|line| line.trim().split_once("probe ")?.1.split_once(' '))
        .map(|(name, result)| (name.to_owned(), result.to_owned()))
        .collect();
    assert!(output.contains(&format!("probed {}", found.len())), "{output}");
    found
}

fn end(guest: &Guest<'_>) {
    eventually(30, "its end", || (guest.status() == "stopped").then_some(()));
}

/// No attack: it reaches what is the container's own, as under LXC. `kernel_log` is the host's own
/// decision, `kernel.dmesg_restrict`; `push_key` types on the container's own console; from Linux 6.7 on
/// `binfmt_register` adds to the formats of its own user namespace.
const OWN: &str = "ok";

/// name, unprivileged system container, unprivileged application, privileged application.
type Claim = (&'static str, &'static str, &'static str, &'static str);

const CLAIMS: &[Claim] = &[
    ("accounting", "EPERM", "EPERM", "EPERM"),
    ("adjust_clock", "EPERM", "EPERM", "EPERM"),
    ("af_alg", "EAFNOSUPPORT", "ENOSYS", "ENOSYS"),
    ("af_alg_high_bits", "EAFNOSUPPORT", "ENOSYS", "ENOSYS"),
    ("af_vsock", "EAFNOSUPPORT", "ENOSYS", "ENOSYS"),
    ("all_fanotify", "EPERM", "EPERM", "EPERM"),
    ("binfmt_register", OWN, "EPERM", "EPERM"),
    ("block_device", "EPERM", "EPERM", "EPERM"),
    ("bpf_iterate", "EPERM", "EPERM", "EPERM"),
    ("bpf_program", "EPERM", "EPERM", "EPERM"),
    ("btrfs_subvolume", "EPERM", "EPERM", "ENOTTY"),
    ("by_handle", "EPERM", "EPERM", "EPERM"),
    ("cgroup_above", "ENOENT", "EPERM", "EPERM"),
    ("cgroup_devices", "EPERM", "EPERM", "EPERM"),
    ("clear_log", "EPERM", "EPERM", "EPERM"),
    ("clone3_user_namespace", OWN, "ENOSYS", "ENOSYS"),
    ("cloned_user_namespace", OWN, "ENOSYS", "ENOSYS"),
    ("command_socket", "ECONNREFUSED", "ECONNREFUSED", "ECONNREFUSED"),
    ("core_pattern", "EACCES", "EACCES", "EROFS"),
    ("dcookie", "ENOSYS", "EPERM", "EPERM"),
    ("delete_module", "EPERM", "EPERM", "EPERM"),
    ("dev_fuse_other", "EPERM", "EPERM", "EPERM"),
    ("dev_kmsg", "EPERM", "EPERM", "EPERM"),
    ("dev_mem", "EPERM", "EPERM", "EPERM"),
    ("dev_mem_there", "ENOENT", "ENOENT", "ENOENT"),
    ("device_filter_off", "EINVAL", "EPERM", "EPERM"),
    ("double_chroot", "EXDEV", "EXDEV", "EXDEV"),
    ("drop_caches", "EACCES", "EACCES", "EROFS"),
    ("ext4_of_a_disk", "EPERM", "EPERM", "EPERM"),
    ("finit_module", "EPERM", "EPERM", "EPERM"),
    ("foreign_owner", "EINVAL", "EINVAL", OWN),
    ("fresh_proc", "EACCES", "EPERM", "EPERM"),
    ("fresh_sysfs", "EACCES", "EPERM", "EPERM"),
    ("hang_up", "EPERM", "EPERM", "EPERM"),
    ("higher_limit", "EPERM", "EPERM", "EPERM"),
    ("host_domain", OWN, "EPERM", "EPERM"),
    ("host_interface", "ENODEV", "ENODEV", "ENODEV"),
    ("hostfs", "EPERM", "EPERM", "EPERM"),
    ("init_module", "EPERM", "EPERM", "EPERM"),
    ("io_level", "ENOSYS", "EPERM", "EPERM"),
    ("io_ports", "ENOSYS", "EPERM", "EPERM"),
    ("io_ring", OWN, "EPERM", "EPERM"),
    ("kcore", "EACCES", "ENODATA", "ENODATA"),
    ("kernel_log", OWN, "EPERM", "EPERM"),
    ("kernel_parameter", "EACCES", "EACCES", "EROFS"),
    ("kexec", "EPERM", "EPERM", "EPERM"),
    ("kexec_file", "ENOSYS", "EPERM", "EPERM"),
    ("keyring", "ENOSYS", "ENOSYS", "ENOSYS"),
    ("kill_out", "ESRCH", "ESRCH", "ESRCH"),
    ("kmsg", "EACCES", "EACCES", "EPERM"),
    ("loop_control", "ENOENT", "ENOENT", "ENOENT"),
    ("loop_device", "EPERM", "EPERM", "EPERM"),
    ("memory_out", "ESRCH", "ESRCH", "ESRCH"),
    ("modprobe_path", "EACCES", "EACCES", "EROFS"),
    ("more_files", "EPERM", "EPERM", "EPERM"),
    ("mount_seen_outside", OWN, "EPERM", "EPERM"),
    ("move_pages_out", "ENOSYS", "EPERM", "EPERM"),
    ("namespace_out", "ENOENT", "ENOENT", "ENOENT"),
    ("new_mount_api", OWN, "EPERM", "EPERM"),
    ("new_network", OWN, "EPERM", "EPERM"),
    ("new_user_namespace", OWN, "EPERM", "EPERM"),
    ("ns_last_pid", "EROFS", "EROFS", "EROFS"),
    ("odd_personality", OWN, "ENOSYS", "ENOSYS"),
    ("oom_below", "EACCES", "EACCES", "EACCES"),
    ("open_files", "EBADF", "EBADF", "EBADF"),
    ("own_limit", "EACCES", "EACCES", "EROFS"),
    ("own_pids_limit", "EACCES", "EACCES", "EROFS"),
    ("own_user_namespace", "EINVAL", "EPERM", "EPERM"),
    ("panic_sysctl", "EACCES", "EACCES", "EROFS"),
    ("perf", "ENOSYS", "EPERM", "EPERM"),
    ("pidfd_out", "ESRCH", "ESRCH", "ESRCH"),
    ("pivot", "EINVAL", "EPERM", "EPERM"),
    ("poison", "EINVAL", "EINVAL", "EINVAL"),
    ("power_state", "EACCES", "EACCES", "EROFS"),
    ("priority", "EACCES", "EACCES", "EACCES"),
    ("push_key", OWN, "ENXIO", "ENXIO"),
    ("push_stdin", OWN, "ENOTTY", "ENOTTY"),
    ("quota", "ENOENT", "EPERM", "EPERM"),
    ("real_time", "EPERM", "EPERM", "EPERM"),
    ("reboot_key", "EINVAL", "EPERM", "EPERM"),
    ("release_agent", "EPERM", "EPERM", "EPERM"),
    ("remounted_sysctl", "EACCES", "EPERM", "EPERM"),
    ("root_of_init", "EXDEV", "EXDEV", "EXDEV"),
    ("runtime_binary", "ENOENT", "ENOENT", "ENOENT"),
    ("set_clock", "EPERM", "EPERM", "EPERM"),
    ("set_time", "EPERM", "EPERM", "EPERM"),
    ("swap_off", "EPERM", "EPERM", "EPERM"),
    ("swap_on", "EPERM", "EPERM", "EPERM"),
    ("sysrq_mask", "EACCES", "EACCES", "EROFS"),
    ("sysrq_trigger", "EACCES", "EACCES", "EROFS"),
    ("trace_out", "ESRCH", "ESRCH", "ESRCH"),
    ("trusted_attribute", "EPERM", "EPERM", "EPERM"),
    ("uevent_helper", "EACCES", "EACCES", "EROFS"),
    ("uncovered_sysctl", "EACCES", "EPERM", "EPERM"),
    ("user_faults", "EPERM", "EPERM", "EPERM"),
];

#[rstest]
#[case::unprivileged_system(&[UNPRIVILEGED], |claim: &Claim| claim.1)]
#[case::unprivileged_application(&[UNPRIVILEGED, ("entrypoint", "/bin/probe")], |claim: &Claim| claim.2)]
#[case::privileged_application(&[PRIVILEGED, ("entrypoint", "/bin/probe")], |claim: &Claim| claim.3)]
fn is_answered(#[case] options: &[(&str, &str)], #[case] expected: fn(&Claim) -> &'static str) {
    let found = results(options);

    let claims: BTreeMap<_, _> = CLAIMS.iter().map(|claim| (claim.0, expected(claim))).collect();
    let wrong: Vec<_> = found
        .iter()
        .filter(|(name, result)| claims.get(name.as_str()) != Some(&result.as_str()))
        .map(|(name, result)| format!("{name}: {result}, not {:?}", claims.get(name.as_str())))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(found.len(), CLAIMS.len());
    let denied = CLAIMS.iter().filter(|claim| expected(claim) != OWN).count();
    assert!(denied >= 75, "{denied}");
}

/// `keyctl` is the only difference; what it reaches is the container's own.
#[test]
fn keyrings_are_there_if_they_are_asked_for() {
    let found = results_with(&[UNPRIVILEGED], "features: keyctl=1\n");
    let claims = CLAIMS.iter().map(|claim| (claim.0, claim.1));
    let different: Vec<_> = claims.filter(|(name, result)| found[*name] != *result).collect();
    assert_eq!(different, [("keyring", "ENOSYS")], "{}", found["keyring"]);
    assert_eq!(found["keyring"], OWN);
}

/// What it lets a container make is nothing that any of these wants.
#[rstest]
#[case::system(&[UNPRIVILEGED], |claim: &Claim| claim.1)]
#[case::application(&[UNPRIVILEGED, ("entrypoint", "/bin/probe")], |claim: &Claim| claim.2)]
fn devices_that_may_be_made_open_nothing(
    #[case] options: &[(&str, &str)],
    #[case] expected: fn(&Claim) -> &'static str,
) {
    let found = results_with(options, "features: mknod=1\n");
    let claims = CLAIMS.iter().map(|claim| (claim.0, expected(claim)));
    let different: Vec<_> = claims.filter(|(name, result)| found[*name] != *result).collect();
    assert_eq!(different, []);
}

#[rstest]
fn the_host_s_policy_takes_away(#[values("crun", "lxc")] runtime: &str) {
    let daemon = crate::runtimes::daemon(runtime);
    let policy = daemon.root().join("etc/proxmox-lxcri/policy.toml");
    let text = "deny-syscalls = [\"mkdir\", \"mkdirat\"]\ndrop-capabilities = [\"CHOWN\"]\n\
        readonly-rootfs = true\n[refuse]\nprivileged = true\n";
    fs_err::write(&policy, text).unwrap();
    let script = sh("mkdir /dev/shm/x 2>/dev/null || echo no folders; \
         touch /root/x 2>/dev/null || echo no files; grep CapEff /proc/self/status");
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", script.as_str())];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    guest.wait();
    let output = guest.output();
    assert!(output.contains("no folders") && output.contains("no files"), "{output}");
    let effective = output.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    assert_eq!(u64::from_str_radix(effective, 16).unwrap() & 1, 0, "it may chown: {effective}");

    let privileged = daemon.create(101, BUSYBOX, &[SUBVOL, SMALL, PRIVILEGED]);
    let refused = privileged.task("start", &[]).failed();
    assert!(
        refused.contains("a privileged container is refused by this host's policy"),
        "{refused}"
    );
    fs_err::write(&policy, "\nallow = 1\n").unwrap();
    let wrong = guest.task("start", &[]).failed();
    assert!(wrong.contains("policy.toml: line 2: unknown field `allow`"), "{wrong}");
    guest.destroy();
    privileged.destroy();
}
