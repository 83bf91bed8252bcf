//! Changes of a container that runs: what it takes at once, what waits, and what the kernel then
//! says of it.

use rstest::rstest;
use serde_json::{Value, json};
use tests::{Content, Daemon, Guest, eventually, rootfs};

use crate::limits::limit;
use crate::{BUSYBOX, PATIENT, SMALL, SUBVOL, UNPRIVILEGED, daemon, runtimes};

fn running(daemon: &Daemon) -> Guest<'_> {
    let parameters = [SUBVOL, UNPRIVILEGED, ("memory", "64"), ("swap", "0"), ("cpulimit", "2")];
    let guest =
        daemon.create(100, BUSYBOX, &[&parameters[..], &[("entrypoint", PATIENT)]].concat());
    guest.start();
    guest.wait_for_output("ready");
    guest
}

fn waits(daemon: &Daemon) -> Value {
    let rows = daemon.get("/nodes/pve1/lxc/100/pending").data();
    let rows = rows.as_array().unwrap().iter().cloned();
    rows.filter(|row| !row["pending"].is_null() || !row["delete"].is_null()).collect()
}

#[test]
fn limits_reach_a_running_container_at_once() {
    let daemon = daemon();
    let guest = running(&daemon);
    assert_eq!(limit(&guest, "memory.max"), (64 << 20).to_string());
    assert_eq!(limit(&guest, "cpu.max"), "200000 100000");

    let changes =
        [("memory", "96"), ("swap", "32"), ("cpulimit", "0.5"), ("cpuunits", "50"), ("cores", "1")];
    assert_eq!(guest.put_config(&changes).data(), Value::Null);

    assert_eq!(limit(&guest, "memory.max"), (96 << 20).to_string());
    assert_eq!(limit(&guest, "memory.high"), (96 * 1024 * 1016).to_string());
    assert_eq!(limit(&guest, "cpu.max"), "50000 100000");
    assert_eq!(limit(&guest, "cpu.weight"), "50");
    assert_eq!(waits(&daemon), json!([]));
    assert_eq!(guest.current()["maxmem"], 96 << 20);
    assert_eq!(guest.config()["swap"], 32);

    assert_eq!(guest.put_config(&[("delete", "cpulimit,cpuunits,swap")]).status, 200);
    assert_eq!(limit(&guest, "cpu.max"), "max 100000");
    assert_eq!(limit(&guest, "cpu.weight"), "100");
    assert_eq!(guest.config()["cpulimit"], Value::Null);
    guest.stop();
    guest.destroy();
}

/// How many processors its first process may run on, as the kernel has it.
fn processors(guest: &Guest<'_>) -> u32 {
    let status = fs_err::read_to_string(format!("/proc/{}/status", guest.oci()["pid"])).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:")).unwrap();
    u32::from_str_radix(&mask.trim().replace(',', ""), 16).unwrap().count_ones()
}

#[rstest]
#[case::crun("crun")]
#[case::lxc("lxc")]
fn processors_come_and_go_while_it_runs(#[case] runtime: &str) {
    let daemon = runtimes::daemon(runtime);
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("cores", "1"), ("entrypoint", PATIENT)];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    guest.wait_for_output("ready");
    assert_eq!(processors(&guest), 1);
    for (change, count) in [(("cores", "2"), 2), (("cores", "1"), 1), (("delete", "cores"), 2)] {
        assert_eq!(guest.put_config(&[change]).line(), "200 OK");
        assert_eq!(processors(&guest), count, "{change:?}");
    }
    guest.stop();
    guest.destroy();
}

/// The new limit is the kernel's, not a number in a file.
#[test]
fn a_running_container_dies_of_the_memory_it_lost() {
    let daemon = daemon();
    let script = crate::sh("echo ready; while [ ! -e /go ]; do sleep 0.1; done; tail /dev/zero");
    let guest = daemon.create(
        100,
        BUSYBOX,
        &[SUBVOL, UNPRIVILEGED, ("memory", "512"), ("swap", "0"), ("entrypoint", &script)],
    );
    guest.start();
    guest.wait_for_output("ready");

    assert_eq!(guest.put_config(&[("memory", "24")]).status, 200);
    let rootfs = guest.subvol();
    fs_err::write(rootfs.join("go"), "").unwrap();

    let exit = guest.wait();
    assert_eq!(exit["oom_killed"], true, "{exit}");
    guest.destroy();
}

