//! Giving an image to another guest: PVE's `rename_volume`, which takes images and no folders.

use fs_err as fs;
use openapi::{Vmid, VolumeId};

use super::{Allocation, DirStorage, StorageError, VolumeFormat};

impl DirStorage {
    /// Whether `link_for` takes it.
    pub fn can_reassign(&self, volume: &VolumeId) -> Result<bool, StorageError> {
        Ok(self.path_of(volume)?.format != VolumeFormat::Subvol)
    }

    /// The same image under a free name of `vmid`'s. The old name stays until it is freed: whoever is
    /// killed in between has an image with two names, not one that no config names.
    pub fn link_for(&self, volume: &VolumeId, vmid: Vmid) -> Result<VolumeId, StorageError> {
        let from = self.existing(volume)?.path;
        let made = self.allocate(vmid, Allocation::Copy { subvol: false }, (0, 0))?;
        let to = self.path_of(&made)?.path;
        let beside = to.with_extension("link");
        let linked = fs::hard_link(&from, &beside).and_then(|()| fs::rename(&beside, &to));
        if let Err(err) = linked {
            // The first failure is the one to tell.
            drop(fs::remove_file(&beside));
            drop(self.free(&made));
            return Err(StorageError::io("rename", &from)(err));
        }
        Ok(made)
    }
}
