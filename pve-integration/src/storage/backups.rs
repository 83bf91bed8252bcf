//! The backups on a storage: what each is, and which of them may go.

use std::collections::BTreeMap;

use openapi::{Vmid, VolumeId};

use super::{ContentType, DirStorage, StorageError};
use crate::local_time;
use crate::vzdump::{ArchiveInfo, BackupKind, Mark, Retention, mark};

/// A backup, and what a rule says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub volid: VolumeId,
    pub kind: BackupKind,
    pub vmid: Option<Vmid>,
    /// Epoch seconds, from its name if that has them.
    pub ctime: i64,
    pub mark: Mark,
}

impl DirStorage {
    /// By name. A guest's and a kind's alone, if they are given.
    pub fn marked_backups(
        &self,
        keep: &Retention,
        vmid: Option<Vmid>,
        kind: Option<&str>,
    ) -> Vec<Backup> {
        let mut backups = Vec::new();
        let mut groups: BTreeMap<(BackupKind, Vmid), Vec<usize>> = BTreeMap::new();
        for content in self.list(ContentType::Backup) {
            let name = content.volid.name().trim_start_matches("backup/").to_owned();
            let info = ArchiveInfo::of(&name);
            let owner = info.standard.map(|standard| standard.vmid).or(content.vmid);
            let other_guest = vmid.is_some_and(|vmid| owner != Some(vmid));
            if other_guest || kind.is_some_and(|kind| kind != info.kind.as_str()) {
                continue;
            }
            if let Some(standard) = info.standard {
                groups.entry((info.kind, standard.vmid)).or_default().push(backups.len());
            }
            let mark = match info.standard {
                _ if content.protected => Some(Mark::Protected),
                None => Some(Mark::Renamed),
                Some(_) => None,
            };
            backups.push((content.volid, info.kind, owner, content.ctime, mark));
        }
        for places in groups.values() {
            let mut group: Vec<_> =
                places.iter().map(|place| (backups[*place].3, backups[*place].4)).collect();
            mark(&mut group, keep, &local_time::zone());
            for (place, (_, mark)) in places.iter().zip(group) {
                backups[*place].4 = mark;
            }
        }
        let backup = |(volid, kind, vmid, ctime, mark): (_, _, _, _, Option<Mark>)| Backup {
            volid,
            kind,
            vmid,
            ctime,
            mark: mark.unwrap_or(Mark::Keep),
        };
        backups.into_iter().map(backup).collect()
    }

    /// Removes what is marked so, and tells of each before and of each that stays although it should
    /// not. Whether all went.
    pub fn prune(
        &self,
        backups: &[Backup],
        mut tell: impl FnMut(&VolumeId, Option<StorageError>),
    ) -> bool {
        let mut all = true;
        for backup in backups.iter().filter(|backup| backup.mark == Mark::Remove) {
            tell(&backup.volid, None);
            if let Err(err) = self.remove(&backup.volid) {
                tell(&backup.volid, Some(err));
                all = false;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::super::StorageConfig;
    use super::*;
    use crate::layout::Root;

    #[test]
    fn only_what_vzdump_named_goes_and_each_guest_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        let local = StorageConfig::parse("").dir(
            &root,
            &"pve1".parse().unwrap(),
            &"local".parse().unwrap(),
        );
        let local = local.unwrap();
        local.activate().unwrap();
        let dump = local.folder(ContentType::Backup);
        for name in [
            "vzdump-lxc-100-2026_01_01-00_00_00.tar",
            "vzdump-lxc-100-2026_01_02-00_00_00.tar.zst",
            "vzdump-lxc-100-2026_01_03-00_00_00.tar.zst",
            "vzdump-lxc-100-mine.tar",
            "vzdump-lxc-101-2026_01_01-00_00_00.tar",
        ] {
            fs::write(dump.join(name), "x").unwrap();
        }
        fs::write(dump.join("vzdump-lxc-100-2026_01_01-00_00_00.tar.protected"), "").unwrap();
        let keep = Retention::parse("keep-last=1").unwrap();

        let all = local.marked_backups(&keep, None, None);
        let marks: Vec<_> = all.iter().map(|backup| backup.mark).collect();
        assert_eq!(marks, [Mark::Protected, Mark::Remove, Mark::Keep, Mark::Renamed, Mark::Keep]);
        assert_eq!(local.marked_backups(&keep, Some("101".parse().unwrap()), None).len(), 1);
        assert!(local.marked_backups(&keep, None, Some("qemu")).is_empty());

        let mut told = Vec::new();
        assert!(local.prune(&all, |volid, err| told.push((volid.to_string(), err.is_some()))));
        let gone = "local:backup/vzdump-lxc-100-2026_01_02-00_00_00.tar.zst".to_owned();
        assert_eq!(told, [(gone, false)]);
        assert_eq!(local.list(ContentType::Backup).len(), 4);
    }
}
