//! The other half of `move_volume` (pve-container's `PVE/API2/LXC.pm`): a volume is handed to
//! another container, or to another key of the same.

use openapi::{AuthId, StorageId, Upid, Vmid, VolumeId};
use pve_integration::ct_config::{ContainerConfig, Locked, MountPoint, MountSource};
use tokio_util::sync::CancellationToken;

use super::change::is_indexed;
use super::config::check_lock;
use super::disk::print;
use super::operation::named_volumes;
use super::pve::{self, storage_at};
use super::volumes::Storages;
use super::{GuestError, Guests};
use crate::runtime::pct::PctCall;
use crate::tasks::TaskLog;

#[derive(Clone, Debug)]
pub(crate) struct Reassign {
    pub(crate) vmid: Vmid,
    /// A key of its config.
    pub(crate) volume: String,
    pub(crate) target: Vmid,
    /// A key of the target's config.
    pub(crate) target_volume: String,
    pub(crate) digest: Option<String>,
    pub(crate) target_digest: Option<String>,
}

impl Reassign {
    fn call(&self) -> PctCall {
        let options = pve::options([
            ("digest", self.digest.clone()),
            ("target-digest", self.target_digest.clone()),
        ]);
        let (disk, key) = (self.volume.clone(), self.target_volume.clone());
        PctCall::Reassign { vmid: self.vmid, disk, to: self.target, key, options }
    }

    fn check_keys(&self) -> Result<(), GuestError> {
        let Self { volume, target_volume, .. } = self;
        if volume == "rootfs" || target_volume == "rootfs" {
            return Err(GuestError::die("Cannot move to/from 'rootfs'"));
        }
        if is_indexed(volume, "unused") && !is_indexed(target_volume, "unused") {
            return Err(GuestError::die("Moving an unused volume to a used one is not possible"));
        }
        Ok(())
    }

    /// What is to be moved.
    fn check(
        &self,
        source: &ContainerConfig,
        target: &ContainerConfig,
    ) -> Result<VolumeId, GuestError> {
        let Self { vmid, volume, target: to, target_volume, .. } = self;
        check_lock(source, &[])?;
        check_lock(target, &[])?;
        if source.template() || target.template() {
            return Err(GuestError::die("Can't move volumes from or to template CT"));
        }
        let value = source.get(volume).ok_or_else(|| {
            GuestError::die(format!("volume '{volume}' for container '{vmid}' does not exist"))
        })?;
        if target.get(target_volume).is_some() {
            return Err(GuestError::die(format!(
                "Target volume key '{target_volume}' is already in use for container '{to}'"
            )));
        }
        let found = if is_indexed(volume, "unused") {
            value.parse().map_err(|err| GuestError::die(format!("{err}")))?
        } else {
            match MountPoint::parse(volume, value).map_err(GuestError::value)?.source {
                MountSource::Volume(found) => found,
                MountSource::Bind(path) | MountSource::Device(path) => {
                    let path = path.display();
                    return Err(GuestError::die(format!("unable to parse volume ID '{path}'")));
                }
            }
        };
        let mut sections = source.snapshots().map(|(_, section)| section);
        if sections.any(|section| section.volumes().contains(&found.to_string())) {
            let text = "Cannot move volume used by a snapshot to another container";
            return Err(GuestError::die(text));
        }
        Ok(found)
    }
}

fn check_digest(vmid: Vmid, given: Option<&str>, is: &str) -> Result<(), GuestError> {
    super::resize::check_digest(given, is)
        .map_err(|err| GuestError::die(format!("Container {vmid}: {err}")))
}

impl Guests {
    /// The storage whose rights are asked for, if the move may be made.
    pub(crate) async fn check_reassign(&self, what: Reassign) -> Result<StorageId, GuestError> {
        let pves = self.is_reassigned_by_pct(&what).await?;
        self.blocking(move |guests| {
            what.check_keys()?;
            let taken = guests.taken()?;
            for vmid in [what.vmid, what.target] {
                if !taken.iter().any(|known| known.vmid == vmid) {
                    return Err(GuestError::die(format!("could not find CT {vmid}")));
                }
            }
            let (source, target) = (guests.read(what.vmid)?, guests.read(what.target)?);
            check_digest(what.vmid, what.digest.as_deref(), source.digest.as_str())?;
            check_digest(what.target, what.target_digest.as_deref(), target.digest.as_str())?;
            if pves {
                return storage_at(&source.config, &what.volume);
            }
            let volume = what.check(&source.config, &target.config)?;
            guests.check_movable(&what, &volume)?;
            Ok(volume.storage().clone())
        })
        .await
    }

    fn check_movable(&self, what: &Reassign, volume: &VolumeId) -> Result<(), GuestError> {
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        if !storages.require(volume.storage())?.can_reassign(volume)? {
            let text = "Storage does not support moving of this disk to another container";
            return Err(GuestError::die(text));
        }
        if !is_indexed(&what.volume, "unused") && self.is_running(what.vmid)? {
            return Err(GuestError::die(
                "Cannot move in-use volume while the source CT is running - detach or shutdown first",
            ));
        }
        Ok(())
    }

