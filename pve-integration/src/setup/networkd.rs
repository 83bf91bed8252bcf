//! Units of systemd-networkd, one an interface.

use std::fmt::Write as _;

use super::draft::Draft;
use super::interface::{Interface, V4, V6};

const FOLDER: &str = "/etc/systemd/network";

pub(super) fn write(draft: &mut Draft<'_>, interfaces: &[Interface]) {
    for interface in interfaces {
        draft.folder(FOLDER);
        draft.write(&format!("{FOLDER}/{}.network", interface.name), unit(interface));
    }
}

fn unit(interface: &Interface) -> String {
    let name = &interface.name;
    let mut text = format!(
        "[Match]\nName = {name}\n\n[Network]\nDescription = Interface {name} configured by PVE\n"
    );
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{key} = {value}").expect("a text takes any line");
    };
    if let Some(cidr) = interface.static4() {
        line("Address", &cidr);
    }
    if let Some(gw) = interface.gw4 {
        line("Gateway", &gw);
    }
    if let Some(cidr) = interface.static6() {
        line("Address", &cidr);
    }
    if let Some(gw) = interface.gw6 {
        line("Gateway", &gw);
    }
    let dhcp = match (interface.v4 == Some(V4::Dhcp), interface.v6 == Some(V6::Dhcp)) {
        (false, false) => "no",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (true, true) => "yes",
    };
    line("DHCP", &dhcp);
    // Who names a gateway wants no other by advertisement.
    let automatic = matches!(interface.v6, Some(V6::Auto | V6::Dhcp)) && interface.gw6.is_none();
    line("IPv6AcceptRA", &automatic);
    if let Some(gw) = interface.far_gw4() {
        text += &format!("\n[Route]\nDestination = {gw}/32\nScope = link\n");
    }
    if let Some(gw) = interface.far_gw6() {
        text += &format!("\n[Route]\nDestination = {gw}/128\nScope = link\n");
    }
    text
}
