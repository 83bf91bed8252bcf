//! The verbs of an OCI runtime. This process becomes `lxcri-monitor`, where libcrun is linked; what was
//! said on the command line, the open descriptors and the environment stay as they are.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::programs::{MONITOR, find};

#[derive(Debug, thiserror::Error)]
pub enum OciError {
    #[error(
        "the container runtime is missing: {MONITOR} is neither beside this program nor in PATH; install the package proxmox-lxcri"
    )]
    NoMonitor,
    #[error("the container runtime '{}' cannot be started: {source}", path.display())]
    Exec { path: PathBuf, source: io::Error },
}

/// Does not return unless it failed. `arguments` is the whole command line as it was given.
pub fn exec(arguments: impl Iterator<Item = OsString>) -> Result<(), OciError> {
    let path = find(MONITOR).ok_or(OciError::NoMonitor)?;
    let source = Command::new(&path).arg("oci").args(arguments).exec();
    Err(OciError::Exec { path, source })
}
