//! Files of a rootfs by descriptor. Its links are a stranger's: folders on the way are resolved as a
//! chroot would, the last component is never followed when it is written.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fchmod, fchown, fstat, mkdirat, openat,
    openat2, readlinkat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

/// No file that is edited here is anywhere near it.
const MOST: u64 = 4 << 20;

pub(super) struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// `root` is open as a folder.
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // Something elsewhere raced with a `..` in a link; nothing is wrong.
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return Ok(opened?),
            }
        }
    }

    fn folder(&self, path: &str) -> io::Result<OwnedFd> {
        self.open(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// The folder of `path`, and the name in it.
    fn place<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.folder(if folder.is_empty() { "/" } else { folder })?, name))
    }

    /// Of what the path leads to.
    fn stat(&self, path: &str) -> Option<Stat> {
        fstat(self.open(path, OFlags::PATH).ok()?).ok()
    }

    fn kind(&self, path: &str) -> Option<FileType> {
        self.stat(path).map(|stat| FileType::from_raw_mode(stat.st_mode))
    }

    pub(super) fn is_file(&self, path: &str) -> bool {
        self.kind(path) == Some(FileType::RegularFile)
    }

    pub(super) fn is_folder(&self, path: &str) -> bool {
        self.kind(path) == Some(FileType::Directory)
    }

    pub(super) fn is_program(&self, path: &str) -> bool {
        self.stat(path).is_some_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && stat.st_mode & 0o111 != 0
        })
    }

    /// Something of this name, wherever it leads.
    pub(super) fn exists(&self, path: &str) -> bool {
        let Ok((folder, name)) = self.place(path) else { return false };
        statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    pub(super) fn read_link(&self, path: &str) -> Option<String> {
        let (folder, name) = self.place(path).ok()?;
        readlinkat(folder, name, Vec::new()).ok()?.into_string().ok()
    }

    pub(super) fn is_link(&self, path: &str) -> bool {
        let Ok((folder, name)) = self.place(path) else { return false };
        statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    }

    /// An administrator's word that PVE leave a file alone.
    fn is_ignored(&self, path: &str) -> bool {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.is_file(&format!("{folder}/.pve-ignore.{name}"))
    }

    /// `None` if there is no such file, or it is none that can be edited.
    pub(super) fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        // A fifo must not keep us waiting for whoever writes into it.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match self.open(path, flags) {
            Ok(file) => std::fs::File::from(file),
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err),
        };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let read = file.take(MOST + 1).read_to_end(&mut bytes)?;
        if read as u64 > MOST {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("'{path}' is too large"),
            ));
        }
        Ok(Some(bytes))
    }

    /// As text. One that is none is left alone by whoever asks.
    pub(super) fn read_text(&self, path: &str) -> io::Result<Option<String>> {
        let Some(bytes) = self.read(path)? else { return Ok(None) };
        let text = String::from_utf8(bytes);
        text.map(Some)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("'{path}' is no text")))
    }

    /// Written beside and renamed. An old file's owner and mode stay unless `mode` is given.
    pub(super) fn write(&self, path: &str, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
        if self.is_ignored(path) {
            return Ok(());
        }
        let old = self.stat(path);
        let old = old.filter(|old| FileType::from_raw_mode(old.st_mode) == FileType::RegularFile);
        let (folder, name) = self.place(path)?;
        let beside = format!(".{name}.new");
        tolerate_missing(unlinkat(&folder, &beside, AtFlags::empty()))?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, &beside, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = std::fs::File::from(file);
        file.write_all(bytes)?;
        if let Some(old) = &old
            && mode.is_none()
        {
            let (uid, gid) = (old.st_uid, old.st_gid);
            fchown(
                &file,
                Some(rustix::fs::Uid::from_raw(uid)),
                Some(rustix::fs::Gid::from_raw(gid)),
            )?;
        }
        let kept = old.map_or(0o644, |old| old.st_mode & 0o7777);
        fchmod(&file, Mode::from_raw_mode(mode.unwrap_or(kept)))?;
        file.sync_all()?;
        Ok(renameat(&folder, &beside, &folder, name)?)
    }

    /// With those above it.
    pub(super) fn make_folders(&self, path: &str, mode: u32) -> io::Result<()> {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        for end in ends {
            let part = &path[..end];
            if !self.is_folder(part) {
                self.make_folder(part, mode)?;
            }
        }
        Ok(())
    }

    pub(super) fn make_folder(&self, path: &str, mode: u32) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        Ok(mkdirat(folder, name, Mode::from_raw_mode(mode))?)
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        if self.is_ignored(path) {
            return Ok(());
        }
        let (folder, name) = self.place(path)?;
        tolerate_missing(unlinkat(folder, name, AtFlags::empty()))
    }

    /// A symbolic link in the place of whatever file was there.
    pub(super) fn link(&self, target: &str, path: &str) -> io::Result<()> {
        if self.is_ignored(path) {
            return Ok(());
        }
        let (folder, name) = self.place(path)?;
        let beside = format!(".{name}.new");
        tolerate_missing(unlinkat(&folder, &beside, AtFlags::empty()))?;
        symlinkat(target, &folder, &beside)?;
        Ok(renameat(&folder, &beside, &folder, name)?)
    }
}

fn tolerate_missing(removed: rustix::io::Result<()>) -> io::Result<()> {
    match removed {
        Err(err) if err != Errno::NOENT => Err(err.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::CWD;

    use super::*;

    fn tree() -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join("etc")).unwrap();
        let root =
            openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, Tree::new(root))
    }

    #[test]
    fn keeps_mode_or_takes_one() {
        let (dir, tree) = tree();
        let path = dir.path().join("etc/shadow");
        fs_err::write(&path, "old").unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let mode = || fs_err::metadata(&path).unwrap().permissions().mode() & 0o7777;

        tree.write("/etc/shadow", b"new", None).unwrap();
        assert_eq!((fs_err::read_to_string(&path).unwrap().as_str(), mode()), ("new", 0o640));
        tree.write("/etc/shadow", b"new", Some(0o600)).unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn replaces_a_link_and_what_it_leads_to_stays() {
        let (dir, tree) = tree();
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        fs_err::write(&secret, "host\n").unwrap();
        symlink(&secret, dir.path().join("etc/hosts")).unwrap();
        symlink(outside.path(), dir.path().join("root")).unwrap();

        assert_eq!(tree.read("/etc/hosts").unwrap(), None);
        tree.write("/etc/hosts", b"new", None).unwrap();
        assert!(tree.write("/root/.ssh", b"x", None).is_err());

        assert_eq!(fs_err::read_to_string(&secret).unwrap(), "host\n");
        assert_eq!(fs_err::read_dir(outside.path()).unwrap().count(), 1);
        assert!(!tree.is_link("/etc/hosts"));
    }

    #[test]
    fn a_fifo_keeps_nobody_waiting() {
        let (dir, tree) = tree();
        rustix::fs::mkfifoat(CWD, dir.path().join("etc/passwd"), Mode::RUSR | Mode::WUSR).unwrap();
        assert_eq!(tree.read("/etc/passwd").unwrap(), None);
    }

    #[test]
    fn leaves_alone_what_it_is_told_to() {
        let (dir, tree) = tree();
        fs_err::write(dir.path().join("etc/hosts"), "mine").unwrap();
        fs_err::write(dir.path().join("etc/.pve-ignore.hosts"), "").unwrap();
        tree.write("/etc/hosts", b"new", None).unwrap();
        tree.remove("/etc/hosts").unwrap();
        assert_eq!(fs_err::read_to_string(dir.path().join("etc/hosts")).unwrap(), "mine");
    }
}
