//! The walk through an archive.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use rustix::fs::{FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::compression;
use crate::error::{Place, printable};
use crate::header::{Entry, Kind};
use crate::place::{CleanPath, Failure, FileId, Root, Slot, id};
use crate::tape::{Meter, Tape};
use crate::whiteout::Whiteout;
use crate::{Limits, Progress, Refusal, Summary, UnpackError};

const REPORT_ENTRIES: u64 = 2000;
const REPORT_BYTES: u64 = 32 << 20;
const COPY: usize = 128 << 10;

/// Folders get their times last, as every file made in one changes them. More than this many bytes
/// of paths are not remembered; what is above keeps the time of unpacking.
const REMEMBERED: usize = 32 << 20;

/// Unpack `archive`, compressed with gzip, lzop, xz, zstd or not at all, into the folder `root`, a descriptor open for
/// reading.
///
/// Nothing is written outside `root`, whatever the archive holds. Owners, modes, times and extended
/// attributes are kept; without root's rights in the user namespace, owners are not. Memory does not
/// grow with the archive. On an error what was unpacked so far is left to the caller, who gave the
/// folder.
pub fn unpack(
    root: BorrowedFd<'_>,
    archive: impl Read,
    limits: &Limits,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Summary, UnpackError> {
    let meter = Meter::default();
    let stream = compression::open(archive, Rc::clone(&meter.taken))?;
    let mut tape = Tape::new(stream, limits, meter.clone());
    let mut unpacking = Unpacking::new(Root::new(root), limits, meter, progress);
    while let Some(entry) = tape.next_entry()? {
        match unpacking.entry(&mut tape, &entry) {
            Err(UnpackError::Refused { .. } | UnpackError::Io { .. }) if limits.keep_going => {
                unpacking.summary.failed += 1;
            }
            other => other?,
        }
    }
    if unpacking.summary.entries == 0 {
        return Err(UnpackError::Empty);
    }
    unpacking.finish()
}

/// Make the folder `path` in `root`, and those on the way to it. Links are followed within `root`.
pub fn make_folder(root: BorrowedFd<'_>, path: &[u8], limits: &Limits) -> Result<(), UnpackError> {
    let entry = || printable(path);
    let path = CleanPath::new(path, limits.path)
        .map_err(|reason| UnpackError::Refused { entry: entry(), reason })?;
    Root::new(root).make_folder(&path).map_err(|failure| match failure {
        Failure::Refused(reason) => UnpackError::Refused { entry: entry(), reason },
        Failure::Os(errno) => {
            UnpackError::Io { action: "create", entry: entry(), source: errno.into() }
        }
    })
}

/// The first entry of an archive that has one of these paths, and its content.
pub fn find(
    archive: impl Read,
    paths: &[&str],
    most: u64,
) -> Result<Option<(String, Vec<u8>)>, UnpackError> {
    let limits = Limits::of_a_backup();
    let meter = Meter::default();
    let mut tape = Tape::new(compression::open(archive, Rc::clone(&meter.taken))?, &limits, meter);
    while let Some(entry) = tape.next_entry()? {
        let Ok(path) = CleanPath::new(&entry.path, limits.path) else { continue };
        let Some(found) = paths.iter().find(|wanted| wanted.as_bytes() == path.as_bytes()) else {
            continue;
        };
        if entry.kind != Kind::File || entry.sparse.is_some() {
            continue;
        }
        if entry.size > most {
            let place = Place::In(printable(&entry.path));
            return Err(UnpackError::TooLarge { limit: most, place });
        }
        let (mut content, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match tape.read_data(&mut buffer)? {
                0 => return Ok(Some(((*found).to_owned(), content))),
                count => content.extend_from_slice(&buffer[..count]),
            }
        }
    }
    Ok(None)
}

struct FolderTime {
    path: CleanPath,
    mtime: (i64, u32),
    id: FileId,
}

/// What an archive becomes, entry by entry; or more than one, the later over the earlier.
pub(crate) struct Unpacking<'a> {
    pub(crate) root: Root<'a>,
    limits: &'a Limits,
    meter: Meter,
    summary: Summary,
    reported: Progress,
    progress: &'a mut dyn FnMut(&Progress),
    keep_owners: bool,
    folder_times: Vec<FolderTime>,
    remembered: usize,
    buffer: Vec<u8>,
}

