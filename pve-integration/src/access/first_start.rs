//! What a root of our own needs before anybody can log in. Every step looks first and never
//! overwrites, so a start that was killed half-way is completed by the next one. On a PVE node all
//! of it is the cluster's, and nothing is written.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use openapi::{NodeName, TokenId};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::keys::{self, KeyError, optional};
use super::secrets::TokenSecrets;
use super::user_config::UserConfig;
use super::{Realms, is_cluster};
use crate::atomic;
use crate::layout::Root;

/// The token that gets its owner in before there is any password.
const TOKEN: &str = "root@pam!lxcri";

const STORAGE: &str = "dir: local\n\tpath /var/lib/vz\n\
    \tcontent iso,vztmpl,backup,rootdir,images,snippets,import\n";

/// Whose `etc/pve` it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstStart {
    /// A PVE node's: used as it is.
    Cluster,
    /// Ours. The file holds `root@pam!lxcri=SECRET`; none if that token was taken away.
    Own { token: Option<PathBuf> },
}

#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    #[error(
        "this is a PVE node, but its cluster filesystem is not mounted; is pve-cluster running?"
    )]
    ClusterDown,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// Lay out `etc/pve` for `node`, as far as it is missing.
pub fn first_start(root: &Root, node: &NodeName) -> Result<FirstStart, FirstStartError> {
    if is_cluster(root) {
        return Ok(FirstStart::Cluster);
    }
    // Files below the mount point would keep it from being mounted.
    if root.below("/var/lib/pve-cluster/config.db").exists() {
        return Err(FirstStartError::ClusterDown);
    }
    directory(&root.etc_pve(), 0o755)?;
    directory(&root.etc_pve().join("priv"), 0o700)?;
    directory(&root.lxc_configs(node), 0o755)?;

    unless_there(&root.domains_cfg(), 0o640, || Realms::parse("").to_string())?;
    unless_there(&root.storage_cfg(), 0o640, || STORAGE.to_owned())?;
    unless_there(&root.user_cfg(), 0o640, || {
        UserConfig::parse(&format!("user:root@pam:1:0:\ntoken:{TOKEN}:0:0:first start:"))
            .to_string()
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    keys::keep(root, now)?;
    Ok(FirstStart::Own { token: token(root)? })
}

/// The secret of the token, if there is such a token, and the file for its owner.
fn token(root: &Root) -> io::Result<Option<PathBuf>> {
    let id: TokenId = TOKEN.parse().expect("it is a token's id");
    let config = UserConfig::parse(&optional(&root.user_cfg())?.unwrap_or_default());
    if config.find_token(&id).is_none() {
        return Ok(None);
    }
    let mut tokens = TokenSecrets::parse(&optional(&root.token_cfg())?.unwrap_or_default());
    if tokens.get(&id).is_none() {
        tokens.insert(id.clone(), SecretString::from(Uuid::new_v4().to_string()));
        let file = tokens.to_file();
        atomic::write(&root.token_cfg(), 0o600, file.expose_secret().as_bytes())?;
    }
    let path = root.first_token();
    if let (Some(secret), false) = (tokens.get(&id), path.exists()) {
        let line = SecretString::from(format!("{TOKEN}={}\n", secret.expose_secret()));
        if let Some(folder) = path.parent() {
            directory(folder, 0o755)?;
        }
        atomic::write(&path, 0o600, line.expose_secret().as_bytes())?;
    }
    Ok(Some(path))
}

fn directory(path: &Path, mode: u32) -> io::Result<()> {
    let failed = |err: io::Error| {
        io::Error::new(err.kind(), format!("unable to create '{}' - {err}", path.display()))
    };
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)
}

fn unless_there(path: &Path, mode: u32, text: impl FnOnce() -> String) -> io::Result<()> {
    if path.exists() { Ok(()) } else { atomic::write(path, mode, text().as_bytes()) }
}

#[cfg(test)]
mod tests;
