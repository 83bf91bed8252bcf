//! The time zone: systemd's business on a real host, two files elsewhere. Upstream: pve-common,
//! `src/PVE/Systemd.pm`.

use std::path::Path;
use std::process::Command;

use fs_err as fs;

use super::SettingsError;
use crate::atomic;
use crate::layout::Root;

const ZONES: &str = "/usr/share/zoneinfo";

fn no_such() -> SettingsError {
    SettingsError::Param { name: "timezone", text: "No such timezone".to_owned() }
}

/// One of the machine's own list.
fn is_known(zone: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'))
    };
    zone.split('/').all(plain)
        && (zone == "UTC"
            || fs::read(Path::new(ZONES).join(zone)).is_ok_and(|file| file.starts_with(b"TZif")))
}

pub fn set_timezone(root: &Root, zone: &str) -> Result<(), SettingsError> {
    if !is_known(zone) {
        return Err(no_such());
    }
    if root.prefix() == Path::new("/") {
        let done = Command::new("timedatectl").args(["set-timezone", zone]).output()?;
        if !done.status.success() {
            let reason = String::from_utf8_lossy(&done.stderr).trim().to_owned();
            let text = format!("command 'timedatectl set-timezone {zone}' failed: {reason}");
            return Err(SettingsError::refused(text));
        }
        return Ok(());
    }
    let etc = root.below("/etc");
    fs::create_dir_all(&etc)?;
    // Beside, then over the old one: at no moment is there no zone.
    let beside = etc.join(".lxcri-localtime");
    if beside.is_symlink() {
        fs::remove_file(&beside)?;
    }
    fs::os::unix::fs::symlink(Path::new(ZONES).join(zone), &beside)?;
    fs::rename(&beside, etc.join("localtime"))?;
    Ok(atomic::write(&etc.join("timezone"), 0o644, format!("{zone}\n").as_bytes())?)
}
