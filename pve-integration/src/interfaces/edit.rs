//! What a client may do to the interfaces. Whether the whole is sound is seen when it is written.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use openapi::format::split_list;
use serde_json::json;

use super::{Interface, Interfaces, InterfacesError, kind, set};

type Done = Result<(), InterfacesError>;

fn param<T>(name: &'static str, text: impl Into<String>) -> Result<T, InterfacesError> {
    Err(InterfacesError::param(name, text))
}

/// One default gateway is enough.
fn check_gateways(ifaces: &BTreeMap<String, Interface>, name: &str, params: &Interface) -> Done {
    for (key, what) in [("gateway", "Default gateway"), ("gateway6", "Default ipv6 gateway")] {
        if set(params, key).is_none() {
            continue;
        }
        let other =
            ifaces.iter().find(|(other, there)| *other != name && set(there, key).is_some());
        if let Some((other, _)) = other {
            return param(key, format!("{what} already exists on interface '{other}'."));
        }
    }
    Ok(())
}

const PORTS: [&str; 4] = ["bridge_ports", "ovs_ports", "slaves", "ovs_bonds"];

fn check_ports(ifaces: &BTreeMap<String, Interface>, name: &str, params: &Interface) -> Done {
    let ports = |of: &Interface| PORTS.map(|key| set(of, key).unwrap_or_default()).join(" ");
    let (new, first) = (ports(params), PORTS.into_iter().find(|key| set(params, key).is_some()));
    let Some(first) = first else { return Ok(()) };
    for (other, there) in ifaces.iter().filter(|(other, _)| *other != name) {
        let theirs = ports(there);
        if let Some(port) =
            split_list(&theirs).find(|port| split_list(&new).any(|new| new == *port))
        {
            return param(first, format!("{port} is already used on interface '{other}'."));
        }
    }
    Ok(())
}

/// An address with its length is the same as both apart.
fn split_cidrs(params: &mut Interface) -> Done {
    for (cidr, address, netmask, conflicts) in [
        (
            "cidr",
            "address",
            "netmask",
            ["address conflicts with cidr", "netmask conflicts with cidr"],
        ),
        (
            "cidr6",
            "address6",
            "netmask6",
            ["address6 conflicts with cidr6", "netmask6 conflicts with cidr6"],
        ),
    ] {
        let Some(given) = set(params, cidr) else { continue };
        for (key, conflict) in [address, netmask].into_iter().zip(conflicts) {
            if set(params, key).is_some() {
                return param(key, conflict);
            }
        }
        if let Some((base, bits)) = given.rsplit_once('/') {
            params.insert(address.to_owned(), base.into());
            params.insert(netmask.to_owned(), bits.into());
        }
        params.remove(cidr);
    }
    Ok(())
}

/// What Net::IP calls an address that no host has.
fn no_host(address: Ipv6Addr) -> Option<&'static str> {
    let [first, second, third, fourth, fifth, sixth, ..] = address.segments();
    Some(match first {
        0 if address.is_unspecified() => "UNSPECIFIED",
        0 if address.is_loopback() => "LOOPBACK",
        0 if [second, third, fourth, fifth, sixth] == [0, 0, 0, 0, 0xffff] => "IPV4MAP",
        0x0100 if [second, third, fourth] == [0, 0, 0] => "DISCARD",
        0x2001 if second == 0 => "TEREDO",
        0x2001 if second == 0x0db8 => "DOCUMENTATION",
        0x2001 if second & 0xfff0 == 0x0010 => "ORCHID",
        0x2002 => "6TO4",
        0x2000..=0x3fff | 0xfc00..=0xfdff | 0xfe80..=0xfebf => return None,
        0xff00..=0xffff => "MULTICAST",
        _ => "RESERVED",
    })
}

fn check_ipv6(params: &Interface) -> Done {
    let Some(given) = set(params, "address6") else { return Ok(()) };
    let bits = super::text(params, "netmask6").unwrap_or_default();
    let length = bits.parse::<u32>().unwrap_or(0);
    if length > 128 {
        return param("netmask", format!("{bits} is not a valid subnet length for ipv6"));
    }
    let Ok(address) = given.parse::<Ipv6Addr>() else {
        return param("address", format!("{given} is not a valid host IPv6 address."));
    };
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    let wrong = if u128::from(address) == mask { Some("ANYCAST") } else { no_host(address) };
    match wrong {
        Some(kind) => param(
            "address",
            format!("{given} with type '{kind}', cannot be used as host IPv6 address."),
        ),
        None => Ok(()),
    }
}

