//! Interfaces of a container that runs come, change and go.

use serde_json::Value;
use tests::{Guest, eventually};

use super::lan::{self, CABLE, Lan, inside, links, run, shown};
use super::{ADDRESS, ADDRESS6, NET, daemon, end, running};

#[track_caller]
fn put(guest: &Guest<'_>, parameters: &[(&str, &str)]) {
    let reply = guest.put_config(parameters);
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
}

#[track_caller]
fn refused(guest: &Guest<'_>, net: &str) -> String {
    let reply = guest.put_config(&[("net0", net)]);
    assert_eq!(reply.status, 400);
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    body["errors"]["net0"].as_str().unwrap().trim_end().to_owned()
}

/// With other parts, in the place of those of [`NET`].
fn net(parts: &[&str]) -> String {
    let stem = |part: &str| part.split('=').next().unwrap_or_default().to_owned();
    let stems: Vec<_> = parts.iter().map(|part| stem(part)).collect();
    let kept = NET.split(',').filter(|part| !stems.contains(&stem(part)));
    let added = parts.iter().copied().filter(|part| !part.ends_with('='));
    kept.chain(added).collect::<Vec<_>>().join(",")
}

#[test]
fn an_interface_comes_and_goes() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let guest = running(&daemon, &[]);
    assert!(!lan.reaches(ADDRESS));

    put(&guest, &[("net0", NET), ("net1", "name=eth1,bridge=lxcribr0,ip=10.77.0.3/24")]);
    assert!(lan.reaches(ADDRESS) && lan.reaches(ADDRESS6) && lan.reaches("10.77.0.3"));
    assert_eq!(links("veth100i"), ["veth100i0", "veth100i1"]);
    assert!(inside(&guest, "route").contains("default via 10.77.0.1 dev eth0"));
    let stored = guest.config()["net1"].as_str().unwrap().to_owned();
    assert!(stored.contains("hwaddr=BC:24:11:"), "{stored}");

    put(&guest, &[("delete", "net0")]);
    assert_eq!(links("veth100i"), ["veth100i1"]);
    assert!(!inside(&guest, "link").contains("eth0"));
    assert_eq!(guest.config()["net0"], Value::Null);
    assert_eq!(
        daemon.get("/nodes/pve1/lxc/100/pending").data().to_string().matches("pending").count(),
        0
    );
    end(&guest);
}

#[test]
fn an_address_changes_and_the_interface_stays() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let guest = running(&daemon, &[("net0", NET)]);
    let index = inside(&guest, "link show eth0").split(':').next().unwrap().to_owned();

    put(&guest, &[("net0", &net(&["ip=10.77.0.9/24", "ip6=fd77::9/64", "gw=192.0.2.1", "gw6="]))]);
    let seen = inside(&guest, "address show eth0");
    assert!(seen.contains("10.77.0.9/24") && seen.contains("fd77::9/64"), "{seen}");
    assert!(!seen.contains("10.77.0.2/") && !seen.contains("fd77::2/"), "{seen}");
    assert!(inside(&guest, "route").contains("default via 192.0.2.1 dev eth0"));
    assert!(!inside(&guest, "-6 route").contains("default via fd77::1"));
    assert!(lan.reaches("10.77.0.9"));
    let hosts = || run("nsenter", &format!("-t {} -m cat /etc/hosts", guest.oci()["pid"]));
    assert!(hosts().contains("10.77.0.9 CT100\n"), "{}", hosts());

    put(&guest, &[("net0", &net(&["ip=", "gw=", "ip6=", "gw6=", "mtu=1400"]))]);
    let seen = inside(&guest, "address show eth0");
    assert!(!seen.contains("inet 10.") && seen.contains("mtu 1400"), "{seen}");
    assert_eq!(inside(&guest, "route"), "");
    assert!(seen.starts_with(&format!("{index}:")), "it is another interface: {seen}");
    end(&guest);
}

#[test]
fn a_plug_is_pulled_and_put_in() {
    let (daemon, lan) = (daemon(), Lan::new(true));
    let guest = running(&daemon, &[("net0", NET)]);
    assert!(lan.reaches(ADDRESS));

    put(&guest, &[("net0", &net(&["link_down=1"]))]);
    assert!(inside(&guest, "link show eth0").contains("NO-CARRIER"));
    assert!(!shown("link show veth100i0").contains("master"));

    put(&guest, &[("net0", NET)]);
    assert!(lan.reaches(ADDRESS));

    run("bridge", &format!("vlan add dev {CABLE} vid 30"));
    put(&guest, &[("net0", &net(&["tag=30", "rate=2"]))]);
    let vlans = run("bridge", "vlan show dev veth100i0");
    assert!(vlans.contains("30 PVID Egress Untagged") && !vlans.contains(" 1 "), "{vlans}");
    assert!(!lan.reaches(ADDRESS), "it is in another VLAN");
    assert!(lan::tc("class show dev veth100i0").contains("rate 16777Kbit"));

    put(&guest, &[("net0", &net(&["tag=30", "rate=1"]))]);
    assert!(lan::tc("class show dev veth100i0").contains("rate 8388Kbit"));

    put(&guest, &[("net0", NET)]);
    assert!(lan.reaches(ADDRESS));
    assert!(!lan::tc("qdisc show dev veth100i0").contains("htb"));
    end(&guest);
}

#[test]
fn another_name_or_hardware_address_is_another_interface() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let guest = running(&daemon, &[("net0", NET)]);

    put(&guest, &[("net0", &net(&["name=wan0", "hwaddr=BC:24:11:00:77:99"]))]);
    let seen = inside(&guest, "address");
    for words in ["wan0@", "bc:24:11:00:77:99", "10.77.0.2/24"] {
        assert!(seen.contains(words), "no {words:?} in:\n{seen}");
    }
    assert!(!seen.contains("eth0@"), "{seen}");
    assert!(lan.reaches(ADDRESS));
    end(&guest);
}

#[test]
fn what_fails_changes_nothing() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let guest = running(&daemon, &[("net0", NET)]);
    let before = fs_err::read_to_string(daemon.config_path(100)).unwrap();
    let address = inside(&guest, "address show eth0");

    for (parts, error) in [
        (&["bridge=lxcribr9"][..], "unable to hotplug net0: bridge 'lxcribr9' does not exist"),
        (&["name=lo"], "unable to hotplug net0: cannot make the interface 'lo' ('veth100i0'): "),
    ] {
        let said = refused(&guest, &net(parts));
        assert!(said.starts_with(error), "{said}");
    }

    assert_eq!(fs_err::read_to_string(daemon.config_path(100)).unwrap(), before);
    let again = inside(&guest, "address show eth0");
    let plain = |text: &str| text.lines().nth(2).map(str::to_owned);
    assert_eq!(plain(&again), plain(&address), "{again}");
    eventually(5, "it answers", || lan.reaches(ADDRESS).then_some(()));
    end(&guest);
}
