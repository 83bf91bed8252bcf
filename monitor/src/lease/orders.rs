//! What a keeper is told on its command line.

use std::path::PathBuf;

use clap::Args;

/// The hidden verb.
pub(crate) const CHILD: &str = "lease";

/// Standard input is a pidfd of a process in the container's namespaces, standard output takes one
/// line for each family of addresses, `4 ADDRESS` or `6 ADDRESS` for its first lease, and `routers` once it
/// listens to those.
#[derive(Args, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    /// In that namespace
    #[arg(long)]
    pub(crate) interface: String,
    /// Get an IPv4 address
    #[arg(long)]
    pub(crate) v4: bool,
    /// Get an IPv6 address
    #[arg(long)]
    pub(crate) v6: bool,
    /// Take name servers and domains out of what routers announce
    #[arg(long)]
    pub(crate) routers: bool,
    /// The name to tell servers
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// Where what is worth knowing at the next start is kept
    #[arg(long)]
    pub(crate) record: PathBuf,
    /// The file that says where names are looked up; written in place
    #[arg(long)]
    pub(crate) resolver: Option<PathBuf>,
    /// A domain to search instead of those that servers name
    #[arg(long)]
    pub(crate) search: Vec<String>,
    /// The process that this one does not outlive
    #[arg(long)]
    pub(crate) parent: i32,
}

impl Orders {
    pub(super) fn arguments(&self) -> Vec<std::ffi::OsString> {
        let mut arguments = vec![CHILD.into(), "--interface".into(), (&self.interface).into()];
        let flags = [("--v4", self.v4), ("--v6", self.v6), ("--routers", self.routers)];
        for (flag, wanted) in flags {
            arguments.extend(wanted.then(|| flag.into()));
        }
        // With `=`, so that no value is taken for a flag.
        let with = |flag: &str, value: &std::ffi::OsStr| {
            let mut argument = std::ffi::OsString::from(flag);
            argument.push("=");
            argument.push(value);
            argument
        };
        arguments.extend(self.hostname.as_ref().map(|name| with("--hostname", name.as_ref())));
        arguments.push(with("--record", self.record.as_os_str()));
        arguments.extend(self.resolver.as_ref().map(|path| with("--resolver", path.as_os_str())));
        arguments.extend(self.search.iter().map(|domain| with("--search", domain.as_ref())));
        arguments.push(with("--parent", self.parent.to_string().as_ref()));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    enum Line {
        Lease(Orders),
    }

    #[test]
    fn orders_come_through_as_they_were_given() {
        let given = || Orders {
            interface: "eth0".to_owned(),
            v4: true,
            v6: false,
            routers: true,
            hostname: Some("-odd".to_owned()),
            record: "/run/a b".into(),
            resolver: Some("/run/c".into()),
            search: vec!["a.b".to_owned(), "c".to_owned()],
            parent: 7,
        };
        let words = [vec!["lxcri-monitor".into()], given().arguments()].concat();
        let Line::Lease(read) = Line::try_parse_from(words).unwrap();
        assert_eq!(read, given());
    }
}
