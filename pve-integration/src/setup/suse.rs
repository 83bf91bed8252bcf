//! SUSE's ifcfg files, as wicked reads them; newer releases use systemd-networkd beside.

use std::io;

use super::draft::Draft;
use super::interface::{Interface, V4, V6};
use super::section::Where;

const FOLDER: &str = "/etc/sysconfig/network";

pub(super) fn write(draft: &mut Draft<'_>, interfaces: &[Interface]) -> io::Result<()> {
    draft.folder(FOLDER);
    for interface in interfaces {
        let Some(text) = ifcfg(interface) else { continue };
        let name = &interface.name;
        draft.write(&format!("{FOLDER}/ifcfg-{name}"), text);
        // A user's own routes stay beside ours.
        let path = format!("{FOLDER}/ifroute-{name}");
        draft.section_or_none(&path, &routes(interface), Where::Prepend)?;
    }
    Ok(())
}

/// `None` of one that is on, but has neither an address nor a way to one.
fn ifcfg(interface: &Interface) -> Option<String> {
    let is_on = interface.v4.is_some_and(|v4| v4 != V4::Manual)
        || interface.v6.is_some_and(|v6| v6 != V6::Manual);
    let protocol = match (interface.v4 == Some(V4::Dhcp), interface.v6 == Some(V6::Dhcp)) {
        (false, false) => "static",
        (true, false) => "dhcp4",
        (false, true) => "dhcp6",
        (true, true) => "dhcp",
    };
    let v4 = interface.static4().map(|cidr| cidr.to_string());
    let v6 = interface.static6().map(|cidr| cidr.to_string());
    let addresses: Vec<String> = v4.into_iter().chain(v6).collect();
    if is_on && protocol == "static" && addresses.is_empty() {
        return None;
    }
    let mode = if is_on { "onboot" } else { "manual" };
    let mut text = format!("STARTMODE={mode}\nBOOTPROTO={protocol}\n");
    match addresses.as_slice() {
        [only] => text += &format!("IPADDR={only}\n"),
        all => {
            for (at, address) in all.iter().enumerate() {
                text += &format!("IPADDR_{}={address}\n", at + 1);
            }
        }
    }
    Some(text)
}

fn routes(interface: &Interface) -> String {
    let name = &interface.name;
    let mut text = String::new();
    if let Some(gw) = interface.far_gw4() {
        text += &format!("{gw} 0.0.0.0 255.255.255.255 {name}\n");
    }
    if let (Some(gw), Some(_)) = (interface.gw4, interface.static4()) {
        text += &format!("default {gw} 0.0.0.0 {name}\n");
    }
    if let Some(gw) = interface.far_gw6() {
        text += &format!("{gw}/128 - - {name}\n");
    }
    if let (Some(gw), Some(_)) = (interface.gw6, interface.static6()) {
        text += &format!("default {gw} - {name}\n");
    }
    text
}
