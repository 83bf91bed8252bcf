//! The standard streams of a container's process.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What is not given is `/dev/null`. With `terminal` in config.json (or in the process file) libcrun
/// makes a pty instead and sends its master over `console_socket`: one byte and one descriptor.
#[derive(Debug, Default)]
pub struct Stdio {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    pub console_socket: Option<PathBuf>,
}
