//! What can go wrong with a container config, in PVE's words where PVE has them.

use std::io;
use std::path::PathBuf;

use openapi::{NodeName, Vmid};

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("Configuration file 'nodes/{0}/lxc/{1}.conf' does not exist")]
    NotFound(NodeName, Vmid),
    #[error("CT {1} already exists on node '{0}'")]
    Exists(NodeName, Vmid),
    #[error("can't lock file '{}' - got timeout", .0.display())]
    LockTimeout(PathBuf),
    #[error("can't lock file '{}'", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("detected modified configuration - file changed by other user? Try again.")]
    Modified,
    #[error("detected invalid newline inside property '{0}'")]
    Newline(String),
    #[error("unable to read '{}'", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The source names the file and the fault.
    #[error(transparent)]
    Write(io::Error),
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// A value that its key does not take. Only who needs the value meets this: reading a config never
/// fails on one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse value of '{key}' - {reason}")]
pub struct ValueError {
    pub key: String,
    pub reason: String,
}

impl ValueError {
    pub fn new(key: &str, reason: impl Into<String>) -> Self {
        Self { key: key.to_owned(), reason: reason.into() }
    }
}
