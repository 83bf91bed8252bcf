//! How fast archives are read and volumes are copied.

use openapi::{Privilege, StorageId};
use pve_integration::bandwidth::{Limits, limit_of};
use pve_integration::datacenter::Datacenter;
use pve_integration::storage::StorageConfig;

use crate::extract::Caller;

/// Who asks, and what was settled.
pub(super) struct Limited<'a> {
    pub(super) caller: &'a Caller,
    pub(super) storages: &'a StorageConfig,
    pub(super) datacenter: &'a Datacenter,
}

impl Limited<'_> {
    /// KiB a second for an operation, PVE's word for it, on the storages that take part. Whoever could
    /// change a limit is not bound by it, once they ask for another.
    pub(super) fn of(
        &self,
        operation: &str,
        used: &[StorageId],
        asked: Option<f64>,
    ) -> Option<f64> {
        let free = |privilege, path: &str| asked.is_some() && self.caller.may(privilege, path);
        if free(Privilege::DatastoreAllocate, "/storage") && !used.is_empty() {
            return asked;
        }
        let bound = used.iter().filter(|id| {
            let path = format!("/storage/{id}");
            !free(Privilege::DatastoreAllocate, &path)
        });
        let of = |id: &StorageId| limit_of(self.storages.get(id).ok()?.get("bwlimit")?, operation);
        let mut own: Vec<_> = bound.map(of).collect();
        if used.is_empty() {
            own.push(None);
        }
        let bound = !free(Privilege::SysModify, "/");
        let datacenter = self.datacenter.bwlimit().filter(|_| bound);
        let datacenter = datacenter.and_then(|text| limit_of(text, operation));
        Limits { storages: own, datacenter }.applied_to(asked)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pve_integration::access::Access;
    use pve_integration::layout::Root;
    use rstest::rstest;

    use super::*;

    /// joe may change the storage slow, ann all of them, sam the data centre.
    const USERS: &str = "user:root@pam:1:0:::::\nuser:joe@pve:1:0:::::\nuser:ann@pve:1:0:::::\n\
        user:sam@pve:1:0:::::\n\n\n\n\nacl:1:/storage/slow:joe@pve:PVEDatastoreAdmin:\n\
        acl:1:/storage:ann@pve:PVEDatastoreAdmin:\nacl:0:/:sam@pve:Administrator:\n";
    const STORAGES: &str = "dir: slow\n\tpath /slow\n\tbwlimit restore=10,default=1\n\n\
        dir: free\n\tpath /free\n";

    #[rstest]
    #[case::storages_own("joe@pve", &["slow"], None, Some(10.0))]
    #[case::centres("joe@pve", &["slow", "free"], None, Some(10.0))]
    #[case::centres_alone("joe@pve", &["free"], None, Some(50.0))]
    #[case::over_a_storage("joe@pve", &["slow"], Some(99.0), Some(99.0))]
    #[case::not_over_the_centre("joe@pve", &["slow", "free"], Some(99.0), Some(50.0))]
    #[case::over_all("ann@pve", &["slow", "free"], Some(0.0), Some(0.0))]
    #[case::over_the_centre("sam@pve", &["free"], Some(99.0), Some(99.0))]
    #[case::paths_only("joe@pve", &[], Some(99.0), Some(50.0))]
    #[case::root("root@pam", &["slow"], Some(99.0), Some(99.0))]
    fn binds_whoever_cannot_change_it(
        #[case] who: &str,
        #[case] used: &[&str],
        #[case] asked: Option<f64>,
        #[case] expected: Option<f64>,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        fs_err::create_dir_all(root.etc_pve()).unwrap();
        fs_err::write(root.etc_pve().join("user.cfg"), USERS).unwrap();
        fs_err::write(root.etc_pve().join("storage.cfg"), STORAGES).unwrap();
        let access = Arc::new(Access::read(&root).unwrap());
        let caller = Caller::proved(who.parse().unwrap(), access);
        let storages = StorageConfig::read(&root).unwrap();
        let used: Vec<_> = used.iter().map(|id| id.parse().unwrap()).collect();
        let datacenter = Datacenter::parse("bwlimit: default=50\n");

        let limited = Limited { caller: &caller, storages: &storages, datacenter: &datacenter };
        assert_eq!(limited.of("restore", &used, asked), expected);
    }
}
