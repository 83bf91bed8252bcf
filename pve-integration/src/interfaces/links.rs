//! The machine's links, as `ip` tells them: PVE asks it too, and nothing else knows their other
//! names.

use std::io;
use std::process::Command;

use serde::Deserialize;

/// One link of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub altnames: Vec<String>,
    /// A card, not something that was made.
    pub physical: bool,
    pub up: bool,
}

#[derive(Deserialize)]
struct Told {
    ifname: String,
    #[serde(default)]
    altnames: Vec<String>,
    #[serde(default)]
    link_type: String,
    #[serde(default)]
    linkinfo: Option<LinkInfo>,
    #[serde(default)]
    flags: Vec<String>,
}

#[derive(Deserialize)]
struct LinkInfo {
    info_kind: Option<String>,
}

/// What `ip -details -json link show` printed.
pub fn links_of_json(json: &[u8]) -> io::Result<Vec<Link>> {
    let told: Vec<Told> = serde_json::from_slice(json)?;
    let link = |told: Told| Link {
        physical: told.link_type == "ether"
            && told.linkinfo.is_none_or(|info| info.info_kind.is_none()),
        up: told.flags.iter().any(|flag| flag == "UP"),
        name: told.ifname,
        altnames: told.altnames,
    };
    Ok(told.into_iter().map(link).collect())
}

/// Of this machine.
pub fn links() -> io::Result<Vec<Link>> {
    let shown = Command::new("ip").args(["-details", "-json", "link", "show"]).output()?;
    if !shown.status.success() {
        let reason = String::from_utf8_lossy(&shown.stderr).trim().to_owned();
        return Err(io::Error::other(format!("ip link show: {reason}")));
    }
    links_of_json(&shown.stdout)
}
