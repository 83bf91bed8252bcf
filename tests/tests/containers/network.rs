//! `netN`, over a bridge with somebody else on it, as a container and as its host see it.

mod hotplug;
pub(crate) mod lan;
mod vlan;

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::{Content, Daemon, Guest, eventually, processes_of, rootfs};

use crate::{BUSYBOX, PATIENT, SMALL, SUBVOL, UNPRIVILEGED, daemon, sh};
use lan::{Lan, inside, links, shown};

const ADDRESS: &str = "10.77.0.2";
const ADDRESS6: &str = "fd77::2";
const HWADDR: &str = "BC:24:11:00:77:02";
/// On the bridge of [`Lan`], with both addresses and their gateways.
const NET: &str = "name=eth0,bridge=lxcribr0,hwaddr=BC:24:11:00:77:02,ip=10.77.0.2/24,gw=10.77.0.1,ip6=fd77::2/64,gw6=fd77::1";

fn application<'d>(daemon: &'d Daemon, nets: &[(&str, &str)]) -> Guest<'d> {
    let own = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)];
    daemon.create(100, BUSYBOX, &[&own, nets].concat())
}

fn running<'d>(daemon: &'d Daemon, nets: &[(&str, &str)]) -> Guest<'d> {
    let guest = application(daemon, nets);
    guest.start();
    guest.wait_for_output("ready");
    guest
}

/// Nothing of it is left on the host; at once, not when the kernel finds the time.
fn end(guest: &Guest<'_>) {
    guest.stop();
    assert_eq!(links("veth100i"), Vec::<String>::new());
    guest.destroy();
}

#[test]
fn an_application_is_on_the_network_when_it_begins() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let script = sh("busybox ip address; busybox ip route; busybox ip -6 route; \
         busybox ping -c1 -W5 10.77.0.1; busybox ping -c1 -W5 127.0.0.1; echo all; \
         exec sleep 1000");
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", &script), ("net0", NET)];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    let output = guest.wait_for_output("all");
    for words in [
        "lo: <LOOPBACK,UP,LOWER_UP>",
        "eth0@",
        "link/ether bc:24:11:00:77:02",
        "inet 10.77.0.2/24 brd 10.77.0.255",
        "inet6 fd77::2/64",
        "default via 10.77.0.1 dev eth0",
        "default via fd77::1 dev eth0",
        "1 packets received",
    ] {
        assert!(output.contains(words), "no {words:?} in:\n{output}");
    }
    assert_eq!(output.matches("1 packets received").count(), 2, "{output}");
    assert!(lan.reaches(ADDRESS) && lan.reaches(ADDRESS6));

    let outer = shown("-d link show veth100i0");
    for words in ["master lxcribr0", "fe:24:11:00:77:02", "UP"] {
        assert!(outer.contains(words), "no {words:?} in:\n{outer}");
    }
    assert!(!shown("-6 address show veth100i0").contains("inet6"), "the host can be reached by it");

    let interfaces = daemon.get("/nodes/pve1/lxc/100/interfaces").data();
    let eth0 = interfaces.as_array().unwrap().iter().find(|row| row["name"] == "eth0").unwrap();
    assert_eq!(eth0["hwaddr"], HWADDR.to_lowercase());
    assert_eq!(eth0["inet"], "10.77.0.2/24");
    assert!(eth0["ip-addresses"].to_string().contains(ADDRESS6), "{eth0}");
    let traffic = |name: &str| guest.current()[name].as_u64().unwrap();
    assert!(traffic("netin") > 100 && traffic("netout") > 100, "{}", guest.current());
    end(&guest);
}

/// An init system configures its interfaces by itself, unless the host is asked to.
#[rstest]
#[case::its_own_affair("", false)]
#[case::the_hosts(",host-managed=1", true)]
fn an_init_system(#[case] part: &str, #[case] configured: bool) {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let init = "#!/bin/sh\necho ready\nexec sleep 1000\n";
    rootfs(&daemon.templates(), "init.tar.gz", &Content::default().file("sbin/init", 0o755, init));
    let net = format!("{NET}{part}");
    let guest =
        daemon.create(100, "init.tar.gz", &[SUBVOL, SMALL, UNPRIVILEGED, ("net0", net.as_str())]);
    guest.start();
    guest.wait_for_output("ready");
    let seen = inside(&guest, "address show eth0");
    assert!(seen.contains("bc:24:11:00:77:02"), "{seen}");
    assert_eq!(seen.contains(ADDRESS), configured, "{seen}");
    assert_eq!(lan.reaches(ADDRESS), configured);
    end(&guest);
}

