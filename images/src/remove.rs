//! Taking away what a lower layer put there. Nothing is followed on the way down, and nothing goes
//! that is mounted: a volume of the container's may hold more than this image.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags, openat, openat2, unlinkat};
use rustix::io::Errno;

use crate::place::{CleanPath, Root};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Root<'_> {
    /// Remove `path` and all below; false if something mounted stayed.
    pub(crate) fn hide(&mut self, path: &CleanPath) -> Result<bool, Errno> {
        let (folder, name) = path.split();
        match self.lower(folder)? {
            Lower::Nothing => Ok(true),
            Lower::Mounted => Ok(false),
            Lower::Folder(folder) => tree(folder.as_fd(), OsStr::from_bytes(name)),
        }
    }

    /// Remove all that is in the folder `path`.
    pub(crate) fn empty(&mut self, path: &CleanPath) -> Result<bool, Errno> {
        match self.lower(path.as_bytes())? {
            Lower::Nothing => Ok(true),
            Lower::Mounted => Ok(false),
            Lower::Folder(folder) => clear(folder),
        }
    }

    /// A folder of a lower layer. Where that has a link the layer above has a folder of its own, of
    /// which nothing is hidden; so no link is followed at all.
    fn lower(&mut self, path: &[u8]) -> Result<Lower, Errno> {
        self.last = None; // it may go
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        loop {
            match openat2(self.root, path, FOLDER, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Lower::Nothing),
                Err(Errno::XDEV) => return Ok(Lower::Mounted),
                opened => return Ok(Lower::Folder(opened?)),
            }
        }
    }
}

enum Lower {
    Folder(OwnedFd),
    Nothing,
    /// On something mounted in the root filesystem.
    Mounted,
}

/// Remove `name` in `folder`; false if something mounted in it stayed.
pub(crate) fn tree(folder: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    match unlink(folder, name)? {
        Unlinked::Gone => Ok(true),
        Unlinked::Busy => Ok(false),
        Unlinked::Full => match child(folder, name) {
            Err(Errno::XDEV) => Ok(false),
            inner => Ok(clear(inner?)? && matches!(unlink(folder, name)?, Unlinked::Gone)),
        },
    }
}

/// One folder on the way down.
#[derive(Default)]
struct Level {
    /// In the folder above.
    name: OsString,
    /// What is in the way and stays.
    kept: HashSet<OsString>,
}

/// Remove all that is in a folder; true if nothing stayed. However deep it is, two descriptors are
/// open and no stack grows but that of names.
fn clear(folder: OwnedFd) -> Result<bool, Errno> {
    let (mut at, mut above) = (folder, Vec::new());
    let mut level = Level::default();
    loop {
        if let Some(name) = clear_files(&at, &mut level.kept)? {
            match child(at.as_fd(), &name) {
                Err(Errno::XDEV) => drop(level.kept.insert(name)),
                inner => {
                    at = inner?;
                    above.push(std::mem::replace(&mut level, Level { name, ..Level::default() }));
                }
            }
            continue;
        }
        let Some(outer) = above.pop() else { return Ok(level.kept.is_empty()) };
        let done = std::mem::replace(&mut level, outer);
        at = openat(&at, "..", FOLDER, Mode::empty())?;
        if !done.kept.is_empty() || !matches!(unlink(at.as_fd(), &done.name)?, Unlinked::Gone) {
            level.kept.insert(done.name);
        }
    }
}

/// Remove what has nothing in it, until a folder is found that has.
fn clear_files(folder: &OwnedFd, kept: &mut HashSet<OsString>) -> Result<Option<OsString>, Errno> {
    loop {
        // A folder read while it changes may leave entries out, so it is read until it does not.
        let mut changed = false;
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            if name == "." || name == ".." || kept.contains(&name) {
                continue;
            }
            match unlink(folder.as_fd(), &name)? {
                Unlinked::Gone => changed = true,
                Unlinked::Full => return Ok(Some(name)),
                Unlinked::Busy => drop(kept.insert(name)),
            }
        }
        if !changed {
            return Ok(None);
        }
    }
}

enum Unlinked {
    Gone,
    /// A folder with something in it.
    Full,
    /// Something is mounted there.
    Busy,
}

fn unlink(folder: BorrowedFd<'_>, name: &OsStr) -> Result<Unlinked, Errno> {
    let removed = match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => unlinkat(folder, name, AtFlags::REMOVEDIR),
        other => other,
    };
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(Unlinked::Gone),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Unlinked::Full),
        Err(Errno::BUSY) => Ok(Unlinked::Busy),
        Err(errno) => Err(errno),
    }
}

fn child(folder: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    loop {
        match openat2(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}
