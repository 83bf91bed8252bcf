//! Folders into an archive: what GNU tar makes with `--one-file-system --sparse --numeric-owner
//! --acls --xattrs`, which is how PVE's vzdump calls it. Owners are written as the container has
//! them. Nothing is followed: a link is a link, and what lies on another filesystem stays outside.

mod glob;
mod tar_stream;

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Stat};
use rustix::io::Errno;
use tar::EntryType;

use crate::acl::{self, Ids};
use crate::error::printable;
use crate::sparse::Map;
pub use glob::Excludes;
use tar_stream::{Head, Records, TarStream};

const COPY: usize = 128 << 10;
/// Linux' limit for one attribute, and for the list of names.
const ATTRIBUTE: usize = 64 << 10;
/// The kernel's own for a path.
const LONGEST_PATH: usize = 4095;
/// What the kernel shows for ids that have no place in a user namespace.
const NOBODY: u32 = 65_534;

/// Who owns files inside: `(first outside, first inside, how many)`. Empty means the same ids.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    pub uids: Vec<(u32, u32, u32)>,
    pub gids: Vec<(u32, u32, u32)>,
}

impl Owners {
    fn inside(maps: &[(u32, u32, u32)], id: u32) -> u32 {
        if maps.is_empty() {
            return id;
        }
        let found = maps.iter().find_map(|(outside, inside, count)| {
            let offset = id.checked_sub(*outside)?;
            (offset < *count).then(|| inside.saturating_add(offset))
        });
        found.unwrap_or(NOBODY)
    }
}

impl Ids for Owners {
    fn uid(&self, id: u32) -> u32 {
        Self::inside(&self.uids, id)
    }

    fn gid(&self, id: u32) -> u32 {
        Self::inside(&self.gids, id)
    }
}

/// Why there is no archive, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("cannot read '{path}'")]
    Read { path: String, source: io::Error },
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

/// What an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    pub entries: u64,
    /// Of the tar stream.
    pub bytes: u64,
}

/// An archive in the making.
pub struct Packer<'a, W> {
    stream: TarStream<W>,
    owners: Owners,
    excludes: Excludes,
    /// Paths that another tree brings; where one of them lies in a tree, it is passed over.
    elsewhere: Vec<Vec<u8>>,
    /// Files with several names, by where their first name is.
    links: HashMap<(u64, u64), Vec<u8>>,
    packed: Packed,
    tell: &'a mut dyn FnMut(Event<'_>),
    buffer: Vec<u8>,
}

/// What whoever packs may want to know.
#[derive(Clone, Debug)]
pub enum Event<'e> {
    Progress(Packed),
    /// Something was left out or changed meanwhile.
    Warning(&'e str),
}

