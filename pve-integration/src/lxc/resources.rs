//! Limits and device rules, as files of the container's cgroup.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::lines::Lines;
use crate::bundle::{BundleError, Setting};

pub(super) fn write<'d>(
    lines: &mut Lines,
    devices: impl Iterator<Item = &'d LinuxDeviceCgroup>,
    limits: &[Setting],
    v2: bool,
) -> Result<(), BundleError> {
    let prefix = if v2 { "lxc.cgroup2" } else { "lxc.cgroup" };
    for device in devices {
        let what = if device.allow() { "allow" } else { "deny" };
        lines.put(&format!("{prefix}.devices.{what}"), &rule(device))?;
    }
    for limit in limits {
        lines.put(&format!("{prefix}.{}", limit.file), &limit.value)?;
    }
    Ok(())
}

/// `c 1:3 rwm`, or `a` for all there are.
fn rule(device: &LinuxDeviceCgroup) -> String {
    let kind = match device.typ() {
        Some(LinuxDeviceType::B) => "b",
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => "c",
        Some(LinuxDeviceType::P | LinuxDeviceType::A) | None => return "a".to_owned(),
    };
    let number =
        |number: Option<i64>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
    let access = device.access().as_deref().unwrap_or("rwm");
    format!("{kind} {}:{} {access}", number(device.major()), number(device.minor()))
}
