//! The folder of a mount point inside the rootfs. What leads there is the container's, so it is
//! walked by descriptor and no link is followed (`walk_tree_nofollow` of pve-container's `PVE/LXC.pm`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use pve_integration::bundle::IdMaps;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, mkdirat, openat};
use rustix::io::Errno;

use crate::as_root::as_root;
use crate::error::{Error, Result};

/// A folder as mount(2) takes it.
pub(crate) struct Spot {
    pub(crate) path: PathBuf,
    /// What `path` names, where it is one of `/proc/self/fd`.
    _folder: Option<OwnedFd>,
}

impl Spot {
    pub(crate) fn path(path: &Path) -> Self {
        Self { path: path.to_owned(), _folder: None }
    }

    pub(crate) fn fd(folder: OwnedFd) -> Self {
        Self { path: proc_path(folder.as_fd()), _folder: Some(folder) }
    }
}

fn proc_path(folder: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", folder.as_raw_fd()).into()
}

pub(crate) struct Target<'a> {
    pub(crate) root: BorrowedFd<'a>,
    pub(crate) key: &'a str,
    pub(crate) mp: &'a Path,
    pub(crate) maps: &'a IdMaps,
}

impl Target<'_> {
    /// The folder, or what is mounted on it by now. What is missing is made, as the container's.
    pub(crate) fn open(&self) -> Result<OwnedFd> {
        self.walk().map_err(|errno| Error::MountTarget {
            key: self.key.to_owned(),
            mp: self.mp.to_owned(),
            source: errno.into(),
        })
    }

    fn walk(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = openat(self.root, ".", flags, Mode::empty())?;
        for part in self.mp.components() {
            let name = match part {
                Component::Normal(name) => name,
                Component::RootDir | Component::CurDir => continue,
                Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL),
            };
            folder = match openat(&folder, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    let mode = Mode::from_raw_mode(0o755);
                    as_root(self.maps, || mkdirat(&folder, name, mode))?;
                    openat(&folder, name, flags, Mode::empty())?
                }
                opened => opened?,
            };
        }
        Ok(folder)
    }

    /// `keepattrs`: what is mounted looks as the folder did.
    pub(crate) fn set_attributes(&self, folder: &Stat) -> Result<()> {
        let mounted = self.open()?;
        give_attributes(folder, &proc_path(mounted.as_fd()))
    }
}

/// Owner and mode of `folder`, to what is mounted at `path`.
pub(crate) fn give_attributes(folder: &Stat, path: &Path) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(folder.st_uid), Gid::from_raw(folder.st_gid));
    chownat(CWD, path, Some(uid), Some(gid), AtFlags::empty())?;
    let mode = Mode::from_raw_mode(folder.st_mode & 0o7777);
    Ok(chmodat(CWD, path, mode, AtFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use pve_integration::ct_config::ContainerConfig;

    use super::*;

    #[test]
    fn makes_folders_and_follows_no_link() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), dir.path().join("var")).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let root = openat(CWD, dir.path(), flags, Mode::empty()).unwrap();
        let maps = IdMaps::on_disk(&ContainerConfig::parse(b"unprivileged: 0\n")).unwrap();
        let open = |mp: &str| {
            Target { root: root.as_fd(), key: "mp0", mp: Path::new(mp), maps: &maps }.open()
        };

        open("/srv/data/").unwrap();
        open("/srv/data").unwrap();
        for mp in ["/var/lib", "/var", "/srv/../.."] {
            let err = open(mp).unwrap_err().to_string();
            assert_eq!(err, format!("mp0: cannot make its folder '{mp}' in the container"));
        }

        assert!(dir.path().join("srv/data").is_dir());
        assert_eq!(fs_err::read_dir(outside.path()).unwrap().count(), 0);
    }
}
