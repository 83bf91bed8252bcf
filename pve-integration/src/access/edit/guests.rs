//! What `user.cfg` says of a guest or a storage that is no more.

use openapi::{StorageId, Vmid};

use super::{Edit, EditError};
use crate::layout::Root;

/// What was granted on it, and its place in a pool: the next guest of that number is another's.
pub fn forget_guest(root: &Root, vmid: Vmid) -> Result<(), EditError> {
    let run = || {
        let mut edit = Edit::open(root)?;
        let vms = edit.config.acl.children.get_mut("vms");
        let granted = vms.and_then(|vms| vms.children.remove(&vmid.to_string())).is_some();
        let mut pooled = false;
        for pool in edit.config.pools.values_mut() {
            pooled |= pool.vms.remove(&u64::from(vmid.get()));
        }
        if granted || pooled { edit.save() } else { Ok(()) }
    };
    let what = format!("access permissions cleanup for VM {vmid} failed");
    run().map_err(|cause| EditError::during(what, cause))
}

/// As of a guest: the next storage of that name may be another's.
pub fn forget_storage(root: &Root, storage: &StorageId) -> Result<(), EditError> {
    let run = || {
        let mut edit = Edit::open(root)?;
        let storages = edit.config.acl.children.get_mut("storage");
        let granted =
            storages.and_then(|storages| storages.children.remove(&storage.to_string())).is_some();
        let mut pooled = false;
        for pool in edit.config.pools.values_mut() {
            pooled |= pool.storage.remove(storage.as_str());
        }
        if granted || pooled { edit.save() } else { Ok(()) }
    };
    let what = format!("access permissions cleanup for storage {storage} failed");
    run().map_err(|cause| EditError::during(what, cause))
}
