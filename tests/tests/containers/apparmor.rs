//! AppArmor's profiles, in a kernel that has AppArmor: which one a container is in, and what it holds
//! where no other layer does. The machine is booted for these alone: `tests/vm/run --apparmor`.

use std::collections::BTreeMap;
use std::process::Command;

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use tests::{Content, Daemon, binary, eventually, rootfs};

use crate::faults::monitor_of;
use crate::system::{System, TEMPLATE, template};
use crate::{BUSYBOX, PATIENT, PRIVILEGED, SMALL, SUBVOL, UNPRIVILEGED, daemon, runtimes};

const PROFILES: [&str; 3] = ["lxcri-application", "lxcri-nesting", "lxcri-system"];

/// As the kernel lists them.
fn loaded() -> String {
    fs_err::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap()
}

/// `--replace` loads them, `--remove` takes them out.
fn parser(verb: &str) {
    let output = Command::new("apparmor_parser")
        .args([verb, "--skip-cache", "/etc/apparmor.d/proxmox-lxcri"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let loaded = loaded();
    for name in PROFILES {
        assert_eq!(loaded.contains(&format!("{name} (enforce)")), verb == "--replace", "{loaded}");
    }
}

/// A daemon on a machine with the profiles.
fn confining() -> Daemon {
    let daemon = daemon();
    parser("--replace");
    daemon
}

/// The API lets nobody but root@pam, by a password, set it for a privileged container.
const NESTING: &str = "features: nesting=1";

/// As the kernel has it for a process of the host's.
fn label(pid: &serde_json::Value) -> String {
    fs_err::read_to_string(format!("/proc/{pid}/attr/current")).unwrap().trim().to_owned()
}

/// What `ct exec` prints.
fn exec(daemon: &Daemon, words: &[&str]) -> String {
    let mut command = Command::new(binary("proxmox-lxcri"));
    command.args(["ct", "--root"]).arg(daemon.root()).args(["exec", "100"]).args(words);
    let output = command.output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
}

const OWN_LABEL: &[&str] = &["cat", "/proc/self/attr/current"];

#[rstest]
#[case::application("", "lxcri-application")]
#[case::nesting(NESTING, "lxcri-nesting")]
#[case::raw_nesting("lxc.apparmor.allow_nesting: 1", "lxcri-nesting")]
fn a_program_and_what_is_run_beside_it_are_confined_alike(
    #[case] line: &str,
    #[case] profile: &str,
    #[values(PRIVILEGED, UNPRIVILEGED)] privileged: (&str, &str),
) {
    let daemon = confining();
    let own = [SUBVOL, SMALL, ("entrypoint", PATIENT), privileged];
    let guest = daemon.create(100, BUSYBOX, &own);
    guest.add_lines(&format!("{line}\n"));
    guest.start();
    guest.wait_for_output("ready");

    assert_eq!(label(&guest.oci()["pid"]), format!("{profile} (enforce)"));
    assert_eq!(exec(&daemon, OWN_LABEL), format!("{profile} (enforce)"));
    let leave = "echo changeprofile unconfined >/proc/self/attr/current";
    assert!(!exec(&daemon, &["sh", "-c", leave]).is_empty());
    // It still hears who is outside, and its own processes hear each other.
    assert_eq!(exec(&daemon, &["sh", "-c", "sleep 9 & kill $! && echo told"]), "told");
    guest.task("shutdown", &[("timeout", "20")]).ok();
    assert_eq!(guest.oci()["exit"]["exit_code"], 0);
    guest.destroy();
}

/// Of an init that has all capabilities of the host's root and nothing covered: only AppArmor is left.
const TRIES: &str = r#"#!/bin/sh
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name: yes"; else echo "$name: no"; fi; }
again() { value=$(cat "$1") && echo "$value" >"$1"; }
mkdir -p /tmp/one /tmp/two /tmp/three
mount -o remount,rw /proc/sys; mount -o remount,rw /sys
try sysctl_of_the_host again /proc/sys/vm/swappiness
try core_pattern again /proc/sys/kernel/core_pattern
try sysctl_of_its_own again /proc/sys/kernel/shmmni
try sysctl_of_its_network again /proc/sys/net/ipv4/ip_forward
try host_name again /proc/sys/kernel/hostname
try own_process again /proc/self/oom_score_adj
try sysrq sh -c 'echo h >/proc/sysrq-trigger'
try uevent_helper again /sys/kernel/uevent_helper
try tmpfs mount -t tmpfs none /tmp/one
try remount mount -o remount,ro /tmp/one
try umount umount /tmp/one
try proc mount -t proc none /tmp/one
try proc_elsewhere mount --bind /proc /tmp/two
try root_elsewhere mount --rbind / /tmp/three
try copied_core_pattern again /tmp/three/proc/sys/kernel/core_pattern
try file again /etc/passwd
echo tried
"#;

/// What is tried, in an application, a system, one that nests, and one that is not confined.
const ANSWERS: &[(&str, [bool; 4])] = &[
    ("sysctl_of_the_host", [false, false, false, true]),
    ("core_pattern", [false, false, false, true]),
    ("sysctl_of_its_own", [true; 4]),
    ("sysctl_of_its_network", [true; 4]),
    ("host_name", [true; 4]),
    ("own_process", [true; 4]),
    ("sysrq", [false, false, false, true]),
    ("uevent_helper", [false, false, false, true]),
    ("tmpfs", [false, true, true, true]),
    ("remount", [false, true, true, true]),
    ("umount", [false, true, true, true]),
    ("proc", [false, false, true, true]),
    ("proc_elsewhere", [false, false, true, true]),
    ("root_elsewhere", [false, true, true, true]),
    ("copied_core_pattern", [false, false, false, true]),
    ("file", [true; 4]),
];

#[rstest]
#[case::application("lxcri-application", 0)]
#[case::system("lxcri-system", 1)]
#[case::nesting("generated", 2)]
#[case::unconfined("unconfined", 3)]
fn a_profile_holds_by_itself(#[case] profile: &str, #[case] column: usize) {
    let daemon = confining();
    let content = Content::default().file("sbin/init", 0o755, TRIES);
    rootfs(&daemon.templates(), BUSYBOX, &content);
    let guest = daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, PRIVILEGED]);
    guest.add_lines(&format!(
        "{NESTING}\nlxc.apparmor.profile: {profile}\nlxc.mount.auto: proc:rw sys:rw\n"
    ));

    guest.start();
    guest.wait();

    let log = daemon.root().join("var/log/proxmox-lxcri/100.log");
    let log = fs_err::read_to_string(log).unwrap();
    assert!(log.contains("tried"), "{log}");
    let found: BTreeMap<&str, bool> = log
        .lines()
        .filter_map(|line| line.trim().rsplit_once(": "))
        .filter(|(_, answer)| ["yes", "no"].contains(answer))
        .map(|(line, answer)| (line.split(' ').next_back().unwrap(), answer == "yes"))
        .collect();
    let expected: BTreeMap<_, _> =
        ANSWERS.iter().map(|(name, answers)| (*name, answers[column])).collect();
    assert_eq!(found, expected, "{log}");
    guest.destroy();
}