#[test]
fn the_rest_waits_for_the_end_of_the_container() {
    let daemon = daemon();
    let guest = running(&daemon);
    let before = guest.config();

    let put = [
        ("hostname", "renamed"),
        ("tty", "3"),
        ("timezone", "host"),
        ("delete", "entrypoint,cpulimit"),
    ];
    assert_eq!(guest.put_config(&put).data(), Value::Null);

    assert_eq!(
        waits(&daemon),
        json!([
            {"key": "entrypoint", "value": before["entrypoint"], "delete": 1},
            {"key": "timezone", "pending": "host"},
            {"key": "tty", "pending": 3},
        ])
    );
    let now = guest.config();
    assert_eq!((&now["tty"], &now["entrypoint"]), (&json!(3), &Value::Null));
    let current = daemon.get("/nodes/pve1/lxc/100/config?current=1").data();
    assert_eq!(
        (&current["tty"], &current["entrypoint"], &current["hostname"], &current["cpulimit"]),
        (&Value::Null, &before["entrypoint"], &json!("renamed"), &Value::Null)
    );

    // Taken back, and one more.
    assert_eq!(guest.put_config(&[("revert", "entrypoint"), ("tty", "4")]).status, 200);
    let keys: Vec<Value> =
        waits(&daemon).as_array().unwrap().iter().map(|row| row["key"].clone()).collect();
    assert_eq!(keys, ["timezone", "tty"]);

    guest.stop();
    assert_eq!(waits(&daemon), json!([]));
    let after = guest.config();
    assert_eq!((&after["tty"], &after["entrypoint"]), (&json!(4), &before["entrypoint"]));
    assert_eq!(after["timezone"], "host");
    guest.destroy();
}

/// With their options; what is made for it is there at the next start, too.
#[test]
fn a_mount_point_is_added_while_it_runs() {
    let daemon = daemon();
    let guest = running(&daemon);

    let put =
        [("mp0", "local:0.0625,mp=/data,mountoptions=noatime"), ("mp1", "local:0,mp=/opt/x,ro=1")];
    assert_eq!(guest.put_config(&put).data(), Value::Null);

    assert_eq!(waits(&daemon), json!([]));
    assert_eq!(
        guest.config()["mp0"],
        "local:100/vm-100-disk-1.raw,mp=/data,mountoptions=noatime,size=64M"
    );
    let inside = format!("/proc/{}/root", guest.oci()["pid"]);
    let mounts = fs_err::read_to_string(format!("/proc/{}/mounts", guest.oci()["pid"])).unwrap();
    let line =
        |at: &str| mounts.lines().find(|line| line.contains(at)).unwrap_or_default().to_owned();
    assert!(line(" /data ext4 ").contains("noatime"), "{mounts}");
    assert!(line(" /opt/x ").contains(" ro,"), "{mounts}");
    fs_err::write(format!("{inside}/data/kept"), "x").unwrap();
    assert!(fs_err::write(format!("{inside}/opt/x/file"), "x").is_err());

    // A folder through a link of the container's is not its to choose.
    std::os::unix::fs::symlink("/etc", format!("{inside}/link")).unwrap();
    let refused = guest.put_config(&[("mp2", "local:0,mp=/link/x")]);
    assert_eq!(refused.status, 400);
    assert_eq!(guest.config()["mp2"], Value::Null);
    assert!(!daemon.root().join("var/lib/vz/images/100/subvol-100-disk-3.subvol").exists());

    guest.stop();
    guest.start();
    guest.wait_for_output("ready");
    let inside = format!("/proc/{}/root", guest.oci()["pid"]);
    assert_eq!(fs_err::read_to_string(format!("{inside}/data/kept")).unwrap(), "x");
    guest.stop();
    guest.destroy();
}

#[test]
fn a_restart_from_the_api_brings_what_waited() {
    let daemon = daemon();
    let guest = running(&daemon);
    let script = crate::sh("trap \"exit 0\" TERM PWR; echo changed; while :; do sleep 0.1; done");
    assert_eq!(guest.put_config(&[("entrypoint", &script)]).status, 200);

    guest.task("reboot", &[("timeout", "20")]).ok();

    guest.wait_for_output("changed");
    assert_eq!(waits(&daemon), json!([]));
    guest.task("shutdown", &[("timeout", "20")]).ok();
    guest.destroy();
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let daemon = daemon();
    let guest = running(&daemon);
    let before = fs_err::read_to_string(daemon.config_path(100)).unwrap();

    let refused = guest.put_config(&[("memory", "80"), ("net0", "name=eth0,bridge=vmbrX")]);

    assert_eq!(refused.line(), "400 Parameter verification failed.");
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(
        body["errors"],
        json!({"net0": "unable to hotplug net0: bridge 'vmbrX' does not exist\n"})
    );
    let refused = guest.put_config(&[("cpuunits", "0")]);
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(
        body["errors"]["cpuunits"],
        "unable to hotplug cpuunits: cpu weight (shares) must be in range [1, 10000]\n"
    );
    assert_eq!(
        guest.put_config(&[("delete", "memory")]).line(),
        "500 unable to delete required option 'memory'"
    );
    assert_eq!(fs_err::read_to_string(daemon.config_path(100)).unwrap(), before);
    guest.stop();
    guest.destroy();
}

