//! PVE's privileges. Which roles hold them and who holds the roles is `pve_integration::access`.

use std::fmt;
use std::str::FromStr;

use crate::wire_text::wire_text;

/// Spell each privilege once.
macro_rules! privileges {
    ($($variant:ident = $text:literal,)*) => {
        /// One right, as PVE 9.2 names it (pve-access-control, `src/PVE/AccessControl.pm`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Privilege {
            $($variant,)*
        }

        impl Privilege {
            /// All of them, sorted as text.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl FromStr for Privilege {
            type Err = InvalidPrivilege;

            fn from_str(text: &str) -> Result<Self, InvalidPrivilege> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(InvalidPrivilege(text.to_owned())),
                }
            }
        }
    };
}

privileges! {
    DatastoreAllocate = "Datastore.Allocate",
    DatastoreAllocateSpace = "Datastore.AllocateSpace",
    DatastoreAllocateTemplate = "Datastore.AllocateTemplate",
    DatastoreAudit = "Datastore.Audit",
    GroupAllocate = "Group.Allocate",
    MappingAudit = "Mapping.Audit",
    MappingModify = "Mapping.Modify",
    MappingUse = "Mapping.Use",
    PermissionsModify = "Permissions.Modify",
    PoolAllocate = "Pool.Allocate",
    PoolAudit = "Pool.Audit",
    RealmAllocate = "Realm.Allocate",
    RealmAllocateUser = "Realm.AllocateUser",
    SdnAllocate = "SDN.Allocate",
    SdnAudit = "SDN.Audit",
    SdnUse = "SDN.Use",
    SysAccessNetwork = "Sys.AccessNetwork",
    SysAudit = "Sys.Audit",
    SysConsole = "Sys.Console",
    SysIncoming = "Sys.Incoming",
    SysModify = "Sys.Modify",
    SysPowerMgmt = "Sys.PowerMgmt",
    SysSyslog = "Sys.Syslog",
    UserModify = "User.Modify",
    VmAllocate = "VM.Allocate",
    VmAudit = "VM.Audit",
    VmBackup = "VM.Backup",
    VmClone = "VM.Clone",
    VmConfigCdrom = "VM.Config.CDROM",
    VmConfigCpu = "VM.Config.CPU",
    VmConfigCloudinit = "VM.Config.Cloudinit",
    VmConfigDisk = "VM.Config.Disk",
    VmConfigHwType = "VM.Config.HWType",
    VmConfigMemory = "VM.Config.Memory",
    VmConfigNetwork = "VM.Config.Network",
    VmConfigOptions = "VM.Config.Options",
    VmConsole = "VM.Console",
    VmGuestAgentAudit = "VM.GuestAgent.Audit",
    VmGuestAgentFileRead = "VM.GuestAgent.FileRead",
    VmGuestAgentFileSystemMgmt = "VM.GuestAgent.FileSystemMgmt",
    VmGuestAgentFileWrite = "VM.GuestAgent.FileWrite",
    VmGuestAgentUnrestricted = "VM.GuestAgent.Unrestricted",
    VmMigrate = "VM.Migrate",
    VmPowerMgmt = "VM.PowerMgmt",
    VmReplicate = "VM.Replicate",
    VmSnapshot = "VM.Snapshot",
    VmSnapshotRollback = "VM.Snapshot.Rollback",
}

/// No privilege of PVE's. The message is PVE's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid privilege '{0}'")]
pub struct InvalidPrivilege(String);

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

wire_text!(Privilege, "A right, say VM.Audit", None);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_reads_back() {
        for privilege in Privilege::ALL {
            assert_eq!(privilege.as_str().parse(), Ok(*privilege));
        }
    }

    #[test]
    fn the_list_is_sorted_and_complete() {
        let names: Vec<_> = Privilege::ALL.iter().map(|privilege| privilege.as_str()).collect();
        assert!(names.is_sorted());
        assert_eq!(names.len(), 47);
    }

    #[test]
    fn rejects_what_pve_does_not_know() {
        assert_eq!("vm.audit".parse::<Privilege>(), Err(InvalidPrivilege("vm.audit".into())));
    }
}
