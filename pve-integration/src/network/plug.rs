//! The outer end: where it is plugged in, and what may pass.

use super::interface::{Interface, firewall_bridge, firewall_link, firewall_peer};
use super::{Bridge, Facts, HostStep, NetworkError, Plan, Vlans};
use crate::bundle::Warning;

/// Every VLAN but the one that is untagged by default.
const ALL_VLANS: std::ops::RangeInclusive<u16> = 2..=4094;

/// A pair that is plugged in.
pub(super) fn create(
    interface: &Interface<'_>,
    facts: &Facts,
    plan: &mut Plan,
) -> Result<(), NetworkError> {
    plan.host.push(HostStep::Pair {
        outer: interface.outer.clone(),
        // A bridge takes the smallest MTU of its ports for its own, and this end is such a port.
        outer_mtu: interface.bridge.map(|(_, bridge)| bridge.mtu).or(interface.mtu),
        inner: interface.net.name.clone(),
        inner_mtu: interface.mtu,
        hwaddr: interface.hwaddr,
    });
    plug(interface, facts, plan)
}

/// What PVE calls the link's plug. Up comes last: nothing passes before it is told where to.
pub(super) fn plug(
    interface: &Interface<'_>,
    facts: &Facts,
    plan: &mut Plan,
) -> Result<(), NetworkError> {
    let link = interface.outer.clone();
    if interface.net.link_down {
        plan.host.push(HostStep::Down { link });
        return Ok(());
    }
    if let Some((name, bridge)) = interface.bridge {
        let (bridge_name, vlans) = vlan(interface, name, bridge, plan)?;
        let mut port = link.clone();
        if interface.net.firewall && facts.firewall {
            port = firewall(interface, bridge.mtu, plan);
        }
        plan.host.push(HostStep::Port { link: port.clone(), bridge: bridge_name });
        plan.host.extend(vlans.map(|vlans| HostStep::Vlans { link: port.clone(), vlans }));
        if port != link {
            plan.host.push(HostStep::Up { link: port });
        }
    }
    if let Some(limit) = interface.rate {
        plan.host.push(HostStep::Rate { link: link.clone(), limit: Some(limit) });
    }
    plan.host.push(HostStep::Up { link });
    Ok(())
}

/// What undoes a plug.
pub(super) fn unplug(interface: &Interface<'_>, plan: &mut Plan) {
    let link = interface.outer.clone();
    plan.host.push(HostStep::Unplug { link: link.clone() });
    plan.host.push(HostStep::Rate { link, limit: None });
    let (vmid, index) = (interface.vmid, interface.net.index);
    for link in [firewall_peer(vmid, index), firewall_bridge(vmid, index)] {
        plan.host.push(HostStep::Remove { link });
    }
}

/// The bridge that the port goes on, and what it is told there.
fn vlan(
    interface: &Interface<'_>,
    name: &str,
    bridge: &Bridge,
    plan: &mut Plan,
) -> Result<(String, Option<Vlans>), NetworkError> {
    let tag = interface.net.tag;
    if bridge.vlan_aware {
        let mut tagged = interface.trunks.clone();
        if tagged.is_empty() && tag.is_none() {
            tagged.push(ALL_VLANS);
        }
        return Ok((name.to_owned(), Some(Vlans { untagged: tag, tagged })));
    }
    if !interface.trunks.is_empty() {
        let reason = format!("trunks do nothing: bridge '{name}' is not VLAN aware");
        plan.warnings.push(Warning::new(interface.key, reason));
    }
    let Some(tag) = tag else { return Ok((name.to_owned(), None)) };
    if bridge.uplinks.is_empty() {
        return Err(NetworkError::NoUplink(name.to_owned()));
    }
    let of_its_own = format!("{name}v{tag}");
    plan.host.push(HostStep::VlanBridge {
        name: of_its_own.clone(),
        tag,
        mtu: bridge.mtu,
        uplinks: bridge.uplinks.clone(),
    });
    Ok((of_its_own, None))
}

/// PVE's chain: container - fwbr - fwln=fwpr - bridge. The answer is the link that is plugged in.
fn firewall(interface: &Interface<'_>, mtu: u32, plan: &mut Plan) -> String {
    let (vmid, index) = (interface.vmid, interface.net.index);
    let name = firewall_bridge(vmid, index);
    let (link, peer) = (firewall_link(vmid, index), firewall_peer(vmid, index));
    plan.host.push(HostStep::FirewallBridge { name: name.clone(), link, peer: peer.clone(), mtu });
    plan.host.push(HostStep::Port { link: interface.outer.clone(), bridge: name });
    peer
}