/// From the addresses follow families and methods.
fn settle(params: &mut Interface) {
    let (v4, v6) = (set(params, "address").is_some(), set(params, "address6").is_some());
    let families = match (v4, v6) {
        (true, true) => json!(["inet", "inet6"]),
        (false, true) => json!(["inet6"]),
        (_, false) => json!(["inet"]),
    };
    params.insert("families".to_owned(), families);
    for (key, has) in [("method", v4), ("method6", v6)] {
        params.insert(key.to_owned(), if has { "static" } else { "manual" }.into());
    }
}

fn settle_vlans(params: &mut Interface) -> Done {
    let Some(vlans) = set(params, "bridge_vids") else { return Ok(()) };
    let list: Vec<&str> = split_list(&vlans).collect();
    if list.is_empty() {
        return param("bridge_vids", "VLAN list items are empty");
    }
    // Other separators would mean something else in the file.
    params.insert("bridge_vids".to_owned(), list.join(" ").into());
    Ok(())
}

fn ports_of(bridge: &Interface) -> Vec<String> {
    let ports = set(bridge, "ovs_ports").unwrap_or_default();
    ports.split_whitespace().map(str::to_owned).collect()
}

/// Open vSwitch's ports are listed by their bridge.
fn join_ovs_bridge(config: &mut Interfaces, name: &str, params: &Interface) -> Done {
    let kind_of_new = kind(params);
    if kind_of_new.starts_with("OVS") && !std::path::Path::new("/usr/bin/ovs-vsctl").exists() {
        return Err(InterfacesError::refused(
            "Open VSwitch is not installed (need package 'openvswitch-switch')",
        ));
    }
    if !matches!(kind_of_new.as_str(), "OVSIntPort" | "OVSBond") {
        return Ok(());
    }
    let Some(bridge) = set(params, "ovs_bridge") else {
        return param("ovs_bridge", "parameter is required");
    };
    let Some(there) = config.ifaces.get_mut(&bridge) else {
        return param("ovs_bridge", format!("bridge '{bridge}' does not exist"));
    };
    if kind(there) != "OVSBridge" {
        return param("ovs_bridge", format!("interface '{bridge}' is no OVS bridge"));
    }
    let mut ports = ports_of(there);
    if !ports.iter().any(|port| port == name) {
        ports.push(name.to_owned());
        there.insert("ovs_ports".to_owned(), ports.join(" ").into());
    }
    Ok(())
}

pub fn create(config: &mut Interfaces, name: &str, mut params: Interface) -> Done {
    if config.ifaces.contains_key(name) {
        return param("iface", "interface already exists");
    }
    check_gateways(&config.ifaces, name, &params)?;
    check_ports(&config.ifaces, name, &params)?;
    split_cidrs(&mut params)?;
    check_ipv6(&params)?;
    settle(&mut params);
    join_ovs_bridge(config, name, &params)?;
    settle_vlans(&mut params)?;
    config.ifaces.insert(name.to_owned(), params);
    Ok(())
}

/// `delete` names properties to take away. Addresses that are not given stay in the file's data but
/// not in the file: its families follow from what is given, as in PVE.
pub fn update(config: &mut Interfaces, name: &str, mut params: Interface, delete: &str) -> Done {
    let Some(mut interface) = config.ifaces.remove(name) else {
        return param("iface", "interface does not exist");
    };
    for key in split_list(delete) {
        interface.remove(key);
        let apart: &[&str] = match key {
            "cidr" => &["address", "netmask"],
            "cidr6" => &["address6", "netmask6"],
            _ => &[],
        };
        for key in apart {
            interface.remove(*key);
        }
    }
    split_cidrs(&mut params)?;
    check_gateways(&config.ifaces, name, &params)?;
    check_ports(&config.ifaces, name, &params)?;
    check_ipv6(&params)?;
    settle(&mut params);
    settle_vlans(&mut params)?;
    interface.extend(params);
    config.ifaces.insert(name.to_owned(), interface);
    Ok(())
}

pub fn delete(config: &mut Interfaces, name: &str) -> Done {
    let Some(gone) = config.ifaces.remove(name) else {
        return param("iface", "interface does not exist");
    };
    if matches!(kind(&gone).as_str(), "OVSIntPort" | "OVSBond")
        && let Some(bridge) = set(&gone, "ovs_bridge")
        && let Some(bridge) = config.ifaces.get_mut(&bridge)
    {
        let mut ports = ports_of(bridge);
        ports.retain(|port| port != name);
        bridge.insert("ovs_ports".to_owned(), ports.join(" ").into());
    }
    Ok(())
}
