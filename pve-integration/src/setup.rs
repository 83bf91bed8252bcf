//! What a root file system gets that its template cannot have: a password and keys when it is new, its
//! name, network and terminals before each start. Pure texts and plans, and the words in which the
//! daemon tells the monitor; who writes the files, and confined how, is the monitor's. As
//! `post_create_hook` and `pre_start_hook` of pve-container's `PVE/LXC/Setup/Base.pm`.

mod accounts;
mod distribution;
mod draft;
mod gentoo;
mod ifupdown;
mod init;
mod interface;
mod network;
mod networkd;
mod plan;
mod redhat;
mod section;
mod settings;
mod ssh_keys;
mod suse;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::accounts::{home_of, with_password};
pub use self::distribution::ostype_of;
pub use self::draft::{Look, Step};
pub use self::network::{HostResolver, hosts_section, resolv_conf};
pub use self::plan::{Plan, after_create, after_net_change, before_start};
pub use self::section::{Where, with_section};
pub use self::settings::{Settings, Timezone};
pub use self::ssh_keys::{InvalidSshKeys, validate_ssh_keys};

/// The ostype of which PVE touches nothing.
pub const UNMANAGED: &str = "unmanaged";

/// What only the daemon knows. It goes through a pipe, never through arguments.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Secrets {
    /// root's, as crypt(3) hashed it. Without one nobody logs in by password.
    pub password_hash: Option<String>,
    /// One a line.
    pub ssh_public_keys: Option<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}
