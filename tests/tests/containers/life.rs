//! From create to destroy: what each verb does, and when it is refused.

use std::time::Instant;

use rstest::rstest;
use tests::{Content, eventually, rootfs};

use crate::{BUSYBOX, PATIENT, PRIVILEGED, RAW, SMALL, SUBVOL, UNPRIVILEGED, daemon, sh};

#[rstest]
#[case::gz_folder("t.tar.gz", SUBVOL, UNPRIVILEGED)]
#[case::xz_image("t.tar.xz", RAW, UNPRIVILEGED)]
#[case::zst_folder_privileged("t.tar.zst", SUBVOL, PRIVILEGED)]
#[case::zst_image_privileged("t.tar.zst", RAW, PRIVILEGED)]
fn an_exit_code_comes_back(
    #[case] template: &str,
    #[case] volume: (&str, &str),
    #[case] privilege: (&str, &str),
) {
    let daemon = daemon();
    rootfs(&daemon.templates(), template, &Content::default().file("etc/motd", 0o600, "packed"));
    let script = sh("echo \"it is $(cat /etc/motd)\"; echo to stderr >&2; exit 7");
    let guest = daemon.create(100, template, &[volume, privilege, SMALL, ("entrypoint", &script)]);

    assert_eq!(guest.status(), "stopped");
    guest.start();
    let exit = guest.wait();
    assert_eq!(exit["exit_code"], 7, "{exit}");
    assert!(exit["signal"].is_null(), "{exit}");
    assert!(exit["endtime"].as_u64() >= exit["starttime"].as_u64(), "{exit}");
    let output = guest.output();
    assert!(output.contains("it is packed") && output.contains("to stderr"), "{output}");
    guest.destroy();
    let volumes = daemon.get("/nodes/pve1/storage/local/content?content=rootdir").data();
    assert_eq!(volumes, serde_json::json!([]));
}

#[test]
fn stop_ends_what_ignores_every_signal() {
    let daemon = daemon();
    let script = sh("trap \"\" TERM PWR INT HUP; echo ready; while :; do sleep 0.1; done");
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", &script)]);
    guest.start();
    guest.wait_for_output("ready");
    let current = guest.current();
    assert_eq!(current["status"], "running");
    assert!(
        current["pid"].as_u64().unwrap() > 1 && current["mem"].as_u64().unwrap() > 0,
        "{current}"
    );

    guest.stop();
    assert_eq!(guest.status(), "stopped");
    assert_eq!(guest.wait()["signal"], 9);
    assert_eq!(guest.post("stop", &[]).line(), "500 CT 100 not running");
    guest.destroy();
}

#[test]
fn shutdown_asks_and_the_container_answers() {
    let daemon = daemon();
    let script =
        sh("trap \"echo told to end; exit 3\" TERM PWR; echo ready; while :; do sleep 0.1; done");
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", &script)]);
    guest.start();
    guest.wait_for_output("ready");
    guest.task("shutdown", &[("timeout", "20")]).ok();
    assert_eq!(guest.wait()["exit_code"], 3);
    assert!(guest.output().contains("told to end"));
    guest.destroy();
}

#[test]
fn shutdown_gives_up_after_its_timeout_or_kills_when_told_to() {
    let daemon = daemon();
    let script = sh("trap \"\" TERM PWR INT; echo ready; while :; do sleep 0.1; done");
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", &script)]);
    guest.start();
    guest.wait_for_output("ready");
    let begun = Instant::now();
    guest.task("shutdown", &[("timeout", "1")]).failed();
    assert!(begun.elapsed().as_secs() < 15);
    assert_eq!(guest.status(), "running");
    guest.task("shutdown", &[("timeout", "1"), ("forceStop", "1")]).ok();
    assert_eq!(guest.status(), "stopped");
    guest.destroy();
}

#[test]
fn reboot_ends_one_and_starts_another() {
    let daemon = daemon();
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)]);
    assert_eq!(guest.post("reboot", &[]).line(), "500 VM 100 not running");
    guest.start();
    guest.wait_for_output("ready");
    let before = guest.oci()["pid"].clone();
    guest.task("reboot", &[("timeout", "20")]).ok();
    assert_eq!(guest.status(), "running");
    assert_ne!(guest.oci()["pid"], before);
    guest.stop();
    guest.destroy();
}

#[test]
fn suspend_freezes_and_resume_goes_on() {
    let daemon = daemon();
    let script = sh("n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.05; done");
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", &script)]);
    guest.start();
    guest.wait_for_output("tick 2");
    guest.task("suspend", &[]).ok();

    let before = guest.output();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(guest.output(), before, "it runs on");
    guest.task("resume", &[]).ok();
    eventually(10, "output after resume", || (guest.output() != before).then_some(()));
    // A frozen one can be stopped as well.
    guest.task("suspend", &[]).ok();
    guest.stop();
    assert_eq!(guest.status(), "stopped");
    guest.destroy();
}

#[test]
fn a_running_one_is_neither_started_nor_destroyed() {
    let daemon = daemon();
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)]);
    guest.start();
    guest.wait_for_output("ready");
    assert_eq!(guest.post("start", &[]).line(), "500 CT 100 already running");
    assert_eq!(guest.delete().line(), "500 unable to destroy CT 100 - container is running");
    let taken = daemon.post_create(100, BUSYBOX, &[SUBVOL]);
    assert_eq!(taken.line(), "500 CT 100 already exists on node 'pve1'");

    let rows = daemon.get("/nodes/pve1/lxc").data();
    assert_eq!((&rows[0]["vmid"], &rows[0]["status"]), (&100.into(), &"running".into()), "{rows}");
    let resources = daemon.get("/cluster/resources?type=vm").data();
    assert_eq!(
        (&resources[0]["id"], &resources[0]["status"]),
        (&"lxc/100".into(), &"running".into())
    );
    assert_eq!(daemon.get("/cluster/nextid").data(), "101");
    guest.stop();
    guest.destroy();
    let missing = "Configuration file 'nodes/pve1/lxc/100.conf' does not exist";
    assert_eq!(guest.task("start", &[]).failed(), missing);
}

#[test]
fn what_it_wrote_is_still_there_at_the_next_start() {
    let daemon = daemon();
    let script = sh("echo run >>/root/runs; echo runs: $(wc -l </root/runs); ls -ln /root/runs");
    for (vmid, volume) in [(100, SUBVOL), (101, RAW)] {
        let guest =
            daemon.create(vmid, BUSYBOX, &[volume, SMALL, UNPRIVILEGED, ("entrypoint", &script)]);
        guest.start();
        guest.wait();
        guest.start();
        guest.wait_for_output("runs: 2");
        guest.wait();
        guest.destroy();
    }
}

#[test]
fn three_run_at_once() {
    let daemon = daemon();
    for vmid in [100, 101, 102] {
        let name = format!("box{vmid}");
        let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT), ("hostname", &name)];
        daemon.create(vmid, BUSYBOX, &options).start();
    }
    let rows = daemon.get("/nodes/pve1/lxc").data();
    let mut running: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["status"] == "running")
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect();
    running.sort();
    assert_eq!(running, ["box100", "box101", "box102"]);
    for vmid in [100, 101, 102] {
        daemon.guest(vmid).stop();
        daemon.guest(vmid).destroy();
    }
}
