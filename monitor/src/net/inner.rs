//! Steps in the container's network namespace, which this process is in.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use pve_integration::network::InnerStep;
use rustix::io::Errno;

use super::rtnetlink::{CHANGE, NEW, REPLACE, Rtnetlink};
use super::{write_ipv6, write_sysctl};
use crate::error::{Error, Result};

pub(super) struct Inner {
    socket: Rtnetlink,
}

impl Inner {
    pub(super) fn new(socket: Rtnetlink) -> Self {
        Self { socket }
    }

    pub(super) fn take(&mut self, step: &InnerStep) -> Result<()> {
        let done = match step {
            InnerStep::Up { name } => self.socket.set_up(name, true),
            InnerStep::Mtu { name, mtu } => self.socket.set(name, vec![LinkAttribute::Mtu(*mtu)]),
            InnerStep::Autoconf { name } => {
                write_ipv6(name, "accept_ra", "1").and_then(|()| write_ipv6(name, "autoconf", "1"))
            }
            InnerStep::Address { name, address } => self
                .address(name, *address)
                .and_then(|m| self.socket.send(Message::NewAddress(m), NEW)),
            InnerStep::RemoveAddress { name, address } => self.remove_address(name, *address),
            InnerStep::Gateway { name, gateway, reachable } => {
                self.gateway(name, *gateway, *reachable)
            }
            InnerStep::RemoveGateway { name, v6 } => self.remove_gateway(name, *v6),
        };
        done.map_err(|source| Error::Network { what: description(step), source })
    }

    fn address(&self, name: &str, address: IpNet) -> io::Result<AddressMessage> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.index = self.socket.index(name)?;
        message.attributes = vec![
            AddressAttribute::Local(address.addr()),
            AddressAttribute::Address(address.addr()),
        ];
        if let IpNet::V4(address) = address
            && address.prefix_len() < 31
        {
            message.attributes.push(AddressAttribute::Broadcast(address.broadcast()));
        }
        Ok(message)
    }

    /// The container may have removed it itself.
    fn remove_address(&mut self, name: &str, address: IpNet) -> io::Result<()> {
        if address.addr().is_ipv4() {
            // Without this, every later address of the same network would go with the first.
            write_sysctl(&format!("ipv4/conf/{name}/promote_secondaries"), "1")?;
        }
        let message = self.address(name, address)?;
        tolerate(self.socket.send(Message::DelAddress(message), CHANGE), Errno::ADDRNOTAVAIL)
    }

    fn gateway(&mut self, name: &str, gateway: IpAddr, reachable: bool) -> io::Result<()> {
        let link = RouteAttribute::Oif(self.socket.index(name)?);
        if !reachable {
            let mut header = header(gateway.is_ipv6());
            header.scope = RouteScope::Link;
            header.destination_prefix_length = if gateway.is_ipv6() { 128 } else { 32 };
            let to = RouteAttribute::Destination(route_address(gateway));
            self.route(header, vec![to, link.clone()])?;
        }
        let via = RouteAttribute::Gateway(route_address(gateway));
        self.route(header(gateway.is_ipv6()), vec![via, link])
    }

    fn route(&mut self, header: RouteHeader, attributes: Vec<RouteAttribute>) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header = header;
        message.attributes = attributes;
        self.socket.send(Message::NewRoute(message), REPLACE)
    }

    fn remove_gateway(&mut self, name: &str, v6: bool) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header = header(v6);
        message.attributes = vec![RouteAttribute::Oif(self.socket.index(name)?)];
        tolerate(self.socket.send(Message::DelRoute(message), CHANGE), Errno::SRCH)
    }
}

/// Of a default route.
fn header(v6: bool) -> RouteHeader {
    RouteHeader {
        address_family: if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet },
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Boot,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

fn tolerate(done: io::Result<()>, errno: Errno) -> io::Result<()> {
    match done {
        Err(err) if err.raw_os_error() == Some(errno.raw_os_error()) => Ok(()),
        done => done,
    }
}

/// What could not be done, behind "cannot".
fn description(step: &InnerStep) -> String {
    match step {
        InnerStep::Up { name } => format!("set '{name}' up in the container"),
        InnerStep::Mtu { name, mtu } => format!("set the MTU of '{name}' to {mtu}"),
        InnerStep::Autoconf { name } => format!("let '{name}' take addresses from routers"),
        InnerStep::Address { name, address } => format!("give '{name}' the address {address}"),
        InnerStep::RemoveAddress { name, address } => {
            format!("take the address {address} from '{name}'")
        }
        InnerStep::Gateway { name, gateway, .. } => {
            format!("make {gateway} the gateway of '{name}'")
        }
        InnerStep::RemoveGateway { name, .. } => format!("remove the gateway of '{name}'"),
    }
}
