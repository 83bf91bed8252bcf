//! A container of a bundle, and the bundle of a container: what was asked for is seen inside, and what
//! is shown is what the monitor wrote.

use serde_json::{Value, json};
use tests::{Content, Daemon, NODE, rootfs};

use crate::{BUSYBOX, PATIENT, SMALL, SUBVOL, UNPRIVILEGED, daemon};

fn shown(daemon: &Daemon, vmid: u32, query: &str) -> Value {
    daemon.get(&format!("/nodes/{NODE}/oci/containers/{vmid}/bundle{query}")).data()
}

/// What libcrun was given.
fn written(daemon: &Daemon, vmid: u32) -> Value {
    let path = daemon.root().join(format!("run/proxmox-lxcri/{vmid}/config.json"));
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

fn from_bundle(daemon: &Daemon, vmid: &str, bundle: &Value, more: &[(&str, &str)]) -> tests::Task {
    let (template, bundle) = (format!("local:vztmpl/{BUSYBOX}"), bundle.to_string());
    let form = [("vmid", vmid), ("ostemplate", &template), ("bundle", &bundle), SUBVOL];
    daemon.task(&daemon.post(&format!("/nodes/{NODE}/oci/containers"), &[&form, more].concat()))
}

#[test]
fn what_a_bundle_asks_for_is_seen_inside() {
    let daemon = daemon();
    // Shown over what is there, as a start can make nothing in a root that is read-only.
    let names = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];
    let content = names.iter().fold(Content::default(), |all, name| all.file(name, 0o644, ""));
    rootfs(&daemon.templates(), BUSYBOX, &content);
    let script = "echo $0 \"$1\" A=$A; hostname; ulimit -n; id -u; pwd; \
        grep CapBnd /proc/self/status; grep -q \"^[^ ]* / [^ ]* ro\" /proc/mounts && echo read-only";
    let bundle = json!({
        "ociVersion": "1.0.2", "hostname": "of-bundle", "root": {"path": "rootfs", "readonly": true},
        "process": {
            "user": {"uid": 7, "gid": 0}, "args": ["/bin/sh", "-c", script, "zero", "it's one"],
            "cwd": "/proc", "env": ["PATH=/bin", "A=of the bundle"], "noNewPrivileges": true,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}],
            "capabilities": {
                "bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"],
            },
        },
        "linux": {
            "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65536}],
            "namespaces": [
                {"type": "user"}, {"type": "mount"}, {"type": "pid"}, {"type": "uts"},
                {"type": "ipc"}, {"type": "network"}, {"type": "cgroup"},
            ],
            "resources": {"memory": {"limit": 64 << 20, "swap": 64 << 20}},
        },
    });

    let log = from_bundle(&daemon, "100", &bundle, &[]).ok();

    assert!(log.contains("bundle: root.path: 'rootfs' is not read"), "{log}");
    let guest = daemon.guest(100);
    let config = guest.config();
    assert_eq!((&config["memory"], &config["swap"]), (&json!(64), &json!(0)));
    assert_eq!(config["cmode"], "console");
    let output = guest.ends_well();
    let lines: Vec<_> = output.lines().map(str::trim).collect();
    let inside = [
        "zero it's one A=of the bundle",
        "of-bundle",
        "77",
        "7",
        "/proc",
        "CapBnd:\t0000000000000001",
        "read-only",
    ];
    assert_eq!(lines, inside);
    guest.destroy();
}

#[test]
fn what_is_shown_is_what_was_started() {
    let daemon = daemon();
    let parameters =
        [SMALL, SUBVOL, UNPRIVILEGED, ("entrypoint", PATIENT), ("env", "A=1"), ("hostname", "one")];
    let guest = daemon.create(100, BUSYBOX, &parameters);
    let before = shown(&daemon, 100, "");

    guest.start();

    assert_eq!(written(&daemon, 100), before);
    assert_eq!(shown(&daemon, 100, ""), before);
    // A change that waits is the next start's.
    guest.put_config(&[("env", "A=2")]).data();
    let after = shown(&daemon, 100, "");
    assert_ne!(after, before);
    guest.stop();
    guest.start();
    assert_eq!(written(&daemon, 100), after);
    guest.stop();

    // And made anew of what is shown, it is the same.
    let log = from_bundle(&daemon, "101", &shown(&daemon, 100, "?limits=1"), &[]).ok();
    assert!(!log.contains("WARN"), "{log}");
    let (mut first, mut second) = (shown(&daemon, 100, ""), shown(&daemon, 101, ""));
    for document in [&mut first, &mut second] {
        document["root"]["path"].take();
        document["linux"]["cgroupsPath"].take();
    }
    assert_eq!(second, first);
    assert_eq!(daemon.guest(101).config()["memory"], 64);
    daemon.guest(100).destroy();
    daemon.guest(101).destroy();
}

/// An init system's terminals have numbers that are only known once they are there.
#[test]
fn of_an_init_system_all_but_the_terminals_is_known() {
    let daemon = daemon();
    let init = "#!/bin/sh\ntrap 'exit 0' PWR TERM\nwhile :; do sleep 0.1; done\n";
    let content = Content::default().file("sbin/init", 0o755, init);
    rootfs(&daemon.templates(), "init.tar.gz", &content);
    let guest = daemon.create(100, "init.tar.gz", &[SMALL, SUBVOL, UNPRIVILEGED]);
    let mut before = shown(&daemon, 100, "");
    guest.start();
    let mut after = written(&daemon, 100);
    for document in [&mut before, &mut after] {
        let mounts = document["mounts"].as_array_mut().unwrap();
        let terminals = mounts.iter_mut().filter(|mount| {
            mount["destination"].as_str().is_some_and(|path| path.starts_with("/dev/tty"))
        });
        let count = terminals.map(|mount| mount["source"].take()).count();
        assert_eq!(count, 2);
    }
    assert_eq!(after, before);
    guest.stop();
    guest.destroy();
}
