//! Real containers through the real daemon and its monitors. `make containers` runs this binary
//! inside User Mode Linux, one test at a time; elsewhere each test says what it misses.
#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod alike;
mod apparmor;
mod backup;
mod bundle;
mod changes;
mod clients;
mod console;
mod crash;
mod created;
mod dhcp;
mod faults;
mod hookscript;
mod hugepages;
mod image;
mod inside;
mod keys;
mod leaks;
mod life;
mod limits;
mod network;
mod oci;
mod podman;
mod probes;
mod runtimes;
mod settings;
mod shell;
mod system;
mod tools;
mod volumes;

use tests::{Content, Daemon, rootfs};

/// The template that most tests use.
const BUSYBOX: &str = "busybox.tar.gz";

/// A volume that is a folder, and one that is an ext4 image of 64 MiB.
const SUBVOL: (&str, &str) = ("rootfs", "local:0");
const RAW: (&str, &str) = ("rootfs", "local:0.0625");

const UNPRIVILEGED: (&str, &str) = ("unprivileged", "1");
const PRIVILEGED: (&str, &str) = ("unprivileged", "0");
const SMALL: (&str, &str) = ("memory", "64");

/// Wherever LXC is installed, an init system would get that.
const CRUN: &str = "[[runtime.rule]]\nvmid = \"*\"\nruntime = \"crun\"\n";

/// A daemon with the template, on a machine that can run containers.
fn daemon() -> Daemon {
    tests::require_machine();
    let daemon = Daemon::builder().file("etc/proxmox-lxcri/config.toml", CRUN).start();
    rootfs(&daemon.templates(), BUSYBOX, &Content::default());
    daemon
}

/// An entrypoint that runs `script`, which must not contain a line break (PVE's pattern).
fn sh(script: &str) -> String {
    format!("/bin/sh -c '{}'", script.replace('\'', "'\\''"))
}

/// Runs until it is told to end, and then ends well.
const PATIENT: &str =
    "/bin/sh -c 'trap \"exit 0\" TERM PWR; echo ready; while :; do sleep 0.1; done'";
