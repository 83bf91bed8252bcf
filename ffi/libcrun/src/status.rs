//! A container as its state on disk and its process show it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Set up, its program not yet started.
    Created,
    Running,
    Paused,
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub id: String,
    pub state: State,
    /// The first process, as long as it runs.
    pub pid: Option<i32>,
    /// In clock ticks since boot, as in `/proc/PID/stat`; with `pid` it names one process for ever.
    pub start_time: u64,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// Below the cgroup root (v2) or each controller's (v1).
    pub cgroup: Option<String>,
    /// RFC 3339, as libcrun wrote it.
    pub created: String,
    /// The name of the user who created it.
    pub owner: Option<String>,
}
