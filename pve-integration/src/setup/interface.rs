//! A container's interfaces as its distribution is told of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ct_config::{Net, ValueError};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Inside.
    pub name: String,
    pub v4: Option<V4>,
    pub gw4: Option<Ipv4Addr>,
    pub v6: Option<V6>,
    pub gw6: Option<Ipv6Addr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum V4 {
    Dhcp,
    /// Left to whoever looks after the container.
    Manual,
    Static(Cidr<Ipv4Addr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum V6 {
    Auto,
    Dhcp,
    Manual,
    Static(Cidr<Ipv6Addr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cidr<A> {
    pub address: A,
    pub prefix: u8,
}

impl<A: fmt::Display> fmt::Display for Cidr<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl<A: FromStr + Copy + Into<IpAddr>> Cidr<A> {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: A = address.parse().ok()?;
        let most = if address.into().is_ipv4() { 32 } else { 128 };
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= most)?;
        Some(Self { address, prefix })
    }
}

impl Cidr<Ipv4Addr> {
    pub(super) fn contains(&self, other: Ipv4Addr) -> bool {
        let mask = self.netmask().to_bits();
        self.address.to_bits() & mask == other.to_bits() & mask
    }

    pub(super) fn netmask(&self) -> Ipv4Addr {
        let host = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        Ipv4Addr::from_bits(!host)
    }
}

impl Cidr<Ipv6Addr> {
    fn contains(&self, other: Ipv6Addr) -> bool {
        let mask = !u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        self.address.to_bits() & mask == other.to_bits() & mask
    }
}

impl Interface {
    /// `None` if the host looks after it, so that its distribution must not.
    pub fn of(key: &str, net: &Net) -> Result<Option<Self>, ValueError> {
        if net.host_managed {
            return Ok(None);
        }
        let wrong =
            |what: &str, text: &str| ValueError::new(key, format!("{what} '{text}' is not valid"));
        // It becomes a part of file names and of lines that shells read.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if net.name.is_empty() || !net.name.chars().all(plain) || net.name.starts_with('.') {
            return Err(wrong("name", &net.name));
        }
        let v4 = net.ip.as_deref().map(|text| match text {
            "dhcp" => Ok(V4::Dhcp),
            "manual" => Ok(V4::Manual),
            text => Cidr::parse(text).map(V4::Static).ok_or_else(|| wrong("ip", text)),
        });
        let v6 = net.ip6.as_deref().map(|text| match text {
            "auto" => Ok(V6::Auto),
            "dhcp" => Ok(V6::Dhcp),
            "manual" => Ok(V6::Manual),
            text => Cidr::parse(text).map(V6::Static).ok_or_else(|| wrong("ip6", text)),
        });
        let gw4 = net.gw.as_deref().map(|text| text.parse().map_err(|_| wrong("gw", text)));
        let gw6 = net.gw6.as_deref().map(|text| text.parse().map_err(|_| wrong("gw6", text)));
        Ok(Some(Self {
            name: net.name.clone(),
            v4: v4.transpose()?,
            gw4: gw4.transpose()?,
            v6: v6.transpose()?,
            gw6: gw6.transpose()?,
        }))
    }

    pub(super) fn static4(&self) -> Option<Cidr<Ipv4Addr>> {
        match self.v4 {
            Some(V4::Static(cidr)) => Some(cidr),
            Some(V4::Dhcp | V4::Manual) | None => None,
        }
    }

    pub(super) fn static6(&self) -> Option<Cidr<Ipv6Addr>> {
        match self.v6 {
            Some(V6::Static(cidr)) => Some(cidr),
            Some(V6::Auto | V6::Dhcp | V6::Manual) | None => None,
        }
    }

    /// The gateway, if it is in no network of the interface's, so that it needs a route of its own.
    pub(super) fn far_gw4(&self) -> Option<Ipv4Addr> {
        self.static4().and_then(|cidr| self.gw4.filter(|gw| !cidr.contains(*gw)))
    }

    /// A link-local one is always near.
    pub(super) fn far_gw6(&self) -> Option<Ipv6Addr> {
        let far = |gw: &Ipv6Addr, cidr: Cidr<Ipv6Addr>| {
            !cidr.contains(*gw) && !gw.is_unicast_link_local()
        };
        self.static6().and_then(|cidr| self.gw6.filter(|gw| far(gw, cidr)))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of(value: &str) -> Result<Option<Interface>, ValueError> {
        Interface::of("net0", &Net::parse("net0", value)?)
    }

    #[rstest]
    #[case::near("ip=10.0.0.5/24,gw=10.0.0.1,ip6=fd00::5/64,gw6=fd00::1", false, false)]
    #[case::far("ip=10.0.0.5/32,gw=10.0.0.1,ip6=fd00::5/128,gw6=fd01::1", true, true)]
    #[case::link_local("ip=10.0.0.5/8,gw=10.9.9.9,ip6=fd00::5/128,gw6=fe80::1", false, false)]
    #[case::whole("ip=10.0.0.5/0,gw=1.1.1.1,ip6=fd00::5/0,gw6=2001::1", false, false)]
    #[case::none("ip=dhcp,gw=1.1.1.1,ip6=auto,gw6=2001::1", false, false)]
    fn tells_far_gateways(#[case] value: &str, #[case] far4: bool, #[case] far6: bool) {
        let net = of(&format!("name=eth0,{value}")).unwrap().unwrap();
        assert_eq!((net.far_gw4().is_some(), net.far_gw6().is_some()), (far4, far6));
    }

    #[rstest]
    #[case("name=../x")]
    #[case("name=..")]
    #[case("name=eth0,ip=10.0.0.5")]
    #[case("name=eth0,ip=10.0.0.5/33")]
    #[case("name=eth0,ip6=fd00::1/129")]
    #[case("name=eth0,ip=10.0.0.5/24,gw=x")]
    fn refuses(#[case] value: &str) {
        assert!(of(value).is_err());
    }

    #[test]
    fn leaves_what_the_host_manages() {
        assert_eq!(of("name=eth0,ip=dhcp,host-managed=1").unwrap(), None);
    }

    #[rstest]
    #[case(0, "0.0.0.0")]
    #[case(8, "255.0.0.0")]
    #[case(27, "255.255.255.224")]
    #[case(32, "255.255.255.255")]
    fn writes_a_netmask(#[case] prefix: u8, #[case] mask: &str) {
        let cidr = Cidr { address: Ipv4Addr::LOCALHOST, prefix };
        assert_eq!(cidr.netmask().to_string(), mask);
    }
}
