//! A guest's firewall as PVE keeps it, in `etc/pve/firewall/VMID.fw`: options, aliases, IP sets and
//! rules. They are stored for whoever enforces them; nothing here touches a packet. Upstream:
//! pve-firewall, `src/PVE/Firewall.pm` and `src/PVE/API2/Firewall/`.

mod aliases;
mod error;
mod ipsets;
mod log;
mod macros;
mod parse;
mod rule;
mod rules;
mod store;
mod verify;
mod write;

use std::collections::BTreeMap;

use openapi::format::split_list;
use serde_json::{Map, Value};
use sha1::{Digest as _, Sha1};

use crate::layout::Root;

pub use self::aliases::{Alias, AliasChange};
pub use self::error::FirewallError;
pub use self::ipsets::{IpSet, IpSetEntry, NewIpSet};
pub use self::log::{LogPage, LogWanted, log};
pub use self::parse::{Parsed, parse, parse_cluster};
pub use self::rule::Rule;
pub use self::store::{Firewalls, copy, edit, is_there, load, remove, replace};

/// What PVE's packages enforce it by, older and newer.
const ENFORCERS: [&str; 2] = ["/usr/sbin/pve-firewall", "/usr/libexec/proxmox/proxmox-firewall"];

/// Whether somebody on this root acts on what is stored here.
pub fn is_enforced(root: &Root) -> bool {
    ENFORCERS.iter().any(|program| root.below(program).exists())
}

/// Options that a client may set. Files may have a few more, of older releases.
const OPTIONS: [&str; 10] = [
    "dhcp",
    "enable",
    "ipfilter",
    "log_level_in",
    "log_level_out",
    "macfilter",
    "ndp",
    "policy_in",
    "policy_out",
    "radv",
];

/// What one file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firewall {
    /// By name: numbers for switches, texts for the others.
    pub options: Map<String, Value>,
    /// By name in lower case.
    pub aliases: BTreeMap<String, Alias>,
    pub ipsets: BTreeMap<String, IpSet>,
    pub rules: Vec<Rule>,
    /// Whether there was a file with anything in it. PVE minds in one place.
    pub(crate) is_there: bool,
}

impl Firewall {
    /// Whether its owner wants it to be enforced.
    pub fn is_enabled(&self) -> bool {
        self.options.get("enable").is_some_and(|value| *value == 1)
    }

    /// The options' digest.
    pub fn options_digest(&self) -> String {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let pairs: Vec<(&str, String)> =
            self.options.iter().map(|(key, value)| (key.as_str(), text(value))).collect();
        digest([pairs])
    }

    /// `change` may have names that are no options; they are not for us.
    pub fn set_options(
        &mut self,
        change: &Map<String, Value>,
        delete: &str,
        seen: Option<&str>,
    ) -> Result<(), FirewallError> {
        unchanged(&self.options_digest(), seen)?;
        for option in split_list(delete) {
            if !OPTIONS.contains(&option) {
                let text = format!("no such option '{option}'");
                return Err(FirewallError::param("delete", text));
            }
            self.options.remove(option);
        }
        for (key, value) in change.iter().filter(|(key, _)| OPTIONS.contains(&key.as_str())) {
            self.options.insert(key.clone(), value.clone());
        }
        Ok(())
    }
}

/// PVE's digest of a list: each item's keys, sorted, with their values.
fn digest<'a>(items: impl IntoIterator<Item = Vec<(&'a str, String)>>) -> String {
    let mut sha = Sha1::new();
    for mut pairs in items {
        pairs.sort_by_key(|(key, _)| *key);
        for (key, value) in pairs {
            sha.update(format!("{key}:{value}\n"));
        }
    }
    hex::encode(sha.finalize())
}

/// That nobody changed what the client saw.
fn unchanged(now: &str, seen: Option<&str>) -> Result<(), FirewallError> {
    match seen.filter(|seen| !seen.is_empty()) {
        Some(seen) if seen != now => Err(FirewallError::Modified),
        Some(_) | None => Ok(()),
    }
}

/// Perl's truth of a text.
fn is_true(text: &str) -> bool {
    !matches!(text, "" | "0")
}

/// A comment that is one.
fn comment(text: Option<&str>) -> Option<String> {
    text.filter(|text| is_true(text)).map(str::to_owned)
}

/// `dc/name`, `guest/name` or `name` of an alias: its scope and its name.
fn alias_reference(text: &str) -> Option<(&str, &str)> {
    let (scope, name) = ["dc/", "guest/"]
        .iter()
        .find_map(|scope| Some((*scope, text.strip_prefix(scope)?)))
        .unwrap_or(("", text));
    is_name(name).then_some((scope, name))
}

/// What names of aliases, IP sets and groups look like.
fn is_name(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// What `scope/name` means to a guest; `cluster` is the data centre's own file.
fn resolve<'a>(
    cluster: Option<&'a Firewall>,
    guest: &'a Firewall,
    scope: &str,
    name: &str,
) -> Option<&'a Alias> {
    let name = name.to_lowercase();
    let (cluster, guest) = match cluster {
        Some(cluster) => (cluster, Some(guest)),
        None => (guest, None),
    };
    let own = guest.filter(|_| scope != "dc/").and_then(|guest| guest.aliases.get(&name));
    own.or_else(|| cluster.aliases.get(&name).filter(|_| scope != "guest/"))
}

#[cfg(test)]
mod tests;
