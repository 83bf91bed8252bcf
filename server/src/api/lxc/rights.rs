//! Which privilege each key of a config takes, which no declaration can say. As
//! `check_ct_modify_config_perm` of pve-container's `PVE/LXC.pm`.

use std::collections::{BTreeMap, BTreeSet};

use openapi::{Privilege, Vmid, VolumeId};
use pve_integration::bundle::Reversed;
use pve_integration::ct_config::{ContainerConfig, MountPoint};
use pve_integration::storage::{ContentType, StorageConfig, VolumeName};

use crate::api::storage::require_access;
use crate::bind_mounts::BindMounts;
use crate::error::ApiError;
use crate::extract::Caller;
use crate::guests::{Archive, bridge_path, is_indexed, new_size_gib, split_list};

pub(super) struct Rights<'a> {
    pub(super) caller: &'a Caller,
    pub(super) vmid: Vmid,
    /// That the guest is to be put in.
    pub(super) pool: Option<&'a str>,
    pub(super) bind_mounts: &'a BindMounts,
}

#[derive(Clone, Copy)]
pub(super) struct Changes<'a> {
    /// None of a guest that is to be made.
    pub(super) old: Option<&'a ContainerConfig>,
    pub(super) set: &'a BTreeMap<String, String>,
    pub(super) delete: &'a [String],
    pub(super) unprivileged: bool,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Privilege(Privilege),
    Disk,
    Net,
    Features,
    Tags,
    Root(&'static str),
    /// Checked by its own rule elsewhere.
    Elsewhere,
}

fn rule(key: &str) -> Rule {
    match key {
        "cores" | "cpuunits" | "cpulimit" => Rule::Privilege(Privilege::VmConfigCpu),
        "memory" | "swap" => Rule::Privilege(Privilege::VmConfigMemory),
        "nameserver" | "searchdomain" | "hostname" => Rule::Privilege(Privilege::VmConfigNetwork),
        "features" => Rule::Features,
        "hookscript" => Rule::Root("changing the hookscript is only allowed for root@pam"),
        "tags" => Rule::Tags,
        "unprivileged" => Rule::Elsewhere,
        "rootfs" => Rule::Disk,
        _ if is_indexed(key, "mp") => Rule::Disk,
        _ if is_indexed(key, "net") => Rule::Net,
        _ if is_indexed(key, "dev") => {
            Rule::Root("configuring device passthrough is only allowed for root@pam")
        }
        _ => Rule::Privilege(Privilege::VmConfigOptions),
    }
}

