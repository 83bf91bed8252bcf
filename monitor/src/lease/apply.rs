//! A lease as the kernel has it: an address with a lifetime, and routes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use dhcp::v4::{self, Route};
use dhcp::v6;
use ipnet::Ipv4Net;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope, CacheInfo};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use rustix::io::Errno;

use crate::net::rtnetlink::{CHANGE, REPLACE, Rtnetlink};

/// A route by which an address set by hand goes is better than ours, and of two leases the one of the
/// first interface.
const METRIC: u32 = 1000;

/// One interface.
pub(super) struct Link {
    socket: Rtnetlink,
    pub(super) index: u32,
    pub(super) mac: [u8; 6],
    /// What it had at first.
    mtu: u32,
    v4: Option<(Ipv4Addr, u8)>,
    routes: Vec<RouteMessage>,
}

impl Link {
    /// In the namespace that this process is in.
    pub(super) fn open(index: u32) -> io::Result<Self> {
        let mut socket = Rtnetlink::open()?;
        let mut link = LinkMessage::default();
        link.header.index = index;
        let answers = socket.ask(Message::GetLink(link), CHANGE)?;
        let attributes = answers.into_iter().find_map(|answer| {
            let Message::NewLink(link) = answer else { return None };
            Some(link.attributes)
        });
        let (mut mac, mut mtu) = (None, 1500);
        for attribute in attributes.into_iter().flatten() {
            if let LinkAttribute::Address(bytes) = attribute {
                mac = bytes.try_into().ok();
            } else if let LinkAttribute::Mtu(value) = attribute {
                mtu = value;
            }
        }
        let no_ethernet = || io::Error::new(io::ErrorKind::Unsupported, "it has no MAC address");
        let mac = mac.ok_or_else(no_ethernet)?;
        Ok(Self { socket, index, mac, mtu, v4: None, routes: Vec::new() })
    }

    pub(super) fn use_v4(&mut self, lease: &v4::Lease) -> io::Result<()> {
        if let Some(mtu) = lease.mtu.map(u32::from).filter(|mtu| *mtu <= self.mtu) {
            self.set_mtu(mtu)?;
        }
        let net = Ipv4Net::new(lease.address, lease.prefix).map_err(io::Error::other)?;
        let mut address = self.address(lease.address.into(), lease.prefix);
        address.attributes.push(AddressAttribute::Local(lease.address.into()));
        address.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
        address.attributes.push(lifetime(lease.lifetime, lease.lifetime));
        self.socket.send(Message::NewAddress(address), REPLACE)?;
        self.v4 = Some((lease.address, lease.prefix));

        let wanted = self.wanted_routes(lease, net);
        let old = std::mem::take(&mut self.routes);
        for route in old.into_iter().filter(|route| !wanted.contains(route)) {
            absent(self.socket.send(Message::DelRoute(route), CHANGE))?;
        }
        for route in wanted {
            self.socket.send(Message::NewRoute(route.clone()), REPLACE)?;
            self.routes.push(route);
        }
        Ok(())
    }

    fn wanted_routes(&self, lease: &v4::Lease, net: Ipv4Net) -> Vec<RouteMessage> {
        let mut routes: Vec<Route> = Vec::new();
        let on_link: Vec<_> = lease.routes.iter().filter(|route| route.gateway.is_none()).collect();
        for route in &lease.routes {
            // A gateway that no address reaches gets a route of its own, as some clouds have it.
            let near = |gateway: &Ipv4Addr| {
                net.contains(gateway) || on_link.iter().any(|route| route.to.contains(gateway))
            };
            if let Some(gateway) = route.gateway.filter(|gateway| !near(gateway)) {
                let own = Route { to: Ipv4Net::from(gateway), gateway: None };
                if !routes.contains(&own) {
                    routes.push(own);
                }
            }
        }
        // Gateways must be reachable before what goes through them.
        routes.extend(on_link);
        routes.extend(lease.routes.iter().filter(|route| route.gateway.is_some()));
        routes.iter().map(|route| self.route(route, lease.address)).collect()
    }

    fn route(&self, route: &Route, source: Ipv4Addr) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: AddressFamily::Inet,
            destination_prefix_length: route.to.prefix_len(),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Dhcp,
            scope: if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link },
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        let attributes = &mut message.attributes;
        if route.to.prefix_len() > 0 {
            attributes.push(RouteAttribute::Destination(RouteAddress::Inet(route.to.network())));
        }
        attributes.push(RouteAttribute::Oif(self.index));
        attributes.push(RouteAttribute::PrefSource(RouteAddress::Inet(source)));
        attributes.push(RouteAttribute::Priority(METRIC + self.index.min(METRIC)));
        let gateway = route.gateway.map(|ip| RouteAttribute::Gateway(RouteAddress::Inet(ip)));
        attributes.extend(gateway);
        message
    }

    pub(super) fn lose_v4(&mut self) -> io::Result<()> {
        for route in std::mem::take(&mut self.routes).into_iter().rev() {
            absent(self.socket.send(Message::DelRoute(route), CHANGE))?;
        }
        let Some((address, prefix)) = self.v4.take() else { return Ok(()) };
        let mut message = self.address(address.into(), prefix);
        message.attributes.push(AddressAttribute::Local(address.into()));
        absent(self.socket.send(Message::DelAddress(message), CHANGE))
    }

    /// One of one: which others are on the link routers tell.
    pub(super) fn use_v6(&mut self, lease: &v6::Lease) -> io::Result<()> {
        let mut address = self.address(lease.address.into(), 128);
        address.attributes.push(lifetime(lease.preferred, lease.valid));
        self.socket.send(Message::NewAddress(address), REPLACE)
    }

    pub(super) fn lose_v6(&mut self, address: Ipv6Addr) -> io::Result<()> {
        let message = self.address(address.into(), 128);
        absent(self.socket.send(Message::DelAddress(message), CHANGE))
    }

    fn address(&self, address: IpAddr, prefix: u8) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family =
            if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.prefix_len = prefix;
        message.header.scope = AddressScope::Universe;
        message.header.index = self.index;
        message.attributes.push(AddressAttribute::Address(address));
        message
    }

    fn set_mtu(&mut self, mtu: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = self.index;
        link.attributes.push(LinkAttribute::Mtu(mtu));
        self.socket.send(Message::SetLink(link), CHANGE)
    }
}

fn lifetime(preferred: Option<Duration>, valid: Option<Duration>) -> AddressAttribute {
    let count = |time: Option<Duration>| {
        time.map_or(u32::MAX, |time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX))
    };
    let mut info = CacheInfo::default();
    (info.ifa_preferred, info.ifa_valid) = (count(preferred), count(valid));
    AddressAttribute::CacheInfo(info)
}

/// The container, or the kernel at the end of its time, may have removed it.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Ok(()) => Ok(()),
        Err(err) => match Errno::from_io_error(&err) {
            Some(Errno::ADDRNOTAVAIL | Errno::SRCH | Errno::NODEV | Errno::NOENT) => Ok(()),
            Some(_) | None => Err(err),
        },
    }
}
