//! Task logs, the list of active tasks and the index of ended ones, as PVE keeps them on disk, so
//! that its tools and ours show the same tasks. Running a task is the server's business.
//! Upstream: `src/PVE/UPID.pm` and `src/PVE/RESTEnvironment.pm` in pve-common, `PVE/API2/Tasks.pm`
//! in pve-manager.
//!
//! Nothing here is synced to disk: a power cut ends every task anyway, and PVE does not either.

mod active;
mod list;
mod log;
mod process;
mod status;

use std::path::PathBuf;

use openapi::Upid;

pub use self::active::Entry;
pub use self::list::{Filter, List, Source, owned_by};
pub use self::log::{LogLine, LogPage, TaskWriter};
pub use self::process::{Process, is_running, process};
pub use self::status::{Outcome, StatusKind};

use crate::layout::Root;

/// `var/log/pve/tasks` of one root.
#[derive(Clone, Debug)]
pub struct TaskDir {
    dir: PathBuf,
}

impl TaskDir {
    pub fn new(root: &Root) -> Self {
        Self { dir: root.tasks_dir() }
    }

    /// The only way to a log file: a `Upid` has no slash in it, so this stays in the directory.
    pub fn log_path(&self, upid: &Upid) -> PathBuf {
        self.dir.join(upid.log_dir_digit().to_string()).join(upid.to_string())
    }

    /// Whether there is such a task, as PVE asks it: whether it has a log.
    pub fn exists(&self, upid: &Upid) -> bool {
        self.log_path(upid).is_file()
    }
}
