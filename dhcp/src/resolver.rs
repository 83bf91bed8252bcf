//! Where names are looked up, as a lease says, and the part of a resolver file that follows from it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// resolv.conf(5): more servers are not asked, and more domains not searched by older programs.
const MOST_SERVERS: usize = 3;
const MOST_DOMAINS: usize = 6;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    servers: Vec<IpAddr>,
    search: Vec<String>,
}

impl Resolver {
    /// What is no name or no server's address is left out: it came from the network and goes into a
    /// file.
    pub fn new(
        servers: impl IntoIterator<Item = IpAddr>,
        search: impl IntoIterator<Item = String>,
    ) -> Self {
        let servers = servers.into_iter().filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
        let search = search.into_iter().map(|name| name.trim_end_matches('.').to_owned());
        Self {
            servers: servers.take(MOST_SERVERS).collect(),
            search: search.filter(|name| is_name(name)).take(MOST_DOMAINS).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.search.is_empty()
    }

    /// Both, without what is there twice.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.servers.extend(other.servers.iter().filter(|ip| !self.servers.contains(ip)));
        both.servers.truncate(MOST_SERVERS);
        both.search.extend(other.search.iter().filter(|name| !self.search.contains(name)).cloned());
        both.search.truncate(MOST_DOMAINS);
        both
    }

    /// With these domains to search, if there are any, in the place of its own.
    #[must_use]
    pub fn searching(self, search: &[String]) -> Self {
        if search.is_empty() { self } else { Self::new(self.servers, search.iter().cloned()) }
    }

    fn lines(&self, interface: &str) -> String {
        let mut text = String::new();
        if !self.search.is_empty() {
            text = format!("search {}\n", self.search.join(" "));
        }
        for server in &self.servers {
            // Such an address is one only together with its link.
            let zone = match server {
                IpAddr::V6(ip) if ip.is_unicast_link_local() => format!("%{interface}"),
                IpAddr::V4(_) | IpAddr::V6(_) => String::new(),
            };
            text.push_str(&format!("nameserver {server}{zone}\n"));
        }
        text
    }
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
    text.len() <= 253 && text.split('.').all(label)
}

/// A resolver file in which the section of `interface` is this one. Each interface with a lease has
/// one; what was there before the first of them goes.
pub fn with_section(old: &str, interface: &str, resolver: &Resolver) -> String {
    let (begin, end) = (format!("# lease of {interface}"), format!("# end of {interface}"));
    let mut sections = Vec::new();
    let mut rest = old;
    while let Some((name, text, behind)) = next_section(rest) {
        if name != interface {
            sections.push(format!("# lease of {name}\n{text}# end of {name}\n"));
        }
        rest = behind;
    }
    if !resolver.is_empty() {
        sections.push(format!("{begin}\n{}{end}\n", resolver.lines(interface)));
    }
    // Without any lease what was there last is as good as anything.
    if sections.is_empty() { old.to_owned() } else { sections.concat() }
}

/// The name and the lines of the first section, and what is behind it.
fn next_section(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find("# lease of ").filter(|at| is_line_start(text, *at))?;
    let (name, body) = text[start + "# lease of ".len()..].split_once('\n')?;
    let end = format!("# end of {name}\n");
    let at = body.find(&end).filter(|at| is_line_start(body, *at))?;
    Some((name, &body[..at], &body[at + end.len()..]))
}

fn is_line_start(text: &str, at: usize) -> bool {
    at == 0 || text.as_bytes().get(at - 1) == Some(&b'\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolver(servers: &[&str], search: &[&str]) -> Resolver {
        let servers = servers.iter().map(|ip| ip.parse().unwrap());
        Resolver::new(servers, search.iter().map(|&name| name.to_owned()))
    }

    #[test]
    fn a_lease_takes_the_place_of_the_hosts_servers() {
        let first =
            with_section("nameserver 9.9.9.9\n", "eth0", &resolver(&["10.0.0.1"], &["lan"]));
        assert_eq!(first, "# lease of eth0\nsearch lan\nnameserver 10.0.0.1\n# end of eth0\n");
        let both = with_section(&first, "eth1", &resolver(&["fd00::1"], &[]));
        assert_eq!(both, format!("{first}# lease of eth1\nnameserver fd00::1\n# end of eth1\n"));
        let other = with_section(&both, "eth0", &resolver(&["10.9.0.1"], &[]));
        assert_eq!(
            other,
            "# lease of eth1\nnameserver fd00::1\n# end of eth1\n\
             # lease of eth0\nnameserver 10.9.0.1\n# end of eth0\n"
        );
    }

    #[test]
    fn a_server_of_the_link_is_named_with_it() {
        let text = with_section("", "eth0", &resolver(&["fe80::1"], &[]));
        assert_eq!(text, "# lease of eth0\nnameserver fe80::1%eth0\n# end of eth0\n");
    }

    #[test]
    fn without_servers_all_stays() {
        assert_eq!(
            with_section("nameserver 9.9.9.9\n", "eth0", &resolver(&[], &[])),
            "nameserver 9.9.9.9\n"
        );
    }

    #[test]
    fn a_name_that_is_none_gets_into_no_file() {
        let odd = ["a\nnameserver 6.6.6.6", "a b", "", "..", "ok.example.", "-"];
        assert_eq!(resolver(&["0.0.0.0", "224.0.0.1"], &odd), resolver(&[], &["ok.example", "-"]));
    }

    proptest! {
        /// The container may write whatever it likes into its file.
        #[test]
        fn any_file_can_get_a_section(old in "(# lease of |# end of |eth[01]|[a-z. ]{0,5}|\n|ä){0,20}") {
            let new = with_section(&old, "eth0", &resolver(&["10.0.0.1"], &[]));
            prop_assert!(new.ends_with("# lease of eth0\nnameserver 10.0.0.1\n# end of eth0\n"));
            prop_assert_eq!(with_section(&new, "eth0", &resolver(&["10.0.0.1"], &[])), new);
        }
    }
}
