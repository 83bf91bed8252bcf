//! The storages of this node as containers use them.

use std::path::PathBuf;

use openapi::property_string::format_size;
use openapi::{NodeName, StorageId, Vmid, VolumeId};
use pve_integration::ct_config::ContainerConfig;
use pve_integration::layout::Root;
use pve_integration::storage::{
    Allocation, ContentType, DirStorage, Storage, StorageConfig, StorageError, VolumeName,
};

use super::disk::{Disk, Source};
use super::{GuestError, script};
use crate::tasks::TaskLog;

/// The host's id of root in an unprivileged container.
const SHIFTED_ROOT: u32 = 100_000;
const GIB: f64 = (1_u64 << 30) as f64;
/// ext4 with a journal needs some.
const LEAST_BYTES: u64 = 4 << 20;

pub(super) struct Storages<'a> {
    root: &'a Root,
    node: &'a NodeName,
    config: StorageConfig,
}

/// A volume that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) volume: VolumeId,
    /// As it stands in a config.
    pub(super) size: String,
}

impl Made {
    pub(super) fn describe(&self) -> String {
        match self.size.as_str() {
            "0T" => "a directory".to_owned(),
            size => format!("ext4, {size}"),
        }
    }
}

impl<'a> Storages<'a> {
    pub(super) fn read(root: &'a Root, node: &'a NodeName) -> Result<Self, GuestError> {
        Ok(Self { root, node, config: StorageConfig::read(root)? })
    }

    /// As storage.cfg has it, whatever its kind.
    pub(super) fn section(&self, id: &StorageId) -> Result<&Storage, StorageError> {
        self.config.get(id)
    }

    pub(super) fn require(&self, id: &StorageId) -> Result<DirStorage, StorageError> {
        self.config.dir(self.root, self.node, id)
    }

    /// Whether volumes of this kind may lie there, on whatever kind of storage it is.
    pub(super) fn takes(&self, id: &StorageId, content: ContentType) -> Result<bool, StorageError> {
        Ok(self.config.get(id)?.content().contains(&content))
    }

    pub(super) fn activate(&self, name: &str) -> Result<(), GuestError> {
        let id: StorageId = name.parse().map_err(|err| GuestError::die(format!("{err}")))?;
        Ok(self.require(&id)?.activate()?)
    }

    pub(super) fn require_rootdir(&self, id: &StorageId) -> Result<(), GuestError> {
        self.require(id)?;
        self.allows_rootdir(id)
    }

    /// That containers may lie there, on whatever kind of storage it is.
    pub(super) fn allows_rootdir(&self, id: &StorageId) -> Result<(), GuestError> {
        if self.takes(id, ContentType::Rootdir)? {
            return Ok(());
        }
        let text = format!("storage '{id}' does not support container directories");
        Err(GuestError::param("storage", text))
    }

    /// A path of the host as this daemon sees it.
    pub(super) fn below(&self, path: &str) -> PathBuf {
        self.root.below(path)
    }

    /// As `check_hookscript` of pve-guest-common's `PVE/GuestHelpers.pm`.
    pub(super) fn hookscript(&self, text: &str) -> Result<PathBuf, GuestError> {
        let volume: VolumeId = text.parse().map_err(|err| GuestError::die(format!("{err}")))?;
        let is_snippet = matches!(
            volume.name().parse()?,
            VolumeName::File { content: ContentType::Snippets, .. }
        );
        if !is_snippet {
            return Err(GuestError::die(format!("'{volume}' is not in the snippets directory")));
        }
        let path = self.require(volume.storage())?.path_of(&volume)?.path;
        match script::is_executable(&path) {
            Some(true) => Ok(path),
            Some(false) => Err(GuestError::die(format!("script '{volume}' is not executable"))),
            None => Err(GuestError::die(format!("script '{volume}' does not exist"))),
        }
    }

