//! Lines that say the same of every bundle, be it one of ours or somebody else's.

use std::collections::BTreeSet;

use oci_spec::runtime::{Capabilities, Linux, Process};

use super::lines::{Lines, field};
use crate::bundle::{self, BundleError, Warning};

/// Fails on purpose: LXC must not start a container again by itself.
pub(super) const NO_REBOOT: &str = r#"sh -c 'test "$LXC_TARGET" != reboot'"#;

/// Pseudo-terminals that may be open inside, as lxc's common.conf has it.
pub(super) fn terminals(lines: &mut Lines) -> Result<(), BundleError> {
    lines.put("lxc.pty.max", "1024")
}

pub(super) fn id_maps(lines: &mut Lines, linux: &Linux) -> Result<(), BundleError> {
    for (kind, maps) in [("u", linux.uid_mappings()), ("g", linux.gid_mappings())] {
        for map in maps.iter().flatten() {
            let (inside, outside, size) = (map.container_id(), map.host_id(), map.size());
            lines.put("lxc.idmap", &format!("{kind} {inside} {outside} {size}"))?;
        }
    }
    Ok(())
}

/// LXC takes what to keep or what to drop, not both, and includes may have said either.
pub(super) fn capabilities(
    lines: &mut Lines,
    kept: Option<&Capabilities>,
) -> Result<(), BundleError> {
    lines.clear("lxc.cap.drop");
    lines.clear("lxc.cap.keep");
    let Some(kept) = kept else { return Ok(()) };
    let kept: BTreeSet<String> =
        kept.iter().map(|capability| bare(&capability.to_string())).collect();
    let all = bundle::capability_names().map(bare);
    let dropped: Vec<String> = all.filter(|name| !kept.contains(name)).collect();
    if dropped.is_empty() {
        Ok(())
    } else if kept.is_empty() {
        lines.put("lxc.cap.keep", "none")
    } else if dropped.len() < kept.len() {
        lines.put("lxc.cap.drop", &dropped.join(" "))
    } else {
        let kept: Vec<_> = kept.into_iter().collect();
        lines.put("lxc.cap.keep", &kept.join(" "))
    }
}

/// As whom the first process runs, and where. The warning is about groups.
pub(super) fn identity(
    lines: &mut Lines,
    process: &Process,
    shifted: bool,
) -> Result<Option<Warning>, BundleError> {
    let user = process.user();
    lines.put("lxc.init.uid", &user.uid().to_string())?;
    lines.put("lxc.init.gid", &user.gid().to_string())?;
    let groups = user.additional_gids().iter().flatten();
    let groups = groups.map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut warning = None;
    if !groups.is_empty() {
        lines.put("lxc.init.groups", &groups)?;
        let reason = "LXC before 7 gives an unprivileged container none";
        warning = shifted.then(|| Warning::new("lxc.init.groups", reason));
    }
    lines.path("lxc.init.cwd", process.cwd())?;
    if process.no_new_privileges() == Some(true) {
        lines.put("lxc.no_new_privs", "1")?;
    }
    Ok(warning)
}

/// Once more what is there already, but for reading only.
pub(super) fn read_only(lines: &mut Lines, path: &str) -> Result<(), BundleError> {
    let path = field(path.trim_start_matches('/'));
    lines.put("lxc.mount.entry", &format!("{path} {path} none bind,ro,relative 0 0"))
}

/// Something empty over it.
pub(super) fn masked(lines: &mut Lines, path: &str, is_folder: bool) -> Result<(), BundleError> {
    let target = field(path.trim_start_matches('/'));
    let entry = if is_folder {
        format!("tmpfs {target} tmpfs ro 0 0")
    } else {
        format!("/dev/null {target} none bind 0 0")
    };
    lines.put("lxc.mount.entry", &entry)
}

/// `CAP_SYS_ADMIN` or `SYS_ADMIN` is `sys_admin` to LXC.
fn bare(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    lower.strip_prefix("cap_").unwrap_or(&lower).to_owned()
}
