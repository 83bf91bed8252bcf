//! What changes of a running container's interface ask for, as `update_net` and `update_ipconfig` of
//! pve-container do it: another name or hardware address is another interface, another plug is pulled
//! and put in, and a new address is there before the old one goes.

use openapi::Vmid;

use super::interface::{Family, Interface, Source, firewall_bridge, firewall_peer};
use super::{Facts, HostStep, InnerStep, NetworkError, Plan, outer_name, plug};
use crate::ct_config::Net;

/// From `old` to `new`; `None` for an interface that is not there.
pub fn change(
    vmid: Vmid,
    key: &str,
    old: Option<&Net>,
    new: Option<&Net>,
    facts: &Facts,
) -> Result<Plan, NetworkError> {
    let mut plan = Plan::default();
    let Some(new) = new else {
        plan.host.extend(old.iter().flat_map(|old| removal(vmid, old.index)));
        return Ok(plan);
    };
    let wanted = Interface::check(vmid, key, new, facts)?;
    match old {
        Some(old) if is_same(old, new) => {
            let (before, nowhere) = (Net { bridge: None, ..old.clone() }, Facts::default());
            let before = Interface::check(vmid, key, &before, &nowhere)?;
            replug(old, &before, &wanted, facts, &mut plan)?;
            if let Some(mtu) = wanted.mtu.filter(|_| old.mtu != new.mtu || old.bridge != new.bridge)
            {
                plan.inner.push(InnerStep::Mtu { name: new.name.clone(), mtu });
            }
            readdress(&before, &wanted, facts, &mut plan)?;
        }
        old => {
            plan.host.extend(old.iter().flat_map(|old| removal(vmid, old.index)));
            plug::create(&wanted, facts, &mut plan)?;
            wanted.configure(facts, &mut plan)?;
        }
    }
    Ok(plan)
}

fn removal(vmid: Vmid, index: u8) -> [HostStep; 3] {
    [outer_name(vmid, index), firewall_peer(vmid, index), firewall_bridge(vmid, index)]
        .map(|link| HostStep::Remove { link })
}

fn is_same(old: &Net, new: &Net) -> bool {
    let address = |net: &Net| net.hwaddr.as_ref().map(|address| address.to_ascii_uppercase());
    old.name == new.name && address(old) == address(new)
}

fn replug(
    old: &Net,
    before: &Interface<'_>,
    wanted: &Interface<'_>,
    facts: &Facts,
    plan: &mut Plan,
) -> Result<(), NetworkError> {
    let new = wanted.net;
    let same_plug = old.bridge == new.bridge
        && old.tag == new.tag
        && old.firewall == new.firewall
        && old.link_down == new.link_down
        && before.trunks == wanted.trunks;
    if !same_plug {
        plug::unplug(wanted, plan);
        if let Some((_, bridge)) = wanted.bridge.filter(|_| old.bridge != new.bridge) {
            plan.host.push(HostStep::Mtu { link: wanted.outer.clone(), mtu: bridge.mtu });
        }
        plug::plug(wanted, facts, plan)
    } else {
        if before.rate != wanted.rate {
            let (link, limit) = (wanted.outer.clone(), wanted.rate);
            plan.host.push(HostStep::Rate { link, limit });
        }
        Ok(())
    }
}

fn readdress(
    before: &Interface<'_>,
    wanted: &Interface<'_>,
    facts: &Facts,
    plan: &mut Plan,
) -> Result<(), NetworkError> {
    if before.v6 != wanted.v6 {
        wanted.check_v6(facts)?;
    }
    for (old, new, v6) in [(&before.v4, &wanted.v4, false), (&before.v6, &wanted.v6, true)] {
        if old != new {
            family(&wanted.net.name, old, new, v6, plan);
        }
    }
    if before.lease() != wanted.lease() {
        plan.leases.extend(wanted.lease());
    }
    Ok(())
}

fn family(name: &str, old: &Family, new: &Family, v6: bool, plan: &mut Plan) {
    let name = || name.to_owned();
    let (was, is) = (old.address(), new.address());
    if new.source == Source::Auto {
        plan.inner.push(InnerStep::Autoconf { name: name() });
    }
    if let Some(address) = is.filter(|_| is != was) {
        plan.inner.push(InnerStep::Address { name: name(), address });
    }
    match (old.gateway_step(&name()), new.gateway_step(&name())) {
        (had, Some(step)) if had.as_ref() != Some(&step) => plan.inner.push(step),
        (Some(_), None) => plan.inner.push(InnerStep::RemoveGateway { name: name(), v6 }),
        (_, _) => {}
    }
    if let Some(address) = was.filter(|_| is != was) {
        plan.inner.push(InnerStep::RemoveAddress { name: name(), address });
    }
}
