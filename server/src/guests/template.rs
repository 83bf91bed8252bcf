//! A container becomes a template: its images are renamed and nobody writes to them any more.

use std::time::Duration;

use openapi::{AuthId, StorageId, Vmid};
use pve_integration::ct_config::{ContainerConfig, MountPoint, MountSource};

use super::config::check_lock;
use super::disk::with_volume;
use super::note::Note as _;
use super::operation::Operation;
use super::volumes::Storages;
use super::{GuestError, Guests};
use crate::runtime::pct::PctCall;

/// Renaming takes no time; whatever takes longer goes on without the client.
const PATIENCE: Duration = Duration::from_secs(2);

impl Guests {
    /// The task that does it has no answer of its own, as in PVE.
    pub(crate) async fn make_template(&self, vmid: Vmid, who: &AuthId) -> Result<(), GuestError> {
        self.blocking(move |guests| {
            let entry = guests.read(vmid)?;
            guests.check_template(vmid, &entry.config)
        })
        .await?;
        let (guests, (end, ended)) = (self.clone(), tokio::sync::oneshot::channel::<()>());
        self.task("vztemplate", vmid, who, move |log, cancel| async move {
            let _end = end;
            if guests.is_pves(vmid).await? {
                return guests.pct(&PctCall::Template { vmid }, &log, &cancel).await;
            }
            guests.blocking(move |guests| guests.make_template_now(vmid)).await
        })?;
        // Nobody is told which task to wait for, so who reads the config next expects a template.
        drop(tokio::time::timeout(PATIENCE, ended).await);
        Ok(())
    }

    fn check_template(&self, vmid: Vmid, config: &ContainerConfig) -> Result<(), GuestError> {
        check_lock(config, &[])?;
        if config.snapshots().next().is_some() {
            return Err(GuestError::die(
                "unable to create template, because CT contains snapshots",
            ));
        }
        if config.template() {
            return Err(GuestError::die("you can't convert a template to a template"));
        }
        if self.is_running(vmid)? {
            return Err(GuestError::die("you can't convert a CT to template if the CT is running"));
        }
        Ok(())
    }

    /// Each image gets its new name beside the old one, the config is written, the old names go: cut
    /// off anywhere, the config names images that are there.
    fn make_template_now(&self, vmid: Vmid) -> Result<(), GuestError> {
        let mut locked = self.lock(vmid)?;
        self.check_template(vmid, &locked.config)?;
        let disks = disks(&locked.config)?;
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        let places: Vec<StorageId> =
            disks.iter().map(|(_, _, volume)| volume.storage().clone()).collect();
        let mut operation = Operation::new("").on(&storages, vmid, &places)?;
        operation.doomed = disks.iter().map(|(_, _, volume)| volume.to_string()).collect();
        operation.write(&self.0.root, vmid).map_err(|err| GuestError::io("journal", err))?;
        let renamed = (|| {
            for (key, value, volume) in disks {
                let storage = storages.require(volume.storage())?;
                let (bytes, base) = (storage.size(&volume)?, storage.make_base(&volume)?);
                locked.config.set(&key, with_volume(&key, &value, &base, bytes)?);
            }
            locked.config.set("template", "1");
            locked.commit()?;
            Ok(())
        })();
        self.settle(vmid, &operation)?;
        renamed
    }
}

type Disk = (String, String, openapi::VolumeId);

pub(super) fn disks(config: &ContainerConfig) -> Result<Vec<Disk>, GuestError> {
    let mut disks = Vec::new();
    let points = config.mount_points().into_iter().map(|(key, _)| key);
    for key in std::iter::once("rootfs").chain(points) {
        let Some(value) = config.get(key) else { continue };
        match MountPoint::parse(key, value).map_err(GuestError::value)?.source {
            MountSource::Volume(volume) => disks.push((key.to_owned(), value.to_owned(), volume)),
            MountSource::Bind(path) | MountSource::Device(path) => {
                return Err(GuestError::die(format!(
                    "Template feature is not available for '{}'",
                    path.display()
                )));
            }
        }
    }
    Ok(disks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bound_in_cannot_become_a_template() {
        let config = ContainerConfig::parse(b"mp0: /srv,mp=/srv\nrootfs: local:100/x.raw\n");
        let err = disks(&config).unwrap_err().to_string();
        assert_eq!(err, "Template feature is not available for '/srv'");
    }
}
