//! Second factors, of which all we do is forget them with their user.

use openapi::UserId;
use serde_json::Value;

use super::EditError;
use crate::access::keys::optional;
use crate::atomic;
use crate::cluster_lock::ClusterLock;
use crate::layout::Root;

pub(super) fn forget(root: &Root, user: &UserId) -> Result<(), EditError> {
    let path = root.etc_pve().join("priv/tfa.cfg");
    let _lock = ClusterLock::take(root, "file-priv_tfa_cfg")?;
    let Some(text) = optional(&path)?.filter(|text| !text.trim().is_empty()) else {
        return Ok(());
    };
    let mut file: Value =
        serde_json::from_str(&text).map_err(|_| EditError::TfaFile(path.clone()))?;
    let users = file.get_mut("users").and_then(Value::as_object_mut);
    match users.and_then(|users| users.remove(user.as_str())) {
        Some(_) => Ok(atomic::write(&path, 0o600, file.to_string().as_bytes())?),
        None => Ok(()),
    }
}
