//! The roles that every PVE has. Upstream builds them from groups of privileges per category
//! (pve-access-control, `src/PVE/AccessControl.pm`), and so do we, as a new privilege then finds
//! its way into the same roles. Roles of the installation are `user_config`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use openapi::Privilege::{self, *};

pub type Privileges = BTreeSet<Privilege>;

/// One category's privileges by who is meant to have them. What only root may do is in none of
/// the grouped roles, hence not listed: it is in `Administrator`, which has everything.
struct Category {
    name: &'static str,
    admin: &'static [Privilege],
    user: &'static [Privilege],
    audit: &'static [Privilege],
}

const CATEGORIES: &[Category] = &[
    Category {
        name: "VM",
        admin: &[
            VmConfigDisk,
            VmConfigCpu,
            VmConfigMemory,
            VmConfigNetwork,
            VmConfigHwType,
            VmConfigOptions,
            VmAllocate,
            VmClone,
            VmGuestAgentUnrestricted,
            VmMigrate,
            VmReplicate,
            VmSnapshot,
            VmSnapshotRollback,
        ],
        user: &[
            VmConfigCdrom,
            VmConfigCloudinit,
            VmConsole,
            VmBackup,
            VmGuestAgentFileRead,
            VmGuestAgentFileSystemMgmt,
            VmGuestAgentFileWrite,
            VmPowerMgmt,
        ],
        audit: &[VmAudit, VmGuestAgentAudit],
    },
    Category { name: "Sys", admin: &[SysConsole, SysSyslog], user: &[], audit: &[SysAudit] },
    Category {
        name: "Datastore",
        admin: &[DatastoreAllocate, DatastoreAllocateTemplate],
        user: &[DatastoreAllocateSpace],
        audit: &[DatastoreAudit],
    },
    Category { name: "SDN", admin: &[SdnAllocate, SdnAudit], user: &[SdnUse], audit: &[SdnAudit] },
    Category {
        name: "User",
        admin: &[UserModify, GroupAllocate, RealmAllocateUser],
        user: &[],
        audit: &[],
    },
    Category { name: "Pool", admin: &[PoolAllocate], user: &[PoolAudit], audit: &[PoolAudit] },
    Category {
        name: "Mapping",
        admin: &[MappingModify],
        user: &[MappingUse],
        audit: &[MappingAudit],
    },
];

/// The roles nobody can change, by name.
pub fn builtin() -> &'static BTreeMap<String, Privileges> {
    static ROLES: LazyLock<BTreeMap<String, Privileges>> = LazyLock::new(build);
    &ROLES
}

fn build() -> BTreeMap<String, Privileges> {
    let mut roles = BTreeMap::<String, Privileges>::new();
    for Category { name, admin, user, audit } in CATEGORIES {
        let mut add = |role: String, groups: &[&[Privilege]]| {
            roles.entry(role).or_default().extend(groups.concat());
        };
        add(format!("PVE{name}Admin"), &[admin, user, audit]);
        add("PVEAdmin".into(), &[admin, user, audit]);
        if !user.is_empty() {
            add(format!("PVE{name}User"), &[user, audit]);
        }
        add("PVEAuditor".into(), &[audit]);
    }
    // Mappings reach the host's hardware; upstream leaves them to Administrator for now.
    if let Some(admin) = roles.get_mut("PVEAdmin") {
        admin.remove(&MappingModify);
    }
    roles.insert("PVETemplateUser".into(), [VmClone, VmAudit].into());
    roles.insert("NoAccess".into(), Privileges::new());
    roles.insert("Administrator".into(), Privilege::ALL.iter().copied().collect());
    roles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_pves() {
        let table: String = builtin()
            .iter()
            .map(|(role, privileges)| {
                let names: Vec<_> = privileges.iter().map(|p| p.as_str()).collect();
                format!("{role}: {}\n", names.join(" "))
            })
            .collect();
        insta::assert_snapshot!(table);
    }
}
