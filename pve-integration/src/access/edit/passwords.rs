//! Passwords of the realm `pve`. Those of other realms are kept by others.

use std::path::Path;
use std::process::{Command, Stdio};

use openapi::UserId;
use secrecy::{ExposeSecret, SecretString};

use super::EditError;
use crate::access::keys::optional;
use crate::access::password;
use crate::access::secrets::Shadow;
use crate::access::{Realm, Realms};
use crate::atomic;
use crate::cluster_lock::ClusterLock;
use crate::layout::Root;

pub(super) fn realms(root: &Root) -> Result<Realms, EditError> {
    Ok(Realms::parse(&optional(&root.domains_cfg())?.unwrap_or_default()))
}

fn realm_of<'a>(realms: &'a Realms, user: &UserId) -> Result<&'a Realm, EditError> {
    realms.get(user.realm()).ok_or_else(|| EditError::NoSuchRealm(user.realm().to_owned()))
}

/// Hashing is slow on purpose: not for an async thread.
pub fn set_password(root: &Root, user: &UserId, new: &SecretString) -> Result<(), EditError> {
    store(root, &realms(root)?, user, new)
}

pub(super) fn store(
    root: &Root,
    realms: &Realms,
    user: &UserId,
    new: &SecretString,
) -> Result<(), EditError> {
    match realm_of(realms, user)?.kind.as_str() {
        "pve" => {}
        "pam" => return set_system_password(root, user.name(), new),
        kind => return Err(EditError::RealmKind(kind.to_owned())),
    }
    let hash = password::hash(new)?;
    edit_shadow(root, |shadow| shadow.insert(user.name().to_owned(), hash))
}

/// As `store_password` of pve-access-control's `PVE/Auth/PAM.pm`. Whoever serves a directory keeps no
/// system's passwords in it.
fn set_system_password(root: &Root, name: &str, new: &SecretString) -> Result<(), EditError> {
    let failed = |text: String| Err(EditError::SystemPassword(text));
    let accounts = optional(&root.below("/etc/passwd"))?.unwrap_or_default();
    if !accounts.lines().any(|line| line.split(':').next() == Some(name)) {
        return failed(format!("user '{name}' does not exist"));
    }
    if root.prefix() != Path::new("/") {
        return failed("passwords of realm 'pam' are the system's, see passwd(1)".to_owned());
    }
    let hash = password::hash(new)?;
    let mut usermod = Command::new("/usr/sbin/usermod");
    usermod.args(["-p", hash.expose_secret(), "--", name]).stdin(Stdio::null());
    let output = usermod.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("usermod did not say why");
    failed(last.trim_start_matches("usermod:").trim().to_owned())
}

/// Whether it is this user's password, for one who is logged in already. As slow as setting one.
pub fn authenticate(root: &Root, user: &UserId, given: &SecretString) -> Result<(), EditError> {
    let realms = realms(root)?;
    if realm_of(&realms, user)?.kind != "pve" {
        return Err(EditError::ForeignRealm(user.realm().to_owned()));
    }
    let shadow = Shadow::parse(&optional(&root.shadow_cfg())?.unwrap_or_default());
    let hash = shadow.get(user.name()).ok_or(EditError::NoPassword)?;
    Ok(password::verify(given, Some(hash))?)
}

pub(super) fn forget(root: &Root, user: &UserId) -> Result<(), EditError> {
    let realms = realms(root)?;
    let ours = realms.get(user.realm()).is_some_and(|realm| realm.kind == "pve");
    if ours { edit_shadow(root, |shadow| shadow.remove(user.name())) } else { Ok(()) }
}

fn edit_shadow(root: &Root, change: impl FnOnce(&mut Shadow)) -> Result<(), EditError> {
    let _lock = ClusterLock::take(root, "file-priv_shadow_cfg")?;
    let path = root.shadow_cfg();
    let mut shadow = Shadow::parse(&optional(&path)?.unwrap_or_default());
    change(&mut shadow);
    let file = shadow.to_file();
    Ok(atomic::write(&path, 0o600, file.expose_secret().as_bytes())?)
}
