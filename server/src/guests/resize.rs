//! Making a disk larger, and nothing smaller. As `resize_vm` of pve-container's `PVE/API2/LXC.pm`.

use std::fmt;

use openapi::property_string::parse_size;
use openapi::{AuthId, StorageId, Upid, Vmid, VolumeId};
use pve_integration::ct_config::{ConfigError, ContainerConfig, MountPoint, MountSource};

use super::change::is_owned;
use super::config::check_lock;
use super::disk::with_volume;
use super::pve::storage_at;
use super::volumes::Storages;
use super::{GuestError, Guests};
use crate::runtime::pct::PctCall;
use crate::tasks::TaskLog;

/// A request: `disk` is a key of the config.
#[derive(Clone, Debug)]
pub(crate) struct Resize {
    pub(crate) disk: String,
    pub(crate) size: Size,
    pub(crate) digest: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    To(u64),
    By(u64),
}

/// In bytes, as PVE takes it as well.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(bytes) => write!(f, "{bytes}"),
            Self::By(bytes) => write!(f, "+{bytes}"),
        }
    }
}

impl Size {
    /// `8G`, or `+1G`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix('+') {
            Some(more) => parse_size(more).map(Self::By),
            None => parse_size(text).map(Self::To),
        }
    }

    /// Whole KiB, as a storage makes them. `listed` is what the config says of the disk.
    fn of(self, now: u64, listed: Option<u64>) -> Result<u64, GuestError> {
        let new = match self {
            Self::To(bytes) => bytes,
            Self::By(bytes) => now.saturating_add(bytes),
        };
        if new < now {
            return Err(GuestError::die("unable to shrink disk size"));
        }
        // Where the config knows less, a resize was cut off, and this one ends it.
        if new == now && listed.is_none_or(|listed| listed == now) {
            return Err(GuestError::die("disk is already at specified size"));
        }
        Ok(new.div_ceil(1024).saturating_mul(1024))
    }
}

struct Target {
    volume: VolumeId,
    value: String,
    bytes: u64,
}

impl Guests {
    /// The storage that the disk lies on, for the check of privileges.
    pub(crate) async fn storage_of(
        &self,
        vmid: Vmid,
        disk: String,
    ) -> Result<StorageId, GuestError> {
        let entry = self.entry(vmid).await?;
        check_lock(&entry.config, &[])?;
        if self.is_pves(vmid).await? {
            return storage_at(&entry.config, &disk);
        }
        volume(&entry.config, &disk, vmid).map(|(volume, ..)| volume.storage().clone())
    }

    pub(crate) async fn resize(
        &self,
        vmid: Vmid,
        request: Resize,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        if self.is_pves(vmid).await? {
            let Resize { disk, size, digest } = request;
            let call = PctCall::Resize { vmid, disk, size: size.to_string(), digest };
            return self.pct_task("resize", vmid, who, call);
        }
        let early = request.clone();
        self.blocking(move |guests| {
            let entry = guests.read(vmid)?;
            check_digest(early.digest.as_deref(), entry.digest.as_str())?;
            guests.target(vmid, &entry.config, &early).map(drop)
        })
        .await?;
        let guests = self.clone();
        self.task("resize", vmid, who, move |log, _| async move {
            guests.blocking(move |guests| guests.resize_now(vmid, &request, &log)).await
        })
    }

    /// Under the config's lock to the end, as in PVE: nothing may start the container meanwhile.
    fn resize_now(&self, vmid: Vmid, request: &Resize, log: &TaskLog) -> Result<(), GuestError> {
        let mut locked = self.lock(vmid)?;
        if let Some(digest) = &request.digest {
            locked.check_digest(digest)?;
        }
        let Target { volume, value, bytes } = self.target(vmid, &locked.config, request)?;
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        let storage = storages.require(volume.storage())?;
        log.line(format!("resizing volume '{volume}'"));
        let grown = if self.is_running(vmid)? {
            storage.grow_mounted(&volume, bytes, &self.0.root.guest_run(vmid))?
        } else {
            storage.grow(&volume, bytes)?
        };
        locked.config.set(&request.disk, with_volume(&request.disk, &value, &volume, grown)?);
        locked.commit()?;
        Ok(())
    }

