//! Reading the file: its stanzas, then what they are in PVE's eyes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{Interface, Interfaces, Link, numbered, ovs, set, text, with_number};

/// Newer and older words for the same.
const ALTERNATIVES: [(&str, &str); 11] = [
    ("bond-miimon", "bond_miimon"),
    ("bond-mode", "bond_mode"),
    ("bond-slaves", "slaves"),
    ("bond-xmit-hash-policy", "bond_xmit_hash_policy"),
    ("bond_slaves", "slaves"),
    ("bridge-fd", "bridge_fd"),
    ("bridge-ports", "bridge_ports"),
    ("bridge-stp", "bridge_stp"),
    ("bridge-vids", "bridge_vids"),
    ("bridge-vlan-aware", "bridge_vlan_aware"),
    ("ovs_mtu", "mtu"),
];
/// Options that are an interface's own, whatever the family.
const SIMPLE: [&str; 26] = [
    "bond-primary",
    "bond_miimon",
    "bond_xmit_hash_policy",
    "bridge-access",
    "bridge-arp-nd-suppress",
    "bridge-disable-mac-learning",
    "bridge-learning",
    "bridge-multicast-flood",
    "bridge-unicast-flood",
    "bridge_fd",
    "bridge_vids",
    "link-type",
    "mtu",
    "ovs_bonds",
    "ovs_bridge",
    "ovs_options",
    "ovs_ports",
    "ovs_type",
    "uplink-id",
    "vlan-id",
    "vlan-protocol",
    "vlan-raw-device",
    "vxlan-id",
    "vxlan-local-tunnelip",
    "vxlan-physdev",
    "vxlan-svcnodeip",
];
const BOND_MODES: [&str; 7] = [
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
];

/// `links` are the machine's, or none where the file is not this machine's.
pub fn parse(bytes: &[u8], links: &[Link]) -> Interfaces {
    let text = String::from_utf8_lossy(bytes);
    let mut read = Interfaces::default();
    let mut priority = 2; // 1 is the loopback's
    let mut lines = text.split_terminator('\n').peekable();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [first, ..] if first.starts_with('#') => {}
            ["allow-auto" | "auto" | "allow-ovs" | "allow-hotplug", names @ ..]
                if !names.is_empty() =>
            {
                for name in names {
                    let interface = read.ifaces.entry((*name).to_owned()).or_default();
                    interface.insert("autostart".to_owned(), 1.into());
                }
            }
            ["iface", name] => {
                begin(&mut read, name, &mut priority);
                let interface = read.ifaces.entry((*name).to_owned()).or_default();
                stanza(&mut lines, interface, None);
            }
            ["iface", name, family @ ("inet" | "inet6"), method] => {
                begin(&mut read, name, &mut priority);
                let interface = read.ifaces.entry((*name).to_owned()).or_default();
                stanza(&mut lines, interface, Some((family, method)));
            }
            _ if line.contains(|c: char| c.is_alphanumeric() || c == '_') => {
                read.other.push((priority, line.to_owned()));
                priority += 1;
            }
            _ => {}
        }
    }
    note_links(&mut read.ifaces, links);
    let loopback = json!({"priority": 1, "method": "loopback", "type": "loopback", "autostart": 1});
    if let Value::Object(loopback) = loopback {
        read.ifaces.entry("lo".to_owned()).or_insert(loopback);
    }
    let names: Vec<String> = read.ifaces.keys().cloned().collect();
    for name in &names {
        settle(&mut read.ifaces, name, links);
    }
    let ifaces = &read.ifaces;
    read.other = read.other.into_iter().filter_map(|line| without_ports(line, ifaces)).collect();
    read
}

fn begin(read: &mut Interfaces, name: &str, priority: &mut u64) {
    let interface = read.ifaces.entry(name.to_owned()).or_default();
    if !interface.contains_key("priority") {
        interface.insert("priority".to_owned(), (*priority).into());
        *priority += 1;
    }
}

