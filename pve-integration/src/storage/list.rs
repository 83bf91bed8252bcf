//! What lies on a storage.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err as fs;
use openapi::{Vmid, VolumeId};

use super::attributes::{is_protected, notes};
use super::volume_name::{backup_format, template_format};
use super::{ContentType, DirStorage, VolumeFormat, VolumeName};
use crate::vzdump::ArchiveInfo;

/// A row of a storage's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub volid: VolumeId,
    /// PVE's word: `raw`, `subvol`, `tzst`, `iso`...
    pub format: &'static str,
    pub content: ContentType,
    /// Bytes as a guest sees them; 0 for a directory.
    pub size: u64,
    /// Bytes on disk.
    pub used: u64,
    /// Epoch seconds.
    pub ctime: i64,
    pub vmid: Option<Vmid>,
    /// The first line of a backup's notes.
    pub notes: Option<String>,
    /// Only backups can be.
    pub protected: bool,
}

impl DirStorage {
    /// By volume id. A content type that is not allowed here, or has no folder yet, has no rows.
    pub fn list(&self, content: ContentType) -> Vec<Content> {
        let mut rows = Vec::new();
        if !self.content().contains(&content) {
            return rows;
        }
        let folder = self.folder(content);
        match content {
            ContentType::Images | ContentType::Rootdir => {
                for guest in names(&folder).into_iter().filter(|name| name.parse::<Vmid>().is_ok())
                {
                    for name in names(&folder.join(&guest)) {
                        rows.extend(self.row(content, &format!("{guest}/{name}")));
                    }
                }
            }
            ContentType::Backup
            | ContentType::Import
            | ContentType::Iso
            | ContentType::Snippets
            | ContentType::Vztmpl => {
                for name in names(&folder) {
                    rows.extend(self.row(content, &format!("{content}/{name}")));
                }
            }
        }
        rows.sort_by(|a, b| a.volid.cmp(&b.volid));
        rows
    }

    /// `None` for what is no volume, or is going away as we look.
    fn row(&self, content: ContentType, text: &str) -> Option<Content> {
        let name: VolumeName = text.parse().ok()?;
        let path = name.path_in(&self.folder(content));
        let metadata = fs::metadata(&path).ok()?;
        let is_subvol = name.format() == VolumeFormat::Subvol;
        if metadata.is_dir() != is_subvol {
            return None;
        }
        // PVE asks its list of guests whose volume it is. The format tells as well: containers
        // have raw images and directories, and this daemon has no machines.
        let of_machine = matches!(name.format(), VolumeFormat::Qcow2 | VolumeFormat::Vmdk);
        match (content, &name) {
            (ContentType::Images, _) if !of_machine => return None,
            (ContentType::Rootdir, _) if of_machine => return None,
            _ => {}
        }
        let format = match &name {
            VolumeName::Image { format, .. } => format.as_str(),
            VolumeName::File { name, .. } => file_format(content, name),
        };
        let backup = (content == ContentType::Backup).then_some(path.as_path());
        let notes = backup.and_then(notes);
        Some(Content {
            notes: notes.and_then(|notes| Some(notes.lines().next()?.to_owned())),
            protected: backup.is_some_and(is_protected),
            volid: self.volume_id(text),
            format,
            content,
            size: if is_subvol { 0 } else { metadata.size() },
            used: if is_subvol { 0 } else { metadata.blocks().saturating_mul(512) },
            ctime: backup.and_then(named_time).unwrap_or_else(|| metadata.ctime()),
            vmid: name.owner(),
        })
    }
}

/// When vzdump began, by the name it gave.
fn named_time(backup: &Path) -> Option<i64> {
    let name = backup.file_name()?.to_str()?;
    Some(ArchiveInfo::of(name).standard?.ctime)
}

