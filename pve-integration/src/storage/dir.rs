//! A `dir` storage: where its volumes lie, how full it is, and how one goes away.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use openapi::{StorageId, VolumeId};

use super::{ContentType, Storage, StorageError, VolumeFormat, VolumeName};
use crate::layout::Root;

#[derive(Clone, Debug)]
pub struct DirStorage {
    id: StorageId,
    path: PathBuf,
    content: BTreeSet<ContentType>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumePath {
    pub path: PathBuf,
    pub format: VolumeFormat,
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub total: u64,
    pub used: u64,
    pub avail: u64,
}

impl DirStorage {
    pub(super) fn new(root: &Root, storage: &Storage) -> Result<Self, StorageError> {
        let id = storage.id().clone();
        if storage.kind() != "dir" {
            return Err(StorageError::Kind { id, kind: storage.kind().to_owned() });
        }
        let path = root.below(storage.get("path").ok_or(StorageError::NoPath)?);
        Ok(Self { id, path, content: storage.content() })
    }

    pub fn id(&self) -> &StorageId {
        &self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn content(&self) -> &BTreeSet<ContentType> {
        &self.content
    }

    pub fn require(&self, content: ContentType) -> Result<(), StorageError> {
        let allowed = self.content.contains(&content);
        if allowed { Ok(()) } else { Err(StorageError::Content(self.id.clone(), content)) }
    }

    /// Makes the folders of what may lie here.
    pub fn activate(&self) -> Result<(), StorageError> {
        for content in &self.content {
            let folder = self.folder(*content);
            fs::create_dir_all(&folder).map_err(StorageError::io("create directory", &folder))?;
        }
        Ok(())
    }

    pub fn folder(&self, content: ContentType) -> PathBuf {
        self.path.join(content.folder())
    }

    /// Where files that are being received lie.
    pub fn receives(&self) -> Vec<PathBuf> {
        let kinds = [ContentType::Iso, ContentType::Vztmpl, ContentType::Import];
        let folders = kinds.into_iter().map(|kind| self.folder(kind));
        folders.chain([self.path.clone()]).collect()
    }

    /// Where a volume lies, whether it is there or not.
    pub fn path_of(&self, volume: &VolumeId) -> Result<VolumePath, StorageError> {
        let name: VolumeName = volume.name().parse()?;
        let path = name.path_in(&self.folder(name.content()));
        Ok(VolumePath { path, format: name.format() })
    }

    /// Where a volume lies that must be there.
    pub fn existing(&self, volume: &VolumeId) -> Result<VolumePath, StorageError> {
        let found = self.path_of(volume)?;
        let missing = || StorageError::NoVolume(volume.to_string());
        let metadata = fs::metadata(&found.path).map_err(|_| missing())?;
        // A raw image that is a directory, or the reverse, is another volume than the one named.
        if metadata.is_dir() == (found.format == VolumeFormat::Subvol) {
            Ok(found)
        } else {
            Err(missing())
        }
    }

    /// Removes a volume and its guest's folder, if that was the last one in it. Whether there was
    /// anything: as for PVE, a volume that is gone already is no failure.
    pub fn free(&self, volume: &VolumeId) -> Result<bool, StorageError> {
        let VolumePath { path, format } = self.path_of(volume)?;
        // A guest's snapshots first: left alone, they would be nobody's.
        if matches!(volume.name().parse(), Ok(VolumeName::Image { .. })) {
            self.sweep(volume, &[])?;
        }
        let removed = match format {
            // Follows no link, also not one that appears meanwhile.
            VolumeFormat::Subvol => fs::remove_dir_all(&path),
            VolumeFormat::Raw | VolumeFormat::Qcow2 | VolumeFormat::Vmdk => fs::remove_file(&path),
        };
        let removed = match removed {
            Ok(()) => true,
            Err(err) if err.kind() == io::ErrorKind::NotFound => false,
            Err(err) => return Err(StorageError::io("remove", path)(err)),
        };
        if let Ok(VolumeName::Image { vmid, .. }) = volume.name().parse() {
            self.remove_empty(vmid);
        }
        Ok(removed)
    }

    /// Other volumes in it are the one thing that can keep it, and then it must stay.
    pub(super) fn remove_empty(&self, vmid: openapi::Vmid) {
        drop(fs::remove_dir(self.folder(ContentType::Images).join(vmid.to_string())));
    }

    pub fn status(&self) -> Result<Usage, StorageError> {
        let stat = rustix::fs::statvfs(&self.path)
            .map_err(|errno| StorageError::io("read the status of", &self.path)(errno.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Usage {
            total: bytes(stat.f_blocks),
            used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
            avail: bytes(stat.f_bavail),
        })
    }

    pub(super) fn volume_id(&self, name: &str) -> VolumeId {
        let text = format!("{}:{name}", self.id);
        text.parse().expect("a storage id, a colon and a name without newline are a volume id")
    }
}
