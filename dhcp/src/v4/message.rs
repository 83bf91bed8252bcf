//! Messages of DHCPv4: what we ask, and what an answer says.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use ipnet::Ipv4Net;

use super::{Lease, Route, is_usable};
use crate::resolver::Resolver;
use crate::{FOR_EVER, Identity, seconds, sift};

/// A shorter message is no message to some relays (RFC 1542).
const SHORTEST: usize = 300;
/// The largest that we take, IPv4 and UDP included.
const LARGEST: u16 = 1500;
/// A lease that is shorter keeps both sides busy and nobody reachable.
const SHORTEST_LEASE: u32 = 4;
const MOST_ROUTES: usize = 32;
/// What IPv4 needs at least, and what is no accident any more.
const MTU: std::ops::RangeInclusive<u16> = 576..=9216;

pub(super) enum Ask {
    Discover { hint: Option<Ipv4Addr> },
    Request { address: Ipv4Addr, server: Ipv4Addr },
    Reboot { address: Ipv4Addr },
    Extend { ours: Ipv4Addr },
    Release { ours: Ipv4Addr, server: Ipv4Addr },
}

impl Ask {
    pub(super) fn message(&self, who: &Identity, xid: u32, asking_for: Duration) -> Vec<u8> {
        use DhcpOption::{ParameterRequestList, RequestedIpAddress, ServerIdentifier};

        let nobody = Ipv4Addr::UNSPECIFIED;
        let ours = match self {
            Self::Extend { ours } | Self::Release { ours, .. } => *ours,
            Self::Discover { .. } | Self::Request { .. } | Self::Reboot { .. } => nobody,
        };
        let mut message = Message::new_with_id(xid, ours, nobody, nobody, nobody, &who.mac);
        message.set_secs(u16::try_from(asking_for.as_secs()).unwrap_or(u16::MAX));
        message.set_flags(Flags::default());
        let options = message.opts_mut();
        let (kind, own) = match self {
            Self::Discover { hint } => {
                (MessageType::Discover, hint.map(RequestedIpAddress).into_iter().collect())
            }
            Self::Request { address, server } => {
                let own = vec![RequestedIpAddress(*address), ServerIdentifier(*server)];
                (MessageType::Request, own)
            }
            Self::Reboot { address } => (MessageType::Request, vec![RequestedIpAddress(*address)]),
            Self::Extend { .. } => (MessageType::Request, Vec::new()),
            Self::Release { server, .. } => (MessageType::Release, vec![ServerIdentifier(*server)]),
        };
        options.insert(DhcpOption::MessageType(kind));
        for option in own {
            options.insert(option);
        }
        options.insert(DhcpOption::ClientIdentifier([&[1], &who.mac[..]].concat()));
        if kind != MessageType::Release {
            options.insert(DhcpOption::MaxMessageSize(LARGEST));
            options.insert(ParameterRequestList(wanted()));
            if let Some(name) = &who.hostname {
                options.insert(DhcpOption::Hostname(name.clone()));
            }
        }
        let mut bytes = Vec::new();
        // Into memory, and all of it is of our own making: nothing can be too long.
        if message.encode(&mut Encoder::new(&mut bytes)).is_err() {
            bytes.clear();
        }
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes
    }
}

fn wanted() -> Vec<OptionCode> {
    use OptionCode::{
        AddressLeaseTime, ClasslessStaticRoute, DomainName, DomainNameServer, DomainSearch,
        InterfaceMtu, Rebinding, Renewal, Router, SubnetMask,
    };
    // RFC 3442: routes before the router.
    vec![
        SubnetMask,
        ClasslessStaticRoute,
        Router,
        DomainNameServer,
        DomainName,
        InterfaceMtu,
        AddressLeaseTime,
        Renewal,
        Rebinding,
        DomainSearch,
    ]
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) xid: u32,
    pub(super) mac: [u8; 6],
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Offer(Lease),
    Ack(Lease),
    /// Of this server.
    Nak(Ipv4Addr),
}

