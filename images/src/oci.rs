//! Images in layers (the OCI image specification), from an archive of one: which is for this machine,
//! and its layers, one over the other, as a root filesystem.
//!
//! An archive is a stranger's: nothing is believed that has no digest, and nothing of a layer is
//! written before all of it was compared with its digest. Layers are read twice for that, never kept.

mod config;
mod error;
mod layers;
mod layout;
pub(crate) mod manifest;

pub use error::ImageError;
pub use layers::unpack;
pub use layout::{Image, Layout};
pub use manifest::DocumentError;
