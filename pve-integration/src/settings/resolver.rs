//! `/etc/resolv.conf`. Upstream: pve-common, `update_etc_resolv_conf` of `src/PVE/INotify.pm`.

use super::{SettingsError, read_or_host};
use crate::layout::Root;
use crate::{atomic, file_lock};

/// What a client may set.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    pub search: String,
    /// Empty ones and 0.0.0.0 are none.
    pub servers: Vec<String>,
}

/// Other lines stay as they are, after these.
fn merge(old: &str, new: &Resolver) -> String {
    let mut text = String::new();
    let search = new.search.replace(['\n', '\r'], " ");
    if !matches!(search.as_str(), "" | "0") {
        text += &format!("search {search}\n");
    }
    let mut written: Vec<&str> = Vec::new();
    for server in new.servers.iter().map(String::as_str) {
        if !matches!(server, "" | "0.0.0.0") && !written.contains(&server) {
            text += &format!("nameserver {server}\n");
            written.push(server);
        }
    }
    let ours = |line: &str| {
        let mut words = line.split(char::is_whitespace);
        matches!(words.next(), Some("search" | "domain" | "nameserver")) && words.next().is_some()
    };
    text.extend(old.split_inclusive('\n').filter(|line| !ours(line)));
    text
}

pub fn write_resolver(root: &Root, new: &Resolver) -> Result<(), SettingsError> {
    let _lock = file_lock::take(&root.below("/etc/resolv.conf.lock"))?;
    let old = read_or_host(root, "/etc/resolv.conf").unwrap_or_default();
    let text = merge(&String::from_utf8_lossy(&old), new);
    Ok(atomic::write(&root.below("/etc/resolv.conf"), 0o644, text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_other_lines() {
        let old = "# by hand\nsearch old\nnameserver 1.1.1.1\noptions edns0\n";
        let servers = ["9.9.9.9", "", "9.9.9.9", "0.0.0.0", "::1"].map(str::to_owned).to_vec();
        let new = Resolver { search: "example.com".to_owned(), servers };

        let text = merge(old, &new);

        let expected =
            "search example.com\nnameserver 9.9.9.9\nnameserver ::1\n# by hand\noptions edns0\n";
        assert_eq!(text, expected);
    }
}
