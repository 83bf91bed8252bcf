//! Volumes that are copied, kept, put back, grown and protected. `dir` storages have no snapshots of
//! their own for what containers use, so a snapshot is a whole copy beside the volume,
//! `vm-100-disk-0.raw@NAME`: no volume by its name, and gone when the volume goes. Where the file
//! system can share blocks, a copy of an image costs none.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fs_err as fs;
use openapi::VolumeId;

use super::{DirStorage, StorageError, VolumeFormat, VolumePath, multi_mount};

const SBIN: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What e2fsck says of a file system that is clean, or that it made so.
const FSCK_FINE: [i32; 2] = [0, 1];

/// One state of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version<'a> {
    Current,
    Snapshot(&'a str),
    /// What is to become the current one. No snapshot's name begins with a dot.
    Draft,
    /// What was the current one a moment ago.
    Replaced,
}

impl Version<'_> {
    fn suffix(self) -> String {
        match self {
            Self::Current => String::new(),
            Self::Snapshot(name) => format!("@{name}"),
            Self::Draft => "@.draft".to_owned(),
            Self::Replaced => "@.replaced".to_owned(),
        }
    }
}

impl VolumePath {
    fn is_there(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    /// A program that copies what lies here to `target`, which may be there already, empty. It ends
    /// with the thread that starts it: a daemon that is killed leaves nobody copying.
    pub fn copy_to(&self, target: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "cp", "--reflink=auto"]);
        match self.format {
            // With owners, links, times and extended attributes, and without what is mounted there.
            VolumeFormat::Subvol => {
                command.args(["-a", "-x", "--"]).arg(self.path.join(".")).arg(target);
            }
            // The target's own mode: that of a base image forbids to write.
            VolumeFormat::Raw | VolumeFormat::Qcow2 | VolumeFormat::Vmdk => {
                command.args(["--sparse=always", "-T", "--"]).arg(&self.path).arg(target);
            }
        }
        prepare(&mut command);
        command
    }

    /// A program that writes the folder here to its standard output, with all that `copy_to` copies
    /// but sockets, which no archive holds.
    pub fn pack(&self) -> Command {
        let mut command = tar();
        command.args(["--create", "--format=posix", "--one-file-system", "--sparse"]);
        command.arg("--directory").arg(&self.path).arg(".");
        command
    }

    /// A program that fills a folder from what [`pack`](Self::pack) wrote.
    pub fn unpack_to(target: &Path) -> Command {
        let mut command = tar();
        command.args(["--extract", "--preserve-permissions", "--same-owner"]);
        command.arg("--directory").arg(target);
        command
    }

    fn remove(&self) -> Result<bool, StorageError> {
        let removed = match self.format {
            VolumeFormat::Subvol => fs::remove_dir_all(&self.path),
            VolumeFormat::Raw | VolumeFormat::Qcow2 | VolumeFormat::Vmdk => {
                fs::remove_file(&self.path)
            }
        };
        match removed {
            Ok(()) => Ok(true),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(StorageError::io("remove", &self.path)(err)),
        }
    }
}

impl DirStorage {
    /// Bytes; 0 for a directory, which has no size of its own.
    pub fn size(&self, volume: &VolumeId) -> Result<u64, StorageError> {
        let VolumePath { path, format } = self.existing(volume)?;
        if format == VolumeFormat::Subvol {
            return Ok(0);
        }
        Ok(fs::metadata(&path).map_err(StorageError::io("read", &path))?.len())
    }

    /// Where a state of a volume lies, whether it is there or not.
    pub fn version(
        &self,
        volume: &VolumeId,
        version: Version<'_>,
    ) -> Result<VolumePath, StorageError> {
        let VolumePath { path, format } = self.path_of(volume)?;
        let mut path = path.into_os_string();
        path.push(version.suffix());
        Ok(VolumePath { path: path.into(), format })
    }

    pub fn has_version(&self, volume: &VolumeId, version: Version<'_>) -> bool {
        self.version(volume, version).is_ok_and(|place| place.is_there())
    }

