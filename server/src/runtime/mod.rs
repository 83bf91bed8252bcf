//! The boundary to what runs containers. Only *start* differs between runtimes: whoever supervises
//! a container answers LXC's command protocol, so its state, stop and freeze are asked there
//! (`Supervised`), whatever runs it.

mod crun;
mod lxc;
mod missing;
mod monitor;
mod monitors;
pub(crate) mod pct;
mod report;
pub(crate) mod rules;
mod supervised;
mod units;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use openapi::Vmid;
use pve_integration::layout::Root;
use pve_integration::oci_config::RuntimeKind;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::tasks::{TaskLog, Tasks};

use crun::Crun;
use lxc::Lxc;
use missing::Missing;
pub(crate) use monitor::{ArchiveJob, Monitor, Said, Unpacking};
pub(crate) use monitors::Monitors;
use pct::Pct;
pub(crate) use rules::Settings;
pub(crate) use supervised::Supervised;

/// A way to start containers. Calls may be repeated, and nothing is remembered between them: after a
/// crash the daemon asks for the state and goes on from what it finds.
#[async_trait]
pub(crate) trait Runtime: Send + Sync {
    /// Returns when the container runs; its supervisor lives on without us. Whoever fails or is
    /// cancelled leaves nothing of the container running. With `debug` the log gets all that the
    /// runtime says of the start.
    async fn start(
        &self,
        vmid: Vmid,
        debug: bool,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), RuntimeError>;

    /// What it finds on this host: versions, features, and what is missing for it.
    async fn probe(&self) -> Result<Value, RuntimeError>;
}

/// All there are.
pub(crate) struct Runtimes {
    crun: Crun,
    lxc: Lxc,
    /// What `lxc` means on a PVE node.
    pct: Option<Pct>,
}

impl Runtimes {
    pub(crate) fn new(
        supervised: &Supervised,
        settings: &Settings,
        root: &Root,
        tasks: &Tasks,
    ) -> Self {
        let lxc = Lxc::new(supervised.clone(), settings.lxc_start.clone());
        let pct = settings.pct.clone().map(|program| Pct::new(program, root, tasks.clone()));
        Self { crun: Crun::new(supervised.clone()), lxc, pct }
    }

    /// The only function that knows which runtimes there are.
    pub(crate) fn of(&self, kind: RuntimeKind) -> &dyn Runtime {
        match (kind, &self.pct) {
            (RuntimeKind::Crun, _) => &self.crun,
            (RuntimeKind::Lxc, Some(pct)) => pct,
            (RuntimeKind::Lxc, None) => &self.lxc,
        }
    }

    /// On a PVE node, where what LXC runs is PVE's own.
    pub(crate) fn pct(&self) -> Option<&Pct> {
        self.pct.as_ref()
    }

    /// Whether LXC is there at all. Looked up anew each time: a package may come and go.
    pub(crate) fn has_lxc(&self) -> bool {
        match &self.pct {
            Some(pct) => pct.check().is_ok(),
            None => self.lxc.program().is_ok(),
        }
    }
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
    /// A runtime that cannot be used here.
    #[error("{0}")]
    Unusable(Missing),
    #[error("no runtime can be used here: {0}")]
    Neither(String),
    /// The supervisor's own last words.
    #[error("{0}")]
    Failed(String),
    /// What PVE has against each parameter.
    #[error("Parameter verification failed.{}", in_a_line(.0))]
    Parameters(BTreeMap<String, String>),
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

fn in_a_line(parameters: &BTreeMap<String, String>) -> String {
    parameters.iter().map(|(name, complaint)| format!(" {name}: {complaint}")).collect()
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
