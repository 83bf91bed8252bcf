//! What can go wrong with a storage, in PVE's words where PVE has them.

use std::io;
use std::path::PathBuf;

use openapi::{NodeName, StorageId, Vmid};

use super::ContentType;
use crate::access::edit::EditError;
use crate::cluster_lock::LockError;

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
    #[error("{what} storage failed: {cause}")]
    During { what: &'static str, cause: Box<StorageError> },
    #[error("storage ID '{0}' already defined")]
    Defined(StorageId),
    #[error("unexpected property '{0}'")]
    Property(String),
    #[error("missing value for required option '{0}'")]
    Required(&'static str),
    #[error("illegal path for directory storage: {0}")]
    IllegalPath(String),
    #[error("unable to combine 'none' with other content types")]
    NoneAndMore,
    #[error("can't change value of fixed parameter '{0}'")]
    Fixed(String),
    #[error("no such option '{0}'")]
    NoOption(String),
    #[error("unable to delete {0} option '{1}'")]
    Undeletable(&'static str, String),
    #[error("cannot set and delete property '{0}' at the same time!")]
    SetAndDelete(String),
    #[error("detected modified configuration - file changed by other user? Try again.")]
    Modified,
    #[error("property '{0}' contains a line feed")]
    LineFeed(String),
    #[error("can't remove storage - storage is used as base of another storage")]
    IsBase,
    #[error(
        "unable to activate storage '{0}' - directory is expected to be a mount point but is not \
         mounted: '{1}'"
    )]
    NotMounted(StorageId, String),
    #[error("unable to activate storage '{0}' - directory '{1}' does not exist or is unreachable")]
    NoDirectory(StorageId, String),
    #[error("storage '{id}' uses directory {} for multiple content types", path.display())]
    OneForTwo { id: StorageId, path: PathBuf },
    /// Of storage.cfg, or of the rights on a storage that is no more.
    #[error(transparent)]
    Access(#[from] EditError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("unable to {what} '{}' - {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl StorageError {
    /// For `map_err`: what was done to which path.
    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
