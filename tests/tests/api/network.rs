//! The node's interfaces: read from the root's files, changed beside them, never this machine's.

use serde_json::{Value, json};
use tests::Daemon;

use super::{ANN, with_users};

const PATH: &str = "/nodes/pve1/network";
const FILE: &str = "auto lo\niface lo inet loopback\n\niface eth0 inet manual\n\n\
    auto vmbr0\niface vmbr0 inet static\n\taddress 192.168.1.2/24\n\tgateway 192.168.1.1\n\
    \tbridge-ports eth0\n\tbridge-stp off\n\tbridge-fd 0\n# uplink\n";

fn file(daemon: &Daemon, name: &str) -> Option<String> {
    fs_err::read_to_string(daemon.root().join("etc/network").join(name)).ok()
}

fn names(answer: &Value) -> Vec<&str> {
    answer.as_array().unwrap().iter().map(|row| row["iface"].as_str().unwrap()).collect()
}

#[test]
fn without_a_file_there_are_none() {
    let daemon = with_users().start();

    assert_eq!(daemon.get(PATH).json(), json!({"data": []}));
    let missing = daemon.get(&format!("{PATH}/vmbr0"));
    assert_eq!(missing.errors(), json!({"iface": "interface does not exist"}));
    let reload = daemon.put(PATH, &[]);
    assert_eq!(reload.line(), "500 you need ifupdown2 to reload network configuration");
}

#[test]
fn interfaces_are_told_by_kind() {
    let daemon = with_users().file("etc/network/interfaces", FILE).start();

    let bridge = json!({
        "type": "bridge", "autostart": 1, "priority": 4, "families": ["inet"], "method": "static",
        "address": "192.168.1.2", "netmask": "24", "cidr": "192.168.1.2/24",
        "gateway": "192.168.1.1", "bridge_ports": "eth0", "bridge_stp": "off", "bridge_fd": "0",
        "method6": "manual", "comments": " uplink\n",
    });
    assert_eq!(daemon.get(&format!("{PATH}/vmbr0")).data(), bridge);
    assert_eq!(names(&daemon.get(PATH).data()), ["eth0", "vmbr0"]);
    for kind in ["bridge", "any_bridge", "any_local_bridge"] {
        assert_eq!(names(&daemon.get(&format!("{PATH}?type={kind}")).data()), ["vmbr0"]);
    }
    assert_eq!(names(&daemon.get(&format!("{PATH}?type=bond")).data()), [""; 0]);
    let seen = daemon.request_as(&[("Authorization", ANN)], "GET", PATH, &[]).data();
    assert_eq!(names(&seen), ["eth0"], "a bridge is for those who may use it");
}

#[test]
fn changes_wait_and_are_reverted() {
    let daemon = with_users().file("etc/network/interfaces", FILE).start();
    let new = [("iface", "vmbr1"), ("type", "bridge"), ("cidr", "10.0.0.1/24"), ("autostart", "1")];
    assert_eq!(daemon.post(PATH, &new).data(), Value::Null);

    let listed = daemon.get(PATH).json();
    assert_eq!(names(&listed["data"]), ["eth0", "vmbr0", "vmbr1"]);
    let changes = listed["changes"].as_str().unwrap();
    assert!(changes.starts_with("--- /etc/network/interfaces\t"), "{changes}");
    assert!(changes.contains("\n+iface vmbr1 inet static\n+\taddress 10.0.0.1/24\n"), "{changes}");
    assert_eq!(file(&daemon, "interfaces").unwrap(), FILE);
    let again = daemon.post(PATH, &new);
    assert_eq!(again.errors(), json!({"iface": "interface already exists"}));
    let second = [("type", "bridge"), ("gateway", "10.0.0.254")];
    let refused = daemon.put(&format!("{PATH}/vmbr1"), &second);
    let message = "Default gateway already exists on interface 'vmbr0'.";
    assert_eq!(refused.errors(), json!({"gateway": message}));
    let lost = [("iface", "eth9.5"), ("type", "vlan")];
    assert_eq!(daemon.post(PATH, &lost).line(), "500 vlan 'eth9.5' - unable to find parent 'eth9'");
    daemon.delete(&format!("{PATH}/vmbr1")).data();
    assert_eq!(names(&daemon.get(PATH).data()), ["eth0", "vmbr0"]);

    daemon.delete(PATH).data();
    assert_eq!(file(&daemon, "interfaces.new"), None);
    assert_eq!(daemon.get(PATH).json().get("changes"), None);
}

#[test]
fn a_reload_below_a_root_moves_the_file_alone() {
    let daemon = with_users()
        .file("etc/network/interfaces", FILE)
        .file("etc/network/interfaces.new", "auto lo\niface lo inet loopback\n")
        .file("usr/share/ifupdown2/ifupdown2", "")
        .start();

    let task = daemon.task(&daemon.put(PATH, &[]));

    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    assert_eq!(file(&daemon, "interfaces").unwrap(), "auto lo\niface lo inet loopback\n");
    assert_eq!(file(&daemon, "interfaces.new"), None);
}
