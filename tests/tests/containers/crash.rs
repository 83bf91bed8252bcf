//! The daemon dies; its containers do not.

use tests::eventually;

use crate::{BUSYBOX, PATIENT, RAW, SMALL, SUBVOL, UNPRIVILEGED, daemon, sh};

#[test]
fn three_containers_outlive_a_killed_daemon_and_obey_the_next() {
    let mut daemon = daemon();
    let counting =
        sh("trap \"exit 5\" TERM PWR; n=0; while :; do n=$((n+1)); echo count $n; sleep 0.1; done");
    for (vmid, volume) in [(100, SUBVOL), (101, RAW), (102, SUBVOL)] {
        let options = [volume, SMALL, UNPRIVILEGED, ("entrypoint", counting.as_str())];
        daemon.create(vmid, BUSYBOX, &options).start();
    }
    let pids: Vec<_> = [100, 101, 102].map(|vmid| daemon.guest(vmid).oci()["pid"].clone()).into();
    daemon.kill();

    for pid in &pids {
        assert!(
            std::path::Path::new(&format!("/proc/{pid}")).exists(),
            "{pid} died with the daemon"
        );
    }
    daemon.launch();
    let rows = daemon.get("/nodes/pve1/lxc").data();
    let running = rows.as_array().unwrap().iter().filter(|row| row["status"] == "running").count();
    assert_eq!(running, 3, "{rows}");
    for (vmid, pid) in [100, 101, 102].into_iter().zip(&pids) {
        assert_eq!(&daemon.guest(vmid).oci()["pid"], pid);
    }
    // It still reads what they write, and each verb works on one that it did not start.
    let before = daemon.guest(100).output();
    eventually(10, "more output", || (daemon.guest(100).output() != before).then_some(()));
    daemon.guest(100).stop();
    daemon.guest(101).task("shutdown", &[("timeout", "20")]).ok();
    assert_eq!(daemon.guest(101).wait()["exit_code"], 5);
    daemon.guest(102).task("suspend", &[]).ok();
    daemon.guest(102).stop();
    for vmid in [100, 101, 102] {
        daemon.guest(vmid).destroy();
    }
}

#[test]
fn one_that_ended_while_no_daemon_ran_still_has_its_exit_code() {
    let mut daemon = daemon();
    let script = sh("echo ready; sleep 1; exit 9");
    let guest = daemon.create(100, BUSYBOX, &[RAW, SMALL, UNPRIVILEGED, ("entrypoint", &script)]);
    guest.start();
    daemon.kill();
    let record = daemon.root().join("run/proxmox-lxcri/100/exit.json");
    eventually(20, "the exit record", || record.exists().then_some(()));
    daemon.launch();
    let guest = daemon.guest(100);
    assert_eq!(guest.wait()["exit_code"], 9);
    guest.destroy();
}

#[test]
fn a_daemon_that_is_told_to_end_leaves_them_running() {
    let mut daemon = daemon();
    daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)]).start();
    assert!(daemon.terminate().success());
    daemon.launch();
    assert_eq!(daemon.guest(100).status(), "running");
    daemon.guest(100).stop();
    daemon.guest(100).destroy();
}
