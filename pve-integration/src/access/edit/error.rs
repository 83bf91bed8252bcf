//! Why nothing was changed, in PVE's words.

use std::io;

use openapi::{StorageId, TokenId, UserId, Vmid};

use crate::access::password::PasswordError;
use crate::access::permissions::Denied;
use crate::cluster_lock::LockError;

#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("{what}: {cause}")]
    During { what: String, cause: Box<EditError> },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("user '{0}' already exists")]
    UserExists(UserId),
    #[error("no such user ('{0}')")]
    NoSuchUser(UserId),
    #[error("Token already exists.")]
    TokenExists,
    #[error("no such token '{}' for user '{}'", .0.name(), .0.user())]
    NoSuchToken(TokenId),
    #[error("no such group '{0}'")]
    NoSuchGroup(String),
    /// Of a user, group, role or pool, where PVE says it this way.
    #[error("{kind} '{name}' already exists")]
    Exists { kind: &'static str, name: String },
    #[error("{kind} '{name}' does not exist")]
    Missing { kind: &'static str, name: String },
    #[error("auto-generated role '{role}' cannot be {what}")]
    BuiltinRole { role: String, what: &'static str },
    #[error("parent '{parent}' of pool '{pool}' does not exist")]
    NoParentPool { parent: String, pool: String },
    #[error("pool name must start with a letter")]
    PoolName,
    #[error("pool '{pool}' is not empty (contains {member})")]
    PoolNotEmpty { pool: String, member: String },
    #[error("VM {0} is not a pool member")]
    GuestNotMember(Vmid),
    #[error("VM {0} is already a pool member")]
    GuestIsMember(Vmid),
    #[error("VM {vmid} belongs already to pool '{pool}' and 'allow-move' is not set")]
    GuestInOtherPool { vmid: Vmid, pool: String },
    #[error("Storage '{0}' is not a pool member")]
    StorageNotMember(StorageId),
    #[error("Storage '{0}' is already a pool member")]
    StorageIsMember(StorageId),
    #[error("auth domain '{0}' does not exist")]
    NoSuchRealm(String),
    #[error("unable to create builtin type '{0}'")]
    BuiltinRealm(String),
    #[error("missing value for required option '{0}'")]
    RealmOption(&'static str),
    #[error("section '{realm}' - missing value for required option '{missing}'")]
    RealmIncomplete { realm: String, missing: &'static str },
    #[error("unexpected property '{0}'")]
    RealmProperty(String),
    /// What upstream says of a change to a realm that is not there.
    #[error("cannot lookup undefined type!")]
    NoRealmKind,
    #[error("'check-connection' parameter can only be set for realms of type 'ldap' or 'ad'")]
    ConnectionOfRealmKind,
    #[error("this daemon asks no directory server, 'check-connection' needs a PVE node")]
    NoDirectoryClient,
    #[error("no options specified")]
    NoOptions,
    #[error("detected modified configuration - file changed by other user? Try again.")]
    Modified,
    #[error("can't set password on auth type '{0}'")]
    RealmKind(String),
    /// What usermod(8) says, without its name before it, as PVE passes it on.
    #[error("change password failed: {0}")]
    SystemPassword(String),
    #[error("passwords of realm '{0}' can only be checked on a PVE node")]
    ForeignRealm(String),
    #[error("no password set")]
    NoPassword,
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// PVE prints an exception that is raised under the lock, with its code, into the message.
    #[error("400 Parameter verification failed.\n{name}: {text}\n")]
    Param { name: &'static str, text: String },
    #[error("{code}{0}", code = if .0.is_permission() { "403 " } else { "" })]
    Denied(#[from] Denied),
    #[error("'{0}' is no JSON, and nothing is changed before it is")]
    TfaFile(std::path::PathBuf),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl EditError {
    pub(super) fn during(what: impl Into<String>, cause: Self) -> Self {
        Self::During { what: what.into(), cause: Box::new(cause) }
    }

    pub(super) fn missing(kind: &'static str, name: &str) -> Self {
        Self::Missing { kind, name: name.to_owned() }
    }
}
