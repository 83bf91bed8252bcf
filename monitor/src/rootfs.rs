//! The container's root filesystem: its volume, mounted where PVE mounts it, and whether libcrun may
//! be let loose on it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err as fs;
use idmap::Extent;
use openapi::VolumeId;
use pve_integration::bundle::{IdMaps, QuotaDisk, disk_ids, rootfs_path};
use pve_integration::ct_config::{ContainerConfig, MountPoint, MountSource};
use pve_integration::storage::{StorageConfig, VolumeFormat, VolumeName};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat2, statat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
};

use crate::error::{Error, Result};
use crate::given::Given;
use crate::guest::{Guest, warn};
use crate::target::{Spot, Target};
use crate::{disk, id_mapped, quota};

/// How long the previous user of an image may take to let go of it.
const PATIENCE: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(5);

/// What the rootfs is mounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose<'a> {
    /// By a container with these ids.
    Run(&'a IdMaps),
    /// What is read-only for the container gets its content all the same, with the ids that it has on
    /// the disk.
    Fill,
}

/// A mounted rootfs with its mount points, in our mount namespace only.
#[derive(Debug)]
pub(crate) struct Rootfs {
    path: PathBuf,
    /// The files behind it and its mount points, where they are images.
    images: Vec<PathBuf>,
    /// Of those where users' shares may be limited inside.
    quota_disks: Vec<QuotaDisk>,
    /// A second mount of it that the container's root can reach.
    view: Option<PathBuf>,
}

impl Rootfs {
    pub(crate) fn mount(
        guest: &Guest,
        config: &ContainerConfig,
        purpose: Purpose<'_>,
    ) -> Result<Self> {
        let path = guest.root.rootfs_mount(guest.vmid);
        fs::create_dir_all(&path)?;
        let disk = IdMaps::on_disk(config)?;
        let maps = match purpose {
            Purpose::Run(maps) => maps,
            Purpose::Fill => &disk,
        };
        let for_purpose = |key: &str, point: MountPoint| match purpose {
            Purpose::Run(_) => MountPoint { quota: quota::is_possible(key, &point, maps), ..point },
            Purpose::Fill => MountPoint { ro: false, quota: false, ..point },
        };
        let rootfs = for_purpose("rootfs", config.rootfs()?);
        let mut attached = stage(guest, "rootfs", &rootfs, (maps, &disk), &path)?;
        let root = open_folder(&path)?;
        for (key, point) in config.mount_points() {
            let point = for_purpose(key, point?);
            let target = Target { root: root.as_fd(), key, mp: &point.mp, maps };
            let before = rustix::fs::fstat(target.open()?)?;
            let spot = || target.open().map(Spot::fd);
            attached.extend(attach(guest, &point, &spot)?);
            map_ids(key, &point, (maps, &disk), &spot)?;
            if point.keepattrs {
                target.set_attributes(&before)?;
            }
        }
        let Attached { images, quota_disks } = attached;
        Self { path, images, quota_disks, view: None }.shown(guest, maps)
    }

    /// One that PVE's hook has mounted, whose images are PVE's to let go.
    pub(crate) fn mounted(guest: &Guest, given: &Given) -> Result<Self> {
        let path = guest.root.rootfs_mount(guest.vmid);
        if let Some(ids) = disk_ids("rootfs", None, &given.maps, &IdMaps::on_disk(&given.config)?)?
        {
            let spot = || Ok(Spot::path(&path));
            // One that PVE mapped already cannot be mapped once more; the kernel says so.
            let mapped = id_mapped::remount(&ids, Extent::Tree, &path, spot)?;
            let what = "the container's root file system".to_owned();
            mapped.map_err(|source| Error::IdMap {
                key: "oci: id-range".to_owned(),
                what,
                source,
            })?;
        }
        let quota_disks = quota::of_hook(guest)?;
        Self { path, images: Vec::new(), quota_disks, view: None }.shown(guest, &given.maps)
    }

    fn shown(mut self, guest: &Guest, maps: &IdMaps) -> Result<Self> {
        let wanted = rootfs_path(&guest.root, guest.vmid, maps)?;
        if wanted != self.path {
            self.show(wanted)?;
        }
        Ok(self)
    }

