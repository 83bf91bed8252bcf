//! Messages of DHCPv6: what we ask, and what an answer says.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use dhcproto::v6::{
    DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, ORO, OptionCode, Status,
    UnknownOption,
};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

use super::{Lease, is_usable};
use crate::resolver::Resolver;
use crate::{FOR_EVER, Identity, seconds, sift};

/// A shorter lease keeps both sides busy and nobody reachable.
const SHORTEST_LEASE: u32 = 4;

pub(super) enum Ask<'a> {
    Solicit { hint: Option<Ipv6Addr> },
    Request { address: Ipv6Addr, server: &'a [u8] },
    Renew { address: Ipv6Addr, server: &'a [u8] },
    Rebind { address: Ipv6Addr },
    Release { address: Ipv6Addr, server: &'a [u8] },
}

impl Ask<'_> {
    pub(super) fn message(&self, who: &Identity, xid: u32, asking_for: Duration) -> Vec<u8> {
        let (kind, address, server) = match *self {
            Self::Solicit { hint } => (MessageType::Solicit, hint, None),
            Self::Request { address, server } => {
                (MessageType::Request, Some(address), Some(server))
            }
            Self::Renew { address, server } => (MessageType::Renew, Some(address), Some(server)),
            Self::Rebind { address } => (MessageType::Rebind, Some(address), None),
            Self::Release { address, server } => {
                (MessageType::Release, Some(address), Some(server))
            }
        };
        let [_, a, b, c] = xid.to_be_bytes();
        let mut message = Message::new_with_id(kind, [a, b, c]);
        let options = message.opts_mut();
        options.insert(DhcpOption::ClientId(identifier(who)));
        if let Some(server) = server {
            options.insert(DhcpOption::ServerId(server.to_vec()));
        }
        let hundredths = u16::try_from(asking_for.as_millis() / 10).unwrap_or(u16::MAX);
        options.insert(DhcpOption::ElapsedTime(hundredths));
        options.insert(DhcpOption::IANA(association(who, address)));
        if kind != MessageType::Release {
            let opts = vec![OptionCode::DomainNameServers, OptionCode::DomainSearchList];
            options.insert(DhcpOption::ORO(ORO { opts }));
            if let Some(name) = who.hostname.as_deref().and_then(qualified) {
                let unknown = UnknownOption::new(OptionCode::ClientFqdn, name);
                options.insert(DhcpOption::Unknown(unknown));
            }
        }
        let mut bytes = Vec::new();
        // Into memory, and all of it is of our own making: nothing can be too long.
        if message.encode(&mut Encoder::new(&mut bytes)).is_err() {
            bytes.clear();
        }
        bytes
    }
}

/// DUID-LL: the hardware address, so that it is the same after a restart.
fn identifier(who: &Identity) -> Vec<u8> {
    [&[0, 3, 0, 1], &who.mac[..]].concat()
}

fn association(who: &Identity, address: Option<Ipv6Addr>) -> IANA {
    let [.., a, b, c, d] = who.mac;
    let address = address.map(|addr| {
        let opts = DhcpOptions::new();
        DhcpOption::IAAddr(IAAddr { addr, preferred_life: 0, valid_life: 0, opts })
    });
    let opts = address.into_iter().collect();
    IANA { id: u32::from_be_bytes([a, b, c, d]), t1: 0, t2: 0, opts }
}

/// RFC 4704: the server may enter it where names are looked up.
fn qualified(hostname: &str) -> Option<Vec<u8>> {
    const SERVER_ENTERS: u8 = 1;
    let mut data = vec![SERVER_ENTERS];
    for label in hostname.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        data.push(length);
        data.extend(label.as_bytes());
    }
    // Without a dot it is a part of a name, and such a one has no end.
    if hostname.contains('.') {
        data.push(0);
    }
    (data.len() <= 255).then_some(data)
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) xid: u32,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Advertise(Lease),
    Reply(Lease),
    /// This server says that the address cannot be ours.
    Refusal {
        server: Vec<u8>,
    },
}

