//! Steps in the host's network namespace.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use fs_err as fs;
use netlink_packet_route::link::{
    AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, InfoData, InfoKind, InfoVeth, InfoVlan,
    LinkAttribute, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use pve_integration::network::{HostStep, Mac, Vlans};
use rustix::io::Errno;

use super::rtnetlink::{CHANGE, NEW, Rtnetlink};
use super::{LINKS, is_owned, limit, write_ipv6};
use crate::error::{Error, Result};

pub(super) struct Host<'n> {
    socket: Rtnetlink,
    /// Written on each link that is one container's.
    owner: String,
    namespace: BorrowedFd<'n>,
}

impl<'n> Host<'n> {
    pub(super) fn new(socket: Rtnetlink, owner: String, namespace: BorrowedFd<'n>) -> Self {
        Self { socket, owner, namespace }
    }

    pub(super) fn take(&mut self, step: &HostStep) -> Result<()> {
        let done = match step {
            HostStep::Pair { .. } => self.pair(step),
            HostStep::VlanBridge { name, tag, mtu, uplinks } => {
                return self.vlan_bridge(name, *tag, *mtu, uplinks);
            }
            HostStep::FirewallBridge { name, link, peer, mtu } => {
                self.firewall_bridge(name, link, peer, *mtu)
            }
            HostStep::Mtu { link, mtu } => self.socket.set(link, vec![LinkAttribute::Mtu(*mtu)]),
            HostStep::Port { link, bridge } => self.port(link, bridge),
            HostStep::Vlans { link, vlans } => self.vlans(link, vlans),
            HostStep::Rate { link, limit } => limit::set(&mut self.socket, link, *limit),
            HostStep::Up { link } => self.socket.set_up(link, true),
            HostStep::Down { link } => self.socket.set_up(link, false),
            HostStep::Unplug { link } => self.socket.set(link, vec![LinkAttribute::Controller(0)]),
            HostStep::Remove { link } if is_owned(link, &self.owner) => {
                self.socket.remove_link(link)
            }
            HostStep::Remove { .. } => Ok(()),
        };
        done.map_err(|source| Error::Network { what: description(step), source })
    }

    fn pair(&mut self, step: &HostStep) -> io::Result<()> {
        let HostStep::Pair { outer, outer_mtu, inner, inner_mtu, hwaddr } = step else {
            return Ok(());
        };
        let mut peer = vec![
            LinkAttribute::IfName(inner.clone()),
            LinkAttribute::NetNsFd(self.namespace.as_raw_fd()),
        ];
        peer.extend(inner_mtu.map(LinkAttribute::Mtu));
        peer.extend(hwaddr.map(|Mac(address)| LinkAttribute::Address(address.to_vec())));
        let mut own: Vec<_> = outer_mtu.map(LinkAttribute::Mtu).into_iter().collect();
        own.extend(hwaddr.map(|address| LinkAttribute::Address(outer_address(address).to_vec())));
        self.veth(outer, own, peer)
    }

