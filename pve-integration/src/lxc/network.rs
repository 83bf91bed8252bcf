//! `netN`: a veth pair whose outer end LXC puts on the bridge. PVE has a script of its own do that
//! (`lxcnetaddbr`); what only the script can do is named.

use super::lines::Lines;
use super::{Guest, Installed, Warning};
use crate::bundle::BundleError;
use crate::bundle::keys::LXC;
use crate::ct_config::{ContainerConfig, Net};
use crate::network::outer_name;

pub(super) fn write(
    guest: &Guest<'_>,
    installed: &Installed,
    lines: &mut Lines,
    warnings: &mut Vec<Warning>,
) -> Result<(), BundleError> {
    let nets = guest.config.nets();
    let raw = guest.config.current().lxc().iter().any(|(key, _)| key.starts_with("lxc.net."));
    if nets.is_empty() && !raw {
        // A network namespace with a loopback device and nothing else.
        return lines.put("lxc.net.0.type", "empty");
    }
    for (key, net) in nets {
        let net = net?;
        interface(guest, installed, key, &net, lines)?;
        for reason in unapplied(guest.config, &net) {
            warnings.push(Warning::new(key, reason));
        }
    }
    Ok(())
}

fn interface(
    guest: &Guest<'_>,
    installed: &Installed,
    key: &str,
    net: &Net,
    lines: &mut Lines,
) -> Result<(), BundleError> {
    let index = net.index;
    let mut put = |item: &str, value: &str| lines.put(&format!("lxc.net.{index}.{item}"), value);
    put("type", "veth")?;
    put("veth.pair", &outer_name(guest.vmid, index))?;
    put("name", &net.name)?;
    if let Some(hwaddr) = &net.hwaddr {
        put("hwaddr", hwaddr)?;
    }
    let on_bridge = net.bridge.as_ref().and_then(|bridge| installed.mtu(bridge));
    let wanted = net.mtu.map(u32::from);
    if let (Some(mtu), Some(most)) = (wanted, on_bridge)
        && mtu > most
    {
        let reason = format!("MTU size '{mtu}' is bigger than bridge MTU '{most}'");
        return Err(BundleError::Host { key: key.to_owned(), reason });
    }
    if let Some(mtu) = wanted.or(on_bridge) {
        put("mtu", &mtu.to_string())?;
    }
    if net.link_down {
        return Ok(()); // on no bridge, and not up
    }
    if let Some(bridge) = &net.bridge {
        put("link", bridge)?;
        if let Some(tag) = net.tag {
            put("veth.vlan.id", &tag.to_string())?;
        }
        let trunks = net.trunks.as_deref().unwrap_or_default();
        for trunk in trunks.split(';').filter(|trunk| !trunk.is_empty()) {
            put("veth.vlan.tagged.id", trunk)?;
        }
    }
    if !net.host_managed {
        return Ok(());
    }
    let is_address = |ip: &&String| !matches!(ip.as_str(), "dhcp" | "manual" | "auto");
    for (item, value) in [
        ("ipv4.address", net.ip.as_ref().filter(is_address)),
        ("ipv4.gateway", net.gw.as_ref()),
        ("ipv6.address", net.ip6.as_ref().filter(is_address)),
        ("ipv6.gateway", net.gw6.as_ref()),
    ] {
        if let Some(value) = value {
            put(item, value)?;
        }
    }
    if net.ip6.as_deref() == Some("auto") {
        let reason = "SLAAC is not supported for host-managed network configuration".to_owned();
        return Err(BundleError::Host { key: key.to_owned(), reason });
    }
    put("flags", "up")
}

/// What is asked for beside.
fn unapplied(config: &ContainerConfig, net: &Net) -> Vec<String> {
    let not_yet = LXC.not_yet();
    // A program of its own reads no distribution's files.
    let by_files = config.has_distribution() && !config.is_application();
    let mut reasons = Vec::new();
    if net.rate.is_some() {
        reasons.push(format!("rate {not_yet}"));
    }
    let addresses = [("ip", net.ip.as_deref()), ("ip6", net.ip6.as_deref())];
    for (name, value) in addresses {
        match value {
            None | Some("manual") => {}
            Some("dhcp") if net.host_managed => {
                reasons.push(format!("{name}=dhcp of a host-managed interface {not_yet}"));
            }
            Some(_) if net.host_managed || by_files => {}
            Some(_) => reasons.push(format!(
                "{name} {not_yet}: nothing inside reads a distribution's network files; \
                 host-managed=1 sets an address from outside"
            )),
        }
    }
    reasons
}
