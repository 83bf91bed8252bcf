//! What a client can see: newtypes, PVE's method table, the parameter check, answers, the document.

pub mod answer;
pub mod check;
pub mod document;
pub mod format;
pub mod parity;
pub mod property_string;
pub mod schema;

mod auth_id;
mod digest;
mod lenient;
mod node_name;
mod privilege;
mod storage_id;
mod token_id;
mod upid;
mod user_id;
mod vmid;
mod volume_id;
mod wire_text;

pub use auth_id::{AuthId, InvalidAuthId};
pub use digest::{Digest, InvalidDigest};
pub use node_name::{InvalidNodeName, NodeName};
pub use privilege::{InvalidPrivilege, Privilege};
pub use storage_id::{InvalidStorageId, StorageId};
pub use token_id::{InvalidTokenId, TokenId};
pub use upid::{InvalidUpid, Upid};
pub use user_id::{InvalidUserId, UserId};
pub use vmid::{InvalidVmid, Vmid};
pub use volume_id::{InvalidVolumeId, VolumeId};