#[rstest]
#[case::plain("", "lxcri-system (enforce)")]
#[case::nesting(NESTING, "lxcri-nesting (enforce)")]
fn debian_with_systemd_boots_in_a_profile(
    #[case] line: &str,
    #[case] profile: &str,
    #[values(PRIVILEGED, UNPRIVILEGED)] privileged: (&str, &str),
) {
    let daemon = runtimes::daemon_with("crun", "trixie");
    parser("--replace");
    template(&daemon);
    let own = [SUBVOL, privileged, ("memory", "768"), ("hostname", "confined")];
    // Such a systemd without nesting is warned of, as PVE does.
    daemon.try_create(100, TEMPLATE, &own);
    let guest = daemon.guest(100);
    guest.add_lines(&format!("{line}\n"));
    let task = guest.task("start", &[]);
    assert!(!task.log.contains("apparmor"), "{}", task.log);
    let system = System { daemon: &daemon, guest };
    system.booted();

    assert_eq!(label(&system.guest.oci()["pid"]), profile);
    assert_eq!(system.inside("cat /proc/self/attr/current"), profile, "lxc-attach");
    assert_eq!(exec(&daemon, OWN_LABEL), profile);
    system.guest.task("shutdown", &[("timeout", "120")]).ok();
    system.guest.destroy();
}

/// An ext4 on a loop device of the machine's.
struct Disk(String);

impl Disk {
    fn new(daemon: &Daemon) -> Self {
        let image = daemon.root().join("disk");
        fs_err::File::create(&image).unwrap().set_len(8 << 20).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).arg(&image).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        run("mkfs.ext4", &["-q", "-F"]);
        Self(run("losetup", &["--find", "--show"]))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let status = Command::new("losetup").args(["--detach", &self.0]).status().unwrap();
        assert!(status.success() || std::thread::panicking());
    }
}

const MAY_MOUNT: &str = "features: mount=ext4";

