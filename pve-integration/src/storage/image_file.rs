//! Volumes under names their user chose, as `pvesm alloc` and the API make them: empty, with no
//! filesystem in them. New volumes of containers are `allocate`'s.

use std::io;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use openapi::{Vmid, VolumeId};

use super::{ContentType, DirStorage, StorageError, VolumeFormat, VolumeName};

impl DirStorage {
    /// A sparse image of so many bytes, or for 0 bytes and `subvol` a directory.
    pub fn allocate_named(
        &self,
        vmid: Vmid,
        name: &str,
        format: VolumeFormat,
        bytes: u64,
    ) -> Result<VolumeId, StorageError> {
        let volume = format!("{vmid}/{name}");
        let unnamed = || StorageError::FileName(name.to_owned());
        let parsed: VolumeName = volume.parse().map_err(|_| unnamed())?;
        if !matches!(&parsed, VolumeName::Image { name: own, .. } if own == name) {
            return Err(unnamed());
        }
        let illegal = || StorageError::Extension {
            name: name.to_owned(),
            is: parsed.format().as_str(),
            wanted: format.as_str(),
        };
        if parsed.format() != format {
            return Err(illegal());
        }
        if let VolumeFormat::Qcow2 | VolumeFormat::Vmdk = format {
            return Err(StorageError::NoQemu(format.as_str()));
        }
        if format == VolumeFormat::Subvol && bytes != 0 {
            return Err(StorageError::NoQuota);
        }
        let folder = self.folder(ContentType::Images).join(vmid.to_string());
        fs::create_dir_all(&folder).map_err(StorageError::io("create directory", &folder))?;
        let path = folder.join(name);
        let made = if format == VolumeFormat::Subvol {
            fs::create_dir(&path)
        } else {
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o640).open(&path);
            file.and_then(|file| {
                let sized = file.set_len(bytes);
                if sized.is_err() {
                    fs::remove_file(&path)?;
                }
                sized
            })
        };
        made.map_err(|err| {
            if err.kind() == io::ErrorKind::AlreadyExists {
                return StorageError::ImageExists(path.clone());
            }
            self.remove_empty(vmid);
            StorageError::io("create", &path)(err)
        })?;
        Ok(self.volume_id(&volume))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::StorageConfig;
    use super::*;
    use crate::layout::Root;

    fn local(dir: &tempfile::TempDir) -> DirStorage {
        let root = Root::new(dir.path()).unwrap();
        let (node, id) = ("pve1".parse().unwrap(), "local".parse().unwrap());
        StorageConfig::parse("").dir(&root, &node, &id).unwrap()
    }

    #[test]
    fn makes_a_sparse_image_once() {
        let dir = tempfile::tempdir().unwrap();
        let (local, vmid) = (local(&dir), "100".parse().unwrap());
        let make = || local.allocate_named(vmid, "mine.raw", VolumeFormat::Raw, 1 << 30);

        let volume = make().unwrap();

        assert_eq!(volume.to_string(), "local:100/mine.raw");
        let metadata = fs::metadata(local.path_of(&volume).unwrap().path).unwrap();
        assert_eq!(metadata.len(), 1 << 30);
        assert!(make().unwrap_err().to_string().ends_with("already exists"));
    }

    #[rstest]
    #[case::no_extension("x", VolumeFormat::Raw, 1, "unable to parse volume filename 'x'")]
    #[case::upwards("../x.raw", VolumeFormat::Raw, 1, "unable to parse volume filename '../x.raw'")]
    #[case::linked(
        "base-100-disk-0.raw/101/x.raw",
        VolumeFormat::Raw,
        1,
        "unable to parse volume filename 'base-100-disk-0.raw/101/x.raw'"
    )]
    #[case::other_format(
        "x.raw",
        VolumeFormat::Subvol,
        0,
        "illegal name 'x.raw' - wrong extension for format ('raw != 'subvol')"
    )]
    #[case::quota("x.subvol", VolumeFormat::Subvol, 1, "storage does not support subvol quotas")]
    #[case::qcow2("x.qcow2", VolumeFormat::Qcow2, 1, "cannot make 'qcow2' images, only 'raw' ones")]
    fn refuses(
        #[case] name: &str,
        #[case] format: VolumeFormat,
        #[case] bytes: u64,
        #[case] message: &str,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let err = local(&dir).allocate_named("100".parse().unwrap(), name, format, bytes);
        assert_eq!(err.unwrap_err().to_string(), message);
    }
}
