//! A config that is being changed: PVE's file lock held, and nothing written over what somebody
//! else wrote in between.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use openapi::{Digest, NodeName, Vmid};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{ConfigError, ContainerConfig, digest};
use crate::atomic;
use crate::layout::Root;

/// How long PVE waits for the lock of a container's config.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Dropping it releases the lock and writes nothing. Synchronous on purpose: it must not be held
/// across an `.await`.
#[derive(Debug)]
pub struct Locked {
    pub config: ContainerConfig,
    /// Of the bytes `config` was read from; `None` for a config that is new.
    read: Option<Digest>,
    path: PathBuf,
    _lock: fs::File,
}

impl Locked {
    pub fn open(
        root: &Root,
        node: &NodeName,
        vmid: Vmid,
        timeout: Duration,
    ) -> Result<Self, ConfigError> {
        let lock = lock(root, vmid, timeout)?;
        let (config, digest) = super::read(root, node, vmid)?;
        Ok(Self { config, read: Some(digest), path: root.lxc_config(node, vmid), _lock: lock })
    }

    /// An empty config for a number that has none yet.
    pub fn create(
        root: &Root,
        node: &NodeName,
        vmid: Vmid,
        timeout: Duration,
    ) -> Result<Self, ConfigError> {
        let lock = lock(root, vmid, timeout)?;
        let path = root.lxc_config(node, vmid);
        if path.symlink_metadata().is_ok() {
            return Err(ConfigError::Exists(node.clone(), vmid));
        }
        Ok(Self { config: ContainerConfig::default(), read: None, path, _lock: lock })
    }

    /// The digest of what was read.
    pub fn digest(&self) -> Option<&Digest> {
        self.read.as_ref()
    }

    /// Compares with the digest that a client gave.
    pub fn check_digest(&self, given: &str) -> Result<(), ConfigError> {
        let same = self.read.as_ref().is_none_or(|read| read.as_str() == given);
        if same { Ok(()) } else { Err(ConfigError::Modified) }
    }

    /// Writes and lets go of the lock.
    pub fn commit(mut self) -> Result<Digest, ConfigError> {
        self.save()
    }

    /// Writes and keeps the lock.
    pub fn save(&mut self) -> Result<Digest, ConfigError> {
        self.check_unchanged()?;
        self.config.prepare_for_write()?;
        let bytes = self.config.to_bytes();
        atomic::write(&self.path, 0o640, &bytes).map_err(ConfigError::Write)?;
        let written = digest(&bytes);
        self.read = Some(written.clone());
        Ok(written)
    }

    /// Removes the file: the container is no more. Keeps the lock.
    pub fn remove(&mut self) -> Result<(), ConfigError> {
        self.check_unchanged()?;
        match fs::remove_file(&self.path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(ConfigError::Write(err)),
            Ok(()) | Err(_) => {
                self.read = None;
                Ok(())
            }
        }
    }

    /// The lock binds those who ask for it; an editor does not.
    fn check_unchanged(&self) -> Result<(), ConfigError> {
        let now = match fs::read(&self.path) {
            Ok(bytes) => Some(digest(&bytes)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ConfigError::Read { path: self.path.clone(), source }),
        };
        if now == self.read { Ok(()) } else { Err(ConfigError::Modified) }
    }
}

fn lock(root: &Root, vmid: Vmid, timeout: Duration) -> Result<fs::File, ConfigError> {
    let path = root.config_lock(vmid);
    let file =
        open_lock(&path).map_err(|source| ConfigError::Lock { path: path.clone(), source })?;
    let deadline = Instant::now() + timeout;
    // PVE blocks in flock and lets an alarm break it off, which a threaded process cannot. Locks
    // are held for milliseconds, so the steps are short.
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(ConfigError::LockTimeout(path)),
            Err(errno) => return Err(ConfigError::Lock { path, source: errno.into() }),
        }
    }
}

/// PVE leaves lock files where they are, and so must we: with a removed one, two could hold it.
fn open_lock(path: &Path) -> io::Result<fs::File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::OpenOptions::new().create(true).append(true).open(path)
}
