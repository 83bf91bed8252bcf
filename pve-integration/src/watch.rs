//! Whether anything in a folder changed, told by the kernel: what spares a list of a thousand files
//! a `stat` of each.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use fs_err as fs;
use inotify::{Inotify, WatchMask};
use rustix::fs::statfs;

/// Room for a few events; how many there are does not matter.
const EVENTS: usize = 4096;

/// File systems that only this kernel writes to, statfs(2): ext4, xfs, btrfs, tmpfs, zfs, f2fs.
/// Others, PVE's cluster file system among them, change without inotify's knowledge.
const LOCAL: [u32; 6] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x2FC1_2FC1, 0xF2F5_2010];

/// One folder as it lay there when the watch began.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Inotify,
    folder: (u64, u64),
}

impl Watch {
    /// `None` where not every change would be seen, and where the kernel has no more watches.
    pub(crate) fn new(folder: &Path) -> Option<Self> {
        let magic = u32::try_from(statfs(folder).ok()?.f_type).ok()?;
        if !LOCAL.contains(&magic) {
            return None;
        }
        let inotify = Inotify::init().ok()?;
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVE
            | WatchMask::MODIFY
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        inotify.watches().add(folder, mask).ok()?;
        // Looked at after the watch began: if it was replaced meanwhile, this is another one's number.
        Some(Self { inotify, folder: identity(folder).ok()? })
    }

    /// Whether this still is the folder at `path`. A file system may have been mounted over it.
    pub(crate) fn is_of(&self, path: &Path) -> bool {
        identity(path).is_ok_and(|folder| folder == self.folder)
    }

    /// Whether nothing happened since the last call. What cannot be told counts as a change.
    pub(crate) fn was_quiet(&mut self) -> bool {
        let mut buffer = [0; EVENTS];
        let mut quiet = true;
        loop {
            match self.inotify.read_events(&mut buffer) {
                Ok(events) => {
                    let count = events.count();
                    if count == 0 {
                        return quiet;
                    }
                    quiet = false;
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return quiet,
                Err(_) => return false,
            }
        }
    }
}

fn identity(folder: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(folder)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// `None` where the machine's temporary files are on a file system that cannot be watched.
    fn watched() -> Option<(tempfile::TempDir, Watch)> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("there"), "x").unwrap();
        let watch = Watch::new(dir.path())?;
        Some((dir, watch))
    }

    #[rstest]
    #[case::created(|dir: &Path| fs::write(dir.join("new"), "").unwrap())]
    #[case::written(|dir: &Path| fs::write(dir.join("there"), "y").unwrap())]
    #[case::replaced(|dir: &Path| {
        fs::write(dir.parent().unwrap().join("lxcri-watch-test"), "").unwrap();
        fs::rename(dir.parent().unwrap().join("lxcri-watch-test"), dir.join("there")).unwrap();
    })]
    #[case::removed(|dir: &Path| fs::remove_file(dir.join("there")).unwrap())]
    #[case::forbidden(|dir: &Path| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(dir.join("there"), mode).unwrap();
    })]
    fn sees(#[case] change: fn(&Path)) {
        let Some((dir, mut watch)) = watched() else { return };
        assert!(watch.was_quiet());

        change(dir.path());

        assert!(!watch.was_quiet());
        assert!(watch.was_quiet(), "once");
    }

    #[test]
    fn many_changes_are_a_change() {
        let Some((dir, mut watch)) = watched() else { return };

        for number in 0..1000 {
            fs::write(dir.path().join(format!("{number}.conf")), "").unwrap();
        }

        assert!(!watch.was_quiet());
        assert!(watch.was_quiet());
    }

    #[test]
    fn is_of_one_folder_not_of_its_name() {
        let Some((dir, watch)) = watched() else { return };
        let below = dir.path().join("below");
        fs::create_dir(&below).unwrap();
        let Some(of_below) = Watch::new(&below) else { return };
        assert!(watch.is_of(dir.path()) && of_below.is_of(&below));

        // A number is used again at once where a folder is just removed.
        fs::rename(&below, dir.path().join("elsewhere")).unwrap();
        fs::create_dir(&below).unwrap();

        assert!(!of_below.is_of(&below));
    }

    #[test]
    fn watches_no_file_and_nothing_that_is_missing() {
        let Some((dir, _)) = watched() else { return };

        assert!(Watch::new(&dir.path().join("there")).is_none());
        assert!(Watch::new(&dir.path().join("none")).is_none());
        assert!(Watch::new(Path::new("/proc/self")).is_none(), "changes without being written");
    }
}
