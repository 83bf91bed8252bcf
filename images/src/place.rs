//! Making files beneath a root descriptor, whatever the archive made there before.
//!
//! A folder on an entry's path may be a symbolic link (`lib -> usr/lib` is in every distribution),
//! so parents are resolved with `RESOLVE_IN_ROOT`: links are followed as a chroot would, and none
//! leads out. The last component is never followed, only created, linked or removed.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::{Refusal, remove};

/// A checked path: no empty, `.` or `..` components, no NUL. Empty for the root folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CleanPath(Vec<u8>);

impl CleanPath {
    pub(crate) fn new(path: &[u8], longest: usize) -> Result<Self, Refusal> {
        if path.len() > longest {
            return Err(Refusal::LongPath(longest));
        }
        if path.is_empty() || path.contains(&0) {
            return Err(Refusal::BadPath);
        }
        let parts: Vec<&[u8]> =
            path.split(|&b| b == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
        if parts.contains(&b"..".as_slice()) {
            return Err(Refusal::ParentComponent);
        }
        Ok(Self(parts.join(&b'/')))
    }

    /// `name` in the folder `folder`, both of a checked path.
    pub(crate) fn of(folder: &[u8], name: &[u8]) -> Self {
        if folder.is_empty() { Self(name.to_vec()) } else { Self([folder, b"/", name].concat()) }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_in(&self, folder: &[u8]) -> bool {
        self.0.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// The folder, empty for the root, and the name in it.
    pub(crate) fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (b"", &self.0),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Why a file could not be made.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused(Refusal),
    Os(Errno),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

pub(crate) struct Root<'fd> {
    pub(crate) root: BorrowedFd<'fd>,
    /// What is there already is a lower layer's, and gives way to whatever comes.
    layers: bool,
    /// The folder used last. Entries come folder by folder, so this saves most of the lookups.
    pub(crate) last: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

/// Device and inode.
pub(crate) type FileId = (u64, u64);

pub(crate) fn id(stat: &rustix::fs::Stat) -> FileId {
    (stat.st_dev, stat.st_ino)
}

/// A name in an open folder.
pub(crate) struct Slot<'p> {
    folder: Rc<OwnedFd>,
    name: &'p OsStr,
}

impl<'fd> Root<'fd> {
    pub(crate) fn new(root: BorrowedFd<'fd>) -> Self {
        Self { root, layers: false, last: None }
    }

    pub(crate) fn of_layers(root: BorrowedFd<'fd>) -> Self {
        Self { layers: true, ..Self::new(root) }
    }

    pub(crate) fn has_layers(&self) -> bool {
        self.layers
    }

    pub(crate) fn folder_itself(&self) -> BorrowedFd<'fd> {
        self.root
    }

    /// Where `path` belongs; missing folders on the way are made.
    pub(crate) fn slot<'p>(&mut self, path: &'p CleanPath) -> Result<Slot<'p>, Failure> {
        let (folder, name) = path.split();
        let folder = self.folder(folder, true)?;
        Ok(Slot { folder, name: OsStr::from_bytes(name) })
    }

    /// Where `path` is; nothing is made.
    pub(crate) fn existing<'p>(&mut self, path: &'p CleanPath) -> Result<Slot<'p>, Failure> {
        let (folder, name) = path.split();
        let folder = self.folder(folder, false)?;
        Ok(Slot { folder, name: OsStr::from_bytes(name) })
    }

    pub(crate) fn make_folder(&mut self, path: &CleanPath) -> Result<(), Failure> {
        self.folder(path.as_bytes(), true).map(drop)
    }

    fn folder(&mut self, path: &[u8], create: bool) -> Result<Rc<OwnedFd>, Failure> {
        if let Some((_, folder)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return Ok(Rc::clone(folder));
        }
        let folder = match self.open(path) {
            Err(Errno::NOENT) if create => self.create_folders(path)?,
            other => other?,
        };
        let folder = Rc::new(folder);
        self.last = Some((path.to_vec(), Rc::clone(&folder)));
        Ok(folder)
    }

    fn create_folders(&mut self, path: &[u8]) -> Result<OwnedFd, Failure> {
        let mut folder = self.open(b"")?;
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let name = path[..end].rsplit(|&b| b == b'/').next().unwrap_or_default();
            let made = rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755));
            if let Err(errno) = made
                && errno != Errno::EXIST
            {
                return Err(errno.into());
            }
            folder = match self.open(&path[..end]) {
                Err(Errno::NOENT) => return Err(Failure::Refused(Refusal::DanglingParent)),
                other => other?,
            };
        }
        Ok(folder)
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(self.root, path, flags, Mode::empty(), resolve) {
                // Some rename or mount elsewhere raced with a `..` in a link; nothing is wrong.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// Do `make` at `slot`; if something is in the way, remove that first and try again. An entry
    /// replaces an earlier one as with tar; a folder with contents goes only where there are layers.
    pub(crate) fn replacing<'p, T>(
        &mut self,
        slot: &Slot<'p>,
        mut make: impl FnMut(&Slot<'p>) -> Result<T, Errno>,
    ) -> Result<T, Failure> {
        match make(slot) {
            Err(Errno::EXIST) => {}
            result => return Ok(result?),
        }
        if slot.file_type()? == FileType::Directory {
            // The folder may be the one remembered.
            self.last = None;
            match rustix::fs::unlinkat(&slot.folder, slot.name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST)
                    if self.layers && remove::tree(slot.folder.as_fd(), slot.name)? => {}
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => {
                    return Err(Failure::Refused(Refusal::ReplacesFolder));
                }
                other => other?,
            }
        } else {
            self.last = None; // a link that led to the folder remembered
            rustix::fs::unlinkat(&slot.folder, slot.name, AtFlags::empty())?;
        }
        Ok(make(slot)?)
    }
}