impl Rights<'_> {
    /// On the guest, or on the pool that it goes into.
    fn require(&self, privilege: Privilege) -> Result<(), ApiError> {
        let in_pool =
            self.pool.is_some_and(|pool| self.caller.may(privilege, &format!("/pool/{pool}")));
        if in_pool {
            Ok(())
        } else {
            self.caller.require(privilege, &format!("/vms/{}", self.vmid))
        }
    }

    /// PVE's refusal of an or-check names nothing.
    pub(super) fn require_create(&self) -> Result<(), ApiError> {
        self.require(Privilege::VmAllocate).map_err(|_| {
            ApiError::new(axum::http::StatusCode::FORBIDDEN, "Permission check failed")
        })
    }

    pub(super) fn may_back_up(&self) -> bool {
        self.caller.may(Privilege::VmBackup, &format!("/vms/{}", self.vmid))
    }

    /// Pve-storage's `check_volume_access` for what the guest is made from.
    pub(super) fn require_archive(
        &self,
        storages: &StorageConfig,
        archive: &Archive,
        wanted: ContentType,
    ) -> Result<(), ApiError> {
        let volume = match archive {
            Archive::Volume(volume) => volume,
            Archive::Pipe => return Err(ApiError::die("pipe requires cli environment")),
            Archive::Path(_) if self.caller.is_root() => return Ok(()),
            // PVE's text, but for the line number of its own source.
            Archive::Path(_) => {
                return Err(ApiError::die("Only root can pass arbitrary filesystem paths."));
            }
        };
        storages.get(volume.storage())?;
        let name: VolumeName = volume.name().parse()?;
        if name.content() != wanted {
            let wanted = wanted.as_str();
            return Err(ApiError::die(format_args!(
                "unable to use volume {volume} - content type needs to be '{wanted}'"
            )));
        }
        // The guest's own is its owner's to use.
        if name.owner() == Some(self.vmid) { Ok(()) } else { require_access(self.caller, volume) }
    }

    pub(super) fn require_changes(&self, changes: Changes<'_>) -> Result<(), ApiError> {
        if self.caller.is_root() {
            return Ok(());
        }
        for (key, value) in changes.set {
            self.require_key(key, Some(value), &changes)?;
        }
        changes.delete.iter().try_for_each(|key| self.require_key(key, None, &changes))
    }

    /// Of a bundle, what is no parameter.
    pub(super) fn require_bundle(&self, bundle: &Reversed) -> Result<(), ApiError> {
        if let Some(key) = bundle.for_root().next() {
            let what = format!("'{key}' of a bundle is only allowed for root@pam");
            self.caller.require_root(&what)?;
        }
        if bundle.raw.is_empty() && bundle.oci.is_empty() {
            return Ok(());
        }
        self.require(Privilege::VmConfigOptions)
    }

    /// `new` is `None` for a key that goes.
    fn require_key(
        &self,
        key: &str,
        new: Option<&str>,
        changes: &Changes<'_>,
    ) -> Result<(), ApiError> {
        let old = changes.old.and_then(|config| config.get(key));
        match rule(key) {
            Rule::Privilege(privilege) => self.require(privilege),
            // Clients delete all they know, set or not: what changes nothing takes no right of
            // root's. PVE refuses that, too.
            Rule::Root(_) if new.is_none() && !is_there(key, changes.old) => Ok(()),
            Rule::Root(what) => Err(ApiError::forbidden(what)),
            Rule::Disk => self.require_disk(key, new, changes.unprivileged),
            Rule::Net => self.require_net(old, new),
            Rule::Features => self.require_features(old, new, changes.unprivileged),
            // On the guest itself: PVE asks no pool here. The tags have rules of their own.
            Rule::Tags => {
                self.caller.require(Privilege::VmConfigOptions, &format!("/vms/{}", self.vmid))
            }
            Rule::Elsewhere => Ok(()),
        }
    }

    fn require_disk(
        &self,
        key: &str,
        new: Option<&str>,
        unprivileged: bool,
    ) -> Result<(), ApiError> {
        self.require(Privilege::VmConfigDisk)?;
        let Some(new) = new else { return Ok(()) };
        let volume = volume_part(new);
        if volume.starts_with('/') {
            let point =
                MountPoint::parse(key, new).map_err(|err| ApiError::forbidden(err.reason))?;
            let user = self.caller.auth().user().to_string();
            let allowed = self.bind_mounts.allow(&user, &point, unprivileged);
            return allowed.map_err(|err| ApiError::forbidden(err.to_string()));
        }
        // A bare number goes to the default storage, which is checked by its own name.
        let Ok(volume) = volume.parse::<VolumeId>() else { return Ok(()) };
        let path = format!("/storage/{}", volume.storage());
        if new_size_gib(volume.name()).is_some() {
            return self.caller.require(Privilege::DatastoreAllocateSpace, &path);
        }
        // What is the guest's own, whoever may change its disks may name.
        let owned =
            volume.name().split_once('/').is_some_and(|(owner, _)| owner == self.vmid.to_string());
        if owned { Ok(()) } else { self.caller.require(Privilege::DatastoreAllocate, &path) }
    }

    fn require_net(&self, old: Option<&str>, new: Option<&str>) -> Result<(), ApiError> {
        self.require(Privilege::VmConfigNetwork)?;
        for net in [old, new].into_iter().flatten() {
            if let Some(path) = bridge_path(net) {
                self.caller.require(Privilege::SdnUse, &path)?;
            }
        }
        Ok(())
    }

    fn require_features(
        &self,
        old: Option<&str>,
        new: Option<&str>,
        unprivileged: bool,
    ) -> Result<(), ApiError> {
        if !unprivileged {
            let what =
                "changing feature flags for privileged container is only allowed for root@pam";
            return Err(ApiError::forbidden(what));
        }
        let changed = changed_features(old.unwrap_or_default(), new.unwrap_or_default());
        if changed.iter().any(|name| name != "nesting") {
            let what = "changing feature flags (except nesting) is only allowed for root@pam";
            return Err(ApiError::forbidden(what));
        }
        if changed.is_empty() { Ok(()) } else { self.require(Privilege::VmAllocate) }
    }
}

fn is_there(key: &str, config: Option<&ContainerConfig>) -> bool {
    let waits = |config: &ContainerConfig| config.pending().is_some_and(|it| it.get(key).is_some());
    config.is_some_and(|config| config.get(key).is_some() || waits(config))
}

fn volume_part(value: &str) -> &str {
    let part = value.split(',').find_map(|part| match part.split_once('=') {
        None => Some(part),
        Some(("volume", volume)) => Some(volume),
        Some(_) => None,
    });
    part.unwrap_or_default()
}

fn changed_features(old: &str, new: &str) -> BTreeSet<String> {
    let parts = |text: &str| -> BTreeSet<String> {
        split_list(&text.replace(';', "/")).into_iter().collect()
    };
    let name = |part: &String| part.split('=').next().unwrap_or_default().to_owned();
    parts(old).symmetric_difference(&parts(new)).map(name).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("cpulimit", Rule::Privilege(Privilege::VmConfigCpu))]
    #[case("swap", Rule::Privilege(Privilege::VmConfigMemory))]
    #[case("hostname", Rule::Privilege(Privilege::VmConfigNetwork))]
    #[case("onboot", Rule::Privilege(Privilege::VmConfigOptions))]
    #[case("unused3", Rule::Privilege(Privilege::VmConfigOptions))]
    #[case("mp12", Rule::Disk)]
    #[case("net0", Rule::Net)]
    fn each_key_has_its_rule(#[case] key: &str, #[case] expected: Rule) {
        assert_eq!(rule(key), expected);
    }

    #[rstest]
    #[case::same("nesting=1,keyctl=1", "keyctl=1,nesting=1", &[])]
    #[case::nesting("", "nesting=1", &["nesting"])]
    #[case::value("mount=nfs;cifs", "mount=nfs", &["mount"])]
    #[case::gone("fuse=1,nesting=1", "", &["fuse", "nesting"])]
    fn finds_the_features_that_change(
        #[case] old: &str,
        #[case] new: &str,
        #[case] changed: &[&str],
    ) {
        let found = changed_features(old, new);
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), changed);
    }
}