    pub(crate) fn reassign(&self, what: Reassign, who: &AuthId) -> Result<Upid, GuestError> {
        let Reassign { vmid, volume, target, target_volume, .. } = &what;
        let id = format!("{vmid}-{volume}>{target}-{target_volume}");
        let guests = self.clone();
        let work = move |log: TaskLog, cancel: CancellationToken| async move {
            if guests.is_reassigned_by_pct(&what).await? {
                return guests.pct(&what.call(), &log, &cancel).await;
            }
            guests.blocking(move |guests| guests.reassign_now(&what, &log)).await
        };
        Ok(self.0.tasks.spawn("move_volume", &id, who, work)?)
    }

    async fn is_reassigned_by_pct(&self, what: &Reassign) -> Result<bool, GuestError> {
        if self.0.runtimes.pct().is_none() {
            return Ok(false);
        }
        // One that is not there is told of by its name.
        let (one, other) = (what.vmid, what.target);
        let there = move |guests: &Self| Ok(guests.read(one).is_ok() && guests.read(other).is_ok());
        if !self.blocking(there).await? {
            return Ok(false);
        }
        Ok(self.is_pves(what.vmid).await? || self.is_pves(what.target).await?)
    }

    /// The new name is written before the old one goes, so that each moment has a config that names
    /// the image.
    fn reassign_now(&self, what: &Reassign, log: &TaskLog) -> Result<(), GuestError> {
        what.check_keys()?;
        let (mut source, mut other) = self.lock_both(what.vmid, what.target)?;
        let target = other.as_ref().unwrap_or(&source);
        let volume = what.check(&source.config, &target.config)?;
        self.check_movable(what, &volume)?;
        let Reassign { vmid, volume: key, target: to, target_volume, .. } = what;
        log.line(format!("moving volume '{key}' from container '{vmid}' to '{to}'"));
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        let storage = storages.require(volume.storage())?;
        let made = storage.link_for(&volume, *to)?;
        let value = source.config.get(key).unwrap_or_default().to_owned();
        let value = if is_indexed(target_volume, "unused") {
            made.to_string()
        } else {
            print(target_volume, &value, &[("volume", &made.to_string())])?
        };
        let running = self.is_running(*to)?;
        let config = other.as_mut().map_or(&mut source.config, |other| &mut other.config);
        if running && !is_indexed(target_volume, "unused") {
            config.pending_mut().set(target_volume, value);
        } else {
            config.set(target_volume, value);
        }
        if let Some(other) = other {
            other.commit()?;
        }
        source.config.remove(key);
        let still_named = named_volumes(&source.config).contains(&volume);
        source.commit()?;
        log.line(format!("removing volume '{key}' from container '{vmid}' config"));
        if !still_named {
            storages.free(&volume)?;
        }
        log.line(format!("target container '{to}' updated with '{target_volume}'"));
        Ok(())
    }

    /// Both configs, the lower number first: two at once must not wait for each other. None for the
    /// second if it is the first.
    fn lock_both(&self, one: Vmid, two: Vmid) -> Result<(Locked, Option<Locked>), GuestError> {
        if one == two {
            return Ok((self.lock(one)?, None));
        }
        let (low, high) = (self.lock(one.min(two))?, self.lock(one.max(two))?);
        Ok(if one < two { (low, Some(high)) } else { (high, Some(low)) })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SOURCE: &[u8] = b"mp0: /srv,mp=/srv\nmp1: local:100/vm-100-disk-1.raw,mp=/data\n\
        mp2: local:100/vm-100-disk-2.raw,mp=/kept\nrootfs: local:100/vm-100-disk-0.raw\n\
        unused0: local:100/vm-100-disk-3.raw\n\n\
        [s1]\nmp2: local:100/vm-100-disk-2.raw,mp=/kept\nsnaptime: 1\n";

    #[rstest]
    #[case::rootfs("rootfs", "mp5", "Cannot move to/from 'rootfs'")]
    #[case::unused("unused0", "mp5", "Moving an unused volume to a used one is not possible")]
    #[case::missing("mp9", "mp5", "volume 'mp9' for container '100' does not exist")]
    #[case::taken("mp1", "mp1", "Target volume key 'mp1' is already in use for container '200'")]
    #[case::bind("mp0", "mp5", "unable to parse volume ID '/srv'")]
    #[case::kept("mp2", "mp5", "Cannot move volume used by a snapshot to another container")]
    fn refuses(#[case] volume: &str, #[case] target_volume: &str, #[case] message: &str) {
        let what = Reassign {
            vmid: "100".parse().unwrap(),
            volume: volume.to_owned(),
            target: "200".parse().unwrap(),
            target_volume: target_volume.to_owned(),
            digest: None,
            target_digest: None,
        };
        let target = ContainerConfig::parse(b"mp1: local:200/vm-200-disk-1.raw,mp=/x\n");
        let checked = what
            .check_keys()
            .and_then(|()| what.check(&ContainerConfig::parse(SOURCE), &target).map(drop));
        assert_eq!(checked.unwrap_err().to_string(), message);
    }
}