    /// What was copied to `place` is nobody's, and on the disk, before a config speaks of it.
    pub fn finish_copy(&self, place: &VolumePath) -> Result<(), StorageError> {
        if place.format == VolumeFormat::Raw {
            multi_mount::clear(&place.path)?;
        }
        let file = fs::File::open(&place.path).map_err(StorageError::io("open", &place.path))?;
        let synced = match place.format {
            VolumeFormat::Subvol => rustix::fs::syncfs(&file).map_err(io::Error::from),
            VolumeFormat::Raw | VolumeFormat::Qcow2 | VolumeFormat::Vmdk => file.sync_all(),
        };
        synced.map_err(StorageError::io("sync", &place.path))
    }

    /// The draft becomes the current state. May be called again after it was cut off anywhere, and
    /// does nothing where there is no draft.
    pub fn put_in_place(&self, volume: &VolumeId) -> Result<(), StorageError> {
        let [current, draft, replaced] = [Version::Current, Version::Draft, Version::Replaced]
            .map(|version| self.version(volume, version));
        let (current, draft, replaced) = (current?, draft?, replaced?);
        if draft.is_there() {
            // A directory cannot take the place of one that is not empty.
            if current.format == VolumeFormat::Subvol && current.is_there() {
                replaced.remove()?;
                rename(&current.path, &replaced.path)?;
            }
            rename(&draft.path, &current.path)?;
        }
        replaced.remove()?;
        Ok(())
    }

    /// Removes every state of a volume but the current one and the snapshots in `keep`.
    pub fn sweep(&self, volume: &VolumeId, keep: &[&str]) -> Result<(), StorageError> {
        let VolumePath { path, format } = self.path_of(volume)?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let prefix = format!("{}@", name.to_string_lossy());
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) => return Err(StorageError::io("read", folder)(err)),
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(version) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else {
                continue;
            };
            if !keep.contains(&version) {
                VolumePath { path: entry.path(), format }.remove()?;
            }
        }
        Ok(())
    }

    /// Makes an image and the ext4 in it larger; nobody may have it mounted. Bytes are whole KiB.
    /// Cut off, it leaves a larger image with the old file system, which the next call completes.
    pub fn grow(&self, volume: &VolumeId, bytes: u64) -> Result<u64, StorageError> {
        let path = self.growable(volume)?;
        let bytes = extend(&path, bytes)?;
        run("e2fsck", &["-f", "-y"], &path, &FSCK_FINE)?;
        run("resize2fs", &[], &path, &[0])?;
        Ok(bytes)
    }

    /// The same while a container has it mounted by a loop device. `folder` is only mounted over
    /// where nobody sees it.
    pub fn grow_mounted(
        &self,
        volume: &VolumeId,
        bytes: u64,
        folder: &Path,
    ) -> Result<u64, StorageError> {
        let path = self.growable(volume)?;
        let device = loop_device(&path)?;
        let bytes = extend(&path, bytes)?;
        run("losetup", &["--set-capacity"], &device, &[0])?;
        // resize2fs asks the kernel by a mount point that it can see.
        let script = "mount --make-rprivate / && mount \"$1\" \"$0\" && resize2fs \"$1\"";
        let folder = folder.to_string_lossy();
        run("unshare", &["-m", "--", "sh", "-c", script, &folder], &device, &[0])?;
        Ok(bytes)
    }

    fn growable(&self, volume: &VolumeId) -> Result<PathBuf, StorageError> {
        let VolumePath { path, format } = self.existing(volume)?;
        if format == VolumeFormat::Raw {
            return Ok(path);
        }
        Err(failed("resize", &path, "can't resize this image format"))
    }

    /// A second name for an image, that of a template's disk, and no more writing to it. The first
    /// stays until it is freed. A directory keeps its name, as in PVE.
    pub fn make_base(&self, volume: &VolumeId) -> Result<VolumeId, StorageError> {
        let VolumePath { path, format } = self.existing(volume)?;
        let (folder, name) = volume.name().rsplit_once('/').unwrap_or(("", volume.name()));
        let Some(rest) = name.strip_prefix("vm-").filter(|_| format == VolumeFormat::Raw) else {
            return Ok(volume.clone());
        };
        let base = self.volume_id(&format!("{folder}/base-{rest}"));
        let target = self.path_of(&base)?.path;
        fs::hard_link(&path, &target).map_err(StorageError::io("rename", &path))?;
        fs::set_permissions(&target, PermissionsExt::from_mode(0o444))
            .map_err(StorageError::io("set the mode of", &target))?;
        Ok(base)
    }
}

