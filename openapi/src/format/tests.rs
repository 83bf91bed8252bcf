use proptest::prelude::*;
use rstest::rstest;

use super::{rule, split_list, verify};
use crate::schema::{Format, Property, methods};

/// Names of the formats that a property and what is inside it asks for.
fn names(property: &Property, found: &mut Vec<&'static str>) {
    match &property.format {
        Some(Format::Named(name)) => found.push(name),
        Some(Format::Inline(keys)) => keys.values().for_each(|key| names(key, found)),
        None => {}
    }
    property.items.iter().for_each(|item| names(item, found));
}

#[test]
fn every_format_of_the_table_is_known() {
    let mut found = Vec::new();
    methods().iter().flat_map(|m| m.parameters.iter()).for_each(|(_, p)| names(p, &mut found));
    for name in found {
        let base = name.strip_suffix("-list").or(name.strip_suffix("-opt")).unwrap_or(name);
        assert!(rule(base).is_some() || methods().format(name).is_some(), "{name}");
    }
}

#[rstest]
#[case("CIDR", "fe80::/64")]
#[case("CIDRv4", "10.0.0.0/24")]
#[case("CIDRv4", "10.0.0.0/08")]
#[case("CIDRv6", "fe80::1/128")]
#[case("IPorCIDR", "10.0.0.1/24")]
#[case("IPorCIDRorAlias", "dc/web-1")]
#[case("address", "pve.example.org")]
#[case("bridge-pair", "vmbr0:vmbr1")]
#[case("bridge-pair-list", "1")]
#[case("disk-size", "1.5GiB")]
#[case("dns-name", "a.b-c.d")]
#[case("dns-name-list", "a b;c,d")]
#[case("dns-name-list", "")]
#[case("email", "jo.doe+x@example.org")]
#[case("email-opt", "")]
#[case("email-or-username", "jo.doe")]
#[case("pve-ha-resource-or-vm-id", "ct:100")]
#[case("pve-ha-resource-or-vm-id", "100")]
#[case("ip", "::ffff:1.2.3.4")]
#[case("ipv4mask", "255.255.254.0")]
#[case("ipv6", "1:2:3:4:5:6:7::")]
#[case("ldap-simple-attr", "uid")]
#[case("lxc-ip-with-ll-iface", "fe80::1%eth0")]
#[case("mac-addr", "BC:24:11:00:00:fe")]
#[case("mac-prefix", "bc:24:11")]
#[case("mac-prefix", "bc:24:1")]
#[case("mac-prefix", "bc:24:")]
#[case("mac-prefix", "bc:24:11:f")]
#[case("pve-acme-alias", "_acme.example.org")]
#[case("pve-acme-domain", "example.org")]
#[case("pve-bridge-id", "vmbr0.1")]
#[case("pve-calendar-event", "mon..fri 2:30")]
#[case("pve-calendar-event", "*-*-1 0:00:00")]
#[case("pve-calendar-event", "*/5")]
#[case("pve-calendar-event", "daily")]
#[case("pve-command-batch", r#"[{"path":"version","method":"GET"}]"#)]
#[case("pve-configid", "A-b_1")]
#[case("pve-ct-timezone", "host")]
#[case("pve-day-of-week", "sun")]
#[case("pve-dir-override", "iso=a.b/c")]
#[case("pve-fw-addr-spec", "10.0.0.0/8,10.1.1.1")]
#[case("pve-fw-addr-spec", "10.0.0.1-10.0.0.9")]
#[case("pve-fw-addr-spec", "+dc/set")]
#[case("pve-fw-dport-spec", "echo-request")]
#[case("pve-fw-icmp-type-spec", "")]
#[case("pve-fw-protocol-spec", "icmpv6")]
#[case("pve-fw-sport-spec", "1:1024,8006")]
#[case("pve-groupid", "-x.")]
#[case("pve-iface", "eth0.100")]
#[case("pve-ipv4-config", "dhcp")]
#[case("pve-ipv6-config", "auto")]
#[case("pve-lxc-dev-string", "/dev/net/tun")]
#[case("pve-lxc-mp-string", "/srv/.hidden")]
#[case("pve-node", "pve1")]
#[case("pve-poolid", "a/b/c")]
#[case("pve-priv-list", "VM.Audit,VM.Clone")]
#[case("pve-realm", "pam")]
#[case("pve-roleid", "PVEAdmin")]
#[case("pve-startup-order", "order=1,up=2,down=3")]
#[case("pve-startup-order", "1,,")]
#[case("pve-storage-content", "rootdir")]
#[case("pve-storage-id", "local-lvm")]
#[case("pve-storage-options", "vers=4")]
#[case("pve-storage-path", "/x;")]
#[case("pve-storage-portal-dns", "[fe80::1]:3260")]
#[case("pve-storage-portal-dns", "fe80::1.3260")]
#[case("pve-storage-server", "nas")]
#[case("pve-storage-vgname", "0g")]
#[case("pve-storage-zfs-blocksize", "16K")]
#[case("pve-tag-list", "a;B+c")]
#[case("pve-task-status-type-list", "OK,error")]
#[case("pve-tokenid", "root@pam!t1")]
#[case("pve-userid", "root@pam")]
#[case("pve-vlan-id-or-range", "2-4094")]
#[case("pve-vmid", "100")]
#[case("pve-volume-id", "local:x")]
#[case("storage-pair", "local:other")]
fn accepts(#[case] format: &str, #[case] text: &str) {
    assert_eq!(verify(format, text), Ok(()));
}

