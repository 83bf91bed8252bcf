//! Changing who there is and who may do what: `user.cfg` and the files of secrets beside it, under
//! PVE's locks, each written at once. What a change is called when it fails is PVE's wording; who
//! may ask for it is the server's business. Upstream: pve-access-control, `src/PVE/API2/`.

mod acl;
mod error;
mod groups;
mod guests;
mod passwords;
mod pools;
mod realms;
mod roles;
mod tfa;
mod tokens;
mod users;

use openapi::{TokenId, UserId};
use secrecy::ExposeSecret;

use super::keys::optional;
use super::secrets::TokenSecrets;
use super::{Token, User, UserConfig};
use crate::atomic;
use crate::cluster_lock::ClusterLock;
use crate::layout::Root;

pub use self::acl::{AclChange, change_acl, is_acl_path};
pub use self::error::EditError;
pub use self::groups::{create_group, delete_group, update_group};
pub use self::guests::{forget_guest, forget_storage};
pub use self::passwords::{authenticate, set_password};
pub use self::pools::{
    Inventory, PoolChange, add_guest_to_pool, change_pool, create_pool, delete_pool,
};
pub use self::realms::{RealmChange, create_realm, delete_realm, update_realm};
pub use self::roles::{create_role, delete_role, update_role};
pub use self::tfa::{factors_of, unlock};
pub use self::tokens::{NewToken, TokenChange, change_token, create_token, delete_token};
pub use self::users::{NewUser, UserChange, create_user, delete_user, update_user};

/// `user.cfg`, locked. Synchronous on purpose: it must not be held across an `.await`.
struct Edit<'a> {
    root: &'a Root,
    config: UserConfig,
    _lock: ClusterLock,
}

impl<'a> Edit<'a> {
    fn open(root: &'a Root) -> Result<Self, EditError> {
        let lock = ClusterLock::take(root, "file-user_cfg")?;
        let config = UserConfig::parse(&optional(&root.user_cfg())?.unwrap_or_default());
        Ok(Self { root, config, _lock: lock })
    }

    fn save(&self) -> Result<(), EditError> {
        let text = self.config.to_string();
        Ok(atomic::write(&self.root.user_cfg(), 0o640, text.as_bytes())?)
    }
}

/// Lock, read, change, write. `what` is said before the reason of a failure.
fn edit<T>(
    root: &Root,
    what: impl Into<String>,
    change: impl FnOnce(&mut Edit<'_>) -> Result<T, EditError>,
) -> Result<T, EditError> {
    let run = || {
        let mut edit = Edit::open(root)?;
        let done = change(&mut edit)?;
        edit.save()?;
        Ok(done)
    };
    run().map_err(|cause| EditError::during(what, cause))
}

/// Change `token.cfg`.
fn edit_secrets(root: &Root, change: impl FnOnce(&mut TokenSecrets)) -> Result<(), EditError> {
    let _lock = ClusterLock::take(root, "file-priv_token_cfg")?;
    let mut secrets = TokenSecrets::parse(&optional(&root.token_cfg())?.unwrap_or_default());
    change(&mut secrets);
    let file = secrets.to_file();
    Ok(atomic::write(&root.token_cfg(), 0o600, file.expose_secret().as_bytes())?)
}

impl UserConfig {
    /// A user that has to be there.
    pub fn existing_user(&self, user: &UserId) -> Result<&User, EditError> {
        self.users.get(user).ok_or_else(|| EditError::NoSuchUser(user.clone()))
    }

    /// A token that has to be there, and its user.
    pub fn existing_token(&self, token: &TokenId) -> Result<&Token, EditError> {
        let user = self.existing_user(token.user())?;
        user.tokens.get(token.name()).ok_or_else(|| EditError::NoSuchToken(token.clone()))
    }

    fn existing_token_mut(&mut self, token: &TokenId) -> Result<&mut Token, EditError> {
        self.existing_token(token)?;
        let user = self.users.get_mut(token.user());
        let found = user.and_then(|user| user.tokens.get_mut(token.name()));
        found.ok_or_else(|| EditError::NoSuchToken(token.clone()))
    }
}

#[cfg(test)]
mod tests;