/// An unused volume goes at once, also while the container runs; a mount point's does not.
#[test]
fn unused_volumes_go_at_once() {
    let daemon = daemon();
    let guest = daemon.create(
        100,
        BUSYBOX,
        &[SUBVOL, UNPRIVILEGED, ("memory", "64"), ("entrypoint", PATIENT)],
    );
    guest.put_config(&[("mp0", "local:0,mp=/a")]).data();
    guest.put_config(&[("delete", "mp0")]).data();
    let volume = daemon.root().join("var/lib/vz/images/100/subvol-100-disk-1.subvol");
    assert!(volume.exists());
    guest.start();

    guest.put_config(&[("delete", "unused0")]).data();

    assert!(!volume.exists());
    assert_eq!(guest.config()["unused0"], Value::Null);
    guest.stop();
    eventually(5, "it is stopped", || (guest.status() == "stopped").then_some(()));
    guest.destroy();
}

/// Ends when somebody says so, and waits for that.
const UNTIL_TOLD: &str = "echo ready; while [ ! -e /go ]; do sleep 0.1; done; rm -f /go; ";

fn tell(daemon: &Daemon) {
    let rootfs = daemon.guest(100).subvol();
    fs_err::write(rootfs.join("go"), "").unwrap();
}

#[test]
fn the_end_of_a_container_brings_what_waited_whoever_ended_it() {
    let mut daemon = daemon();
    let script = crate::sh(&format!("{UNTIL_TOLD} exit 3"));
    let options = [SUBVOL, UNPRIVILEGED, ("memory", "64"), ("entrypoint", script.as_str())];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    guest.wait_for_output("ready");
    guest.put_config(&[("mp0", "local:0,mp=/before")]).data();
    let volume = "local:100/subvol-100-disk-1.subvol";
    guest.put_config(&[("mp0", format!("{volume},mp=/data").as_str())]).data();
    let pending = json!([{
        "key": "mp0", "value": format!("{volume},mp=/before,size=0T"),
        "pending": format!("{volume},mp=/data"),
    }]);
    assert_eq!(waits(&daemon), pending);
    tell(&daemon);
    assert_eq!(guest.wait()["exit_code"], 3);
    eventually(20, "nothing waits", || (waits(&daemon) == json!([])).then_some(()));
    let current = daemon.get("/nodes/pve1/lxc/100/config?current=1").data();
    assert_eq!(current["mp0"], "local:100/subvol-100-disk-1.subvol,mp=/data,size=0T");

    // Nobody looks when it ends this time.
    guest.start();
    guest.put_config(&[("delete", "mp0")]).data();
    daemon.kill();
    tell(&daemon);
    let record = daemon.root().join("run/proxmox-lxcri/100/exit.json");
    eventually(20, "the exit record", || record.exists().then_some(()));
    daemon.launch();
    eventually(20, "nothing waits", || (waits(&daemon) == json!([])).then_some(()));
    assert_eq!(daemon.guest(100).config()["unused0"], "local:100/subvol-100-disk-1.subvol");
    daemon.guest(100).destroy();
}

/// Told by its own `reboot`, as by PVE's.
#[test]
fn a_reboot_from_inside_brings_what_waited() {
    let daemon = daemon();
    // One program alone may not reboot; an init may.
    let init = format!("#!/bin/sh\n{UNTIL_TOLD}\nbusybox reboot -f\n");
    let content = Content::default().file("sbin/init", 0o755, init);
    rootfs(&daemon.templates(), "init.tar.gz", &content);
    let guest = daemon.create(100, "init.tar.gz", &[SUBVOL, UNPRIVILEGED, ("memory", "64")]);
    guest.start();
    guest.wait_for_output("ready");
    let first = guest.oci()["pid"].clone();
    guest.put_config(&[("timezone", "host"), ("hostname", "renamed")]).data();

    tell(&daemon);

    eventually(30, "another life", || {
        let pid = guest.oci()["pid"].clone();
        (!pid.is_null() && pid != first).then_some(())
    });
    assert_eq!(waits(&daemon), json!([]));
    assert_eq!(guest.config()["timezone"], "host");
    guest.stop();
    guest.destroy();
}