    fn show(&mut self, view: PathBuf) -> Result<()> {
        match fs::create_dir(&view) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err.into()),
            Ok(()) | Err(_) => {}
        }
        mount_bind_recursive(&self.path, &view).map_err(|err| Error::Mount {
            what: format!("'{}'", view.display()),
            source: err.into(),
        })?;
        self.view = Some(view);
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        self.view.as_deref().unwrap_or(&self.path)
    }

    pub(crate) fn quota_disks(&self) -> &[QuotaDisk] {
        &self.quota_disks
    }

    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        open_folder(&self.path)
    }

    /// Unmount, mount points and all, and wait until each image is written and free for its next user.
    pub(crate) fn unmount(self) -> io::Result<()> {
        if let Some(view) = &self.view {
            unmount(view, UnmountFlags::DETACH)?;
            fs::remove_dir(view)?;
        }
        if unmount(&self.path, UnmountFlags::empty()).is_err() {
            unmount(&self.path, UnmountFlags::DETACH)?;
        }
        let start = Instant::now();
        for image in &self.images {
            while let Some(device) = loopdev::holder(image)? {
                if start.elapsed() > PATIENCE {
                    let text = format!("{} still holds '{}'", device.display(), image.display());
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
                }
                std::thread::sleep(TICK);
            }
        }
        Ok(())
    }
}

/// What is behind a mount.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    images: Vec<PathBuf>,
    quota_disks: Vec<QuotaDisk>,
}

impl Attached {
    fn extend(&mut self, other: Self) {
        self.images.extend(other.images);
        self.quota_disks.extend(other.quota_disks);
    }
}

/// An image that is mounted to be read.
#[derive(Debug)]
pub(crate) struct Mounted(Rootfs);

impl Mounted {
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    pub(crate) fn unmount(self) -> io::Result<()> {
        self.0.unmount()
    }
}

/// Mount the ext4 of `image` so that it can be read. Over what is mounted there already: who holds
/// a descriptor of that still reaches it.
pub(crate) fn mount_image(
    guest: &Guest,
    volume: &VolumeId,
    image: &Path,
    read_only: bool,
) -> Result<Mounted> {
    let path = guest.root.rootfs_mount(guest.vmid);
    fs::create_dir_all(&path)?;
    wait_until_free(image, volume)?;
    // Its journal may have to be played back, which a device that cannot be written forbids.
    let device = loopdev::attach(image, read_only)?;
    let data = if read_only { c"noload" } else { c"" };
    mount(device.source(), &path, "ext4", MountFlags::RDONLY, data)
        .map_err(|err| mount_failed(err, &format!("volume '{volume}'")))?;
    let images = vec![image.to_owned()];
    Ok(Mounted(Rootfs { path, images, quota_disks: Vec::new(), view: None }))
}

pub(crate) fn mount_failed(err: Errno, what: &str) -> Error {
    match err {
        Errno::INVAL => Error::NoFilesystem { what: what.to_owned() },
        err => Error::Mount { what: what.to_owned(), source: err.into() },
    }
}

