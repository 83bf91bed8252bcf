//! `features: nesting=1,keyctl=1`: Debian's podman, of this machine's own files, runs a container inside
//! an unprivileged one.

use tests::{Content, rootfs};

use super::has_lines;
use crate::{SUBVOL, UNPRIVILEGED, daemon};

const OUTER: &str = "outer.tar.gz";

/// Below /opt/inner lies the root of the container inside.
const INIT: &str = r#"#!/bin/sh
mount -t tmpfs tmpfs /var/tmp
mkdir -p /run/lock /var/tmp/inner
cp -a /bin/busybox /var/tmp/inner/busybox
for folder in bin dev etc proc sys tmp run; do mkdir -p /var/tmp/inner/$folder; done
cp /bin/busybox /var/tmp/inner/bin/busybox
podman --root /var/tmp/s --runroot /var/tmp/r --tmpdir /var/tmp/t --storage-driver=vfs \
    --cgroup-manager=cgroupfs --events-backend=none run --rm --network=none \
    --memory 32m --hostname within --rootfs /var/tmp/inner \
    /bin/busybox sh -c 'echo inner pid $$ of $(busybox hostname); busybox cat /sys/fs/cgroup/memory.max;
        busybox echo limited by $(busybox grep -c " / " /proc/mounts) root; exit 7'
echo podman ended with $?
echo all done
"#;

#[test]
fn podman_runs_a_container_inside() {
    let daemon = daemon();
    let content = Content::default()
        .file("sbin/init", 0o755, INIT)
        .file("var/tmp/empty", 0o644, "")
        .file("var/lib/empty", 0o644, "")
        .file("usr/empty", 0o644, "");
    rootfs(&daemon.templates(), OUTER, &content);
    let guest = daemon.create(100, OUTER, &[SUBVOL, UNPRIVILEGED, ("memory", "256")]);
    // Programs and libraries are the machine's; what they are called by is found through links.
    let root = guest.subvol();
    for name in ["lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    guest.add_lines("features: nesting=1,keyctl=1\nmp0: /usr,mp=/usr,ro=1\n");
    guest.task("start", &[]);

    let output = guest.wait_for_output("all done");

    has_lines(&output, &["inner pid 1 of within", "33554432", "podman ended with 7"]);
    guest.wait();
    guest.destroy();
}