/// It ends with the thread that starts it.
fn tar() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "tar", "--numeric-owner", "--acls", "--xattrs"]);
    command.args(["--xattrs-include=*", "--file=-"]);
    prepare(&mut command);
    command
}

pub(super) fn prepare(command: &mut Command) {
    command.env("PATH", SBIN).env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
}

fn rename(from: &Path, to: &Path) -> Result<(), StorageError> {
    fs::rename(from, to).map_err(StorageError::io("rename", from))
}

fn extend(path: &Path, bytes: u64) -> Result<u64, StorageError> {
    let bytes = bytes.next_multiple_of(1024);
    let file = fs::OpenOptions::new().write(true).open(path);
    let grown = file.and_then(|file| {
        // Never shorter, whatever was asked for: that would cut off data.
        if file.metadata()?.len() < bytes { file.set_len(bytes) } else { Ok(()) }
    });
    grown.map_err(StorageError::io("set the size of", path))?;
    Ok(bytes)
}

fn loop_device(path: &Path) -> Result<PathBuf, StorageError> {
    let mut command = Command::new("losetup");
    command.args(["--noheadings", "--output", "NAME", "--associated"]).arg(path);
    prepare(&mut command);
    let output = command.output().map_err(StorageError::io("run losetup on", path))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let device = text.split_whitespace().next();
    device.map(PathBuf::from).ok_or_else(|| {
        failed("resize", path, "CT running but mount point not attached to a loop device")
    })
}

