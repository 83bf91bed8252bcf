//! PVE's locks on plain files, which its own programs take too.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::cluster_lock::LockError;

/// What PVE waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Locked as long as it is open. The file stays: with a removed one, two could hold the lock.
pub(crate) fn take(path: &Path) -> Result<fs::File, LockError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                return Err(LockError::File(path.display().to_string()));
            }
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
    }
}
