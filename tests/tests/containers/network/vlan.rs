//! Tags, on a bridge that knows them and on one that does not.

use tests::Daemon;

use super::lan::{CABLE, Lan, links, run, shown};
use super::{BUSYBOX, PATIENT, SMALL, SUBVOL, UNPRIVILEGED, daemon};

fn start(daemon: &Daemon, vmid: u32, net: &str) {
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT), ("net0", net)];
    daemon.create(vmid, BUSYBOX, &options).start();
}

fn end(daemon: &Daemon, vmids: &[u32]) {
    for vmid in vmids {
        daemon.guest(*vmid).stop();
        daemon.guest(*vmid).destroy();
    }
    assert_eq!(links("veth1"), Vec::<String>::new());
}

/// Another address for the LAN's peer, in this VLAN.
fn in_vlan(lan: &Lan, tag: u16) {
    lan.ip(&format!("link add link eth0 name eth0.{tag} type vlan id {tag}"));
    lan.ip(&format!("link set eth0.{tag} up"));
    lan.ip(&format!("address add 10.{tag}.0.1/24 dev eth0.{tag}"));
}

#[test]
fn a_bridge_that_knows_vlans_keeps_them_apart() {
    let (daemon, lan) = (daemon(), Lan::new(true));
    run("bridge", &format!("vlan add dev {CABLE} vid 10-30"));
    in_vlan(&lan, 10);
    in_vlan(&lan, 20);
    start(&daemon, 100, "name=eth0,bridge=lxcribr0,tag=10,ip=10.10.0.2/24");
    start(&daemon, 101, "name=eth0,bridge=lxcribr0,tag=20,ip=10.20.0.2/24");
    // In no VLAN, and still one that may use some of them by itself.
    start(&daemon, 102, "name=eth0,bridge=lxcribr0,trunks=10;20;22,ip=10.77.0.4/24");
    start(&daemon, 103, "name=eth0,bridge=lxcribr0,ip=10.77.0.5/24");
    // The address of another VLAN, in the wrong one.
    start(&daemon, 104, "name=eth0,bridge=lxcribr0,tag=20,ip=10.10.0.9/24");

    for (address, reached) in [
        ("10.10.0.2", true),
        ("10.20.0.2", true),
        ("10.77.0.4", true),
        ("10.77.0.5", true),
        ("10.10.0.9", false),
    ] {
        assert_eq!(lan.reaches(address), reached, "{address}");
    }
    let vlans = |link: &str| {
        let text = run("bridge", &format!("-compressvlans vlan show dev {link}"));
        let text = text.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
        text.replace(&format!("{link} "), "")
    };
    assert_eq!(vlans("veth100i0"), "10 PVID Egress Untagged");
    assert_eq!(vlans("veth102i0"), "1 PVID Egress Untagged 10 20 22");
    assert_eq!(vlans("veth103i0"), "1 PVID Egress Untagged 2-4094");
    end(&daemon, &[100, 101, 102, 103, 104]);
}

#[test]
fn a_bridge_that_does_not_gets_another_beside_it() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    in_vlan(&lan, 10);
    start(&daemon, 100, "name=eth0,bridge=lxcribr0,tag=10,ip=10.10.0.2/24");
    // It is there now, and taken as it is.
    start(&daemon, 101, "name=eth0,bridge=lxcribr0,tag=10,ip=10.10.0.3/24");
    assert!(lan.reaches("10.10.0.2") && lan.reaches("10.10.0.3"));
    for link in ["veth100i0", "veth101i0", &format!("{CABLE}.10")] {
        let text = shown(&format!("link show {link}"));
        assert!(text.contains("master lxcribr0v10"), "{text}");
    }
    end(&daemon, &[100, 101]);
    shown("link delete lxcribr0v10");
}

#[test]
fn trunks_on_a_bridge_that_does_not_are_named() {
    let (daemon, _lan) = (daemon(), Lan::new(false));
    let net = "name=eth0,bridge=lxcribr0,trunks=5";
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT), ("net0", net)];
    let guest = daemon.create(100, BUSYBOX, &options);
    let task = guest.task("start", &[]);
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    let warning = "net0: trunks do nothing: bridge 'lxcribr0' is not VLAN aware";
    assert!(task.log.contains(warning), "{}", task.log);
    end(&daemon, &[100]);
}