    fn target(
        &self,
        vmid: Vmid,
        config: &ContainerConfig,
        request: &Resize,
    ) -> Result<Target, GuestError> {
        check_lock(config, &[])?;
        let (volume, listed, value) = volume(config, &request.disk, vmid)?;
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        let now = storages.require(volume.storage())?.size(&volume)?;
        Ok(Target { bytes: request.size.of(now, listed)?, volume, value })
    }
}

pub(super) fn check_digest(given: Option<&str>, is: &str) -> Result<(), GuestError> {
    match given {
        Some(given) if given != is => Err(ConfigError::Modified.into()),
        Some(_) | None => Ok(()),
    }
}

/// Upstream parses the text that is not there, and tells what it lacks.
pub(super) fn not_there(disk: &str) -> GuestError {
    let lacking = if disk == "rootfs" { &["volume"][..] } else { &["mp", "volume"] };
    let complaint = "property is missing and it is not optional";
    let errors = lacking.iter().map(|part| ((*part).to_owned(), complaint.to_owned()));
    GuestError::Format(errors.collect())
}

/// The disk's volume, what the config says of its size, and its value.
fn volume(
    config: &ContainerConfig,
    disk: &str,
    vmid: Vmid,
) -> Result<(VolumeId, Option<u64>, String), GuestError> {
    let value = config.get(disk).ok_or_else(|| not_there(disk))?;
    let point = MountPoint::parse(disk, value).map_err(GuestError::value)?;
    let MountSource::Volume(volume) = point.source else {
        return Err(GuestError::die(format!("{disk}: only a volume can be resized")));
    };
    if !is_owned(&volume, vmid) {
        return Err(GuestError::die(format!(
            "can't resize mount point owned by another container ({volume})"
        )));
    }
    Ok((volume, point.size, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const GIB: u64 = 1 << 30;

    #[rstest]
    #[case::absolute("4G", GIB, Ok(4 * GIB))]
    #[case::relative("+1G", GIB, Ok(2 * GIB))]
    #[case::fraction("1.5G", GIB, Ok(GIB * 3 / 2))]
    #[case::whole_kib("2147483649", GIB, Ok(2 * GIB + 1024))]
    #[case::smaller("512M", GIB, Err("unable to shrink disk size"))]
    #[case::same("1G", GIB, Err("disk is already at specified size"))]
    #[case::nothing_more("+0", GIB, Err("disk is already at specified size"))]
    fn only_grows(#[case] text: &str, #[case] now: u64, #[case] wanted: Result<u64, &str>) {
        let size = Size::parse(text).unwrap().of(now, Some(now)).map_err(|err| err.to_string());
        assert_eq!(size, wanted.map_err(str::to_owned));
    }

    #[test]
    fn a_resize_that_was_cut_off_can_be_repeated() {
        assert_eq!(Size::To(2 * GIB).of(2 * GIB, Some(GIB)).unwrap(), 2 * GIB);
    }

    #[rstest]
    #[case::missing("mp1", "format error")]
    #[case::bind("mp0", "mp0: only a volume can be resized")]
    #[case::foreign(
        "mp2",
        "can't resize mount point owned by another container (local:101/vm-101-disk-0.raw)"
    )]
    fn refuses(#[case] disk: &str, #[case] message: &str) {
        let config = ContainerConfig::parse(
            b"mp0: /srv,mp=/srv\nmp2: local:101/vm-101-disk-0.raw,mp=/x,size=1G\n",
        );
        let err = volume(&config, disk, "100".parse().unwrap()).unwrap_err();
        assert_eq!(err.to_string(), message);
    }
}