    /// A pair of links, the first end marked as ours and without an address of its own.
    fn veth(
        &mut self,
        name: &str,
        mut own: Vec<LinkAttribute>,
        peer: Vec<LinkAttribute>,
    ) -> io::Result<()> {
        let mut other = LinkMessage::default();
        other.attributes = peer;
        own.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
        ]));
        self.make(name, own)?;
        self.mark(name)
    }

    fn make(&mut self, name: &str, attributes: Vec<LinkAttribute>) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.attributes = attributes;
        link.attributes.insert(0, LinkAttribute::IfName(name.to_owned()));
        self.socket.send(Message::NewLink(link), NEW)
    }

    fn mark(&mut self, name: &str) -> io::Result<()> {
        self.socket.set(name, vec![LinkAttribute::IfAlias(self.owner.clone())])?;
        // On a bridge it needs none, and nobody shall reach the host by it.
        write_ipv6(name, "disable_ipv6", "1")
    }

    fn port(&mut self, link: &str, bridge: &str) -> io::Result<()> {
        let bridge = self.socket.index(bridge)?;
        self.socket.set(link, vec![LinkAttribute::Controller(bridge)])
    }

    fn vlans(&mut self, link: &str, vlans: &Vlans) -> io::Result<()> {
        if vlans.untagged.is_some() {
            // What the bridge gives every port by default.
            self.vlan(link, 1, 4094, BridgeVlanInfoFlags::empty(), false)?;
        }
        if let Some(tag) = vlans.untagged {
            let flags = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
            self.vlan(link, tag, tag, flags, true)?;
        }
        vlans.tagged.iter().try_for_each(|range| {
            self.vlan(link, *range.start(), *range.end(), BridgeVlanInfoFlags::empty(), true)
        })
    }

    fn vlan(
        &mut self,
        link: &str,
        first: u16,
        last: u16,
        flags: BridgeVlanInfoFlags,
        add: bool,
    ) -> io::Result<()> {
        let info = |vid, flags| AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid });
        let infos = if first == last {
            vec![info(first, flags)]
        } else {
            vec![
                info(first, flags | BridgeVlanInfoFlags::RangeBegin),
                info(last, flags | BridgeVlanInfoFlags::RangeEnd),
            ]
        };
        let mut message = LinkMessage::default();
        message.header.interface_family = AddressFamily::Bridge;
        message.header.index = self.socket.index(link)?;
        message.attributes = vec![LinkAttribute::AfSpecBridge(infos)];
        let message = if add { Message::SetLink(message) } else { Message::DelLink(message) };
        self.socket.send(message, CHANGE)
    }

    fn firewall_bridge(&mut self, name: &str, link: &str, peer: &str, mtu: u32) -> io::Result<()> {
        self.bridge(name)?;
        self.mark(name)?;
        let end =
            |name: &str| vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Mtu(mtu)];
        self.veth(link, vec![LinkAttribute::Mtu(mtu)], end(peer))?;
        self.mark(peer)?;
        self.port(link, name)?;
        self.socket.set_up(name, true)?;
        self.socket.set_up(link, true)
    }

    fn bridge(&mut self, name: &str) -> io::Result<()> {
        self.make(name, vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)])])
    }

    /// Several containers may ask for the same at once.
    fn vlan_bridge(&mut self, name: &str, tag: u16, mtu: u32, uplinks: &[String]) -> Result<()> {
        let failed = |source| Error::Network { what: format!("make the bridge '{name}'"), source };
        tolerate_existing(self.bridge(name)).map_err(failed)?;
        write_ipv6(name, "disable_ipv6", "1").map_err(failed)?;
        self.socket.set(name, vec![LinkAttribute::Mtu(mtu)]).map_err(failed)?;
        for uplink in uplinks {
            self.vlan_uplink(name, uplink, tag)?;
        }
        self.socket.set_up(name, true).map_err(failed)
    }

    fn vlan_uplink(&mut self, bridge: &str, uplink: &str, tag: u16) -> Result<()> {
        let name = format!("{uplink}.{tag}");
        let what = || format!("put VLAN {tag} of '{uplink}' on bridge '{bridge}'");
        let failed = |source| Error::Network { what: what(), source };
        let on = fs::read_link(format!("{LINKS}/{name}/brport/bridge")).ok();
        match on.as_deref().and_then(|path| path.file_name()?.to_str()) {
            Some(other) if other == bridge => return Ok(()),
            Some(other) => {
                return Err(Error::VlanTaken { link: name, bridge: other.to_owned() });
            }
            None => {}
        }
        let index = self.socket.index(uplink).map_err(failed)?;
        let made = self.make(
            &name,
            vec![
                LinkAttribute::Link(index),
                LinkAttribute::LinkInfo(vec![
                    LinkInfo::Kind(InfoKind::Vlan),
                    LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(tag)])),
                ]),
            ],
        );
        tolerate_existing(made).map_err(failed)?;
        write_ipv6(&name, "disable_ipv6", "1").map_err(failed)?;
        self.socket.set_up(&name, true).map_err(failed)?;
        self.port(&name, bridge).map_err(failed)
    }
}

fn tolerate_existing(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(err) if err.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => Ok(()),
        made => made,
    }
}

/// A bridge without an address of its own takes the lowest of its ports: as LXC does, ours is a high
/// one.
fn outer_address(Mac([_, rest @ ..]): Mac) -> [u8; 6] {
    let [b, c, d, e, f] = rest;
    [0xfe, b, c, d, e, f]
}

/// What could not be done, behind "cannot".
fn description(step: &HostStep) -> String {
    match step {
        HostStep::Pair { outer, inner, .. } => format!("make the interface '{inner}' ('{outer}')"),
        HostStep::VlanBridge { name, .. } | HostStep::FirewallBridge { name, .. } => {
            format!("make the bridge '{name}'")
        }
        HostStep::Mtu { link, mtu } => format!("set the MTU of '{link}' to {mtu}"),
        HostStep::Port { link, bridge } => format!("put '{link}' on bridge '{bridge}'"),
        HostStep::Vlans { link, .. } => format!("set the VLANs of '{link}'"),
        HostStep::Rate { link, .. } => format!("limit the rate of '{link}'"),
        HostStep::Up { link } => format!("set '{link}' up"),
        HostStep::Down { link } => format!("set '{link}' down"),
        HostStep::Unplug { link } => format!("take '{link}' off its bridge"),
        HostStep::Remove { link } => format!("remove '{link}'"),
    }
}