    /// Every volume of this guest on one storage.
    pub(super) fn volumes_of(
        &self,
        id: &StorageId,
        vmid: Vmid,
    ) -> Result<Vec<VolumeId>, GuestError> {
        let folder = self.require(id)?.folder(ContentType::Rootdir).join(vmid.to_string());
        let entries = match fs_err::read_dir(folder) {
            Ok(entries) => entries,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(GuestError::io("volumes", err)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let volumes =
            names.filter_map(|name| format!("{id}:{vmid}/{name}").parse::<VolumeId>().ok());
        Ok(volumes.filter(is_image).collect())
    }

    /// On all storages that are there.
    pub(super) fn all_volumes_of(&self, vmid: Vmid) -> Result<Vec<VolumeId>, GuestError> {
        let mut all = Vec::new();
        for storage in self.config.iter() {
            if self.require(storage.id()).is_ok() {
                all.extend(self.volumes_of(storage.id(), vmid)?);
            }
        }
        Ok(all)
    }

    /// `gib` of 0 asks for a directory without a limit of its own.
    pub(super) fn allocate(
        &self,
        id: &StorageId,
        vmid: Vmid,
        gib: f64,
        unprivileged: bool,
    ) -> Result<Made, GuestError> {
        let storage = self.require(id)?;
        storage.activate()?;
        let owner = if unprivileged { SHIFTED_ROOT } else { 0 };
        let (what, bytes) = match bytes(gib) {
            0 => (Allocation::Subvol, 0),
            bytes => (Allocation::Raw { bytes }, bytes),
        };
        let volume = storage.allocate(vmid, what, (owner, owner))?;
        Ok(Made { volume, size: format_size(bytes) })
    }

    /// Make those that are to be made, and put all of them into `config`.
    pub(super) fn make_disks(
        &self,
        disks: &[Disk],
        vmid: Vmid,
        config: &mut ContainerConfig,
        log: &TaskLog,
    ) -> Result<(), GuestError> {
        for disk in disks {
            let value = match &disk.source {
                Source::New { storage, gib } => {
                    let made = self.allocate(storage, vmid, *gib, config.unprivileged())?;
                    log.line(format!("made volume '{}', {}", made.volume, made.describe()));
                    disk.with_volume(&made.volume, &made.size)?
                }
                Source::Volume(volume) => {
                    self.require(volume.storage())?.existing(volume)?;
                    disk.printed()?
                }
                Source::Path => disk.printed()?,
            };
            config.set(&disk.key, value);
        }
        Ok(())
    }

    /// What was written to its volumes outlives a power cut.
    pub(super) fn flush(&self, id: &StorageId) -> Result<(), GuestError> {
        let folder = self.require(id)?.folder(ContentType::Rootdir);
        let failed = |err| GuestError::io(format!("storage '{id}'"), err);
        let folder = fs_err::File::open(folder).map_err(failed)?;
        rustix::fs::syncfs(&folder).map_err(|errno| failed(errno.into()))
    }

    pub(super) fn free(&self, volume: &VolumeId) -> Result<(), GuestError> {
        let storage = self.require(volume.storage())?;
        // One that is not mounted looks as if the volume were gone already.
        storage.activate()?;
        storage.free(volume)?;
        Ok(())
    }
}

fn is_image(volume: &VolumeId) -> bool {
    matches!(volume.name().parse(), Ok(VolumeName::Image { .. }))
}

/// Whole KiB, as PVE rounds.
fn bytes(gib: f64) -> u64 {
    if gib <= 0.0 {
        return 0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and a float saturates at the ends of the integer"
    )]
    let bytes = (gib * GIB) as u64;
    (bytes / 1024 * 1024).max(LEAST_BYTES)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn world() -> (tempfile::TempDir, Root, NodeName) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        fs_err::create_dir_all(root.etc_pve()).unwrap();
        (dir, root, "pve1".parse().unwrap())
    }

    #[rstest]
    #[case(0.0, 0)]
    #[case(4.0, 4 << 30)]
    #[case(0.5, 512 << 20)]
    #[case(0.001, 4 << 20)]
    fn sizes_are_gib(#[case] gib: f64, #[case] expected: u64) {
        assert_eq!(bytes(gib), expected);
    }

    #[test]
    fn lists_only_volumes_of_the_guest() {
        let (_dir, root, node) = world();
        let images = root.below("/var/lib/vz/images");
        for name in ["200/vm-200-disk-0.raw", "200/notes.txt", "201/vm-201-disk-0.raw"] {
            fs_err::create_dir_all(images.join(name).parent().unwrap()).unwrap();
            fs_err::write(images.join(name), "").unwrap();
        }
        let storages = Storages::read(&root, &node).unwrap();

        let volumes = storages.all_volumes_of("200".parse().unwrap()).unwrap();

        assert_eq!(volumes, ["local:200/vm-200-disk-0.raw".parse().unwrap()]);
        storages.free(&volumes[0]).unwrap();
        assert!(images.join("200/notes.txt").exists());
    }
}