impl<'a> Unpacking<'a> {
    pub(crate) fn new(
        root: Root<'a>,
        limits: &'a Limits,
        meter: Meter,
        progress: &'a mut dyn FnMut(&Progress),
    ) -> Self {
        Self {
            root,
            limits,
            meter,
            summary: Summary::default(),
            reported: Progress::default(),
            progress,
            keep_owners: rustix::process::geteuid().is_root(),
            folder_times: Vec::new(),
            remembered: 0,
            buffer: vec![0; COPY],
        }
    }

    /// One layer's content over what is there. Its whiteouts were obeyed before.
    pub(crate) fn layer(&mut self, tape: &mut Tape<'_>) -> Result<(), UnpackError> {
        while let Some(entry) = tape.next_entry()? {
            self.entry(tape, &entry)?;
        }
        Ok(())
    }

    fn entry(&mut self, tape: &mut Tape<'_>, entry: &Entry) -> Result<(), UnpackError> {
        self.summary.entries += 1;
        if self.summary.entries > self.limits.entries {
            return Err(UnpackError::TooManyEntries(self.limits.entries));
        }
        let refused = |reason| UnpackError::Refused { entry: printable(&entry.path), reason };
        let path = CleanPath::new(&entry.path, self.limits.path).map_err(refused)?;
        if self.limits.left_out.iter().any(|left_out| left_out.as_bytes() == path.as_bytes()) {
            return Ok(());
        }
        if self.root.has_layers() {
            if Whiteout::of(&path).is_some() {
                return Ok(());
            }
        } else if path.as_bytes() == LAYOUT {
            return Err(UnpackError::Layers);
        }
        if path.is_root() {
            if entry.kind != Kind::Directory {
                return Err(refused(Refusal::ReplacesRoot));
            }
            let root = self.root.folder_itself();
            self.finish_folder(entry, path, root)?;
        } else {
            let slot = self.root.slot(&path).map_err(|err| failed(entry, "reach", err))?;
            match entry.kind {
                Kind::File => self.file(tape, entry, &slot)?,
                Kind::HardLink => self.hard_link(entry, &path, &slot)?,
                Kind::Symlink => self.symlink(entry, &slot)?,
                Kind::Directory => self.folder(entry, path.clone(), &slot)?,
                Kind::Fifo => self.node(entry, &slot, FileType::Fifo)?,
                Kind::CharDevice => self.device(entry, &path, &slot, FileType::CharacterDevice)?,
                Kind::BlockDevice => self.device(entry, &path, &slot, FileType::BlockDevice)?,
            }
        }
        self.summary.skipped_attributes += entry.foreign_attributes;
        self.report(false);
        Ok(())
    }

    fn file(
        &mut self,
        tape: &mut Tape<'_>,
        entry: &Entry,
        slot: &Slot<'_>,
    ) -> Result<(), UnpackError> {
        if entry.size > self.limits.bytes - self.summary.bytes {
            let place = Place::In(printable(&entry.path));
            return Err(UnpackError::TooLarge { limit: self.limits.bytes, place });
        }
        let file = self
            .root
            .replacing(slot, Slot::create_file)
            .map_err(|err| failed(entry, "create", err))?;
        match &entry.sparse {
            None => self.copy(tape, entry, &file, (0, entry.size))?,
            Some(map) => {
                for chunk in &map.chunks {
                    self.copy(tape, entry, &file, (chunk.offset, chunk.length))?;
                }
                rustix::fs::ftruncate(&file, map.size)
                    .map_err(|err| failed(entry, "size", err.into()))?;
            }
        }
        self.finish_fd(entry, file.as_fd())?;
        rustix::fs::futimens(&file, &times(entry.mtime))
            .map_err(|err| failed(entry, "set the times of", err.into()))
    }

