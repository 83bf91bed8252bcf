//! Formats of firewall rules. PVE hands addresses to Perl's Net::IP; of its messages only the
//! common one is kept. Names of services and protocols are this machine's, as in PVE.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use super::net::{is_ipv4, is_ipv6, prefix_length};
use super::{all, ensure};

/// With or without a length; unlike `CIDR`, any length that fits.
pub(super) fn ip_or_cidr(text: &str) -> Result<(), String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, prefix_length(length)),
        None => (text, Some(0)),
    };
    let longest = if is_ipv4(address) { 32 } else { 128 };
    let Some(length) = length.filter(|_| is_ipv4(address) || is_ipv6(address)) else {
        return Err("value does not look like a valid IP address or CIDR network".to_owned());
    };
    ensure(length <= longest, || {
        format!("Prefix length {length} is longer than IP address ({longest})")
    })
}

pub(super) fn ip_or_cidr_or_alias(text: &str) -> Result<(), String> {
    if is_alias(text) { Ok(()) } else { ip_or_cidr(text) }
}

fn is_alias(text: &str) -> bool {
    let name = text.strip_prefix("dc/").or_else(|| text.strip_prefix("guest/")).unwrap_or(text);
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && all(name, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Perl's split and join forget empty items at the end.
fn items(text: &str) -> Result<Vec<&str>, String> {
    ensure(!text.ends_with(','), || "extraneous commas in list".to_owned())?;
    Ok(if text.is_empty() { Vec::new() } else { text.split(',').collect() })
}

/// An IP set, an alias, or addresses, networks and one range, all of one family.
pub(super) fn addresses(text: &str) -> Result<(), String> {
    let set = text.strip_prefix('+').is_some_and(|name| all(name, |c| !c.is_whitespace()));
    if set {
        return ensure(text.chars().count() <= 65, || "ipset name too long".to_owned());
    }
    if is_alias(text) {
        return ensure(text.len() <= 64, || "alias name too long".to_owned());
    }
    let list = items(text)?;
    let mut family = None;
    for item in &list {
        let version = version(item)
            .ok_or_else(|| format!("invalid IP address: Invalid chars in IP {item}"))?;
        ensure(family.is_none_or(|family| family == version), || {
            format!("detected mixed ipv4/ipv6 addresses in address list '{text}'")
        })?;
        family = Some(version);
    }
    let range = list.iter().any(|item| item.contains('-'));
    ensure(!range || list.len() == 1, || "you can't use a range in a list".to_owned())
}

/// 4 or 6 for an address, a network without host bits, or a range that does not run backwards.
fn version(item: &str) -> Option<u8> {
    if let Some((low, high)) = item.split_once('-') {
        let (low, high) = (low.trim(), high.trim());
        let v4 = |text: &str| text.parse::<Ipv4Addr>().ok();
        let v6 = |text: &str| text.parse::<Ipv6Addr>().ok();
        let v4 = v4(low).zip(v4(high)).map(|(low, high)| (low <= high, 4));
        let v6 = v6(low).zip(v6(high)).map(|(low, high)| (low <= high, 6));
        return v4.or(v6).and_then(|(forwards, version)| forwards.then_some(version));
    }
    let (address, length) = match item.split_once('/') {
        Some((address, length)) => (address, Some(u32::try_from(prefix_length(length)?).ok()?)),
        None => (item, None),
    };
    let (bits, width, version) = match address.parse::<Ipv4Addr>() {
        Ok(v4) => (u128::from(u32::from(v4)) << 96, 32, 4),
        Err(_) => (u128::from(address.parse::<Ipv6Addr>().ok()?), 128, 6),
    };
    let length = length.unwrap_or(width);
    let host = bits.checked_shl(length).unwrap_or(0);
    (length <= width && host == 0).then_some(version)
}

pub(super) fn source_ports(text: &str) -> Result<(), String> {
    ports(text, false)
}

pub(super) fn destination_ports(text: &str) -> Result<(), String> {
    ports(text, true)
}

/// Numbers, ranges and names of services; destinations also took names of ICMP types once.
fn ports(text: &str, destination: bool) -> Result<(), String> {
    let number = |port: &str| {
        let value = prefix_length(port)?;
        Some(ensure(value <= 65535, || format!("invalid port '{port}'")).map(|()| value))
    };
    let (mut count, mut icmp) = (0, false);
    for item in items(text)? {
        let range = item.split_once(':').and_then(|(low, high)| number(low).zip(number(high)));
        if let Some((low, high)) = range {
            let (low, high) = (low?, high?);
            ensure(low <= high, || {
                format!("backwards range '{low}:{high}' not allowed, did you mean '{high}:{low}'?")
            })?;
            count += 2;
        } else if let Some(port) = number(item) {
            port?;
            count += 1;
        } else if destination && is_icmp_type(item) {
            icmp = true;
        } else {
            ensure(services().contains(item), || format!("invalid port '{item}'"))?;
        }
    }
    ensure(!icmp || count == 0, || "ICMP ports not allowed in port range".to_owned())?;
    ensure(count <= 15, || "too many entries in port list (> 15 numbers)".to_owned())
}

pub(super) fn icmp_type(text: &str) -> Result<(), String> {
    ensure(text.is_empty() || is_icmp_type(text), || format!("invalid icmp-type value '{text}'"))
}

pub(super) fn protocol(text: &str) -> Result<(), String> {
    ensure(!super::is_true(text) || protocols().contains(text), || {
        format!("unknown protocol '{text}'")
    })
}

/// The first two words of each line of a file of `/etc`, its comments left out.
fn words(path: &str) -> Vec<(String, String)> {
    let text = fs_err::read_to_string(path).unwrap_or_default();
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(pair).collect()
}

fn services() -> &'static BTreeSet<String> {
    static SERVICES: OnceLock<BTreeSet<String>> = OnceLock::new();
    SERVICES.get_or_init(|| words("/etc/services").into_iter().map(|(name, _)| name).collect())
}

fn protocols() -> &'static BTreeSet<String> {
    static PROTOCOLS: OnceLock<BTreeSet<String>> = OnceLock::new();
    PROTOCOLS.get_or_init(|| {
        let both = words("/etc/protocols").into_iter().flat_map(|(name, number)| [name, number]);
        both.chain(["icmpv6".to_owned()]).collect()
    })
}

