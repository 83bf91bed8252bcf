//! Gentoo's netifrc, whose file is a shell's, and the name of its host.

use std::io;

use super::draft::Draft;
use super::interface::{Interface, V4, V6};
use super::section::Where;

pub(super) fn network(draft: &mut Draft<'_>, interfaces: &[Interface]) -> io::Result<()> {
    let mut data = "modules=\"$modules ifconfig\"\n".to_owned();
    let mut up = Vec::new();
    for interface in interfaces {
        let name = &interface.name;
        let (mut config, mut routes) = (Vec::new(), Vec::new());
        match interface.v4 {
            Some(V4::Dhcp) => config.push("dhcp".to_owned()),
            Some(V4::Static(cidr)) => config.push(cidr.to_string()),
            Some(V4::Manual) | None => {}
        }
        if let Some(gw) = interface.far_gw4() {
            routes.push(format!("-host {gw} dev {name}"));
        }
        routes.extend(interface.gw4.map(|gw| format!("default gw {gw}")));
        match interface.v6 {
            // Its templates have no client for DHCPv6; advertisements the kernel takes by itself.
            Some(V6::Auto | V6::Dhcp | V6::Manual) | None => {}
            Some(V6::Static(cidr)) => config.push(cidr.to_string()),
        }
        if let Some(gw) = interface.far_gw6() {
            routes.push(format!("-6 -host {gw} dev {name}"));
        }
        routes.extend(interface.gw6.map(|gw| format!("-6 default gw {gw}")));
        if !config.is_empty() || !routes.is_empty() || interface.v6 == Some(V6::Auto) {
            up.push(name);
        }
        // netifrc names a variable after the interface.
        let variable: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        for (kind, lines) in [("config", config), ("routes", routes)] {
            if !lines.is_empty() {
                data += &format!("{kind}_{variable}=\"{}\"\n", lines.join("\n"));
            }
        }
    }
    draft.section("/etc/conf.d/net", &data, Where::Replace)?;
    for name in up {
        draft.link_if_missing("net.lo", &format!("/etc/init.d/net.{name}"));
    }
    Ok(())
}

pub(super) fn host_name(draft: &mut Draft<'_>, short: &str) {
    draft.write("/etc/conf.d/hostname", format!("hostname=\"{short}\"\n"));
}
