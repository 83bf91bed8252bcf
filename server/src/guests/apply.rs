//! What waits in a config becomes what is: all of it while the container is stopped, what it can
//! take while it runs. As `vmconfig_apply_pending` and `vmconfig_hotplug_pending` of pve-container's
//! `PVE/LXC/Config.pm`. A mount point can be added while it runs; what else concerns one waits for the
//! next start, and so do devices.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use openapi::{StorageId, Vmid, VolumeId};
use pve_integration::bundle::{self, Setting};
use pve_integration::ct_config::{ContainerConfig, MountPoint, MountSource, Section};

use super::change::{Facts, is_indexed, is_owned, new_size_gib};
use super::disk::{print, with_volume};
use super::error::GuestError;
use super::pending as waiting;

/// Keys that a running container need not be told.
const FAST: &[&str] = &[
    "cores",
    "description",
    "hookscript",
    "hostname",
    "lock",
    "onboot",
    "protection",
    "startup",
    "tags",
];
/// Keys that its cgroup is told.
const LIMITS: &[&str] = &["cpulimit", "cpuunits", "memory", "swap"];

/// What a change asks of the host.
pub(crate) trait Host {
    /// That containers' volumes may lie there.
    fn check_content(&self, storage: &StorageId) -> Result<(), GuestError>;

    /// Make a volume of so many GiB for the container; its size in bytes.
    fn allocate(&mut self, storage: &StorageId, gib: f64) -> Result<(VolumeId, u64), GuestError>;

    /// Bytes, where that can be told.
    fn size(&self, volume: &VolumeId) -> Option<u64>;

    /// Tell the running container's cgroup.
    fn limit(&self, settings: &[Setting]) -> io::Result<()>;

    /// Mount it in the running container.
    fn mount(&self, key: &str, value: &str) -> Result<(), GuestError>;

    /// Change a network interface of the running container; `None` for one that is not there. False
    /// if only a start can bring it.
    fn plug(&self, key: &str, old: Option<&str>, new: Option<&str>) -> Result<bool, GuestError>;

    /// That there is such a device.
    fn check_device(&self, path: &Path) -> Result<(), GuestError>;
}

#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Volumes to destroy once the config is written.
    pub(crate) doomed: Vec<VolumeId>,
    /// Why a key still waits.
    pub(crate) errors: BTreeMap<String, String>,
}

/// For a container that is stopped: the deletes first, then the new values.
pub(crate) fn pending(
    config: &mut ContainerConfig,
    selected: impl Fn(&str) -> bool,
    vmid: Vmid,
    host: &mut impl Host,
) -> Applied {
    let mut applied = Applied::default();
    for key in waiting::deleted_keys(config).into_iter().filter(|key| selected(key)) {
        remove(config, &key, vmid, &mut applied);
    }
    for key in waiting::keys(config).into_iter().filter(|key| selected(key)) {
        let Some(value) = waiting::value(config, &key) else { continue };
        match stored(&key, value, host) {
            Ok(value) => {
                let old = config.get(&key).map(str::to_owned);
                take(config, &key, &value);
                keep_old_volume(config, &key, old.as_deref());
            }
            Err(err) => {
                let text = format!("unable to apply pending change {key} : {err}\n");
                applied.errors.insert(key, text);
            }
        }
    }
    waiting::cleanup(config);
    applied
}

/// For a container that runs: what it does not take goes on waiting.
pub(crate) fn hotplug(
    config: &mut ContainerConfig,
    selected: impl Fn(&str) -> bool,
    facts: Facts,
    host: &mut impl Host,
) -> Applied {
    let mut applied = Applied::default();
    let failed = |key: &str, err: &dyn std::fmt::Display| {
        (key.to_owned(), format!("unable to hotplug {key}: {err}\n"))
    };
    for key in waiting::deleted_keys(config).into_iter().filter(|key| selected(key)) {
        let mut next = config.current().clone();
        let old = next.remove(&key);
        let told = match is_indexed(&key, "net") {
            true => host.plug(&key, old.as_deref(), None),
            false => tell(&key, &next, facts, host),
        };
        match told {
            Ok(true) => remove(config, &key, facts.vmid, &mut applied),
            Ok(false) if is_indexed(&key, "unused") => {
                remove(config, &key, facts.vmid, &mut applied);
            }
            Ok(false) => {}
            Err(err) => applied.errors.extend([failed(&key, &err)]),
        }
    }
    for key in waiting::keys(config).into_iter().filter(|key| selected(key)) {
        let Some(value) = waiting::value(config, &key) else { continue };
        if is_indexed(&key, "mp") && config.get(&key).is_none() {
            let mounted = stored(&key, value, host)
                .and_then(|value| host.mount(&key, &value).map(|()| value));
            match mounted {
                Ok(value) => take(config, &key, &value),
                Err(err) => applied.errors.extend([failed(&key, &err)]),
            }
            continue;
        }
        let mut next = config.current().clone();
        next.set(&key, &value);
        let told = match is_indexed(&key, "net") {
            true => host.plug(&key, config.get(&key), Some(&value)),
            false => tell(&key, &next, facts, host),
        };
        match told {
            Ok(true) => take(config, &key, &value),
            Ok(false) => {}
            Err(err) => applied.errors.extend([failed(&key, &err)]),
        }
    }
    applied
}

