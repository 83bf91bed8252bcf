//! A file that is being received. It has no name until it is complete, so that one who dies half-way
//! leaves nothing: the kernel frees what nobody holds open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use fs_err as fs;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock};

/// Makes the names of one process differ.
static NUMBER: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
pub struct Spool {
    file: std::fs::File,
    /// Where the filesystem has no files without names.
    name: Option<PathBuf>,
}

impl Spool {
    /// `folder` decides which filesystem it takes space of; publishing there is a rename.
    pub fn within(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(folder, flags, Mode::from_raw_mode(0o644)) {
            Ok(file) => Ok(Self { file: file.into(), name: None }),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => Self::named(folder),
            Err(err) => Err(err.into()),
        }
    }

    /// Locked while somebody writes it, on network filesystems also for other nodes: `sweep` takes
    /// what nobody holds.
    fn named(folder: &Path) -> io::Result<Self> {
        let name = unique(folder, "upload");
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(&name, flags, Mode::from_raw_mode(0o644))?;
        let spool = Self { file: file.into(), name: Some(name) };
        flock(&spool.file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(spool)
    }

    /// Remove what those left who died in the middle, where files have to have names. For the next
    /// start.
    pub fn sweep(folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !name.starts_with(".upload.tmp.") {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let Ok(file) = rustix::fs::open(&path, flags, Mode::empty()) else { continue };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// To write it, or to read it from its start.
    pub fn file(&self) -> &std::fs::File {
        &self.file
    }

    /// Gives it `target` as its name, unless something has that name.
    pub fn publish_new(self, target: &Path) -> io::Result<()> {
        self.complete()?;
        self.link(target)?;
        fs::File::open(target.parent().unwrap_or(Path::new("/")))?.sync_all()
    }

    fn complete(&self) -> io::Result<()> {
        // As PVE, whatever the umask: templates are no secret.
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(0o644))?;
        self.file.sync_all()
    }

    /// Gives it `target` as its name, in place of what has that name.
    pub fn publish(self, target: &Path) -> io::Result<()> {
        let folder = target.parent().unwrap_or(Path::new("/"));
        let own = target.file_name().and_then(|name| name.to_str()).unwrap_or("file");
        self.complete()?;
        let beside = unique(folder, own);
        match self.link(&beside) {
            Ok(()) => {}
            // The folder of this content is another filesystem than the storage's.
            Err(err) if err.kind() == io::ErrorKind::CrossesDevices => {
                return self.copy(folder)?.publish(target);
            }
            Err(err) => return Err(err),
        }
        let renamed = fs::rename(&beside, target);
        if renamed.is_err() {
            fs::remove_file(&beside)?;
        }
        renamed?;
        fs::File::open(folder)?.sync_all()
    }

    fn link(&self, name: &Path) -> io::Result<()> {
        use std::os::fd::AsRawFd;

        let open = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, open.as_str(), CWD, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    fn copy(&self, folder: &Path) -> io::Result<Self> {
        use std::io::Seek;

        let copy = Self::within(folder)?;
        (&self.file).rewind()?;
        io::copy(&mut &self.file, &mut &copy.file)?;
        Ok(copy)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nobody is left to tell; the next one takes another name.
            drop(fs::remove_file(name));
        }
    }
}

fn unique(folder: &Path, name: &str) -> PathBuf {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    folder.join(format!(".{name}.tmp.{}.{number}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn appears_complete_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.tar");
        fs::write(&target, "old").unwrap();

        let spool = Spool::within(dir.path()).unwrap();
        spool.file().write_all(b"new").unwrap();
        let dropped = Spool::within(dir.path()).unwrap();
        dropped.file().write_all(b"never").unwrap();
        assert_eq!(names(dir.path()), ["a.tar"]);
        drop(dropped);
        spool.publish(&target).unwrap();

        assert_eq!(names(dir.path()), ["a.tar"]);
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
    }

    #[test]
    fn leaves_nothing_when_it_cannot_be_published() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("folder");
        fs::create_dir(&target).unwrap();

        let spool = Spool::within(dir.path()).unwrap();

        assert!(spool.publish(&target).is_err());
        assert_eq!(names(dir.path()), ["folder"]);
    }

    #[test]
    fn takes_the_place_of_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.tar");
        let spool = || {
            let spool = Spool::within(dir.path()).unwrap();
            spool.file().write_all(b"new").unwrap();
            spool
        };

        spool().publish_new(&target).unwrap();
        fs::write(&target, "other").unwrap();
        let taken = spool().publish_new(&target).unwrap_err();

        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(dir.path()), ["a.tar"]);
        assert_eq!(fs::read_to_string(&target).unwrap(), "other");
    }

    #[test]
    fn what_the_dead_left_goes_and_what_is_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".upload.tmp.1.0"), "half").unwrap();
        fs::write(dir.path().join("a.tar"), "whole").unwrap();
        let living = Spool::named(dir.path()).unwrap();

        Spool::sweep(dir.path()).unwrap();

        let mut left = names(dir.path());
        left.sort();
        let own = living.name.as_ref().unwrap().file_name().unwrap().to_str().unwrap();
        assert_eq!(left, [own, "a.tar"]);
        living.publish_new(&dir.path().join("b.tar")).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("b.tar")).unwrap(), "");
    }
}
