//! One step each. Which namespace it belongs to is its type's; names are of links there.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::Mac;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostStep {
    /// Both ends; the inner one appears in the container under its own name.
    Pair {
        outer: String,
        outer_mtu: Option<u32>,
        inner: String,
        inner_mtu: Option<u32>,
        hwaddr: Option<Mac>,
    },
    /// Unless there is one: a bridge for one VLAN of a bridge that knows none, and that VLAN of each
    /// link that leads out. It is every container's, so it stays.
    VlanBridge {
        name: String,
        tag: u16,
        mtu: u32,
        uplinks: Vec<String>,
    },
    /// A bridge between the container and its bridge, where PVE's firewall looks at what passes:
    /// `link` is its port to `peer`.
    FirewallBridge {
        name: String,
        link: String,
        peer: String,
        mtu: u32,
    },
    Mtu {
        link: String,
        mtu: u32,
    },
    Port {
        link: String,
        bridge: String,
    },
    Vlans {
        link: String,
        vlans: Vlans,
    },
    /// Bytes a second, each way; `None` for no limit.
    Rate {
        link: String,
        limit: Option<u64>,
    },
    Up {
        link: String,
    },
    Down {
        link: String,
    },
    /// Off its bridge.
    Unplug {
        link: String,
    },
    /// With its other end, and if it is there at all.
    Remove {
        link: String,
    },
}

/// What a port of a bridge lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlans {
    /// The VLAN of what has no tag; the bridge's own default if none is given.
    pub untagged: Option<u16>,
    pub tagged: Vec<RangeInclusive<u16>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InnerStep {
    Up {
        name: String,
    },
    Mtu {
        name: String,
        mtu: u32,
    },
    /// Let the kernel make addresses of what routers announce.
    Autoconf {
        name: String,
    },
    Address {
        name: String,
        address: IpNet,
    },
    RemoveAddress {
        name: String,
        address: IpNet,
    },
    /// The default route. One that no address of the interface reaches gets a route of its own first.
    Gateway {
        name: String,
        gateway: IpAddr,
        reachable: bool,
    },
    /// The default route of this family goes.
    RemoveGateway {
        name: String,
        v6: bool,
    },
}

/// Addresses that a server gives, for as long as somebody asks again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `net0`.
    pub key: String,
    pub name: String,
    pub v4: bool,
    pub v6: bool,
    /// Not an address: the name servers that routers announce with what the kernel makes one of.
    pub routers: bool,
}
