//! Limits that User Mode Linux has no kernel for, in Debian's own, with two processors: `tests/vm/run --smp`.

use rstest::rstest;
use serde_json::Value;
use tests::{Content, Daemon, Guest, rootfs};

use crate::keys::{has_lines, limit};
use crate::runtimes::daemon;
use crate::{BUSYBOX, PATIENT, SMALL, SUBVOL, UNPRIVILEGED, sh};

const LIMITS: &str = "/nodes/pve1/oci/containers/100/limits";
const TEMPLATE: &str = "huge.tar.gz";

fn patient<'d>(daemon: &'d Daemon, options: &[(&str, &str)]) -> Guest<'d> {
    let all = [&[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)], options].concat();
    daemon.create(100, BUSYBOX, &all)
}

/// Without a word about any of its limits.
#[track_caller]
fn starts(guest: &Guest<'_>) {
    let task = guest.task("start", &[]);
    assert_eq!(task.exitstatus, "OK", "{}", task.log);
    guest.wait_for_output("ready");
}

/// How many processors its first process may run on, as the kernel has it.
fn processors(guest: &Guest<'_>) -> u32 {
    let status = fs_err::read_to_string(format!("/proc/{}/status", guest.oci()["pid"])).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:")).unwrap();
    u32::from_str_radix(&mask.trim().replace(',', ""), 16).unwrap().count_ones()
}

#[rstest]
fn a_container_has_its_processors(
    #[values("1", "2")] cores: &str,
    #[values("crun", "lxc")] runtime: &str,
) {
    let daemon = daemon(runtime);
    let script = sh("echo there are $(busybox nproc)");
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", &script), ("cores", cores)];
    let guest = daemon.create(100, BUSYBOX, &options);
    has_lines(&guest.ends_well(), &[&format!("there are {cores}")]);
    guest.destroy();
}

#[rstest]
#[case::crun("crun")]
#[case::lxc("lxc")]
fn processors_come_and_go_while_it_runs(#[case] runtime: &str) {
    let daemon = daemon(runtime);
    let guest = patient(&daemon, &[("cores", "1")]);
    starts(&guest);
    assert_eq!(processors(&guest), 1);
    for (change, count) in [(("cores", "2"), 2), (("cores", "1"), 1), (("delete", "cores"), 2)] {
        assert_eq!(guest.put_config(&[change]).line(), "200 OK");
        assert_eq!(processors(&guest), count, "{change:?}");
    }
    guest.stop();
    guest.destroy();
}

/// Pages that there are, but not for it.
#[rstest]
#[case::crun("crun")]
#[case::lxc("lxc")]
fn huge_pages_are_as_many_as_it_may_have(#[case] runtime: &str) {
    fs_err::write("/proc/sys/vm/nr_hugepages", "8").unwrap();
    let daemon = daemon(runtime);
    let huge = fs_err::read(env!("LXCRI_HUGE")).unwrap();
    rootfs(&daemon.templates(), TEMPLATE, &Content::default().file("bin/huge", 0o755, huge));
    let script = sh("echo ready; while read -r line; do /bin/huge 6; done </pipe");
    let guest =
        daemon.create(100, TEMPLATE, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", &script)]);
    guest.add_oci_lines("hugepages: 2M=4\n");
    // Each line into the pipe has it try once more.
    let made = guest_file(&daemon, "pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &made, 0o666.into()).unwrap();
    let writer = fs_err::OpenOptions::new().read(true).write(true).open(&made).unwrap();
    let again = |expected: &str| {
        std::io::Write::write_all(&mut writer.file(), b"again\n").unwrap();
        guest.wait_for_output(expected);
    };
    starts(&guest);
    again("filled 2");
    assert_eq!(limit(&guest, "hugetlb.2MB.max"), (4 << 20).to_string());
    assert_eq!(daemon.put(LIMITS, &[("hugepages", "2M=6")]).data(), Value::Null);
    again("filled 3");
    assert_eq!(daemon.put(LIMITS, &[("delete", "hugepages")]).data(), Value::Null);
    again("filled 6");
    guest.stop();
    guest.destroy();
    fs_err::write("/proc/sys/vm/nr_hugepages", "0").unwrap();
}

#[rstest]
#[case::crun("crun")]
#[case::lxc("lxc")]
fn weights_are_the_kernel_s(#[case] runtime: &str) {
    let daemon = daemon(runtime);
    let guest = patient(&daemon, &[]);
    guest.add_oci_lines("io-weight: 50\n");
    starts(&guest);
    assert_eq!(limit(&guest, "io.weight"), "default 50");
    for (change, weight) in
        [(("io-weight", "700"), "default 700"), (("delete", "io-weight"), "default 100")]
    {
        assert_eq!(daemon.put(LIMITS, &[change]).data(), Value::Null);
        assert_eq!(limit(&guest, "io.weight"), weight);
    }
    guest.stop();
    guest.destroy();
}

fn guest_file(daemon: &Daemon, name: &str) -> std::path::PathBuf {
    daemon.root().join("var/lib/vz/images/100/subvol-100-disk-0.subvol").join(name)
}
