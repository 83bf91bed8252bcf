use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::layout::Root;

const FILE: &str = "# by hand\nauto lo\niface lo inet loopback\n\niface enp1s0 inet manual\n\n\
    auto vmbr0\niface vmbr0 inet static\n\taddress 192.168.1.2/24\n\tgateway 192.168.1.1\n\
    \tbridge-ports enp1s0\n\tbridge-stp off\n\tbridge-fd 0\n\thwaddress aa:bb:cc:dd:ee:ff\n# uplink\n\n\
    iface vmbr0 inet6 static\n\taddress 2001:470::2\n\tnetmask 64\n\n\
    auto vmbr0.5\niface vmbr0.5 inet manual\n\nsource /etc/network/interfaces.d/*\n";

fn read(text: &str) -> Interfaces {
    parse(text.as_bytes(), &[])
}

fn object(value: Value) -> Interface {
    let Value::Object(object) = value else { panic!("{value} is no object") };
    object
}

#[test]
fn tells_interfaces_as_pve_does() {
    let read = read(FILE);

    let bridge = json!({
        "type": "bridge", "autostart": 1, "priority": 4, "families": ["inet", "inet6"],
        "method": "static", "address": "192.168.1.2", "netmask": "24", "cidr": "192.168.1.2/24",
        "gateway": "192.168.1.1", "bridge_ports": "enp1s0", "bridge_stp": "off", "bridge_fd": "0",
        "method6": "static", "address6": "2001:470::2", "netmask6": "64",
        "cidr6": "2001:470::2/64", "comments": " uplink\n",
        "options": ["hwaddress aa:bb:cc:dd:ee:ff"],
    });
    assert_eq!(Value::Object(read.ifaces["vmbr0"].clone()), bridge);
    let card = json!({
        "type": "eth", "priority": 3, "families": ["inet"], "method": "manual", "method6": "manual"
    });
    assert_eq!(Value::Object(read.ifaces["enp1s0"].clone()), card);
    let vlan = json!({
        "type": "vlan", "autostart": 1, "priority": 5, "families": ["inet"], "method": "manual",
        "method6": "manual", "vlan-id": "5", "vlan-raw-device": "vmbr0", "exists": null
    });
    assert_eq!(Value::Object(read.ifaces["vmbr0.5"].clone()), vlan);
    assert_eq!(read.other, [(6, "source /etc/network/interfaces.d/*".to_owned())]);
}

#[test]
fn adds_what_the_machine_has() {
    let json = br#"[
        {"ifname": "lo", "link_type": "loopback", "flags": ["UP"]},
        {"ifname": "eth9", "link_type": "ether", "flags": ["UP"], "altnames": ["enp9s0"]},
        {"ifname": "veth1", "link_type": "ether", "linkinfo": {"info_kind": "veth"}, "flags": []}
    ]"#;
    let links = links_of_json(json).unwrap();

    let read = parse(b"iface lo inet loopback\n", &links);

    let names: Vec<_> = read.ifaces.keys().collect();
    assert_eq!(names, ["eth9", "lo"]);
    let card = &read.ifaces["eth9"];
    assert_eq!(
        (&card["exists"], &card["active"], &card["type"]),
        (&json!(1), &json!(1), &json!("eth"))
    );
    assert_eq!(parse(b"iface enp9s0 inet dhcp\n", &links).ifaces["enp9s0"]["exists"], json!(1));
}

#[test]
fn writes_what_it_read() {
    let text = read(FILE).to_text(true).unwrap();

    let stanzas = text.split_once("external files!\n\n").unwrap().1;
    let expected = "auto lo\niface lo inet loopback\n\niface enp1s0 inet manual\n\n\
        auto vmbr0\niface vmbr0 inet static\n\taddress 192.168.1.2/24\n\tgateway 192.168.1.1\n\
        \tbridge-ports enp1s0\n\tbridge-stp off\n\tbridge-fd 0\n\thwaddress aa:bb:cc:dd:ee:ff\n# uplink\n\n\
        iface vmbr0 inet6 static\n\taddress 2001:470::2/64\n\n\
        auto vmbr0.5\niface vmbr0.5 inet manual\n\nsource /etc/network/interfaces.d/*\n";
    assert_eq!(stanzas, expected);
    assert_eq!(read(&text).to_text(true).unwrap(), text);
}

