//! The boundary to what runs containers. Only *start* differs between runtimes: whoever supervises
//! a container answers LXC's command protocol, so its state, stop and freeze are asked there.

mod crun;
mod monitor;
mod report;

use std::time::Duration;

use async_trait::async_trait;
use openapi::Vmid;
use tokio_util::sync::CancellationToken;

use crate::tasks::TaskLog;

pub(crate) use crun::Crun;
pub(crate) use monitor::{ArchiveJob, Monitor, Said, Unpacking};

/// A way to run containers. Calls may be repeated, and nothing is remembered between them: after a
/// crash the daemon asks `state` and goes on from what it finds.
#[async_trait]
pub(crate) trait Runtime: Send + Sync {
    /// Its name in a container's OCI file.
    fn name(&self) -> &'static str;

    /// Returns when the container runs; its supervisor lives on without us. Whoever fails or is
    /// cancelled leaves nothing of the container running.
    async fn start(
        &self,
        vmid: Vmid,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), RuntimeError>;

    /// Kill it. Returns when the supervisor has cleaned up.
    async fn stop(&self, vmid: Vmid) -> Result<(), RuntimeError>;

    /// Ask it to end.
    async fn shutdown(
        &self,
        vmid: Vmid,
        how: Shutdown,
        cancel: &CancellationToken,
    ) -> Result<(), RuntimeError>;

    async fn suspend(&self, vmid: Vmid) -> Result<(), RuntimeError>;

    async fn resume(&self, vmid: Vmid) -> Result<(), RuntimeError>;
}

/// How to ask a container to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shutdown {
    /// Number of the signal that init takes for it.
    pub(crate) signal: i32,
    pub(crate) timeout: Duration,
    /// Kill what is left after the timeout.
    pub(crate) force: bool,
}

/// Each message is one line that a task ends with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuntimeError {
    #[error("CT {0} already running")]
    AlreadyRunning(Vmid),
    #[error("CT {0} not running")]
    NotRunning(Vmid),
    /// The program that supervises containers cannot run here. Names what to install.
    #[error("{0}")]
    Unusable(String),
    /// The supervisor's own last words.
    #[error("{0}")]
    Failed(String),
    #[error("container did not start within {} seconds", .0.as_secs())]
    StartTimeout(Duration),
    #[error("container did not stop")]
    DidNotStop,
    #[error("received interrupt")]
    Cancelled,
    #[error("CT {0}: {1}")]
    Command(Vmid, #[source] lxc_protocol::client::Error),
    #[error("CT {0}: cannot signal its first process: {1}")]
    Signal(Vmid, #[source] rustix::io::Errno),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

impl RuntimeError {
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// Of a supervisor that did not do what it was asked.
    pub(crate) fn command(vmid: Vmid, err: lxc_protocol::client::Error) -> Self {
        use lxc_protocol::client::Error;

        match err {
            Error::NotRunning | Error::Closed => Self::NotRunning(vmid),
            err
            @ (Error::TimedOut | Error::Refused { .. } | Error::Malformed(_) | Error::Io(_)) => {
                Self::Command(vmid, err)
            }
        }
    }
}