#[rstest]
#[case::system("", MAY_MOUNT, true)]
#[case::application("/bin/mounts", MAY_MOUNT, true)]
#[case::system_without("", "", false)]
#[case::application_without("/bin/mounts", "", false)]
fn a_type_is_mounted_if_it_may_be(#[case] entrypoint: &str, #[case] line: &str, #[case] may: bool) {
    let daemon = confining();
    let disk = Disk::new(&daemon);
    let script = format!(
        "#!/bin/sh\nmkdir -p /tmp/one\n\
        mount -t ext3 {disk} /tmp/one\n\
        mount -t ext4 {disk} /tmp/one && ls /tmp/one && umount /tmp/one && echo unmounted\n\
        cat /proc/self/attr/current\n\
        trap 'exit 0' TERM PWR; echo tried; while :; do sleep 0.1; done\n",
        disk = disk.0
    );
    let content = Content::default().file("sbin/init", 0o755, script.as_str()).file(
        "bin/mounts",
        0o755,
        script.as_str(),
    );
    rootfs(&daemon.templates(), BUSYBOX, &content);
    let own = [SUBVOL, SMALL, PRIVILEGED];
    let entrypoint = Some(("entrypoint", entrypoint)).filter(|(_, program)| !program.is_empty());
    let own: Vec<_> = own.into_iter().chain(entrypoint).collect();
    let guest = daemon.create(100, BUSYBOX, &own);
    // An application has the capability by such a line alone.
    guest.add_lines(&format!("{line}\ndev0: {}\nlxc.cap.keep: sys_admin dac_override\n", disk.0));

    let log = guest.task("start", &[]).log;

    let output = guest.wait_for_output("tried");
    let denied: Vec<_> = output.lines().filter(|line| line.contains("Permission denied")).collect();
    assert_eq!(denied.len(), if may { 1 } else { 2 }, "{output}{log}");
    for word in ["lost+found", "unmounted"] {
        assert_eq!(output.contains(word), may, "{output}");
    }
    let name = label(&guest.oci()["pid"]);
    assert!(output.contains(&name), "{output}");
    let own = name.trim_end_matches(" (enforce)");
    assert_eq!(own.ends_with("-100"), may, "{own}");
    guest.stop();
    assert!(!loaded().contains("-100 ("), "{}", loaded());
    guest.destroy();
}

/// A profile that is left by a killed monitor goes with all else that it left.
#[test]
fn a_profile_does_not_outlive_its_container() {
    let daemon = confining();
    let guest = daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, PRIVILEGED, ("entrypoint", PATIENT)]);
    guest.add_lines("features: mount=nfs\n");
    guest.task("start", &[]);
    guest.wait_for_output("ready");
    let own = label(&guest.oci()["pid"]);
    assert!(loaded().lines().any(|line| line == own), "{own}");
    assert_eq!(exec(&daemon, OWN_LABEL), own);

    let monitor = Pid::from_raw(monitor_of(&daemon, 100)).unwrap();
    kill_process(monitor, Signal::KILL).unwrap();
    eventually(10, "it is shown as stopped", || (guest.status() == "stopped").then_some(()));
    eventually(20, "what is left is removed", || (!loaded().contains(&own)).then_some(()));
    guest.destroy();
}

/// A warning that says how to have it, unless the host's policy insists.
#[test]
fn a_profile_that_is_not_loaded_is_said() {
    let daemon = confining();
    parser("--remove");
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)];
    let guest = daemon.create(100, BUSYBOX, &options);
    let task = guest.task("start", &[]);
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    let said = "the profile 'lxcri-application' is not loaded (apparmor_parser -r \
        /etc/apparmor.d/proxmox-lxcri does that); the container is not confined";
    assert!(task.log.contains(said), "{}", task.log);
    guest.wait_for_output("ready");
    assert_eq!(label(&guest.oci()["pid"]), "unconfined");
    guest.stop();

    let policy = daemon.root().join("etc/proxmox-lxcri/policy.toml");
    fs_err::write(policy, "[refuse]\nunconfined = true\n").unwrap();
    let refused = guest.task("start", &[]).failed();
    assert!(refused.contains("a container without an AppArmor profile is refused"), "{refused}");
    parser("--replace");
    guest.start();
    guest.stop();
    guest.destroy();
}

#[test]
fn a_profile_that_nobody_knows_is_no_start() {
    let daemon = confining();
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.add_lines("lxc.apparmor.profile: no-such-profile\n");
    let failed = guest.task("start", &[]).failed();
    assert!(
        failed.contains("lxc.apparmor.profile: the profile 'no-such-profile' is not loaded"),
        "{failed}"
    );
    guest.destroy();
}

/// The profile is LXC's own, which it has this machine's parser load.
#[rstest]
#[case::plain("")]
#[case::nesting("features: nesting=1")]
fn lxc_confines_by_a_profile_that_it_makes(#[case] line: &str) {
    let daemon = runtimes::daemon("lxc");
    let own = [SUBVOL, SMALL, ("entrypoint", PATIENT), UNPRIVILEGED];
    let guest = daemon.create(100, BUSYBOX, &own);
    guest.add_lines(&format!("{line}\n"));

    let log = guest.start();

    guest.wait_for_output("ready");
    assert_eq!(guest.oci()["runs-under"], "lxc", "{log}");
    let label = label(&guest.oci()["pid"]);
    assert!(label.starts_with("lxc-100_") && label.contains("(enforce)"), "{label}: {log}");
    guest.stop();
    guest.destroy();
}