    fn copy(
        &mut self,
        tape: &mut Tape<'_>,
        entry: &Entry,
        file: &File,
        (mut offset, length): (u64, u64),
    ) -> Result<(), UnpackError> {
        let end = offset + length; // checked when the map was, and sizes are at most i64::MAX
        while offset < end {
            let most = usize::try_from(end - offset).unwrap_or(usize::MAX).min(COPY);
            let count = tape.read_data(&mut self.buffer[..most])?;
            file.write_all_at(&self.buffer[..count], offset).map_err(|source| UnpackError::Io {
                action: "write",
                entry: printable(&entry.path),
                source,
            })?;
            offset += count as u64;
            self.summary.bytes += count as u64;
            self.report(false);
        }
        Ok(())
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        path: &CleanPath,
        slot: &Slot<'_>,
    ) -> Result<(), UnpackError> {
        let refused = |reason| UnpackError::Refused { entry: printable(&entry.path), reason };
        let target = CleanPath::new(&entry.link, self.limits.path)
            .map_err(|_| refused(Refusal::BadLinkTarget))?;
        if target.is_root() {
            return Err(refused(Refusal::BadLinkTarget));
        }
        if target == *path {
            return Ok(()); // some writers do this for the first name; it is there already
        }
        self.root
            .existing(&target)
            .and_then(|target| self.root.replacing(slot, |slot| slot.create_link(&target)))
            .map_err(|err| failed(entry, "make the hard link", err))
    }

    fn symlink(&mut self, entry: &Entry, slot: &Slot<'_>) -> Result<(), UnpackError> {
        let target = entry.link.as_slice();
        if target.is_empty() || target.len() > self.limits.path || target.contains(&0) {
            let reason = Refusal::BadLinkTarget;
            return Err(UnpackError::Refused { entry: printable(&entry.path), reason });
        }
        self.root
            .replacing(slot, |slot| slot.create_symlink(target))
            .map_err(|err| failed(entry, "make the link", err))?;
        // The kernel has no call for a link's attributes by descriptor, and nobody sets any.
        self.summary.skipped_attributes += entry.attributes.len() as u64;
        self.finish_name(entry, slot)
    }

    fn folder(
        &mut self,
        entry: &Entry,
        path: CleanPath,
        slot: &Slot<'_>,
    ) -> Result<(), UnpackError> {
        if !slot.is_folder() {
            self.root
                .replacing(slot, Slot::create_folder)
                .map_err(|err| failed(entry, "create", err))?;
        }
        let folder = slot.open_folder().map_err(|err| failed(entry, "open", err.into()))?;
        if self.root.has_layers() {
            forget_attributes(folder.as_fd(), entry)
                .map_err(|err| failed(entry, "remove an attribute of", err.into()))?;
        }
        self.finish_folder(entry, path, folder.as_fd())
    }

    fn device(
        &mut self,
        entry: &Entry,
        path: &CleanPath,
        slot: &Slot<'_>,
        kind: FileType,
    ) -> Result<(), UnpackError> {
        if path.is_in(b"dev") {
            self.summary.skipped_devices += 1; // a container gets a fresh /dev
            return Ok(());
        }
        match self.node(entry, slot, kind) {
            // Root of a user namespace may not make nodes, and could not use them either.
            Err(UnpackError::Io { action: MAKE_NODE, source, .. })
                if source.raw_os_error() == Some(Errno::PERM.raw_os_error()) =>
            {
                self.summary.skipped_devices += 1;
                Ok(())
            }
            result => result,
        }
    }

    fn node(&mut self, entry: &Entry, slot: &Slot<'_>, kind: FileType) -> Result<(), UnpackError> {
        self.root
            .replacing(slot, |slot| slot.create_node(kind, entry.device))
            .map_err(|err| failed(entry, MAKE_NODE, err))?;
        self.summary.skipped_attributes += entry.attributes.len() as u64;
        self.finish_name(entry, slot)?;
        slot.set_node_mode(Mode::from_raw_mode(entry.mode))
            .map_err(|err| failed(entry, "set the mode of", err.into()))
    }

    /// Owner and times of what cannot be opened.
    fn finish_name(&self, entry: &Entry, slot: &Slot<'_>) -> Result<(), UnpackError> {
        if self.keep_owners {
            slot.set_owner(entry.uid, entry.gid).map_err(|errno| owner_failed(entry, errno))?;
        }
        slot.set_times(&times(entry.mtime))
            .map_err(|err| failed(entry, "set the times of", err.into()))
    }

