//! What PVE keeps beside a backup: its notes, its log, and the empty file that protects it; and the
//! rules by which a volume may be removed.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use openapi::VolumeId;

use super::{ContentType, DirStorage, StorageError, VolumeName};
use crate::atomic;

/// What is told about one volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    pub path: PathBuf,
    /// `raw`, `subvol`, `qcow2` or `vmdk`; files are `raw`.
    pub format: &'static str,
    /// Bytes as a guest sees them; 0 for a directory.
    pub size: u64,
    /// Bytes on disk.
    pub used: u64,
    /// Of a backup: its notes, maybe empty, and whether it is protected.
    pub backup: Option<(String, bool)>,
}

impl DirStorage {
    pub fn details(&self, volume: &VolumeId) -> Result<Details, StorageError> {
        use std::os::unix::fs::MetadataExt;

        let name: VolumeName = volume.name().parse()?;
        let found = self.existing(volume).map_err(|err| {
            if let StorageError::NoVolume(id) = err { StorageError::NoFormat(id) } else { err }
        })?;
        let metadata = fs::metadata(&found.path).map_err(StorageError::io("read", &found.path))?;
        let (size, used) = if metadata.is_dir() {
            (0, 0)
        } else {
            (metadata.len(), metadata.blocks().saturating_mul(512))
        };
        if size == 0 && !metadata.is_dir() {
            return Err(StorageError::SizeZero(volume.to_string()));
        }
        let backup = (name.content() == ContentType::Backup)
            .then(|| (notes(&found.path).unwrap_or_default(), is_protected(&found.path)));
        Ok(Details { path: found.path, format: found.format.as_str(), size, used, backup })
    }

    /// Empty notes are none.
    pub fn set_notes(&self, volume: &VolumeId, text: &str) -> Result<(), StorageError> {
        let Some(backup) = self.backup(volume)? else { return Err(StorageError::NotesOfBackups) };
        let path = beside(&backup, ".notes");
        if text.is_empty() {
            return gone(fs::remove_file(&path)).map_err(StorageError::io("delete notes", path));
        }
        atomic::write(&path, 0o644, text.as_bytes()).map_err(StorageError::io("write notes", path))
    }

    pub fn set_protected(&self, volume: &VolumeId, protect: bool) -> Result<(), StorageError> {
        let Some(backup) = self.backup(volume)? else {
            return Err(StorageError::AttributeOfBackups("protected"));
        };
        let path = beside(&backup, ".protected");
        if protect {
            let mut options = fs::OpenOptions::new();
            let made = options.create(true).append(true).mode(0o644).open(&path);
            made.map(drop).map_err(StorageError::io("create protection file", path))
        } else {
            gone(fs::remove_file(&path)).map_err(StorageError::io("delete protection file", path))
        }
    }

    fn backup(&self, volume: &VolumeId) -> Result<Option<PathBuf>, StorageError> {
        let name: VolumeName = volume.name().parse()?;
        let is_backup = name.content() == ContentType::Backup;
        is_backup.then(|| self.path_of(volume).map(|found| found.path)).transpose()
    }

    /// [`DirStorage::free`] by PVE's rules for what a user asks to remove: nothing protected, and
    /// with a backup goes what lies beside it. Whether there was anything.
    pub fn remove(&self, volume: &VolumeId) -> Result<bool, StorageError> {
        let backup = self.backup(volume)?;
        if backup.as_deref().is_some_and(is_protected) {
            let (name, storage) = (volume.name().to_owned(), self.id().clone());
            return Err(StorageError::Protected { name, storage });
        }
        let removed = self.free(volume)?;
        for path in backup.as_deref().map(auxiliaries).unwrap_or_default() {
            gone(fs::remove_file(&path)).map_err(StorageError::io("remove", path))?;
        }
        Ok(removed)
    }
}

pub(super) fn is_protected(backup: &Path) -> bool {
    beside(backup, ".protected").exists()
}

