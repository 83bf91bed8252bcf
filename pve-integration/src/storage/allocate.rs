//! New volumes. What fails leaves nothing behind: no file, no folder.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use openapi::{Vmid, VolumeId};

use super::{ContentType, DirStorage, StorageError};

/// As in PVE: a size of 0 means a plain directory, which has no limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    Subvol,
    /// An ext4 filesystem in a sparse file of so many bytes.
    Raw {
        bytes: u64,
    },
    /// A name for what is to be copied there: an empty file or directory of ours.
    Copy {
        subvol: bool,
    },
}

/// PVE's limit; names are tried up to it.
const MAX_VOLUMES: u32 = 1024;

impl DirStorage {
    /// Makes an empty volume whose root directory belongs to `owner`, the container's root as the
    /// host sees it.
    pub fn allocate(
        &self,
        vmid: Vmid,
        what: Allocation,
        owner: (u32, u32),
    ) -> Result<VolumeId, StorageError> {
        self.require(ContentType::Rootdir)?;
        let folder = self.folder(ContentType::Images).join(vmid.to_string());
        fs::create_dir_all(&folder).map_err(StorageError::io("create directory", &folder))?;
        let made = self.make(vmid, &folder, what, owner);
        if made.is_err() {
            self.remove_empty(vmid);
        }
        Ok(self.volume_id(&format!("{vmid}/{}", made?)))
    }

    fn make(
        &self,
        vmid: Vmid,
        folder: &Path,
        what: Allocation,
        owner: (u32, u32),
    ) -> Result<String, StorageError> {
        for number in free_numbers(vmid, folder)? {
            // Creating is what reserves a name; another process may be at it as well.
            let (name, reserved) = match what {
                Allocation::Subvol | Allocation::Copy { subvol: true } => {
                    let name = format!("subvol-{vmid}-disk-{number}.subvol");
                    let reserved = fs::create_dir(folder.join(&name));
                    (name, reserved)
                }
                Allocation::Raw { .. } | Allocation::Copy { subvol: false } => {
                    let name = format!("vm-{vmid}-disk-{number}.raw");
                    let mut options = fs::OpenOptions::new();
                    let options = options.write(true).create_new(true).mode(0o640);
                    let reserved = options.open(folder.join(&name)).map(drop);
                    (name, reserved)
                }
            };
            let path = folder.join(&name);
            match reserved {
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(err) => return Err(StorageError::io("create", path)(err)),
                Ok(()) => {}
            }
            let filled = match what {
                Allocation::Subvol => fill_subvol(&path, owner),
                Allocation::Raw { bytes } => fill_raw(&path, bytes, owner),
                Allocation::Copy { .. } => Ok(()),
            };
            if let Err(err) = filled {
                // The first failure is the one to tell; a file we could not fill we can remove.
                drop(fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)));
                return Err(err);
            }
            return Ok(name);
        }
        Err(StorageError::NoFreeName { vmid, storage: self.id().clone() })
    }
}

fn fill_subvol(path: &Path, owner: (u32, u32)) -> Result<(), StorageError> {
    fs::set_permissions(path, PermissionsExt::from_mode(0o755))
        .map_err(StorageError::io("set the mode of", path))?;
    std::os::unix::fs::chown(path, Some(owner.0), Some(owner.1))
        .map_err(StorageError::io("change the owner of", path))
}

fn fill_raw(path: &Path, bytes: u64, owner: (u32, u32)) -> Result<(), StorageError> {
    let file = fs::OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.set_len(bytes)).map_err(StorageError::io("set the size of", path))?;
    let (uid, gid) = owner;
    let mut mkfs = Command::new("mkfs.ext4");
    // The kernel zeroes what mkfs does not, and a sparse file is all zeroes anyway.
    let extended =
        format!("root_owner={uid}:{gid},lazy_itable_init=1,lazy_journal_init=1,nodiscard");
    mkfs.args(["-q", "-F", "-E", &extended]);
    // Multi-mount protection, as PVE has it: LXC and this runtime may both reach for one image.
    mkfs.args(["-O", "mmp"]);
    // Cron and systemd units have no sbin in their path.
    let path_var = std::env::var("PATH").unwrap_or_default();
    mkfs.env("PATH", format!("{path_var}:/usr/sbin:/sbin")).env("LC_ALL", "C");
    let output = mkfs.arg(path).stdin(Stdio::null()).output().map_err(|err| {
        if err.kind() == io::ErrorKind::NotFound {
            return StorageError::NoMkfs(path.to_owned());
        }
        StorageError::io("run mkfs.ext4 on", path)(err)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let says = |line: &&str| !line.trim().is_empty() && !line.starts_with("mke2fs ");
    let reason = if is_full(path) {
        "no space left on device" // mkfs names the step that met it, and not always the cause
    } else {
        stderr.lines().rfind(says).unwrap_or("mkfs.ext4 failed without a word")
    };
    Err(StorageError::Format { path: path.to_owned(), reason: reason.trim().to_owned() })
}

fn is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_bavail == 0)
}

/// PVE numbers a guest's volumes across formats.
fn free_numbers(vmid: Vmid, folder: &Path) -> Result<impl Iterator<Item = u32>, StorageError> {
    let mut taken = BTreeSet::new();
    let entries = fs::read_dir(folder).map_err(StorageError::io("read", folder))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.split_once(&format!("-{vmid}-disk-")));
        let Some(("vm" | "base" | "subvol" | "basevol", rest)) = rest else { continue };
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        taken.extend(digits.parse::<u32>());
    }
    Ok((0..MAX_VOLUMES).filter(move |number| !taken.contains(number)))
}
