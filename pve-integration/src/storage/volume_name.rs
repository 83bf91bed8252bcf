//! The part of a volume id behind the storage, as `dir` storages name volumes. Parsing is the only
//! way to one, so a path made from it cannot leave the storage (`parse_volname` in pve-storage's
//! `PVE/Storage/Plugin.pm`).

use std::path::{Path, PathBuf};
use std::str::FromStr;

use openapi::Vmid;

use super::{ContentType, StorageError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeFormat {
    Raw,
    Qcow2,
    Vmdk,
    Subvol,
}

impl VolumeFormat {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Subvol => "subvol",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        let (stem, extension) = name.rsplit_once('.')?;
        let all = [Self::Raw, Self::Qcow2, Self::Vmdk, Self::Subvol];
        all.into_iter().find(|format| !stem.is_empty() && format.as_str() == extension)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeName {
    /// A guest's volume; a linked clone's name starts with its base, which makes no path.
    Image { vmid: Vmid, name: String, format: VolumeFormat },
    /// A file in the folder of its content type.
    File { content: ContentType, name: String },
}

impl VolumeName {
    pub fn content(&self) -> ContentType {
        match self {
            Self::Image { .. } => ContentType::Rootdir,
            Self::File { content, .. } => *content,
        }
    }

    pub fn owner(&self) -> Option<Vmid> {
        match self {
            Self::Image { vmid, .. } => Some(*vmid),
            Self::File { content: ContentType::Backup, name } => backup_owner(name),
            Self::File { .. } => None,
        }
    }

    pub fn format(&self) -> VolumeFormat {
        match self {
            Self::Image { format, .. } => *format,
            Self::File { .. } => VolumeFormat::Raw,
        }
    }

    /// Below `folder`, the one of its content type.
    pub(super) fn path_in(&self, folder: &Path) -> PathBuf {
        match self {
            Self::Image { vmid, name, .. } => folder.join(vmid.to_string()).join(name),
            Self::File { name, .. } => folder.join(name),
        }
    }
}

impl FromStr for VolumeName {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, StorageError> {
        parse(text).ok_or_else(|| StorageError::VolumeName(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<VolumeName> {
    let (first, rest) = text.split_once('/')?;
    if first.starts_with(|c: char| c.is_ascii_digit()) {
        let own = match rest.split('/').collect::<Vec<_>>()[..] {
            [name] => (first, name),
            [base, vmid, name] => {
                first.parse::<Vmid>().ok()?;
                image_name(base)?;
                (vmid, name)
            }
            _ => return None,
        };
        let format = image_name(own.1)?;
        return Some(VolumeName::Image {
            vmid: own.0.parse().ok()?,
            name: own.1.to_owned(),
            format,
        });
    }
    let content = ContentType::from_word(first)?;
    let fits = match content {
        ContentType::Iso => {
            let lower = rest.to_ascii_lowercase();
            lower.ends_with(".iso") || lower.ends_with(".img")
        }
        ContentType::Vztmpl => template_format(rest).is_some(),
        ContentType::Backup => backup_format(rest).is_some(),
        ContentType::Snippets => true,
        ContentType::Import => {
            [".ova", ".ovf", ".qcow2", ".raw", ".vmdk"].iter().any(|end| rest.ends_with(end))
        }
        ContentType::Images | ContentType::Rootdir => return None,
    };
    (fits && is_file_name(rest)).then(|| VolumeName::File { content, name: rest.to_owned() })
}

/// One component that names something in its folder.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0', '\n'])
}

fn image_name(name: &str) -> Option<VolumeFormat> {
    let plain = is_file_name(name) && !name.contains(char::is_whitespace);
    let snapshot = name.starts_with("snap-") && name.ends_with(".qcow2");
    VolumeFormat::of_name(name).filter(|_| plain && !snapshot)
}

/// PVE's word for the format of a template: `tar`, `tgz`, `txz`, `tzst`, `tbz2`.
pub(super) fn template_format(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let known = [
        (".tar", "tar"),
        (".tar.gz", "tgz"),
        (".tar.xz", "txz"),
        (".tar.zst", "tzst"),
        (".tar.bz2", "tbz2"),
    ];
    let found = known.into_iter().find(|(end, _)| lower.len() > end.len() && lower.ends_with(end));
    found.map(|(_, format)| format)
}

pub(super) fn backup_format(name: &str) -> Option<&'static str> {
    let known = [
        "tar.zst", "tar.gz", "tar.lzo", "tar.bz2", "vma.zst", "vma.gz", "vma.lzo", "vma.bz2",
        "tgz", "tar", "vma",
    ];
    known.into_iter().find(|format| {
        name.strip_suffix(format)
            .and_then(|stem| stem.strip_suffix('.'))
            .is_some_and(|s| !s.is_empty())
    })
}

/// `vzdump-lxc-VMID-…`
fn backup_owner(name: &str) -> Option<Vmid> {
    let mut parts = name.strip_prefix("vzdump-")?.split('-').skip(1);
    parts.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("100/vm-100-disk-0.raw", "100/vm-100-disk-0.raw", VolumeFormat::Raw)]
    #[case("100/subvol-100-disk-0.subvol", "100/subvol-100-disk-0.subvol", VolumeFormat::Subvol)]
    #[case(
        "9000/base-9000-disk-0.raw/100/vm-100-disk-0.qcow2",
        "100/vm-100-disk-0.qcow2",
        VolumeFormat::Qcow2
    )]
    #[case("vztmpl/a.tar.zst", "a.tar.zst", VolumeFormat::Raw)]
    #[case("iso/a.ISO", "a.ISO", VolumeFormat::Raw)]
    #[case("snippets/..hook", "..hook", VolumeFormat::Raw)]
    fn finds_the_path(#[case] text: &str, #[case] path: &str, #[case] format: VolumeFormat) {
        let name: VolumeName = text.parse().unwrap();

        assert_eq!(name.path_in(Path::new("/f")), Path::new("/f").join(path));
        assert_eq!(name.format(), format);
    }

    #[rstest]
    #[case::upwards("snippets/..")]
    #[case::upwards_below("vztmpl/../../../etc/x.tar")]
    #[case::upwards_image("100/../../x.raw")]
    #[case::absolute("/etc/passwd")]
    #[case::nul("snippets/a\0b")]
    #[case::no_vmid("99/vm-99-disk-0.raw")]
    #[case::no_image("100/vm-100-disk-0")]
    #[case::no_name("100/.raw")]
    #[case::no_template("vztmpl/a.zip")]
    #[case::only_extension("vztmpl/.tar.gz")]
    #[case::wrong_kind("rootdir/a.raw")]
    #[case::blank("100/a b.raw")]
    #[case::snapshot("100/snap-a-vm-100-disk-0.qcow2")]
    fn refuses(#[case] text: &str) {
        let err = text.parse::<VolumeName>().unwrap_err().to_string();
        assert_eq!(err, format!("unable to parse directory volume name '{text}'"));
    }

    #[test]
    fn knows_whose_a_backup_is() {
        let name: VolumeName = "backup/vzdump-lxc-100-2026_01_01-00_00_00.tar.zst".parse().unwrap();
        assert_eq!(name.owner().map(Vmid::get), Some(100));
    }

    proptest! {
        #[test]
        fn never_leaves_its_folder(text in "(100|vztmpl|iso|snippets|backup|import)/[./a0]{0,12}(.raw|.tar|.iso|.tgz)?") {
            if let Ok(name) = text.parse::<VolumeName>() {
                let path = name.path_in(Path::new("/f"));
                prop_assert!(path.starts_with("/f"));
                prop_assert!(path.components().all(|c| c != std::path::Component::ParentDir));
            }
        }
    }
}
