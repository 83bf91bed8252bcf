//! Images from registries (the OCI distribution specification), written as one archive.
//!
//! A registry is a stranger: every answer has a bound, every blob is compared with its digest, and
//! what it may redirect to is encrypted unless it is on this machine. `oci-client` is not used, as
//! it reads manifests, lists of tags and tokens into memory however long they are.

mod archive;
mod auth;
mod connection;
mod error;
mod pull;
mod tags;

pub use connection::Registry;
pub use error::RegistryError;
pub use pull::Pulled;