impl Reply {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let sifted = sift::v4(bytes)?;
        let message = Message::decode(&mut Decoder::new(&sifted)).ok()?;
        if message.opcode() != Opcode::BootReply {
            return None;
        }
        let mac = message.chaddr().try_into().ok()?;
        let Some(DhcpOption::MessageType(kind)) = value(&message, OptionCode::MessageType) else {
            return None;
        };
        let kind = if *kind == MessageType::Offer {
            Kind::Offer(lease(&message)?)
        } else if *kind == MessageType::Ack {
            Kind::Ack(lease(&message)?)
        } else if *kind == MessageType::Nak {
            Kind::Nak(server(&message)?)
        } else {
            return None;
        };
        Some(Self { xid: message.xid(), mac, kind })
    }
}

fn value(message: &Message, code: OptionCode) -> Option<&DhcpOption> {
    message.opts().get(code)
}

fn server(message: &Message) -> Option<Ipv4Addr> {
    match value(message, OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) if is_usable(*server) => Some(*server),
        _ => None,
    }
}

fn lease(message: &Message) -> Option<Lease> {
    let address = Some(message.yiaddr()).filter(|address| is_usable(*address))?;
    let total = match value(message, OptionCode::AddressLeaseTime) {
        Some(DhcpOption::AddressLeaseTime(time)) if *time >= SHORTEST_LEASE => *time,
        _ => return None,
    };
    let prefix = match value(message, OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => ipnet::ipv4_mask_to_prefix(*mask).ok()?,
        _ => 32,
    };
    let given = |code| match value(message, code) {
        Some(DhcpOption::Renewal(time) | DhcpOption::Rebinding(time)) => Some(*time),
        _ => None,
    };
    let eighths = |count: u64| u32::try_from(u64::from(total) * count / 8).unwrap_or(total);
    // Times that make no sense are those the standard has for none.
    let rebinding = given(OptionCode::Rebinding).filter(|t2| *t2 < total && *t2 > 1);
    let rebinding = rebinding.unwrap_or_else(|| eighths(7));
    let renewal = given(OptionCode::Renewal).filter(|t1| *t1 < rebinding && *t1 > 0);
    let renewal = renewal.unwrap_or_else(|| eighths(4).min(rebinding.saturating_sub(1)));
    Some(Lease {
        address,
        prefix,
        routes: routes(message),
        mtu: match value(message, OptionCode::InterfaceMtu) {
            Some(DhcpOption::InterfaceMtu(mtu)) if MTU.contains(mtu) => Some(*mtu),
            _ => None,
        },
        resolver: resolver(message),
        lifetime: (total != FOR_EVER).then(|| seconds(total)),
        server: server(message)?,
        renewal: seconds(renewal),
        rebinding: seconds(rebinding),
    })
}

/// RFC 3442: a server that gives routes has given the default one among them.
fn routes(message: &Message) -> Vec<Route> {
    if let Some(DhcpOption::ClasslessStaticRoute(routes)) =
        value(message, OptionCode::ClasslessStaticRoute)
    {
        let route = |(to, gateway): &(Ipv4Net, Ipv4Addr)| Route {
            to: to.trunc(),
            gateway: Some(*gateway).filter(|gateway| !gateway.is_unspecified()),
        };
        let usable = |route: &Route| route.gateway.is_none_or(is_usable);
        return routes.iter().map(route).filter(usable).take(MOST_ROUTES).collect();
    }
    match value(message, OptionCode::Router) {
        Some(DhcpOption::Router(routers)) => {
            let first = routers.iter().copied().find(|router| is_usable(*router));
            let route = |gateway| Route { to: Ipv4Net::default(), gateway: Some(gateway) };
            first.map(route).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn resolver(message: &Message) -> Resolver {
    let servers = match value(message, OptionCode::DomainNameServer) {
        Some(DhcpOption::DomainNameServer(servers)) => servers.as_slice(),
        _ => &[],
    };
    let search = match value(message, OptionCode::DomainSearch) {
        Some(DhcpOption::DomainSearch(names)) => names.iter().map(ToString::to_string).collect(),
        _ => match value(message, OptionCode::DomainName) {
            // Some put a list in here, and some a zero byte behind it.
            Some(DhcpOption::DomainName(names)) => {
                let names = names.trim_end_matches('\0').split_whitespace();
                names.map(str::to_owned).collect()
            }
            _ => Vec::new(),
        },
    };
    Resolver::new(servers.iter().copied().map(IpAddr::V4), search)
}