pub(super) fn notes(backup: &Path) -> Option<String> {
    let bytes = fs::read(beside(backup, ".notes")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The log is named as the archive is without its packing; the notes keep it.
fn auxiliaries(backup: &Path) -> Vec<PathBuf> {
    let name = backup.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match standard_stem(name) {
        Some(stem) => {
            vec![backup.with_file_name(format!("{stem}.log")), beside(backup, ".notes")]
        }
        None => Vec::new(),
    }
}

/// `vzdump-lxc-100-2026_01_31-00_00_00` of the name of a backup that vzdump named.
pub(super) fn standard_stem(name: &str) -> Option<&str> {
    let stem = name.split_once('.')?.0;
    let mut parts = stem.split('-');
    let known = parts.next() == Some("vzdump")
        && matches!(parts.next(), Some("lxc" | "qemu" | "openvz"))
        && parts.next()?.parse::<openapi::Vmid>().is_ok();
    let digits = |part: Option<&str>, shape: [usize; 3]| {
        part.is_some_and(|part| {
            let lengths: Vec<_> = part.split('_').map(str::len).collect();
            lengths == shape && part.bytes().all(|byte| byte == b'_' || byte.is_ascii_digit())
        })
    };
    let dated = digits(parts.next(), [4, 2, 2]) && digits(parts.next(), [2, 2, 2]);
    (known && dated && parts.next().is_none()).then_some(stem)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::StorageConfig;
    use super::*;
    use crate::layout::Root;

    const BACKUP: &str = "vzdump-lxc-100-2026_01_31-01_02_03.tar.zst";

    fn local(dir: &tempfile::TempDir) -> DirStorage {
        let root = Root::new(dir.path()).unwrap();
        let (node, id) = ("pve1".parse().unwrap(), "local".parse().unwrap());
        let local = StorageConfig::parse("").dir(&root, &node, &id).unwrap();
        local.activate().unwrap();
        let dump = local.folder(ContentType::Backup);
        fs::write(dump.join(BACKUP), "backup").unwrap();
        fs::write(dump.join("vzdump-lxc-100-2026_01_31-01_02_03.log"), "log").unwrap();
        local
    }

    #[test]
    fn a_backup_goes_with_its_notes_and_log_unless_it_is_protected() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);
        let volume = format!("local:backup/{BACKUP}").parse().unwrap();

        local.set_notes(&volume, "first\nsecond").unwrap();
        local.set_protected(&volume, true).unwrap();
        local.set_protected(&volume, true).unwrap();

        let details = local.details(&volume).unwrap();
        assert_eq!(details.backup, Some(("first\nsecond".to_owned(), true)));
        assert_eq!((details.format, details.size), ("raw", 6));
        let message = local.remove(&volume).unwrap_err().to_string();
        assert_eq!(message, format!("cannot remove protected volume 'backup/{BACKUP}' on 'local'"));

        local.set_protected(&volume, false).unwrap();
        assert!(local.remove(&volume).unwrap());
        assert!(!local.remove(&volume).unwrap());
        assert_eq!(fs::read_dir(local.folder(ContentType::Backup)).unwrap().count(), 0);
    }

    #[test]
    fn empty_notes_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);
        let volume = format!("local:backup/{BACKUP}").parse().unwrap();
        local.set_notes(&volume, "x").unwrap();

        local.set_notes(&volume, "").unwrap();
        local.set_notes(&volume, "").unwrap();

        assert_eq!(local.details(&volume).unwrap().backup, Some((String::new(), false)));
    }

    #[test]
    fn only_backups_have_attributes() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);
        let volume = "local:vztmpl/a.tar".parse().unwrap();

        let notes = local.set_notes(&volume, "x").unwrap_err().to_string();
        let protected = local.set_protected(&volume, true).unwrap_err().to_string();

        assert_eq!(notes, "only backups can have notes");
        assert_eq!(protected, "only backups support attribute 'protected'");
    }

    #[rstest]
    #[case::empty("vztmpl/a.tar", "volume 'local:vztmpl/a.tar' has size zero")]
    #[case::missing("vztmpl/b.tar", "volume_size_info on 'local:vztmpl/b.tar' failed - no format")]
    fn knows_no_details_of(#[case] name: &str, #[case] message: &str) {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);
        fs::write(local.folder(ContentType::Vztmpl).join("a.tar"), "").unwrap();

        let err = local.details(&format!("local:{name}").parse().unwrap()).unwrap_err();

        assert_eq!(err.to_string(), message);
    }

    #[rstest]
    #[case(BACKUP, Some("vzdump-lxc-100-2026_01_31-01_02_03"))]
    #[case::own_name("vzdump-lxc-100-mine.tar", None)]
    #[case::longer("vzdump-lxc-100-2026_01_31-01_02_03-x.tar", None)]
    #[case::no_vmid("vzdump-lxc-x-2026_01_31-01_02_03.tar", None)]
    #[case::another_tool("dump-lxc-100-2026_01_31-01_02_03.tar", None)]
    fn tells_vzdump_s_names(#[case] name: &str, #[case] stem: Option<&str>) {
        assert_eq!(standard_stem(name), stem);
    }
}
