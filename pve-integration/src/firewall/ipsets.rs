//! Named sets of addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Firewall, FirewallError, alias_reference, comment, digest, resolve, unchanged};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpSet {
    pub comment: Option<String>,
    pub entries: Vec<IpSetEntry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpSetEntry {
    /// An address, a network or an alias.
    pub cidr: String,
    /// Excepted from the set.
    pub nomatch: bool,
    pub comment: Option<String>,
    /// What is wrong with it, by property; found when the file was read.
    pub errors: BTreeMap<String, String>,
}

/// A set that shall be, or the new name and comment of one.
#[derive(Clone, Debug, Default)]
pub struct NewIpSet {
    pub name: String,
    /// The set that gets the name.
    pub rename: Option<String>,
    pub comment: Option<String>,
}

/// A network without its host bits; anything else as it is.
fn clean(cidr: &str) -> String {
    let Some((address, length)) = cidr.split_once('/') else { return cidr.to_owned() };
    let Ok(bits) = length.parse::<u32>() else { return cidr.to_owned() };
    match address.parse() {
        _ if bits == 0 => cidr.to_owned(),
        Ok(IpAddr::V4(v4)) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
            format!("{}/{length}", Ipv4Addr::from(u32::from(v4) & mask))
        }
        Ok(IpAddr::V6(v6)) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0);
            format!("{}/{length}", Ipv6Addr::from(u128::from(v6) & mask))
        }
        Err(_) => cidr.to_owned(),
    }
}