#[test]
fn several_interfaces_each_with_its_own() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let nets = [
        ("net0", NET),
        ("net1", "name=lan,bridge=lxcribr0,mtu=1400,ip=10.77.0.3/24"),
        ("net7", "name=alone,ip=192.0.2.1/32"),
        ("net10", "name=cut,bridge=lxcribr0,link_down=1,ip=10.77.0.4/24"),
    ];
    let guest = running(&daemon, &nets);
    assert_eq!(links("veth100i"), ["veth100i0", "veth100i1", "veth100i10", "veth100i7"]);
    assert!(inside(&guest, "link show eth0").contains("mtu 1500"));
    assert!(inside(&guest, "link show lan").contains("mtu 1400"));
    // A bridge follows the smallest of its ports.
    assert!(shown("link show lxcribr0").contains("mtu 1500"));
    assert!(inside(&guest, "address show alone").contains("192.0.2.1/32"));
    assert!(inside(&guest, "address show cut").contains("10.77.0.4/24"));
    // The kernel tells of a carrier once a second at most.
    eventually(10, "a cut link without a carrier", || {
        inside(&guest, "link show cut").contains("NO-CARRIER").then_some(())
    });
    assert!(lan.reaches(ADDRESS) && lan.reaches("10.77.0.3"));
    assert!(!shown("link show veth100i10").contains("master"));
    end(&guest);
}

#[test]
fn a_gateway_beyond_the_interfaces_own_network() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    lan.ip("address add 198.51.100.1/32 dev eth0");
    lan.ip("route add 10.99.0.2/32 dev eth0");
    let net =
        "name=eth0,bridge=lxcribr0,ip=10.99.0.2/32,gw=198.51.100.1,ip6=fd99::2/128,gw6=fd77::1";
    let guest = running(&daemon, &[("net0", net)]);
    let routes = inside(&guest, "route");
    assert!(routes.contains("default via 198.51.100.1 dev eth0"), "{routes}");
    assert!(inside(&guest, "-6 route").contains("default via fd77::1 dev eth0"));
    assert!(lan.reaches("10.99.0.2"));
    end(&guest);
}

#[test]
fn a_rate_is_a_limit_each_way() {
    let (daemon, _lan) = (daemon(), Lan::new(false));
    let net = format!("{NET},rate=2");
    let guest = running(&daemon, &[("net0", &net)]);
    let class = lan::tc("class show dev veth100i0");
    // tc counts bits: 2 MiB a second.
    assert!(class.contains("class htb 1:1 root") && class.contains("rate 16777Kbit"), "{class}");
    assert!(class.contains("burst 1Mb"), "{class}");
    let filter = lan::tc("filter show dev veth100i0 parent ffff:");
    for words in ["pref 50 u32", "police", "rate 16777Kbit", "burst 1Mb", "mtu 64Kb", "action drop"]
    {
        assert!(filter.contains(words), "no {words:?} in:\n{filter}");
    }
    end(&guest);
}

#[test]
fn a_rate_takes_its_time() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let net = format!("{NET},rate=1");
    // It would hang up as soon as its own input ends.
    let script = sh(
        "busybox mkfifo /tmp/f; busybox nc -l -p 7 </tmp/f >/tmp/got & exec 3>/tmp/f; wait $!; \
         echo got $(wc -c </tmp/got); exec sleep 1000",
    );
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", &script), ("net0", net.as_str())];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    assert!(lan.reaches(ADDRESS));
    let begun = std::time::Instant::now();
    lan.sh("head -c 4194304 /dev/zero | busybox nc 10.77.0.2 7");
    guest.wait_for_output("got 4194304");
    assert!(begun.elapsed().as_secs_f64() > 2.0, "4 MiB in {:?}", begun.elapsed());
    end(&guest);
}

#[rstest]
#[case::mtu("bridge=lxcribr0,mtu=2000", "net0: MTU size '2000' is bigger than bridge MTU '1500'")]
#[case::bridge("bridge=lxcribr9", "bridge 'lxcribr9' does not exist")]
#[case::taken("bridge=lxcribr0", "cannot make the interface 'eth0' ('veth100i1'): File exists")]
fn what_cannot_be_had_ends_the_start_and_leaves_nothing(#[case] net: &str, #[case] error: &str) {
    let (daemon, _lan) = (daemon(), Lan::new(false));
    let guest = application(&daemon, &[]);
    // As PUT would refuse some of these.
    guest.add_lines(&format!("net0: name=eth0,{net},type=veth\nnet1: name=eth0,type=veth\n"));
    let failed = guest.task("start", &[]).failed();
    assert!(failed.contains(error), "{failed}");
    assert_eq!(links("veth100i"), Vec::<String>::new());
    assert_eq!(guest.status(), "stopped");
    guest.destroy();
}

/// The name is the other root's, and so is the link.
#[test]
fn a_link_of_the_same_name_that_is_not_ours_stays() {
    let (daemon, _lan) = (daemon(), Lan::new(false));
    let guest = application(&daemon, &[("net0", NET)]);
    shown("link add veth100i0 type dummy");
    let failed = guest.task("start", &[]).failed();
    assert!(failed.contains("cannot make the interface 'eth0' ('veth100i0')"), "{failed}");
    assert_eq!(links("veth100i"), ["veth100i0"]);
    shown("link delete veth100i0");
    guest.destroy();
}

