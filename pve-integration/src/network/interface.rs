//! One `netN`, its values checked and its names known.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;
use openapi::Vmid;

use super::{Bridge, Facts, InnerStep, Lease, NetworkError, Plan};
use crate::bundle::Warning;
use crate::ct_config::{Net, ValueError};

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(())?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        if parts.next().is_some() { Err(()) } else { Ok(Self(bytes)) }
    }
}

/// The end of a container's interface that the host sees.
pub fn outer_name(vmid: Vmid, index: u8) -> String {
    format!("veth{vmid}i{index}")
}

/// The bridge between a container's interface and PVE's firewall rules.
pub(super) fn firewall_bridge(vmid: Vmid, index: u8) -> String {
    format!("fwbr{vmid}i{index}")
}

/// The link from there to the bridge that the config names: its end on the firewall's bridge.
pub(super) fn firewall_link(vmid: Vmid, index: u8) -> String {
    format!("fwln{vmid}i{index}")
}

/// And its other end.
pub(super) fn firewall_peer(vmid: Vmid, index: u8) -> String {
    format!("fwpr{vmid}p{index}")
}

/// Whether the host's link `name` is one that a start of this container makes for it alone.
pub fn is_of(name: &str, vmid: Vmid) -> bool {
    let (veth, bridge) = (format!("veth{vmid}i"), format!("fwbr{vmid}i"));
    let (link, peer) = (format!("fwln{vmid}i"), format!("fwpr{vmid}p"));
    [veth, bridge, link, peer].iter().any(|stem| {
        let index = name.strip_prefix(stem.as_str());
        index.is_some_and(|i| !i.is_empty() && i.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

#[derive(Debug)]
pub(super) struct Interface<'a> {
    pub(super) key: &'a str,
    pub(super) vmid: Vmid,
    pub(super) net: &'a Net,
    pub(super) outer: String,
    pub(super) hwaddr: Option<Mac>,
    pub(super) bridge: Option<(&'a str, &'a Bridge)>,
    /// Inside.
    pub(super) mtu: Option<u32>,
    /// Bytes a second.
    pub(super) rate: Option<u64>,
    pub(super) trunks: Vec<RangeInclusive<u16>>,
    pub(super) v4: Family,
    pub(super) v6: Family,
}

/// What one of the two address families gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) source: Source,
    pub(super) gateway: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Nobody,
    Static(IpNet),
    Dhcp,
    Auto,
}

impl<'a> Interface<'a> {
    pub(super) fn check(
        vmid: Vmid,
        key: &'a str,
        net: &'a Net,
        facts: &'a Facts,
    ) -> Result<Self, NetworkError> {
        let bridge = net.bridge.as_deref().map(|name| facts.bridge(key, name).map(|b| (name, b)));
        let bridge = bridge.transpose()?;
        let most = bridge.map(|(_, bridge)| bridge.mtu);
        let wanted = net.mtu.map(u32::from);
        if let (Some(mtu), Some(most)) = (wanted, most)
            && mtu > most
        {
            return Err(NetworkError::Mtu { key: key.to_owned(), mtu, most });
        }
        Ok(Self {
            key,
            vmid,
            net,
            outer: outer_name(vmid, net.index),
            hwaddr: parsed(key, "hwaddr", net.hwaddr.as_deref())?,
            bridge,
            mtu: wanted.or(most),
            rate: rate(key, net)?,
            trunks: trunks(key, net)?,
            v4: family(key, ("ip", net.ip.as_deref()), ("gw", net.gw.as_deref()), false)?,
            v6: family(key, ("ip6", net.ip6.as_deref()), ("gw6", net.gw6.as_deref()), true)?,
        })
    }

    /// Addresses, and a link that is up.
    pub(super) fn configure(&self, facts: &Facts, plan: &mut Plan) -> Result<(), NetworkError> {
        let name = &self.net.name;
        self.check_v6(facts)?;
        if self.v6.source == Source::Auto {
            plan.inner.push(InnerStep::Autoconf { name: name.clone() });
        }
        for family in [&self.v4, &self.v6] {
            if let Source::Static(address) = family.source {
                plan.inner.push(InnerStep::Address { name: name.clone(), address });
            }
        }
        plan.inner.push(InnerStep::Up { name: name.clone() });
        for (family, gw) in [(&self.v4, "gw"), (&self.v6, "gw6")] {
            let Some(gateway) = family.gateway else { continue };
            let reason = match family.gateway_step(name) {
                None => "the interface has no fixed address",
                Some(_) if has_gateway(plan, gateway.is_ipv6()) => "another interface has one",
                Some(step) => {
                    plan.inner.push(step);
                    continue;
                }
            };
            plan.warnings.push(Warning::new(self.key, format!("{gw} is not set: {reason}")));
        }
        plan.leases.extend(self.lease());
        Ok(())
    }

    pub(super) fn check_v6(&self, facts: &Facts) -> Result<(), NetworkError> {
        if self.v6.source == Source::Auto && self.net.host_managed && !self.net.link_down {
            return Err(NetworkError::Slaac(self.key.to_owned()));
        }
        if self.v6.source != Source::Nobody && !facts.ipv6 {
            return Err(NetworkError::NoIpv6(self.key.to_owned()));
        }
        Ok(())
    }

    pub(super) fn lease(&self) -> Option<Lease> {
        lease(self.key, self.net)
    }
}

/// What of an interface's addresses and name servers others on the network give.
pub fn lease(key: &str, net: &Net) -> Option<Lease> {
    let given = |address: &Option<String>| address.as_deref() == Some("dhcp");
    let (v4, v6) = (given(&net.ip), given(&net.ip6));
    let routers = net.ip6.as_deref() == Some("auto");
    let name = net.name.clone();
    (v4 || v6 || routers).then(|| Lease { key: key.to_owned(), name, v4, v6, routers })
}

impl Family {
    pub(super) fn address(&self) -> Option<IpNet> {
        match self.source {
            Source::Static(address) => Some(address),
            Source::Nobody | Source::Dhcp | Source::Auto => None,
        }
    }

    pub(super) fn gateway_step(&self, name: &str) -> Option<InnerStep> {
        let (address, gateway) = (self.address()?, self.gateway?);
        // A router's link-local address is on every link.
        let local = matches!(gateway, IpAddr::V6(gateway) if gateway.is_unicast_link_local());
        let reachable = address.contains(&gateway) || local;
        Some(InnerStep::Gateway { name: name.to_owned(), gateway, reachable })
    }
}

fn has_gateway(plan: &Plan, v6: bool) -> bool {
    plan.inner
        .iter()
        .any(|step| matches!(step, InnerStep::Gateway { gateway, .. } if gateway.is_ipv6() == v6))
}

fn wrong(key: &str, part: &str, text: &str) -> NetworkError {
    ValueError::new(key, format!("invalid format - {key}.{part}: '{text}'")).into()
}

fn parsed<T: FromStr>(
    key: &str,
    part: &str,
    text: Option<&str>,
) -> Result<Option<T>, NetworkError> {
    text.map(|text| text.parse().map_err(|_| wrong(key, part, text))).transpose()
}

fn family(
    key: &str,
    (ip, address): (&str, Option<&str>),
    (gw, gateway): (&str, Option<&str>),
    v6: bool,
) -> Result<Family, NetworkError> {
    let source = match address {
        None | Some("manual") => Source::Nobody,
        Some("dhcp") => Source::Dhcp,
        Some("auto") if v6 => Source::Auto,
        Some(text) => {
            let address: Option<IpNet> = parsed(key, ip, Some(text))?;
            let address = address.filter(|address| address.addr().is_ipv6() == v6);
            Source::Static(address.ok_or_else(|| wrong(key, ip, text))?)
        }
    };
    let gateway: Option<IpAddr> = parsed(key, gw, gateway)?;
    match gateway {
        Some(gateway) if gateway.is_ipv6() != v6 => Err(wrong(key, gw, &gateway.to_string())),
        gateway => Ok(Family { source, gateway }),
    }
}

/// Megabytes a second, with a fraction, as PVE cuts them.
fn rate(key: &str, net: &Net) -> Result<Option<u64>, NetworkError> {
    let rate: Option<f64> = parsed(key, "rate", net.rate.as_deref())?;
    let text = || net.rate.clone().unwrap_or_default();
    match rate {
        Some(rate) if !(0.0..1e9).contains(&rate) => Err(wrong(key, "rate", &text())),
        Some(rate) => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 0 to 2^50, and the fraction of a byte does not count"
            )]
            let bytes = (rate * 1024.0 * 1024.0) as u64;
            Ok(Some(bytes).filter(|bytes| *bytes > 0))
        }
        None => Ok(None),
    }
}

/// `2;5;10-20`
fn trunks(key: &str, net: &Net) -> Result<Vec<RangeInclusive<u16>>, NetworkError> {
    let list = net.trunks.as_deref().unwrap_or_default();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        (1 <= first && first <= last && last <= 4094).then_some(first..=last)
    };
    let parts = list.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| range(part).ok_or_else(|| wrong(key, "trunks", part))).collect()
}
