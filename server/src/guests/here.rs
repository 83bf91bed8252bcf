//! What a change of a config does to this host: volumes are made, and the limits of a container
//! that runs. Volumes are noted before they are made, and the note outlives a killed daemon.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use openapi::property_string::parse_size;
use openapi::{StorageId, Vmid, VolumeId};
use pve_integration::bundle::Setting;
use pve_integration::ct_config::{ContainerConfig, Locked};
use pve_integration::host;
use pve_integration::oci_config::RuntimeKind;
use pve_integration::storage::ContentType;

use super::apply::{Applied, Host};
use super::note::Note as _;
use super::operation::Operation;
use super::volumes::Storages;
use super::{GuestError, Guests};

pub(super) struct Here<'a> {
    guests: &'a Guests,
    vmid: Vmid,
    unprivileged: bool,
    storages: Storages<'a>,
    /// Without a lock of its own: the file's lock is held from its beginning to its end.
    operation: Operation,
}

impl<'a> Here<'a> {
    pub(super) fn new(
        guests: &'a Guests,
        vmid: Vmid,
        config: &ContainerConfig,
    ) -> Result<Self, GuestError> {
        let storages = Storages::read(&guests.0.root, &guests.0.node)?;
        let (unprivileged, operation) = (config.unprivileged(), Operation::default());
        Ok(Self { guests, vmid, unprivileged, storages, operation })
    }

    /// Write the config if all went well, and then let go of what nothing names: volumes that were
    /// given up, or, after a failure, the new ones.
    pub(super) fn conclude(
        mut self,
        mut locked: Locked,
        before: ContainerConfig,
        applied: Result<Vec<VolumeId>, GuestError>,
    ) -> Result<(), GuestError> {
        let done = applied.and_then(|doomed| {
            self.operation.doomed = doomed.iter().map(ToString::to_string).collect();
            if !self.operation.doomed.is_empty() {
                self.note()?;
            }
            locked.save()?;
            Ok(())
        });
        if self.operation == Operation::default() {
            return done;
        }
        if done.is_err() {
            locked.config = before;
        }
        let settled = self.guests.settle_locked(self.vmid, locked, &self.operation);
        done.and(settled)
    }

    fn note(&self) -> Result<(), GuestError> {
        let written = self.operation.write(&self.guests.0.root, self.vmid);
        written.map_err(|err| GuestError::io("journal", err))
    }
}

impl Host for Here<'_> {
    fn check_content(&self, storage: &StorageId) -> Result<(), GuestError> {
        if self.storages.takes(storage, ContentType::Rootdir)? {
            return Ok(());
        }
        Err(GuestError::die(format!(
            "storage '{storage}' does not allow content type 'rootdir' (Container)"
        )))
    }

    fn allocate(&mut self, storage: &StorageId, gib: f64) -> Result<(VolumeId, u64), GuestError> {
        if !self.operation.storages.contains(&storage.to_string()) {
            let operation = self.operation.clone();
            self.operation =
                operation.on(&self.storages, self.vmid, std::slice::from_ref(storage))?;
            self.note()?;
        }
        let made = self.storages.allocate(storage, self.vmid, gib, self.unprivileged)?;
        Ok((made.volume, parse_size(&made.size).unwrap_or_default()))
    }

    fn size(&self, volume: &VolumeId) -> Option<u64> {
        self.storages.require(volume.storage()).ok()?.size(volume).ok()
    }

    fn limit(&self, settings: &[Setting]) -> io::Result<()> {
        self.guests.limiting_cgroup(self.vmid).limit(settings)
    }

    fn mount(&self, key: &str, value: &str) -> Result<(), GuestError> {
        let mounted = self.guests.0.monitor.mount(self.vmid, key, value);
        mounted.map_err(|err| GuestError::die(err.to_string()))
    }

    fn plug(&self, key: &str, old: Option<&str>, new: Option<&str>) -> Result<bool, GuestError> {
        if self.guests.0.supervised.runtime_of(self.vmid) == RuntimeKind::Lxc {
            let bridge = new.and_then(bridge).filter(|bridge| !host::bridge_exists(bridge));
            return match bridge {
                Some(bridge) => Err(GuestError::die(format!("bridge '{bridge}' does not exist"))),
                None => Ok(false),
            };
        }
        let plugged = self.guests.0.monitor.plug(self.vmid, key, old, new);
        tokio::runtime::Handle::current().block_on(plugged).map_err(|err| {
            let text = err.to_string();
            // Whoever shows it names the key.
            let text = text.strip_prefix(&format!("{key}: ")).unwrap_or(&text);
            GuestError::die(text)
        })?;
        Ok(true)
    }

    fn check_device(&self, path: &Path) -> Result<(), GuestError> {
        check_device(path)
    }
}

/// That a network is to be plugged into.
fn bridge(net: &str) -> Option<&str> {
    let part =
        |key: &str| net.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    part("bridge").filter(|_| part("link_down") != Some("1"))
}

/// As `get_device_mode_and_rdev` of pve-container's `PVE/LXC/Tools.pm`. Devices are the machine's,
/// whichever root is served.
pub(super) fn check_device(path: &Path) -> Result<(), GuestError> {
    let named = path.display();
    match fs_err::metadata(path).map(|metadata| metadata.file_type()) {
        Ok(kind) if kind.is_block_device() || kind.is_char_device() => Ok(()),
        Ok(_) => Err(GuestError::die(format!("{named} is not a device"))),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            Err(GuestError::die(format!("Device {named} does not exist")))
        }
        Err(_) => Err(GuestError::die(format!("Error accessing device {named}"))),
    }
}

impl Guests {
    /// All that waits, for a container that is stopped. What cannot be applied goes on waiting.
    pub(super) fn apply_pending(
        &self,
        vmid: Vmid,
        mut locked: Locked,
        mut warn: impl FnMut(&str),
    ) -> Result<(), GuestError> {
        if locked.config.pending().is_none() {
            return Ok(());
        }
        let mut here = Here::new(self, vmid, &locked.config)?;
        let before = locked.config.clone();
        let Applied { doomed, errors } =
            super::apply::pending(&mut locked.config, |_| true, vmid, &mut here);
        errors.values().for_each(|text| warn(text.trim_end()));
        here.conclude(locked, before, Ok(doomed))
    }
}