    fn finish_folder(
        &mut self,
        entry: &Entry,
        path: CleanPath,
        folder: BorrowedFd<'_>,
    ) -> Result<(), UnpackError> {
        self.finish_fd(entry, folder)?;
        if self.remembered < REMEMBERED {
            let id =
                id(&rustix::fs::fstat(folder).map_err(|err| failed(entry, "open", err.into()))?);
            self.remembered += path.as_bytes().len() + size_of::<FolderTime>();
            self.folder_times.push(FolderTime { path, mtime: entry.mtime, id });
        }
        Ok(())
    }

    /// Owner, mode and attributes, in this order: a new owner clears set-id bits and capabilities.
    fn finish_fd(&mut self, entry: &Entry, fd: BorrowedFd<'_>) -> Result<(), UnpackError> {
        if self.keep_owners {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            rustix::fs::fchown(fd, Some(uid), Some(gid))
                .map_err(|errno| owner_failed(entry, errno))?;
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))
            .map_err(|err| failed(entry, "set the mode of", err.into()))?;
        for (name, value) in &entry.attributes {
            match rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                Ok(()) => {}
                // `trusted.*` is the host's, and not every filesystem has every kind.
                Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL) => {
                    self.summary.skipped_attributes += 1;
                }
                Err(errno) => return Err(failed(entry, "set an attribute of", errno.into())),
            }
        }
        Ok(())
    }

    /// Folder times, then the summary. Of a folder that came twice the later time stays.
    pub(crate) fn finish(mut self) -> Result<Summary, UnpackError> {
        for FolderTime { path, mtime, id } in std::mem::take(&mut self.folder_times) {
            if path.is_root() {
                rustix::fs::futimens(self.root.folder_itself(), &times(mtime))
                    .map_err(|errno| late(&path, errno))?;
            } else if let Ok(slot) = self.root.existing(&path)
                // A later entry may have put something else there, or a link to elsewhere above.
                && slot.is_folder_of(id)
            {
                slot.set_times(&times(mtime)).map_err(|errno| late(&path, errno))?;
            }
        }
        self.report(true);
        Ok(self.summary)
    }

    fn report(&mut self, last: bool) {
        self.summary.archive_bytes = self.meter.taken.get();
        let Summary { entries, bytes, archive_bytes, .. } = self.summary;
        let due = entries - self.reported.entries >= REPORT_ENTRIES
            || bytes - self.reported.bytes >= REPORT_BYTES;
        if due || last {
            self.reported = Progress { entries, bytes, archive_bytes };
            (self.progress)(&self.reported);
        }
    }
}

/// What an OCI image has at its top, and no root filesystem: unpacked like one it would be a
/// container of blobs.
const LAYOUT: &[u8] = b"oci-layout";

const MAKE_NODE: &str = "make the node";

/// A folder of a lower layer has no attribute that the later layer's entry has not.
fn forget_attributes(folder: BorrowedFd<'_>, entry: &Entry) -> Result<(), Errno> {
    let mut names = [0_u8; 16 << 10];
    let size = match rustix::fs::flistxattr(folder, &mut names[..]) {
        Ok(size) => size,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    for name in names[..size].split(|&b| b == 0).filter(|name| !name.is_empty()) {
        if entry.attributes.iter().any(|(own, _)| own == name) {
            continue;
        }
        match rustix::fs::fremovexattr(folder, name) {
            // The host's own are not ours to take.
            Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn failed(entry: &Entry, action: &'static str, failure: Failure) -> UnpackError {
    let entry = printable(&entry.path);
    match failure {
        Failure::Refused(reason) => UnpackError::Refused { entry, reason },
        Failure::Os(errno) => UnpackError::Io { action, entry, source: io::Error::from(errno) },
    }
}

fn late(path: &CleanPath, errno: Errno) -> UnpackError {
    let entry = printable(path.as_bytes());
    UnpackError::Io { action: "set the times of", entry, source: io::Error::from(errno) }
}

fn owner_failed(entry: &Entry, errno: Errno) -> UnpackError {
    if errno == Errno::INVAL {
        let reason = Refusal::UnmappedOwner { uid: entry.uid, gid: entry.gid };
        return UnpackError::Refused { entry: printable(&entry.path), reason };
    }
    failed(entry, "set the owner of", errno.into())
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
