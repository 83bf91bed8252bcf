//! The record a monitor leaves when its container ends: all that is known of the end once no
//! process is left. Written by the monitor, read by the daemon, kept until the next start.

use std::io;
use std::path::Path;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::atomic;

/// How a container ended. At most one of `exit_code` and `signal` is set; neither is when its init
/// was never seen to exit, and then `error` says why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Epoch seconds.
    pub starttime: u64,
    /// Epoch seconds.
    pub endtime: u64,
    /// By the monotonic clock, so it stands when somebody sets the time.
    pub duration_ms: u64,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    /// The kernel killed something in the container's cgroup for want of memory.
    pub oom_killed: bool,
    pub error: Option<String>,
    /// It wants to be started again, once what waits in its config is applied.
    #[serde(default)]
    pub reboot: bool,
    /// What follows an end is still to be done; the daemon takes this back.
    #[serde(default)]
    pub unheard: bool,
}

impl ExitRecord {
    /// `None` when no container has ended here. A record that cannot be read is an error with the
    /// kind `InvalidData`.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|err| {
            let text = format!("unable to parse exit record '{}' - {err}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }

    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        atomic::write(path, 0o640, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit.json");
        let record = ExitRecord {
            starttime: 1_700_000_000,
            endtime: 1_700_000_005,
            duration_ms: 5012,
            signal: Some(9),
            oom_killed: true,
            ..ExitRecord::default()
        };

        assert_eq!(ExitRecord::read(&path).unwrap(), None);
        record.write(&path).unwrap();
        assert_eq!(ExitRecord::read(&path).unwrap(), Some(record));
    }

    #[test]
    fn names_a_broken_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit.json");
        fs::write(&path, "{").unwrap();

        let err = ExitRecord::read(&path).unwrap_err();

        assert_eq!(err.kind(), io::ErrorKind::InvalidData);
        assert!(err.to_string().contains("exit.json"), "{err}");
    }
}
