//! PVE's named sets of rules: what a rule with such a name may not say otherwise. Upstream:
//! pve-firewall, `src/PVE/Firewall.pm`, which took them from shorewall.

/// One of the rules that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) proto: &'static str,
    pub(super) dport: Option<&'static str>,
    pub(super) sport: Option<&'static str>,
}

/// The name as PVE writes it.
pub(super) fn preferred_name(name: &str) -> Option<&'static str> {
    let mut names = MACROS.iter().chain(IPV6_MACROS).map(|(known, _)| *known);
    names.find(|known| known.eq_ignore_ascii_case(name))
}

/// None if the macro is for the other family.
pub(super) fn parts(name: &str, version: Option<u8>) -> Vec<Part> {
    let find = |list: &[(&'static str, &'static str)]| {
        list.iter().find(|(known, _)| *known == name).map(|(_, parts)| *parts)
    };
    let parts = match (find(MACROS), find(IPV6_MACROS), version) {
        (_, Some(parts), Some(6) | None) if find(MACROS).is_none() || version == Some(6) => parts,
        (Some(parts), ..) => parts,
        (None, ..) => return Vec::new(),
    };
    parts.split("; ").map(part).collect()
}

fn part(text: &'static str) -> Part {
    let mut words = text.split(' ');
    let proto = words.next().unwrap_or_default();
    let mut port = || words.next().filter(|word| *word != "-");
    Part { proto, dport: port(), sport: port() }
}

/// Name, and for each rule the protocol, the destination ports and the source ports.
const MACROS: &[(&str, &str)] = &[
    ("Amanda", "udp 10080; tcp 10080"),
    ("Auth", "tcp 113"),
    ("BGP", "tcp 179"),
    ("BitTorrent", "tcp 6881:6889; udp 6881"),
    ("BitTorrent32", "tcp 6881:6999; udp 6881"),
    ("CVS", "tcp 2401"),
    ("Ceph", "tcp 6789; tcp 3300; tcp 6800:7300"),
    ("Citrix", "tcp 1494; udp 1604; tcp 2598"),
    ("DAAP", "tcp 3689; udp 3689"),
    ("DCC", "tcp 6277"),
    ("DHCPfwd", "udp 67:68 67:68"),
    ("DNS", "udp 53; tcp 53"),
    ("Distcc", "tcp 3632"),
    ("FTP", "tcp 21"),
    ("Finger", "tcp 79"),
    ("GNUnet", "tcp 2086; udp 2086; tcp 1080; udp 1080"),
    ("GRE", "47"),
    ("Git", "tcp 9418"),
    ("HKP", "tcp 11371"),
    ("HTTP", "tcp 80"),
    ("HTTPS", "tcp 443"),
    ("ICPV2", "udp 3130"),
    ("ICQ", "tcp 5190"),
    ("IMAP", "tcp 143"),
    ("IMAPS", "tcp 993"),
    ("IPIP", "94"),
    ("IPsec", "udp 500 500; 50"),
    ("IPsecah", "udp 500 500; 51"),
    ("IPsecnat", "udp 500; udp 4500; 50"),
    ("IRC", "tcp 6667"),
    ("Jetdirect", "tcp 9100"),
    ("L2TP", "udp 1701"),
    ("LDAP", "tcp 389"),
    ("LDAPS", "tcp 636"),
    ("MDNS", "udp 5353"),
    ("MSNP", "tcp 1863"),
    ("MSSQL", "tcp 1433"),
    ("Mail", "tcp 25; tcp 465; tcp 587"),
    ("Munin", "tcp 4949"),
    ("MySQL", "tcp 3306"),
    ("NNTP", "tcp 119"),
    ("NNTPS", "tcp 563"),
    ("NTP", "udp 123"),
    ("OSPF", "89"),
    ("OpenVPN", "udp 1194"),
    ("PCA", "udp 5632; tcp 5631"),
    ("PMG", "tcp 8006"),
    ("POP3", "tcp 110"),
    ("POP3S", "tcp 995"),
    ("PPtP", "47; tcp 1723"),
    ("Ping", "icmp echo-request"),
    ("PostgreSQL", "tcp 5432"),
    ("Printer", "tcp 515"),
    ("RDP", "tcp 3389"),
    ("RIP", "udp 520"),
    ("RNDC", "tcp 953"),
    ("Razor", "tcp 2703"),
    ("Rdate", "tcp 37"),
    ("Rsync", "tcp 873"),
    ("SANE", "tcp 6566"),
    ("SMB", "udp 135,445; udp 137:139; udp 1024:65535 137; tcp 135,139,445"),
    ("SMBswat", "tcp 901"),
    ("SMTP", "tcp 25"),
    ("SMTPS", "tcp 465"),
    ("SNMP", "udp 161:162; tcp 161"),
    ("SPAMD", "tcp 783"),
    ("SPICEproxy", "tcp 3128"),
    ("SSH", "tcp 22"),
    ("SVN", "tcp 3690"),
    ("SixXS", "tcp 3874; udp 3740; 41; udp 5072,8374"),
    ("Squid", "tcp 3128"),
    ("Submission", "tcp 587"),
    ("Syslog", "udp 514; tcp 514"),
    ("TFTP", "udp 69"),
    ("Telnet", "tcp 23"),
    ("Telnets", "tcp 992"),
    ("Time", "tcp 37"),
    ("Trcrt", "udp 33434:33524; icmp echo-request"),
    ("VNC", "tcp 5900:5999"),
    ("VNCL", "tcp 5500"),
    ("Web", "tcp 80; tcp 443"),
    ("Webcache", "tcp 8080"),
    ("Webmin", "tcp 10000"),
    ("Whois", "tcp 43"),
];

/// What a name stands for in rules of IPv6, where that is something else.
const IPV6_MACROS: &[(&str, &str)] = &[
    ("DHCPv6", "udp 546:547 546:547"),
    (
        "NeighborDiscovery",
        "icmpv6 router-solicitation; icmpv6 router-advertisement; icmpv6 neighbor-solicitation; icmpv6 neighbor-advertisement",
    ),
    ("Ping", "icmpv6 echo-request"),
    ("Trcrt", "udp 33434:33524; icmpv6 echo-request"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_rules_of_a_name() {
        assert_eq!(preferred_name("ssh"), Some("SSH"));
        assert_eq!(preferred_name("nothing"), None);
        assert_eq!(parts("SSH", None), [Part { proto: "tcp", dport: Some("22"), sport: None }]);
        assert_eq!(parts("Ping", Some(4))[0].proto, "icmp");
        assert_eq!(parts("Ping", Some(6))[0].proto, "icmpv6");
        assert_eq!(parts("DHCPv6", None).len(), 1);
        assert_eq!(parts("DHCPv6", Some(4)), []);
        assert_eq!(parts("SMB", None)[2].sport, Some("137"));
    }
}