fn file_format(content: ContentType, name: &str) -> &'static str {
    match content {
        ContentType::Vztmpl => template_format(name).unwrap_or("tar"),
        ContentType::Backup => backup_format(name).unwrap_or("tar"),
        ContentType::Iso => "iso",
        ContentType::Snippets => "snippet",
        ContentType::Import => {
            let known = ["ova", "ovf", "qcow2", "raw", "vmdk"];
            known.into_iter().find(|format| name.ends_with(format)).unwrap_or("raw")
        }
        ContentType::Images | ContentType::Rootdir => "raw",
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::fs::symlink;

    use rstest::rstest;

    use super::super::{Allocation, StorageConfig, StorageError};
    use super::*;
    use crate::layout::Root;

    fn local(dir: &tempfile::TempDir) -> DirStorage {
        let root = Root::new(dir.path()).unwrap();
        let (node, id) = ("pve1".parse().unwrap(), "local".parse().unwrap());
        StorageConfig::parse("").dir(&root, &node, &id).unwrap()
    }

    fn me() -> (u32, u32) {
        (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
    }

    #[test]
    fn allocates_lists_and_frees() {
        let dir = tempfile::tempdir().unwrap();
        let (local, vmid) = (local(&dir), "100".parse().unwrap());
        let size = 16 << 20;

        let subvol = local.allocate(vmid, Allocation::Subvol, me()).unwrap();
        let raw = local.allocate(vmid, Allocation::Raw { bytes: size }, me()).unwrap();
        let rows = local.list(ContentType::Rootdir);

        assert_eq!(subvol.to_string(), "local:100/subvol-100-disk-0.subvol");
        assert_eq!(raw.to_string(), "local:100/vm-100-disk-1.raw");
        assert_eq!(rows.iter().map(|row| row.size).collect::<Vec<_>>(), [0, size]);
        assert!(rows[1].used < size / 4, "the image is sparse: {}", rows[1].used);
        assert!(local.list(ContentType::Images).is_empty());
        assert!(local.free(&raw).unwrap());
        assert!(local.free(&subvol).unwrap());
        assert!(!local.free(&subvol).unwrap());
        assert_eq!(fs::read_dir(local.folder(ContentType::Images)).unwrap().count(), 0);
    }

    #[test]
    fn frees_a_subvol_without_following_links() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);
        let volume = local.allocate("100".parse().unwrap(), Allocation::Subvol, me()).unwrap();
        let keep = dir.path().join("keep");
        fs::create_dir(&keep).unwrap();
        fs::write(keep.join("file"), "x").unwrap();
        symlink(&keep, local.path_of(&volume).unwrap().path.join("link")).unwrap();

        local.free(&volume).unwrap();

        assert_eq!(fs::read_to_string(keep.join("file")).unwrap(), "x");
    }

    #[test]
    fn leaves_nothing_when_formatting_fails() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);

        let too_small = Allocation::Raw { bytes: 1024 };
        let err = local.allocate("100".parse().unwrap(), too_small, me()).unwrap_err();

        assert!(matches!(err, StorageError::Format { .. }), "{err}");
        assert_eq!(fs::read_dir(local.folder(ContentType::Images)).unwrap().count(), 0);
    }

    #[test]
    fn tells_templates_apart() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);
        local.activate().unwrap();
        let cache = local.folder(ContentType::Vztmpl);
        for name in ["a.tar.zst", "b.tar", "c.tar.gz", "notes.txt"] {
            fs::write(cache.join(name), "x").unwrap();
        }

        let rows = local.list(ContentType::Vztmpl);

        assert_eq!(rows.iter().map(|row| row.format).collect::<Vec<_>>(), ["tzst", "tar", "tgz"]);
        assert_eq!(rows[0].volid.to_string(), "local:vztmpl/a.tar.zst");
    }

    #[rstest]
    #[case::missing("local:vztmpl/none.tar", "volume 'local:vztmpl/none.tar' does not exist")]
    #[case::bad("local:vztmpl/../x.tar", "unable to parse directory volume name 'vztmpl/../x.tar'")]
    fn names_a_volume_that_is_not_there(#[case] volume: &str, #[case] message: &str) {
        let dir = tempfile::tempdir().unwrap();
        let err = local(&dir).existing(&volume.parse().unwrap()).unwrap_err();
        assert_eq!(err.to_string(), message);
    }

    #[test]
    fn refuses_content_that_is_not_configured() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        let config = StorageConfig::parse("dir: xx\n\tpath /x\n\tcontent iso\n");
        let x = config.dir(&root, &"pve1".parse().unwrap(), &"xx".parse().unwrap()).unwrap();

        let err = x.require(ContentType::Vztmpl).unwrap_err().to_string();
        assert_eq!(err, "storage 'xx' does not support content-type 'vztmpl'");
        let err = x.allocate("100".parse().unwrap(), Allocation::Subvol, me()).unwrap_err();
        assert_eq!(err.to_string(), "storage 'xx' does not support content-type 'rootdir'");
    }

    #[test]
    fn says_how_full_it_is() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let local = local(&dir);
        local.activate().unwrap();

        let usage = local.status().unwrap();

        assert!(usage.total >= usage.used + usage.avail && usage.total > 0, "{usage:?}");
        Ok(())
    }
}
