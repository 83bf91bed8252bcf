//! Limits and device rules, as files of the container's cgroup.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

use super::lines::Lines;
use crate::bundle::BundleError;

pub(super) fn write(
    lines: &mut Lines,
    resources: &LinuxResources,
    v2: bool,
) -> Result<(), BundleError> {
    let prefix = if v2 { "lxc.cgroup2" } else { "lxc.cgroup" };
    for device in resources.devices().iter().flatten() {
        let what = if device.allow() { "allow" } else { "deny" };
        lines.put(&format!("{prefix}.devices.{what}"), &rule(device))?;
    }
    let mut put = |file: &str, value: String| lines.put(&format!("{prefix}.{file}"), &value);
    if let Some(memory) = resources.memory() {
        let (limit, total) = (memory.limit(), memory.swap());
        if let Some(limit) = limit {
            put(if v2 { "memory.max" } else { "memory.limit_in_bytes" }, limit.to_string())?;
        }
        match (total, v2) {
            // OCI counts memory and swap together, as v1 does.
            (Some(total), true) => {
                put("memory.swap.max", (total - limit.unwrap_or_default()).to_string())?;
            }
            (Some(total), false) => put("memory.memsw.limit_in_bytes", total.to_string())?,
            (None, _) => {}
        }
    }
    if let Some(cpu) = resources.cpu() {
        let period = cpu.period().unwrap_or(crate::bundle::PERIOD);
        match (cpu.quota(), v2) {
            (Some(quota), true) => put("cpu.max", format!("{quota} {period}"))?,
            (Some(quota), false) => {
                put("cpu.cfs_period_us", period.to_string())?;
                put("cpu.cfs_quota_us", quota.to_string())?;
            }
            (None, _) => {}
        }
        if let Some(shares) = cpu.shares().filter(|_| !v2) {
            put("cpu.shares", shares.to_string())?;
        }
        if let Some(cpus) = cpu.cpus() {
            put("cpuset.cpus", cpus.clone())?;
        }
    }
    if let Some(pids) = resources.pids() {
        put("pids.max", pids.limit().to_string())?;
    }
    // The type keeps them in a hash table.
    let unified: BTreeMap<_, _> = resources.unified().iter().flatten().collect();
    for (file, value) in unified {
        put(file, value.clone())?;
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
