//! What has to hold before the file is written; some of it is put right on the way, as PVE does.
//! Upstream: the first half of `__write_etc_network_interfaces`.

use std::collections::BTreeMap;

use openapi::format::split_list;
use serde_json::{Value, json};

use super::{Interface, Interfaces, InterfacesError, kind, numbered, ovs, set, text, with_number};

type Ifaces = BTreeMap<String, Interface>;
type Checked = Result<(), InterfacesError>;

fn refuse<T>(text: impl Into<String>) -> Result<T, InterfacesError> {
    Err(InterfacesError::refused(text))
}

pub(super) fn check(config: &mut Interfaces, ifupdown2: bool) -> Checked {
    let ifaces = &mut config.ifaces;
    let used = used_ports(ifaces)?;
    drop_unused_ovs_ports(ifaces, &used);
    check_ovs_bridges(ifaces)?;
    check_bonds(ifaces)?;
    check_vxlans(ifaces)?;
    check_vlans(ifaces, ifupdown2)?;
    check_uplinks(ifaces)?;
    check_bridges(ifaces)
}

fn words(interface: &Interface, key: &str) -> Vec<String> {
    let text = set(interface, key).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

fn names_of(ifaces: &Ifaces, wanted: impl Fn(&Interface) -> bool) -> Vec<String> {
    let chosen = ifaces.iter().filter(|(_, interface)| wanted(interface));
    chosen.map(|(name, _)| name.clone()).collect()
}

/// Ports by name, with who has them.
fn used_ports(ifaces: &mut Ifaces) -> Result<BTreeMap<String, String>, InterfacesError> {
    let mut used = BTreeMap::new();
    for (name, interface) in ifaces {
        for (cidr, address) in [("cidr", "address"), ("cidr6", "address6")] {
            if let Some(cidr) = interface.remove(cidr) {
                interface.entry(address.to_owned()).or_insert(cidr);
            }
        }
        let ports = ["bridge_ports", "ovs_ports", "slaves", "ovs_bonds"];
        let ports: Vec<_> = ports.iter().filter_map(|key| set(interface, key)).collect();
        for port in split_list(&ports.join(" ")) {
            let other = used.insert(port.to_owned(), name.clone());
            if let Some(other) = other.filter(|other| other != name) {
                return refuse(format!("port '{port}' is already used on interface '{other}'"));
            }
        }
    }
    Ok(used)
}

fn drop_unused_ovs_ports(ifaces: &mut Ifaces, used: &BTreeMap<String, String>) {
    let of_ovs = |interface: &Interface| {
        matches!(kind(interface).as_str(), "OVSPort" | "OVSIntPort" | "OVSBond")
    };
    for name in names_of(ifaces, of_ovs) {
        match used.get(&name).and_then(|bridge| ifaces.get(bridge)) {
            None => {
                let plain = json!(
                    {"type": "eth", "exists": 1, "method": "manual", "families": ["inet"]}
                );
                if let Value::Object(plain) = plain {
                    ifaces.insert(name, plain);
                }
            }
            Some(bridge) if kind(bridge) != "OVSBridge" => {
                ifaces.remove(&name);
            }
            Some(_) => {}
        }
    }
}

/// A parent takes as much as its child gives.
fn check_mtu(ifaces: &Ifaces, parent: &str, child: &str) -> Checked {
    let mtu = |name: &str| {
        let interface = ifaces.get(name)?;
        set(interface, "mtu")?.parse::<u64>().ok()
    };
    let Some(wanted) = mtu(child) else { return Ok(()) };
    let is_bond = ifaces.get(parent).is_some_and(|parent| kind(parent) == "bond");
    let limit = mtu(parent).unwrap_or(if is_bond { wanted } else { 1500 });
    if limit >= wanted {
        return Ok(());
    }
    refuse(format!("interface '{parent}' - mtu {limit} is lower than '{child}' - mtu {wanted}"))
}

fn check_ovs_bridges(ifaces: &mut Ifaces) -> Checked {
    for name in names_of(ifaces, |interface| kind(interface) == "OVSBridge") {
        for port in words(&ifaces[&name], "ovs_ports") {
            let Some(member) = ifaces.get_mut(&port) else {
                return refuse(format!("OVS bridge '{name}' - unable to find port '{port}'"));
            };
            member.insert("autostart".to_owned(), 0.into());
            match kind(member).as_str() {
                "eth" => {
                    member.insert("type".to_owned(), "OVSPort".into());
                }
                "OVSBond" | "OVSPort" | "OVSIntPort" => {}
                _ => {
                    return refuse(format!("interface '{port}' is not defined as OVS port/bond"));
                }
            }
            member.insert("ovs_bridge".to_owned(), name.clone().into());
            check_mtu(ifaces, &name, &port)?;
        }
    }
    Ok(())
}

fn check_bonds(ifaces: &mut Ifaces) -> Checked {
    for (wanted, key, what, allowed) in [
        ("OVSBond", "ovs_bonds", "OVS bond", &["eth"][..]),
        ("bond", "slaves", "bond", &["eth", "bond"][..]),
    ] {
        for name in names_of(ifaces, |interface| kind(interface) == wanted) {
            let slaves = words(&ifaces[&name], key);
            for slave in &slaves {
                let Some(member) = ifaces.get_mut(slave) else {
                    return refuse(format!("{what} '{name}' - unable to find slave '{slave}'"));
                };
                member.insert("autostart".to_owned(), 1.into());
                let found = kind(member);
                if !allowed.contains(&found.as_str()) {
                    return refuse(format!(
                        "{what} '{name}' - wrong interface type on slave '{slave}' \
                         ('{found}' != '{}')",
                        allowed.join(" or ")
                    ));
                }
                check_mtu(ifaces, &name, slave)?;
            }
            let primary = set(&ifaces[&name], "bond-primary").filter(|_| wanted == "bond");
            if !slaves.is_empty() && primary.is_some_and(|primary| !slaves.contains(&primary)) {
                return refuse(format!("bond '{name}' - bond-primary interface is not a slave"));
            }
        }
    }
    Ok(())
}

fn check_vxlans(ifaces: &Ifaces) -> Checked {
    let mut seen: BTreeMap<String, &String> = BTreeMap::new();
    for (name, interface) in ifaces {
        let id = set(interface, "vxlan-id").filter(|_| kind(interface) == "vxlan");
        if let Some(id) = id
            && let Some(other) = seen.insert(id.clone(), name)
        {
            return refuse(format!(
                "iface {name} - duplicate vxlan-id {id} already used in {other}"
            ));
        }
        let has = |key: &str| interface.get(key).is_some_and(|value| !value.is_null());
        let ends = ["vxlan-svcnodeip", "vxlan-remoteip", "vxlan-local-tunnelip"];
        if ends.iter().filter(|key| has(key)).count() > 1 {
            return refuse(format!(
                "iface {name} - vxlan-svcnodeip, vxlan-remoteip and vxlan-localtunnelip are \
                 mutually exclusive"
            ));
        }
        if has("vxlan-svcnodeip") != has("vxlan-physdev") {
            return refuse(format!(
                "iface {name} - vxlan-svcnodeip and vxlan-physdev must be define together"
            ));
        }
    }
    Ok(())
}

fn check_vlans(ifaces: &mut Ifaces, ifupdown2: bool) -> Checked {
    for name in names_of(ifaces, |interface| kind(interface) == "vlan") {
        let Some(interface) = ifaces.get_mut(&name) else { continue };
        let (parent, id) = if let Some((parent, id)) = numbered(&name, '.') {
            interface.remove("vlan-raw-device");
            interface.remove("vlan-id");
            (parent.to_owned(), id.to_owned())
        } else {
            let Some(parent) = set(interface, "vlan-raw-device") else {
                return refuse("missing vlan-raw-device option");
            };
            let id = match with_number(&name, "vlan") {
                Some(id) => {
                    interface.remove("vlan-id");
                    id.to_owned()
                }
                None if !ifupdown2 => return refuse("custom vlan interface name need ifupdown2"),
                None => match set(interface, "vlan-id") {
                    Some(id) => id,
                    None => return refuse("missing vlan-id option"),
                },
            };
            (parent, id)
        };
        if id.parse::<u32>().map_or(true, |id| id > 4094) {
            return refuse(format!("vlan '{name}' - vlan-id {id} should be <= 4094"));
        }
        let Some(lower) = ifaces.get(&parent) else {
            return refuse(format!("vlan '{name}' - unable to find parent '{parent}'"));
        };
        let found = kind(lower);
        if !matches!(found.as_str(), "eth" | "bridge" | "bond" | "vlan") {
            return refuse(format!(
                "vlan '{name}' - wrong interface type on parent '{parent}' \
                 ('{found}' != 'eth|bond|bridge|vlan' )"
            ));
        }
        check_mtu(ifaces, &parent, &name)?;
    }
    Ok(())
}

fn check_uplinks(ifaces: &Ifaces) -> Checked {
    let mut seen: BTreeMap<String, &String> = BTreeMap::new();
    for (name, interface) in ifaces {
        let Some(id) = set(interface, "uplink-id") else { continue };
        if !matches!(kind(interface).as_str(), "eth" | "bond") {
            return refuse(format!(
                "iface '{name}' - uplink-id {id} is only allowed on physical and linux bond \
                 interfaces"
            ));
        }
        if let Some(other) = seen.insert(id.clone(), name) {
            return refuse(format!(
                "iface '{name}' - uplink-id {id} is already assigned on '{other}'"
            ));
        }
    }
    Ok(())
}

fn check_bridges(ifaces: &Ifaces) -> Checked {
    let mut all = ifaces.clone();
    let mut ports: BTreeMap<String, String> = BTreeMap::new();
    for name in names_of(ifaces, |interface| kind(interface) == "bridge") {
        for port in words(&ifaces[&name], "bridge_ports") {
            if let Some((parent, _)) = numbered(&port, '.').filter(|_| !all.contains_key(&port)) {
                let mtu = all.get(parent).and_then(|parent| parent.get("mtu").cloned());
                let mut vlan = Interface::new();
                vlan.extend(mtu.map(|mtu| ("mtu".to_owned(), mtu)));
                vlan.insert("type".to_owned(), "vlan".into());
                all.insert(port.clone(), vlan);
            }
            let Some(member) = all.get(&port) else {
                return refuse(format!("bridge '{name}' - unable to find bridge port '{port}'"));
            };
            let addressed = |method: &str, address: &str, nothing: &str| {
                text(member, method).as_deref() == Some("static")
                    && text(member, address).unwrap_or_default() != nothing
            };
            if addressed("method", "address", "0.0.0.0") || addressed("method6", "address6", "::") {
                return refuse(format!(
                    "iface {port} - ip address can't be set on interface if bridged in {name}"
                ));
            }
            check_mtu(&all, &port, &name)?;
            ports.insert(port, name.clone());
        }
    }
    let of_ports = [
        "bridge-learning",
        "bridge-arp-nd-suppress",
        "bridge-unicast-flood",
        "bridge-multicast-flood",
        "bridge-access",
    ];
    for (name, interface) in ifaces {
        let bridge = ports.get(name).and_then(|bridge| ifaces.get(bridge));
        for key in of_ports {
            if set(interface, key).is_some() && bridge.is_none() {
                return refuse(format!(
                    "iface {name} - {key}: bridge port specific options can be used only on \
                     interfaces attached to a bridge"
                ));
            }
        }
        let aware = bridge.is_some_and(|bridge| set(bridge, "bridge_vlan_aware").is_some());
        if set(interface, "bridge-access").is_some() && !aware {
            return refuse(format!(
                "iface {name} - bridge-access option can be only used if interface is in a vlan \
                 aware bridge"
            ));
        }
    }
    Ok(())
}

/// The options that an OVS bond's mode stands for.
pub(super) fn set_ovs_mode(interface: &mut Interface) -> Checked {
    let mode = set(interface, "bond_mode").unwrap_or_else(|| "active-backup".to_owned());
    let (lacp, plain) = match mode.as_str() {
        "lacp-balance-slb" => (Some("active"), "balance-slb"),
        "lacp-balance-tcp" => (Some("active"), "balance-tcp"),
        "active-backup" | "balance-slb" => (None, mode.as_str()),
        _ => return refuse(format!("OVS does not support bond mode '{mode}")),
    };
    ovs::set(interface, "lacp", lacp);
    ovs::set(interface, "bond_mode", Some(plain));
    interface.insert("bond_mode".to_owned(), mode.into());
    Ok(())
}
