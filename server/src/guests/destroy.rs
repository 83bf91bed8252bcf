//! Removing a container and all that is its own.

use std::io;

use openapi::{AuthId, Upid, Vmid, VolumeId};
use pve_integration::access::edit::forget_guest;
use pve_integration::ct_config::{ContainerConfig, Section};
use pve_integration::firewall;
use tokio_util::sync::CancellationToken;

use super::change::{check_protection, is_indexed, is_owned};
use super::config::check_lock;
use super::volumes::Storages;
use super::{GuestError, Guests};
use crate::runtime::pct::PctCall;
use crate::tasks::TaskLog;

/// Left by a destroy that did not come to its end, so the next may go on.
const LOCK: &str = "destroyed";

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Destroy {
    /// Stop it if it runs.
    pub(crate) force: bool,
    /// Volumes of this number that the config does not name.
    pub(crate) unreferenced: bool,
    /// Also what PVE's jobs and HA say of it.
    pub(crate) purge: bool,
}

impl Guests {
    pub(crate) async fn destroy(
        &self,
        vmid: Vmid,
        how: Destroy,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        let entry = self.entry(vmid).await?;
        check(&entry.config, vmid)?;
        if !how.force && self.is_running_now(vmid).await? {
            return Err(GuestError::DestroyRunning(vmid));
        }
        if self.is_pves(vmid).await? {
            let Destroy { force, unreferenced, purge } = how;
            let call = PctCall::Destroy { vmid, force, unreferenced, purge };
            return self.destroy_by_pct(vmid, who, call);
        }
        let guests = self.clone();
        self.task("vzdestroy", vmid, who, move |log, cancel| async move {
            guests.destroy_now(vmid, how, &log, &cancel).await
        })
    }

    async fn destroy_now(
        &self,
        vmid: Vmid,
        how: Destroy,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        if self.is_running_now(vmid).await? {
            if !how.force {
                return Err(GuestError::DestroyRunning(vmid));
            }
            // A plain line, as Perl's `warn` in a task makes it.
            log.line(format!("forced to stop CT {vmid} before destroying!"));
            self.stop_now(vmid, log, cancel).await?;
        }
        self.0.supervised.sweep(vmid).await?;
        self.blocking(move |guests| guests.destroy_blocking(vmid, how)).await
    }

    /// The config goes last: until then somebody can see what there is left to destroy.
    fn destroy_blocking(&self, vmid: Vmid, how: Destroy) -> Result<(), GuestError> {
        let mut locked = self.lock(vmid)?;
        check(&locked.config, vmid)?;
        let doomed = owned_volumes(&locked.config, vmid);
        locked.config.set("lock", LOCK);
        locked.save()?;
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        for volume in &doomed {
            storages.free(volume)?;
        }
        if how.unreferenced {
            for volume in storages.all_volumes_of(vmid)? {
                storages.free(&volume)?;
            }
        }
        let io_error = |err| GuestError::io(format!("CT {vmid}"), err);
        self.remove_oci(vmid)?;
        remove_dir(&self.0.root.guest_run(vmid)).map_err(io_error)?;
        let lxc = self.0.root.lxc_dir(vmid);
        // Not what lies in a mount point: were something still mounted there, it would be lost.
        remove_empty(&self.0.root.rootfs_mount(vmid)).map_err(io_error)?;
        remove_file(&lxc.join("config")).map_err(io_error)?;
        remove_empty(&lxc).map_err(io_error)?;
        remove_file(&self.0.root.container_log(vmid)).map_err(io_error)?;
        firewall::remove(&self.0.root, vmid).map_err(io_error)?;
        forget_guest(&self.0.root, vmid)
            .map_err(|err| GuestError::io(format!("CT {vmid}"), io::Error::other(err)))?;
        Ok(locked.remove()?)
    }
}

fn check(config: &ContainerConfig, vmid: Vmid) -> Result<(), GuestError> {
    check_protection(config, &format!("can't remove CT {vmid}"))?;
    check_lock(config, &[LOCK])
}

/// Of all sections. Volumes of other guests stay.
fn owned_volumes(config: &ContainerConfig, vmid: Vmid) -> Vec<VolumeId> {
    let snapshots = config.snapshots().map(|(_, section)| section);
    let sections = std::iter::once(config.current()).chain(config.pending()).chain(snapshots);
    let mut owned: Vec<VolumeId> =
        sections.flat_map(volumes).filter(|volume| is_owned(volume, vmid)).collect();
    owned.sort();
    owned.dedup();
    owned
}

fn volumes(section: &Section) -> Vec<VolumeId> {
    let unused = section.iter().filter(|(key, _)| is_indexed(key, "unused"));
    let unused = unused.map(|(_, value)| value.to_owned());
    section.volumes().into_iter().chain(unused).filter_map(|text| text.parse().ok()).collect()
}

fn tolerate_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_file(path: &std::path::Path) -> io::Result<()> {
    tolerate_missing(fs_err::remove_file(path))
}

fn remove_dir(path: &std::path::Path) -> io::Result<()> {
    tolerate_missing(fs_err::remove_dir_all(path))
}

/// A directory that others put something into stays.
fn remove_empty(path: &std::path::Path) -> io::Result<()> {
    match tolerate_missing(fs_err::remove_dir(path)) {
        Err(err) if err.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_volumes_go() {
        let config = ContainerConfig::parse(
            b"mp0: local:101/vm-101-disk-0.raw,mp=/theirs\n\
              mp1: /srv/data,mp=/bind\n\
              rootfs: local:100/vm-100-disk-0.raw,size=4G\n\
              unused0: local:100/vm-100-disk-2.raw\n\n\
              [pve:pending]\nmp2: local:100/vm-100-disk-3.raw,mp=/new\n\n\
              [s1]\nrootfs: local:100/vm-100-disk-0.raw,size=4G\nmp0: local:100/vm-100-disk-1.raw,mp=/old\n",
        );

        let names: Vec<_> = owned_volumes(&config, "100".parse().unwrap())
            .iter()
            .map(ToString::to_string)
            .collect();

        assert_eq!(names, [0, 1, 2, 3].map(|number| format!("local:100/vm-100-disk-{number}.raw")));
    }

    #[test]
    fn a_destroy_that_was_cut_off_may_go_on() {
        let vmid = "100".parse().unwrap();
        let locked = |lock: &str| ContainerConfig::parse(format!("lock: {lock}\n").as_bytes());

        check(&locked("destroyed"), vmid).unwrap();
        assert_eq!(
            check(&locked("backup"), vmid).unwrap_err().to_string(),
            "CT is locked (backup)"
        );
    }

    #[test]
    fn protection_forbids_it() {
        let config = ContainerConfig::parse(b"protection: 1\n");

        assert_eq!(
            check(&config, "104".parse().unwrap()).unwrap_err().to_string(),
            "can't remove CT 104 - protection mode enabled"
        );
    }
}