#[test]
fn makes_changes_and_deletes_interfaces() {
    let mut config = read(FILE);
    let new = json!({"type": "bridge", "cidr": "10.0.0.1/24", "autostart": 1, "bridge_ports": "",
        "bridge_vlan_aware": 1, "bridge_vids": "2,4;100-200"});
    create(&mut config, "vmbr1", object(new)).unwrap();
    update(
        &mut config,
        "vmbr0",
        object(json!({"type": "bridge", "cidr": "10.1.0.1/24",
        "bridge_ports": "enp1s0"})),
        "gateway,cidr6",
    )
    .unwrap();
    delete(&mut config, "vmbr0.5").unwrap();

    let text = config.to_text(true).unwrap();
    assert!(
        text.contains(
            "auto vmbr1\niface vmbr1 inet static\n\taddress 10.0.0.1/24\n\tbridge-ports none\n\
         \tbridge-stp off\n\tbridge-fd 0\n\tbridge-vlan-aware yes\n\tbridge-vids 2 4 100-200\n\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("iface vmbr0 inet static\n\taddress 10.1.0.1/24\n\tbridge-ports enp1s0\n")
    );
    assert!(!text.contains("gateway") && !text.contains("inet6") && !text.contains("vmbr0.5"));
}

#[rstest]
#[case("vmbr0", json!({"type": "bridge"}), "iface: interface already exists")]
#[case("vmbr1", json!({"type": "bridge", "gateway": "1.1.1.1"}),
    "gateway: Default gateway already exists on interface 'vmbr0'.")]
#[case("vmbr1", json!({"type": "bridge", "bridge_ports": "enp1s0"}),
    "bridge_ports: enp1s0 is already used on interface 'vmbr0'.")]
#[case("vmbr1", json!({"type": "bridge", "cidr": "1.1.1.1/8", "address": "1.1.1.1"}),
    "address: address conflicts with cidr")]
#[case("vmbr1", json!({"type": "bridge", "cidr6": "ff02::1/64"}),
    "address: ff02::1 with type 'MULTICAST', cannot be used as host IPv6 address.")]
#[case("vmbr1", json!({"type": "bridge", "bridge_ports": "eth7"}),
    "bridge 'vmbr1' - unable to find bridge port 'eth7'")]
#[case("bond0", json!({"type": "bond", "slaves": "eth8"}),
    "bond 'bond0' - unable to find slave 'eth8'")]
#[case("eth8.5000", json!({"type": "vlan"}), "vlan 'eth8.5000' - vlan-id 5000 should be <= 4094")]
#[case("eth8.5", json!({"type": "vlan"}), "vlan 'eth8.5' - unable to find parent 'eth8'")]
#[case("vlan9", json!({"type": "vlan", "vlan-raw-device": "lo"}),
    "vlan 'vlan9' - wrong interface type on parent 'lo' ('loopback' != 'eth|bond|bridge|vlan' )")]
#[case("office", json!({"type": "vlan", "vlan-raw-device": "enp1s0", "vlan-id": 3}),
    "custom vlan interface name need ifupdown2")]
#[case("vmbr0.7", json!({"type": "vlan", "mtu": 9000}),
    "interface 'vmbr0' - mtu 1500 is lower than 'vmbr0.7' - mtu 9000")]
fn refuses(#[case] name: &str, #[case] params: Value, #[case] message: &str) {
    let mut config = read(FILE);

    let done = create(&mut config, name, object(params)).and_then(|()| config.to_text(false));

    assert_eq!(done.unwrap_err().to_string(), message);
}

