//! A change of a container's config: which keys it sets, deletes and reverts. Pure, but for what it
//! asks the host; `apply` says what becomes of them, `config` reads and writes the file. As
//! `update_pct_config` of pve-container's `PVE/LXC/Config.pm`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use openapi::property_string;
use openapi::schema::config_key;
use openapi::{Vmid, VolumeId};
use pve_integration::ct_config::{ContainerConfig, MountPoint};
use pve_integration::storage::VolumeName;
use serde_json::Value;

use super::apply::{self, Host};
use super::error::GuestError;
use super::{id_map, net, pending};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) set: BTreeMap<String, String>,
    pub(crate) delete: Vec<String>,
    pub(crate) revert: Vec<String>,
}

/// What a change needs to know of the host and of the container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) vmid: Vmid,
    pub(crate) running: bool,
    /// CPU weights end at 10000 there, and the files of limits have other names.
    pub(crate) cgroup_v2: bool,
    pub(crate) host_cpus: u32,
}

impl Change {
    /// Of checked parameters, without those that are not keys of the config.
    pub(crate) fn from_params<'a>(
        params: impl IntoIterator<Item = (&'a String, &'a Value)>,
    ) -> Self {
        let mut change = Self::default();
        for (name, value) in params {
            let text = text(value);
            match name.as_str() {
                "delete" => change.delete = split_list(&text),
                "revert" => change.revert = split_list(&text),
                _ if is_key(name) => {
                    change.set.insert(name.clone(), text);
                }
                _ => {}
            }
        }
        change
    }

    /// PVE's refusals of names, in PVE's order: the lists `revert` and `delete`, then the values.
    pub(crate) fn check_names(&self) -> Result<(), GuestError> {
        for key in &self.revert {
            if !is_key(key) {
                return Err(GuestError::param("revert", format!("unknown option '{key}'")));
            }
            if self.set.contains_key(key) {
                let text = format!("you can't use '-{key}' and '-revert {key}' at the same time");
                return Err(GuestError::param("revert", text));
            }
        }
        for key in &self.delete {
            if !is_key(key) {
                return Err(GuestError::param("delete", format!("unknown option '{key}'")));
            }
            if self.set.contains_key(key) {
                // Upstream's text lacks the quote, too.
                let text = format!("you can't use '-{key}' and -delete {key}' at the same time");
                return Err(GuestError::param("delete", text));
            }
            if self.revert.contains(key) {
                let text =
                    format!("you can't use '-delete {key}' and '-revert {key}' at the same time");
                return Err(GuestError::param("delete", text));
            }
        }
        Ok(())
    }

    /// Changes `config`, and the container if it runs; answers the volumes that are to be destroyed
    /// once the config is written. After an error it must not be written.
    pub(crate) fn apply(
        &self,
        config: &mut ContainerConfig,
        facts: Facts,
        host: &mut impl Host,
    ) -> Result<Vec<VolumeId>, GuestError> {
        for key in &self.revert {
            pending::revert(config, key);
        }
        let mut touched = BTreeSet::new();
        for key in &self.delete {
            let waits = config.pending().is_some_and(|pending| pending.get(key).is_some());
            if config.get(key).is_none() && !waits {
                continue; // PVE only warns: it is not set
            }
            check_delete(config, key, facts.vmid)?;
            touched.insert(key.clone());
            pending::delete(config, key);
        }
        for (key, value) in &self.set {
            touched.insert(key.clone());
            let value = normal(config, key, value, facts, host)?;
            if key == "description" && value.is_empty() {
                // Written as comment lines, of which nothing leaves none.
                pending::revert(config, key);
                config.remove(key);
                continue;
            }
            pending::set(config, key, &value);
        }
        pending::cleanup(config);
        let selected = |key: &str| touched.contains(key);
        let applied = match facts.running {
            true => apply::hotplug(config, selected, facts, host),
            false => apply::pending(config, selected, facts.vmid, host),
        };
        if applied.errors.is_empty() {
            Ok(applied.doomed)
        } else {
            Err(GuestError::Params(applied.errors))
        }
    }
}

/// PUT takes more than keys of the config.
fn is_key(name: &str) -> bool {
    !matches!(name, "delete" | "digest" | "node" | "revert" | "vmid") && config_key(name).is_some()
}

