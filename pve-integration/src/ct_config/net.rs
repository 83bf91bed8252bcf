//! `netN`.

use super::{PropertyList, ValueError};

/// One network interface, as PVE stores it. Addresses stay text: `dhcp`, `manual`, `auto` or CIDR.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Net {
    pub index: u8,
    /// Its name inside the container.
    pub name: String,
    pub bridge: Option<String>,
    pub hwaddr: Option<String>,
    pub ip: Option<String>,
    pub gw: Option<String>,
    pub ip6: Option<String>,
    pub gw6: Option<String>,
    pub mtu: Option<u16>,
    /// Megabytes a second, as written.
    pub rate: Option<String>,
    pub tag: Option<u16>,
    pub trunks: Option<String>,
    pub firewall: bool,
    pub link_down: bool,
    pub host_managed: bool,
}

impl Net {
    pub fn parse(key: &str, value: &str) -> Result<Self, ValueError> {
        let index = key.strip_prefix("net").and_then(|index| index.parse().ok());
        let index = index.ok_or_else(|| ValueError::new(key, "no network interface"))?;
        let mut list = PropertyList::parse(key, value, None)?;
        let owned = |text: &str| text.to_owned();
        let net = Self {
            index,
            name: list.required("name")?.to_owned(),
            bridge: list.text("bridge").map(owned),
            hwaddr: list.text("hwaddr").map(owned),
            ip: list.text("ip").map(owned),
            gw: list.text("gw").map(owned),
            ip6: list.text("ip6").map(owned),
            gw6: list.text("gw6").map(owned),
            mtu: list.number("mtu")?,
            rate: list.text("rate").map(owned),
            tag: list.number("tag")?,
            trunks: list.text("trunks").map(owned),
            firewall: list.flag("firewall")?.unwrap_or(false),
            link_down: list.flag("link_down")?.unwrap_or(false),
            host_managed: list.flag("host-managed")?.unwrap_or(false),
        };
        if let Some(kind) = list.text("type").filter(|kind| *kind != "veth") {
            let reason = format!("value '{kind}' does not have a value in the enumeration 'veth'");
            return Err(list.error("type", &reason));
        }
        list.finish()?;
        Ok(net)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_pve_stores() {
        let net = Net::parse(
            "net3",
            "name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:AA:BB:CC,ip=10.0.0.5/24,type=veth",
        )
        .unwrap();

        assert_eq!((net.index, net.name.as_str(), net.firewall), (3, "eth0", true));
        assert_eq!(net.ip.as_deref(), Some("10.0.0.5/24"));
    }

    #[test]
    fn names_what_is_missing() {
        let err = Net::parse("net0", "bridge=vmbr0").unwrap_err();

        assert!(err.reason.contains("net0.name: property is missing"), "{err}");
    }
}
