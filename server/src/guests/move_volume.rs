//! A disk goes to another storage. As `move_volume` of pve-container's `PVE/API2/LXC.pm`, whose
//! other half, a disk handed to another container, is `reassign`.

use openapi::{AuthId, StorageId, Upid, Vmid, VolumeId};
use pve_integration::ct_config::{ContainerConfig, Locked, MountPoint, MountSource};
use pve_integration::storage::{ContentType, Version};
use tokio_util::sync::CancellationToken;

use super::apply::add_unused;
use super::change::is_indexed;
use super::clone::Copies;
use super::config::check_lock;
use super::disk::with_volume;
use super::operation::{Operation, named_volumes};
use super::resize::{check_digest, not_there};
use super::volumes::Storages;
use super::{GuestError, Guests, pve};
use crate::runtime::pct::PctCall;
use crate::tasks::TaskLog;

#[derive(Clone, Debug)]
pub(crate) struct Move {
    /// A key of the config.
    pub(crate) disk: String,
    pub(crate) storage: StorageId,
    /// Not to be kept as an unused one.
    pub(crate) delete: bool,
    pub(crate) digest: Option<String>,
    /// KiB a second.
    pub(crate) limit: Option<f64>,
}

impl Guests {
    /// Where a disk lies now; `None` if it is no disk on a storage, which the move itself will tell.
    pub(crate) async fn disk_storage(
        &self,
        vmid: Vmid,
        disk: &str,
    ) -> Result<Option<StorageId>, GuestError> {
        let entry = self.entry(vmid).await?;
        let point = entry.config.get(disk).and_then(|value| MountPoint::parse(disk, value).ok());
        Ok(match point.map(|point| point.source) {
            Some(MountSource::Volume(volume)) => Some(volume.storage().clone()),
            Some(MountSource::Bind(_) | MountSource::Device(_)) | None => None,
        })
    }

    pub(crate) async fn move_volume(
        &self,
        vmid: Vmid,
        request: Move,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        if self.is_pves(vmid).await? {
            let Move { disk, storage, delete, digest, limit } = request;
            let options = [
                ("delete", delete.then(|| "1".to_owned())),
                ("digest", digest),
                ("bwlimit", limit.map(|limit| limit.to_string())),
            ];
            let options = pve::options(options);
            let call = PctCall::Move { vmid, disk, storage, options };
            return self.pct_task("move_volume", vmid, who, call);
        }
        let wanted = request.clone();
        let begun = self.blocking(move |guests| guests.begin_move(vmid, &wanted)).await?;
        let (operation, volume) = match begun {
            Ok(begun) => begun,
            // Upstream sees what is wrong with volume and storage once its task uses them.
            Err(err) => {
                return self.task("move_volume", vmid, who, move |_, _| async move { Err(err) });
            }
        };
        let (guests, begun) = (self.clone(), operation.clone());
        let spawned = self.task("move_volume", vmid, who, move |log, cancel| async move {
            let work = async {
                guests.move_now(vmid, request, volume, &log, &cancel).await?;
                Ok(begun.clone())
            };
            guests.settled(vmid, begun.clone(), work).await
        });
        if spawned.is_err() {
            self.blocking(move |guests| guests.settle(vmid, &operation)).await?;
        }
        spawned
    }

    /// The inner error is the task's.
    fn begin_move(
        &self,
        vmid: Vmid,
        request: &Move,
    ) -> Result<Result<(Operation, VolumeId), GuestError>, GuestError> {
        let locked = self.lock(vmid)?;
        check_lock(&locked.config, &[])?;
        if self.is_running(vmid)? {
            return Err(GuestError::die("cannot move volumes of a running container"));
        }
        let source = movable(&locked.config, request)?;
        let digest = locked.digest().map(ToString::to_string).unwrap_or_default();
        check_digest(request.digest.as_deref(), &digest)?;
        Ok(self.reserve_move(vmid, locked, source, request))
    }

