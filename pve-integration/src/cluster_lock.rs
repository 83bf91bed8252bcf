//! The lock on a part of `etc/pve`: PVE's own on a PVE node, a locked file elsewhere.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use rustix::fs::{AtFlags, CWD, FlockOperation, Timespec, Timestamps, flock, utimensat};
use rustix::io::Errno;

use crate::access::is_cluster;
use crate::layout::Root;

/// What PVE waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nobody but the holder changes the part it is for.
#[derive(Debug)]
pub(crate) struct ClusterLock {
    _held: Held,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("cfs-lock '{0}' error: got lock request timeout")]
    Timeout(String),
    #[error("can't lock file '{0}' - got timeout")]
    File(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Debug)]
enum Held {
    /// A directory of the cluster filesystem, which lets one node make it.
    Directory(PathBuf),
    /// Held as long as it is open. It stays where it is: with a removed one, two could hold it.
    File { _held: fs::File },
}

impl ClusterLock {
    /// `id` is PVE's name of the lock: `file-user_cfg` for a file, `firewall-vm-100`.
    pub(crate) fn take(root: &Root, id: &str) -> Result<Self, LockError> {
        Self::within(root, id, PATIENCE)
    }

    fn within(root: &Root, id: &str, patience: Duration) -> Result<Self, LockError> {
        let deadline = Instant::now() + patience;
        let mut attempt: Box<dyn FnMut() -> io::Result<Option<Held>>> = if is_cluster(root) {
            let path = root.etc_pve().join("priv/lock").join(id);
            Box::new(move || by_directory(&path))
        } else {
            let folder = root.below("/run/lock/proxmox-lxcri");
            fs::create_dir_all(&folder)?;
            let path = folder.join(id);
            Box::new(move || by_file(&path))
        };
        loop {
            if let Some(held) = attempt()? {
                return Ok(Self { _held: held });
            }
            if Instant::now() >= deadline {
                return Err(LockError::Timeout(id.to_owned()));
            }
            // Held for milliseconds here; by other nodes for as long as their quorum takes.
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn by_file(path: &std::path::Path) -> io::Result<Option<Held>> {
    let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Held::File { _held: file })),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn by_directory(path: &std::path::Path) -> io::Result<Option<Held>> {
    match fs::create_dir(path) {
        Ok(()) => Ok(Some(Held::Directory(path.to_owned()))),
        Err(err)
            if matches!(err.kind(), ErrorKind::AlreadyExists | ErrorKind::PermissionDenied) =>
        {
            // That time asks the cluster filesystem to drop the lock if its holder is dead. It
            // may be gone by now, and the next attempt sees that.
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let times = Timestamps { last_access: zero, last_modification: zero };
            utimensat(CWD, path, &times, AtFlags::empty()).unwrap_or_default();
            Ok(None)
        }
        Err(err) => Err(err),
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Self::Directory(path) = self {
            // A lock that cannot be removed is dropped by the cluster two minutes later.
            fs::remove_dir(path).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(30);

    fn one_at_a_time(root: &Root) {
        let held = ClusterLock::within(root, "file-user_cfg", SOON).unwrap();
        let refused = ClusterLock::within(root, "file-user_cfg", SOON).unwrap_err();
        assert_eq!(refused.to_string(), "cfs-lock 'file-user_cfg' error: got lock request timeout");
        drop(ClusterLock::within(root, "file-priv_token_cfg", SOON).unwrap());
        drop(held);
        drop(ClusterLock::within(root, "file-user_cfg", SOON).unwrap());
    }

    #[test]
    fn a_file_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        one_at_a_time(&Root::new(dir.path()).unwrap());
    }

    #[test]
    fn on_a_pve_node_it_is_pve_s_own_lock() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        fs::create_dir_all(root.etc_pve().join("priv/lock")).unwrap();
        fs::write(root.etc_pve().join(".version"), "").unwrap();
        one_at_a_time(&root);
        assert_eq!(fs::read_dir(root.etc_pve().join("priv/lock")).unwrap().count(), 0);
    }
}
