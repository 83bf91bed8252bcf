//! The limits that PVE's config has no key for, on containers that run: the kernel's files, what the
//! container sees of them, and what a start makes of them again.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use serde_json::Value;
use tests::{Daemon, Guest, binary};

use crate::{BUSYBOX, SMALL, SUBVOL, UNPRIVILEGED, runtimes, sh};

pub(crate) const PATH: &str = "/nodes/pve1/oci/containers/100/limits";

/// Its init waits for its own children and for those that others left it.
fn running(daemon: &Daemon) -> Guest<'_> {
    let script = sh("trap \"exit 0\" TERM PWR; echo ready; sleep 100000 & wait");
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", script.as_str())];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    guest.wait_for_output("ready");
    guest
}

/// A file of the cgroup with the limits, above the one that init is in.
pub(crate) fn limit(guest: &Guest<'_>, file: &str) -> String {
    let own = guest.cgroup();
    assert!(own.ends_with("ns"), "{own:?}");
    fs_err::read_to_string(own.with_file_name(file)).unwrap().trim().to_owned()
}

/// The first value of `file` that is set, from init's cgroup upwards: what the kernel holds it to.
pub(crate) fn in_force(guest: &Guest<'_>, file: &str, unset: &str) -> String {
    let own = guest.cgroup();
    let mut values = own
        .ancestors()
        .take_while(|path| *path != Path::new("/sys/fs/cgroup"))
        .map(|path| fs_err::read_to_string(path.join(file)).unwrap().trim().to_owned());
    values.find(|value| value != unset).unwrap_or_else(|| unset.to_owned())
}

fn ct(daemon: &Daemon, words: &[&str]) -> Output {
    let mut command = Command::new(binary("proxmox-lxcri"));
    command.args(["ct", "--root"]).arg(daemon.root()).args(words);
    command.stdin(Stdio::null()).output().unwrap()
}

fn by_request(daemon: &Daemon, limits: &[(&str, &str)]) {
    assert_eq!(daemon.put(PATH, limits).data(), Value::Null);
}

fn from_the_shell(daemon: &Daemon, limits: &[(&str, &str)]) {
    let options: Vec<_> =
        limits.iter().flat_map(|(key, value)| [format!("--{key}"), (*value).to_owned()]).collect();
    let words = ["limits", "100"].into_iter().chain(options.iter().map(String::as_str));
    let output = ct(daemon, &words.collect::<Vec<_>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What twenty processes at once in the container come to.
fn crowd(daemon: &Daemon) -> (String, String) {
    let script = "n=0; while [ $n -lt 20 ]; do sleep 1 & n=$((n+1)); done; echo all of them";
    let output = ct(daemon, &["exec", "100", "sh", "-c", script]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[rstest]
#[case::by_request(by_request)]
#[case::from_the_shell(from_the_shell)]
fn a_program_that_runs_cannot_fork_beyond_its_new_limit(#[case] set: fn(&Daemon, &[(&str, &str)])) {
    let daemon = runtimes::daemon("crun");
    let guest = running(&daemon);
    assert_eq!(crowd(&daemon).0, "all of them\n");

    for _ in 0..2 {
        set(&daemon, &[("pids", "10")]);
        assert_eq!(limit(&guest, "pids.max"), "10");
        let (out, err) = crowd(&daemon);
        assert!(out.is_empty() && err.contains("can't fork"), "{out}{err}");

        guest.stop();
        guest.start();
        guest.wait_for_output("ready");
        assert_eq!(limit(&guest, "pids.max"), "10", "it outlives the container");

        set(&daemon, &[("delete", "pids")]);
        assert_eq!(limit(&guest, "pids.max"), "max");
        assert_eq!(crowd(&daemon).0, "all of them\n");
    }
    guest.stop();
    guest.destroy();
}

/// Block devices of every machine of the tests, and no partition.
fn device() -> String {
    let disks = fs_err::read_dir("/sys/block").unwrap();
    let first = disks.map(|disk| disk.unwrap().path().join("dev")).min().unwrap();
    fs_err::read_to_string(first).unwrap().trim().to_owned()
}

#[rstest]
#[case::crun("crun")]
#[case::lxc("lxc")]
fn each_limit_holds_at_once_and_after_a_restart_and_goes_when_deleted(#[case] runtime: &str) {
    let daemon = runtimes::daemon(runtime);
    let guest = running(&daemon);
    assert_eq!(guest.oci()["runs-under"], runtime);
    let device = device();
    let now = || ["pids.max", "io.weight", "io.max"].map(|file| limit(&guest, file));
    assert_eq!(now(), ["max", "default 100", ""]);

    // Of huge pages User Mode Linux has none; see `hugepages`.
    let io_max = [format!("{device},rbps=1048576,wiops=9"), format!("device={device},wiops=7")];
    let set = |io_max: &str, pids: &str| {
        let limits =
            [("pids", pids), ("io-weight", "50"), ("io-max", io_max), ("hugepages", "2M=64")];
        assert_eq!(daemon.put(PATH, &limits).data(), Value::Null);
    };
    set(&io_max[0], "40");
    let line = format!("{device} rbps=1048576 wbps=max riops=max wiops=9");
    assert_eq!(now(), ["40", "default 50", &line]);
    set(&io_max[1], "41");
    let line = format!("{device} rbps=max wbps=max riops=max wiops=7");
    let all = ["41", "default 50", &line];
    assert_eq!(now(), all);

    guest.stop();
    let task = guest.task("start", &[]);
    guest.wait_for_output("ready");
    assert_eq!(now(), all);
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);

    let delete = [("delete", "pids,io-weight,io-max,hugepages")];
    assert_eq!(daemon.put(PATH, &delete).data(), Value::Null);
    assert_eq!(now(), ["max", "default 100", ""]);
    guest.stop();
    guest.destroy();
}

/// What the kernel does not take is named; all stays as it was.
#[test]
fn a_limit_that_the_kernel_refuses_changes_nothing() {
    let daemon = runtimes::daemon("crun");
    let guest = running(&daemon);
    by_request(&daemon, &[("pids", "40")]);
    let before = daemon.get(PATH).data();

    let nowhere = [("pids", "50"), ("io-max", "4000:1,rbps=5")];
    let reply = daemon.put(PATH, &nowhere);

    assert_eq!(reply.line(), "400 Parameter verification failed.");
    let errors = reply.errors();
    let said = errors["io-max"].as_str().unwrap();
    assert!(said.starts_with("unable to hotplug io-max: "), "{said}");
    assert_eq!(errors["pids"], Value::Null);
    assert_eq!(daemon.get(PATH).data(), before);
    assert_eq!(limit(&guest, "pids.max"), "40");
    guest.stop();
    guest.destroy();
}
