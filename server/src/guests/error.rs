//! What can go wrong with a guest. Knows nothing of HTTP; the messages are PVE's where PVE has them.

use std::collections::BTreeMap;

use openapi::{NodeName, Vmid};
use pve_integration::ct_config::{ConfigError, ValueError};
use pve_integration::firewall::FirewallError;
use pve_integration::storage::StorageError;

use crate::runtime::RuntimeError;
use crate::tasks::TaskError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{kind} {vmid} already exists on node '{node}'")]
    Taken { kind: &'static str, vmid: Vmid, node: NodeName },
    #[error("CT {0} already running")]
    AlreadyRunning(Vmid),
    #[error("CT {0} not running")]
    NotRunning(Vmid),
    /// PVE's text for a reboot says VM.
    #[error("VM {0} not running")]
    NothingToReboot(Vmid),
    #[error("unable to destroy CT {0} - container is running")]
    DestroyRunning(Vmid),
    #[error("unable to change the runtime of CT {0} - container is running")]
    RuntimeInUse(Vmid),
    #[error("CT is locked ({0})")]
    Locked(String),
    #[error("{0} - protection mode enabled")]
    Protected(String),
    #[error("you can't start a CT if it's a template")]
    Template,
    #[error("snapshot '{0}' does not exist")]
    NoSnapshot(String),
    #[error("no options specified")]
    NoOptions,
    #[error("Parameter verification failed.")]
    Params(BTreeMap<String, String>),
    /// A property string of the config, not of the request.
    #[error("format error")]
    Format(BTreeMap<String, String>),
    #[error("unable to create CT {vmid} - {source}")]
    Creating { vmid: Vmid, source: Box<GuestError> },
    #[error("unable to restore CT {vmid} - {source}")]
    Restoring { vmid: Vmid, source: Box<GuestError> },
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error("unable to read the list of running containers: {0}")]
    Listing(#[source] std::io::Error),
    /// A refusal that only its text tells from another.
    #[error("{0}")]
    Refused(String),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

impl GuestError {
    pub(crate) fn param(name: &str, message: impl Into<String>) -> Self {
        Self::Params([(name.to_owned(), message.into())].into())
    }

    /// Perl's plain `die`.
    pub(crate) fn die(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    pub(crate) fn value(err: ValueError) -> Self {
        Self::Config(err.into())
    }
}
