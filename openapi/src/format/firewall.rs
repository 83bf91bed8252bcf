//! Formats of firewall rules, which the rules' own check asks too. PVE hands addresses to Perl's
//! Net::IP, whose messages these are. Names of services and protocols are this machine's, as in PVE.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
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

pub(super) fn addresses(text: &str) -> Result<(), String> {
    address_list(text).map(drop)
}

/// An IP set, an alias, or addresses, networks and one range, all of one family: 4 or 6, where the
/// text tells.
pub fn address_list(text: &str) -> Result<Option<u8>, String> {
    let set = text.strip_prefix('+').is_some_and(|name| all(name, |c| !c.is_whitespace()));
    if set {
        ensure(text.chars().count() <= 65, || "ipset name too long".to_owned())?;
        return Ok(None);
    }
    if is_alias(text) {
        ensure(text.len() <= 64, || "alias name too long".to_owned())?;
        return Ok(None);
    }
    let list = items(text)?;
    let mut family = None;
    for item in &list {
        let version = version(item).map_err(|err| format!("invalid IP address: {err}"))?;
        ensure(family.is_none_or(|family| family == version), || {
            format!("detected mixed ipv4/ipv6 addresses in address list '{text}'")
        })?;
        family = Some(version);
    }
    let range = list.iter().any(|item| item.contains('-'));
    ensure(!range || list.len() == 1, || "you can't use a range in a list".to_owned())?;
    Ok(family)
}

/// 4 or 6 for an address, a network without host bits, or a range that does not run backwards.
fn version(item: &str) -> Result<u8, String> {
    if let Some((low, high)) = item.split_once('-').filter(|(low, _)| !low.trim().is_empty()) {
        let (low, high) = (low.trim(), high.trim());
        let (first, last) = (binary(low)?, binary(high)?);
        ensure(first.len() == last.len(), || {
            format!("Begin and End addresses have different IP versions - {low} - {high}")
        })?;
        ensure(first <= last, || {
            format!("Begin address is greater than End address {low} - {high}")
        })?;
        return Ok(family(&first));
    }
    let Some((address, length)) = item.split_once('/') else {
        return binary(item).map(|bits| family(&bits));
    };
    let bits = binary(address)?;
    let Some(length) = prefix_length(length) else {
        return Err(format!("Invalid chars in IP {item}"));
    };
    let host = usize::try_from(length).ok().and_then(|length| bits.get(length..));
    let Some(host) = host else {
        return Err(format!("Prefix length {length} is longer than IP address ({})", bits.len()));
    };
    ensure(!host.contains('1'), || format!("Invalid prefix {bits}/{length}"))?;
    Ok(family(&bits))
}

fn family(bits: &str) -> u8 {
    if bits.len() == 32 { 4 } else { 6 }
}

/// An address as zeros and ones. Net::IP fills up an IPv4 address whose last parts are left out.
fn binary(address: &str) -> Result<String, String> {
    if address.contains(':') {
        let v6 = address.parse::<Ipv6Addr>();
        let bits = v6.map(|v6| format!("{:0128b}", u128::from(v6)));
        return bits.map_err(|_| format!("Invalid IP address {address}"));
    }
    ensure(all(address, |c| c.is_ascii_digit() || c == '.'), || {
        format!("Invalid chars in IP {address}")
    })?;
    ensure(!address.starts_with('.'), || format!("Invalid IP {address} - starts with a dot"))?;
    ensure(!address.ends_with('.'), || format!("Invalid IP {address} - ends with a dot"))?;
    let quads: Vec<&str> = address.split('.').collect();
    ensure(quads.len() <= 4, || format!("Invalid IP address {address}"))?;
    ensure(!quads.contains(&""), || format!("Empty quad in IP address {address}"))?;
    let mut bits = String::with_capacity(32);
    for quad in quads.iter().chain(&["0"; 3]).take(4) {
        let value = quad
            .parse::<u8>()
            .map_err(|_| format!("Invalid quad in IP address {address} - {quad}"))?;
        bits += &format!("{value:08b}");
    }
    Ok(bits)
}

pub(super) fn source_ports(text: &str) -> Result<(), String> {
    ports(text, false)
}

pub(super) fn destination_ports(text: &str) -> Result<(), String> {
    ports(text, true)
}

/// Numbers, ranges and names of services; the destination took names of ICMP types once.
pub fn ports(text: &str, icmp_names: bool) -> Result<(), String> {
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
        } else if icmp_names && is_any_icmp_type(item) {
            icmp = true;
        } else {
            ensure(services().contains(item), || format!("invalid port '{item}'"))?;
        }
    }
    ensure(!icmp || count == 0, || "ICMP ports not allowed in port range".to_owned())?;
    ensure(count <= 15, || "too many entries in port list (> 15 numbers)".to_owned())
}

pub(super) fn icmp_type(text: &str) -> Result<(), String> {
    ensure(text.is_empty() || is_any_icmp_type(text), || {
        format!("invalid icmp-type value '{text}'")
    })
}

pub fn protocol(text: &str) -> Result<(), String> {
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

fn is_any_icmp_type(text: &str) -> bool {
    is_icmp_type(text, 4) || is_icmp_type(text, 6)
}

/// What iptables knows, or ip6tables.
pub fn is_icmp_type(text: &str, version: u8) -> bool {
    let names = if version == 6 { ICMPV6_TYPES } else { ICMP_TYPES };
    names.binary_search(&text).is_ok()
}

const ICMP_TYPES: &[&str] = &[
    "TOS-host-redirect",
    "TOS-host-unreachable",
    "TOS-network-redirect",
    "TOS-network-unreachable",
    "address-mask-reply",
    "address-mask-request",
    "any",
    "communication-prohibited",
    "destination-unreachable",
    "echo-reply",
    "echo-request",
    "fragmentation-needed",
    "host-precedence-violation",
    "host-prohibited",
    "host-redirect",
    "host-unknown",
    "host-unreachable",
    "ip-header-bad",
    "network-prohibited",
    "network-redirect",
    "network-unknown",
    "network-unreachable",
    "parameter-problem",
    "port-unreachable",
    "precedence-cutoff",
    "protocol-unreachable",
    "redirect",
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
];

const ICMPV6_TYPES: &[&str] = &[
    "address-unreachable",
    "bad-header",
    "beyond-scope",
    "communication-prohibited",
    "destination-unreachable",
    "echo-reply",
    "echo-request",
    "failed-policy",
    "neighbor-advertisement",
    "neighbor-solicitation",
    "neighbour-advertisement",
    "neighbour-solicitation",
    "no-route",
    "packet-too-big",
    "parameter-problem",
    "port-unreachable",
    "redirect",
    "reject-route",
    "router-advertisement",
    "router-solicitation",
    "time-exceeded",
    "ttl-zero-during-reassembly",
    "ttl-zero-during-transit",
    "unknown-header-type",
    "unknown-option",
];