fn push(interface: &mut Interface, key: &str, value: Value) {
    let items = interface.entry(key.to_owned()).or_insert_with(|| json!([]));
    if let Some(items) = items.as_array_mut() {
        items.push(value);
    }
}

/// The lines after `iface`, up to the next thing or an empty line.
fn stanza<'a>(
    lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    interface: &mut Interface,
    family: Option<(&str, &str)>,
) {
    push(interface, "families", family.map_or(Value::Null, |(family, _)| family.into()));
    let suffix = family.map_or("", |(family, _)| family.trim_start_matches("inet"));
    // A family's second stanza takes the place of its first.
    let (mut comments, mut options) = (None::<String>, None::<Vec<Value>>);
    while let Some(line) = lines.peek() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            let comment = format!("{}\n", comment.trim_end());
            comments = Some(comments.unwrap_or_default() + &comment);
        } else if begins_something(line) {
            break;
        } else if let Some((id, value)) = line.split_once(char::is_whitespace) {
            let value = value.trim_start();
            if !option(interface, family.map(|_| suffix), id, value) {
                options.get_or_insert_default().push(line.into());
            }
        } else {
            // What follows an empty line is of no stanza; the outer loop reads it.
            if line.is_empty() {
                lines.next();
            }
            break;
        }
        lines.next();
    }
    if let Some((_, method)) = family {
        interface.insert(format!("method{suffix}"), method.into());
    }
    if let Some(comments) = comments {
        let key = format!("comments{suffix}");
        let before = if family.is_none() { text(interface, &key) } else { None };
        interface.insert(key, (before.unwrap_or_default() + &comments).into());
    }
    if let Some(options) = options {
        interface.insert(format!("options{suffix}"), options.into());
    }
}

fn begins_something(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    let more = first.len() < line.len();
    line.starts_with("allow-")
        || more && matches!(first, "iface" | "mapping" | "auto" | "source" | "source-directory")
}

/// Whether PVE knows the option. `suffix` is of the stanza's family, if it has one.
fn option(interface: &mut Interface, suffix: Option<&str>, id: &str, value: &str) -> bool {
    let known = ALTERNATIVES.iter().find(|(other, _)| *other == id);
    let id = known.map_or(id, |(_, known)| known);
    let mut insert = |key: String, value: Value| {
        interface.insert(key, value);
    };
    match id {
        "address" | "netmask" | "broadcast" | "gateway" => {
            let suffix =
                suffix.unwrap_or(if id != "netmask" && value.contains(':') { "6" } else { "" });
            insert(format!("{id}{suffix}"), value.into());
        }
        "slaves" | "bridge_ports" => {
            let mut ports: Vec<&str> = value.split_whitespace().collect();
            if id == "bridge_ports" && ports.contains(&"none") {
                insert("is_empty_bridge".to_owned(), 1.into());
            }
            ports.retain(|port| *port != "none");
            ports.sort_unstable();
            ports.dedup();
            let mut all = set(interface, id).unwrap_or_default();
            if !all.is_empty() && !ports.is_empty() {
                all.push(' ');
            }
            interface.insert(id.to_owned(), (all + &ports.join(" ")).into());
        }
        "bridge_stp" => {
            let on = ["on", "yes"].iter().any(|on| value.eq_ignore_ascii_case(on));
            insert(id.to_owned(), if on { "on" } else { "off" }.into());
        }
        "bridge_vlan_aware" => insert(id.to_owned(), 1.into()),
        "bond_mode" => {
            let number = value.parse::<usize>().ok();
            let name = number.and_then(|number| BOND_MODES.get(number).copied());
            insert(id.to_owned(), name.unwrap_or(value).into());
        }
        "vxlan-remoteip" => push(interface, id, value.into()),
        _ if SIMPLE.contains(&id) => insert(id.to_owned(), value.into()),
        _ => return false,
    }
    true
}

