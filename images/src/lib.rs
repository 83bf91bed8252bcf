//! Root filesystems from archives, detected, limited, unpacked; and into archives.
//!
//! This crate owns what an archive may do to the folder it is unpacked into. Who calls it decides
//! as whom: the monitor calls it inside the container's user namespace, after a chroot. It must be
//! safe without either, so every path is resolved beneath a descriptor and the chroot is a second
//! wall, not the only one. `oci` reads images in layers; `registry` is where they come from, and only
//! the daemon has it.

mod acl;
mod compression;
mod error;
mod header;
mod limits;
mod lzo;
mod lzop;
pub mod oci;
mod pack;
mod pax;
mod place;
#[cfg(feature = "registry")]
pub mod registry;
mod remove;
mod sparse;
mod tape;
mod unpack;
mod whiteout;

pub use compression::{Compression, Compressor};
pub use error::{Refusal, UnpackError};
pub use limits::{Limits, Progress, Summary};
pub use pack::{Event, Excludes, Owners, PackError, Packed, Packer};
pub use unpack::{find, make_folder, unpack};