/// Whether the volume goes when the container goes.
pub(crate) fn is_owned(volume: &VolumeId, vmid: Vmid) -> bool {
    match volume.name().parse() {
        Ok(VolumeName::Image { vmid: owner, .. }) => owner == vmid,
        Ok(VolumeName::File { .. }) | Err(_) => false,
    }
}

pub(crate) fn is_indexed(key: &str, stem: &str) -> bool {
    let number = key.strip_prefix(stem);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn check_delete(config: &ContainerConfig, key: &str, vmid: Vmid) -> Result<(), GuestError> {
    match key {
        "memory" | "rootfs" | "ostype" => {
            Err(GuestError::die(format!("unable to delete required option '{key}'")))
        }
        "unprivileged" => {
            Err(GuestError::die(format!("unable to delete read-only option: '{key}'")))
        }
        _ if is_indexed(key, "mp") || is_indexed(key, "unused") => {
            check_protection(config, &format!("can't remove CT {vmid} drive '{key}'"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_protection(config: &ContainerConfig, what: &str) -> Result<(), GuestError> {
    if config.protection() { Err(GuestError::Protected(what.to_owned())) } else { Ok(()) }
}

/// The value as it is stored.
fn normal(
    config: &ContainerConfig,
    key: &str,
    value: &str,
    facts: Facts,
    host: &impl Host,
) -> Result<String, GuestError> {
    if key == "rootfs" || is_indexed(key, "mp") {
        check_protection(config, &format!("can't update CT {} drive '{key}'", facts.vmid))?;
        check_volume(key, value, host)?;
    }
    if is_indexed(key, "net") {
        return net::normal(key, value);
    }
    if is_indexed(key, "dev") {
        host.check_device(&device(key, value)?)?;
    }
    match key {
        "unprivileged" => {
            Err(GuestError::die(format!("unable to modify read-only option: '{key}'")))
        }
        "nameserver" | "searchdomain" => Ok(split_list(value).join(" ")),
        "cpuunits" => Ok(clamp_cpuunits(value, facts.cgroup_v2)),
        _ => Ok(value.to_owned()),
    }
}

fn check_volume(key: &str, value: &str, host: &impl Host) -> Result<(), GuestError> {
    let point = MountPoint::parse(key, value).map_err(GuestError::value)?;
    if let Some(volume) = point.volume() {
        host.check_content(volume.storage())?;
    }
    if let Some(map) = point.idmap.as_deref().filter(|map| *map != "passthrough") {
        id_map::check(map)?;
    }
    let Some(volume) = point.volume() else { return Ok(()) };
    // PVE writes such a value down as it stands, and the next start fails on it.
    if key == "rootfs" && new_size_gib(volume.name()).is_some() {
        return Err(GuestError::die(format!("{key}: a new volume would be an empty one")));
    }
    Ok(())
}

/// The path of a device that is to be handed through.
fn device(key: &str, value: &str) -> Result<PathBuf, GuestError> {
    let keys = config_key(key).and_then(|property| property.format.as_ref()?.keys());
    let keys = keys.expect("the method table declares dev[n] as a property string");
    let parts = property_string::parse(keys, value);
    let parts = parts.map_err(|err| GuestError::die(format!("{key}: {err}")))?;
    let path = parts.get("path").map(text);
    Ok(path.ok_or_else(|| GuestError::die("Path has to be defined"))?.into())
}

/// `storage:SIZE` asks for a new volume of that many GiB.
pub(crate) fn new_size_gib(name: &str) -> Option<f64> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let plain = match name.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(name),
    };
    plain.then(|| name.parse().ok())?
}

/// PVE's `split_list`: NULs if there are any, else commas, semicolons and blanks.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    let by_nul = text.contains('\0');
    let is_separator = |c: char| match by_nul {
        true => c == '\0',
        false => matches!(c, ',' | ';') || c.is_whitespace(),
    };
    text.split(is_separator).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

pub(crate) fn clamp_cpuunits(value: &str, cgroup_v2: bool) -> String {
    match value.parse::<u64>() {
        Ok(units) if cgroup_v2 => units.min(10_000).to_string(),
        Ok(units) => units.max(2).to_string(),
        Err(_) => value.to_owned(),
    }
}

/// As a checked parameter stands in a config file.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => u8::from(*flag).to_string(),
        Value::Null => String::new(),
        Value::Number(number) => number.to_string(),
        list @ (Value::Array(_) | Value::Object(_)) => list.to_string(),
    }
}

#[cfg(test)]
mod tests;