/// What iptables and ip6tables know.
fn is_icmp_type(text: &str) -> bool {
    const NAMES: &[&str] = &[
        "TOS-host-redirect",
        "TOS-host-unreachable",
        "TOS-network-redirect",
        "TOS-network-unreachable",
        "address-mask-reply",
        "address-mask-request",
        "address-unreachable",
        "any",
        "bad-header",
        "beyond-scope",
        "communication-prohibited",
        "destination-unreachable",
        "echo-reply",
        "echo-request",
        "failed-policy",
        "fragmentation-needed",
        "host-precedence-violation",
        "host-prohibited",
        "host-redirect",
        "host-unknown",
        "host-unreachable",
        "ip-header-bad",
        "neighbor-advertisement",
        "neighbor-solicitation",
        "neighbour-advertisement",
        "neighbour-solicitation",
        "network-prohibited",
        "network-redirect",
        "network-unknown",
        "network-unreachable",
        "no-route",
        "packet-too-big",
        "parameter-problem",
        "port-unreachable",
        "precedence-cutoff",
        "protocol-unreachable",
        "redirect",
        "reject-route",
        "required-option-missing",
        "router-advertisement",
        "router-solicitation",
        "source-quench",
        "source-route-failed",
        "time-exceeded",
        "timestamp-reply",
        "timestamp-request",
        "ttl-zero-during-reassembly",
        "ttl-zero-during-transit",
        "unknown-header-type",
        "unknown-option",
    ];
    NAMES.binary_search(&text).is_ok()
}
