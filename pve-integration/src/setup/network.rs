//! `/etc/hosts` and `/etc/resolv.conf`.

use super::section::without_section;

/// What the host asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostResolver {
    pub search: Vec<String>,
    /// At most three, as resolv.conf(5) has it.
    pub servers: Vec<String>,
}

impl HostResolver {
    pub fn parse(resolv_conf: &str) -> Self {
        let mut found = Self::default();
        for line in resolv_conf.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("search" | "domain") => found.search = words.map(str::to_owned).collect(),
                Some("nameserver") => found.servers.extend(words.next().map(str::to_owned)),
                _ => {}
            }
        }
        found.servers.truncate(3);
        found
    }
}

/// PVE's part of it.
pub fn resolv_conf(search: &[String], servers: &[String]) -> String {
    let search = match search {
        [] => String::new(),
        search => format!("search {}\n", search.join(" ")),
    };
    search + &servers.iter().map(|server| format!("nameserver {server}\n")).collect::<String>()
}

/// PVE's part of `/etc/hosts`: the container's names, and localhost where the rest (`old`, with the
/// part that was) does not have it.
pub fn hosts_section(
    old: Option<&str>,
    address: Option<&str>,
    hostname: &str,
    search: &[String],
) -> String {
    let rest = without_section(old.unwrap_or_default());
    let knows =
        |address: &str| rest.lines().any(|line| line.split_whitespace().next() == Some(address));
    let mut section = String::new();
    for local in ["127.0.0.1", "::1"] {
        if !knows(local) {
            section += &format!("{local} localhost.localnet localhost\n");
        }
    }
    let short = hostname.split('.').next().unwrap_or_default();
    let names = if hostname.contains('.') {
        format!("{hostname} {short}")
    } else {
        let full = search.iter().map(|domain| format!("{hostname}.{domain} "));
        full.collect::<String>() + hostname
    };
    section
        + &match address {
            Some(address) => format!("{address} {names}\n"),
            None if short != "localhost" => format!("127.0.1.1 {names}\n"),
            None => format!("127.0.1.1 {short}\n"),
        }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn reads_what_the_host_asks() {
        let text = "# made by x\nsearch example.com lan\nnameserver 1.1.1.1\nnameserver fe80::1%eth0\n\
                    options edns0\nnameserver 3.3.3.3\nnameserver 4.4.4.4\n";
        let found = HostResolver::parse(text);
        assert_eq!(found.search, ["example.com", "lan"]);
        assert_eq!(found.servers, ["1.1.1.1", "fe80::1%eth0", "3.3.3.3"]);
        assert_eq!(
            resolv_conf(&found.search, &found.servers[..1]),
            "search example.com lan\nnameserver 1.1.1.1\n"
        );
        assert_eq!(resolv_conf(&[], &[]), "");
    }

    #[rstest]
    #[case::fresh(
        None,
        None,
        "web",
        "127.0.0.1 localhost.localnet localhost\n::1 localhost.localnet localhost\n127.0.1.1 web.lan web\n"
    )]
    #[case::knows_localhost(
        Some("127.0.0.1\tlocalhost\n::1 localhost\n"),
        Some("10.0.0.2"),
        "web.a.b",
        "10.0.0.2 web.a.b web\n"
    )]
    #[case::in_our_part_does_not_count(
        Some(
            "::1 localhost\n# --- BEGIN PVE ---\n127.0.0.1 localhost.localnet localhost\n# --- END PVE ---\n"
        ),
        None,
        "localhost",
        "127.0.0.1 localhost.localnet localhost\n127.0.1.1 localhost\n"
    )]
    #[case::only_our_part(
        Some("# --- BEGIN PVE ---\n127.0.0.1 localhost\n::1 localhost\n# --- END PVE ---\n"),
        None,
        "a.b",
        "127.0.0.1 localhost.localnet localhost\n::1 localhost.localnet localhost\n127.0.1.1 a.b a\n"
    )]
    fn names_the_container(
        #[case] old: Option<&str>,
        #[case] address: Option<&str>,
        #[case] hostname: &str,
        #[case] section: &str,
    ) {
        assert_eq!(hosts_section(old, address, hostname, &["lan".to_owned()]), section);
    }
}