impl<'a, W: Write> Packer<'a, W> {
    pub fn new(
        out: W,
        owners: Owners,
        excludes: Excludes,
        tell: &'a mut dyn FnMut(Event<'_>),
    ) -> Self {
        Self {
            stream: TarStream::new(out),
            owners,
            excludes,
            elsewhere: Vec::new(),
            links: HashMap::new(),
            packed: Packed::default(),
            tell,
            buffer: vec![0; COPY],
        }
    }

    /// A file that is in none of the trees, owned by root.
    pub fn file(&mut self, path: &str, content: &[u8], seconds: i64) -> Result<(), PackError> {
        let head = Head {
            path: [b"./", path.as_bytes()].concat(),
            link: Vec::new(),
            kind: EntryType::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: (seconds, 0),
            device: (0, 0),
            size: content.len() as u64,
            records: Vec::new(),
        };
        self.stream.head(&head, None).map_err(PackError::Write)?;
        self.stream.write(content).map_err(PackError::Write)?;
        self.end_entry()
    }

    /// Leave to another tree what is at these paths, given without a slash in front.
    pub fn leave_to_others(&mut self, paths: impl IntoIterator<Item = Vec<u8>>) {
        self.elsewhere = paths.into_iter().collect();
    }

    /// All below `root`, which becomes `prefix`: empty for the archive's own root.
    pub fn tree(&mut self, root: BorrowedFd<'_>, prefix: &[u8]) -> Result<(), PackError> {
        // Depth first, and at any time one folder is open besides the root, however deep they nest.
        let mut folders = vec![Vec::new()];
        while let Some(below) = folders.pop() {
            let path = join(prefix, &below);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let at: &[u8] = if below.is_empty() { b"." } else { &below };
            let folder = match retry(|| {
                rustix::fs::openat2(root, at, flags, Mode::empty(), resolve)
            }) {
                Ok(folder) => folder,
                // Gone since it was listed, or another file by now.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !below.is_empty() => continue,
                // Something is mounted there: the place is kept, what is in it is not ours.
                Err(Errno::XDEV) if !below.is_empty() => {
                    self.place_of_a_mount(root, &below, &path)?;
                    continue;
                }
                Err(errno) => return Err(unreadable(&path, errno)),
            };
            let stat = rustix::fs::fstat(&folder).map_err(|errno| unreadable(&path, errno))?;
            let mut head = self.head(&path, &stat, EntryType::Directory);
            head.records = self.attributes(folder.as_fd(), &path)?;
            self.entry(&head)?;
            self.children(&folder, &below, &path, &mut folders)?;
        }
        Ok(())
    }

    /// What is no folder is written, what is one waits in `folders`.
    fn children(
        &mut self,
        folder: &OwnedFd,
        below: &[u8],
        path: &[u8],
        folders: &mut Vec<Vec<u8>>,
    ) -> Result<(), PackError> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        for entry in Dir::read_from(folder).map_err(|errno| unreadable(path, errno))? {
            let entry = entry.map_err(|errno| unreadable(path, errno))?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        let first = folders.len();
        for name in names {
            let full = join(path, &name);
            if self.excludes.matches(&full) || self.elsewhere.contains(&full) {
                continue;
            }
            let relative = join(below, &name);
            if relative.len() > LONGEST_PATH {
                self.warn(&format!("'{}' has too long a path and is left out", printable(&full)));
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let name = OsStr::from_bytes(&name);
            let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
                Ok(file) => file,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(unreadable(&full, errno)),
            };
            let stat = rustix::fs::fstat(&file).map_err(|errno| unreadable(&full, errno))?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Directory {
                folders.push(relative);
            } else {
                self.child(&file, &stat, kind, &full)?;
            }
        }
        folders[first..].reverse();
        Ok(())
    }

    fn child(
        &mut self,
        file: &OwnedFd,
        stat: &Stat,
        kind: FileType,
        path: &[u8],
    ) -> Result<(), PackError> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let mut head = self.head(path, stat, EntryType::Link);
                head.link.clone_from(first);
                return self.entry(&head);
            }
            self.links.insert((stat.st_dev, stat.st_ino), [b"./", path].concat());
        }
        let kind = match kind {
            FileType::RegularFile => return self.regular(file, path),
            FileType::Symlink => EntryType::Symlink,
            FileType::CharacterDevice => EntryType::Char,
            FileType::BlockDevice => EntryType::Block,
            FileType::Fifo => EntryType::Fifo,
            // A socket means nothing without who listens.
            FileType::Socket | FileType::Directory | FileType::Unknown => return Ok(()),
        };
        let mut head = self.head(path, stat, kind);
        if kind == EntryType::Symlink {
            let target = rustix::fs::readlinkat(file, c"", Vec::new());
            head.link = target.map_err(|errno| unreadable(path, errno))?.into_bytes();
        }
        if matches!(kind, EntryType::Char | EntryType::Block) {
            head.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        }
        self.entry(&head)
    }

    fn regular(&mut self, file: &OwnedFd, path: &[u8]) -> Result<(), PackError> {
        // Opened anew by descriptor: it is the file that we looked at, and no device by now.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOATIME;
        let place = format!("/proc/self/fd/{}", file.as_raw_fd());
        let opened = rustix::fs::open(place.as_str(), flags, Mode::empty());
        let opened = opened.map_err(|errno| unreadable(path, errno))?;
        let stat = rustix::fs::fstat(&opened).map_err(|errno| unreadable(path, errno))?;
        let mut head = self.head(path, &stat, EntryType::Regular);
        head.records = self.attributes(opened.as_fd(), path)?;
        head.size = u64::try_from(stat.st_size).unwrap_or_default();
        let used = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512);
        let map = if used < head.size { holes(opened.as_fd(), head.size) } else { None };
        self.stream.head(&head, map.as_ref()).map_err(PackError::Write)?;
        let opened = File::from(opened);
        match &map {
            None => self.copy(&opened, path, 0, head.size)?,
            Some(map) => {
                for chunk in &map.chunks {
                    self.copy(&opened, path, chunk.offset, chunk.length)?;
                }
            }
        }
        self.end_entry()
    }

    /// Exactly `length` bytes: the header has said so.
    fn copy(
        &mut self,
        file: &File,
        path: &[u8],
        mut offset: u64,
        length: u64,
    ) -> Result<(), PackError> {
        let end = offset + length;
        let mut shrunk = false;
        while offset < end {
            let most = usize::try_from(end - offset).unwrap_or(usize::MAX).min(COPY);
            let count = match file.read_at(&mut self.buffer[..most], offset) {
                Ok(0) => {
                    self.buffer[..most].fill(0);
                    shrunk = true;
                    most
                }
                Ok(count) => count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(PackError::Read { path: printable(path), source }),
            };
            self.stream.write(&self.buffer[..count]).map_err(PackError::Write)?;
            offset += count as u64;
            self.report();
        }
        if shrunk {
            self.warn(&format!(
                "'{}' shrank while it was read, padded with zeros",
                printable(path)
            ));
        }
        Ok(())
    }

    fn place_of_a_mount(
        &mut self,
        root: BorrowedFd<'_>,
        below: &[u8],
        path: &[u8],
    ) -> Result<(), PackError> {
        let stat = match rustix::fs::statat(root, below, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(unreadable(path, errno)),
        };
        let head = self.head(path, &stat, EntryType::Directory);
        self.entry(&head)
    }

    fn head(&self, path: &[u8], stat: &Stat, kind: EntryType) -> Head {
        let mut path = [b"./", path].concat();
        if kind == EntryType::Directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        Head {
            path,
            link: Vec::new(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: self.owners.uid(stat.st_uid),
            gid: self.owners.gid(stat.st_gid),
            mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
            device: (0, 0),
            size: 0,
            records: Vec::new(),
        }
    }

    /// Those that vzdump keeps: a user's own, file capabilities, and ACLs.
    fn attributes(&mut self, file: BorrowedFd<'_>, path: &[u8]) -> Result<Records, PackError> {
        let failed = |errno| unreadable(path, errno);
        let mut names = vec![0; ATTRIBUTE];
        let length = match rustix::fs::flistxattr(file, names.as_mut_slice()) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Ok(length) => length,
            Err(errno) => return Err(failed(errno)),
        };
        let mut records = Vec::new();
        for name in names[..length].split_inclusive(|byte| *byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
            let text = name.to_bytes();
            let acl = match text {
                b"system.posix_acl_access" => Some("SCHILY.acl.access"),
                b"system.posix_acl_default" => Some("SCHILY.acl.default"),
                b"security.capability" => None,
                _ if text.starts_with(b"user.") => None,
                _ => continue,
            };
            let mut value = vec![0; ATTRIBUTE];
            match rustix::fs::fgetxattr(file, name, value.as_mut_slice()) {
                Ok(length) => value.truncate(length),
                Err(Errno::NODATA) => continue,
                Err(errno) => return Err(failed(errno)),
            }
            if let Some(key) = acl {
                match acl::to_text(&value, &self.owners) {
                    Some(text) => records.push((key.as_bytes().to_vec(), text.into_bytes())),
                    None => self.warn(&format!("'{}' has an ACL of unknown form", printable(path))),
                }
                continue;
            }
            if text == b"security.capability" {
                value = inside_capability(value);
            }
            records.push(([b"SCHILY.xattr.", text].concat(), value));
        }
        Ok(records)
    }

    fn entry(&mut self, head: &Head) -> Result<(), PackError> {
        self.stream.head(head, None).map_err(PackError::Write)?;
        self.end_entry()
    }

    fn end_entry(&mut self) -> Result<(), PackError> {
        self.stream.end_entry().map_err(PackError::Write)?;
        self.packed.entries += 1;
        self.report();
        Ok(())
    }

    fn report(&mut self) {
        self.packed.bytes = self.stream.written();
        (self.tell)(Event::Progress(self.packed));
    }

    fn warn(&mut self, text: &str) {
        (self.tell)(Event::Warning(text));
    }

    /// The end of the archive, and who it was written to.
    pub fn finish(self) -> Result<(W, Packed), PackError> {
        let (out, bytes) = self.stream.finish().map_err(PackError::Write)?;
        Ok((out, Packed { bytes, ..self.packed }))
    }
}

