//! Volumes of containers that run: snapshots, growth, copies, and what must wait.

use std::time::Instant;

use rstest::rstest;
use tests::{Daemon, Guest, eventually};

use crate::{BUSYBOX, RAW, SUBVOL, UNPRIVILEGED, daemon, sh};

const BASE: &str = "/nodes/pve1/lxc/100";

/// Counts in a file, so that what it wrote can be told from what it writes later.
fn writer(daemon: &Daemon, rootfs: (&str, &str)) {
    let script = sh("trap \"exit 0\" TERM PWR; echo ready; n=0; \
         while :; do n=$((n+1)); echo $n >>/count; sync; sleep 0.05; done");
    let guest = daemon.create(
        100,
        BUSYBOX,
        &[rootfs, UNPRIVILEGED, ("memory", "64"), ("entrypoint", &script)],
    );
    guest.start();
    guest.wait_for_output("ready");
}

fn counted(guest: &Guest<'_>) -> usize {
    let path = format!("/proc/{}/root/count", guest.oci()["pid"]);
    // The first line may be still to come.
    fs_err::read_to_string(path).unwrap_or_default().lines().count()
}

/// How many lines of its earlier lives the container has; it begins each with a one.
fn found(guest: &Guest<'_>) -> usize {
    let path = format!("/proc/{}/root/count", guest.oci()["pid"]);
    eventually(20, "a second life", || {
        let text = fs_err::read_to_string(&path).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.iter().rposition(|line| *line == "1").filter(|at| *at > 0)
    })
}

fn running(guest: &Guest<'_>) -> bool {
    let events = fs_err::read_to_string(guest.cgroup().join("cgroup.events")).unwrap();
    guest.status() == "running" && events.contains("frozen 0")
}

#[rstest]
#[case::folder(SUBVOL)]
#[case::image(RAW)]
fn a_snapshot_of_a_running_container_is_put_back(#[case] rootfs: (&str, &str)) {
    let daemon = daemon();
    writer(&daemon, rootfs);
    let guest = daemon.guest(100);
    eventually(20, "some lines", || (counted(&guest) > 3).then_some(()));

    let least = counted(&guest);
    daemon.task(&daemon.post(&format!("{BASE}/snapshot"), &[("snapname", "s1")])).ok();
    assert!(running(&guest), "it goes on");
    let most = counted(&guest);
    eventually(20, "more lines", || (counted(&guest) > most + 3).then_some(()));

    // PVE stops it for a rollback, and starts it again only if told to.
    let began = Instant::now();
    let rollback = daemon.post(&format!("{BASE}/snapshot/s1/rollback"), &[("start", "1")]);
    daemon.task(&rollback).ok();
    let found = found(&guest);
    assert!((least..=most).contains(&found), "{found} of {least} to {most}");
    // A copy of a mounted image must not be waited for: nobody has it mounted.
    assert!(began.elapsed().as_secs() < 9, "{:?}", began.elapsed());

    daemon.task(&daemon.delete(&format!("{BASE}/snapshot/s1"))).ok();
    guest.stop();
    guest.destroy();
}

#[test]
fn a_running_container_is_cloned_from_its_snapshot_only() {
    let daemon = daemon();
    writer(&daemon, RAW);
    let guest = daemon.guest(100);
    let clone = |more: &[(&str, &str)]| {
        let all = [&[("newid", "200"), ("full", "1")], more].concat();
        daemon.post(&format!("{BASE}/clone"), &all)
    };

    let refused = clone(&[]);
    let refused = match refused.status {
        200 => daemon.task(&refused).failed(),
        _ => refused.line(),
    };
    assert!(refused.contains("Full clone of a running container is only possible from a snapshot"));
    daemon.task(&daemon.post(&format!("{BASE}/snapshot"), &[("snapname", "s1")])).ok();
    daemon.task(&clone(&[("snapname", "s1")])).ok();

    assert!(running(&guest));
    let copy = daemon.guest(200);
    let began = Instant::now();
    copy.start();
    assert!(began.elapsed().as_secs() < 9, "{:?}", began.elapsed());
    found(&copy);
    copy.stop();
    copy.destroy();
    guest.stop();
    guest.destroy();
}

#[test]
fn a_mounted_image_grows() {
    let daemon = daemon();
    writer(&daemon, RAW);
    let guest = daemon.guest(100);
    let blocks = || {
        let stat = rustix::fs::statvfs(format!("/proc/{}/root", guest.oci()["pid"])).unwrap();
        stat.f_blocks * stat.f_frsize
    };
    let before = blocks();

    let resize =
        |size: &str| daemon.put(&format!("{BASE}/resize"), &[("disk", "rootfs"), ("size", size)]);
    daemon.task(&resize("+64M")).ok();

    assert!(blocks() > before + (48 << 20), "{before} to {}", blocks());
    assert!(guest.config()["rootfs"].as_str().unwrap().ends_with(",size=128M"));
    assert!(running(&guest));
    assert_eq!(resize("64M").line(), "500 unable to shrink disk size");
    let most = counted(&guest);
    guest.stop();
    guest.start();
    assert!(found(&guest) >= most, "nothing was lost");
    guest.stop();
    guest.destroy();
}

#[test]
fn what_needs_a_stopped_container_says_so() {
    let daemon = daemon();
    writer(&daemon, SUBVOL);
    let guest = daemon.guest(100);
    let told = |path: &str, parameters: &[(&str, &str)]| {
        let reply = daemon.post(&format!("{BASE}/{path}"), parameters);
        if reply.status == 200 { daemon.task(&reply).failed() } else { reply.line() }
    };

    let moved = told("move_volume", &[("volume", "rootfs"), ("storage", "local")]);
    assert!(moved.contains("cannot move volumes of a running container"), "{moved}");
    let template = told("template", &[]);
    assert!(
        template.contains("you can't convert a CT to template if the CT is running"),
        "{template}"
    );
    let resize = [("disk", "rootfs"), ("size", "+1G")];
    let reply = daemon.put(&format!("{BASE}/resize"), &resize);
    let refused = if reply.status == 200 { daemon.task(&reply).failed() } else { reply.line() };
    assert!(refused.contains("can't resize this image format"), "{refused}");
    assert!(running(&guest));
    guest.stop();
    guest.destroy();
}
