//! Second factors: which a user has, ending a lock, forgetting them with their user. Checking one is
//! PVE's. The file is JSON; what is not ours in it stays as it is.

use std::path::PathBuf;

use openapi::UserId;
use serde_json::Value;

use super::EditError;
use crate::access::keys::optional;
use crate::atomic;
use crate::cluster_lock::ClusterLock;
use crate::layout::Root;

const LOCK: &str = "file-priv_tfa_cfg";

fn path(root: &Root) -> PathBuf {
    root.etc_pve().join("priv/tfa.cfg")
}

/// An empty object if there is no file.
fn read(root: &Root) -> Result<Value, EditError> {
    let path = path(root);
    let text = optional(&path)?.filter(|text| !text.trim().is_empty());
    let Some(text) = text else { return Ok(Value::Object(serde_json::Map::new())) };
    serde_json::from_str(&text).map_err(|_| EditError::TfaFile(path))
}

fn write(root: &Root, file: &Value) -> Result<(), EditError> {
    Ok(atomic::write(&path(root), 0o600, file.to_string().as_bytes())?)
}

/// The kinds of second factor that `user` has at least one of.
pub fn factors_of(root: &Root, user: &UserId) -> Result<Vec<String>, EditError> {
    let file = read(root)?;
    let Some(Value::Object(factors)) = file.pointer(&pointer(user)) else { return Ok(Vec::new()) };
    let is_there = |value: &Value| match value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(keys) => !keys.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    Ok(factors.iter().filter(|(_, value)| is_there(value)).map(|(kind, _)| kind.clone()).collect())
}

/// Forget that `user` guessed wrong too often. Whether there was anything to forget.
pub fn unlock(root: &Root, user: &UserId) -> Result<bool, EditError> {
    let _lock = ClusterLock::take(root, LOCK)?;
    let mut file = read(root)?;
    let Some(Value::Object(factors)) = file.pointer_mut(&pointer(user)) else { return Ok(false) };
    let locked = ["totp-locked", "tfa-locked-until"].map(|key| factors.remove(key).is_some());
    let was_locked = locked.contains(&true);
    if was_locked {
        write(root, &file)?;
    }
    Ok(was_locked)
}

/// The user's part of the file (RFC 6901: a slash and a tilde in a name are escaped).
fn pointer(user: &UserId) -> String {
    format!("/users/{}", user.as_str().replace('~', "~0").replace('/', "~1"))
}

pub(super) fn forget(root: &Root, user: &UserId) -> Result<(), EditError> {
    let _lock = ClusterLock::take(root, LOCK)?;
    let mut file = read(root)?;
    let users = file.get_mut("users").and_then(Value::as_object_mut);
    match users.and_then(|users| users.remove(user.as_str())) {
        Some(_) => write(root, &file),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_factors_and_ends_a_lock_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        let (alice, bob) = ("alice@pve".parse().unwrap(), "bob@pve".parse().unwrap());
        assert_eq!(factors_of(&root, &alice).unwrap(), [""; 0]);
        assert!(!unlock(&root, &alice).unwrap());
        fs_err::create_dir_all(root.etc_pve().join("priv")).unwrap();
        let text = r#"{"users":{"alice@pve":{"totp":[{"id":1}],"u2f":[],"recovery":{"a":1},
            "totp-locked":true,"foreign":7}},"webauthn":{"id":"x"}}"#;
        fs_err::write(path(&root), text).unwrap();

        assert_eq!(factors_of(&root, &alice).unwrap(), ["recovery", "totp"]);
        assert!(unlock(&root, &alice).unwrap() && !unlock(&root, &alice).unwrap());
        assert!(!unlock(&root, &bob).unwrap());
        let file = read(&root).unwrap();
        assert_eq!(file["users"]["alice@pve"]["foreign"], 7);
        assert_eq!(file["webauthn"]["id"], "x");
    }
}
