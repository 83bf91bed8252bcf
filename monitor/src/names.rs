//! `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf` of an application, which brings nobody to
//! write them. Its image stays as it is: files of ours are mounted over its names.
//!
//! They lie on a small file system of their own, since the container's root may write to them: what it
//! fills is nobody else's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use fs_err as fs;
use pve_integration::bundle::IdMaps;
use pve_integration::ct_config::ContainerConfig;
use pve_integration::setup::{Settings, hosts_section, resolv_conf};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat, openat,
    openat2, statat,
};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, move_mount, open_tree, unmount,
};

use crate::as_root::as_root;
use crate::error::{During, Error, Result};
use crate::given::Given;
use crate::guest::{Guest, warn};
use crate::setup::known;

const FOLDER: &str = "names";

/// The files of a container that are shown to it.
pub(crate) struct Names {
    folder: PathBuf,
}

impl Names {
    /// Write them, and mount them on the root file system `rootfs`. Not for an init system.
    pub(crate) fn show(
        guest: &Guest,
        given: &Given,
        rootfs: BorrowedFd<'_>,
    ) -> Result<Option<Self>> {
        if !given.config.is_application() {
            return Ok(None);
        }
        let names = Self::of(guest);
        fs::create_dir_all(&names.folder)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("lxcri", &names.folder, "tmpfs", flags, c"size=64k,mode=755")
            .during("cannot mount a file system for the container's names")?;
        match names.fill(guest, given, rootfs) {
            Ok(()) => Ok(Some(names)),
            Err(err) => {
                names.unmount().ok(); // the first error is the one that tells
                Err(err)
            }
        }
    }

    /// Of a container that runs.
    pub(crate) fn of(guest: &Guest) -> Self {
        Self { folder: folder(guest) }
    }

    fn fill(&self, guest: &Guest, given: &Given, rootfs: BorrowedFd<'_>) -> Result<()> {
        let maps = &given.maps;
        let files = files(guest, &given.config)?;
        self.put(&files)?;
        let Some(etc) = etc(rootfs, maps)? else { return Ok(()) };
        for (name, _) in files {
            own(&self.folder.join(name), maps)?;
            self.cover(name, etc.as_fd(), maps)?;
        }
        Ok(())
    }

    /// For an address that changed.
    pub(crate) fn write_hosts(&self, guest: &Guest, config: &ContainerConfig) -> Result<()> {
        let [(name, text), ..] = files(guest, config)?;
        Ok(fs::write(self.folder.join(name), text)?)
    }

    /// For another life. In place: they are mounted.
    pub(crate) fn write(&self, guest: &Guest, config: &ContainerConfig) -> Result<()> {
        self.put(&files(guest, config)?)
    }

    fn put(&self, files: &[(&str, String)]) -> Result<()> {
        for (name, text) in files {
            fs::write(self.folder.join(name), text)?;
        }
        Ok(())
    }

    fn cover(&self, name: &str, etc: BorrowedFd<'_>, maps: &IdMaps) -> Result<()> {
        if let Err(err) = place(name, etc, maps) {
            warn(name, &format!("/etc/{name} of the image stays as it is: {err}"));
            return Ok(());
        }
        let source = self.folder.join(name);
        let failed =
            |err: Errno| Error::Mount { what: format!("'/etc/{name}'"), source: err.into() };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let file = open_tree(CWD, &source, flags).map_err(failed)?;
        // Not followed: a link there is covered, not what it leads to.
        move_mount(&file, "", etc, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(failed)
    }

    pub(crate) fn unmount(self) -> Result<()> {
        unmount(&self.folder, UnmountFlags::DETACH)?;
        Ok(fs::remove_dir(&self.folder)?)
    }
}

/// Where they lie in the monitor's mount namespace.
pub(crate) fn folder(guest: &Guest) -> PathBuf {
    guest.root.guest_run(guest.vmid).join(FOLDER)
}

fn files(guest: &Guest, config: &ContainerConfig) -> Result<[(&'static str, String); 3]> {
    let settings = known(guest, config)?;
    // As PVE has it (`set_hostname` of PVE/LXC/Setup/Base.pm).
    let short = settings.short_name().to_owned() + "\n";
    let Settings { hostname, address, search, servers, .. } = settings;
    Ok([
        ("hosts", hosts_section(None, address.as_deref(), &hostname, &search)),
        ("resolv.conf", resolv_conf(&search, &servers)),
        ("hostname", short),
    ])
}

/// The folder, made if there is none. `None`, with a warning, where that cannot be.
fn etc(rootfs: BorrowedFd<'_>, maps: &IdMaps) -> Result<Option<OwnedFd>> {
    let open = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(rootfs, "etc", flags, Mode::empty(), resolve)
    };
    let opened = open().or_else(|err| {
        if err != Errno::NOENT {
            return Err(err);
        }
        as_root(maps, || mkdirat(rootfs, "etc", Mode::from_raw_mode(0o755)))?;
        open()
    });
    match opened {
        Ok(etc) => Ok(Some(etc)),
        Err(err) => {
            let err = io::Error::from(err);
            warn("hostname", &format!("the image has no folder /etc for its name: {err}"));
            Ok(None)
        }
    }
}

/// Something that can be mounted on: whatever is there and is no folder, or an empty file.
fn place(name: &str, etc: BorrowedFd<'_>, maps: &IdMaps) -> io::Result<()> {
    match statat(etc, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            Err(io::ErrorKind::IsADirectory.into())
        }
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            as_root(maps, || openat(etc, name, flags, Mode::from_raw_mode(0o644)))?;
            Ok(())
        }
        Err(err) => Err(err.into()),
    }
}

fn own(path: &std::path::Path, maps: &IdMaps) -> rustix::io::Result<()> {
    let uid = Uid::from_raw(maps.root_uid().unwrap_or(0));
    let gid = Gid::from_raw(maps.root_gid().unwrap_or(0));
    chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}