/// Whether the running container now has what `next` says of `key`.
fn tell(key: &str, next: &Section, facts: Facts, host: &impl Host) -> Result<bool, GuestError> {
    let fast = FAST.contains(&key);
    if !fast && !LIMITS.contains(&key) {
        return Ok(false);
    }
    let settings = bundle::settings(key, next, facts.cgroup_v2, facts.host_cpus, facts.vmid)
        .map_err(|err| GuestError::die(err.reason))?;
    match host.limit(&settings) {
        // PVE writes these down and lets another daemon see to the rest.
        Err(err) if fast => tracing::warn!(
            guest.vmid = %facts.vmid, error = %err, "CT {}: {key} waits for the next start", facts.vmid
        ),
        Err(err) => return Err(GuestError::die(err.to_string())),
        Ok(()) => {}
    }
    Ok(true)
}

fn take(config: &mut ContainerConfig, key: &str, value: &str) {
    config.set(key, value);
    config.pending_mut().remove(key);
}

fn remove(config: &mut ContainerConfig, key: &str, vmid: Vmid, applied: &mut Applied) {
    let old = config.remove(key);
    waiting::undelete(config, key);
    let Some(old) = old else { return };
    if is_indexed(key, "mp") {
        if let Ok(MountPoint { source: MountSource::Volume(volume), .. }) =
            MountPoint::parse(key, &old)
        {
            add_unused(config, &volume);
        }
    } else if is_indexed(key, "unused")
        && let Ok(volume) = old.parse::<VolumeId>()
        && is_owned(&volume, vmid)
    {
        // What another key or a snapshot still names stays: its owner's clean-up looks.
        applied.doomed.push(volume);
    }
}

/// A mount point as it is stored: with its volume, which may have to be made first, and that one's
/// size. Everything else as it stands.
fn stored(key: &str, value: String, host: &mut impl Host) -> Result<String, GuestError> {
    if !is_indexed(key, "mp") {
        return Ok(value);
    }
    let point = MountPoint::parse(key, &value).map_err(GuestError::value)?;
    let Some(volume) = point.volume() else { return print(key, &value, &[]) };
    if let Some(gib) = new_size_gib(volume.name()) {
        let (volume, bytes) = host.allocate(volume.storage(), gib)?;
        return with_volume(key, &value, &volume, bytes);
    }
    match host.size(volume) {
        Some(bytes) => with_volume(key, &value, volume, bytes),
        None => print(key, &value, &[]),
    }
}

/// A mount point with another volume leaves the old one unused, not lost.
fn keep_old_volume(config: &mut ContainerConfig, key: &str, old: Option<&str>) {
    if !is_indexed(key, "mp") && key != "rootfs" {
        return;
    }
    let old = old.and_then(|old| MountPoint::parse(key, old).ok());
    if let Some(volume) = old.as_ref().and_then(MountPoint::volume) {
        let volume = volume.clone();
        if !config.current().volumes().contains(&volume.to_string()) {
            add_unused(config, &volume);
        }
    }
}

/// Under the lowest free number.
pub(super) fn add_unused(config: &mut ContainerConfig, volume: &VolumeId) {
    let text = volume.to_string();
    let known =
        config.current().iter().any(|(key, value)| is_indexed(key, "unused") && value == text);
    if known {
        return;
    }
    let free = (0..256).map(|index| format!("unused{index}")).find(|key| config.get(key).is_none());
    if let Some(key) = free {
        config.set(&key, text);
    }
}

#[cfg(test)]
pub(super) mod tests;