impl Reply {
    pub(super) fn parse(bytes: &[u8], who: &Identity) -> Option<Self> {
        let sifted = sift::v6(bytes)?;
        let message = Message::decode(&mut Decoder::new(&sifted)).ok()?;
        let options = message.opts();
        match options.get(OptionCode::ClientId) {
            Some(DhcpOption::ClientId(client)) if *client == identifier(who) => {}
            _ => return None,
        }
        let DhcpOption::ServerId(server) = options.get(OptionCode::ServerId)? else { return None };
        let advertised = message.msg_type() == MessageType::Advertise;
        if !advertised && message.msg_type() != MessageType::Reply {
            return None;
        }
        let kind = match lease(options, who, server) {
            Ok(lease) if advertised => Kind::Advertise(lease),
            Ok(lease) => Kind::Reply(lease),
            Err(Reason::Refused) if !advertised => Kind::Refusal { server: server.clone() },
            Err(Reason::Refused | Reason::Unclear) => return None,
        };
        Some(Self { xid: message.xid_num(), kind })
    }
}

/// That asking again does not help.
const REFUSALS: [Status; 3] = [Status::NoBinding, Status::NotOnLink, Status::NoAddrsAvail];

enum Reason {
    Refused,
    /// Asking again may help.
    Unclear,
}

fn lease(options: &DhcpOptions, who: &Identity, server: &[u8]) -> Result<Lease, Reason> {
    check(options)?;
    let own = association(who, None).id;
    let all = options.get_all(OptionCode::IANA).unwrap_or_default();
    let association = all.iter().find_map(|option| {
        let DhcpOption::IANA(association) = option else { return None };
        (association.id == own).then_some(association)
    });
    let association = association.ok_or(Reason::Unclear)?;
    check(&association.opts)?;
    let addresses = association.opts.get_all(OptionCode::IAAddr).unwrap_or_default();
    let given = addresses.iter().find_map(|option| {
        let DhcpOption::IAAddr(given) = option else { return None };
        (given.valid_life >= SHORTEST_LEASE).then_some(given)
    });
    // Only ones whose time is over: they are taken back.
    let given =
        given.ok_or(if addresses.is_empty() { Reason::Unclear } else { Reason::Refused })?;
    check(&given.opts)?;
    if !is_usable(&given.addr) || given.preferred_life > given.valid_life {
        return Err(Reason::Unclear);
    }
    let life = |count: u32| (count != FOR_EVER).then(|| seconds(count));
    let tenths = |count: u64| {
        let base = u64::from(given.preferred_life.max(2));
        Some(u32::try_from(base * count / 10).unwrap_or(FOR_EVER).max(1))
    };
    // Zero leaves it to us, and times that make no sense do too; half and 4/5 are the standard's.
    let rebinding = match association.t2 {
        0 if given.preferred_life == FOR_EVER => None,
        t2 if t2 > 1 && t2 < given.valid_life => Some(t2),
        _ => tenths(8),
    };
    let renewal = match association.t1 {
        0 if given.preferred_life == FOR_EVER => None,
        t1 if t1 > 0 && rebinding.is_none_or(|t2| t1 < t2) => Some(t1),
        _ => tenths(5),
    };
    Ok(Lease {
        address: given.addr,
        preferred: life(given.preferred_life),
        valid: life(given.valid_life),
        resolver: resolver(options),
        server: server.to_vec(),
        renewal: renewal.filter(|t1| *t1 != FOR_EVER).map(seconds),
        rebinding: rebinding.filter(|t2| *t2 != FOR_EVER).map(seconds),
    })
}

fn check(options: &DhcpOptions) -> Result<(), Reason> {
    match options.get(OptionCode::StatusCode) {
        Some(DhcpOption::StatusCode(code)) if REFUSALS.contains(&code.status) => {
            Err(Reason::Refused)
        }
        Some(DhcpOption::StatusCode(code)) if code.status != Status::Success => {
            Err(Reason::Unclear)
        }
        _ => Ok(()),
    }
}

fn resolver(options: &DhcpOptions) -> Resolver {
    let servers = match options.get(OptionCode::DomainNameServers) {
        Some(DhcpOption::DomainNameServers(servers)) => servers.as_slice(),
        _ => &[],
    };
    let search = match options.get(OptionCode::DomainSearchList) {
        Some(DhcpOption::DomainSearchList(names)) => {
            names.iter().map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    };
    Resolver::new(servers.iter().copied().map(IpAddr::V6), search)
}