/// As the file has it: a single address without its length. And its family.
pub(super) fn address(cidr: &str) -> Result<(&str, u8), FirewallError> {
    let (address, length) = match cidr.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (cidr, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let version = match address.parse::<IpAddr>() {
        Ok(ip) if length.is_none_or(digits) => {
            if ip.is_ipv4() {
                4
            } else {
                6
            }
        }
        Ok(_) | Err(_) => return Err(FirewallError::Address),
    };
    let single = if version == 4 { "32" } else { "128" };
    Ok((if length == Some(single) { address } else { cidr }, version))
}

/// PVE's kernel sets cannot hold everything.
pub(super) fn is_everything(cidr: &str) -> bool {
    let length = cidr.rsplit_once('/').map(|(_, length)| length);
    length.is_some_and(|length| !length.is_empty() && length.bytes().all(|b| b == b'0'))
}

impl IpSet {
    pub fn digest(&self) -> String {
        digest(self.entries.iter().map(|entry| {
            let mut pairs = vec![("cidr", entry.cidr.clone())];
            pairs.extend(entry.nomatch.then(|| ("nomatch", "1".to_owned())));
            pairs.extend(entry.comment.clone().map(|comment| ("comment", comment)));
            pairs
        }))
    }

    pub fn entry(&self, cidr: &str) -> Result<&IpSetEntry, FirewallError> {
        let entry = self.entries.iter().find(|entry| entry.cidr == cidr);
        entry.ok_or_else(|| FirewallError::param("cidr", "no such IP/Network"))
    }

    pub fn change_entry(
        &mut self,
        cidr: &str,
        (nomatch, comment): (bool, Option<String>),
        seen: Option<&str>,
    ) -> Result<(), FirewallError> {
        unchanged(&self.digest(), seen)?;
        self.entry(cidr)?;
        for entry in self.entries.iter_mut().filter(|entry| entry.cidr == cidr).take(1) {
            (entry.nomatch, entry.comment) = (nomatch, comment.clone());
        }
        Ok(())
    }

    /// One that is not there is gone already.
    pub fn remove_entry(&mut self, cidr: &str, seen: Option<&str>) -> Result<(), FirewallError> {
        unchanged(&self.digest(), seen)?;
        self.entries.retain(|entry| entry.cidr != cidr);
        Ok(())
    }
}

impl Firewall {
    pub fn ipsets_digest(&self) -> String {
        digest(self.ipsets.iter().map(|(name, set)| {
            let mut pairs = vec![("name", name.clone())];
            pairs.extend(comment(set.comment.as_deref()).map(|comment| ("comment", comment)));
            pairs
        }))
    }

    pub fn ipset(&self, name: &str) -> Result<&IpSet, FirewallError> {
        self.ipsets.get(name).ok_or_else(|| FirewallError::NoIpSet(name.to_owned()))
    }

    pub fn ipset_mut(&mut self, name: &str) -> Result<&mut IpSet, FirewallError> {
        self.ipsets.get_mut(name).ok_or_else(|| FirewallError::NoIpSet(name.to_owned()))
    }

    pub fn add_ipset(&mut self, new: NewIpSet, seen: Option<&str>) -> Result<(), FirewallError> {
        let param = |text| FirewallError::param("name", text);
        let NewIpSet { name, rename, comment } = new;
        let Some(old) = rename else {
            if self.ipsets.contains_key(&name) {
                return Err(param(format!("IPSet '{name}' already exists")));
            }
            self.ipsets.insert(name, IpSet { comment, entries: Vec::new() });
            return Ok(());
        };
        unchanged(&self.ipsets_digest(), seen)?;
        if name != old && self.ipsets.contains_key(&old) && self.ipsets.contains_key(&name) {
            return Err(param(format!("IPSet '{name}' does already exist")));
        }
        let Some(mut set) = self.ipsets.remove(&old) else {
            return Err(param(format!("IPSet '{old}' does not exist")));
        };
        set.comment = comment.or(set.comment);
        self.ipsets.insert(name, set);
        Ok(())
    }

    pub fn remove_ipset(&mut self, name: &str, force: bool) -> Result<(), FirewallError> {
        if !self.ipset(name)?.entries.is_empty() && !force {
            return Err(FirewallError::IpSetNotEmpty(name.to_owned()));
        }
        self.ipsets.remove(name);
        Ok(())
    }

    pub fn add_entry(
        &mut self,
        cluster: &Self,
        name: &str,
        new: IpSetEntry,
    ) -> Result<(), FirewallError> {
        self.ipset(name)?;
        let cidr = if let Some((scope, alias)) = alias_reference(&new.cidr) {
            let known = resolve(Some(cluster), self, scope, alias);
            known.ok_or_else(|| FirewallError::NoAlias(alias.to_owned()))?;
            new.cidr
        } else {
            address(&clean(&new.cidr))?.0.to_owned()
        };
        let set = self.ipset_mut(name)?;
        let param = |text| FirewallError::param("cidr", text);
        if set.entries.iter().any(|entry| entry.cidr == cidr) {
            return Err(param(format!("address '{cidr}' already exists")));
        }
        if is_everything(&cidr) {
            return Err(param("a zero prefix is not allowed in ipset entries".to_owned()));
        }
        let comment = comment(new.comment.as_deref());
        set.entries.insert(0, IpSetEntry { cidr, comment, ..new });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.0.0.5/24", "10.0.0.0/24")]
    #[case("10.0.0.5/32", "10.0.0.5/32")]
    #[case("1.2.3.4/0", "1.2.3.4/0")]
    #[case("2001:db8::1/64", "2001:db8::/64")]
    #[case("10.0.0.5", "10.0.0.5")]
    fn drops_host_bits(#[case] given: &str, #[case] cleaned: &str) {
        assert_eq!(clean(given), cleaned);
    }

    #[rstest]
    #[case("10.0.0.5/32", Some(("10.0.0.5", 4)))]
    #[case("::1/128", Some(("::1", 6)))]
    #[case("10.0.0.0/8", Some(("10.0.0.0/8", 4)))]
    #[case("10.0.0.0/x", None)]
    #[case("web", None)]
    fn reads_addresses(#[case] text: &str, #[case] read: Option<(&str, u8)>) {
        assert_eq!(address(text).ok(), read);
    }
}
