//! A `dir` storage: where its volumes lie, how full it is, and how one goes away.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use fs_err as fs;
use openapi::{StorageId, VolumeId};

use super::section_file::{is_true, split_list};
use super::{ContentType, Storage, StorageError, VolumeFormat, VolumeName};
use crate::layout::Root;

#[derive(Clone, Debug)]
pub struct DirStorage {
    id: StorageId,
    path: PathBuf,
    content: BTreeSet<ContentType>,
    /// `content-dirs`: other folders than the usual ones.
    folders: BTreeMap<ContentType, PathBuf>,
    /// Whether the folders are ours to make: the path's own, and those below it.
    makes: (bool, bool),
    /// What has to be mounted before anything is written: the path may be on a disk that is away.
    mount: Option<Mount>,
}

#[derive(Clone, Debug)]
struct Mount {
    /// As storage.cfg says it.
    told: String,
    path: PathBuf,
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
        let told = storage.get("path").ok_or(StorageError::NoPath)?;
        let path = root.below(told);
        let makes = |key| {
            let given = storage.get(key).or_else(|| storage.get("mkdir"));
            given.is_none_or(is_true)
        };
        let overrides = split_list(storage.get("content-dirs").unwrap_or_default());
        let folders = overrides.filter_map(|text| {
            let (word, folder) = text.split_once('=')?;
            let relative = Path::new(folder.trim_start_matches('/'));
            let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
            Some((ContentType::from_word(word)?, path.join(relative))).filter(|_| inside)
        });
        let mount = storage.get("is_mountpoint").and_then(|value| match value {
            "0" | "no" | "off" | "false" => None,
            yes if is_true(yes) => Some(told),
            other => Some(other),
        });
        let mount = mount.map(|told| Mount { told: told.to_owned(), path: root.below(told) });
        Ok(Self {
            id,
            content: storage.content(),
            folders: folders.collect(),
            makes: (makes("create-base-path"), makes("create-subdirs")),
            mount,
            path,
        })
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

    /// Makes the folders of what may lie here, as far as they are ours to make.
    pub fn activate(&self) -> Result<(), StorageError> {
        if let Some(mount) = self.mount.as_ref().filter(|mount| !is_mounted(&mount.path)) {
            return Err(StorageError::NotMounted(self.id.clone(), mount.told.clone()));
        }
        let make = |folder: &Path| {
            if folder.is_dir() {
                return Ok(()); // a look is cheaper than to try, and there they mostly are
            }
            fs::create_dir_all(folder).map_err(StorageError::io("create directory", folder))
        };
        if self.makes.0 {
            make(&self.path)?;
        }
        if !self.path.is_dir() {
            let path = self.path.display().to_string();
            return Err(StorageError::NoDirectory(self.id.clone(), path));
        }
        if self.makes.1 {
            for content in &self.content {
                make(&self.folder(*content))?;
            }
            // PVE's own: where containers lay once, and where their backups go.
            if self.content.contains(&ContentType::Rootdir) {
                make(&self.path.join("private"))?;
                make(&self.folder(ContentType::Backup))?;
            }
        }
        let mut seen = BTreeSet::new();
        let own = self.content.iter().filter(|content| **content != ContentType::Rootdir);
        for folder in own.filter_map(|content| self.folder(*content).canonicalize().ok()) {
            if !seen.insert(folder.clone()) {
                return Err(StorageError::OneForTwo { id: self.id.clone(), path: folder });
            }
        }
        Ok(())
    }

    pub fn folder(&self, content: ContentType) -> PathBuf {
        // Volumes of containers lie beside those of machines.
        let content = if content == ContentType::Rootdir { ContentType::Images } else { content };
        let other = self.folders.get(&content).cloned();
        other.unwrap_or_else(|| self.path.join(content.folder()))
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

/// Another filesystem than its parent's, or a filesystem's root that is bound there.
fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    let Ok(path) = path.canonicalize() else { return false };
    let Some(parent) = path.parent() else { return true };
    let listed = || {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        table.lines().any(|line| line.split(' ').nth(4) == path.to_str())
    };
    matches!((device(&path), device(parent)), (Ok(own), Ok(outer)) if own != outer) || listed()
}