impl Slot<'_> {
    fn file_type(&self) -> Result<FileType, Errno> {
        let stat = rustix::fs::statat(&self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.file_type() == Ok(FileType::Directory)
    }

    pub(crate) fn is_folder_of(&self, wanted: FileId) -> bool {
        rustix::fs::statat(&self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::Directory && id(&stat) == wanted
        })
    }

    pub(crate) fn create_file(&self) -> Result<File, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = rustix::fs::openat(&self.folder, self.name, flags | OFlags::CLOEXEC, mode)?;
        Ok(File::from(fd))
    }

    pub(crate) fn create_folder(&self) -> Result<(), Errno> {
        rustix::fs::mkdirat(&self.folder, self.name, Mode::RWXU)
    }

    pub(crate) fn open_folder(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.folder, self.name, flags, Mode::empty())
    }

    pub(crate) fn create_symlink(&self, target: &[u8]) -> Result<(), Errno> {
        rustix::fs::symlinkat(target, &self.folder, self.name)
    }

    pub(crate) fn create_link(&self, to: &Slot<'_>) -> Result<(), Errno> {
        rustix::fs::linkat(&to.folder, to.name, &self.folder, self.name, AtFlags::empty())
    }

    pub(crate) fn create_node(&self, kind: FileType, device: (u32, u32)) -> Result<(), Errno> {
        let device = rustix::fs::makedev(device.0, device.1);
        rustix::fs::mknodat(&self.folder, self.name, kind, Mode::RUSR | Mode::WUSR, device)
    }

    pub(crate) fn set_owner(&self, uid: u32, gid: u32) -> Result<(), Errno> {
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(&self.folder, self.name, Some(uid), Some(gid), flags)
    }

    /// For a node just made here: `fchmodat` follows links, and this is none.
    pub(crate) fn set_node_mode(&self, mode: Mode) -> Result<(), Errno> {
        rustix::fs::chmodat(&self.folder, self.name, mode, AtFlags::empty())
    }

    pub(crate) fn set_times(&self, times: &rustix::fs::Timestamps) -> Result<(), Errno> {
        rustix::fs::utimensat(&self.folder, self.name, times, AtFlags::SYMLINK_NOFOLLOW)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::CleanPath;
    use crate::Refusal;

    #[rstest]
    #[case("./usr//bin/./sh", Ok("usr/bin/sh"))]
    #[case("/etc/passwd", Ok("etc/passwd"))]
    #[case("./", Ok(""))]
    #[case("a/..", Err(Refusal::ParentComponent))]
    #[case("../a", Err(Refusal::ParentComponent))]
    #[case("..a/b..", Ok("..a/b.."))]
    #[case("", Err(Refusal::BadPath))]
    #[case("a\0b", Err(Refusal::BadPath))]
    #[case("0123456789a", Err(Refusal::LongPath(10)))]
    fn cleans(#[case] path: &str, #[case] want: Result<&str, Refusal>) {
        let longest = if path.starts_with('0') { 10 } else { 4095 };
        let want = want.map(|path| CleanPath(path.as_bytes().to_vec()));
        assert_eq!(CleanPath::new(path.as_bytes(), longest), want);
    }

    proptest! {
        #[test]
        fn holds_no_way_up(path: Vec<u8>) {
            if let Ok(clean) = CleanPath::new(&path, 4095) {
                prop_assert!(clean.0.split(|&b| b == b'/').all(|part| part != b".." && part != b"."));
            }
        }
    }
}