fn run(program: &str, args: &[&str], path: &Path, fine: &[i32]) -> Result<(), StorageError> {
    let mut command = Command::new(program);
    command.args(args).arg(path);
    prepare(&mut command);
    let output = command.output().map_err(StorageError::io("resize", path))?;
    if output.status.code().is_some_and(|code| fine.contains(&code)) {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(failed("resize", path, &format!("{program} failed: {}", last.trim())))
}

fn failed(what: &'static str, path: &Path, reason: &str) -> StorageError {
    StorageError::io(what, path)(io::Error::other(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use openapi::Vmid;
    use rstest::rstest;

    use super::super::{Allocation, ContentType, StorageConfig};
    use super::*;
    use crate::layout::Root;

    fn local(dir: &tempfile::TempDir) -> DirStorage {
        let root = Root::new(dir.path()).unwrap();
        let (node, id) = ("pve1".parse().unwrap(), "local".parse().unwrap());
        StorageConfig::parse("").dir(&root, &node, &id).unwrap()
    }

    fn vmid() -> Vmid {
        "100".parse().unwrap()
    }

    fn me() -> (u32, u32) {
        (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
    }

    fn copy(from: &VolumePath, to: &VolumePath) {
        let output = from.copy_to(&to.path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A volume with `text` in it, and how to read that back.
    fn volume(local: &DirStorage, format: VolumeFormat, text: &str) -> VolumeId {
        let subvol = format == VolumeFormat::Subvol;
        let volume = local.allocate(vmid(), Allocation::Copy { subvol }, me()).unwrap();
        write(local, &volume, text);
        volume
    }

    fn inside(local: &DirStorage, volume: &VolumeId, version: Version<'_>) -> PathBuf {
        let VolumePath { path, format } = local.version(volume, version).unwrap();
        if format == VolumeFormat::Subvol { path.join("file") } else { path }
    }

    fn write(local: &DirStorage, volume: &VolumeId, text: &str) {
        fs::write(inside(local, volume, Version::Current), text).unwrap();
    }

    fn read(local: &DirStorage, volume: &VolumeId) -> String {
        fs::read_to_string(inside(local, volume, Version::Current)).unwrap()
    }

    #[rstest]
    fn a_snapshot_can_be_put_back_and_is_no_volume(
        #[values(VolumeFormat::Raw, VolumeFormat::Subvol)] format: VolumeFormat,
        // How often a kill may fall between two of its steps.
        #[values(false, true)] cut_off: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);
        let volume = volume(&local, format, "before");
        let [current, kept, draft, replaced] =
            [Version::Current, Version::Snapshot("s1"), Version::Draft, Version::Replaced]
                .map(|version| local.version(&volume, version).unwrap());

        copy(&current, &kept);
        local.finish_copy(&kept).unwrap();
        write(&local, &volume, "after");
        copy(&kept, &draft);
        if cut_off && format == VolumeFormat::Subvol {
            fs::rename(&current.path, &replaced.path).unwrap();
        }
        local.put_in_place(&volume).unwrap();
        local.put_in_place(&volume).unwrap();

        assert_eq!(read(&local, &volume), "before");
        assert!(kept.is_there() && !draft.is_there() && !replaced.is_there());
        assert_eq!(local.list(ContentType::Rootdir).len(), 1);
        local.free(&volume).unwrap();
        assert_eq!(fs::read_dir(local.folder(ContentType::Images)).unwrap().count(), 0);
    }

    #[test]
    fn sweeping_keeps_what_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);
        let volume = volume(&local, VolumeFormat::Raw, "x");
        for version in [Version::Snapshot("s1"), Version::Snapshot("s2"), Version::Draft] {
            fs::write(local.version(&volume, version).unwrap().path, "y").unwrap();
        }

        local.sweep(&volume, &["s2"]).unwrap();

        assert!(!local.has_version(&volume, Version::Snapshot("s1")));
        assert!(local.has_version(&volume, Version::Snapshot("s2")));
        assert!(!local.has_version(&volume, Version::Draft));
        assert_eq!(read(&local, &volume), "x");
    }

    #[test]
    fn a_copy_of_a_directory_has_its_links_and_modes() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);
        let from = volume(&local, VolumeFormat::Subvol, "x");
        let root = local.path_of(&from).unwrap().path;
        std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
        fs::hard_link(root.join("file"), root.join(".second")).unwrap();
        fs::set_permissions(&root, PermissionsExt::from_mode(0o750)).unwrap();
        let to = local.allocate(vmid(), Allocation::Copy { subvol: true }, me()).unwrap();
        let place = local.path_of(&to).unwrap();

        copy(&local.existing(&from).unwrap(), &place);

        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(to.name(), "100/subvol-100-disk-1.subvol");
        assert_eq!(fs::read_link(place.path.join("link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(fs::metadata(place.path.join(".second")).unwrap().nlink(), 2);
        assert_eq!(fs::metadata(&place.path).unwrap().mode() & 0o777, 0o750);
    }

    #[test]
    fn an_image_grows_with_its_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);
        let small = Allocation::Raw { bytes: 16 << 20 };
        let volume = local.allocate(vmid(), small, me()).unwrap();
        // A kill between two steps leaves this.
        extend(&local.path_of(&volume).unwrap().path, 32 << 20).unwrap();

        assert_eq!(local.grow(&volume, (32 << 20) - 5).unwrap(), 32 << 20);

        assert_eq!(local.size(&volume).unwrap(), 32 << 20);
        let path = local.path_of(&volume).unwrap().path;
        let mut command = Command::new("dumpe2fs");
        prepare(command.arg("-h").arg(&path));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |key: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().parse().unwrap()
        };
        assert_eq!(number("Block count:") * number("Block size:"), 32 << 20);
    }

    #[test]
    fn a_directory_cannot_grow() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);
        let volume = volume(&local, VolumeFormat::Subvol, "x");

        let err = local.grow(&volume, 1 << 30).unwrap_err().to_string();

        assert!(err.ends_with("can't resize this image format"), "{err}");
    }

    #[test]
    fn a_base_image_is_the_same_file_and_read_only() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(&dir);
        let image = volume(&local, VolumeFormat::Raw, "x");

        let base = local.make_base(&image).unwrap();

        assert_eq!(base.to_string(), "local:100/base-100-disk-0.raw");
        let path = local.existing(&base).unwrap().path;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
        local.free(&image).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "x");
    }
}
