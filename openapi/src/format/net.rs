//! Formats of the network: addresses, names, interfaces, VLANs.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{all, ensure};
use crate::node_name::is_label;

/// Rust's parsers take what PVE's expressions do: no leading zeros, no zone.
pub(super) fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

pub(super) fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

fn is_ip(text: &str) -> bool {
    is_ipv4(text) || is_ipv6(text)
}

/// The length after the slash may have leading zeros, as PVE compares it as a number.
pub(super) fn prefix_length(text: &str) -> Option<u64> {
    all(text, |c| c.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX))
}

fn is_cidr(text: &str, address: fn(&str) -> bool, longest: u64) -> bool {
    text.split_once('/').is_some_and(|(ip, length)| {
        address(ip) && prefix_length(length).is_some_and(|n| (8..=longest).contains(&n))
    })
}

fn is_cidr_v4(text: &str) -> bool {
    is_cidr(text, is_ipv4, 32)
}

fn is_cidr_v6(text: &str) -> bool {
    is_cidr(text, is_ipv6, 128)
}

fn is_dns_name(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn looks_like(good: bool, what: &str) -> Result<(), String> {
    ensure(good, || format!("value does not look like a valid {what}"))
}

pub(super) fn ipv4(text: &str) -> Result<(), String> {
    looks_like(is_ipv4(text), "IPv4 address")
}

pub(super) fn ipv6(text: &str) -> Result<(), String> {
    looks_like(is_ipv6(text), "IPv6 address")
}

pub(super) fn ip(text: &str) -> Result<(), String> {
    looks_like(is_ip(text), "IP address")
}

pub(super) fn ipv4_mask(text: &str) -> Result<(), String> {
    let bits = text.parse::<Ipv4Addr>().map(u32::from);
    looks_like(bits.is_ok_and(|bits| bits.leading_ones() == bits.count_ones()), "IP netmask")
}

pub(super) fn cidr_v4(text: &str) -> Result<(), String> {
    looks_like(is_cidr_v4(text), "IPv4 CIDR network")
}

pub(super) fn cidr_v6(text: &str) -> Result<(), String> {
    looks_like(is_cidr_v6(text), "IPv6 CIDR network")
}

pub(super) fn cidr(text: &str) -> Result<(), String> {
    looks_like(is_cidr_v4(text) || is_cidr_v6(text), "CIDR network")
}

pub(super) fn ipv4_config(text: &str) -> Result<(), String> {
    let word = matches!(text, "dhcp" | "manual");
    looks_like(word || is_cidr_v4(text), "ipv4 network configuration")
}

pub(super) fn ipv6_config(text: &str) -> Result<(), String> {
    let word = matches!(text, "auto" | "dhcp" | "manual");
    looks_like(word || is_cidr_v6(text), "ipv6 network configuration")
}

pub(super) fn ip_with_interface(text: &str) -> Result<(), String> {
    let link_local = text.starts_with("fe80:")
        && text
            .split_once('%')
            .is_some_and(|(address, name)| is_ip(address) && interface(name).is_ok());
    if link_local { Ok(()) } else { ip(text) }
}

pub(super) fn dns_name(text: &str) -> Result<(), String> {
    looks_like(is_dns_name(text), "DNS name")
}

pub(super) fn address(text: &str) -> Result<(), String> {
    let good = is_ip(text) || is_dns_name(text);
    ensure(good, || format!("value does not look like a valid address: {text}"))
}

pub(super) fn server(text: &str) -> Result<(), String> {
    looks_like(is_ip(text) || is_dns_name(text), "server name or IP address")
}

/// A host with a port or without: `host:1`, `[host]:1`, or an IPv6 address with `.1`.
pub(super) fn portal(text: &str) -> Result<(), String> {
    let number = |text: &str| all(text, |c| c.is_ascii_digit());
    let name = |text: &str| all(text, |c| c.is_alphanumeric() || c == '-' || c == '.');
    let plain = match text.split_once(':') {
        Some((host, port)) => name(host) && number(port),
        None => name(text),
    };
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let bracketed = bracketed.is_some_and(|(host, port)| {
        (name(host) || is_ipv6(host))
            && (port.is_empty() || port.strip_prefix(':').is_some_and(number))
    });
    let dotted = text.rsplit_once('.').is_some_and(|(ip, port)| is_ipv6(ip) && number(port));
    looks_like(plain || bracketed || dotted || is_ipv6(text), "portal address")
}

pub(super) fn node(text: &str) -> Result<(), String> {
    looks_like(is_label(text), "node name")
}

/// A letter and 1 to 20 more characters, perhaps `:1` or `.1`.
pub(super) fn interface(text: &str) -> Result<(), String> {
    let (name, number) = match text.split_once([':', '.']) {
        Some((name, number)) => (name, Some(number)),
        None => (text, None),
    };
    let good = (2..=21).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && all(name, |c| c.is_ascii_alphanumeric() || c == '_')
        && number.is_none_or(|number| all(number, |c| c.is_ascii_digit()));
    ensure(good, || format!("invalid network interface name '{text}'"))
}

/// Hex pairs, the first of which is a unicast one.
fn is_unicast(pair: &str) -> bool {
    is_hex_pair(pair) && pair.as_bytes()[1] % 2 == u8::from(pair.as_bytes()[1] > b'9')
}

fn is_hex_pair(pair: &str) -> bool {
    pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit())
}

pub(super) fn mac(text: &str) -> Result<(), String> {
    let pairs: Vec<_> = text.split(':').take(7).collect();
    let good = pairs.len() == 6 && is_unicast(pairs[0]) && pairs.iter().all(|p| is_hex_pair(p));
    looks_like(good, "unicast MAC address")
}

pub(super) fn mac_prefix(text: &str) -> Result<(), String> {
    let pairs: Vec<_> = text.split(':').take(5).collect();
    let (first, rest) = pairs.split_first().unwrap_or((&"", &[]));
    let half = |part: &str| part.len() < 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let full = rest.iter().take_while(|part| is_hex_pair(part)).count();
    let good = is_unicast(first)
        && match rest.get(full..) {
            None | Some([]) => full <= 2,
            Some([last]) => full <= 2 && half(last),
            Some(_) => false,
        };
    ensure(good, || "value is not a valid unicast MAC address prefix".to_owned())
}

/// A number from 2 to 4094, or a range of two.
pub(super) fn vlan(text: &str) -> Result<(), String> {
    let (start, end) = match text.split_once('-') {
        Some((start, end)) => (start, Some(end)),
        None => (text, None),
    };
    let invalid = || format!("invalid VLAN configuration '{text}'");
    let number = |tag: &str| prefix_length(tag).ok_or_else(invalid);
    let (low, high) = (number(start)?, end.map(number).transpose()?);
    let tag = |number: u64, tag: &str| {
        ensure((2..=4094).contains(&number), || format!("invalid VLAN tag '{tag}'"))
    };
    tag(low, start)?;
    // To Perl the text "0" is no end at all.
    let Some((high, end)) = high.zip(end).filter(|(_, end)| *end != "0") else { return Ok(()) };
    tag(high, end)?;
    ensure(low < high, || format!("VLAN range must go from lower to higher tag '{text}'"))
}
