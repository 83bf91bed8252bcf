//! A container's own AppArmor profile: loaded before libcrun puts a process into it, removed after the last
//! one. Its file tells that it may be loaded, so whoever has none pays nothing.

use std::io;
use std::process::{Command, Stdio};

use fs_err as fs;
use pve_integration::bundle::Profile;

use crate::cleanup;
use crate::error::{Error, Result};
use crate::guest::Guest;

const PARSER: &str = "apparmor_parser";
/// Takes a profile's name.
const REMOVE: &str = "/sys/kernel/security/apparmor/.remove";

/// In the place of what has this name already.
pub(crate) fn load(guest: &Guest, profile: &Profile) -> Result<()> {
    let failed = |why: String| Error::AppArmor { name: profile.name.clone(), why };
    let path = guest.root.apparmor_text(guest.vmid);
    fs::write(&path, &profile.text)?;
    let mut parser = Command::new(PARSER);
    parser.args(["--replace", "--skip-cache", "--quiet"]).arg(&path).stdin(Stdio::null());
    let output = parser.output().map_err(|err| failed(format!("{PARSER}: {err}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().map(str::trim).find(|line| !line.is_empty());
    Err(failed(first.map_or_else(|| format!("{PARSER}: {}", output.status), str::to_owned)))
}

pub(crate) fn unload(guest: &Guest) -> io::Result<()> {
    let path = guest.root.apparmor_text(guest.vmid);
    if !path.exists() {
        return Ok(());
    }
    let name = guest.root.apparmor_profile(guest.vmid);
    let removed = fs::OpenOptions::new()
        .write(true)
        .open(REMOVE)
        .and_then(|mut file| io::Write::write_all(&mut file, name.as_bytes()));
    match removed {
        // It was never loaded.
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        Ok(()) | Err(_) => {}
    }
    cleanup::remove(&path)
}
