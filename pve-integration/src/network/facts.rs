//! What the host has for containers' interfaces, as sysfs shows it.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;

use super::NetworkError;
use crate::ct_config::Net;
use crate::firewall;
use crate::host::{bridge_exists, interface, interface_mtu};
use crate::layout::Root;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub bridges: BTreeMap<String, Bridge>,
    /// Whether PVE's firewall is there to look at what passes its bridges.
    pub firewall: bool,
    pub ipv6: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    pub mtu: u32,
    /// It is the kernel's, not another program's.
    pub plain: bool,
    pub vlan_aware: bool,
    /// Its ports that lead out of this machine.
    pub uplinks: Vec<String>,
}

impl Facts {
    /// As far as it concerns these interfaces.
    pub fn read<'n>(root: &Root, nets: impl IntoIterator<Item = &'n Net>) -> Self {
        let names = nets.into_iter().filter_map(|net| net.bridge.clone());
        let bridges = names.filter_map(|name| Some((name.clone(), Bridge::read(&name)?)));
        Self {
            bridges: bridges.collect(),
            firewall: firewall::is_enforced(root),
            ipv6: Path::new("/proc/sys/net/ipv6").is_dir(),
        }
    }

    pub(super) fn bridge(&self, key: &str, name: &str) -> Result<&Bridge, NetworkError> {
        match self.bridges.get(name) {
            Some(bridge) if bridge.plain => Ok(bridge),
            Some(_) => {
                Err(NetworkError::OtherBridge { key: key.to_owned(), bridge: name.to_owned() })
            }
            None => Err(NetworkError::NoBridge(name.to_owned())),
        }
    }
}

impl Bridge {
    fn read(name: &str) -> Option<Self> {
        let mtu = interface_mtu(name)?;
        let folder = interface(name)?;
        let vlan_aware = fs::read_to_string(folder.join("bridge/vlan_filtering"))
            .is_ok_and(|text| text.trim() == "1");
        let ports = fs::read_dir(folder.join("brif")).into_iter().flatten().flatten();
        let ports = ports.filter_map(|entry| entry.file_name().into_string().ok());
        let mut uplinks: Vec<_> = ports.filter(|port| leads_out(port)).collect();
        uplinks.sort();
        Some(Self { mtu, plain: bridge_exists(name), vlan_aware, uplinks })
    }
}

/// Hardware, a bond, or what is named as if it were, with or without a VLAN: PVE's own rules, of
/// which it has had two.
fn leads_out(port: &str) -> bool {
    let has = |file: &str| interface(port).is_some_and(|path| path.join(file).exists());
    let plain = port.split_once('.').map_or(port, |(name, _)| name);
    let numbered = |stem: &str| {
        let number = plain.strip_prefix(stem);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    has("device")
        || has("bonding")
        || numbered("eth")
        || numbered("bond")
        || is_named_by_slot(plain)
}

/// systemd's names for cards: `eno1`, `enp3s0`, `ens18`, `enx...`.
fn is_named_by_slot(name: &str) -> bool {
    ["eno", "enp", "ens", "enx", "enP"].iter().any(|stem| name.starts_with(stem))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("eth77", true)]
    #[case("bond9.5", true)]
    #[case("enp3s0f1", true)]
    #[case("veth100i0", false)]
    #[case("ether", false)]
    #[case("fwpr100p0", false)]
    fn knows_a_cable_by_its_name(#[case] name: &str, #[case] out: bool) {
        assert_eq!(leads_out(name), out);
    }

    #[test]
    fn tells_a_bridge_that_is_not_there_from_what_is_none() {
        let net = |value: &str| Net::parse("net0", value).unwrap();
        let nets = [net("name=eth0,bridge=lo"), net("name=eth1,bridge=lxcri-none")];
        let facts = Facts::read(&Root::new("/nowhere").unwrap(), &nets);

        assert!(!facts.firewall);
        assert_eq!(
            facts.bridge("net0", "lo").unwrap_err().to_string(),
            "net0: 'lo' is no bridge of the kernel's; Open vSwitch is not supported"
        );
        assert_eq!(
            facts.bridge("net1", "lxcri-none").unwrap_err().to_string(),
            "bridge 'lxcri-none' does not exist"
        );
    }
}
