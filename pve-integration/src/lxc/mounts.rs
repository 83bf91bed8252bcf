//! The bundle's mounts, and what it masks, in LXC's words.

use oci_spec::runtime::{Mount, Spec};

use super::Installed;
use super::lines::{Lines, field};
use super::pieces;
use crate::bundle::BundleError;

/// LXC makes these itself: a tmpfs on /dev with the usual nodes, and a devpts by `lxc.pty.max`.
const OWN: [&str; 2] = ["/dev", "/dev/pts"];
/// What `proc:mixed` makes read-only.
const MIXED: [&str; 2] = ["/proc/sys", "/proc/sysrq-trigger"];

pub(super) fn write(
    lines: &mut Lines,
    spec: &Spec,
    installed: &Installed,
    application: bool,
) -> Result<(), BundleError> {
    let linux = spec.linux().as_ref();
    let readonly = linux.and_then(|linux| linux.readonly_paths().clone()).unwrap_or_default();
    let masked = linux.and_then(|linux| linux.masked_paths().clone()).unwrap_or_default();
    // Whatever an included file says.
    lines.clear("lxc.mount.auto");
    let mut auto = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        let ro = has_option(mount, "ro");
        match mount.destination().to_str() {
            Some("/proc") if MIXED.iter().all(|path| readonly.iter().any(|ro| ro == path)) => {
                auto.push("proc:mixed");
            }
            Some("/proc") => auto.push("proc:rw"),
            Some("/sys") if !ro => auto.push("sys:rw"),
            // An init system may look after its own interfaces.
            Some("/sys") => auto.push(if application { "sys:ro" } else { "sys:mixed" }),
            Some("/sys/fs/cgroup") => auto.push(if ro { "cgroup:ro" } else { "cgroup:mixed" }),
            Some(own) if OWN.contains(&own) => {}
            Some(_) | None => {}
        }
    }
    lines.put("lxc.mount.auto", &auto.join(" "))?;
    for mount in spec.mounts().iter().flatten().filter(|mount| !is_automatic(mount)) {
        entry(lines, mount)?;
    }
    for path in readonly.iter().filter(|path| !MIXED.contains(&path.as_str())) {
        if installed.is_folder(path).is_some() {
            pieces::read_only(lines, path)?;
        }
    }
    for path in &masked {
        if let Some(is_folder) = installed.is_folder(path) {
            pieces::masked(lines, path, is_folder)?;
        }
    }
    Ok(())
}

fn is_automatic(mount: &Mount) -> bool {
    let destination = mount.destination().to_str().unwrap_or_default();
    OWN.contains(&destination) || ["/proc", "/sys", "/sys/fs/cgroup"].contains(&destination)
}

fn has_option(mount: &Mount, name: &str) -> bool {
    mount.options().iter().flatten().any(|option| option == name)
}

fn entry(lines: &mut Lines, mount: &Mount) -> Result<(), BundleError> {
    let destination = mount.destination().to_string_lossy();
    let destination = field(destination.trim_start_matches('/'));
    let source = mount.source().as_ref().map_or("none".into(), |source| source.to_string_lossy());
    let kind = mount.typ().as_deref().unwrap_or("none");
    let mut options: Vec<&str> = mount.options().iter().flatten().map(String::as_str).collect();
    // Folders are never bound by the bundle itself.
    options.push(if options.contains(&"bind") { "create=file" } else { "create=dir" });
    let (source, options) = (field(&source), options.join(","));
    lines.put("lxc.mount.entry", &format!("{source} {destination} {kind} {options} 0 0"))
}