#[test]
fn a_killed_monitors_interfaces_go_with_the_next_start() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let guest = running(&daemon, &[("net0", NET)]);
    let found = processes_of(daemon.root());
    let monitor = found.iter().find(|(_, line)| line.contains("lxcri-monitor run")).unwrap().0;
    kill_process(Pid::from_raw(monitor).unwrap(), Signal::KILL).unwrap();
    eventually(10, "it is shown as stopped", || (guest.status() == "stopped").then_some(()));
    eventually(10, "its interface is gone", || links("veth100i").is_empty().then_some(()));
    guest.start();
    assert!(lan.reaches(ADDRESS));
    end(&guest);
}

#[test]
fn a_reboot_from_inside_has_its_interfaces_again() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let init = "#!/bin/sh\necho life; while [ ! -e /go ]; do sleep 0.1; done; rm -f /go\n\
                busybox reboot -f\n";
    rootfs(&daemon.templates(), "init.tar.gz", &Content::default().file("sbin/init", 0o755, init));
    let net = format!("{NET},host-managed=1");
    let guest =
        daemon.create(100, "init.tar.gz", &[SUBVOL, SMALL, UNPRIVILEGED, ("net0", net.as_str())]);
    guest.start();
    assert!(lan.reaches(ADDRESS));
    let index = || fs_err::read_to_string("/sys/class/net/veth100i0/ifindex").ok();
    let first = index();
    let root = guest.subvol();
    fs_err::write(root.join("go"), "").unwrap();
    eventually(20, "another interface", || index().filter(|now| Some(now) != first.as_ref()));
    eventually(20, "it answers again", || lan.reaches(ADDRESS).then_some(()));
    end(&guest);
}

#[test]
fn an_application_is_told_names() {
    let (daemon, _lan) = (daemon(), Lan::new(false));
    let script = sh("for f in hostname hosts resolv.conf; do echo [$f]; cat /etc/$f; done; \
         echo 127.0.0.9 mine >>/etc/hosts; grep -c mine /etc/hosts; echo all; exec sleep 1000");
    let content = Content::default().file("etc/hostname", 0o644, "image\n").file(
        "etc/hosts",
        0o644,
        "192.0.2.9 image\n",
    );
    rootfs(&daemon.templates(), "named.tar.gz", &content);
    let guest = daemon.create(
        100,
        "named.tar.gz",
        &[
            SUBVOL,
            SMALL,
            UNPRIVILEGED,
            ("entrypoint", &script),
            ("net0", NET),
            ("hostname", "web"),
            ("nameserver", "10.77.0.1 fd77::1"),
            ("searchdomain", "example.com"),
        ],
    );
    let etc = daemon.root().join("var/lib/vz/images/100/subvol-100-disk-0.subvol/etc");
    std::os::unix::fs::symlink("../run/nowhere", etc.join("resolv.conf")).unwrap();
    let log = guest.start();
    assert!(!log.contains("WARN"), "{log}");
    let output = guest.wait_for_output("all");
    for text in [
        "[hostname]\nweb\n",
        "10.77.0.2 web.example.com web\n",
        "[resolv.conf]\nsearch example.com\nnameserver 10.77.0.1\nnameserver fd77::1\n1\n",
        "127.0.0.1 localhost.localnet localhost\n",
    ] {
        assert!(output.contains(text), "no {text:?} in:\n{output}");
    }
    assert!(!output.contains("image"), "{output}");
    guest.stop();
    // The image is as it was.
    assert_eq!(fs_err::read_to_string(etc.join("hosts")).unwrap(), "192.0.2.9 image\n");
    assert_eq!(
        fs_err::read_link(etc.join("resolv.conf")).unwrap().to_str(),
        Some("../run/nowhere")
    );
    guest.destroy();
}

#[test]
fn a_bridge_of_pves_firewall_stands_between() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let firewall = daemon.root().join("usr/sbin/pve-firewall");
    fs_err::create_dir_all(firewall.parent().unwrap()).unwrap();
    fs_err::write(firewall, "").unwrap();
    let net = format!("{NET},firewall=1");
    let guest = running(&daemon, &[("net0", &net)]);
    assert!(lan.reaches(ADDRESS));
    let master = |link: &str, bridge: &str| {
        let text = shown(&format!("link show {link}"));
        assert!(text.contains(&format!("master {bridge}")), "{text}");
    };
    master("veth100i0", "fwbr100i0");
    master("fwln100i0", "fwbr100i0");
    master("fwpr100p0", "lxcribr0");
    let found = processes_of(daemon.root());
    let monitor = found.iter().find(|(_, line)| line.contains("lxcri-monitor run")).unwrap().0;
    kill_process(Pid::from_raw(monitor).unwrap(), Signal::KILL).unwrap();
    eventually(10, "the chain is gone", || links("fw").is_empty().then_some(()));
    guest.start();
    guest.stop();
    assert_eq!(links("fw"), Vec::<String>::new());
    assert_eq!(guest.current()["netin"], Value::from(0));
    guest.destroy();
}