/// Cards are there even if no file names them.
fn note_links(ifaces: &mut BTreeMap<String, Interface>, links: &[Link]) {
    for link in links.iter().filter(|link| link.physical) {
        let known = link.altnames.iter().find(|name| ifaces.contains_key(*name));
        let interface = ifaces.entry(known.unwrap_or(&link.name).clone()).or_default();
        interface.insert("exists".to_owned(), 1.into());
    }
    for link in links.iter().filter(|link| link.up) {
        if let Some(interface) = ifaces.get_mut(&link.name) {
            interface.insert("active".to_owned(), 1.into());
        }
    }
}

/// What PVE says of an interface beyond its lines: its type above all.
fn settle(ifaces: &mut BTreeMap<String, Interface>, name: &str, links: &[Link]) {
    let Some(mut interface) = ifaces.remove(name) else { return };
    let link = links
        .iter()
        .find(|link| link.name == name || link.altnames.iter().any(|altname| altname == name));
    let physical = link.is_some_and(|link| link.physical) || is_card(name);
    let kind = find_kind(ifaces, name, &mut interface, physical);
    interface.insert("type".to_owned(), kind.into());
    add_cidr(&mut interface, "", "32");
    add_cidr(&mut interface, "6", "128");
    for method in ["method", "method6"] {
        if set(&interface, method).is_none() {
            interface.insert(method.to_owned(), "manual".into());
        }
    }
    if let Some(Value::String(comments)) = interface.remove("comments6") {
        let all = text(&interface, "comments").unwrap_or_default() + &comments;
        interface.insert("comments".to_owned(), all.into());
    }
    interface.entry("families".to_owned()).or_insert_with(|| json!(["inet"]));
    ifaces.insert(name.to_owned(), interface);
}

/// By the kernel's and systemd's names for cards.
fn is_card(name: &str) -> bool {
    let long = |prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && !rest.contains([':', '.']))
    };
    ["eth", "nic", "if"].iter().any(|prefix| with_number(name, prefix).is_some())
        || long("en")
        || long("ib")
}

fn find_kind(
    ifaces: &mut BTreeMap<String, Interface>,
    name: &str,
    interface: &mut Interface,
    physical: bool,
) -> String {
    let empty = interface.remove("is_empty_bridge").is_some();
    let ovs = text(interface, "ovs_type");
    let ovs_kind = ovs.as_deref().unwrap_or_default();
    let mut kind = "unknown";
    if interface.contains_key("bridge_ports") || empty {
        kind = "bridge";
        let stp = interface.entry("bridge_stp".to_owned()).or_insert_with(|| "off".into());
        if stp == "off" {
            interface.entry("bridge_fd".to_owned()).or_insert_with(|| 0.into());
        }
    } else if ovs_kind == "OVSBridge" {
        kind = "OVSBridge";
    } else if with_number(name, "bond").is_some() {
        match ovs_kind {
            "" => kind = "bond",
            "OVSBond" => {
                kind = "OVSBond";
                settle_ovs_bond(interface);
            }
            _ => {}
        }
    } else if let Some((parent, _)) = numbered(name, ':') {
        kind = "alias";
        exists_as(ifaces, interface, parent);
    } else if numbered(name, '.').is_some() || set(interface, "vlan-raw-device").is_some() {
        kind = "vlan";
        let (parent, id) = match numbered(name, '.') {
            Some((parent, id)) => (Some(parent), Some(id)),
            None => (None, with_number(name, "vlan")),
        };
        let raw = set(interface, "vlan-raw-device")
            .unwrap_or_else(|| parent.unwrap_or_default().to_owned());
        interface.insert("vlan-raw-device".to_owned(), raw.clone().into());
        if let Some(id) = id.filter(|id| *id != "0") {
            interface.insert("vlan-id".to_owned(), id.into());
        }
        exists_as(ifaces, interface, &raw);
    } else if physical {
        match ovs_kind {
            "" => kind = "eth",
            "OVSPort" => {
                kind = "OVSPort";
                ovs::extract_tag(interface);
            }
            _ => {}
        }
    } else if name == "lo" {
        kind = "loopback";
    } else if set(interface, "vxlan-id").is_some() {
        kind = "vxlan";
    } else if ovs_kind == "OVSIntPort" {
        kind = "OVSIntPort";
        ovs::extract_tag(interface);
    } else if ovs.is_none() && text(interface, "link-type").as_deref() == Some("dummy") {
        kind = "dummy";
    }
    kind.to_owned()
}