/// A capability of a container's root carries that root's id outside (revision 3); inside, where it
/// will be set again, it is one without (revision 2), as the kernel itself would show it there.
fn inside_capability(value: Vec<u8>) -> Vec<u8> {
    const REVISION_2: u8 = 2;
    const REVISION_3: u8 = 3;
    if value.len() != 24 || value[3] != REVISION_3 {
        return value;
    }
    let mut inside = value[..20].to_vec();
    inside[3] = REVISION_2;
    inside
}

/// `None` where the filesystem cannot tell, or there is no hole.
fn holes(file: BorrowedFd<'_>, size: u64) -> Option<Map> {
    let mut map = Map::of_size(size);
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => break, // a hole up to the end
            Err(_) => return None,
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(data)).ok()?.min(size);
        if end <= data {
            break; // it changes as we look
        }
        map.push(data, end - data).ok()?;
        at = end;
    }
    let whole = map.chunks.first().is_some_and(|chunk| chunk.length == size);
    if whole {
        return None;
    }
    // GNU tar's readers take the end from here.
    if at < size || map.chunks.is_empty() {
        map.push(size, 0).ok()?;
    }
    Some(map)
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match (folder, name) {
        (b"", name) => name.to_vec(),
        (folder, b"") => folder.to_vec(),
        (folder, name) => [folder, b"/", name].concat(),
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

fn unreadable(path: &[u8], errno: Errno) -> PackError {
    PackError::Read { path: printable(path), source: errno.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_nobody_mapped_are_nobodys() {
        let owners = Owners { uids: vec![(100_000, 0, 65_536)], gids: Vec::new() };
        assert_eq!([100_000, 101_000, 165_535].map(|id| owners.uid(id)), [0, 1000, 65_535]);
        assert_eq!([0, 99_999, 165_536].map(|id| owners.uid(id)), [NOBODY; 3]);
        assert_eq!(owners.gid(1000), 1000);
    }

    #[test]
    fn a_capability_loses_its_root() {
        let mut value = vec![0; 24];
        (value[0], value[3], value[20]) = (1, 3, 0xa0);
        let inside = inside_capability(value);
        assert_eq!((inside.len(), inside[0], inside[3]), (20, 1, 2));
    }
}
