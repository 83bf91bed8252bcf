//! `/etc/hosts`. Upstream: pve-common, `write_etc_hosts` of `src/PVE/INotify.pm`.

use std::net::IpAddr;

use super::{SettingsError, read_or_host, unchanged};
use crate::layout::Root;
use crate::{atomic, file_lock};

fn check(text: &str) -> Result<(), SettingsError> {
    let wrong = |text: String| Err(SettingsError::Param { name: "data", text });
    for line in text.lines() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let indented = line.starts_with(char::is_whitespace);
        let mut words = line.split_whitespace();
        let address = if indented { "" } else { words.next().unwrap_or_default() };
        if address.parse::<IpAddr>().is_err() {
            return wrong(format!("Invalid IP '{address}'"));
        }
        let plain = |name: &str| {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        };
        if let Some(name) = words.find(|name| !plain(name)) {
            return wrong(format!("Invalid Hostname '{name}'"));
        }
    }
    Ok(())
}

/// `seen` is the digest of the file that the client changed.
pub fn write_hosts(root: &Root, text: &str, seen: Option<&str>) -> Result<(), SettingsError> {
    let _lock = file_lock::take(&root.below("/var/lock/pve-etchosts.lck"))?;
    if seen.is_some() {
        unchanged(&read_or_host(root, "/etc/hosts")?, seen)?;
    }
    check(text)?;
    Ok(atomic::write(&root.below("/etc/hosts"), 0o644, text.as_bytes())?)
}