fn settle_ovs_bond(interface: &mut Interface) {
    let mode = ovs::extract(interface, "bond_mode");
    let active = ovs::extract(interface, "lacp").as_deref() == Some("active");
    let mode = match mode.as_deref() {
        Some("balance-slb") if active => Some("lacp-balance-slb".to_owned()),
        Some("balance-tcp") => Some("lacp-balance-tcp".to_owned()),
        _ => mode,
    };
    interface.insert("bond_mode".to_owned(), mode.map_or(Value::Null, Value::from));
    ovs::extract_tag(interface);
}

/// What lies on another interface is there if that one is.
fn exists_as(ifaces: &mut BTreeMap<String, Interface>, interface: &mut Interface, parent: &str) {
    let exists = match ifaces.get(parent) {
        Some(parent) => parent.get("exists").cloned().unwrap_or(Value::Null),
        None => {
            let parent = ifaces.entry(parent.to_owned()).or_default();
            parent.insert("exists".to_owned(), 0.into());
            0.into()
        }
    };
    interface.insert("exists".to_owned(), exists);
}

/// The address with its length, and both apart.
fn add_cidr(interface: &mut Interface, suffix: &str, whole: &str) {
    let (address, netmask) = (format!("address{suffix}"), format!("netmask{suffix}"));
    let Some(given) = set(interface, &address) else { return };
    let cidr = match (given.rsplit_once('/'), set(interface, &netmask)) {
        (Some((base, bits)), _) if bits.bytes().all(|b| b.is_ascii_digit()) => {
            interface.insert(address, base.into());
            interface.insert(netmask, bits.into());
            given
        }
        (_, mask) => match mask.and_then(|mask| bits(&mask)) {
            Some(bits) => {
                if suffix.is_empty() {
                    interface.insert(netmask, bits.clone().into());
                }
                format!("{given}/{bits}")
            }
            None => format!("{given}/{whole}"),
        },
    };
    interface.insert(format!("cidr{suffix}"), cidr.into());
}

/// A length, given as one or as a mask.
pub(super) fn bits(mask: &str) -> Option<String> {
    if !mask.is_empty() && mask.bytes().all(|b| b.is_ascii_digit()) {
        return Some(mask.to_owned());
    }
    let mask = u32::from(mask.parse::<Ipv4Addr>().ok()?);
    (mask.leading_ones() == mask.count_ones()).then(|| mask.leading_ones().to_string())
}

/// `allow-BRIDGE PORTS` is written anew from the bridge's own ports.
fn without_ports(
    (place, line): (u64, String),
    ifaces: &BTreeMap<String, Interface>,
) -> Option<(u64, String)> {
    let Some(rest) = line.strip_prefix("allow-") else { return Some((place, line)) };
    let mut words = rest.split_whitespace();
    let (Some(bridge), ports) = (words.next(), words) else { return Some((place, line)) };
    let known = ifaces.get(bridge).and_then(|bridge| text(bridge, "ovs_ports"));
    let known = known.unwrap_or_default();
    let ports: Vec<&str> =
        ports.filter(|port| !known.split_whitespace().any(|known| known == *port)).collect();
    (bridge != "ovs" && !ports.is_empty())
        .then(|| (place, format!("allow-{bridge} {}", ports.join(" "))))
}