/// An image that a killed container still had mounted is let go a moment after its last process.
fn wait_until_free(image: &Path, volume: &VolumeId) -> Result<()> {
    let start = Instant::now();
    while let Some(device) = loopdev::holder(image)? {
        if start.elapsed() > PATIENCE {
            return Err(Error::VolumeInUse { volume: volume.clone(), device });
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

pub(crate) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Mount `point` on a place of ours.
pub(crate) fn stage(
    guest: &Guest,
    key: &str,
    point: &MountPoint,
    ids: Ids<'_>,
    place: &Path,
) -> Result<Attached> {
    let spot = || Ok(Spot::path(place));
    let attached = attach(guest, point, &spot)?;
    map_ids(key, point, ids, &spot)?;
    Ok(attached)
}

/// A container's ids while it runs, and on its volumes.
type Ids<'a> = (&'a IdMaps, &'a IdMaps);

/// On what is mounted there by now.
fn map_ids(
    key: &str,
    point: &MountPoint,
    (maps, disk): Ids<'_>,
    spot: &dyn Fn() -> Result<Spot>,
) -> Result<()> {
    if maps.is_empty() {
        if point.idmap.is_some() {
            warn(key, "idmap is ignored for a privileged container"); // as PVE
        }
        return Ok(());
    }
    let Some(ids) = disk_ids(key, point.idmap.as_deref(), maps, disk)? else { return Ok(()) };
    let mapped = id_mapped::remount(&ids, Extent::Mount, &spot()?.path, spot)?;
    mapped.map_err(|source| Error::IdMap { key: key.to_owned(), what: named(point), source })
}

pub(crate) fn named(point: &MountPoint) -> String {
    match &point.source {
        MountSource::Volume(volume) => format!("volume '{volume}'"),
        MountSource::Bind(path) => format!("'{}'", path.display()),
        MountSource::Device(device) => format!("device '{}'", device.display()),
    }
}

/// A volume of another container's, or a template, is not mounted, whoever wrote it into the config.
fn check_owner(guest: &Guest, volume: &VolumeId) -> Result<()> {
    match volume.name().parse() {
        Ok(VolumeName::Image { vmid, .. }) if vmid == guest.vmid => Ok(()),
        Ok(VolumeName::Image { .. } | VolumeName::File { .. }) | Err(_) => {
            Err(Error::ForeignVolume { volume: volume.clone(), vmid: guest.vmid })
        }
    }
}

/// Mount `point` where `spot` says, which is asked again once something is mounted there.
fn attach(guest: &Guest, point: &MountPoint, spot: &dyn Fn() -> Result<Spot>) -> Result<Attached> {
    match &point.source {
        MountSource::Volume(volume) => {
            check_owner(guest, volume)?;
            let storages = StorageConfig::read(&guest.root)?;
            let storage = storages.dir(&guest.root, &guest.node, volume.storage())?;
            let found = storage.existing(volume)?;
            match found.format {
                VolumeFormat::Subvol => {
                    bind(&found.path, point, spot)?;
                    if point.quota {
                        warn(&named(point), "quota is ignored: a folder has no blocks of its own");
                    }
                    Ok(Attached::default())
                }
                VolumeFormat::Raw => {
                    wait_until_free(&found.path, volume)?;
                    let device = loopdev::attach(&found.path, point.ro)?;
                    // The device lives as long as the mount does; our descriptor goes here.
                    let number = rustix::fs::fstat(&device)?.st_rdev;
                    let (name, quota_disks) = if point.quota {
                        (device.path(), vec![QuotaDisk::new(device.path(), number)])
                    } else {
                        (device.source(), Vec::new())
                    };
                    disk::mount(&name, &spot()?.path, point)?;
                    Ok(Attached { images: vec![found.path], quota_disks })
                }
                VolumeFormat::Qcow2 | VolumeFormat::Vmdk => Err(Error::VolumeFormat {
                    volume: volume.clone(),
                    format: found.format.as_str(),
                }),
            }
        }
        MountSource::Bind(source) => {
            let folder = open_source(source)?;
            let held = Spot::fd(folder);
            bind(&held.path, point, spot)?;
            Ok(Attached::default())
        }
        MountSource::Device(device) if point.quota => {
            // As the kernel calls it: what is linked to it is not there inside.
            let device = fs::canonicalize(device)?;
            disk::mount(&device, &spot()?.path, point)?;
            let number = rustix::fs::stat(&device)?.st_rdev;
            let quota_disks = vec![QuotaDisk::new(device, number)];
            Ok(Attached { images: Vec::new(), quota_disks })
        }
        MountSource::Device(device) => {
            disk::mount(device, &spot()?.path, point)?;
            Ok(Attached::default())
        }
    }
}

/// A folder of the host's, to which no link may lead, as in PVE (`bindmount` of PVE::LXC): who may write
/// above it is not always who may say what is mounted.
fn open_source(source: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(CWD, source, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(|err| match err {
        Errno::LOOP => Error::LinkToSource(source.to_owned()),
        Errno::NOENT | Errno::NOTDIR => Error::NoDirectory(source.to_owned()),
        err => Error::Open { path: source.to_owned(), source: err.into() },
    })
}

fn bind(source: &Path, point: &MountPoint, spot: &dyn Fn() -> Result<Spot>) -> Result<()> {
    let failed = |err: Errno| Error::Mount { what: named(point), source: err.into() };
    mount_bind(source, &spot()?.path).map_err(failed)?;
    let (flags, _) = disk::options(point)?;
    if !flags.is_empty() {
        mount_remount(&spot()?.path, MountFlags::BIND | flags, "").map_err(failed)?;
    }
    Ok(())
}

/// libcrun mounts over these by path; a link there would lead it out of the rootfs (CVE-2026-47766).
/// Missing ones are made by it.
pub(crate) fn refuse_odd_directories(rootfs: BorrowedFd<'_>) -> Result<()> {
    for name in ["dev", "proc", "sys"] {
        let kind = match statat(rootfs.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            Err(err) => return Err(Error::Io(err.into())),
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        };
        let kind = match kind {
            FileType::Directory => continue,
            FileType::Symlink => "a symbolic link",
            FileType::RegularFile => "a file",
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => "a special file",
        };
        return Err(Error::OddDirectory { name, kind });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prepare: impl FnOnce(&Path)) -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let root = rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap();
        refuse_odd_directories(root.as_fd())
    }

    #[test]
    fn takes_plain_and_missing_directories() {
        check(|dir| fs::create_dir(dir.join("proc")).unwrap()).unwrap();
    }

    #[test]
    fn names_a_link_and_a_file() {
        let err =
            check(|dir| std::os::unix::fs::symlink("/etc", dir.join("dev")).unwrap()).unwrap_err();
        assert_eq!(
            err.to_string(),
            "the rootfs is refused: its '/dev' is a symbolic link, not a plain directory"
        );
        let err = check(|dir| fs::write(dir.join("sys"), "").unwrap()).unwrap_err();
        assert!(err.to_string().contains("'/sys' is a file"), "{err}");
    }
}
