//! A bridge, and somebody on it in a network namespace of its own; all gone when the test is.

use std::process::Command;

use tests::Guest;

const BRIDGE: &str = "lxcribr0";
pub(crate) const NAMESPACE: &str = "lxcri-lan";
/// The bridge's port to it: named as a card would be, so that it counts as a cable.
pub(crate) const CABLE: &str = "eth77";

pub(crate) struct Lan;

impl Lan {
    /// 10.77.0.1 and fd77::1, without a tag.
    pub(crate) fn new(vlan_aware: bool) -> Self {
        let lan = Self;
        let filtering = u8::from(vlan_aware);
        shown(&format!("link add {BRIDGE} type bridge vlan_filtering {filtering}"));
        shown(&format!("link set {BRIDGE} up"));
        shown(&format!("netns add {NAMESPACE}"));
        shown(&format!("link add {CABLE} type veth peer name eth0 netns {NAMESPACE}"));
        shown(&format!("link set {CABLE} master {BRIDGE} up"));
        lan.ip("link set lo up");
        lan.ip("link set eth0 up");
        lan.ip("address add 10.77.0.1/24 dev eth0");
        lan.ip("address add fd77::1/64 dev eth0 nodad");
        lan
    }

    /// Run `ip` there.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        shown(&format!("-n {NAMESPACE} {arguments}"))
    }

    pub(crate) fn sh(&self, script: &str) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", NAMESPACE, "sh", "-c", script]);
        assert!(command.status().unwrap().success(), "{script}");
    }

    /// Whether it answers within a few seconds: IPv6 takes one to make sure of an address.
    pub(crate) fn reaches(&self, address: &str) -> bool {
        (0..6).any(|_| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", NAMESPACE, "busybox", "ping", "-c1", "-W1", address]);
            command.output().unwrap().status.success()
        })
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for arguments in [
            format!("link delete {CABLE}"),
            format!("netns delete {NAMESPACE}"),
            format!("link delete {BRIDGE}"),
        ] {
            // What a failed test did not make cannot be removed either.
            Command::new("ip").args(arguments.split(' ')).output().unwrap();
        }
    }
}

/// What `ip` prints.
#[track_caller]
pub(crate) fn shown(arguments: &str) -> String {
    run("ip", arguments)
}

#[track_caller]
pub(crate) fn tc(arguments: &str) -> String {
    run("tc", arguments)
}

/// What `ip` prints in the container's network namespace.
#[track_caller]
pub(crate) fn inside(guest: &Guest<'_>, arguments: &str) -> String {
    run("nsenter", &format!("-t {} -n ip {arguments}", guest.oci()["pid"]))
}

/// The host's links whose names begin like this, sorted.
pub(crate) fn links(stem: &str) -> Vec<String> {
    let entries = fs_err::read_dir("/sys/class/net").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(stem)).collect();
    names.sort();
    names
}

#[track_caller]
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