#[test]
fn open_vswitch_s_ports_stay_with_their_bridge() {
    let text = "auto vmbr0\niface vmbr0 inet manual\n\tovs_type OVSBridge\n\tovs_ports eth0 vlan1\n\n\
        allow-vmbr0 vlan1\niface vlan1 inet manual\n\tovs_type OVSIntPort\n\tovs_bridge vmbr0\n\
        \tovs_options tag=5 other=1\n\niface eth0 inet manual\n";
    let config = read(text);
    assert_eq!(config.ifaces["vlan1"]["ovs_tag"], json!("5"));

    let written = config.to_text(false).unwrap();

    assert!(written.contains("allow-ovs vmbr0\niface vmbr0"), "{written}");
    assert!(written.contains("allow-vmbr0 eth0\niface eth0 inet manual\n\tovs_type OVSPort\n"));
    assert!(written.contains("\tovs_options other=1 tag=5\n"), "{written}");
    assert_eq!(read(&written).to_text(false).unwrap(), written);
}

#[test]
fn changes_wait_beside_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path()).unwrap();
    assert!(super::read(&root).unwrap().interfaces.is_none());
    let file = dir.path().join("etc/network/interfaces");
    fs_err::create_dir_all(file.parent().unwrap()).unwrap();
    fs_err::write(&file, FILE).unwrap();
    assert_eq!(super::read(&root).unwrap().changes, None);

    super::store::edit(&root, |config| create(config, "vmbr1", object(json!({"type": "bridge"}))))
        .unwrap();
    let pending = super::read(&root).unwrap();
    assert!(pending.interfaces.unwrap().ifaces.contains_key("vmbr1"));
    let changes = pending.changes.unwrap();
    assert!(changes.starts_with("--- /etc/network/interfaces\t20"), "{changes}");
    assert!(changes.contains("\n+iface vmbr1 inet manual\n"), "{changes}");
    assert_eq!(fs_err::read_to_string(&file).unwrap(), FILE);

    revert(&root).unwrap();
    assert!(!super::read(&root).unwrap().interfaces.unwrap().ifaces.contains_key("vmbr1"));
}

#[test]
fn a_carriage_return_stays_where_it_was() {
    let once = read("auto lo\niface lo inet loopback\n\nodd\r\r").to_text(true).unwrap();
    assert!(once.ends_with("odd\r\r\n"), "{once:?}");
    assert_eq!(read(&once).to_text(true).unwrap(), once);
}

proptest! {
    /// Lines of an odd file may move or double, as they do in PVE; no interface gets lost or comes up.
    #[test]
    fn keeps_every_interface(lines in proptest::collection::vec(line(), 0..20)) {
        let Ok(text) = read(&lines.join("\n")).to_text(true) else { return Ok(()) };
        let first = read(&text);
        let names: Vec<String> = first.ifaces.keys().cloned().collect();
        if let Ok(again) = first.to_text(true) {
            let again: Vec<String> = read(&again).ifaces.keys().cloned().collect();
            prop_assert_eq!(again, names);
        }
    }

    #[test]
    fn takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(parse(&bytes, &[]).to_text(false));
    }
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "(auto|allow-hotplug|allow-vmbr0) (eth[01]|vmbr0|lo)",
        "iface (eth[01]|vmbr0|bond0|eth0\\.[0-9]|x) inet6? (static|manual|dhcp)",
        "iface (eth0|lo)",
        "\t(address 10.0.0.[0-9](/24)?|netmask 255.255.0.0|gateway ::1|mtu 1[0-9]{3})",
        "\t(bridge-ports (none|eth[01])|bond-slaves eth[01] ?|bond-mode [0-9]|bridge-vlan-aware yes)",
        "\t[a-z-]{1,8} .{0,8}",
        "# ?.{0,8}",
        ".{0,12}",
        Just(String::new()),
    ]
}