    fn reserve_move(
        &self,
        vmid: Vmid,
        locked: Locked,
        source: MountSource,
        request: &Move,
    ) -> Result<(Operation, VolumeId), GuestError> {
        let volume = match source {
            MountSource::Volume(volume) => volume,
            MountSource::Bind(path) | MountSource::Device(path) => {
                let text = format!("unable to parse volume ID '{}'", path.display());
                return Err(GuestError::die(text));
            }
        };
        let (storages, storage) = (Storages::read(&self.0.root, &self.0.node)?, &request.storage);
        storages.require(storage)?;
        if !storages.takes(storage, ContentType::Rootdir)? {
            return Err(GuestError::die(format!(
                "content type 'rootdir' is not available or configured on storage '{storage}'"
            )));
        }
        let mut operation =
            Operation::new("disk").on(&storages, vmid, std::slice::from_ref(storage))?;
        if request.delete {
            operation.doomed.push(volume.to_string());
        }
        self.begin(vmid, locked, &operation)?;
        Ok((operation, volume))
    }

    async fn move_now(
        &self,
        vmid: Vmid,
        request: Move,
        volume: VolumeId,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        log.line(format!("moving volume '{volume}' to storage '{}'", request.storage));
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        let (from, to) = ((&volume, Version::Current), (&request.storage, vmid));
        let copies = Copies { storages: &storages, limit: request.limit, cancel };
        let (made, bytes) = copies.copy_volume(from, to).await?;
        let made = self
            .blocking(move |guests| {
                let mut locked = guests.lock(vmid)?;
                let value = locked.config.get(&request.disk).unwrap_or_default().to_owned();
                let storages = Storages::read(&guests.0.root, &guests.0.node)?;
                let base = if locked.config.template() {
                    storages.require(made.storage())?.make_base(&made)?
                } else {
                    made.clone()
                };
                locked.config.set(&request.disk, with_volume(&request.disk, &value, &base, bytes)?);
                if !request.delete {
                    add_unused(&mut locked.config, &volume);
                }
                locked.commit()?;
                Ok(base)
            })
            .await?;
        log.line(format!("moved to volume '{made}'"));
        Ok(())
    }
}

fn movable(config: &ContainerConfig, request: &Move) -> Result<MountSource, GuestError> {
    let key = &request.disk;
    if is_indexed(key, "unused") {
        return Err(GuestError::die(format!(
            "cannot move volume '{key}', only configured volumes can be moved to another storage"
        )));
    }
    let value = config.get(key).ok_or_else(|| not_there(key))?;
    let source = MountPoint::parse(key, value).map_err(GuestError::value)?.source;
    let MountSource::Volume(volume) = &source else { return Ok(source) };
    let mut without_current = config.clone();
    without_current.remove(key);
    let kept =
        config.snapshots().next().is_some() && named_volumes(&without_current).contains(volume);
    if request.delete && kept {
        return Err(GuestError::die(
            "you can't move a volume with snapshots and delete the source",
        ));
    }
    Ok(source)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const CONFIG: &[u8] = b"mp0: /srv,mp=/srv\nmp1: local:100/vm-100-disk-1.raw,mp=/data\n\
        rootfs: local:100/vm-100-disk-0.raw\nunused0: local:100/vm-100-disk-3.raw\n\n\
        [s1]\nrootfs: local:100/vm-100-disk-0.raw\nsnaptime: 1\n";

    #[rstest]
    #[case::unused("unused0", true, "only configured volumes can be moved to another storage")]
    #[case::snapshots("rootfs", true, "move a volume with snapshots and delete the source")]
    fn refuses(#[case] disk: &str, #[case] delete: bool, #[case] message: &str) {
        let storage = "other".parse().unwrap();
        let request = Move { disk: disk.to_owned(), storage, delete, digest: None, limit: None };
        let err = movable(&ContainerConfig::parse(CONFIG), &request).unwrap_err().to_string();
        assert!(err.ends_with(message), "{err}");
    }

    #[rstest]
    #[case("rootfs", false)]
    #[case::for_the_task("mp0", true)]
    #[case("mp1", true)]
    fn takes(#[case] disk: &str, #[case] delete: bool) {
        let storage = "other".parse().unwrap();
        let request = Move { disk: disk.to_owned(), storage, delete, digest: None, limit: None };
        movable(&ContainerConfig::parse(CONFIG), &request).unwrap();
    }
}
