//! storage.cfg, and the volumes of `dir` storages: names, paths, allocation, listing. Mounting a
//! volume belongs to the monitor, and what an archive holds to `images`.

mod allocate;
mod attributes;
mod backups;
mod content;
mod copy;
mod dir;
mod edit;
mod error;
mod image_file;
mod list;
mod multi_mount;
mod reassign;
mod section_file;
mod spool;
mod volume_name;

pub use allocate::Allocation;
pub use attributes::Details;
pub use backups::Backup;
pub use content::ContentType;
pub use copy::Version;
pub use dir::{DirStorage, Usage, VolumePath};
pub use edit::{Change, change_storage, create_storage, delete_storage};
pub use error::StorageError;
pub use list::Content;
pub use section_file::{Storage, StorageConfig};
pub use spool::Spool;
pub use volume_name::{VolumeFormat, VolumeName};
