//! What can go wrong with a storage, in PVE's words where PVE has them.

use std::io;
use std::path::PathBuf;

use openapi::{NodeName, StorageId, Vmid};

use super::ContentType;

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("storage '{0}' does not exist")]
    NoStorage(StorageId),
    #[error("storage '{0}' is disabled")]
    Disabled(StorageId),
    #[error("storage '{0}' is not available on node '{1}'")]
    NotOnNode(StorageId, NodeName),
    #[error("storage '{id}' is of type '{kind}', but only 'dir' storages are supported here")]
    Kind { id: StorageId, kind: String },
    #[error("storage definition has no path")]
    NoPath,
    #[error("storage '{0}' does not support content-type '{1}'")]
    Content(StorageId, ContentType),
    #[error("unable to parse directory volume name '{0}'")]
    VolumeName(String),
    #[error("volume '{0}' does not exist")]
    NoVolume(String),
    #[error("volume_size_info on '{0}' failed - no format")]
    NoFormat(String),
    #[error("volume '{0}' has size zero")]
    SizeZero(String),
    #[error("only backups can have notes")]
    NotesOfBackups,
    #[error("only backups support attribute '{0}'")]
    AttributeOfBackups(&'static str),
    #[error("cannot remove protected volume '{name}' on '{storage}'")]
    Protected { name: String, storage: StorageId },
    #[error("unable to parse volume filename '{0}'")]
    FileName(String),
    #[error("illegal name '{name}' - wrong extension for format ('{is} != '{wanted}')")]
    Extension { name: String, is: &'static str, wanted: &'static str },
    #[error("disk image '{}' already exists", .0.display())]
    ImageExists(PathBuf),
    #[error("storage does not support subvol quotas")]
    NoQuota,
    #[error("cannot make '{0}' images, only 'raw' ones")]
    NoQemu(&'static str),
    #[error("unable to allocate an image name for VM {vmid} in storage '{storage}'")]
    NoFreeName { vmid: Vmid, storage: StorageId },
    #[error("unable to format '{}' - mkfs.ext4 is missing, install e2fsprogs", .0.display())]
    NoMkfs(PathBuf),
    #[error("unable to format '{}' - {reason}", path.display())]
    Format { path: PathBuf, reason: String },
    #[error("unable to {what} '{}' - {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl StorageError {
    /// For `map_err`: what was done to which path.
    pub(super) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