#[rstest]
#[case("CIDR", "10.0.0.0/7", "value does not look like a valid CIDR network")]
#[case("CIDRv4", "10.0.0.0/33", "value does not look like a valid IPv4 CIDR network")]
#[case("CIDRv6", "fe80::/7", "value does not look like a valid IPv6 CIDR network")]
#[case("IPorCIDR", "x", "value does not look like a valid IP address or CIDR network")]
#[case("IPorCIDRorAlias", "-", "value does not look like a valid IP address or CIDR network")]
#[case("address", "a_b", "value does not look like a valid address: a_b")]
#[case("bridge-pair", "a/b", "entry 'a/b' contains invalid ID - invalid bridge ID 'a/b'\n\n")]
#[case("disk-size", "8X", "value does not look like a valid disk size: 8X")]
#[case("dns-name", "a..b", "value does not look like a valid DNS name")]
#[case("email", "jo", "value does not look like a valid email address")]
#[case("email-or-username", "a b", "value does not look like a valid email address or user name")]
#[case("ip", "1.2.3", "value does not look like a valid IP address")]
#[case("ipv4", "01.2.3.4", "value does not look like a valid IPv4 address")]
#[case("ipv4mask", "255.0.255.0", "value does not look like a valid IP netmask")]
#[case("ipv6", "fe80::1%eth0", "value does not look like a valid IPv6 address")]
#[case("ldap-simple-attr", "a-b", "value 'a-b' does not look like a simple ldap attribute name")]
#[case("lxc-ip-with-ll-iface", "fe80::1%", "value does not look like a valid IP address")]
#[case("mac-addr", "01:00:00:00:00:00", "value does not look like a valid unicast MAC address")]
#[case("mac-addr", "0b:00:00:00:00:00", "value does not look like a valid unicast MAC address")]
#[case("mac-prefix", "bc:24:11:ff", "value is not a valid unicast MAC address prefix")]
#[case("pve-acme-alias", "a", "value 'a' does not look like a valid alias name!")]
#[case("pve-acme-domain", "_a.b", "value '_a.b' does not look like a valid domain name!")]
#[case("pve-bridge-id", "a/b", "invalid bridge ID 'a/b'")]
#[case("pve-configid", "1bad", "invalid configuration ID '1bad'")]
#[case("pve-configid", "a", "invalid configuration ID 'a'")]
#[case("pve-ct-timezone", "Mars/Foo", "invalid time zone 'Mars/Foo'")]
#[case("pve-day-of-week", "Mon", "invalid day 'Mon'")]
#[case("pve-dir-override", "iso=../x", "invalid override 'iso=../x'")]
#[case("pve-dir-override", "foo=x", "invalid content type 'foo'")]
#[case("pve-fw-addr-spec", "10.0.0.1,", "extraneous commas in list")]
#[case(
    "pve-fw-addr-spec",
    "1.1.1.1,::1",
    "detected mixed ipv4/ipv6 addresses in address list '1.1.1.1,::1'"
)]
#[case(
    "pve-fw-addr-spec",
    "10.0.0.1/8",
    "invalid IP address: Invalid prefix 00001010000000000000000000000001/8"
)]
#[case("pve-fw-addr-spec", "a.b", "invalid IP address: Invalid chars in IP a.b")]
#[case(
    "pve-fw-addr-spec",
    "1.2.3.400",
    "invalid IP address: Invalid quad in IP address 1.2.3.400 - 400"
)]
#[case(
    "pve-fw-addr-spec",
    "10.0.0.0/33",
    "invalid IP address: Prefix length 33 is longer than IP address (32)"
)]
#[case(
    "pve-fw-addr-spec",
    "10.0.0.9-10.0.0.1",
    "invalid IP address: Begin address is greater than End address 10.0.0.9 - 10.0.0.1"
)]
#[case("pve-fw-dport-spec", "70000", "invalid port '70000'")]
#[case("pve-fw-icmp-type-spec", "x", "invalid icmp-type value 'x'")]
#[case("pve-fw-protocol-spec", "no-such", "unknown protocol 'no-such'")]
#[case("pve-fw-sport-spec", "9:1", "backwards range '9:1' not allowed, did you mean '1:9'?")]
#[case("pve-fw-sport-spec", "echo-request", "invalid port 'echo-request'")]
#[case("pve-groupid", "a b", "group name 'a b' contains invalid characters")]
#[case("pve-iface", "e", "invalid network interface name 'e'")]
#[case("pve-ipv4-config", "auto", "value does not look like a valid ipv4 network configuration")]
#[case("pve-ipv6-config", "x", "value does not look like a valid ipv6 network configuration")]
#[case("pve-lxc-dev-string", "/dev/..", "/dev/.. is not a valid device path")]
#[case("pve-lxc-mp-string", "/a/..", "/a/.. contains illegal character sequences")]
#[case("pve-lxc-mp-string", "../a", "../a contains illegal character sequences")]
#[case("pve-node", "-", "value does not look like a valid node name")]
#[case("pve-poolid", "a/b/c/d", "pool name 'a/b/c/d' nested too deeply (max levels = 3)")]
#[case("pve-poolid", "a//b", "pool name 'a//b' contains invalid characters")]
#[case("pve-priv", "VM.Foo", "invalid privilege 'VM.Foo'")]
#[case("pve-realm", "1a", "value does not look like a valid realm")]
#[case("pve-roleid", "", "role name '' contains invalid characters")]
#[case("pve-startup-order", "order=x", "unable to parse startup options")]
#[case("pve-startup-order", "0", "unable to parse startup options")]
#[case("pve-storage-content", "foo", "invalid content type 'foo'")]
#[case("pve-storage-id", "a", "storage ID 'a' cannot be shorter than 2 characters")]
#[case("pve-storage-options", "a b", "invalid options 'a b'")]
#[case("pve-storage-path", "x", "value does not look like a valid absolute path")]
#[case("pve-storage-portal-dns", "a:b", "value does not look like a valid portal address")]
#[case("pve-storage-server", "a_b", "value does not look like a valid server name or IP address")]
#[case("pve-storage-vgname", "-a", "lvm name '-a' contains illegal characters")]
#[case(
    "pve-storage-zfs-blocksize",
    "3k",
    "value '3k' is not a valid ZFS blocksize. Must be a power of 2 between 512B and 16MiB (e.g., 4k, 8k, 16k, 64k, 1m)."
)]
#[case("pve-tag-list", "a;ä", "invalid characters in tag")]
#[case("pve-task-status-type-list", "ok,foo", "invalid status 'foo'")]
#[case("pve-tokenid", "root@pam", "value 'root@pam' does not look like a valid token ID")]
#[case("pve-userid", "root", "value 'root' does not look like a valid user name")]
#[case("pve-vlan-id-or-range", "1", "invalid VLAN tag '1'")]
#[case("pve-vlan-id-or-range", "9-3", "VLAN range must go from lower to higher tag '9-3'")]
#[case("pve-ha-resource-or-vm-id", "CT:1", "value does not look like a valid ha resource id")]
#[case("pve-vmid", "99", "value does not look like a valid VM ID")]
#[case("pve-volume-id", "x", "unable to parse volume ID 'x'")]
#[case(
    "storage-pair",
    "local:l",
    "entry 'local:l' contains invalid ID - storage ID 'l' cannot be shorter than 2 characters\n\n"
)]
#[case("no-such", "x", "undefined format 'no-such'")]
fn refuses(#[case] format: &str, #[case] text: &str, #[case] message: &str) {
    assert_eq!(verify(format, text), Err(message.to_owned()));
}

#[test]
fn a_nul_divides_alone() {
    assert_eq!(split_list("a b\0c,d").collect::<Vec<_>>(), ["a b", "c,d"]);
    assert_eq!(split_list(" a ,;b\n").collect::<Vec<_>>(), ["a", "b"]);
}

proptest! {
    #[test]
    fn no_rule_panics(text in ".{0,40}|[a-z0-9:./@%!=-]{0,40}") {
        for name in ["bridge-pair", "disk-size", "mac-prefix", "mac-addr", "pve-calendar-event",
            "pve-dir-override", "pve-fw-addr-spec", "pve-fw-dport-spec", "pve-iface", "IPorCIDR",
            "pve-storage-portal-dns", "pve-storage-zfs-blocksize", "pve-vlan-id-or-range",
            "pve-command-batch", "pve-configid", "lxc-ip-with-ll-iface", "pve-poolid"] {
            let message = verify(name, &text).err().unwrap_or_else(|| "fine".to_owned());
            prop_assert!(!message.is_empty());
        }
    }
}
