//! On a PVE node: containers that are PVE's own, and what is done to them by `pct`. The locks, the
//! pending changes and the volumes of such a container are PVE's affair; what is checked before a
//! task begins, and who may ask for it, stays here.

mod creation;

use std::collections::BTreeMap;

use openapi::{AuthId, StorageId, Upid, Vmid, VolumeId};
use pve_integration::ct_config::{ContainerConfig, MountPoint, MountSource};
use pve_integration::oci_config::RuntimeKind;
use tokio_util::sync::CancellationToken;

use super::change::{Change, is_indexed};
use super::resize::not_there;
use super::{GuestError, Guests};
use crate::runtime::RuntimeError;
use crate::runtime::pct::{Config, PctCall};
use crate::tasks::TaskLog;

impl Guests {
    /// Whether PVE runs it, or would: one that runs belongs to whoever runs it.
    pub(crate) async fn is_pves(&self, vmid: Vmid) -> Result<bool, GuestError> {
        if self.0.runtimes.pct().is_none() {
            return Ok(false);
        }
        self.blocking(move |guests| guests.is_pves_now(vmid)).await
    }

    /// The same for one that blocks.
    pub(super) fn is_pves_now(&self, vmid: Vmid) -> Result<bool, GuestError> {
        if self.0.runtimes.pct().is_none() {
            return Ok(false);
        }
        if self.is_running(vmid)? {
            return Ok(self.0.supervised.runs_for_pve(vmid));
        }
        Ok(self.choice(vmid)?.runtime == RuntimeKind::Lxc)
    }

    /// Inside a task.
    pub(super) async fn pct(
        &self,
        call: &PctCall,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        self.pct_with(call, Some(log), cancel).await
    }

    async fn pct_with(
        &self,
        call: &PctCall,
        log: Option<&TaskLog>,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let Some(pct) = self.0.runtimes.pct() else {
            let text = "pct is only used on a PVE node".to_owned();
            return Err(RuntimeError::Failed(text).into());
        };
        Ok(pct.run(call, log, cancel).await?)
    }

    /// A task that is one call of `pct`.
    pub(super) fn pct_task(
        &self,
        kind: &str,
        vmid: Vmid,
        who: &AuthId,
        call: PctCall,
    ) -> Result<Upid, GuestError> {
        let guests = self.clone();
        self.task(kind, vmid, who, move |log, cancel| async move {
            guests.pct(&call, &log, &cancel).await
        })
    }

    /// `change` of a container that is PVE's. Answers when it is done, as PVE does.
    pub(super) async fn change_by_pct(
        &self,
        vmid: Vmid,
        change: Change,
        digest: Option<String>,
    ) -> Result<(), GuestError> {
        change.check_names()?;
        let Change { set, delete, revert } = change;
        let (set, rest) = without_nul(set);
        if !(set.is_empty() && delete.is_empty() && revert.is_empty()) {
            // What is left is set after it, when the digest is another.
            let config = Config { set, delete, revert, digest };
            let call = PctCall::Set { vmid, config };
            self.pct_with(&call, None, &CancellationToken::new()).await.map_err(by_parameter)?;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let change = Change { set: rest, ..Change::default() };
        self.blocking(move |guests| guests.change_blocking(vmid, &change, None)).await
    }

    /// Removes PVE's container, and then what we know beside it.
    pub(super) fn destroy_by_pct(
        &self,
        vmid: Vmid,
        who: &AuthId,
        call: PctCall,
    ) -> Result<Upid, GuestError> {
        let guests = self.clone();
        self.task("vzdestroy", vmid, who, move |log, cancel| async move {
            guests.pct(&call, &log, &cancel).await?;
            guests.blocking(move |guests| guests.remove_oci(vmid)).await
        })
    }

    /// `pct migrate`: off to another node, and out of what this daemon knows.
    pub(crate) fn migrate_by_pct<const N: usize>(
        &self,
        vmid: Vmid,
        target: String,
        options: [(&str, Option<String>); N],
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        let options = self::options(options);
        self.pct_task("vzmigrate", vmid, who, PctCall::Migrate { vmid, target, options })
    }
}

/// The values that an argument can hold, and those with a NUL in them: a list of variables.
fn without_nul(
    values: BTreeMap<String, String>,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    values.into_iter().partition(|(_, value)| !value.contains('\0'))
}

/// Those that there are.
pub(super) fn options<const N: usize>(
    all: [(&str, Option<String>); N],
) -> BTreeMap<String, String> {
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// What PVE has against a parameter is an answer of its own kind.
fn by_parameter(err: GuestError) -> GuestError {
    if let GuestError::Runtime(RuntimeError::Parameters(errors)) = err {
        return GuestError::Params(errors);
    }
    err
}

/// The volume at a key of the config, on whatever kind of storage it lies.
pub(super) fn volume_at(config: &ContainerConfig, key: &str) -> Result<VolumeId, GuestError> {
    let value = config.get(key).ok_or_else(|| not_there(key))?;
    if is_indexed(key, "unused") {
        return value.parse::<VolumeId>().map_err(|err| GuestError::die(format!("{err}")));
    }
    match MountPoint::parse(key, value).map_err(GuestError::value)?.source {
        MountSource::Volume(volume) => Ok(volume),
        MountSource::Bind(path) | MountSource::Device(path) => {
            Err(GuestError::die(format!("unable to parse volume ID '{}'", path.display())))
        }
    }
}

/// Where it lies.
pub(super) fn storage_at(config: &ContainerConfig, key: &str) -> Result<StorageId, GuestError> {
    Ok(volume_at(config, key)?.storage().clone())
}
